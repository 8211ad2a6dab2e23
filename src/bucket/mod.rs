//! The bucket: a second home of the log, in an object store.
//!
//! Each shard's log is shipped behind the local sync. What is there after the loss of a machine is
//! a log up to some frame, and another machine can serve from it.
//!
//! ```text
//!  directory.json                        what the data directory is
//!  shard-<n>/log/<number>                1, 2, 3 ...: claims, and pieces of the log
//!  shard-<n>/base/<ordinal>              1, 2, 3 ...: what is needed besides the pieces
//!  shard-<n>/segment/<epoch>-<term>      a sealed segment
//!  shard-<n>/checkpoint/<frame>-<term>   a checkpoint
//! ```
//!
//! What must hold:
//! * *Objects are made, never changed.* Those of `log/` and `base/` are numbered without a gap and
//!   created only if there is none of that number: of two who try, one succeeds. That, and that
//!   an object is seen by whoever asks for its name afterwards, is all that the store must keep.
//!   No clock is trusted, and no list.
//! * *Who owns a shard* is said by the newest claim. An owner's next piece would have the number of
//!   that claim: so an owner that has lost its shard finds out before it ships another frame
//!   (`ownership`).
//! * *A base* is claimed too: the new owner's comes before it changes or removes anything, and an
//!   owner whose base is not the newest removes nothing any more.
//! * *Only what is durable here is shipped* (`link`), whole frames in the order of the log
//!   (`local`), so what is in the bucket is always the beginning of the log here.
//! * *Segments that are not shipped are not given up*: a bucket that is away costs room.
//! * *Nothing here runs on a shard's executor*: all of it has a thread of its own (`thread`).

#![forbid(unsafe_code)]

mod archive;
mod fetch;
mod format;
pub mod link;
mod local;
mod node;
mod ownership;
mod ship;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod thread;

pub use start::{Place, Prepared, prepare, refuse_without};
pub use thread::{Shipping, Source};

/// Why the bucket cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no bucket that is known here.
    #[error("{url}: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store refused or could not be reached.
    #[error("{operation} {name} in the bucket")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// Of which object.
        name: String,
        /// What it said.
        #[source]
        source: object_store::Error,
    },
    /// An object is not what it should be.
    #[error("{name} in the bucket is damaged: {reason}")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another node owns the shard.
    #[error(
        "shard {shard} was taken over by node {node} (term {term}): nothing more is acknowledged here"
    )]
    Lost {
        /// The shard.
        shard: u16,
        /// Who owns it.
        node: String,
        /// Since which term.
        term: u64,
    },
    /// What is here and what is there do not go together.
    #[error("{0}")]
    Refused(String),
    /// The log here cannot be read.
    #[error("{operation} {}", path.display())]
    Local {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The log here is damaged.
    #[error(
        "segment {file}, offset {offset_bytes}: the log cannot be shipped from here on: {reason}"
    )]
    Log {
        /// The file.
        file: String,
        /// Where the damage begins.
        offset_bytes: u32,
        /// What is wrong.
        reason: String,
    },
    /// The data directory refused.
    #[error(transparent)]
    Directory(#[from] crate::directory::DirectoryError),
}

impl Error {
    /// An error at a file of ours.
    fn local(
        operation: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Local { operation, path, source }
    }
}

type Result<T> = std::result::Result<T, Error>;
