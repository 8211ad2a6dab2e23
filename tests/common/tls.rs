//! TLS for the tests: a client that looks at everything, and a bridge, behind which clients that
//! know nothing of TLS speak to a server that does.
//!
//! Neither asks who the server is: tests that care compare its certificate.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};
use thalweg::tls::with_anybody;
use tokio_rustls::TlsConnector;

use super::http2::runtime;
use super::{ANSWER_WAIT, POLL_PAUSE};

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a bridge looks whether the rest of it has come.
const LOOKS_MAX: u32 = 100;

fn config(
    protocols: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut config = with_anybody(versions).expect("versions that the provider has");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// A private connection whose handshake is done.
pub(crate) struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Connects, offering these protocols.
    pub(crate) fn open(host: &str, protocols: &[&[u8]]) -> io::Result<Self> {
        Self::open_with(host, protocols, rustls::ALL_VERSIONS)
    }

    pub(crate) fn open_with(
        host: &str,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<Self> {
        let mut socket = plain(host);
        let session = ClientConnection::new(config(protocols, versions), localhost());
        let mut session = session.expect("a client");
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self(StreamOwned::new(session, socket)))
    }

    /// The protocol that was agreed on.
    pub(crate) fn protocol(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let certs = self.0.conn.peer_certificates().expect("the handshake is done");
        certs[0].to_vec()
    }

    /// Sends text.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the server reads");
        self.0.flush().expect("the server reads");
    }

    /// Says that nothing more comes.
    pub(crate) fn half_close(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().expect("the server reads");
        self.0.sock.shutdown(Shutdown::Write).expect("the server is there");
    }

    /// Reads exactly so many bytes.
    #[track_caller]
    pub(crate) fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.0.read_exact(&mut read).expect("so many bytes come");
        read
    }

    /// Everything up to the end; an end without a word for it is an error.
    pub(crate) fn rest(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        self.0.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Reads up to the end of a head, and gives its text.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        String::from_utf8(head).expect("text")
    }
}

/// A connection in the clear, whose waits are bounded.
pub(crate) fn plain(host: &str) -> TcpStream {
    let socket = TcpStream::connect(host).expect("the server listens");
    socket.set_nodelay(true).expect("a fresh socket takes options");
    socket.set_read_timeout(Some(ANSWER_WAIT)).expect("a fresh socket takes options");
    socket.set_write_timeout(Some(ANSWER_WAIT)).expect("a fresh socket takes options");
    socket
}

/// Listens in the clear and carries each connection to `host` under TLS; gives the address, which
/// is listened on for as long as this process lives. What is offered is what the client speaks.
pub(crate) fn bridge(host: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    listener.set_nonblocking(true).expect("a fresh socket takes options");
    let host: SocketAddr = host.parse().expect("an address");
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(carry(socket, host));
        }
    });
    address
}

async fn carry(mut plain: tokio::net::TcpStream, host: SocketAddr) -> io::Result<()> {
    let mut first = [0; PREFACE.len()];
    let mut looks = 0;
    // Who sends only a piece of the preface means to be understood as HTTP/1.1.
    let protocol: &[u8] = loop {
        let seen = plain.peek(&mut first).await?;
        looks += 1;
        match &first[..seen] {
            [] => return Ok(()),
            seen if seen == PREFACE => break b"h2",
            seen if !PREFACE.starts_with(seen) || looks > LOOKS_MAX => break b"http/1.1",
            _ => tokio::time::sleep(POLL_PAUSE).await,
        }
    };
    let socket = tokio::net::TcpStream::connect(host).await?;
    socket.set_nodelay(true)?;
    plain.set_nodelay(true)?;
    let connector = TlsConnector::from(config(&[protocol], rustls::ALL_VERSIONS));
    let mut secure = connector.connect(localhost(), socket).await?;
    tokio::io::copy_bidirectional(&mut plain, &mut secure).await.map(|_bytes| ())
}
