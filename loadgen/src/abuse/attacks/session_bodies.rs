//! Messages of append sessions that are whole but for their last byte.

use super::*;

/// A message of this many bytes, its flags included.
const MESSAGE_BYTES: usize = 1 << 20;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made::default();
    open_all(field, 2_000, &mut made)?;
    let mut request = format!(
        "POST /v1/streams/abused/records HTTP/1.1\r\n{}content-type: s2s/proto\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        field.headers,
        MESSAGE_BYTES + 3
    )
    .into_bytes();
    request.extend_from_slice(&[0x10, 0, 0, 0]); // 2^20, no flags
    request.resize(request.len() + MESSAGE_BYTES - 2, b'x');
    push_all(field, &mut made, &request);
    Ok(made)
}
