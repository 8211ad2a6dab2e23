//! HTTP/2 frames by hand, for what a well-behaved client never does and never shows.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{ANSWER_WAIT, Stopwatch};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Http2Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Http2Frame {
    /// The error code of a RST_STREAM or GOAWAY frame.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A connection of which the preface was sent.
pub(crate) struct RawHttp2 {
    host: String,
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl RawHttp2 {
    /// Sends the preface and SETTINGS with these parameters.
    pub(crate) fn open(host: &str, settings: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect(host).expect("the server listens");
        socket.set_nodelay(true).expect("a fresh socket takes options");
        socket.set_write_timeout(Some(ANSWER_WAIT)).expect("a fresh socket takes options");
        let mut raw = Self { host: host.to_owned(), socket, buffer: Vec::new() };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        raw.write(PREFACE).expect("a fresh socket takes the preface");
        raw.send(SETTINGS, 0, 0, &payload).expect("a fresh socket takes settings");
        raw
    }

    /// Another handle of the socket.
    pub(crate) fn socket(&self) -> TcpStream {
        self.socket.try_clone().expect("a socket can be duplicated")
    }

    /// Writes bytes; an error means that the server has closed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    pub(crate) fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        self.write(&encode_frame(kind, flags, stream, payload))
    }

    /// The head of a request as a HEADERS frame.
    pub(crate) fn request(
        &self,
        stream: u32,
        flags: u8,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Vec<u8> {
        let fixed =
            [(":method", method), (":scheme", "http"), (":path", path), (":authority", &self.host)];
        let mut block = Vec::new();
        for (name, value) in fixed.iter().chain(headers) {
            push_literal(&mut block, name, value);
        }
        encode_frame(HEADERS, flags | END_HEADERS, stream, &block)
    }

    /// The next frame, SETTINGS acknowledged on the way; `None` is the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Http2Frame> {
        self.next_within(ANSWER_WAIT).expect("a frame or the end in time")
    }

    /// The same within some time; the error is that nothing came.
    pub(crate) fn next_within(&mut self, wait: Duration) -> Result<Option<Http2Frame>, String> {
        let watch = Stopwatch::start();
        loop {
            if let Some(frame) = take_frame(&mut self.buffer) {
                if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                    // The server may have closed meanwhile, which shows when more is read.
                    let _taken = self.send(SETTINGS, ACK, 0, &[]);
                }
                return Ok(Some(frame));
            }
            let left = wait.saturating_sub(watch.elapsed());
            if left.is_zero() {
                return Err(format!("nothing within {wait:?}"));
            }
            self.socket.set_read_timeout(Some(left)).expect("a timeout above zero is legal");
            let mut piece = [0; 16_384];
            match self.socket.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(_) => {}
            }
        }
    }

    /// Reads frames until one is wanted; `None` when the connection ends before.
    #[track_caller]
    pub(crate) fn find(&mut self, wanted: impl Fn(&Http2Frame) -> bool) -> Option<Http2Frame> {
        loop {
            let frame = self.next()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

pub(crate) fn encode_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames of the tests are short");
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn take_frame(buffer: &mut Vec<u8>) -> Option<Http2Frame> {
    let head: [u8; 9] = buffer.get(..9)?.try_into().expect("nine bytes");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let end = 9 + usize::try_from(length).expect("24 bits fit");
    let payload = buffer.get(9..end)?.to_vec();
    buffer.drain(..end);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Http2Frame { kind: head[3], flags: head[4], stream, payload })
}

/// Appends a header field as a literal that is not indexed and not compressed.
pub(crate) fn push_literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            block.push(u8::try_from(rest).expect("below 127"));
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128 + 128).expect("below 256"));
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("below 128"));
        }
        block.extend_from_slice(text.as_bytes());
    }
}
