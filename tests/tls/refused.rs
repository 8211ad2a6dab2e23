//! What is no handshake: plain requests, garbage, pieces.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::common::tls::{Secure, plain};
use crate::common::{EVENTUALLY_WAIT, poll};
use crate::{handshakes, secure_server};

/// What the server answers to these bytes, up to its end.
fn answer(host: &str, bytes: &[u8]) -> Vec<u8> {
    let mut socket = plain(host);
    socket.write_all(bytes).expect("a fresh connection takes bytes");
    let mut answer = Vec::new();
    // A reset ends it as well.
    let _ended = socket.read_to_end(&mut answer);
    answer
}

#[test]
fn a_request_in_the_clear_is_told_that_this_port_speaks_tls() {
    let Some(server) = secure_server(&[]) else { return };
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(3000));
    for request in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /v1/x HTTP/1.0\r\n", &long] {
        let answer = answer(server.secure_host(), request.as_bytes());
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.contains("this port speaks TLS"), "{answer}");
    }
    assert_eq!(handshakes(&server, "plaintext"), 3);
}

#[test]
fn other_bytes_are_closed_without_an_answer_in_the_clear() {
    let Some(server) = secure_server(&[]) else { return };
    let endless = "G".repeat(10_000);
    let cases: [&[u8]; 6] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0",
        b"hello\n",
        "GET \u{e9}".as_bytes(),
        endless.as_bytes(),
        &[0x80, 0x2e, 1, 3, 1],
    ];
    for bytes in cases {
        assert_eq!(answer(server.secure_host(), bytes), b"", "{bytes:?}");
    }
    assert_eq!(handshakes(&server, "invalid"), 6);
    // Garbage in the shape of a handshake gets an alert, and no more.
    let cases: [&[u8]; 2] = [&[22, 3, 1, 0, 5, 9, 9, 9, 9, 9], &[22, 3, 1, 255, 255, 1, 0, 0]];
    for bytes in cases {
        let answer = answer(server.secure_host(), bytes);
        assert!(answer.is_empty() || answer[0] == 21, "{bytes:?}: {answer:?}");
    }
    assert_eq!(handshakes(&server, "invalid"), 8);
}

#[test]
fn a_handshake_that_breaks_off_is_noticed_and_counted() {
    let Some(server) = secure_server(&[]) else { return };
    for bytes in [&b""[..], &[22], &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]] {
        let mut socket = plain(server.secure_host());
        socket.write_all(bytes).expect("a fresh connection takes bytes");
        socket.shutdown(Shutdown::Write).expect("the server is there");
        let mut rest = Vec::new();
        let _ended = socket.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    let gone = poll(EVENTUALLY_WAIT, || (handshakes(&server, "gone") == 3).then_some(()));
    gone.expect("three handshakes broke off");
    assert!(handshakes(&server, "done") >= 1, "the clients that ask for the numbers");
    assert_eq!(handshakes(&server, "invalid"), 0);
    Secure::open(server.secure_host(), &[b"h2"]).expect("it still speaks TLS");
}
