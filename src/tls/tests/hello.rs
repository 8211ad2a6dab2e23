//! A hello in pieces, and a second one: what takes long is done once for each.

use rustls::crypto::ring::default_provider;
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup};

use super::*;

/// A group of keys that the server does not know: it asks for another hello.
#[derive(Debug)]
struct Unknown;

impl SupportedKxGroup for Unknown {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Unknown {
    fn complete(self: Box<Self>, _peer: &[u8]) -> Result<SharedSecret, Error> {
        Err(Error::General("nobody agrees on this".to_owned()))
    }

    fn pub_key(&self) -> &[u8] {
        &[4; 133]
    }

    fn group(&self) -> NamedGroup {
        self.name()
    }
}

/// A client that says hello twice.
fn twice(cert: CertificateDer<'static>) -> ClientConnection {
    let mut provider = default_provider();
    provider.kx_groups.insert(0, &Unknown);
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).unwrap();
    }
    sent
}

#[test]
fn a_hello_in_pieces_is_worked_on_once() {
    let identity = identity();
    let mut client = client(certificate(&identity), &[]);
    let mut server = Handshake::begin(&Acceptor::new(identity).unwrap());
    let hello = said(&mut client);
    let (last, first) = hello.split_last().unwrap();
    for byte in first {
        server.receive(&[*byte]).unwrap();
        assert!(!server.is_work_due());
    }
    let mut out = Vec::new();
    server.output(&mut out);
    assert!(out.is_empty(), "nothing is signed yet");
    server.receive(&[*last]).unwrap();
    assert!(server.is_work_due());
    server.work().unwrap();
    server.output(&mut out);
    client.read_tls(&mut out.as_slice()).unwrap();
    client.process_new_packets().unwrap();
    for byte in said(&mut client) {
        server.receive(&[byte]).unwrap();
        assert!(!server.is_work_due(), "the rest is cheap");
    }
    assert!(server.is_done());
}

#[test]
fn a_second_hello_may_come_in_some_pieces_and_no_more() {
    let identity = identity();
    let cert = certificate(&identity);
    let acceptor = Acceptor::new(identity).unwrap();
    for (split, is_agreed) in [(1 << 20, true), (100, true), (1, false)] {
        let shaken = shake(&acceptor, &mut twice(cert.clone()), split);
        assert_eq!(shaken.is_ok(), is_agreed, "{split} bytes at a time: {shaken:?}");
    }
}

#[test]
fn a_slow_reader_holds_one_record() {
    let (mut stream, socket, _client) = connected();
    let text = [1; 100_000];
    let mut taken = 0;
    while let Some(written) = stream.write(&text).now_or_never() {
        taken += written.unwrap();
        assert!(taken <= 16 * 1024, "{taken} bytes wait for a peer that takes none");
    }
    assert!(taken > 0);
    drop(socket);
}
