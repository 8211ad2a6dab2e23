//! Beyond loopback only with tokens and TLS, or when the operator does without in so many words.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::server::Server;
use crate::common::{PROCESS_WAIT, poll, unique_name};

/// Runs a server that must refuse to start; gives what it said.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("refused"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .arg("serve")
        .args(arguments)
        .arg("--data-dir")
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server's binary can be run");
    let ended = poll(PROCESS_WAIT, || child.try_wait().expect("a child's state"));
    if ended.is_none() {
        let _gone = child.kill();
    }
    let output = child.wait_with_output().expect("a child's output");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended.is_some_and(|status| status.code() == Some(1)), "{arguments:?}: {said}");
    assert!(!dir.exists(), "nothing was made: {}", dir.display());
    said
}

#[test]
fn other_addresses_are_refused_by_name_of_what_lacks() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let listen = format!("--listen={address}");
        let cases: [(&[&str], &str); 4] = [
            (&[&listen], "--insecure-no-auth"),
            (&[&listen, "--insecure-no-tls"], "--insecure-no-auth"),
            (&[&listen, "--insecure-no-auth"], "--insecure-no-tls"),
            (&[&listen, "--insecure-no-auth=false", "--insecure-no-tls"], "--insecure-no-auth"),
        ];
        for (arguments, named) in cases {
            let said = refusal(arguments);
            assert!(said.contains(named) && said.contains(address), "{arguments:?}: {said}");
        }
        let metrics = format!("--metrics-listen={address}");
        let said = refusal(&["--listen=127.0.0.1:0", &metrics]);
        assert!(said.contains("--insecure-no-auth") && said.contains(address), "{said}");
    }
}

#[test]
fn who_does_without_is_told_for_as_long_as_the_server_runs() {
    let settings = [
        ("THALWEG_LISTEN", "0.0.0.0:0"),
        ("THALWEG_INSECURE_NO_AUTH", "true"),
        ("THALWEG_INSECURE_NO_TLS", "true"),
    ];
    let Some(server) = Server::start_with(1, &settings) else { return };
    let said = server.said();
    let warnings = said.lines().filter(|line| line.contains("WARN") && line.contains("INSECURE"));
    assert_eq!(warnings.count(), 2, "{said}");
    let mut client = server.client();
    let health = client.get("/health");
    assert_eq!(health.status(200).body, b"OK", "{health}");
    assert_eq!(health.header("thalweg-insecure"), Some("no_auth, no_tls"), "{health}");
    for (what, value) in [("no_auth", 1), ("no_tls", 1), ("metrics_no_auth", 0)] {
        let series = format!("thalweg_insecure{{what=\"{what}\"}}");
        assert_eq!(client.metric(&series), value, "{series}");
    }
}

#[test]
fn on_loopback_nothing_lacks() {
    let Some(server) = Server::start() else { return };
    assert!(!server.said().contains("INSECURE"), "{}", server.said());
    let mut client = server.client();
    let health = client.get("/health");
    assert_eq!(health.status(200).header("thalweg-insecure"), None, "{health}");
    let metrics = client.get("/metrics");
    let text = String::from_utf8(metrics.status(200).body.clone()).expect("text");
    let facts: Vec<_> = text.lines().filter(|l| l.starts_with("thalweg_insecure{")).collect();
    assert_eq!(facts.len(), 4, "{text}");
    assert!(facts.iter().all(|line| line.ends_with(" 0")), "{facts:?}");
}
