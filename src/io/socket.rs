//! What a TCP connection of the executor does not do by itself: send several buffers at once, give
//! way to others, and move to another executor.
//!
//! Reading from a socket that always has more waits for nothing, so that a peer that sends faster
//! than we understand would have its core for as long as it likes: nobody takes a core from a task.
//! Such a reader gives way each 80 KiB, and now and then until the executor has looked what
//! its rings have done.
//!
//! A socket belongs to the rings of the executor that it was accepted on. To move, it is given a
//! second descriptor, the first is closed with everything that hung on it, and the second is bound
//! to the executor that it arrives at. The connection itself notices nothing.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind,
    listen, recv, sendmsg, socket_with, sockopt,
};

use super::Socket;

/// Connections that may wait to be accepted, as far as the kernel allows: what comes beyond them is
/// dropped, and tries again a second later.
const BACKLOG: i32 = 4096;

/// Listens at `address`, whose port our other listeners may share.
///
/// * Errors: the port cannot be had.
pub fn listen_shared(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Hands a listener, which must be a blocking one, to the executor that runs.
#[must_use]
pub fn adopt_listener(listener: std::net::TcpListener) -> TcpListener {
    // SAFETY: the descriptor is open, listens, and is given up by its owner here.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

/// Bytes that are received without waiting before other tasks of the executor have their turn:
/// some milliseconds of the smallest requests. A batch of 64 KiB and its head come in one turn:
/// among hundreds of connections that have something to say, a second turn is a long wait.
const TURN_BYTES: usize = 80 * 1024;
/// How long turns may follow each other before the reader rests.
const TURNS_LAST: Duration = Duration::from_millis(2);
/// A rest: short, since the executor looks at its rings before it notices the end, but not over
/// before that is waited for.
const REST: Duration = Duration::from_micros(50);

/// How long a watch lasts at most: what a peer on the same machine needs to ask again, and less
/// than a write with its sync, for which the core is held, too.
const WATCH: Duration = Duration::from_micros(80);
/// How long watches may find something before the executor looks at its rings.
const WATCHES_LAST: Duration = Duration::from_millis(1);
/// Pauses of the processor between two looks.
const WATCH_PAUSES: u32 = 16;

/// A connection that sends what lies in several buffers by one system call, and from which a
/// reader that never has to wait gives way now and then.
#[derive(Debug)]
pub struct VectoredSocket {
    stream: TcpStream,
    /// Received, or charged for it, since the reader waited or gave way, in bytes.
    turn_bytes: usize,
    /// When the first turn ended since the reader waited.
    turns_since: Option<Instant>,
    rest: Option<Timer>,
    /// Whether the executor was asked to say when there is something to receive.
    waits: bool,
    /// Whether its reader may be polled again before something came.
    looks_twice: bool,
    second_look: SecondLook,
    watch: Watch,
}

/// How often something is tried that may be in vain: the rarer, the more often it was.
#[derive(Debug, Default)]
struct Turns {
    /// How many are left out between two.
    skips: u8,
    /// Of these, how many are over.
    skipped: u8,
}

impl Turns {
    /// Whether it is tried this time.
    fn is_due(&mut self) -> bool {
        let is_due = self.skipped >= self.skips;
        self.skipped = if is_due { 0 } else { self.skipped + 1 };
        is_due
    }

    fn paid(&mut self) {
        self.skips = 0;
    }

    fn in_vain(&mut self, skips_max: u8) {
        self.skips = (2 * self.skips + 1).min(skips_max);
    }
}

/// Whether to stand by the socket for a moment, instead of being woken, which takes as long as a
/// short answer: when one peer asks again as soon as it has its answer, and nobody else wants
/// anything.
#[derive(Debug, Default)]
struct Watch {
    /// A watch is to come: the reader gave way once, so that nobody who can go on waits for it.
    is_next: bool,
    /// Receives in a row on this executor that were this connection's.
    alone: u8,
    /// Number of the last of them.
    last: u64,
    turns: Turns,
    /// When the first of the watches began that found something, without a wait between.
    found_since: Option<Instant>,
}

impl Watch {
    /// Receives in a row after which the peer counts as the only one.
    const ALONE_MIN: u8 = 16;
    /// Most waits in a row without a watch.
    const SKIPS_MAX: u8 = 127;

    /// Something was received.
    fn received(&mut self) {
        let number = RECEIVES.get() + 1;
        RECEIVES.set(number);
        self.alone = if number == self.last + 1 { self.alone.saturating_add(1) } else { 0 };
        self.last = number;
    }

    /// Nothing was there: true when the reader is to give way and to watch then.
    fn begins(&mut self) -> bool {
        if self.alone < Self::ALONE_MIN || self.last != RECEIVES.get() {
            return false;
        }
        if !self.turns.is_due() {
            return false;
        }
        // The executor looks at its rings, and so hears of other peers, only when its tasks wait.
        if self.found_since.is_some_and(|since| since.elapsed() >= WATCHES_LAST) {
            return false;
        }
        self.is_next = true;
        true
    }

    /// A watch is over that began then.
    fn ended(&mut self, found: bool, began: Instant) {
        if found {
            self.turns.paid();
            self.found_since.get_or_insert(began);
        } else {
            self.turns.in_vain(Self::SKIPS_MAX);
        }
    }

    /// The executor had a look at its rings.
    fn waited(&mut self) {
        self.found_since = None;
        self.received();
    }
}

thread_local! {
    /// Receives of all connections of this executor.
    static RECEIVES: Cell<u64> = const { Cell::new(0) };
}

/// Whether to look once more, after others had their turn, before the executor is asked to say when
/// something arrives: who answers many requests finds the next ones there by the time it is done,
/// and asking takes longer than receiving.
#[derive(Debug, Default)]
struct SecondLook {
    /// A look is under way: the reader gave way once.
    under_way: bool,
    turns: Turns,
    /// Second looks in a row that found something.
    found: u8,
}

impl SecondLook {
    /// Most waits in a row without a second look.
    const SKIPS_MAX: u8 = 32;
    /// Most second looks in a row that find something. The executor looks at its rings, and lets
    /// other queues have their turn, only when none of its tasks has something to do, and one
    /// that looks again has: peers that are quick enough would keep it from that.
    const FOUND_MAX: u8 = 3;

    /// Nothing was there: true when the reader is to give way and look again.
    fn begins(&mut self) -> bool {
        if self.under_way {
            (self.under_way, self.found) = (false, 0);
            self.turns.in_vain(Self::SKIPS_MAX);
            return false;
        }
        if self.found >= Self::FOUND_MAX {
            self.found = 0;
            return false;
        }
        if !self.turns.is_due() {
            return false;
        }
        self.under_way = true;
        true
    }

    /// Something was there.
    fn found(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.turns.paid();
            self.found += 1;
        }
    }
}

impl VectoredSocket {
    /// Wraps a connection of the executor that runs.
    #[must_use]
    pub fn new(socket: TcpStream) -> Self {
        Self {
            stream: socket,
            turn_bytes: 0,
            turns_since: None,
            rest: None,
            waits: false,
            looks_twice: false,
            second_look: SecondLook::default(),
            watch: Watch::default(),
        }
    }

    /// Receives what is there; `None` when nothing is.
    fn receive(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        // SAFETY: the descriptor is open as long as the socket lives, which is longer than this.
        let fd = unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) };
        match retry_on_intr(|| recv(fd, &mut *buf, RecvFlags::DONTWAIT)) {
            Ok((n, _)) => Some(Ok(n)),
            Err(rustix::io::Errno::AGAIN) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Receives what comes within [`WATCH`].
    #[expect(clippy::disallowed_methods, reason = "sockets are real, and so is their time")]
    fn watch(&mut self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let since = Instant::now();
        let mut received = None;
        while received.is_none() && since.elapsed() < WATCH {
            (0..WATCH_PAUSES).for_each(|_| std::hint::spin_loop());
            received = self.receive(buf);
        }
        self.watch.ended(received.is_some(), since);
        received
    }

    /// Receives what is there, or has the task woken when something is.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.waits {
            if let Some(received) = self.receive(buf) {
                self.watch.is_next = false;
                self.second_look.found();
                self.watch.received();
                return Poll::Ready(received);
            }
            let is_watch = std::mem::take(&mut self.watch.is_next);
            if !is_watch && self.looks_twice && (self.second_look.begins() || self.watch.begins()) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if is_watch && let Some(received) = self.watch(buf) {
                self.watch.received();
                return Poll::Ready(received);
            }
        }
        // The executor asks the kernel again at once after it received less than it was offered
        // room for. So it is offered room for one byte, and what else is there is taken here.
        self.waits = true;
        let first = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf[..1]));
        self.waits = false;
        self.watch.waited();
        Poll::Ready(match first {
            Ok(1) if buf.len() > 1 => match self.receive(&mut buf[1..]) {
                Some(Ok(n)) => Ok(1 + n),
                // An end or an error shows again.
                Some(Err(_)) | None => Ok(1),
            },
            other => other,
        })
    }

    /// Lets others have their turn, if the reader has had its own.
    #[expect(clippy::disallowed_methods, reason = "sockets are real, and so is their time")]
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn_bytes >= TURN_BYTES {
            self.turn_bytes = 0;
            let since = *self.turns_since.get_or_insert_with(Instant::now);
            if since.elapsed() < TURNS_LAST {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.turns_since = None;
            self.rest = Some(Timer::new(REST));
        }
        if let Some(rest) = &mut self.rest {
            ready!(Pin::new(rest).poll(cx));
            self.rest = None;
        }
        Poll::Ready(())
    }
}

impl Socket for VectoredSocket {
    type Moving = MovingSocket;

    fn charge(&mut self, bytes: usize) {
        self.turn_bytes += bytes;
    }

    fn look_twice(&mut self) {
        self.looks_twice = true;
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    async fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how).await.map_err(Into::into)
    }

    fn detach(self) -> io::Result<MovingSocket> {
        MovingSocket::detach(self.stream)
    }

    fn attach(moving: MovingSocket) -> Self {
        Self::new(moving.attach())
    }
}

impl AsyncRead for VectoredSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let received = self.poll_receive(cx, buf);
        match &received {
            Poll::Ready(Ok(n)) => self.turn_bytes += n,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => (self.turn_bytes, self.turns_since) = (0, None),
        }
        received
    }
}

impl AsyncWrite for VectoredSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // SAFETY: the descriptor is open as long as the socket lives, which is longer than this.
        let fd = unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), flags) {
            Ok(n) => Poll::Ready(Ok(n)),
            // Tries once more, and waits for room: only the executor can.
            Err(rustix::io::Errno::AGAIN) => {
                let first = bufs.iter().find(|buf| !buf.is_empty());
                Pin::new(&mut self.stream).poll_write(cx, first.map_or(&[], |buf| buf))
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Has the kernel find out, within some minutes, that the peer of a silent connection is gone.
///
/// * Errors: the connection is gone already.
pub fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `socket` lives, which is longer than this.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(fd, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(fd, 4)?;
    Ok(())
}

/// A connection on its way between two executors.
#[derive(Debug)]
pub struct MovingSocket(OwnedFd);

impl MovingSocket {
    /// Takes a connection off the executor that runs.
    ///
    /// * Errors: no descriptor is left; the connection is closed then.
    pub fn detach(socket: TcpStream) -> std::io::Result<Self> {
        // SAFETY: the descriptor is open as long as `socket` lives, which is to the end of this
        // function.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        fd.try_clone_to_owned().map(Self)
    }

    /// Binds the connection to the executor that runs.
    #[must_use]
    pub fn attach(self) -> TcpStream {
        // SAFETY: the descriptor is an open TCP socket, since it was cloned from one, and it is
        // owned by nobody else from here on.
        unsafe { TcpStream::from_raw_fd(self.0.into_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::mpsc;

    use futures_util::io::{AsyncReadExt, AsyncWriteExt};
    use glommio::LocalExecutorBuilder;
    use glommio::net::TcpListener;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "sockets are real, and so is their time")]
    fn a_lone_peer_is_watched_until_it_is_late_or_others_come() {
        let began = Instant::now();
        let mut watch = Watch::default();
        for received in 0..Watch::ALONE_MIN {
            assert!(!watch.begins(), "after {received} receives");
            watch.received();
        }
        assert!(watch.begins(), "it is the only one");
        watch.ended(true, began);
        watch.received();
        assert!(watch.begins(), "again, since it was in time");
        watch.found_since = began.checked_sub(WATCHES_LAST);
        assert!(!watch.begins(), "the rings must be looked at now and then");
        watch.waited();
        let waits_of = |watch: &mut Watch| (0..1000).position(|_| watch.begins());
        for skips in [0, 1, 3, 7, 15, 31, 63, 127, 127] {
            assert_eq!(waits_of(&mut watch), Some(skips), "it was late each time");
            watch.ended(false, began);
        }
        let mut other = Watch::default();
        other.received();
        assert_eq!(waits_of(&mut watch), None, "another peer came");
        watch.received();
        assert_eq!(waits_of(&mut watch), None, "and it is not alone yet");
    }

    #[test]
    fn second_looks_become_rarer_while_they_are_in_vain_and_come_back_when_they_pay() {
        let mut look = SecondLook::default();
        // Each wait: did it begin a second look? Nothing is ever there.
        let wait = |look: &mut SecondLook| {
            let begins = look.begins();
            if begins {
                assert!(!look.begins(), "once, not for ever");
            }
            begins
        };
        let looks: Vec<usize> = (0..200).filter(|_| wait(&mut look)).collect();
        assert_eq!(looks, [0, 2, 6, 14, 30, 62, 95, 128, 161, 194]);
        // The next one pays: from then on most waits have one.
        while !look.begins() {}
        look.found();
        while look.begins() {
            look.found();
        }
        for _ in 0..10 {
            for _ in 0..SecondLook::FOUND_MAX {
                assert!(look.begins());
                look.found();
            }
            assert!(!look.begins(), "the executor looks at its rings now and then");
        }
    }

    #[test]
    fn a_connection_goes_on_where_it_was_on_another_executor() {
        let (address_out, address) = mpsc::channel();
        let (moving_out, moving) = mpsc::channel();
        let first = LocalExecutorBuilder::default().spawn(move || async move {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            address_out.send(listener.local_addr().unwrap()).unwrap();
            let mut socket = listener.accept().await.unwrap();
            let mut byte = [0];
            socket.read_exact(&mut byte).await.unwrap();
            moving_out.send((MovingSocket::detach(socket).unwrap(), byte[0])).unwrap();
        });
        let mut client = std::net::TcpStream::connect(address.recv().unwrap()).unwrap();
        client.write_all(b"a").unwrap();
        first.unwrap().join().unwrap();
        client.write_all(b"b").unwrap();
        let second = LocalExecutorBuilder::default().spawn(move || async move {
            let (moving, first_byte): (MovingSocket, u8) = moving.recv().unwrap();
            let mut socket = moving.attach();
            let mut byte = [0];
            socket.read_exact(&mut byte).await.unwrap();
            socket.write_all(&[first_byte, byte[0]]).await.unwrap();
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        second.unwrap().join().unwrap();
        assert_eq!(answer, b"ab");
    }

    #[test]
    fn a_reader_that_never_waits_gives_way() {
        const SENT_BYTES: usize = 3 * TURN_BYTES;
        const PIECE_BYTES: usize = 8 * 1024;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        peer.write_all(&[7; SENT_BYTES]).unwrap(); // all of it waits in the kernel's buffers
        let longest = LocalExecutorBuilder::default().spawn(move || async move {
            let mut socket = VectoredSocket::new(MovingSocket(ours.into()).attach());
            let mut piece = vec![0; PIECE_BYTES];
            let (mut received, mut longest) = (0, 0);
            while received < SENT_BYTES {
                let turn_bytes = std::future::poll_fn(|cx| {
                    let mut turn_bytes = 0;
                    while let Poll::Ready(n) = Pin::new(&mut socket).poll_read(cx, &mut piece) {
                        turn_bytes += n.unwrap();
                    }
                    if turn_bytes > 0 { Poll::Ready(turn_bytes) } else { Poll::Pending }
                });
                let turn_bytes = turn_bytes.await;
                received += turn_bytes;
                longest = longest.max(turn_bytes);
            }
            longest
        });
        let longest = longest.unwrap().join().unwrap();
        assert!(longest < TURN_BYTES + PIECE_BYTES, "{longest} bytes in one turn");
    }
}
