//! A certificate from files, and another one while connections are open.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64_simd::STANDARD;
use serde_json::json;

use crate::common::client::fresh_basin_on;
use crate::common::server::Server;
use crate::common::tls::Secure;
use crate::common::{EVENTUALLY_WAIT, poll, unique_name};
use crate::handshakes;

/// A directory that goes away with the test.
struct Files {
    dir: PathBuf,
}

impl Files {
    fn new() -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("tls"));
        fs::create_dir_all(&dir).expect("a directory for the test");
        Self { dir }
    }

    /// Writes a new certificate and its key; gives the certificate.
    fn put(&self) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let made = made.expect("a certificate");
        self.write("cert.pem", &pem("CERTIFICATE", made.cert.der()));
        self.write("key.pem", &pem("PRIVATE KEY", &made.signing_key.serialize_der()));
        made.cert.der().to_vec()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).expect("a file can be written");
    }

    /// Its path, for as long as the process lives.
    fn path(&self, name: &str) -> &'static str {
        self.dir.join(name).to_str().expect("text").to_owned().leak()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).expect("the directory can be removed");
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode_to_string(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

fn shown(server: &Server) -> Vec<u8> {
    Secure::open(server.secure_host(), &[b"h2"]).expect("a handshake").certificate()
}

#[test]
fn another_certificate_is_for_new_connections_and_a_broken_one_for_nobody() {
    let files = Files::new();
    let first = files.put();
    let settings =
        [("THALWEG_TLS_CERT", files.path("cert.pem")), ("THALWEG_TLS_KEY", files.path("key.pem"))];
    let Some(server) = Server::start_with(2, &settings) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let mut kept = Secure::open(server.secure_host(), &[b"http/1.1"]).expect("a handshake");
    assert_eq!(kept.certificate(), first);

    // It notices by itself.
    let second = files.put();
    let changed = poll(EVENTUALLY_WAIT, || (shown(&server) == second).then_some(()));
    changed.expect("the second certificate is shown");
    client.append_bodies("s", &["after the first change"]);

    // It keeps what it has when the new file is broken.
    files.write("cert.pem", "not a certificate");
    server.signal("HUP");
    let refused = || stderr(&server).contains("the old one stays").then_some(());
    poll(EVENTUALLY_WAIT, refused).expect("it says that it cannot use the file");
    assert_eq!(shown(&server), second);

    // It is told.
    let third = files.put();
    server.signal("HUP");
    let changed = poll(EVENTUALLY_WAIT, || (shown(&server) == third).then_some(()));
    changed.expect("the third certificate is shown");
    client.append_bodies("s", &["after the last change"]);
    assert_eq!(client.connects(), 1, "a connection was kept through all of it");
    kept.send("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(kept.rest().expect("an orderly end").ends_with("OK"));
    assert_eq!(stderr(&server).matches("the old one stays").count(), 1, "said once");
}

fn stderr(server: &Server) -> String {
    let path = server.data_dir().with_file_name("stderr");
    fs::read_to_string(path).expect("the error output is a file")
}

/// Handshakes with an RSA key are computed aside, one at a time.
#[test]
fn many_handshakes_at_once_with_an_rsa_key_are_all_done_while_appends_go_on() {
    const CLIENTS: usize = 8;
    const EACH: usize = 10;
    // Made for this test, and secret to nobody.
    let settings = [
        ("THALWEG_TLS_CERT", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/rsa-cert.pem")),
        ("THALWEG_TLS_KEY", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/rsa-key.pem")),
    ];
    let Some(server) = Server::start_with(2, &settings) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let before = handshakes(&server, "done");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let versions = [rustls::ALL_VERSIONS[number % rustls::ALL_VERSIONS.len()]];
                let host = server.secure_host();
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let open = Secure::open_with(host, &[b"http/1.1"], &versions);
                        open.expect("a handshake").half_close();
                    }
                })
            })
            .collect();
        for number in 0..20 {
            client.append_bodies("s", &[&format!("{number}")]);
        }
        clients.into_iter().for_each(|one| one.join().expect("its handshakes are done"));
    });
    let done = handshakes(&server, "done") - before;
    assert!(done >= (CLIENTS * EACH) as u64, "{done} handshakes");
    assert_eq!(client.tail_seq_num("s"), 20);
}

#[test]
fn settings_that_do_not_go_together_end_the_start_with_a_reason() {
    let files = Files::new();
    files.put();
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let data = files.path("data");
    let cases: [(&[&str], &str); 5] = [
        (&["--tls-cert", cert], "setting tls_key: must be given with tls_cert"),
        (&["--tls-key", key], "setting tls_cert: must be given with tls_key"),
        (&["--tls-cert", cert, "--tls-key", key, "--tls-self-signed"], "cannot be used with"),
        (&["--tls-cert", key, "--tls-key", key], "has no certificate in it"),
        (&["--tls-cert", "/no/such", "--tls-key", key], "cannot read /no/such"),
    ];
    for (arguments, reason) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the server's binary can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    }
}
