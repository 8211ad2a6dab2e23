//! What a TCP connection of the executor does not do by itself: send several buffers at once, and
//! move to another executor.
//!
//! A socket belongs to the rings of the executor that it was accepted on. To move, it is given a
//! second descriptor, the first is closed with everything that hung on it, and the second is bound
//! to the executor that it arrives at. The connection itself notices nothing.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind, listen, sendmsg,
    socket_with, sockopt,
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

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

/// A connection that sends what lies in several buffers by one system call.
#[derive(Debug)]
pub struct VectoredSocket(TcpStream);

impl VectoredSocket {
    /// Wraps a connection of the executor that runs.
    #[must_use]
    pub fn new(socket: TcpStream) -> Self {
        Self(socket)
    }

    /// The connection itself.
    #[must_use]
    pub fn into_inner(self) -> TcpStream {
        self.0
    }

    /// Closes one direction or both.
    ///
    /// * Errors: the peer is gone.
    pub async fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how).await.map_err(Into::into)
    }
}

impl AsyncRead for VectoredSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for VectoredSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // SAFETY: the descriptor is open as long as the socket lives, which is longer than this.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), flags) {
            Ok(n) => Poll::Ready(Ok(n)),
            // Tries once more, and waits for room: only the executor can.
            Err(rustix::io::Errno::AGAIN) => {
                let first = bufs.iter().find(|buf| !buf.is_empty());
                Pin::new(&mut self.0).poll_write(cx, first.map_or(&[], |buf| buf))
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
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
}
