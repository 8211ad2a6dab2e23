//! Tests of TLS without a server: a client of the same library, and memory between the two.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::reload::Watch;
use super::*;

mod hello;

/// What lies between the two: bytes for each side, and how many the server may still send.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    room: usize,
    client_closed: bool,
    server_closed: bool,
}

/// The server's end of it.
#[derive(Clone, Default)]
struct Socket(Rc<RefCell<Wire>>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        if wire.to_server.is_empty() && !wire.client_closed {
            return Poll::Pending;
        }
        Poll::Ready(wire.to_server.read(buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let n = buf.len().min(wire.room);
        if n == 0 {
            return Poll::Pending;
        }
        wire.room -= n;
        wire.to_client.extend(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().server_closed = true;
        Poll::Ready(Ok(()))
    }
}

fn identity() -> Identity {
    Identity::self_signed(vec!["localhost".to_owned()]).unwrap()
}

fn certificate(identity: &Identity) -> CertificateDer<'static> {
    identity.certified().cert[0].clone()
}

/// A client that trusts `cert` and offers `protocols`.
fn client(cert: CertificateDer<'static>, protocols: &[&[u8]]) -> ClientConnection {
    let config = client_config(cert, protocols);
    ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap()
}

/// Settings of clients that trust the server with that certificate and offer `protocols`.
pub(crate) fn trusting(identity: &Identity, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    client_config(certificate(identity), protocols)
}

fn client_config(cert: CertificateDer<'static>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// What a server with that certificate answers in HTTP/1.1 to a client that offers `protocols`, up
/// to its orderly end.
pub(crate) fn told(
    address: SocketAddr,
    identity: &Identity,
    protocols: &[&[u8]],
    request: &str,
) -> String {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = StreamOwned::new(client(certificate(identity), protocols), socket);
    stream.write_all(request.as_bytes()).unwrap();
    assert_ne!(stream.conn.alpn_protocol(), Some(&b"h2"[..]), "it answers in HTTP/1.1");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Runs both sides until the server is done; `split` bytes at a time.
fn shake(
    acceptor: &Acceptor,
    client: &mut ClientConnection,
    split: usize,
) -> Result<Handshake, String> {
    let mut server = Handshake::begin(acceptor);
    for _round in 0..20 {
        let (mut sent, mut answer) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        for piece in sent.chunks(split) {
            let understood = server.receive(piece).and_then(|()| server.work());
            server.output(&mut answer);
            understood.map_err(|error| error.to_string())?;
        }
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
        if server.is_done() && !client.is_handshaking() && !client.wants_write() {
            return Ok(server);
        }
    }
    panic!("the handshake does not end");
}

/// A private connection and its client; nothing has room in the server's socket yet.
fn connected() -> (Stream<Socket>, Socket, ClientConnection) {
    let identity = identity();
    let mut client = client(certificate(&identity), &[b"h2"]);
    let server = shake(&Acceptor::new(identity).unwrap(), &mut client, 1 << 20).unwrap();
    let socket = Socket::default();
    (server.into_stream(socket.clone()).expect("it is done"), socket, client)
}

/// Moves what the server sent to the client; what the client then has.
fn received(socket: &Socket, client: &mut ClientConnection) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let mut wire = socket.0.borrow_mut();
        if !wire.to_client.is_empty() {
            client.read_tls(&mut wire.to_client).unwrap();
        }
        let is_all = wire.to_client.is_empty();
        drop(wire);
        client.process_new_packets().unwrap();
        let mut piece = [0; 40_000];
        while let Ok(n @ 1..) = client.reader().read(&mut piece) {
            plain.extend_from_slice(&piece[..n]);
        }
        if is_all {
            return plain;
        }
    }
}

fn send(socket: &Socket, client: &mut ClientConnection) {
    while client.wants_write() {
        client.write_tls(&mut socket.0.borrow_mut().to_server).unwrap();
    }
}

#[test]
fn what_is_spoken_is_agreed_on_or_left_to_the_first_bytes() {
    let identity = identity();
    let cert = certificate(&identity);
    let acceptor = Acceptor::new(identity).unwrap();
    let cases: [(&[&[u8]], Application); 4] = [
        (&[b"http/1.1", b"h2"], Application::Http2),
        (&[b"http/1.1"], Application::Http1),
        (&[b"x", b"h2"], Application::Http2),
        (&[], Application::Unnamed),
    ];
    for (offered, expected) in cases {
        for split in [1, 7, 1 << 20] {
            let mut client = client(cert.clone(), offered);
            let server = shake(&acceptor, &mut client, split).unwrap();
            assert_eq!(server.application(), expected, "{offered:?}");
        }
    }
    let refused = shake(&acceptor, &mut client(cert, &[b"spdy"]), 1 << 20).unwrap_err();
    assert!(refused.contains("protocol"), "{refused}");
}

#[test]
fn garbage_and_endless_hellos_are_refused() {
    let acceptor = Acceptor::new(identity()).unwrap();
    let cases: [&[u8]; 4] = [
        &[22, 3, 1, 0, 5, 9, 9, 9, 9, 9],
        &[22, 3, 1, 255, 255, 1, 0, 0],
        &[21, 3, 3, 0, 2, 2, 40],
        &[22, 9, 9, 0, 1, 0],
    ];
    for bytes in cases {
        let mut server = Handshake::begin(&acceptor);
        assert!(server.receive(bytes).is_err(), "{bytes:?}");
        assert!(!server.is_done());
    }
    // A hello that claims to be long, in records that go on and on.
    let mut server = Handshake::begin(&acceptor);
    let mut first = vec![22, 3, 1, 0x10, 0, 1, 0, 0xff, 0xff];
    first.resize(5 + 0x1000, 0);
    let mut record = vec![22, 3, 1, 0x10, 0];
    record.resize(5 + 0x1000, 0);
    let mut sent = first.len();
    let mut refused = server.receive(&first).is_err();
    while !refused {
        assert!(sent < 64 * 1024, "received {sent} bytes of a hello");
        refused = server.receive(&record).is_err();
        sent += record.len();
    }
}

#[test]
fn bytes_come_whole_at_any_room_in_the_socket() {
    let (mut stream, socket, mut client) = connected();
    let text: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let (head, rest) = text.split_at(13);
    let mut got = Vec::new();
    let mut written = 0;
    let mut flushed = false;
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for round in 0.. {
        assert!(round < 10_000, "{} bytes after {round} rounds", got.len());
        socket.0.borrow_mut().room = 1 + round * 37 % 5000;
        if written < text.len() {
            let bufs = match written {
                0 => [IoSlice::new(head), IoSlice::new(rest)],
                n => [IoSlice::new(&text[n..]), IoSlice::new(&[])],
            };
            if let Poll::Ready(n) = Pin::new(&mut stream).poll_write_vectored(&mut cx, &bufs) {
                written += n.unwrap();
            }
        } else {
            flushed = Pin::new(&mut stream).poll_flush(&mut cx).is_ready();
        }
        got.extend(received(&socket, &mut client));
        if flushed {
            break;
        }
    }
    assert_eq!(got, text);
}

#[test]
fn a_word_of_goodbye_is_an_end_and_silence_is_an_error() {
    for says_goodbye in [true, false] {
        let (mut stream, socket, mut client) = connected();
        client.writer().write_all(&[7; 50_000]).unwrap();
        if says_goodbye {
            client.send_close_notify();
        }
        send(&socket, &mut client);
        socket.0.borrow_mut().client_closed = true;
        let mut got = Vec::new();
        let end = stream.read_to_end(&mut got).now_or_never().unwrap();
        assert_eq!(got, [7; 50_000]);
        match end {
            Ok(_) => assert!(says_goodbye),
            Err(error) => {
                assert!(!says_goodbye);
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
        // The other direction is still open.
        socket.0.borrow_mut().room = 1 << 20;
        stream.write_all(b"answer").now_or_never().unwrap().unwrap();
        assert_eq!(received(&socket, &mut client), b"answer");
        stream.close().now_or_never().unwrap().unwrap();
        assert!(received(&socket, &mut client).is_empty());
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "the client was told the end");
        assert!(socket.0.borrow().server_closed);
    }
}

#[test]
fn a_changed_byte_ends_the_connection() {
    let (mut stream, socket, mut client) = connected();
    client.writer().write_all(b"hello").unwrap();
    send(&socket, &mut client);
    *socket.0.borrow_mut().to_server.back_mut().unwrap() ^= 1;
    socket.0.borrow_mut().room = 1 << 20;
    let read = stream.read(&mut [0; 10]).now_or_never().unwrap();
    assert!(read.is_err());
    assert!(!socket.0.borrow().to_client.is_empty(), "it says why");
}

#[test]
fn a_connection_goes_on_when_it_was_taken_apart() {
    let (mut stream, socket, mut client) = connected();
    client.writer().write_all(&[1; 30_000]).unwrap();
    send(&socket, &mut client);
    let mut part = [0; 10_000];
    stream.read_exact(&mut part).now_or_never().unwrap().unwrap();
    let (taken, secret) = stream.into_parts();
    fn may_move<T: Send>(_: &T) {}
    may_move(&secret);
    let mut stream = Stream::from_parts(taken, secret);
    let mut rest = vec![0; 20_000];
    stream.read_exact(&mut rest).now_or_never().unwrap().unwrap();
    assert_eq!(rest, [1; 20_000]);
}

/// A certificate and its key as files.
fn put(dir: &std::path::Path, with_key: bool) -> (Files, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = Files { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    fs::write(&files.cert, pem("CERTIFICATE", made.cert.der())).unwrap();
    if with_key {
        fs::write(&files.key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    }
    (files, made.cert.der().clone())
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = base64_simd::STANDARD.encode_to_string(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

fn shows(acceptor: &Acceptor, cert: &CertificateDer<'static>) -> bool {
    shake(acceptor, &mut client(cert.clone(), &[]), 1 << 20).is_ok()
}

#[test]
fn a_changed_certificate_is_shown_once_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (files, old) = put(dir.path(), true);
    let acceptor = Acceptor::new(Identity::from_files(&files).unwrap()).unwrap();
    let mut watch = Watch::new(acceptor.clone(), files.clone());
    watch.look();
    assert!(shows(&acceptor, &old));
    // Only the certificate is new: it does not go with the key.
    let _other = put(dir.path(), false);
    watch.look();
    watch.look();
    assert!(shows(&acceptor, &old), "what cannot be used changes nothing");
    let (_, new) = put(dir.path(), true);
    watch.look();
    assert!(shows(&acceptor, &old), "it may be half of a change");
    watch.look();
    assert!(shows(&acceptor, &new));
    fs::remove_file(&files.key).unwrap();
    watch.look();
    watch.look();
    watch.reload();
    assert!(shows(&acceptor, &new), "what is gone changes nothing");
}

#[test]
fn files_that_are_no_certificate_are_refused_with_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = put(dir.path(), true);
    let refused =
        |files: &Files| crate::types::refusal::chain(&Identity::from_files(files).unwrap_err());
    let missing = Files { cert: dir.path().join("missing.pem"), ..files.clone() };
    assert!(refused(&missing).contains("missing.pem"));
    let swapped = Files { cert: files.key.clone(), key: files.cert.clone() };
    assert!(refused(&swapped).contains("no certificate"), "{}", refused(&swapped));
    let keyless = Files { key: files.cert.clone(), ..files.clone() };
    assert!(refused(&keyless).contains("cert.pem"), "{}", refused(&keyless));
    let _other = put(dir.path(), false);
    assert!(refused(&files).contains("cannot be used"), "{}", refused(&files));
}
