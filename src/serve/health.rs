//! `thalweg health`: asks the server that runs with these settings whether it is well, for whoever
//! watches it and has no HTTP client, such as a container.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::Settings;
use crate::shard::server::reachable;
use crate::tls::speak;
use crate::types::refusal::chain;

/// How long connecting, and each read and write, may take.
const WAIT: Duration = Duration::from_secs(5);
/// Longest answer that is looked at, in bytes, and in how many pieces it may come.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const PIECES_MAX: usize = 64;
const QUESTION: &[u8] = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Asks; returns what the server says of itself when it is well.
///
/// * Errors: it is not, or there is none; in words for an operator.
pub fn ask(settings: &Settings) -> Result<String, String> {
    // Where metrics are served there is no TLS.
    let (address, is_secure) = match settings.metrics_listen {
        Some(address) => (address, false),
        None => (settings.listen, settings.tls.is_some()),
    };
    let address = reachable(address);
    let answer = exchange(address, is_secure).map_err(|e| format!("{address}: {}", chain(&e)))?;
    judge(&answer).map_err(|what| format!("{address}: {what}"))
}

fn exchange(address: SocketAddr, is_secure: bool) -> std::io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, WAIT)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    if is_secure {
        converse(&mut speak(socket).map_err(std::io::Error::other)?)
    } else {
        converse(&mut socket)
    }
}

fn converse(stream: &mut (impl Read + Write)) -> std::io::Result<String> {
    stream.write_all(QUESTION)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    for _ in 0..PIECES_MAX {
        let len = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..len]);
        if len == 0 || answer.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The body of an answer that says that all is well.
fn judge(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some(_) => Err(format!("not well: {line}: {body}")),
        None => Err("what answers there is no HTTP server".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_status() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\nx: y\r\n\r\nOK"), Ok("OK".to_owned()));
        let starting = judge("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"opening\"}");
        assert!(starting.is_err_and(|what| what.contains("503") && what.contains("opening")));
        assert!(judge("").is_err());
        assert!(judge("SSH-2.0-OpenSSH").is_err());
    }
}
