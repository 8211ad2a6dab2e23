//! A store in memory that fails as stores do over a network.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::sleep;

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
pub(super) struct Dice(Cell<u64>);

fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(mix(seed)))
    }

    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        mix(self.0.get())
    }

    pub(super) fn up_to(&self, most: u64) -> u64 {
        self.next() % (most + 1)
    }

    pub(super) fn one_in(&self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }
}

/// What becomes of a request.
enum Fate {
    Well,
    /// It never arrives.
    Lost,
    /// It is done, and nobody learns of it.
    AnswerLost,
    /// It is given up by who asked, and done later.
    Late(Duration),
    /// It is done, and once more later.
    Twice(Duration),
}

#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<InMemory>,
    dice: AtomicU64,
    is_well: AtomicBool,
    /// What was listed last.
    listed: ArcSwap<Vec<ObjectMeta>>,
}

impl Faulty {
    pub(super) fn new(seed: u64) -> Self {
        let dice = AtomicU64::new(mix(seed.wrapping_add(1)));
        Self { inner: Arc::default(), dice, is_well: false.into(), listed: ArcSwap::default() }
    }

    /// From now on nothing fails.
    pub(super) fn heal(&self) {
        self.is_well.store(true, Ordering::Relaxed);
    }

    fn roll(&self) -> u64 {
        mix(self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }

    /// How long it takes, and what becomes of it.
    async fn fate(&self) -> Fate {
        if self.is_well.load(Ordering::Relaxed) {
            return Fate::Well;
        }
        sleep(Duration::from_millis(1 + self.roll() % 150)).await;
        let later = Duration::from_millis(self.roll() % 30_000);
        match self.roll() % 20 {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Late(later),
            3 => Fate::Twice(later),
            _ => Fate::Well,
        }
    }
}

fn failed() -> Error {
    Error::Generic { store: "faulty", source: "the connection was lost".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let fate = self.fate().await;
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        let later = |pause: Duration, payload: PutPayload, opts: PutOptions| {
            drop(tokio::spawn(async move {
                sleep(pause).await;
                let _unheard = inner.put_opts(&path, payload, opts).await;
            }));
        };
        match fate {
            Fate::Well => self.inner.put_opts(location, payload, opts).await,
            Fate::Lost => Err(failed()),
            Fate::AnswerLost => {
                let _unheard = self.inner.put_opts(location, payload, opts).await;
                Err(failed())
            }
            Fate::Late(pause) => {
                later(pause, payload, opts);
                Err(failed())
            }
            Fate::Twice(pause) => {
                later(pause, payload.clone(), opts.clone());
                self.inner.put_opts(location, payload, opts).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate().await {
            Fate::Lost | Fate::AnswerLost | Fate::Late(_) => Err(failed()),
            Fate::Well | Fate::Twice(_) => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let fails = !self.is_well.load(Ordering::Relaxed) && self.roll().is_multiple_of(10);
        let deleted = self.inner.delete_stream(locations);
        if fails {
            // Done, and nobody learns of it.
            return deleted.then(|_| async { Err(failed()) }).boxed();
        }
        deleted
    }

    /// Fails, or is as old as the last list, or is true.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let fate = if self.is_well.load(Ordering::Relaxed) { 9 } else { self.roll() % 10 };
        if fate == 0 {
            return stream::iter([Err(failed())]).boxed();
        }
        if fate > 4 {
            // In memory, so there is nothing to wait for.
            let now = self.inner.list(None).try_collect().now_or_never();
            self.listed.store(Arc::new(now.and_then(Result::ok).unwrap_or_default()));
        }
        let is_below =
            |object: &&ObjectMeta| prefix.is_none_or(|p| object.location.prefix_matches(p));
        let listed = self.listed.load();
        let listed = listed.iter().filter(is_below).cloned().map(Ok);
        stream::iter(listed.collect::<Vec<_>>()).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(failed())
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(failed())
    }
}
