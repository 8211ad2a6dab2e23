//! What is run: the table of loads, and what each load is to each server.
//!
//! A load is written once, for all servers. Where a server has nothing like a part of it, the
//! nearest thing stands in for it, and [`Workload::stands_in`] says so in the report.

use super::peer::Peer;

/// One load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What the report calls it.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    /// True when `--quick` runs it too.
    pub(crate) is_quick: bool,
}

/// What a load does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Appends in a closed loop.
    Append(Appends),
    /// Readers go through streams written before, again and again.
    CatchUp { readers: u32 },
    /// Readers follow one stream while some appends go on, in an open loop.
    Follow { followers: u32 },
}

/// The appends of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appends {
    /// How appends travel where the S2 API is spoken.
    pub(crate) s2: S2Form,
    /// Connections, or sessions.
    pub(crate) connections: u32,
    /// Appends in flight in each session; 1 elsewhere.
    pub(crate) depth: u32,
    pub(crate) streams: u32,
    pub(crate) records: u32,
    pub(crate) record_bytes: u32,
}

/// How appends travel where the S2 API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum S2Form {
    /// A request each, protobuf.
    Proto,
    /// A request each, JSON.
    Json,
    /// In an S2S session over HTTP/1.1.
    Session,
}

/// A record of this many bytes fills an append to the API's limit of 1 MiB metered.
const MIB_RECORD_BYTES: u32 = 1_048_568;
/// Appends per second of 100 records each, while streams are filled; see `round::FILL_DURATION`.
const FILL_RATE: &str = "200";
/// Appends per second while readers follow.
const FOLLOW_RATE: &str = "50";

const fn unary(
    name: &'static str,
    title: &'static str,
    connections: u32,
    streams: u32,
    is_quick: bool,
) -> Workload {
    let s2 = S2Form::Proto;
    let appends = Appends { s2, connections, depth: 1, streams, records: 1, record_bytes: 1_024 };
    Workload { name, title, kind: Kind::Append(appends), is_quick }
}

const fn session(
    name: &'static str,
    title: &'static str,
    connections: u32,
    depth: u32,
    record_bytes: u32,
    is_quick: bool,
) -> Workload {
    let s2 = S2Form::Session;
    let appends = Appends { s2, connections, depth, streams: 1, records: 1, record_bytes };
    Workload { name, title, kind: Kind::Append(appends), is_quick }
}

const fn appends(
    name: &'static str,
    title: &'static str,
    s2: S2Form,
    connections: u32,
    (records, record_bytes): (u32, u32),
    is_quick: bool,
) -> Workload {
    let appends = Appends { s2, connections, depth: 1, streams: 1, records, record_bytes };
    Workload { name, title, kind: Kind::Append(appends), is_quick }
}

const fn reading(name: &'static str, title: &'static str, kind: Kind, is_quick: bool) -> Workload {
    Workload { name, title, kind, is_quick }
}

/// All loads, in the order in which they are run and shown.
pub(crate) const WORKLOADS: [Workload; 23] = [
    unary("unary-1k-c1", "1 KiB unary, 1 connection, 1 stream", 1, 1, true),
    unary("unary-1k-c16", "1 KiB unary, 16 connections, 1 stream", 16, 1, false),
    unary("unary-1k-c64", "1 KiB unary, 64 connections, 1 stream", 64, 1, true),
    unary("unary-1k-c256", "1 KiB unary, 256 connections, 1 stream", 256, 1, false),
    unary("unary-1k-c1-s1000", "1 KiB unary, 1 connection, 1,000 streams", 1, 1_000, false),
    unary("unary-1k-c16-s1000", "1 KiB unary, 16 connections, 1,000 streams", 16, 1_000, false),
    unary("unary-1k-c64-s1000", "1 KiB unary, 64 connections, 1,000 streams", 64, 1_000, false),
    unary("unary-1k-c256-s1000", "1 KiB unary, 256 connections, 1,000 streams", 256, 1_000, false),
    appends(
        "unary-1k-c64-json",
        "1 KiB unary as JSON, 64 connections",
        S2Form::Json,
        64,
        (1, 1_024),
        false,
    ),
    appends("unary-100b-c64", "100 B unary, 64 connections", S2Form::Proto, 64, (1, 100), false),
    appends("batch-100x1k-c1", "100 x 1 KiB, 1 connection", S2Form::Proto, 1, (100, 1_024), false),
    appends(
        "batch-100x1k-c16",
        "100 x 1 KiB, 16 connections",
        S2Form::Proto,
        16,
        (100, 1_024),
        true,
    ),
    session("session-64k-w1", "sessions, 64 KiB, 1 writer x 8 in flight", 1, 8, 65_536, true),
    session("session-64k-w8", "sessions, 64 KiB, 8 writers x 8 in flight", 8, 8, 65_536, false),
    session("session-64k-w64", "sessions, 64 KiB, 64 writers x 8 in flight", 64, 8, 65_536, false),
    session(
        "session-1m-w1",
        "sessions, 1 MiB, 1 writer x 2 in flight",
        1,
        2,
        MIB_RECORD_BYTES,
        false,
    ),
    session(
        "session-1m-w8",
        "sessions, 1 MiB, 8 writers x 2 in flight",
        8,
        2,
        MIB_RECORD_BYTES,
        false,
    ),
    session(
        "session-1m-w64",
        "sessions, 1 MiB, 64 writers x 2 in flight",
        64,
        2,
        MIB_RECORD_BYTES,
        false,
    ),
    reading("catch-up-r1", "catch-up, 1 reader, 1 KiB records", Kind::CatchUp { readers: 1 }, true),
    reading(
        "catch-up-r8",
        "catch-up, 8 readers, 1 KiB records",
        Kind::CatchUp { readers: 8 },
        false,
    ),
    reading("follow-1", "1 follower, 50 appends/s", Kind::Follow { followers: 1 }, false),
    reading("follow-100", "100 followers, 50 appends/s", Kind::Follow { followers: 100 }, true),
    reading(
        "follow-1000",
        "1,000 followers, 50 appends/s",
        Kind::Follow { followers: 1_000 },
        false,
    ),
];

/// A call of the load generator: its subcommand and options, without address, times and output.
pub(crate) type Call = Vec<String>;

impl Workload {
    /// What fills the server before the load, if it needs to be filled.
    pub(crate) fn fill(&self, peer: Peer) -> Option<Call> {
        let Kind::CatchUp { .. } = self.kind else { return None };
        let fill = Appends {
            s2: S2Form::Session,
            connections: 4,
            depth: 4,
            streams: 4,
            records: 100,
            record_bytes: 1_024,
        };
        // As much for every server that keeps up.
        Some(fill.call(peer, FILL_RATE))
    }

    /// The load itself; `None` when it is nothing to `peer`.
    pub(crate) fn call(&self, peer: Peer) -> Option<Call> {
        match self.kind {
            Kind::Append(Appends { s2: S2Form::Json, .. }) if !peer.speaks_s2() => None,
            Kind::Append(appends) => Some(appends.call(peer, "max")),
            Kind::CatchUp { readers } => {
                let readers = readers.to_string();
                let mut call = words(&["scan", "--streams", "4", "--readers", &readers]);
                call.extend(words(&["--record-bytes", "1024"]));
                if let Some(protocol) = peer.protocol() {
                    call.extend(words(&["--protocol", protocol]));
                }
                Some(call)
            }
            Kind::Follow { followers } => {
                let followers = followers.to_string();
                let mut call = words(&["tail", "--readers", &followers, "--rate", FOLLOW_RATE]);
                call.extend(words(&["--connections", "4", "--record-bytes", "1024"]));
                call.extend(words(&["--protocol", peer.protocol().unwrap_or("proto")]));
                Some(call)
            }
        }
    }

    /// What stands in for a part of the load that `peer` does not have.
    pub(crate) fn stands_in(&self, peer: Peer) -> Option<String> {
        if matches!(self.kind, Kind::CatchUp { .. }) && peer == Peer::DurableStreams {
            return Some(
                "the bytes of a whole stream in one answer, not cut into records".to_owned(),
            );
        }
        let Kind::Append(appends) = self.kind else { return None };
        if peer.speaks_s2() {
            return None;
        }
        match appends.s2 {
            S2Form::Session => Some(format!(
                "{} connections with one append in flight each, instead of sessions",
                appends.connections * appends.depth
            )),
            _ if appends.records > 1 && peer == Peer::Redis => {
                Some(format!("{} commands in one write, not atomic", appends.records))
            }
            _ if appends.records > 1 => Some("one append that keeps no records apart".to_owned()),
            _ => None,
        }
    }
}

impl Appends {
    fn call(self, peer: Peer, rate: &str) -> Call {
        let Self { s2, connections, depth, streams, records, record_bytes } = self;
        let (protocol, connections, depth) = match (peer.protocol(), s2) {
            // As many appends in flight, each on a connection of its own.
            (Some(protocol), _) => (protocol, connections * depth, 1),
            (None, S2Form::Proto) => ("proto", connections, 1),
            (None, S2Form::Json) => ("json", connections, 1),
            (None, S2Form::Session) => ("s2s", connections, depth),
        };
        let mut call = words(&["append", "--rate", rate, "--protocol", protocol]);
        for (option, value) in [
            ("--connections", connections),
            ("--depth", depth),
            ("--streams", streams),
            ("--records-per-batch", records),
            ("--record-bytes", record_bytes),
        ] {
            call.extend([option.to_owned(), value.to_string()]);
        }
        call
    }
}

fn words(words: &[&str]) -> Call {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_load_is_a_valid_call_of_the_load_generator_for_every_server() {
        for workload in WORKLOADS {
            for peer in Peer::ALL {
                for call in workload.call(peer).into_iter().chain(workload.fill(peer)) {
                    let line = std::iter::once("loadgen".to_owned()).chain(call.clone());
                    assert!(Cli::try_parse_from(line).is_ok(), "{call:?}");
                }
            }
        }
    }

    #[test]
    fn names_and_titles_tell_loads_apart() {
        let names: BTreeSet<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        let titles: BTreeSet<_> = WORKLOADS.iter().map(|workload| workload.title).collect();
        assert_eq!((names.len(), titles.len()), (WORKLOADS.len(), WORKLOADS.len()));
    }

    #[test]
    fn sessions_become_as_many_connections_elsewhere() {
        let workload = WORKLOADS.iter().find(|workload| workload.name == "session-64k-w8").unwrap();
        let ours = workload.call(Peer::Thalweg).unwrap().join(" ");
        assert!(ours.contains("--protocol s2s --connections 8 --depth 8"), "{ours}");
        let theirs = workload.call(Peer::Redis).unwrap().join(" ");
        assert!(theirs.contains("--protocol redis --connections 64 --depth 1"), "{theirs}");
        assert!(workload.stands_in(Peer::Redis).unwrap().starts_with("64 connections"));
        assert_eq!(workload.stands_in(Peer::S2Lite), None);
    }
}
