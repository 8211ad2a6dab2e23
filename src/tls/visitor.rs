//! A connection under TLS for a plain thread, whose socket never waits.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustls::{ServerConnection, StreamOwned};

use super::acceptor::Acceptor;
use super::identity::Error;

/// A private connection, or one that is about to be: reads and writes go on with the handshake.
///
/// * Errors: `WouldBlock` while the peer is waited for, as of the socket itself.
#[derive(Debug)]
pub struct Visitor(StreamOwned<ServerConnection, TcpStream>);

impl Visitor {
    /// Begins a handshake on a socket that does not wait.
    ///
    /// * Errors: [`Error::Unusable`], for settings that do not go together.
    pub fn new(acceptor: &Acceptor, socket: TcpStream) -> Result<Self, Error> {
        Ok(Self(StreamOwned::new(acceptor.session()?, socket)))
    }

    /// Says that nothing more comes, and closes this direction of the socket.
    ///
    /// * Errors: the peer is gone.
    pub fn close(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()?;
        self.0.sock.shutdown(Shutdown::Write)
    }
}

impl Read for Visitor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Visitor {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
