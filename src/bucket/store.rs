//! The object store: few operations, each repeated until it is known what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, Error as StoreError, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
    RetryConfig, WriteMultipart,
};

use super::{Error, Result};

/// How long one request may take.
const REQUEST_SECS: &str = "30s";
/// How long a connection may take to be made.
const CONNECT_SECS: &str = "5s";
/// Pause after the first failure; doubled by each, up to the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Names that are asked for at a time.
const PROBES: u64 = 15;
/// What shows whether objects are created only once.
const PROBE: &str = "probe";
/// Bytes of a part of a large object.
pub(super) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of a large object that are on their way at a time.
const PARTS_MAX: usize = 2;

/// What became of an attempt to create an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Created {
    /// It is there, and it is this one.
    Made,
    /// There is another one.
    Other(Bytes),
}

/// How long to go on when the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until it answers.
    Endless,
    /// So many attempts.
    Attempts(u32),
}

/// A place in an object store. Clones are the same place.
#[derive(Debug, Clone)]
pub(super) struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    patience: Patience,
    retries: Arc<dyn Retries>,
}

/// Who counts what is tried again.
pub(super) trait Retries: std::fmt::Debug + Send + Sync {
    fn retried(&self);
}

impl Retries for () {
    fn retried(&self) {}
}

impl Retries for super::link::Link {
    fn retried(&self) {
        self.counts().retries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Store {
    /// The place that a URL names: `s3://name/prefix`, `gs://name/prefix`, `az://name/prefix` or
    /// `file:///directory`. Credentials come from the environment, as those who use these stores
    /// know it.
    ///
    /// * Errors: [`Error::Url`]. Nothing is asked of the store.
    pub(super) fn open(url: &str) -> Result<Self> {
        // What speaks TLS is chosen once for the process; who chose before chose the same.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let refuse = |reason: String| Error::Url { url: url.to_owned(), reason };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse(SCHEMES.to_owned()))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() && scheme != "file" {
            return Err(refuse("it names no bucket".to_owned()));
        }
        let said = |error: StoreError| refuse(error.to_string());
        let root = format!("{scheme}://{name}");
        let inner: Arc<dyn ObjectStore> = match scheme {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_url(root).with_retry(once());
                let timed =
                    patient(builder, |b, k, v| b.with_config(AmazonS3ConfigKey::Client(k), v));
                Arc::new(timed.build().map_err(said)?)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(root);
                let builder = builder.with_retry(once());
                let timed =
                    patient(builder, |b, k, v| b.with_config(GoogleConfigKey::Client(k), v));
                Arc::new(timed.build().map_err(said)?)
            }
            "az" => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(root).with_retry(once());
                let timed = patient(builder, |b, k, v| b.with_config(AzureConfigKey::Client(k), v));
                Arc::new(timed.build().map_err(said)?)
            }
            "file" => {
                let directory = std::path::Path::new(rest);
                if !directory.is_absolute() {
                    return Err(refuse(
                        "it must be an absolute path: file:///directory".to_owned(),
                    ));
                }
                std::fs::create_dir_all(directory).map_err(Error::local("creating", directory))?;
                let files = LocalFileSystem::new_with_prefix(directory).map_err(said)?;
                return Ok(Self::of(Arc::new(files.with_fsync(true)), Path::default()));
            }
            _ => return Err(refuse(SCHEMES.to_owned())),
        };
        Ok(Self::of(inner, Path::parse(prefix).map_err(|error| refuse(error.to_string()))?))
    }

    pub(super) fn of(inner: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { inner, prefix, patience: Patience::Endless, retries: Arc::new(()) }
    }

    /// The same place, asked with that patience.
    pub(super) fn with_patience(&self, patience: Patience) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same place, and who counts what is tried again.
    pub(super) fn counted_by(&self, retries: Arc<dyn Retries>) -> Self {
        Self { retries, ..self.clone() }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Creates an object, if there is none of that name. What was there before and is the same to
    /// the byte counts as made: the answer to an attempt may have been lost.
    pub(super) async fn create(&self, name: &str, chunks: &[Bytes]) -> Result<Created> {
        let mut pause = Pause::new(self, "creating", name);
        let path = self.path(name);
        loop {
            let payload: PutPayload = chunks.iter().cloned().collect();
            match self.inner.put_opts(&path, payload, PutMode::Create.into()).await {
                Ok(_) => return Ok(Created::Made),
                Err(
                    error @ (StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }),
                ) => match self.get(name).await? {
                    Some(there) if is_same(&there, chunks) => return Ok(Created::Made),
                    Some(there) => return Ok(Created::Other(there)),
                    // An attempt of ours is still under way (S3 says 409 then), or it was removed.
                    None => pause.after(error).await?,
                },
                Err(error) => pause.after(error).await?,
            }
        }
    }

    /// Finds out whether the store keeps what everything here depends on: that an object is created
    /// only if there is none. `unique` is said by nobody else.
    ///
    /// * Errors: [`Error::Refused`] when it does not.
    pub(super) async fn check_creation(&self, unique: &[u8]) -> Result<()> {
        self.create(PROBE, &[Bytes::from_static(b"made once\n")]).await?;
        match self.create(PROBE, &[Bytes::copy_from_slice(unique)]).await? {
            Created::Other(_) => Ok(()),
            Created::Made => Err(Error::Refused(
                "the store replaces objects that are to be created only if there are none (S3: \
                 `If-None-Match: *`): two servers could own a shard"
                    .to_owned(),
            )),
        }
    }

    /// The object, if there is one.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let mut pause = Pause::new(self, "reading", name);
        loop {
            let read = async { self.inner.get(&self.path(name)).await?.bytes().await };
            match read.await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => pause.after(error).await?,
            }
        }
    }

    /// Whether there is an object of that name.
    pub(super) async fn has(&self, name: &str) -> Result<bool> {
        let mut pause = Pause::new(self, "looking for", name);
        loop {
            match self.inner.head(&self.path(name)).await {
                Ok(_) => return Ok(true),
                Err(StoreError::NotFound { .. }) => return Ok(false),
                Err(error) => pause.after(error).await?,
            }
        }
    }

    /// Stores a large object that `read` gives in parts, from the beginning each time it is called
    /// with 0. One of that name is replaced.
    pub(super) async fn store(
        &self,
        name: &str,
        mut read: impl FnMut(u64) -> Result<Option<Bytes>>,
    ) -> Result<u64> {
        let mut pause = Pause::new(self, "storing", name);
        'again: loop {
            let upload = match self.inner.put_multipart(&self.path(name)).await {
                Ok(upload) => upload,
                Err(error) => {
                    pause.after(error).await?;
                    continue;
                }
            };
            let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            let mut at = 0;
            while let Some(part) = read(at)? {
                at += part.len() as u64;
                if let Err(error) = writer.wait_for_capacity(PARTS_MAX).await {
                    let _gone = writer.abort().await;
                    pause.after(error).await?;
                    continue 'again;
                }
                writer.put(part);
            }
            match writer.finish().await {
                Ok(_) => return Ok(at),
                Err(error) => pause.after(error).await?,
            }
        }
    }

    /// Reads a large object, part by part, and says how long it is; 0 when there is none.
    pub(super) async fn load(
        &self,
        name: &str,
        mut write: impl FnMut(u64, Bytes) -> Result<()>,
    ) -> Result<u64> {
        let path = self.path(name);
        let mut pause = Pause::new(self, "reading", name);
        let size = loop {
            match self.inner.head(&path).await {
                Ok(meta) => break meta.size,
                Err(StoreError::NotFound { .. }) => return Ok(0),
                Err(error) => pause.after(error).await?,
            }
        };
        let mut at = 0;
        while at < size {
            let mut pause = Pause::new(self, "reading", name);
            let end = size.min(at + PART_BYTES as u64);
            let part = loop {
                match self.inner.get_range(&path, at..end).await {
                    Ok(part) => break part,
                    Err(StoreError::NotFound { .. }) => return Ok(0),
                    Err(error) => pause.after(error).await?,
                }
            };
            write(at, part)?;
            at = end;
        }
        Ok(size)
    }

    /// Removes an object, if there is one.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        let mut pause = Pause::new(self, "removing", name);
        loop {
            match self.inner.delete(&self.path(name)).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => return Ok(()),
                Err(error) => pause.after(error).await?,
            }
        }
    }

    /// The greatest number from `from` on of which `name` names an object, where those objects are
    /// numbered without a gap; `None` when there is none.
    ///
    /// * Errors: [`Error::Damaged`] when there is one behind a gap: what is missing must not pass
    ///   for the end.
    /// * Cost: some 15 requests at a time for each 16,000 that there are, a few times as many to
    ///   find the end between two of them, and a list of those behind.
    pub(super) async fn newest(
        &self,
        from: u64,
        name: impl Fn(u64) -> String,
    ) -> Result<Option<u64>> {
        let newest = self.end_of_run(from, &name).await?;
        let next = newest.map_or(from, |newest| newest + 1);
        let expected = name(next);
        match self.first_after(&name(next - 1)).await? {
            // One that was made, or seen by lists, after the look does not matter: it is found when
            // its name is to be taken.
            Some(first) if first != expected && !self.has(&expected).await? => {
                Err(Error::Damaged { name: expected, reason: format!("it is gone, not {first}") })
            }
            _ => Ok(newest),
        }
    }

    /// The last of those without a gap from `from` on.
    pub(super) async fn end_of_run(
        &self,
        from: u64,
        name: impl Fn(u64) -> String,
    ) -> Result<Option<u64>> {
        if !self.has(&name(from)).await? {
            return Ok(None);
        }
        // Many at a time: who takes a shard over waits for the answers.
        let ask = |numbers: Vec<u64>| {
            let probes = numbers.into_iter().map(|number| {
                let name = name(number);
                async move { Ok::<_, Error>((number, self.has(&name).await?)) }
            });
            try_join_all(probes)
        };
        let mut there = from;
        let mut missing = loop {
            let answers = ask((0..PROBES).map(|power| there + (1 << power)).collect()).await?;
            let first = answers.iter().position(|(_, is_there)| !is_there);
            there = answers[..first.unwrap_or(answers.len())].last().map_or(there, |(n, _)| *n);
            if let Some(first) = first {
                break answers[first].0;
            }
        };
        while missing - there > 1 {
            let step = (missing - there).div_ceil(PROBES + 1).max(1);
            let between = (1..=PROBES).map(|at| there + at * step).filter(|n| *n < missing);
            for (number, is_there) in ask(between.collect()).await? {
                match is_there {
                    true if number < missing => there = there.max(number),
                    false => missing = missing.min(number),
                    true => {}
                }
            }
        }
        Ok(Some(there))
    }

    /// The first numbered object behind that one in its directory, as lists have it.
    async fn first_after(&self, name: &str) -> Result<Option<String>> {
        let Some((directory, offset)) = name.rsplit_once('/') else { return Ok(None) };
        let is_number = |file: &str| {
            file.len() == offset.len() && file.bytes().all(|byte| byte.is_ascii_digit())
        };
        let mut pause = Pause::new(self, "listing", directory);
        'again: loop {
            let mut first: Option<String> = None;
            // Not every store lists in order.
            let behind = Some(&self.path(directory));
            let mut listed = self.inner.list_with_offset(behind, &self.path(name));
            while let Some(object) = listed.next().await {
                match object {
                    Ok(object) => {
                        let file = object.location.filename().unwrap_or_default();
                        let is_first = first.as_deref().is_none_or(|first| file < first);
                        if is_number(file) && file > offset && is_first {
                            first = Some(file.to_owned());
                        }
                    }
                    Err(error) => {
                        pause.after(error).await?;
                        continue 'again;
                    }
                }
            }
            return Ok(first.map(|file| format!("{directory}/{file}")));
        }
    }
}

const SCHEMES: &str = "it must begin with s3://, gs://, az:// or file://";

/// One attempt: how often to try is decided here, where it is counted.
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Bounds how long a request may take.
fn patient<B>(builder: B, set: impl Fn(B, ClientConfigKey, &'static str) -> B) -> B {
    let builder = set(builder, ClientConfigKey::Timeout, REQUEST_SECS);
    set(builder, ClientConfigKey::ConnectTimeout, CONNECT_SECS)
}

fn is_same(there: &Bytes, chunks: &[Bytes]) -> bool {
    let mut at = 0;
    chunks.iter().all(|chunk| {
        let is_same = there.get(at..at + chunk.len()) == Some(chunk);
        at += chunk.len();
        is_same
    }) && at == there.len()
}

/// The pauses between attempts at one thing.
struct Pause<'a> {
    store: &'a Store,
    operation: &'static str,
    name: &'a str,
    attempts: u32,
}

impl<'a> Pause<'a> {
    fn new(store: &'a Store, operation: &'static str, name: &'a str) -> Self {
        Self { store, operation, name, attempts: 0 }
    }

    /// Waits before the next attempt.
    ///
    /// * Errors: the last failure, when there were enough, or it is final.
    async fn after(&mut self, source: StoreError) -> Result<()> {
        self.attempts += 1;
        self.store.retries.retried();
        let (operation, name) = (self.operation, self.name);
        let is_final = matches!(
            source,
            StoreError::NotImplemented { .. }
                | StoreError::NotSupported { .. }
                | StoreError::InvalidPath { .. }
        );
        let enough = match self.store.patience {
            Patience::Endless => false,
            Patience::Attempts(attempts) => self.attempts >= attempts,
        };
        if is_final || enough {
            return Err(Error::Store { operation, name: name.to_owned(), source });
        }
        // Loud when it may need somebody, quiet when it is a hiccup.
        let error = crate::types::refusal::chain(&source);
        if self.attempts.is_power_of_two() && self.attempts > 2 {
            tracing::warn!(operation, object = name, attempts = self.attempts, error, "the bucket");
        } else {
            tracing::debug!(
                operation,
                object = name,
                attempts = self.attempts,
                error,
                "the bucket"
            );
        }
        let doublings = (self.attempts - 1).min(7);
        tokio::time::sleep((PAUSE * (1 << doublings)).min(PAUSE_MAX)).await;
        Ok(())
    }
}
