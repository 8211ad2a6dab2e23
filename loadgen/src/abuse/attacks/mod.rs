//! The attacks, a file each.

mod bombs;
mod declared;
mod heads;
mod http2_bodies;
mod http2_floods;
mod http2_resets;
mod idle;
mod overload;
mod readers;
mod session_bodies;
mod slow_bodies;
mod slow_heads;
mod whole_bodies;

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::http1::Wire;
use super::{Field, Made};

/// What can be done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// 9,500 connections that say nothing.
    Idle,
    /// 5,000 request heads, a byte at a time.
    SlowHeads,
    /// 2,000 bodies, a byte at a time.
    SlowBodies,
    /// 2,000 bodies of 1 MiB, whole but for their last byte.
    WholeBodies,
    /// The same as messages of append sessions.
    SessionBodies,
    /// The same over HTTP/2: 200 connections of 10 requests each.
    Http2Bodies,
    /// 1,000 clients that ask for 1 MiB again and again, and take none of it.
    SlowReaders,
    /// The same in read sessions.
    SlowSessions,
    /// HTTP/2 requests, reset as soon as they are made.
    Http2Resets,
    /// HTTP/2 pings, settings, window updates, empty frames, and heads without an end.
    Http2Floods,
    /// Requests that say that a body of 1 GiB follows, and send it.
    Declared,
    /// Small bodies that become 16 MiB.
    Bombs,
    /// Request heads of a million bytes.
    Heads,
    /// Ten times as many appends of 64 KiB as the server can take, over 640 connections.
    Overload,
}

impl Attack {
    /// Does it until the field's time is up.
    pub(super) fn run(self, field: &Field) -> Result<Made> {
        match self {
            Self::Idle => idle::run(field),
            Self::SlowHeads => slow_heads::run(field),
            Self::SlowBodies => slow_bodies::run(field),
            Self::WholeBodies => whole_bodies::run(field),
            Self::SessionBodies => session_bodies::run(field),
            Self::Http2Bodies => http2_bodies::run(field),
            Self::SlowReaders => readers::run(field, false),
            Self::SlowSessions => readers::run(field, true),
            Self::Http2Resets => http2_resets::run(field),
            Self::Http2Floods => http2_floods::run(field),
            Self::Declared => declared::run(field),
            Self::Bombs => bombs::run(field),
            Self::Heads => heads::run(field),
            Self::Overload => overload::run(field),
        }
    }
}

/// Opens that many connections.
fn open_all(field: &Field, count: usize, made: &mut Made) -> Result<()> {
    for _ in 0..count {
        made.held.push(Wire::open(field.address).context("a connection for the attack")?);
        made.connections += 1;
    }
    made.open_max = made.held.len();
    Ok(())
}

/// A connection for an attack whose server may close it, and be slow to take a new one.
fn reopen(address: SocketAddr, made: &mut Made) -> Option<Wire> {
    made.connections += 1;
    Wire::open(address).ok()
}

/// Has each connection send what it still has to, as far as there is room, and opens closed ones no
/// more; returns when the time is up. `next` gives the bytes that a connection has yet to send.
fn push_all(field: &Field, made: &mut Made, request: &[u8]) {
    let mut sent = vec![0; made.held.len()];
    while !field.is_over() {
        let mut progress = false;
        for (wire, sent) in made.held.iter_mut().zip(&mut sent) {
            if *sent < request.len()
                && let Ok(n @ 1..) = wire.send_some(&request[*sent..])
            {
                *sent += n;
                made.sent_bytes += n as u64;
                progress = true;
            }
        }
        if !progress {
            sleep(Duration::from_millis(10));
        }
    }
    let whole = sent.iter().filter(|n| **n == request.len()).count();
    let closed = made.held.iter_mut().map(Wire::drain).filter(|open| !open).count();
    made.note = format!("{whole} sent all, {closed} were closed");
}

/// Has each connection send one byte a second of what each has to send, until the time is up.
fn drip_all(field: &Field, made: &mut Made, bytes: impl Fn(usize) -> u8) {
    let mut turn = 0;
    while !field.is_over() {
        for wire in &mut made.held {
            made.sent_bytes += wire.send_some(&[bytes(turn)]).unwrap_or(0) as u64;
        }
        turn += 1;
        sleep(
            Duration::from_secs(1)
                .min(field.until().saturating_duration_since(std::time::Instant::now())),
        );
    }
    let closed = made.held.iter_mut().map(Wire::drain).filter(|open| !open).count();
    made.note = format!("{closed} were closed");
}
