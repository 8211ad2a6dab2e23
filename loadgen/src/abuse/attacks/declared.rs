//! Bodies that say that they are 1 GiB long, and come.

use super::*;
use crate::abuse::http1::head;

const CONNECTIONS: usize = 64;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made { open_max: CONNECTIONS, ..Made::default() };
    let head = head("POST", "/v1/streams/abused/records", &field.headers, 1 << 30);
    let piece = vec![b'x'; 64 << 10];
    let mut wires: Vec<Option<Wire>> = (0..CONNECTIONS).map(|_| None).collect();
    while !field.is_over() {
        for wire in &mut wires {
            let is_new = wire.is_none();
            if is_new {
                *wire = reopen(field.address, &mut made);
            }
            let Some(open) = wire else { continue };
            let sent = open.send_some(if is_new { &head } else { &piece });
            made.sent_bytes += sent.as_ref().map_or(0, |n| *n as u64);
            if sent.is_err() {
                *wire = None;
            }
        }
        sleep(Duration::from_millis(1));
    }
    Ok(made)
}
