//! `thalweg inspect` and `thalweg verify`: what a data directory holds, and whether it is whole.
//!
//! * Read-only, files opened so; takes no lock, so a running server's directory can be looked at.
//! * Both walk the log from the oldest segment that is still needed, not from the checkpoint.
//! * Neither shows a token or a byte of a record.
//!
//! `inspect` counts and shows; `verify` judges. What follows a damaged place is still looked at.
//!
//! `repair` is the exception: it locks the directory, tells what is damaged and what that took,
//! and writes when it is told to, and then only what the reads of the server are to pass over.

#![forbid(unsafe_code)]

mod ahead;
mod check;
mod count;
mod fault;
mod repair;
mod saved;
mod show;
mod start;
mod survey;
mod table;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

use std::io::Write;
use std::path::Path;

use glommio::{GlommioError, LocalExecutorBuilder, Placement};

pub use repair::{RepairPlan, repair};
pub use show::inspect;
pub use verify::verify;

use crate::directory::{DataDirectory, DirectoryError};
use crate::io::IoError;
use crate::io::glommio::GlommioIo;
use crate::log::entry::Record;
use crate::log::recovery::RecoveryError;
use crate::types::{Command as StreamCommand, FencingToken};

/// What to do with a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Show what is in it.
    Inspect(Options),
    /// Check all of it.
    Verify,
}

/// What `inspect` shows beside its tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// One line per frame (*group*) of the log.
    pub groups: bool,
}

/// Why a data directory could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The disk refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A shard's segments cannot be told apart.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// What was found could not be written out.
    #[error("the output failed")]
    Output(#[from] std::io::Error),
    /// What was to be given up cannot be.
    #[error("{0}")]
    Refused(String),
    /// There is no io_uring executor to read with.
    #[error("an executor could not be started")]
    Executor(#[source] GlommioError<()>),
}

/// Carries out `command` on the data directory at `path` and writes what it finds to `out`.
///
/// * Returns: false when something is wrong with the directory's contents.
/// * Errors: [`Error`], when they could not be looked at.
/// * Call it on a thread that runs no executor.
pub fn run(path: &Path, command: Command, out: &mut impl Write) -> Result<bool, Error> {
    let directory = DataDirectory::open_existing(path)?;
    write_heading(&directory, command, out)?;
    let mut whole = true;
    for shard in 0..directory.shards() {
        whole &= run_shard(&directory, shard, command, out)?;
    }
    out.flush()?;
    Ok(whole)
}

fn write_heading(
    directory: &DataDirectory,
    command: Command,
    out: &mut impl Write,
) -> std::io::Result<()> {
    if let Command::Inspect(_) = command {
        writeln!(
            out,
            "directory {:032x}: {} shards, {} bytes a segment, made {}{}",
            directory.id(),
            directory.shards(),
            directory.segment_bytes(),
            table::time(directory.created_us()),
            if directory.is_initialised() { "" } else { ", not yet initialised" },
        )?;
    }
    Ok(())
}

fn run_shard(
    directory: &DataDirectory,
    shard: u16,
    command: Command,
    out: &mut impl Write,
) -> Result<bool, Error> {
    match directory.check_shard(shard) {
        Ok(()) => {}
        Err(_) if !directory.is_initialised() => {
            writeln!(out, "shard {shard}: not made yet")?;
            return Ok(true);
        }
        Err(error) => {
            writeln!(out, "{error}")?;
            return Ok(false);
        }
    }
    let path = directory.shard_path(shard);
    let log = directory.log_facts(shard);
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(Error::Executor)?;
    executor.run(async {
        let io = GlommioIo::read_only(&path);
        match command {
            Command::Inspect(options) => inspect(&io, log, options, out).await,
            Command::Verify => verify(&io, log, out).await,
        }
    })
}

/// The command that a stored record carries; `Err` when it looks like one and makes no sense.
fn command_of(record: &Record<'_>) -> Result<Option<StreamCommand>, ()> {
    let mut headers = record.headers();
    match (headers.next(), headers.next()) {
        (Some((b"", b"fence")), None) => {
            let text = std::str::from_utf8(record.body).map_err(|_| ())?;
            Ok(Some(StreamCommand::Fence(FencingToken::new(text).map_err(|_| ())?)))
        }
        (Some((b"", b"trim")), None) => {
            let bytes = record.body.try_into().map_err(|_| ())?;
            Ok(Some(StreamCommand::Trim(u64::from_be_bytes(bytes))))
        }
        (Some((b"", _)), _) => Err(()),
        _ => Ok(None),
    }
}
