//! What a start does about the bucket: finds out whose it is, fetches what is only there, and takes
//! the shards over.
//!
//! | here | in the bucket | |
//! |---|---|---|
//! | nothing | nothing | begins both |
//! | a directory | nothing | ships all of it |
//! | a directory | the same one's log, ours | goes on |
//! | a directory | the same one's log, another node's | refused |
//! | nothing | a log | fetches it |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::try_join_all;

use super::fetch::{Fetched, fetch_shard, remove_unfinished};
use super::format::DESCRIPTION;
use super::link::Link;
use super::node::Node;
use super::ownership::{Owned, Standing, survey, take_over};
use super::store::{Created, Patience, Store};
use super::thread::wall_us;
use super::{Error, Result};
use crate::directory::{DataDirectory, DirectoryError};

/// Attempts at each thing that a start asks of the bucket: about half a minute.
const START_ATTEMPTS: u32 = 12;

/// Where the log is, and where it is shipped to.
#[derive(Debug, Clone)]
pub struct Place {
    /// The bucket.
    pub url: String,
    /// The data directory.
    pub data_dir: PathBuf,
    /// A node's random name, if it needs one.
    pub random: [u8; 16],
}

/// A bucket that is known to be ours, or to be empty.
#[derive(Debug)]
pub struct Prepared {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) store: Store,
    pub(super) owned: Vec<Owned>,
    node: Node,
    data_dir: PathBuf,
    /// Whether the bucket has no directory yet.
    is_new: bool,
}

/// Refuses to serve a directory without the bucket that it ships to: what is acknowledged would
/// not be there.
///
/// * Errors: [`Error::Refused`].
pub fn refuse_without(data_dir: &Path) -> Result<()> {
    match Node::read(data_dir)? {
        None => Ok(()),
        Some(node) => Err(Error::Refused(format!(
            "{} is shipped to {}: give --bucket, or remove bucket.json to leave the bucket for good",
            data_dir.display(),
            node.url
        ))),
    }
}

/// Looks at the bucket before the data directory is opened, and fetches the directory when it is
/// only there.
///
/// * Errors: [`Error`]; what was fetched so far is fetched again by the next start.
/// * Durable: what was fetched, when it returns.
/// * Call it on a thread that runs no executor.
pub fn prepare(place: &Place) -> Result<Prepared> {
    let store = Store::open(&place.url)?;
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = built.map_err(Error::local("preparing to ask", Path::new(&place.url)))?;
    let patient = store.with_patience(Patience::Attempts(START_ATTEMPTS));
    let data_dir = place.data_dir.clone();
    let known = match data_dir.is_dir() {
        true => Node::read(&data_dir)?,
        false => None,
    };
    if let Some(node) = known.as_ref().filter(|node| node.url != place.url) {
        return Err(Error::Refused(format!(
            "{} is shipped to {}, not to {}",
            data_dir.display(),
            node.url,
            place.url
        )));
    }
    if known.as_ref().is_some_and(|node| node.fetching) {
        let _alone = crate::directory::lock(&data_dir)?;
        // Whoever had it before may have fetched all of it.
        if Node::read(&data_dir)?.is_some_and(|node| node.fetching) {
            remove_unfinished(&data_dir)?;
        }
    }
    let here = match DataDirectory::open_existing(&data_dir) {
        Ok(directory) => Some(directory),
        Err(DirectoryError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    runtime.block_on(patient.check_creation(&place.random))?;
    let there = runtime.block_on(patient.get(DESCRIPTION))?;
    let node = known.clone().unwrap_or_else(|| Node::new(&place.url, place.random, false));
    let is_new = there.is_none();
    let prepared = |node| Prepared { runtime, store, owned: Vec::new(), node, data_dir, is_new };
    match (here, there) {
        (_, None) => Ok(prepared(Node { fetching: false, ..node })),
        (Some(here), Some(text)) => {
            let there = DataDirectory::described(&place.data_dir, &text)?;
            if here.id() != there.id() {
                return Err(Error::Refused(format!(
                    "{} holds the log of another data directory than {}",
                    place.url,
                    place.data_dir.display()
                )));
            }
            if known.is_none() {
                return Err(Error::Refused(format!(
                    "{} has no bucket.json, so nothing says that {} is its own: start with an \
                     empty --data-dir to take the shards over",
                    place.data_dir.display(),
                    place.url
                )));
            }
            Ok(prepared(node))
        }
        (None, Some(text)) => {
            let mut prepared = prepared(Node { fetching: true, ..node });
            prepared.fetch(&text)?;
            Ok(prepared)
        }
    }
}

impl Prepared {
    /// Takes over all shards, and makes a data directory of what is in the bucket.
    fn fetch(&mut self, text: &[u8]) -> Result<()> {
        let directory = DataDirectory::begin_adoption(&self.data_dir, text)?;
        self.node.write(&self.data_dir)?;
        let store = self.store.with_patience(Patience::Attempts(START_ATTEMPTS));
        let facts = (directory.id(), directory.shards());
        tracing::info!(shards = facts.1, bucket = self.node.url, "fetching from the bucket");
        self.owned =
            self.runtime.block_on(claim_all(&store, facts, &self.node.node, |_| Ok(())))?;
        for owned in &self.owned {
            let shard = owned.author.shard;
            let to = directory.shard_path(shard);
            let fetching = fetch_shard(&store, owned, directory.log_facts(shard), &to);
            let Fetched { end, made_us } = self.runtime.block_on(fetching)?;
            // What nobody can know: whether more was acknowledged at the other machine's disk.
            tracing::warn!(
                shard,
                next_frame_seq = end.next_frame_seq,
                last_shipped_us = made_us,
                "fetched from the bucket; what only the other node's disk had is not there"
            );
        }
        directory.adopt()?;
        self.node.fetching = false;
        self.node.write(&self.data_dir)
    }

    /// What each shard and who ships its log tell each other by; a shard may be so many bytes
    /// behind before its appends are refused.
    #[must_use]
    pub fn links(&self, directory: &DataDirectory, lag_bytes_max: u64) -> Vec<Arc<Link>> {
        let link = |owned: &Owned| {
            let link = Link::new(directory.segment_bytes(), lag_bytes_max);
            // The first that is not stored; where nothing is, the shard says where it begins.
            if let Some(epoch) = owned.first_unstored {
                link.set_needed_epoch(epoch);
            }
            link
        };
        self.owned.iter().map(link).collect()
    }

    /// Takes over what is not ours yet, once the data directory is there.
    ///
    /// * Errors: [`Error`], [`Error::Refused`] when another node has the shards.
    pub fn attach(&mut self, directory: &DataDirectory) -> Result<()> {
        if !self.owned.is_empty() {
            return Ok(());
        }
        let store = self.store.with_patience(Patience::Attempts(START_ATTEMPTS));
        if self.is_new {
            // Before anything is made: objects that are not ours are not mixed with ours.
            let shards =
                (0..directory.shards()).map(|shard| survey(&store, (directory.id(), shard)));
            self.runtime.block_on(try_join_all(shards))?;
        }
        // First: what is claimed in its name is known as its own by the next start.
        self.node.write(&self.data_dir)?;
        let text = directory.description();
        let (id, url) = (directory.id(), &self.node.url);
        let created = self.runtime.block_on(store.create(DESCRIPTION, &[text.into()]))?;
        if let Created::Other(there) = created
            && DataDirectory::described(&self.data_dir, &there)?.id() != id
        {
            return Err(Error::Refused(format!("{url} holds the log of another data directory")));
        }
        let node = self.node.node.clone();
        let is_ours = |standing: &Standing| match standing.term == 0 || standing.node == node {
            true => Ok(()),
            false => Err(Error::Refused(format!(
                "the shards in {url} were taken over by node {} (term {}): what this node \
                 acknowledged since is not there; start with an empty --data-dir to take them back",
                standing.node, standing.term
            ))),
        };
        let facts = (id, directory.shards());
        self.owned = self.runtime.block_on(claim_all(&store, facts, &node, is_ours))?;
        Ok(())
    }
}

async fn claim_all(
    store: &Store,
    (id, shards): (u128, u16),
    node: &str,
    may: impl Fn(&Standing) -> Result<()>,
) -> Result<Vec<Owned>> {
    let may = &may;
    let claims = (0..shards).map(|shard| take_over(store, (id, shard), node, wall_us, may));
    try_join_all(claims).await
}
