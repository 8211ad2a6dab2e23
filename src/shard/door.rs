//! Answers for the server while its shards are being opened: every request 503, `GET /health`
//! with how far the recovery is.
//!
//! * It takes the port; the listener itself is then handed to the first core, never closed, so
//!   that no connection in its queue is lost. What the door has accepted, it answers.
//! * One plain thread; bounded in connections, in bytes of a request and in time for each.
//! * Who speaks HTTP/2 from the first byte on is answered in it (`http2`).

mod http2;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;

use self::http2::Talk;
use crate::http2::PREFACE;
use crate::io::socket::listen_shared;
use crate::tls::{Acceptor, Visitor};

/// How often the door looks for connections and bytes.
const TICK: Duration = Duration::from_millis(5);
/// Ticks between two lines in the log about the same shard: a second or a little more.
const TICKS_PER_REPORT: u64 = 200;
/// Ticks that a connection may take: two seconds.
const TICKS_PER_VISIT: u32 = 400;
/// Most connections at a time; more wait in the listener's queue.
const VISITS_MAX: usize = 256;
/// Bytes of a request after which it is answered without its end having been seen.
const HEAD_BYTES_MAX: usize = 8192;
/// When to ask again, in seconds.
const RETRY_AFTER: &str = "1";

/// How far the opening of one shard is. Written by its core, read by the door.
#[derive(Debug, Default)]
pub(super) struct Progress {
    read_bytes: AtomicU64,
    total_bytes: AtomicU64,
    opened: AtomicBool,
}

impl Progress {
    /// So much of its log was read.
    pub(super) fn advance(&self, read_bytes: u64, total_bytes: u64) {
        self.read_bytes.store(read_bytes, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    /// It is open.
    pub(super) fn finish(&self) {
        self.opened.store(true, Ordering::Relaxed);
    }

    /// Bytes of its log that were read, and that will be.
    pub(super) fn read(&self) -> (u64, u64) {
        let read = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        (read(&self.read_bytes), read(&self.total_bytes))
    }

    /// Whether it is open.
    pub(super) fn is_finished(&self) -> bool {
        self.opened.load(Ordering::Relaxed)
    }

    fn form(&self, shard: usize) -> ShardForm {
        let (read_bytes, total_bytes) = self.read();
        ShardForm { shard, read_bytes, total_bytes, opened: self.is_finished() }
    }
}

#[derive(Serialize)]
struct ShardForm {
    shard: usize,
    read_bytes: u64,
    total_bytes: u64,
    opened: bool,
}

#[derive(Serialize)]
struct HealthForm {
    status: &'static str,
    shards: Vec<ShardForm>,
}

/// A door that answers until its listener is taken, or it is dropped.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    stop: Sender<()>,
    listener: Receiver<TcpListener>,
}

impl Door {
    /// Takes the port and answers there from now on.
    ///
    /// * Errors: the port cannot be had, or no thread.
    pub(super) fn open(
        address: SocketAddr,
        shards: Arc<[Arc<Progress>]>,
        tls: Option<Acceptor>,
    ) -> io::Result<Self> {
        let listener = listen_shared(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = mpsc::channel();
        let (give, taken) = mpsc::channel();
        std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || attend(listener, &shards, tls.as_ref(), &stopped, &give))?;
        Ok(Self { address, stop, listener: taken })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for the listener; see [`Door::try_take`].
    pub(super) fn release(&self) {
        // A door that is gone says so when the listener is taken.
        let _gone = self.stop.send(());
    }

    /// The listener, blocking, once the door accepts no more; `None` until then.
    ///
    /// * Errors: the door ended without giving it.
    pub(super) fn try_take(&self) -> Result<Option<TcpListener>, String> {
        match self.listener.try_recv() {
            Ok(listener) => Ok(Some(listener)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err("the door ended early".to_owned()),
        }
    }
}

fn attend(
    listener: TcpListener,
    shards: &[Arc<Progress>],
    tls: Option<&Acceptor>,
    stop: &Receiver<()>,
    give: &Sender<TcpListener>,
) {
    let mut visits = Vec::new();
    for tick in 1_u64.. {
        match stop.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) => break,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while visits.len() < VISITS_MAX
            && let Ok((socket, _)) = listener.accept()
        {
            visits.extend(Visit::new(socket, tls));
        }
        visits.retain_mut(|visit| visit.go_on(shards));
        if tick % TICKS_PER_REPORT == 0 {
            report(shards);
        }
    }
    // Whoever takes it waits for connections in the kernel.
    if listener.set_nonblocking(false).is_ok() {
        let _gone = give.send(listener);
    }
    while !visits.is_empty() {
        visits.retain_mut(|visit| visit.go_on(shards));
        // Also a pause of a tick when the other end is kept; when it is gone, so is the process.
        if stop.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

fn report(shards: &[Arc<Progress>]) {
    let forms = shards.iter().enumerate().map(|(shard, progress)| progress.form(shard));
    for ShardForm { shard, read_bytes, total_bytes, .. } in forms.filter(|form| !form.opened) {
        tracing::info!(shard, read_bytes, total_bytes, "recovering the log");
    }
}

/// A socket that never waits.
trait Guest: Read + Write {
    /// Closes this direction of it.
    fn close(&mut self) -> io::Result<()>;
}

impl Guest for TcpStream {
    fn close(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Guest for Visitor {
    fn close(&mut self) -> io::Result<()> {
        self.close()
    }
}

/// One connection.
struct Visit {
    socket: Rc<RefCell<Box<dyn Guest>>>,
    head: Vec<u8>,
    answered: bool,
    /// What goes on in HTTP/2.
    talk: Option<Talk>,
    ticks: u32,
}

impl Visit {
    fn new(socket: TcpStream, tls: Option<&Acceptor>) -> Option<Self> {
        socket.set_nonblocking(true).ok()?;
        let socket: Box<dyn Guest> = match tls {
            Some(acceptor) => Box::new(Visitor::new(acceptor, socket).ok()?),
            None => Box::new(socket),
        };
        let socket = Rc::new(RefCell::new(socket));
        Some(Self { socket, head: Vec::new(), answered: false, talk: None, ticks: 0 })
    }

    /// Does what can be done now; `false` when the connection is done with.
    fn go_on(&mut self, shards: &[Arc<Progress>]) -> bool {
        self.ticks += 1;
        if let Some(talk) = &mut self.talk {
            match talk.go_on(shards) {
                Poll::Ready(true) => self.talk = None,
                Poll::Ready(false) => return false,
                Poll::Pending => return self.ticks < TICKS_PER_VISIT,
            }
        }
        let mut bytes = [0; 4096];
        let mut ended = false;
        // Bounded: a peer that sends without pause has its turn again at the next tick.
        for _ in 0..16 {
            match self.socket.borrow_mut().read(&mut bytes) {
                Ok(0) => ended = true,
                Ok(count) if !self.answered => self.head.extend_from_slice(&bytes[..count]),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            if ended {
                break;
            }
        }
        if !self.answered && self.head.starts_with(PREFACE) {
            self.answered = true;
            let received = std::mem::take(&mut self.head);
            self.talk = Some(Talk::begin(Rc::clone(&self.socket), received));
            return true;
        }
        let whole =
            self.head.windows(4).any(|end| end == b"\r\n\r\n") && !PREFACE.starts_with(&self.head);
        if !self.answered && (whole || self.head.len() > HEAD_BYTES_MAX) {
            self.answered = true;
            let mut socket = self.socket.borrow_mut();
            // Less than any socket's buffer: it is written at once or the peer is gone.
            if socket.write_all(&answer(&self.head, shards)).is_err() || socket.close().is_err() {
                return false;
            }
        }
        // Read to the end, else the answer could be lost to a reset.
        !ended && self.ticks < TICKS_PER_VISIT
    }
}

/// What is said to whoever asks for that path: how far it is, or that it is too early.
fn told(path: &[u8], shards: &[Arc<Progress>]) -> Vec<u8> {
    if path != b"/health" {
        return br#"{"code":"unavailable","message":"the server is recovering its log"}"#.to_vec();
    }
    let shards = shards.iter().enumerate().map(|(shard, progress)| progress.form(shard));
    let form = HealthForm { status: "recovering", shards: shards.collect() };
    serde_json::to_vec(&form).expect("numbers and fixed texts")
}

fn answer(head: &[u8], shards: &[Arc<Progress>]) -> Vec<u8> {
    let is_head = head.starts_with(b"HEAD ");
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let body = told(path, shards);
    let mut answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nretry-after: {RETRY_AFTER}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !is_head {
        answer.extend_from_slice(&body);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Identity;

    fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        socket
    }

    fn told(mut socket: TcpStream) -> String {
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn everything_is_503_and_health_says_how_far() {
        let shards: Arc<[Arc<Progress>]> = vec![Arc::default(), Arc::default()].into();
        let door = Door::open("127.0.0.1:0".parse().unwrap(), Arc::clone(&shards), None).unwrap();
        shards[0].finish();
        shards[1].advance(7, 90);
        let health = told(ask(door.address(), "/health"));
        assert!(health.starts_with("HTTP/1.1 503 "), "{health}");
        assert!(health.contains("connection: close\r\n"), "{health}");
        assert!(health.contains(r#""status":"recovering""#), "{health}");
        let second = r#"{"shard":1,"read_bytes":7,"total_bytes":90,"opened":false}"#;
        assert!(health.contains(second), "{health}");
        let other = told(ask(door.address(), "/v1/basins"));
        assert!(other.starts_with("HTTP/1.1 503 "), "{other}");
        assert!(other.contains(r#""code":"unavailable""#), "{other}");
        assert!(!other.contains("recovering\""), "{other}");
    }

    #[test]
    fn where_tls_is_spoken_it_speaks_it_too() {
        let identity = Identity::self_signed(vec!["localhost".to_owned()]).unwrap();
        let tls = Some(Acceptor::new(identity.clone()).unwrap());
        let door = Door::open("127.0.0.1:0".parse().unwrap(), Arc::new([]), tls).unwrap();
        for path in ["/health", "/v1/basins"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            for protocols in [&[&b"http/1.1"[..]][..], &[]] {
                let answer =
                    crate::tls::tests::told(door.address(), &identity, protocols, &request);
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            }
        }
        let mut said = Vec::new();
        // An alert and an end, or a reset.
        let _ended = ask(door.address(), "/health").read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP"), "nothing is said in the clear");
    }

    #[test]
    fn the_listener_passes_on_with_the_connections_in_its_queue() {
        let door = Door::open("127.0.0.1:0".parse().unwrap(), Arc::new([]), None).unwrap();
        assert!(told(ask(door.address(), "/")).contains("503"));
        assert!(door.try_take().unwrap().is_none());
        door.release();
        let listener = door.listener.recv_timeout(Duration::from_secs(10)).unwrap();
        let mut queued = ask(door.address(), "/");
        queued.write_all(b"more").unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"served").unwrap();
        drop(listener);
        let mut bytes = [0; 6];
        queued.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"served");
    }
}
