//! Bodies that come a byte at a time.

use super::*;
use crate::abuse::http1::head;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made::default();
    open_all(field, 2_000, &mut made)?;
    let head = head("POST", "/v1/streams/abused/records", &field.headers, 1 << 20);
    for wire in &mut made.held {
        made.sent_bytes += wire.send_some(&head)? as u64;
    }
    let body = br#"{"records":[{"body":""#;
    drip_all(field, &mut made, |turn| body.get(turn).copied().unwrap_or(b'x'));
    Ok(made)
}
