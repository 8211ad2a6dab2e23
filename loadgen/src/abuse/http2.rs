//! Frames of HTTP/2, made by hand: a library would not send what an attack sends.

/// What a client sends first, with empty settings.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Adds a frame to `out`.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("frames are short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A header block: each field literal, without compression or memory.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).expect("short texts"));
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// The block of a request; `headers` as lines of HTTP/1.1, of which the first says the host.
pub(super) fn request(method: &str, path: &str, headers: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![(":method", method), (":scheme", "http"), (":path", path)];
    let lines: Vec<_> = headers.lines().filter_map(|line| line.split_once(": ")).collect();
    let host = lines.iter().find(|(name, _)| *name == "host").map_or("localhost", |(_, v)| v);
    fields.push((":authority", host));
    fields.extend(lines.iter().filter(|(name, _)| *name != "host"));
    fields.extend(more);
    block(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_length_kind_and_stream() {
        let mut out = Vec::new();
        frame(&mut out, PING, 0, 0x0102_0304, b"12345678");
        assert_eq!(out, b"\0\0\x08\x06\0\x01\x02\x03\x0412345678");
        assert_eq!(block(&[("a", "bc")]), b"\0\x01a\x02bc");
    }
}
