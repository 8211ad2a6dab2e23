//! Both directions of a session: bytes out in one long request, frames back in its answer, at the
//! same time, over HTTP/1.1 (chunked) or HTTP/2.
//!
//! The head of the answer comes before the first byte of the request's body: opening waits for it,
//! as the official clients do.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::connection::{self, Connection, Failure};
use crate::context::NotOpened;
use crate::http2::{self, Live};
use crate::place::{Place, Wire};
use crate::request::Encoder;
use crate::s2s::{Frame, Frames};
use crate::setup::error_code;

/// Room made for each read.
const READ_BYTES: usize = 64 << 10;
/// Largest error body that is kept, to name the error.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// The way to the server.
pub(crate) enum Outgoing {
    One(WriteHalf<Wire>),
    Two(SendStream<Bytes>),
}

impl Outgoing {
    /// Sends what `encoder` has made.
    pub(crate) async fn send(&mut self, encoder: &mut Encoder) -> Result<(), Failure> {
        match self {
            Self::One(half) => send(half, encoder.request()).await,
            Self::Two(stream) => {
                stream.send_data(encoder.take_request(), false).map_err(http2::failure)
            }
        }
    }

    /// Ends the request; the answer goes on.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::One(half) => send(half, b"0\r\n\r\n").await,
            Self::Two(stream) => stream.send_data(Bytes::new(), true).map_err(http2::failure),
        }
    }
}

/// The way from the server.
pub(crate) struct Incoming {
    source: Source,
    frames: Frames,
}

enum Source {
    One { half: ReadHalf<Wire>, chunks: Chunks },
    Two(RecvStream),
}

impl Incoming {
    /// Takes in more bytes; false at the end of the answer. Nothing is lost when it is cancelled.
    pub(crate) async fn receive(&mut self) -> Result<bool, Failure> {
        match &mut self.source {
            Source::One { half, chunks } => {
                if chunks.is_over() {
                    return Ok(false);
                }
                chunks.raw.reserve(READ_BYTES);
                if half.read_buf(&mut chunks.raw).await.map_err(Failure::Lost)? == 0 {
                    return Err(Failure::Lost(std::io::ErrorKind::UnexpectedEof.into()));
                }
                chunks.decode(|piece| self.frames.push(piece)).map_err(Failure::Protocol)?;
            }
            Source::Two(stream) => match http2::receive(stream).await? {
                Some(piece) => self.frames.push(&piece),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// The next frame among the bytes received; `None` when it needs more of them.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        self.frames.next()
    }

    /// True when a part of a frame is left.
    pub(crate) fn has_rest(&self) -> bool {
        self.frames.has_rest()
    }
}

async fn send(writer: &mut WriteHalf<Wire>, bytes: &[u8]) -> Result<(), Failure> {
    writer.write_all(bytes).await.map_err(Failure::Lost)?;
    writer.flush().await.map_err(Failure::Lost)
}

/// An open session.
pub(crate) type Duplex = (Outgoing, Incoming);

/// Opens a session over an HTTP/1.1 connection of its own; `head` is the whole request head.
pub(crate) async fn open_one(
    place: &Place,
    head: &str,
    limit: Duration,
) -> Result<Duplex, NotOpened> {
    let stream = Connection::open(place).await?.into_stream();
    let (mut half, mut writer) = tokio::io::split(stream);
    let opened = timeout(limit, async {
        send(&mut writer, head.as_bytes()).await?;
        read_head(&mut half).await
    });
    let raw = opened.await.map_err(|_| Failure::Timeout)??;
    let mut chunks = Chunks::new(raw);
    let mut frames = Frames::default();
    chunks.decode(|piece| frames.push(piece)).map_err(Failure::Protocol)?;
    let source = Source::One { half, chunks };
    Ok((Outgoing::One(writer), Incoming { source, frames }))
}

/// Waits for the head of a session's answer; returns what came behind it.
pub(crate) async fn read_head(half: &mut ReadHalf<Wire>) -> Result<BytesMut, NotOpened> {
    let mut bytes = Vec::with_capacity(4_096);
    loop {
        if half.read_buf(&mut bytes).await.map_err(Failure::Lost)? == 0 {
            return Err(Failure::Lost(std::io::ErrorKind::UnexpectedEof.into()).into());
        }
        match connection::session_head(&bytes).map_err(Failure::Protocol)? {
            None => {}
            Some((200, head_bytes)) => return Ok(BytesMut::from(&bytes[head_bytes..])),
            Some(_) => {
                if let Some(answer) = connection::parse(&mut bytes).map_err(Failure::Protocol)? {
                    let code = error_code(&bytes[answer.body]);
                    return Err(NotOpened::Answered(format!("{} {code}", answer.status)));
                }
            }
        }
    }
}

/// Opens a session on an HTTP/2 connection. With `is_read` the request has no body.
pub(crate) async fn open_two(
    live: &Live,
    request: Request<()>,
    is_read: bool,
    limit: Duration,
) -> Result<Duplex, NotOpened> {
    let opened = timeout(limit, async {
        let body = is_read.then(Bytes::new);
        let (response, outgoing) = live.request(request, body).await?;
        let (head, mut incoming) = response.await.map_err(http2::failure)?.into_parts();
        if head.status == 200 {
            return Ok((outgoing, incoming));
        }
        let mut body = Vec::new();
        while let Some(piece) = http2::receive(&mut incoming).await? {
            body.extend_from_slice(&piece);
            if body.len() > ERROR_BYTES_MAX {
                break;
            }
        }
        let status = head.status.as_u16();
        Err(NotOpened::Answered(format!("{status} {}", error_code(&body))))
    });
    let (outgoing, incoming) = opened.await.map_err(|_| Failure::Timeout)??;
    let incoming = Incoming { source: Source::Two(incoming), frames: Frames::default() };
    Ok((Outgoing::Two(outgoing), incoming))
}

/// A chunked body in pieces. Source: RFC 9112, section 7.1; trailers are not taken.
pub(crate) struct Chunks {
    /// What was received and not decoded yet.
    pub(crate) raw: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the line with a chunk's size.
    Size,
    /// Within a chunk, with this many bytes to come.
    Data(u64),
    /// Before the end of a chunk's last line.
    DataEnd,
    /// Before the last line of all.
    LastLine,
    Ended,
}

impl Chunks {
    /// A body that begins with `raw`.
    pub(crate) fn new(raw: BytesMut) -> Self {
        Self { raw, state: State::Size }
    }

    /// True behind the last chunk.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Ended
    }

    /// Gives the data of all chunks received to `take`.
    pub(crate) fn decode(&mut self, mut take: impl FnMut(&[u8])) -> Result<(), &'static str> {
        loop {
            self.state = match self.state {
                State::Size => match httparse::parse_chunk_size(&self.raw) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        self.raw.advance(line);
                        if size == 0 { State::LastLine } else { State::Data(size) }
                    }
                    Ok(httparse::Status::Partial) => return Ok(()),
                    Err(_) => return Err("bad chunk size"),
                },
                State::Data(left) => {
                    if self.raw.is_empty() {
                        return Ok(());
                    }
                    let here = self.raw.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    take(&self.raw[..here]);
                    self.raw.advance(here);
                    match left - here as u64 {
                        0 => State::DataEnd,
                        left => State::Data(left),
                    }
                }
                State::DataEnd | State::LastLine => {
                    let Some(end) = self.raw.get(..2) else { return Ok(()) };
                    if end != b"\r\n" {
                        return Err("chunk without end, or with a trailer");
                    }
                    self.raw.advance(2);
                    if self.state == State::DataEnd { State::Size } else { State::Ended }
                }
                State::Ended if self.raw.is_empty() => return Ok(()),
                State::Ended => return Err("bytes after the answer"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<Frame>, State), &'static str> {
        let mut chunks = Chunks::new(BytesMut::new());
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            chunks.raw.extend_from_slice(piece);
            chunks.decode(|piece| frames.push(piece))?;
            while let Some(frame) = frames.next()? {
                found.push(frame);
            }
        }
        Ok((found, chunks.state))
    }

    #[test]
    fn chunks_may_be_cut_anywhere() {
        // A frame over two chunks, then one in a chunk of its own.
        let bytes = b"4\r\n\x00\x00\x04\x00\r\n3;x=y\r\nabc\r\n5\r\n\x00\x00\x02\x00z\r\n0\r\n\r\n";
        let expected = [b"abc".as_slice(), b"z"].map(|body| Frame::Message(Bytes::from(body)));
        for split in 0..=bytes.len() {
            let (frames, state) = decode(&[&bytes[..split], &bytes[split..]]).unwrap();
            assert_eq!((frames.as_slice(), state), (&expected[..], State::Ended), "cut at {split}");
        }
        let (_, state) = decode(&[&bytes[..bytes.len() - 1]]).unwrap();
        assert_eq!(state, State::LastLine, "not ended before its last byte");
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bytes in [
            &b"zz\r\n"[..],
            b"1\r\nabc",
            b"0\r\nx: y\r\n\r\n",
            b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert!(decode(&[bytes]).is_err(), "{bytes:?}");
        }
    }
}
