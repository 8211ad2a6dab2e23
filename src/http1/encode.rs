//! Answers as bytes: heads, chunks. Everything is appended to the caller's vector.

/// The interim answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After that many bytes. For `HEAD`: the length that `GET` would have; send no body.
    Length(u64),
    /// Chunked; only to an HTTP/1.1 client. For `HEAD`: send no chunks, not even the last.
    Chunked,
    /// There is none (1xx, 204, 304), or it ends with the connection
    /// ([`Persistence::Close`], for HTTP/1.0 clients of a streamed answer).
    None,
}

/// What an answer says about the connection's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It lives on and, being HTTP/1.1, that needs no words.
    Implied,
    /// It lives on: said aloud, as HTTP/1.0 clients need it.
    KeepAlive,
    /// The server closes it after this answer.
    Close,
}

/// Appends an answer's head, empty line included.
///
/// * `headers` must hold neither framing nor connection headers. `Date` is the caller's: this
///   room has no clock.
/// * A CR, LF or NUL in a value becomes a blank, so that a value cannot start a line of its own.
pub fn response_head<'a>(
    out: &mut Vec<u8>,
    status: u16,
    reason: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    framing: Framing,
    persistence: Persistence,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        header(out, name, value);
    }
    match framing {
        Framing::Length(n) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None => {}
    }
    out.extend_from_slice(match persistence {
        Persistence::Implied => b"\r\n",
        Persistence::KeepAlive => b"connection: keep-alive\r\n\r\n",
        Persistence::Close => b"connection: close\r\n\r\n",
    });
}

fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(!name.is_empty() && name.bytes().all(super::parse::is_token_byte), "{name}");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let value_at = out.len();
    out.extend_from_slice(value);
    if memchr::memchr3(b'\r', b'\n', 0, value).is_some() {
        for byte in &mut out[value_at..] {
            if matches!(*byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `data` as one chunk; nothing when it is empty, since that would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        chunk_head(out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the size line of a chunk of `len` bytes, for callers that send the data, and the CRLF
/// behind it, from elsewhere.
pub fn chunk_head(out: &mut Vec<u8>, len: usize) {
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(len >> (4 * digit)) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The usual reason phrase of a status; empty for one that this server has no use for.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_spelled_as_the_framing_and_persistence_ask() {
        let cases: &[(Framing, Persistence, &str)] = &[
            (Framing::Length(0), Persistence::Implied, "content-length: 0\r\n\r\n"),
            (
                Framing::Length(u64::MAX),
                Persistence::Close,
                "content-length: 18446744073709551615\r\nconnection: close\r\n\r\n",
            ),
            (Framing::Chunked, Persistence::Implied, "transfer-encoding: chunked\r\n\r\n"),
            (Framing::None, Persistence::KeepAlive, "connection: keep-alive\r\n\r\n"),
        ];
        for (framing, persistence, tail) in cases {
            let mut out = b"before".to_vec();
            let headers = [("content-type", &b"text/plain"[..]), ("x", b"")];
            response_head(&mut out, 200, reason_phrase(200), headers, *framing, *persistence);
            let expected =
                format!("beforeHTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx: \r\n{tail}");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_value_cannot_start_a_line_of_its_own() {
        let mut out = Vec::new();
        header(&mut out, "origin", b"a\r\nset-cookie: b\0");
        assert_eq!(out, b"origin: a  set-cookie: b \r\n");
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_without_leading_zeros() {
        for len in [0, 1, 9, 10, 15, 16, 255, 256, 0xabcdef, usize::MAX] {
            let mut out = Vec::new();
            chunk_head(&mut out, len);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{len:x}\r\n"));
        }
    }

    #[test]
    fn an_empty_piece_does_not_end_the_body() {
        let mut out = Vec::new();
        chunk(&mut out, b"hello");
        chunk(&mut out, b"");
        chunk(&mut out, &[b'x'; 17]);
        out.extend_from_slice(LAST_CHUNK);
        assert_eq!(out, b"5\r\nhello\r\n11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
    }
}
