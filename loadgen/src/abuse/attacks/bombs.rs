//! Small bodies that become long when they are decoded.

use super::*;

const CONNECTIONS: usize = 64;
/// Bytes of one block, the most that there may be.
const BLOCK_BYTES: u32 = 128 << 10;
const BLOCKS: u32 = 120;

/// A zstd frame of one block that says "this byte, so many times", again and again.
fn bomb() -> Vec<u8> {
    let mut out = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58]; // a window of 2 MiB, no length
    for block in 1..=BLOCKS {
        let is_last = u32::from(block == BLOCKS);
        let head = (BLOCK_BYTES << 3) | (1 << 1) | is_last;
        out.extend_from_slice(&head.to_le_bytes()[..3]);
        out.push(b' ');
    }
    out
}

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made::default();
    let body = bomb();
    let mut request = format!(
        "POST /v1/streams/abused/records HTTP/1.1\r\n{}content-type: application/json\r\n\
         content-encoding: zstd\r\ncontent-length: {}\r\n\r\n",
        field.headers,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    open_all(field, CONNECTIONS, &mut made)?;
    let mut statuses = std::collections::BTreeMap::new();
    while !field.is_over() {
        for wire in &mut made.held {
            *wire = Wire::open(field.address)?;
            made.connections += 1;
            wire.send(&request)?;
            made.sent_bytes += request.len() as u64;
        }
        for wire in &mut made.held {
            let status = wire.answer()?.status;
            *statuses.entry(status).or_insert(0) += 1;
        }
    }
    made.note = format!("statuses {statuses:?}");
    Ok(made)
}
