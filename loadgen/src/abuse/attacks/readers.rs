//! Clients that ask for much and take none of it.

use super::*;
use crate::abuse::http1::{append, get};

/// Records that are there to be read, of 256 KiB each.
const RECORDS: usize = 32;
const CONNECTIONS: usize = 1_000;
/// How often each connection asks.
const ASKED: usize = 16;

pub(super) fn run(field: &Field, in_sessions: bool) -> Result<Made> {
    let mut made = Made::default();
    let mut writer = Wire::open(field.address)?;
    let record = append("wide", &field.headers, 256 << 10);
    for _ in 0..RECORDS {
        writer.exchange(&record)?;
    }
    drop(writer);
    let headers = if in_sessions {
        format!("{}accept: text/event-stream\r\n", field.headers)
    } else {
        field.headers.clone()
    };
    let read = get("/v1/streams/wide/records?seq_num=0", &headers);
    // A session goes on by itself.
    let asked = if in_sessions { read.clone() } else { read.repeat(ASKED) };
    for _ in 0..CONNECTIONS {
        let mut wire = Wire::open_narrow(field.address)?;
        made.connections += 1;
        made.sent_bytes += wire.send_some(&asked)? as u64;
        made.held.push(wire);
    }
    made.open_max = made.held.len();
    while !field.is_over() {
        sleep(Duration::from_millis(10));
    }
    Ok(made)
}
