//! A blocking connection, and requests over it in HTTP/1.1.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::net::sockopt;

use crate::connection::parse;

/// Longest wait for a connection, an answer, or room to send.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A connection. Closed, it is reset: ten thousand that wait for stray packets would take all
/// ports.
pub(crate) struct Wire(TcpStream);

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) closes: bool,
}

impl Answer {
    /// The answer in `received`, once it is whole.
    pub(super) fn take(received: &mut Vec<u8>) -> Result<Option<Self>> {
        let parsed = parse(received).map_err(|why| anyhow::anyhow!("{why}"))?;
        Ok(parsed.map(|answer| {
            let head = String::from_utf8_lossy(&received[..answer.body.start]).into_owned();
            let (status, closes) = (answer.status, !answer.is_reusable);
            Self { status, head, body: received[answer.body].to_vec(), closes }
        }))
    }

    /// Whether it says that nothing was done, and with which code.
    pub(super) fn is_refusal(&self) -> bool {
        let coded = self.body.windows(7).any(|bytes| bytes == b"\"code\":");
        [429, 502, 503].contains(&self.status) && coded
    }

    /// Whether it says when to come again.
    pub(super) fn says_when(&self) -> bool {
        self.head.contains("retry-after-ms:")
    }
}

impl Wire {
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        Ok(Self(stream))
    }

    /// A connection that receives next to nothing unless it is read from.
    pub(super) fn open_narrow(address: SocketAddr) -> Result<Self> {
        let wire = Self::open(address)?;
        sockopt::set_socket_recv_buffer_size(&wire.0, 4096)?;
        Ok(wire)
    }

    /// Sends all of it, or fails after a while.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends what there is room for now.
    pub(super) fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set_nonblocking(true)?;
        let mut sent = 0;
        while sent < bytes.len() {
            match self.0.write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Throws away what was received; false when the peer has closed.
    pub(super) fn drain(&mut self) -> bool {
        let mut scratch = [0; 4096];
        if self.0.set_nonblocking(true).is_err() {
            return false;
        }
        loop {
            match self.0.read(&mut scratch) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        self.answer()
    }

    /// Waits for an answer.
    pub(super) fn answer(&mut self) -> Result<Answer> {
        let mut received = Vec::new();
        loop {
            if let Some(answer) = Answer::take(&mut received)? {
                return Ok(answer);
            }
            let mut piece = [0; 16 * 1024];
            match self.0.read(&mut piece)? {
                0 => bail!("closed without an answer"),
                n if received.len() + n > ANSWER_BYTES_MAX => bail!("an endless answer"),
                n => received.extend_from_slice(&piece[..n]),
            }
        }
    }
}

/// A request without a body.
pub(super) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\n{headers}\r\n").into_bytes()
}

/// The head of a request with a JSON body of this length.
pub(super) fn head(method: &str, path: &str, headers: &str, body_bytes: u64) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\n{headers}content-type: application/json\r\n\
         content-length: {body_bytes}\r\n\r\n"
    )
    .into_bytes()
}

/// A request with a JSON body.
pub(super) fn json(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = head(method, path, headers, body.len() as u64);
    request.extend_from_slice(body);
    request
}

/// An append of one record of this length to a stream.
pub(super) fn append(stream: &str, headers: &str, record_bytes: usize) -> Vec<u8> {
    let body = format!(r#"{{"records":[{{"body":"{}"}}]}}"#, "x".repeat(record_bytes));
    json("POST", &format!("/v1/streams/{stream}/records"), headers, body.as_bytes())
}
