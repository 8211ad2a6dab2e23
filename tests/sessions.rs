//! Black-box conformance suite of the sessions and of HTTP/2: a real server with two shards, and
//! clients that share no code with it. The numbers in names are those of the specification's
//! conformance cases (S2 specification, appendix B).
//!
//! A case of the transports runs over HTTP/1.1 and over HTTP/2 from one table, on several streams:
//! some belong to the core of the connection, some do not.

mod common;

#[path = "sessions/access.rs"]
mod access;
#[path = "sessions/append.rs"]
mod append;
#[path = "sessions/append_failures.rs"]
mod append_failures;
#[path = "sessions/crowd.rs"]
mod crowd;
#[path = "sessions/drain.rs"]
mod drain;
#[path = "sessions/encryption.rs"]
mod encryption;
#[path = "sessions/floods.rs"]
mod floods;
#[path = "sessions/follow.rs"]
mod follow;
#[path = "sessions/http2.rs"]
mod http2;
#[path = "sessions/read.rs"]
mod read;
#[path = "sessions/receipts.rs"]
mod receipts;
#[path = "sessions/sse.rs"]
mod sse;
#[path = "sessions/together.rs"]
mod together;
#[path = "sessions/unary.rs"]
mod unary;
#[path = "sessions/waiting.rs"]
mod waiting;

use common::client::{Client, fresh_basin};
use common::duplex::Protocol;

/// Streams of a case: with two shards it is all but certain that both own some of them.
const STREAMS: [&str; 5] = ["s", "b/ä", "c", "dd", "e"];

/// Runs a case over both protocols, on fresh streams of a fresh basin.
#[track_caller]
fn everywhere(case: impl Fn(&mut Client, Protocol, &str)) {
    for protocol in Protocol::BOTH {
        let mut client = fresh_basin();
        for stream in STREAMS {
            client.create_stream(stream);
            eprintln!("over {protocol}, stream {stream}");
            case(&mut client, protocol, stream);
        }
    }
}

/// Runs a case over both protocols, each on one fresh stream of a fresh basin.
#[track_caller]
fn both_ways(case: impl Fn(&mut Client, Protocol, &str)) {
    for protocol in Protocol::BOTH {
        let mut client = fresh_basin();
        client.create_stream("s");
        eprintln!("over {protocol}");
        case(&mut client, protocol, "s");
    }
}
