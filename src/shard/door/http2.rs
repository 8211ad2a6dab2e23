//! The door's answers to who speaks HTTP/2 from the first byte on: the same in its frames.
//!
//! * Nobody wakes this thread: a conversation goes on whenever its visit does, at each tick.
//! * What a peer may send is far less than when the server serves, and as little is held for it.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};

use super::{Guest, Progress, RETRY_AFTER, TICK, told};
use crate::http2::{
    Connection, Handshake, Limits, RequestHead, ResponseHead, SendResponse, Socket, Transport,
    handshake,
};

/// Reads of a connection in one tick: whoever sends without pause has its turn again at the next.
const READS_PER_TICK: u32 = 16;
/// Requests of a connection that are answered in one tick.
const ANSWERS_PER_TICK: usize = 16;

/// What a peer may make the door hold, far below what a server that serves allows.
fn limits() -> Limits {
    Limits {
        streams_max: 16,
        window_bytes: 65_535,
        stream_window_bytes: 65_535,
        frame_bytes_max: 16_384,
        head_bytes_max: 8192,
        small_frames_bytes: 256 * 1024,
        pending_resets_max: 16,
    }
}

/// A visit's socket, which outlives the protocol on it, between two ticks.
struct Shared {
    guest: Rc<RefCell<Box<dyn Guest>>>,
    state: Rc<RefCell<State>>,
}

/// What a conversation knows of its socket.
#[derive(Debug, Default)]
struct State {
    ticks: u32,
    /// How often it was read since the tick began.
    reads: u32,
    /// The peer has sent more frames than it may.
    is_flooded: bool,
}

/// What a socket that never waits said, as a future has it. Nobody is woken for it.
fn polled<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state.borrow_mut();
        if state.reads >= READS_PER_TICK {
            return Poll::Pending;
        }
        state.reads += 1;
        polled(self.guest.borrow_mut().read(buf))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        polled(self.guest.borrow_mut().write(buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        polled(self.guest.borrow_mut().flush())
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        polled(self.guest.borrow_mut().close())
    }
}

impl Socket for Shared {
    /// Ticks are no shorter than they say, so no peer is allowed more than it may.
    fn now_us(&self) -> u64 {
        (TICK * self.state.borrow().ticks).as_micros().try_into().unwrap_or(u64::MAX)
    }

    fn took_frames(&mut self, _frames: usize) {}

    fn exceeded(&mut self) {
        self.state.borrow_mut().is_flooded = true;
    }
}

/// How far a conversation is.
enum Stage {
    Opening(Handshake<Transport<Shared>, Bytes>),
    Open(Connection<Transport<Shared>, Bytes>),
}

/// One connection's HTTP/2.
pub(super) struct Talk {
    stage: Stage,
    state: Rc<RefCell<State>>,
}

impl Talk {
    /// Begins one with a peer of which `received` has come, the preface and what followed it.
    pub(super) fn begin(guest: Rc<RefCell<Box<dyn Guest>>>, received: Vec<u8>) -> Self {
        let state = Rc::default();
        let shared = Shared { guest, state: Rc::clone(&state) };
        let opening = handshake(Transport::new(shared, received), &limits());
        Self { stage: Stage::Opening(opening), state }
    }

    /// Does what can be done now; ready when it is over: true when both sides said so.
    pub(super) fn go_on(&mut self, shards: &[Arc<Progress>]) -> Poll<bool> {
        {
            let mut state = self.state.borrow_mut();
            (state.ticks, state.reads) = (state.ticks + 1, 0);
        }
        let mut cx = Context::from_waker(Waker::noop());
        if let Stage::Opening(opening) = &mut self.stage {
            match Pin::new(opening).poll(&mut cx) {
                Poll::Ready(Ok(connection)) => self.stage = Stage::Open(connection),
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        let Stage::Open(connection) = &mut self.stage else { return Poll::Pending };
        for _ in 0..ANSWERS_PER_TICK {
            match connection.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    // Who is gone shows with the connection.
                    let _gone = answer(&RequestHead::of(request).0, respond, shards);
                    // The next one is to come on another connection, perhaps to a server that
                    // serves.
                    connection.graceful_shutdown();
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending => break,
            }
        }
        if self.state.borrow().is_flooded { Poll::Ready(false) } else { Poll::Pending }
    }
}

fn answer(
    request: &RequestHead,
    mut respond: SendResponse<Bytes>,
    shards: &[Arc<Progress>],
) -> Result<(), crate::http2::Error> {
    let body = told(request.path().as_bytes(), shards);
    let fields = [("content-type", "application/json"), ("retry-after", RETRY_AFTER)];
    let head = ResponseHead::new(503).with_fields(fields).with_length(body.len());
    if request.method() == "HEAD" {
        return head.send(&mut respond, true).map(drop);
    }
    // Within what the crate holds for a peer that does not take it.
    head.send(&mut respond, false)?.send_data(body.into(), true)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::super::Door;
    use super::*;
    use crate::http2::PREFACE;
    use crate::http2::tests::asked;
    use crate::tls::tests::trusting;
    use crate::tls::{Acceptor, Identity};

    fn door(tls: Option<Acceptor>) -> Door {
        let shards: Arc<[Arc<Progress>]> = vec![Arc::default(), Arc::default()].into();
        shards[1].advance(7, 90);
        Door::open("127.0.0.1:0".parse().unwrap(), shards, tls).unwrap()
    }

    fn connect(door: &Door) -> TcpStream {
        let socket = TcpStream::connect(door.address()).unwrap();
        let patience = Some(Duration::from_secs(60));
        socket.set_read_timeout(patience).unwrap();
        socket.set_write_timeout(patience).unwrap();
        socket
    }

    #[test]
    fn who_speaks_http2_is_answered_in_it() {
        let door = door(None);
        let requests = [("POST", "/v1/basins"), ("GET", "/health?x=y"), ("HEAD", "/health")];
        let answers = asked(door.address(), None, &requests);
        for (status, headers, _) in &answers {
            assert_eq!(*status, 503);
            assert_eq!(headers["content-type"], "application/json");
            assert_eq!(headers["retry-after"], "1");
        }
        let bodies: Vec<_> = answers.iter().map(|(_, _, body)| body.as_str()).collect();
        assert!(bodies[0].contains(r#""code":"unavailable""#), "{}", bodies[0]);
        let second = r#"{"shard":1,"read_bytes":7,"total_bytes":90,"opened":false}"#;
        assert!(bodies[1].contains(second), "{}", bodies[1]);
        assert_eq!(answers[2].1["content-length"], bodies[1].len().to_string().as_str());
        assert_eq!(bodies[2], "");
    }

    #[test]
    fn who_agreed_on_http2_under_tls_is_answered_in_it() {
        let identity = Identity::self_signed(vec!["localhost".to_owned()]).unwrap();
        let door = door(Some(Acceptor::new(identity.clone()).unwrap()));
        let connector = tokio_rustls::TlsConnector::from(trusting(&identity, &[b"h2"]));
        let answers = asked(door.address(), Some(connector), &[("GET", "/")]);
        assert_eq!(answers[0].0, 503);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a plain thread, which waits for another")]
    fn a_preface_that_comes_in_pieces_is_understood() {
        let door = door(None);
        let mut socket = connect(&door);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        for piece in [&PREFACE[..3], &PREFACE[3..20], &PREFACE[20..], &settings] {
            socket.write_all(piece).unwrap();
            std::thread::sleep(2 * TICK);
        }
        let mut head = [0; 9];
        socket.read_exact(&mut head).unwrap();
        assert_eq!(head[3], 4, "our SETTINGS come first: {head:?}");
    }

    #[test]
    fn who_floods_is_sent_away_and_others_are_answered() {
        let door = door(None);
        let mut socket = connect(&door);
        let flood = std::thread::spawn(move || {
            socket.write_all(PREFACE).unwrap();
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            while socket.write_all(&ping.repeat(100)).is_ok() {}
        });
        assert_eq!(asked(door.address(), None, &[("GET", "/")])[0].0, 503);
        flood.join().unwrap();
    }
}
