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
pub use look::receives;
use look::{SecondLook, WATCH, WATCH_PAUSES, Watch};

mod look;

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

    fn look_twice(&mut self, twice: bool) {
        self.looks_twice = twice;
        // A look that was to come does not, either.
        self.watch.is_next = false;
        self.second_look.under_way = false;
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::task::{Wake, Waker};

    use futures_util::io::{AsyncReadExt, AsyncWriteExt};
    use glommio::LocalExecutorBuilder;
    use glommio::net::TcpListener;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reader_looks_again_only_while_it_is_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let cases: [(&[bool], usize); 4] =
            [(&[], 0), (&[true], 1), (&[true, false], 0), (&[true, false, true], 1)];
        for (said, looks) in cases {
            let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ours, _) = listener.accept().unwrap();
            let executor = LocalExecutorBuilder::default().spawn(move || async move {
                let mut socket = VectoredSocket::new(MovingSocket(ours.into()).attach());
                said.iter().for_each(|twice| socket.look_twice(*twice));
                let woken = Arc::new(Woken::default());
                let waker = Waker::from(Arc::clone(&woken));
                let mut cx = Context::from_waker(&waker);
                let received = Pin::new(&mut socket).poll_read(&mut cx, &mut [0; 16]);
                assert!(received.is_pending(), "nothing was sent");
                woken.0.load(Ordering::Relaxed)
            });
            assert_eq!(executor.unwrap().join().unwrap(), looks, "{said:?}");
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
