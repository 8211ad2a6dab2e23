//! A client's end of a connection: requests out, answers in, and the ways to go wrong.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{self, Either};
use futures_util::io::{AsyncRead, AsyncWrite};

use crate::io::sim::{SimIo, SimSocket, Stream as Dice};
use crate::io::{Clock, Socket};
use crate::shard::testkit::basin;

/// Longest that a client waits for something to arrive, in microseconds of the simulated clock. A
/// server that says nothing for so long has forgotten it.
const SILENCE_US_MAX: u64 = 60_000_000;

/// The connection ended where more was expected.
#[derive(Debug)]
pub(super) struct Gone(pub(super) String);

/// What an answer's head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    length: Option<usize>,
    is_chunked: bool,
    pub(super) closes: bool,
}

/// How fast a client reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) bytes_max: usize,
    pub(super) pause_us: u64,
}

/// One connection; clones are the same one.
#[derive(Clone)]
pub(super) struct Line {
    io: SimIo,
    socket: Rc<RefCell<Option<SimSocket>>>,
    received: Rc<RefCell<Vec<u8>>>,
    pace: Pace,
}

impl Line {
    pub(super) fn new(io: &SimIo, socket: SimSocket, pace: Pace) -> Self {
        let socket = Rc::new(RefCell::new(Some(socket)));
        Self { io: io.clone(), socket, received: Rc::default(), pace }
    }

    /// Sends all of it.
    pub(super) async fn send(&self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| match &mut *self.socket.borrow_mut() {
                Some(socket) => Pin::new(socket).poll_write(cx, bytes),
                None => Poll::Ready(Ok(0)),
            });
            match sent.await {
                Ok(0) => return Err(Gone("this end is gone".to_owned())),
                Ok(n) => bytes = &bytes[n..],
                Err(error) => return Err(Gone(format!("send: {error}"))),
            }
        }
        Ok(())
    }

    /// Receives more; false at the end.
    async fn receive(&self) -> Result<bool, Gone> {
        if self.pace.pause_us > 0 {
            self.io.sleep_us(self.pace.pause_us).await;
        }
        let mut space = vec![0; self.pace.bytes_max];
        let got = poll_fn(|cx| match &mut *self.socket.borrow_mut() {
            Some(socket) => Pin::new(socket).poll_read(cx, &mut space),
            None => Poll::Ready(Ok(0)),
        });
        let late = pin!(self.io.sleep_us(SILENCE_US_MAX));
        match future::select(got, late).await {
            Either::Left((Ok(n), _)) => {
                self.received.borrow_mut().extend_from_slice(&space[..n]);
                Ok(n > 0)
            }
            Either::Left((Err(error), _)) => Err(Gone(format!("receive: {error}"))),
            Either::Right(_) => panic!("the server has forgotten a client"),
        }
    }

    /// Receives until `take` finds something in what has come.
    async fn until<T>(&self, take: impl Fn(&mut Vec<u8>) -> Option<T>) -> Result<T, Gone> {
        loop {
            if let Some(found) = take(&mut self.received.borrow_mut()) {
                return Ok(found);
            }
            if !self.receive().await? {
                let left = String::from_utf8_lossy(&self.received.borrow()).into_owned();
                return Err(Gone(format!("the end, behind {left:?}")));
            }
        }
    }

    /// The next answer's head.
    pub(super) async fn head(&self) -> Result<Head, Gone> {
        let text = self.until(|bytes| take_to(bytes, b"\r\n\r\n")).await?;
        let text = String::from_utf8(text).expect("heads are text");
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut head = Head {
            status: status.unwrap_or_else(|| panic!("no status: {text}")),
            length: None,
            is_chunked: false,
            closes: false,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().ok(),
                "transfer-encoding" => head.is_chunked = value == "chunked",
                "connection" => head.closes = value == "close",
                _ => {}
            }
        }
        Ok(head)
    }

    /// The body of an answer whose length is known.
    pub(super) async fn body(&self, head: &Head) -> Result<Vec<u8>, Gone> {
        let length = head.length.expect("it has a length");
        self.until(|bytes| (bytes.len() >= length).then(|| bytes.drain(..length).collect())).await
    }

    /// The next piece of a session's answer; `None` at its end.
    pub(super) async fn chunk(&self, head: &Head) -> Result<Option<Vec<u8>>, Gone> {
        assert!(head.is_chunked, "sessions are chunked: {head:?}");
        let size = self.until(|bytes| take_to(bytes, b"\r\n")).await?;
        let size = std::str::from_utf8(&size).expect("hexadecimal");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        let whole = size + 2;
        let mut chunk: Vec<u8> = self
            .until(|bytes| (bytes.len() >= whole).then(|| bytes.drain(..whole).collect()))
            .await?;
        assert_eq!(chunk.split_off(size), b"\r\n");
        Ok((size > 0).then_some(chunk))
    }

    /// Whether an answer has begun to come that nobody has looked at.
    pub(super) fn has_more(&self) -> bool {
        !self.received.borrow().is_empty()
    }

    /// Says that nothing more will be sent.
    pub(super) fn half_close(&self) {
        if let Some(socket) = &mut *self.socket.borrow_mut() {
            let closed = socket.shutdown(Shutdown::Write).now_or_never();
            closed.expect("does not wait").expect("cannot fail");
        }
    }

    /// Ends the connection at once.
    pub(super) fn cut(&self) {
        let socket = self.socket.borrow_mut().take();
        if let Some(socket) = socket {
            socket.cut();
        }
    }

    /// Is gone without a word.
    pub(super) fn vanish(&self) {
        let socket = self.socket.borrow_mut().take();
        if let Some(socket) = socket {
            socket.vanish();
        }
    }

    /// Closes it, as a program does that ends.
    pub(super) fn close(&self) {
        drop(self.socket.borrow_mut().take());
    }
}

/// Takes what stands before `end`, and the end.
fn take_to(bytes: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    let taken = bytes.drain(..at + end.len()).take(at).collect();
    Some(taken)
}

/// The bytes of a request.
pub(super) fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let basin = basin();
    let length = body.len();
    let mut out = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\ns2-basin: {}\r\n{headers}content-length: \
         {length}\r\n\r\n",
        basin.as_str(),
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// The head of a request whose body comes in chunks.
pub(super) fn open_request(target: &str) -> Vec<u8> {
    let basin = basin();
    format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\ns2-basin: {}\r\ncontent-type: s2s/proto\r\n\
         transfer-encoding: chunked\r\n\r\n",
        basin.as_str(),
    )
    .into_bytes()
}

/// Bytes as chunks whose ends have nothing to do with what is in them.
pub(super) fn chunks(dice: &mut Dice, mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let n = if dice.coin() { bytes.len() } else { 1 + dice.index(bytes.len()) };
        out.extend_from_slice(format!("{n:x}\r\n").as_bytes());
        out.extend_from_slice(&bytes[..n]);
        out.extend_from_slice(b"\r\n");
        bytes = &bytes[n..];
    }
    out
}
