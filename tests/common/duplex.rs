//! A request whose body and answer are under way at the same time, over HTTP/1.1 or HTTP/2.

use std::fmt;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::http::{Body, Conn, Request, Response, chunk};
use super::http2::{Http2, Stream};

/// Which protocol a test speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// One request over a connection of its own, or one stream of a shared one.
pub(crate) enum Exchange {
    Http1(Http1),
    Http2(Option<Box<Http2>>, Stream),
}

/// The HTTP/1.1 side: a thread writes what is sent, so that neither direction holds up the other.
pub(crate) struct Http1 {
    conn: Conn,
    socket: TcpStream,
    out: Option<Sender<Vec<u8>>>,
    method: String,
    chunked_answer: bool,
    ended: bool,
}

impl Drop for Http1 {
    fn drop(&mut self) {
        // The writer may hold the socket still.
        let _closed_already = self.socket.shutdown(Shutdown::Both);
    }
}

impl Exchange {
    /// Sends a request with its whole body over a new connection.
    pub(crate) fn start(client: &Client, protocol: Protocol, request: Request) -> Self {
        Self::open(client, protocol, request, false)
    }

    /// Sends the head of a request over a new connection; its body stays open.
    pub(crate) fn start_open(client: &Client, protocol: Protocol, request: Request) -> Self {
        Self::open(client, protocol, request, true)
    }

    fn open(client: &Client, protocol: Protocol, request: Request, open: bool) -> Self {
        let request = client.scoped(request);
        match protocol {
            Protocol::Http1 => Self::Http1(Http1::start(client.host(), &request, open)),
            Protocol::Http2 => {
                let conn = Http2::open(client.host());
                let stream = if open { conn.start_open(&request) } else { conn.start(&request) };
                Self::Http2(Some(Box::new(conn)), stream)
            }
        }
    }

    /// A stream of a connection that the test keeps.
    pub(crate) fn of_stream(stream: Stream) -> Self {
        Self::Http2(None, stream)
    }

    /// Sends a piece of the body.
    pub(crate) fn send(&mut self, piece: &[u8]) {
        match self {
            Self::Http1(http1) => http1.send(chunk(piece)),
            Self::Http2(_, stream) => stream.send(piece),
        }
    }

    /// Ends the body.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Http1(http1) => http1.send(b"0\r\n\r\n".to_vec()),
            Self::Http2(_, stream) => stream.finish(),
        }
    }

    /// Waits for the head of the answer.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Response {
        let head = match self {
            Self::Http1(http1) => http1.head(),
            Self::Http2(_, stream) => stream.head(),
        };
        head.unwrap_or_else(|error| panic!("expected the head of an answer: {error}"))
    }

    /// Waits for the next piece of the answer's body; `None` is its end.
    pub(crate) fn piece(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Http1(http1) => http1.piece(),
            Self::Http2(_, stream) => stream.piece(),
        }
    }

    /// Whether nothing of the body comes for that long, not even the end.
    pub(crate) fn stays_silent(&mut self, span: Duration) -> bool {
        match self {
            Self::Http1(http1) => http1.conn.stays_silent(span),
            Self::Http2(_, stream) => stream.stays_silent(span),
        }
    }

    /// The answer with its whole body.
    #[track_caller]
    pub(crate) fn whole(&mut self) -> Response {
        let mut response = self.head();
        if let Self::Http1(http1) = self
            && !http1.chunked_answer
        {
            let read = http1.conn.read_body(&http1.method, &mut response);
            read.unwrap_or_else(|error| response.fail(&error));
            return response;
        }
        loop {
            match self.piece() {
                Ok(Some(piece)) => response.body.extend_from_slice(&piece),
                Ok(None) => return response,
                Err(error) => response.fail(&error),
            }
        }
    }

    /// Fails unless the server closes the connection, having said nothing more.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self, after: &Response) {
        if let Self::Http1(http1) = self {
            http1.conn.expect_closed(after);
        }
    }
}

impl Http1 {
    fn start(host: &str, request: &Request, open: bool) -> Self {
        let conn = Conn::open(host);
        let (mut writer, socket) = (conn.writer(), conn.writer());
        let (out, pieces) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            for piece in pieces {
                // What the server did not take shows in its answer.
                if writer.write_all(&piece).is_err() {
                    break;
                }
            }
        });
        let method = request.method.clone();
        let mut http1 =
            Self { conn, socket, out: Some(out), method, chunked_answer: false, ended: false };
        if open {
            assert!(matches!(request.body, Body::None), "the body is sent piece by piece");
            let mut head = request.encode_head(host);
            head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            http1.send(head);
        } else {
            http1.send(request.encode(host));
        }
        http1
    }

    fn send(&mut self, bytes: Vec<u8>) {
        // The writer has ended if the server takes nothing more.
        let _taken = self.out.as_ref().expect("not dropped").send(bytes);
    }

    fn head(&mut self) -> Result<Response, String> {
        let head = self.conn.read_head()?;
        self.chunked_answer = head.header("transfer-encoding").is_some();
        Ok(head)
    }

    fn piece(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.ended {
            return Ok(None);
        }
        if !self.chunked_answer {
            return Err("the answer has a length".to_owned());
        }
        let chunk = self.conn.read_chunk()?;
        self.ended = chunk.is_none();
        Ok(chunk)
    }
}
