//! The data directory: whose it is, how many shards it has, and that only one server uses it.
//!
//! ```text
//!  DIR/lock              locked (flock) for as long as a server uses the directory
//!  DIR/directory.json    what this file describes; replaced whole, never edited
//!  DIR/shard-<n>/        segments and checkpoints of one shard (`log::format`)
//!  DIR/quarantine/       copies of damaged bytes that were given up; nothing reads them
//! ```
//!
//! Invariants:
//! * `directory.json` is durable before the first shard's directory exists, so shards without it
//!   mean that something was lost: they are refused, not adopted.
//! * `initialised` is false until every shard's log was made. Only while it is false is anything
//!   created; later, whatever is missing is refused. Nothing is ever re-created because it is
//!   missing: that would turn a lost disk into an empty one.
//! * What is recorded wins over what the settings ask for.
//!
//! Plain blocking calls: used at start, before any executor runs.

#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::io::BLOCK_BYTES;
use crate::log::segment::{LogFacts, file_number};
use crate::types::{hex, json};

/// Version of `directory.json` and of the directory's layout: since 2, batches may be encrypted.
pub const FORMAT_VERSION: u32 = 2;
/// Oldest version that is read. A server raises it before it writes anything else.
pub const FORMAT_VERSION_MIN: u32 = 1;

/// What a data directory is, in its own words.
pub const DESCRIPTION: &str = "directory.json";
const DESCRIPTION_TEMPORARY: &str = "directory.json.tmp";
/// Where copies of damaged bytes go.
pub const QUARANTINE: &str = "quarantine";
/// Locked for as long as a server uses the directory.
pub const LOCK: &str = "lock";
/// Least length of a segment: its header and one frame.
const SEGMENT_BYTES_MIN: u64 = 2 * BLOCK_BYTES as u64;
/// Greatest length of a segment: offsets in it are 32 bits.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process holds the lock.
    #[error("another server uses the data directory {}", .0.display())]
    InUse(PathBuf),
    /// Shards without the description that was durable before them.
    #[error(
        "{} holds shards but no directory.json: something was lost, and nothing is made anew",
        .0.display()
    )]
    DescriptionMissing(PathBuf),
    /// There is no data directory here.
    #[error("{} is no data directory: it holds no directory.json", .0.display())]
    NotFound(PathBuf),
    /// The description cannot be understood.
    #[error("{} cannot be understood: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The description is not the JSON it should be.
    #[error("{} cannot be read as JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The directory was made by a release with another format.
    #[error(
        "{} has format version {found}, and this build knows only versions {FORMAT_VERSION_MIN} \
         to {FORMAT_VERSION}",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u64,
    },
    /// A shard of an initialised directory is not there.
    #[error("shard {shard} is missing: {} does not exist, and nothing is made anew", path.display())]
    ShardMissing {
        /// The shard.
        shard: u16,
        /// Where it should be.
        path: PathBuf,
    },
    /// A shard of an initialised directory has no segment.
    #[error("shard {shard} is empty: {} holds no segment, and nothing is made anew", path.display())]
    ShardEmpty {
        /// The shard.
        shard: u16,
        /// Its directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{operation} of {} failed", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// `directory.json`, the same in versions 1 and 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    format_version: u32,
    /// 32 hexadecimal digits.
    directory_id: String,
    shards: u16,
    /// Length of every segment, in bytes.
    segment_bytes: u64,
    /// Microseconds since the Unix epoch.
    created_us: u64,
    initialised: bool,
    /// 64 hexadecimal digits; directories of earlier builds get it at their next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_key: Option<String>,
}

/// The one member that every version has.
#[derive(Debug, Deserialize)]
struct Version {
    format_version: u64,
}

/// An opened data directory; locked while the value lives if it was opened for a server.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    id: u128,
    description: Description,
    /// Closing the file gives the lock back.
    _lock: Option<File>,
}

impl DataDirectory {
    /// Opens the data directory at `path` for a server, or makes it.
    ///
    /// * Units: `segment_bytes` in bytes, a multiple of 4096; `now_us` since the Unix epoch.
    /// * Errors: [`DirectoryError`]; [`InUse`](DirectoryError::InUse) while another server runs.
    /// * Durable: the description and the shards' directories, when it returns.
    pub fn open_or_create(
        path: &Path,
        shards_wanted: u16,
        segment_bytes: u64,
        now_us: u64,
        random_id: u128,
    ) -> Result<Self, DirectoryError> {
        create_durably(path)?;
        let lock = lock(path)?;
        let mut directory = match Self::read(path) {
            Err(DirectoryError::NotFound(_)) => {
                refuse_orphaned_shards(path)?;
                let description = Description {
                    format_version: FORMAT_VERSION,
                    directory_id: format!("{random_id:032x}"),
                    shards: shards_wanted,
                    segment_bytes,
                    created_us: now_us,
                    initialised: false,
                    token_key: None,
                };
                let directory = Self::from_description(path, description)?;
                directory.write_description()?;
                directory
            }
            read => read?,
        };
        directory._lock = Some(lock);
        let recorded = &directory.description;
        if recorded.shards != shards_wanted || recorded.segment_bytes != segment_bytes {
            tracing::warn!(
                shards = recorded.shards,
                shards_wanted,
                segment_bytes = recorded.segment_bytes,
                segment_bytes_wanted = segment_bytes,
                "the data directory was made with other settings, which are kept"
            );
        }
        if recorded.initialised {
            directory.check_shards()?;
        } else {
            directory.create_shards()?;
        }
        directory.raise_version()?;
        Ok(directory)
    }

    /// Opens an existing data directory and locks it. Who writes something new into it has older
    /// releases refuse it first ([`raise_version`](Self::raise_version)).
    ///
    /// * Errors: [`DirectoryError`]; [`InUse`](DirectoryError::InUse) while a server runs.
    pub fn open_locked(path: &Path) -> Result<Self, DirectoryError> {
        let mut directory = Self::read(path)?;
        directory._lock = Some(lock(path)?);
        Ok(directory)
    }

    /// Makes the directory for copies of damaged bytes, unless it is there.
    ///
    /// * Durable: yes, when it returns.
    pub fn make_quarantine(&self) -> Result<PathBuf, DirectoryError> {
        let path = self.path.join(QUARANTINE);
        create_durably(&path)?;
        Ok(path)
    }

    /// Reads an existing data directory without locking it, also while a server uses it.
    ///
    /// * Errors: [`DirectoryError`]; whether its shards are whole is not looked at.
    pub fn open_existing(path: &Path) -> Result<Self, DirectoryError> {
        Self::read(path)
    }

    /// Records that every shard's log has been made; from now on nothing may be missing.
    ///
    /// * Errors: a shard without a segment, or the operating system's; nothing is recorded then.
    /// * Durable: yes, when it returns.
    pub fn mark_initialised(&mut self) -> Result<(), DirectoryError> {
        if self.description.initialised {
            return Ok(());
        }
        self.check_shards()?;
        self.description.initialised = true;
        self.write_description().inspect_err(|_| self.description.initialised = false)
    }

    /// The key that secrets of access tokens are hashed with: the one recorded, or else this one,
    /// which is from now on.
    ///
    /// It is made once: with another one, no token that was issued would be known any more.
    ///
    /// * Errors: the operating system's; nothing is recorded then.
    /// * Durable: yes, when it returns.
    pub fn token_key_or(&mut self, random_key: [u8; 32]) -> Result<[u8; 32], DirectoryError> {
        if let Some(digits) = &self.description.token_key {
            return Ok(hex::decode(digits).expect("checked when it was read"));
        }
        self.description.token_key = Some(hex::encode(&random_key));
        let written = self.write_description().inspect_err(|_| self.description.token_key = None);
        written.map(|()| random_key)
    }

    /// What `directory.json` says, for another machine.
    #[must_use]
    pub fn description(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.description).expect("plain members")
    }

    /// What a directory at `path` would be of which this is the description. Nothing is written.
    ///
    /// * Errors: as when it is read from the directory.
    pub fn described(path: &Path, description: &[u8]) -> Result<Self, DirectoryError> {
        Self::understand(path, description)
    }

    /// Makes and locks an empty directory at `path`, which will hold the shards of another
    /// machine's: for whoever puts them there before [`adopt`](Self::adopt).
    ///
    /// * Errors: [`DirectoryError`]; there must be no directory of ours.
    pub fn begin_adoption(path: &Path, description: &[u8]) -> Result<Self, DirectoryError> {
        create_durably(path)?;
        let lock = lock(path)?;
        refuse_orphaned_shards(path)?;
        let mut directory = Self::understand(path, description)?;
        directory._lock = Some(lock);
        Ok(directory)
    }

    /// Makes the directory one of a server, now that all its shards are there.
    ///
    /// * Errors: a shard without a segment, or the operating system's.
    /// * Durable: yes, when it returns.
    pub fn adopt(mut self) -> Result<(), DirectoryError> {
        self.description.initialised = true;
        self.check_shards()?;
        self.write_description()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its random name.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// How many shards it has, at least one.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.description.shards
    }

    /// Length of its segments, in bytes.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.description.segment_bytes
    }

    /// When it was made, microseconds since the Unix epoch.
    #[must_use]
    pub fn created_us(&self) -> u64 {
        self.description.created_us
    }

    /// Whether every shard's log was made once.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.description.initialised
    }

    /// The directory of a shard.
    #[must_use]
    pub fn shard_path(&self, shard: u16) -> PathBuf {
        self.path.join(format!("shard-{shard}"))
    }

    /// What the log of a shard must say of itself.
    #[must_use]
    pub fn log_facts(&self, shard: u16) -> LogFacts {
        LogFacts { directory_id: self.id, shard, segment_bytes: self.segment_bytes() }
    }

    /// Whether a shard has its directory and a segment in it.
    ///
    /// * Errors: [`ShardMissing`](DirectoryError::ShardMissing),
    ///   [`ShardEmpty`](DirectoryError::ShardEmpty).
    pub fn check_shard(&self, shard: u16) -> Result<(), DirectoryError> {
        let path = self.shard_path(shard);
        if !path.is_dir() {
            return Err(DirectoryError::ShardMissing { shard, path });
        }
        if names_in(&path)?.iter().any(|name| file_number(name).is_some()) {
            return Ok(());
        }
        Err(DirectoryError::ShardEmpty { shard, path })
    }

    fn check_shards(&self) -> Result<(), DirectoryError> {
        (0..self.shards()).try_for_each(|shard| self.check_shard(shard))
    }

    fn create_shards(&self) -> Result<(), DirectoryError> {
        (0..self.shards()).try_for_each(|shard| create_durably(&self.shard_path(shard)))
    }

    /// Has an older release refuse the directory from now on.
    ///
    /// * Errors: the operating system's.
    /// * Durable: yes, when it returns.
    pub fn raise_version(&mut self) -> Result<(), DirectoryError> {
        let found = self.description.format_version;
        if found == FORMAT_VERSION {
            return Ok(());
        }
        self.description.format_version = FORMAT_VERSION;
        self.write_description()?;
        tracing::info!(found, raised_to = FORMAT_VERSION, "the data directory's version is raised");
        Ok(())
    }

    fn read(path: &Path) -> Result<Self, DirectoryError> {
        let file = path.join(DESCRIPTION);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DirectoryError::NotFound(path.to_owned()));
            }
            Err(error) => return Err(fail("reading", &file)(error)),
        };
        Self::understand(path, &bytes)
    }

    fn understand(path: &Path, bytes: &[u8]) -> Result<Self, DirectoryError> {
        let file = path.join(DESCRIPTION);
        let json = |source| DirectoryError::Json { path: file.clone(), source };
        let Version { format_version } = json::from_slice(bytes).map_err(json)?;
        let known = u64::from(FORMAT_VERSION_MIN)..=u64::from(FORMAT_VERSION);
        if !known.contains(&format_version) {
            return Err(DirectoryError::Version { path: file, found: format_version });
        }
        Self::from_description(path, json::from_slice(bytes).map_err(json)?)
    }

    fn from_description(path: &Path, description: Description) -> Result<Self, DirectoryError> {
        let refuse = |reason| DirectoryError::Description { path: path.join(DESCRIPTION), reason };
        let digits = &description.directory_id;
        let is_hex = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u128::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        let id = id.ok_or_else(|| refuse("directory_id must be 32 hexadecimal digits"))?;
        if description.shards == 0 {
            return Err(refuse("there must be at least one shard"));
        }
        if description.token_key.as_deref().is_some_and(|d| hex::decode::<32>(d).is_none()) {
            return Err(refuse("token_key must be 64 hexadecimal digits"));
        }
        let bytes = description.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes)
            || !bytes.is_multiple_of(BLOCK_BYTES as u64)
        {
            return Err(refuse(
                "segment_bytes must be a multiple of 4096 from 8192 to below 4 GiB",
            ));
        }
        Ok(Self { path: path.to_owned(), id, description, _lock: None })
    }

    /// Replaces `directory.json`: the old one or the new one is there, whatever happens.
    fn write_description(&self) -> Result<(), DirectoryError> {
        let temporary = self.path.join(DESCRIPTION_TEMPORARY);
        let mut text = serde_json::to_vec_pretty(&self.description).expect("plain members");
        text.push(b'\n');
        let written = File::create(&temporary).and_then(|mut file| {
            // The key is its owner's; set here because the file may be there already.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(fail("writing", &temporary))?;
        let target = self.path.join(DESCRIPTION);
        fs::rename(&temporary, &target).map_err(fail("renaming", &temporary))?;
        sync_directory(&self.path)
    }
}

fn fail(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DirectoryError {
    move |source| DirectoryError::Io { operation, path: path.to_owned(), source }
}

/// Creates `path` and its parents, for its owner alone, and makes each new name durable.
///
/// Names are made durable even when the directory exists: a start that was interrupted may have
/// created it without getting that far.
fn create_durably(path: &Path) -> Result<(), DirectoryError> {
    let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.is_dir());
    let made: Vec<&Path> = missing.chain([path]).collect();
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(fail("creating", path))?;
    made.into_iter().try_for_each(|new| match new.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    })
}

fn sync_directory(path: &Path) -> Result<(), DirectoryError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(fail("syncing", path))
}

/// Takes the lock of the data directory at `path`; dropping the file gives it back.
///
/// * Errors: [`InUse`](DirectoryError::InUse) while another process has it.
pub fn lock(path: &Path) -> Result<File, DirectoryError> {
    let name = path.join(LOCK);
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&name);
    let file = opened.map_err(fail("opening", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(fail("locking", &name)(error)),
    }
}

fn refuse_orphaned_shards(path: &Path) -> Result<(), DirectoryError> {
    if names_in(path)?.iter().any(|name| name.starts_with("shard-")) {
        return Err(DirectoryError::DescriptionMissing(path.to_owned()));
    }
    Ok(())
}

fn names_in(path: &Path) -> Result<Vec<String>, DirectoryError> {
    let entries = fs::read_dir(path).map_err(fail("listing", path))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(fail("listing", path))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

#[cfg(test)]
mod tests;
