//! Request heads that come a byte at a time.

use super::*;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made::default();
    open_all(field, 5_000, &mut made)?;
    for wire in &mut made.held {
        let begin = format!("GET /health HTTP/1.1\r\n{}x-slow: ", field.headers);
        made.sent_bytes += wire.send_some(begin.as_bytes())? as u64;
    }
    drip_all(field, &mut made, |_| b'x');
    Ok(made)
}
