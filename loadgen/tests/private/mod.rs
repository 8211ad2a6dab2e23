//! Under TLS: a front before the server whose faults are known, and whom the program believes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::Scratch;
use crate::fake::{Fake, Fault};

/// A certificate for `localhost`, signed by itself, with its key.
type Identity = rcgen::CertifiedKey<rcgen::KeyPair>;

fn identity() -> Identity {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

/// Writes the certificate to a file; gives its path.
fn pem(scratch: &Scratch, name: &str, identity: &Identity) -> String {
    let text = STANDARD.encode(identity.cert.der());
    let path = scratch.path(name);
    let text = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    fs::write(&path, text).unwrap();
    path
}

/// Passes on to `server` what comes under TLS, until the process ends; gives its port.
fn front(server: SocketAddr, identity: &Identity) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut private) = acceptor.accept(socket).await else { return };
                    let mut clear = TcpStream::connect(server).await.unwrap();
                    let _ended = tokio::io::copy_bidirectional(&mut private, &mut clear).await;
                });
            }
        });
    });
    port
}

/// A short, verified load; gives the exit code and what was said.
fn load(port: u16, arguments: &[&str]) -> (Option<i32>, String) {
    let scratch = Scratch::new();
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["append", "--url", &format!("https://localhost:{port}")])
        .args(["--rate", "max", "--connections", "2", "--duration", "300ms", "--verify"])
        .args(["--request-timeout", "30s", "--out", scratch.0.to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn every_form_of_append_goes_under_tls() {
    let (fake, scratch, identity) = (Fake::start(Fault::None), Scratch::new(), identity());
    let port = front(fake.address, &identity);
    let ca = pem(&scratch, "ca.pem", &identity);
    for trust in [&["--tls-ca", &ca][..], &["--insecure"]] {
        for form in ["json 1", "json 2", "proto 1", "s2s 1", "s2s 2"] {
            let (protocol, http) = form.split_once(' ').unwrap();
            let (code, text) =
                load(port, &[trust, &["--protocol", protocol, "--http", http]].concat());
            assert_eq!(code, Some(0), "{trust:?} {form}: {text}");
        }
    }
    assert!(fake.state.lock().unwrap().appends > 20);
}

#[test]
fn who_is_not_believed_is_told_nothing() {
    let (fake, scratch, identity) = (Fake::start(Fault::None), Scratch::new(), identity());
    let port = front(fake.address, &identity);
    let (another, missing) =
        (pem(&scratch, "another.pem", &self::identity()), scratch.path("none"));
    for (trust, said) in [
        (&[][..], "--tls-ca"),
        (&["--tls-ca", &missing], "--tls-ca"),
        (&["--tls-ca", &another], "cannot connect"),
        (&["--tls-ca", &another, "--insecure"], "cannot be used with"),
    ] {
        let (code, text) = load(port, trust);
        assert!(code != Some(0) && text.contains(said), "{trust:?}: {code:?} {text}");
    }
    assert_eq!(fake.state.lock().unwrap().appends, 0);
}
