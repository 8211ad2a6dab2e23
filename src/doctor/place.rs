//! The data directory: whose it is, who may do what there, and who uses it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::finding::{Finding, Group};
use super::trial::Trial;
use crate::directory::{DataDirectory, DirectoryError, LOCK};
use crate::io::host;
use crate::types::refusal::chain;

const EACCES: i32 = 13;
const EROFS: i32 = 30;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// What a data directory says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// Nothing: a server would make it.
    New,
    /// It is one, and every shard's log was made if so said.
    Known {
        /// Whether every shard's log was made.
        is_initialised: bool,
        /// Bytes of one segment of each shard.
        segments_bytes: u64,
    },
    /// It is not one that this release can use, and why.
    Refused(String),
}

/// What was found at the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceFacts {
    /// As it was asked for.
    pub asked: PathBuf,
    /// It, or the nearest directory above that exists.
    pub seen: PathBuf,
    /// Whether something has that name.
    pub exists: bool,
    /// Whether that is a directory.
    pub is_directory: bool,
    /// Its mode, without its kind.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
    /// Who asks.
    pub user: u32,
    /// The process that has the lock, if one has; `None` inside when it cannot be named.
    pub holder: Option<Option<u32>>,
    /// What it says of itself.
    pub described: Described,
}

/// Looks at the directory, and at nothing in it but its description and its lock.
#[must_use]
pub fn gather(asked: &Path) -> PlaceFacts {
    let whole = std::path::absolute(asked).unwrap_or_else(|_| asked.to_owned());
    let found = fs::metadata(&whole).ok();
    let exists = found.is_some() || fs::symlink_metadata(&whole).is_ok();
    let nearest = whole.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let seen = fs::canonicalize(nearest).unwrap_or_else(|_| nearest.to_owned());
    let described = match DataDirectory::open_existing(&whole) {
        Ok(directory) => Described::Known {
            // Or it has its segments, and the first start did not come to its end.
            is_initialised: directory.is_initialised()
                || (0..directory.shards()).all(|shard| directory.check_shard(shard).is_ok()),
            segments_bytes: u64::from(directory.shards()) * directory.segment_bytes(),
        },
        Err(DirectoryError::NotFound(_)) => Described::New,
        // Said by other checks, and better.
        Err(_) if !exists || found.as_ref().is_some_and(|found| !found.is_dir()) => Described::New,
        Err(error) => Described::Refused(chain(&error)),
    };
    PlaceFacts {
        asked: asked.to_owned(),
        exists,
        is_directory: found.as_ref().is_some_and(fs::Metadata::is_dir),
        mode: found.as_ref().map_or(0, |found| found.permissions().mode() & 0o7777),
        owner: found.as_ref().map_or(0, MetadataExt::uid),
        user: host::effective_user(),
        holder: holder(&seen.join(LOCK)),
        described,
        seen,
    }
}

/// Who has locked the file: looked up in the kernel's table, so that a server that starts at this
/// moment finds it free.
fn holder(lock: &Path) -> Option<Option<u32>> {
    let found = fs::metadata(lock).ok()?;
    let (major, minor) = host::device_numbers(found.dev());
    locker(&fs::read_to_string("/proc/locks").ok()?, (major, minor), found.ino())
}

/// `1: FLOCK  ADVISORY  WRITE 708 fe:00:1838 0 EOF`; one that waits has `->` after its number.
fn locker(locks: &str, (major, minor): (u32, u32), inode: u64) -> Option<Option<u32>> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&file.as_str());
        is_it.then(|| fields[4].parse().ok().filter(|pid| *pid > 0))
    })
}

/// Says whether a server could use the directory; `trial` is what came of writing there.
#[must_use]
pub fn judge(facts: &PlaceFacts, trial: Trial) -> Vec<Finding> {
    let asked = facts.asked.display();
    let group = Group::Directory;
    if facts.exists && !facts.is_directory {
        let taken =
            Finding::failure("directory.not_one", group, format!("{asked} is no directory"));
        return vec![taken.why("the server keeps everything in one").advice("name another one")];
    }
    let mut findings = vec![rights(facts, trial)];
    if let Described::Refused(reason) = &facts.described {
        let refused = Finding::failure("directory.refused", group, reason.clone())
            .why("the server would refuse it")
            .advice("use the release that made it, or another directory; see thalweg verify");
        findings.push(refused);
    }
    if facts.exists && facts.mode & 0o077 != 0 {
        let what = format!("other users can reach into {asked} (mode {:04o})", facts.mode);
        let open = Finding::warning("directory.open", group, what);
        findings.push(open.why("it holds every record").advice(format!("chmod 700 {asked}")));
    }
    if let Some(pid) = facts.holder {
        let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        let used =
            Finding::note("directory.in_use", group, format!("{who} has the directory's lock"))
                .why("a server runs on it: a second one would refuse to start");
        findings.push(used);
    }
    findings
}

fn rights(facts: &PlaceFacts, trial: Trial) -> Finding {
    let (asked, seen, user) = (facts.asked.display(), facts.seen.display(), facts.user);
    let group = Group::Directory;
    if let Trial::NotMade(number) = trial {
        let error = std::io::Error::from_raw_os_error(number);
        let what = format!("user {user} cannot make a file in {seen}: {error}");
        return Finding::failure("directory.rights", group, what)
            .why("the server makes files there")
            .advice(remedy(number, facts));
    }
    if facts.exists && facts.owner != user {
        let what = format!("{asked} belongs to user {}, and this is user {user}", facts.owner);
        return Finding::warning("directory.owner", group, what)
            .why("the server gives up the rights of root, and then needs those of the owner")
            .advice(format!("run it as that user, or chown -R {user} {asked}"));
    }
    let what = if facts.exists {
        format!("{asked} belongs to this user and can be written")
    } else {
        format!("{asked} does not exist yet and would be made in {seen}")
    };
    Finding::ok("directory.rights", group, what)
}

fn remedy(number: i32, facts: &PlaceFacts) -> String {
    match number {
        EACCES => format!("chown {} {}", facts.user, facts.seen.display()),
        EROFS => {
            "mount the file system for writing (in a systemd unit: ReadWritePaths=)".to_owned()
        }
        ENOSPC => "make room, or see whether the inodes are used up (df -i)".to_owned(),
        EDQUOT => "raise the user's quota".to_owned(),
        _ => "see what the system's log says of it".to_owned(),
    }
}

/// Why a data directory could not be opened, with what to do about it.
#[must_use]
pub fn explain(error: &DirectoryError) -> String {
    let said = chain(error);
    let advice = match error {
        DirectoryError::Io { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied => {
                let user = host::effective_user();
                format!(
                    "user {user} may not do that: give it the directory (chown), or use another"
                )
            }
            ErrorKind::ReadOnlyFilesystem => {
                "mount the file system for writing (in a systemd unit: ReadWritePaths=)".to_owned()
            }
            ErrorKind::StorageFull => {
                "make room, or see whether inodes are used up (df -i)".to_owned()
            }
            ErrorKind::QuotaExceeded => "raise the user's quota".to_owned(),
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "a file has that name: name a directory".to_owned()
            }
            _ => return said,
        },
        DirectoryError::Version { .. } => {
            "start it with the release that made it, or a later one".to_owned()
        }
        DirectoryError::InUse(_) => "stop that server, or name another directory".to_owned(),
        _ => return said,
    };
    format!("{said}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> PlaceFacts {
        PlaceFacts {
            asked: "data".into(),
            seen: "/srv/data".into(),
            exists: true,
            is_directory: true,
            mode: 0o700,
            owner: 1000,
            user: 1000,
            holder: None,
            described: Described::Known { is_initialised: true, segments_bytes: 1 << 27 },
        }
    }

    #[test]
    fn directories_and_what_is_said_of_them() {
        let good = Trial::Written { alignment: None };
        let refused = || Described::Refused("format version 9".to_owned());
        for (facts, trial, expected) in [
            (facts(), good, &["directory.rights"][..]),
            (PlaceFacts { exists: false, ..facts() }, good, &["directory.rights"]),
            (PlaceFacts { is_directory: false, ..facts() }, good, &["directory.not_one"]),
            (PlaceFacts { owner: 0, ..facts() }, good, &["directory.owner"]),
            (PlaceFacts { mode: 0o750, ..facts() }, good, &["directory.rights", "directory.open"]),
            (
                PlaceFacts { holder: Some(Some(7)), ..facts() },
                good,
                &["directory.rights", "directory.in_use"],
            ),
            (
                PlaceFacts { described: refused(), ..facts() },
                good,
                &["directory.rights", "directory.refused"],
            ),
        ] {
            let found = judge(&facts, trial);
            let ids: Vec<&str> = found.iter().map(|finding| finding.id).collect();
            assert_eq!(ids, expected, "{facts:?}");
        }
        for (number, words) in
            [(13, "chown"), (30, "ReadWritePaths"), (28, "df -i"), (122, "quota")]
        {
            let found = judge(&facts(), Trial::NotMade(number));
            assert!(found[0].advice.contains(words), "{number}: {}", found[0].sentence());
        }
    }

    #[test]
    fn the_lock_is_found_in_the_kernels_table() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 5 fe:00:18 0 EOF
2: FLOCK  ADVISORY  WRITE 708 fe:00:18 0 EOF
2: -> FLOCK  ADVISORY  WRITE 9 fe:00:19 0 EOF
3: FLOCK  ADVISORY  WRITE 0 fe:00:20 0 EOF
";
        assert_eq!(locker(locks, (0xfe, 0), 18), Some(Some(708)));
        assert_eq!(locker(locks, (0xfe, 0), 19), None, "who waits has it not");
        assert_eq!(locker(locks, (0xfe, 0), 20), Some(None), "of another namespace");
        assert_eq!(locker(locks, (0xfe, 1), 18), None);
        assert_eq!(locker("", (0, 0), 18), None);
    }

    #[test]
    fn a_locked_file_is_seen_as_locked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK);
        let file = fs::File::create(&path).unwrap();
        assert_eq!(holder(&path), None);
        file.try_lock().unwrap();
        assert_eq!(holder(&path), Some(Some(std::process::id())));
    }
}
