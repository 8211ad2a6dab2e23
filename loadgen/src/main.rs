//! Load generator and verifier for servers that speak the S2 durable-streams API.
//!
//! * `loadgen append` appends, in open loop by default, by unary requests or in sessions, and
//!   reports throughput, errors and latency counted from the *intended* send time.
//! * `loadgen tail` does the same while readers follow the streams, and reports how long records
//!   take to reach them; it checks that they get every record once, in order.
//! * `loadgen scan` reads whole streams again and again: a load of old data, for beside appends.
//! * `loadgen verify` reads back what earlier runs journalled and compares numbers, order, bytes.
//! * `loadgen abuse` attacks a server and watches whether it stays well.
//! * `loadgen compare` runs the same loads on several servers and reports on it.
//! * `loadgen pair` runs one load on two servers that run already, and tells the ratio of what they
//!   do with a confidence interval.
//! * `loadgen sweep` offers more and more, and finds where a server can no longer follow.
//! * `loadgen costs` draws cost curves of many runs, `loadgen hlog` prints a latency log.
//! * `loadgen disk` measures direct write + sync of the bare disk, for comparison.
//!
//! It shares no code with the server, so that a codec bug cannot hide on both sides.
//!
//! Exit codes: 0 all well; 1 verification or a reader found a fault; 2 wrong usage; 3 latency
//! figures refused, because the generator itself was too slow; 4 the run failed.

#![forbid(unsafe_code)]

mod abuse;
mod board;
mod child;
mod cli;
mod client;
mod clock;
mod collect;
mod compare;
mod connection;
mod context;
mod costs;
mod deliveries;
mod desk;
mod disk;
mod duplex;
mod environment;
mod feed;
mod follower;
mod hlog;
mod http2;
mod inlet;
mod input;
mod journal;
mod judge;
mod lane;
mod lines;
mod outcome;
mod pair;
mod peers;
mod place;
mod plot;
mod prompt;
mod proto;
mod readback;
mod reader;
mod receipts;
mod record;
mod report;
mod request;
mod routes;
mod run;
mod s2s;
mod scan;
mod schedule;
mod server_cpu;
mod session;
mod setup;
mod stats;
mod sweep;
mod tls;
mod trust;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// What the process answers; see the crate header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All well.
    Good,
    /// Acknowledged data is missing, doubled, torn or changed, or a reader was given it so.
    Wrong,
    /// The generator was too slow for its own latency figures.
    Untrusted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Good => Self::SUCCESS,
            Exit::Wrong => Self::from(1),
            Exit::Untrusted => Self::from(3),
        }
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Append(args) => run::load(&args, 0),
        Command::Tail(args) => run::load(&args.load, args.readers),
        Command::Scan(args) => scan::run(&args).map(|()| Exit::Good),
        Command::Verify(args) => readback::verify_journals(&args),
        Command::Abuse(args) => abuse::run(&args),
        Command::Compare(args) => compare::run(&args).map(|()| Exit::Good),
        Command::Sweep(args) => sweep::run(&args).map(|()| Exit::Good),
        Command::Pair(args) => pair::run(&args).map(|()| Exit::Good),
        Command::Costs(args) => costs::run(&args).map(|()| Exit::Good),
        Command::Hlog(args) => hlog::run(&args).map(|()| Exit::Good),
        Command::Disk(args) => disk::run(&args).map(|()| Exit::Good),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(4)
        }
    }
}
