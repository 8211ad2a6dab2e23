//! A server of the Durable Streams protocol, as far as it is used.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::store::{Shared, after};

/// Serves one connection; `None` when it has ended.
pub(crate) fn connection(stream: TcpStream, store: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (line, body) = request(&mut reader)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let name = path.trim_start_matches('/').to_owned();
        let answer = match method {
            "PUT" => {
                let mut store = store.lock().unwrap();
                let is_new = !store.streams.contains_key(&name);
                store.streams.entry(name).or_default();
                let status = if is_new { "201 Created" } else { "200 OK" };
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
            }
            "POST" if store.lock().unwrap().append(&name, &body) => {
                "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
            }
            "POST" => {
                "HTTP/1.1 409 Conflict\r\ncontent-length: 16\r\n\r\nno, not this one".to_owned()
            }
            "GET" if query.contains("live=sse") => return follow(&mut writer, &name, store),
            "GET" => {
                let found = after(store, &name, 0, Duration::ZERO);
                let text: Vec<_> = found.into_iter().flat_map(|(_, body)| body).collect();
                let text = String::from_utf8(text).unwrap();
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
            }
            other => panic!("unexpected method {other}"),
        };
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

/// Events without end; each in a chunk of its own.
fn follow(writer: &mut TcpStream, name: &str, store: &Shared) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).ok()?;
    let hides = store.lock().unwrap().hides;
    let (mut seen, mut told) = (0, true);
    loop {
        if told {
            chunk(writer, "event: control\ndata:{\"upToDate\":true}\n\n")?;
        }
        let found = after(store, name, seen, Duration::from_secs(1));
        told = !found.is_empty();
        for (place, body) in found {
            seen = place + 1;
            if Some(place) != hides {
                let text = String::from_utf8(body).unwrap();
                chunk(writer, &format!("event: data\ndata:{text}\n\n"))?;
            }
        }
    }
}

fn chunk(writer: &mut TcpStream, text: &str) -> Option<()> {
    writer.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).ok()
}

/// The first line of a request, and its body.
fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}
