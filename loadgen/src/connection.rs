//! One keep-alive HTTP/1.1 connection: a request out in one write, an answer back, nothing shared.
//!
//! * One request in flight; no pipelining.
//! * Every exchange is bounded by a time; after any [`Failure`] the connection must be dropped.
//! * A failure says whether the server can have seen the request: that decides whether an append
//!   was refused or is in doubt.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::place::{Place, Wire};
use crate::receipts::{self, Receipt};
use crate::tls::Speaks;

/// Longest wait for a connection to be accepted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// First pause between two attempts to connect; doubled up to [`BACK_OFF_MAX`].
pub(crate) const BACK_OFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two attempts to connect.
pub(crate) const BACK_OFF_MAX: Duration = Duration::from_millis(500);
/// Largest answer taken, head and body; a full page of records with escapes stays far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const HEADERS_MAX: usize = 64;

/// Why an exchange gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not a byte was handed to the kernel: the server cannot have acted.
    NotSent(io::Error),
    /// The connection ended after the request had begun to leave.
    Lost(io::Error),
    /// No complete answer in time.
    Timeout,
    /// The answer was not HTTP as we know it.
    Protocol(&'static str),
    /// The server said that it did not act on the request.
    Unprocessed(&'static str),
    /// The server ended the request over HTTP/2, how and why.
    Reset(&'static str, h2::Reason),
}

impl Failure {
    /// True when the server cannot have acted on the request.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Unprocessed(_))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => write!(f, "connection closed before sending: {}", error.kind()),
            Self::Lost(error) => write!(f, "connection lost: {}", error.kind()),
            Self::Timeout => write!(f, "timeout"),
            Self::Protocol(what) => write!(f, "bad HTTP: {what}"),
            Self::Unprocessed(what) => write!(f, "not processed: {what}"),
            Self::Reset(what, reason) => write!(f, "{what}: {reason:?}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A complete answer; its body is lent by [`Connection::body`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// False when the server will close the connection.
    pub(crate) is_reusable: bool,
    /// Where the body lies in the bytes received.
    pub(crate) body: Range<usize>,
    /// The receipt in the head, if there is one.
    pub(crate) receipt: Option<Receipt>,
}

/// An open connection with its buffers.
pub(crate) struct Connection {
    stream: Wire,
    received: Vec<u8>,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    /// Connects to the first address that accepts.
    pub(crate) async fn open(place: &Place) -> io::Result<Self> {
        Self::open_for(place, Speaks::Http1).await
    }

    /// The same for who speaks otherwise.
    pub(crate) async fn open_for(place: &Place, speaks: Speaks) -> io::Result<Self> {
        let stream = timeout(CONNECT_TIMEOUT, place.connect(speaks))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let deadline = Box::pin(sleep(CONNECT_TIMEOUT));
        Ok(Self { stream, received: Vec::with_capacity(4_096), deadline })
    }

    /// Connects, trying again with growing pauses until `patience` has passed.
    pub(crate) async fn open_patiently(place: &Place, patience: Duration) -> io::Result<Self> {
        let give_up = Instant::now() + patience;
        let mut pause = BACK_OFF_MIN;
        loop {
            match Self::open(place).await {
                Err(_) if Instant::now() + pause < give_up => sleep(pause).await,
                result => return result,
            }
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// Sends `request` and waits for the whole answer, `limit` at most.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        limit: Duration,
    ) -> Result<Answer, Failure> {
        self.exchange_by(request, limit, parse).await
    }

    /// The same with a server that answers otherwise: `parse` finds the answer in the bytes
    /// received once it is complete.
    pub(crate) async fn exchange_by(
        &mut self,
        request: &[u8],
        limit: Duration,
        parse: impl Fn(&mut Vec<u8>) -> Result<Option<Answer>, &'static str>,
    ) -> Result<Answer, Failure> {
        // Moving a pending deadline further out costs no timer operation.
        self.deadline.as_mut().reset(Instant::now() + limit);
        self.received.clear();
        tokio::select! {
            biased;
            answer = round_trip(&mut self.stream, &mut self.received, request, parse) => answer,
            () = self.deadline.as_mut() => Err(Failure::Timeout),
        }
    }

    /// The bare socket, for those who speak otherwise; nothing must be in flight.
    pub(crate) fn into_stream(self) -> Wire {
        self.stream
    }

    /// The body of the last answer.
    pub(crate) fn body(&self, answer: &Answer) -> &[u8] {
        &self.received[answer.body.clone()]
    }
}

async fn round_trip(
    stream: &mut Wire,
    received: &mut Vec<u8>,
    request: &[u8],
    parse: impl Fn(&mut Vec<u8>) -> Result<Option<Answer>, &'static str>,
) -> Result<Answer, Failure> {
    let mut sent = 0;
    while sent < request.len() {
        sent += match stream.write(&request[sent..]).await {
            Ok(0) => return Err(Failure::Lost(io::ErrorKind::WriteZero.into())),
            Ok(n) => n,
            Err(error) if sent == 0 => return Err(Failure::NotSent(error)),
            Err(error) => return Err(Failure::Lost(error)),
        };
    }
    stream.flush().await.map_err(Failure::Lost)?;
    loop {
        if let Some(answer) = parse(received).map_err(Failure::Protocol)? {
            return Ok(answer);
        }
        if received.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Protocol("answer too large"));
        }
        received.reserve(4_096);
        if stream.read_buf(received).await.map_err(Failure::Lost)? == 0 {
            return Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Status and length of the head in `bytes` once it is complete. An answer of 200 must be chunked:
/// a session has no length.
pub(crate) fn session_head(bytes: &[u8]) -> Result<Option<(u16, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = head.parse(bytes).map_err(|_| "malformed head")? else {
        return Ok(None);
    };
    let status = head.code.ok_or("no status")?;
    if status == 200 {
        let framing = Framing::of(head.version, status, head.headers)?;
        if !matches!(framing.body, Body::Chunked) {
            return Err("session without chunks");
        }
    }
    Ok(Some((status, len)))
}

/// Status, length of the body and length of the head in `bytes`, once the head is complete.
pub(crate) fn head_with_length(bytes: &[u8]) -> Result<Option<(u16, u64, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = head.parse(bytes).map_err(|_| "malformed head")? else {
        return Ok(None);
    };
    let is_length =
        |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("content-length");
    let length = head.headers.iter().find(is_length).ok_or("no body length")?;
    let text = std::str::from_utf8(length.value.trim_ascii()).map_err(|_| "bad content-length")?;
    let length = text.parse().map_err(|_| "bad content-length")?;
    Ok(Some((head.code.ok_or("no status")?, length, len)))
}

/// The answer in `bytes` once it is complete. A chunked body is joined in place.
pub(crate) fn parse(bytes: &mut Vec<u8>) -> Result<Option<Answer>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let body_start = match head.parse(bytes).map_err(|_| "malformed head")? {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => return Ok(None),
    };
    let status = head.code.ok_or("no status")?;
    let framing = Framing::of(head.version, status, head.headers)?;
    let receipt = head.headers.iter().find(|one| one.name.eq_ignore_ascii_case(receipts::HEADER));
    let receipt = receipt.and_then(|header| Receipt::parse(header.value));
    if status < 200 {
        // An interim answer: drop it and look for the final one behind it.
        bytes.drain(..body_start);
        return parse(bytes);
    }
    let body_end = match framing.body {
        Body::Length(len) if bytes.len() < body_start + len => return Ok(None),
        Body::Length(len) => body_start + len,
        Body::Chunked => match join_chunks(bytes, body_start)? {
            Some(body_end) => body_end,
            None => return Ok(None),
        },
    };
    if bytes.len() > body_end {
        return Err("bytes after the answer");
    }
    let is_reusable = framing.is_reusable;
    Ok(Some(Answer { status, is_reusable, body: body_start..body_end, receipt }))
}

enum Body {
    Length(usize),
    Chunked,
}

struct Framing {
    body: Body,
    is_reusable: bool,
}

impl Framing {
    fn of(
        version: Option<u8>,
        status: u16,
        headers: &[httparse::Header<'_>],
    ) -> Result<Self, &'static str> {
        let mut length = None;
        let mut is_chunked = false;
        let mut is_reusable = version == Some(1);
        for header in headers {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(value).map_err(|_| "bad content-length")?;
                length = Some(text.parse::<usize>().map_err(|_| "bad content-length")?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                is_reusable &= !value.eq_ignore_ascii_case(b"close");
            }
        }
        let body = match (is_chunked, length) {
            (true, _) => Body::Chunked,
            (false, Some(length)) if length <= ANSWER_BYTES_MAX => Body::Length(length),
            (false, Some(_)) => return Err("answer too large"),
            (false, None) if status < 200 || status == 204 || status == 304 => Body::Length(0),
            (false, None) => return Err("no body length"),
        };
        Ok(Self { body, is_reusable })
    }
}

/// Joins the chunks from `start` on once all have come; returns where the body then ends.
fn join_chunks(bytes: &mut Vec<u8>, start: usize) -> Result<Option<usize>, &'static str> {
    let mut chunks = Vec::new();
    let mut at = start;
    loop {
        let (size_line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("bad chunk size"),
        };
        let size = usize::try_from(size).map_err(|_| "chunk too large")?;
        if size > ANSWER_BYTES_MAX {
            return Err("chunk too large");
        }
        let data = at + size_line..at + size_line + size;
        let Some(after) = bytes.get(data.end..data.end + 2) else { return Ok(None) };
        if after != b"\r\n" {
            return Err("chunk without end, or with a trailer");
        }
        at = data.end + 2;
        if size == 0 {
            break;
        }
        chunks.push(data);
    }
    let mut end = start;
    for chunk in chunks {
        let len = chunk.len();
        bytes.copy_within(chunk, end);
        end += len;
    }
    bytes.copy_within(at.., end);
    let rest = bytes.len() - at;
    bytes.truncate(end + rest);
    Ok(Some(end))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    const ACCEPTED: [(&str, u16, &str, bool); 6] = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, "hi", true),
        ("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, "", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", 200, "x", false),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            200,
            "abc",
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}",
            409,
            "{}",
            true,
        ),
    ];

    #[test]
    fn answers_are_complete_at_their_last_byte_and_not_before() {
        for (text, status, body, is_reusable) in ACCEPTED {
            for split in 0..text.len() {
                let mut bytes = text.as_bytes()[..split].to_vec();
                assert_eq!(parse(&mut bytes), Ok(None), "{text:?} cut at {split}");
            }
            let mut bytes = text.as_bytes().to_vec();
            let answer = parse(&mut bytes).unwrap().unwrap();
            assert_eq!((answer.status, answer.is_reusable), (status, is_reusable), "{text:?}");
            assert_eq!(&bytes[answer.body], body.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_head_tells_its_bodys_length_before_the_body_comes() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 12345678901\r\n\r\nabc";
        assert_eq!(head_with_length(&text[..20]), Ok(None));
        let head_bytes = text.len() - 3;
        assert_eq!(head_with_length(text), Ok(Some((200, 12_345_678_901, head_bytes))));
        assert!(head_with_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn broken_answers_are_refused() {
        for text in [
            "HTTX/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n",
        ] {
            assert!(parse(&mut text.as_bytes().to_vec()).is_err(), "{text:?}");
        }
    }

    /// One exchange with a server that reads the request, does `act`, and ends the connection.
    fn exchange_with<F: Future<Output = ()>>(
        act: impl FnOnce(TcpStream) -> F,
    ) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = async {
                let mut stream = listener.accept().await.unwrap().0;
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                act(stream).await;
            };
            let client = async {
                let mut connection = Connection::open(&Place::clear([address])).await.unwrap();
                connection.exchange(b"ping", Duration::from_millis(200)).await
            };
            tokio::join!(server, client).1
        })
    }

    #[test]
    fn a_failure_says_how_the_exchange_ended() {
        let whole = exchange_with(async |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        });
        assert!(matches!(whole, Ok(Answer { status: 200, .. })), "{whole:?}");
        let lost = exchange_with(async |stream| drop(stream));
        assert!(matches!(lost, Err(Failure::Lost(_))), "{lost:?}");
        let cut = exchange_with(async |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab").await.unwrap();
        });
        assert!(matches!(cut, Err(Failure::Lost(_))), "{cut:?}");
        let silent = exchange_with(async |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 1]).await;
        });
        assert!(matches!(silent, Err(Failure::Timeout)), "{silent:?}");
        let noise = exchange_with(async |mut stream: TcpStream| {
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        });
        assert!(matches!(noise, Err(Failure::Protocol(_))), "{noise:?}");
    }
}
