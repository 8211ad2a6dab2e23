//! Redis, as far as its Streams are used.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::store::{Shared, after};

/// Serves one connection; `None` when it has ended.
pub(crate) fn connection(stream: TcpStream, store: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let words = command(&mut reader)?;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let text = |index: usize| String::from_utf8_lossy(words[index]).into_owned();
        let answer = match words[0] {
            b"EXISTS" => {
                let is_there = store.lock().unwrap().streams.contains_key(&text(1));
                format!(":{}\r\n", u8::from(is_there)).into_bytes()
            }
            b"XADD" => {
                let mut store = store.lock().unwrap();
                if store.append(&text(1), words[4]) {
                    let id = format!("{}-0", store.streams[&text(1)].len());
                    format!("${}\r\n{id}\r\n", id.len()).into_bytes()
                } else {
                    b"-ERR no, not this one\r\n".to_vec()
                }
            }
            b"XRANGE" => entries(&after(store, &text(1), seen(words[2]), Duration::ZERO)),
            b"XREAD" => {
                let (key, hides) = (text(6), store.lock().unwrap().hides);
                let mut found = after(store, &key, seen(words[7]), Duration::from_secs(1));
                let is_empty = found.is_empty();
                found.retain(|(place, _)| Some(*place) != hides);
                if is_empty || found.is_empty() {
                    b"*-1\r\n".to_vec()
                } else {
                    let head = format!("*1\r\n*2\r\n${}\r\n{key}\r\n", key.len());
                    [head.into_bytes(), entries(&found)].concat()
                }
            }
            other => panic!("unexpected command {}", String::from_utf8_lossy(other)),
        };
        writer.write_all(&answer).ok()?;
    }
}

/// How many entries lie up to an id; ids here count from 1.
fn seen(id: &[u8]) -> usize {
    let text = String::from_utf8_lossy(id);
    let digits = text.trim_start_matches('(').split('-').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

fn entries(found: &[(usize, Vec<u8>)]) -> Vec<u8> {
    // A real server does not give more than it is asked for either.
    let found = &found[..found.len().min(1_000)];
    let mut bytes = format!("*{}\r\n", found.len()).into_bytes();
    for (place, body) in found {
        let id = format!("{}-0", place + 1);
        let head = format!("*2\r\n${}\r\n{id}\r\n*2\r\n$1\r\nb\r\n${}\r\n", id.len(), body.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = number(reader, '*')?;
    (0..count)
        .map(|_| {
            let mut word = vec![0; number(reader, '$')? + 2];
            reader.read_exact(&mut word).ok()?;
            assert_eq!(word.split_off(word.len() - 2), b"\r\n");
            Some(word)
        })
        .collect()
}

fn number(reader: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    Some(line.trim_end().strip_prefix(kind).expect("a command").parse().unwrap())
}
