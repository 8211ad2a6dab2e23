//! The little of RESP2 that Redis Streams need: commands out, replies back.
//!
//! Source: the Redis serialization protocol, version 2.

use crate::connection::Answer;

/// Replies may be nested so deep: `XREAD` answers streams of entries of fields.
const DEPTH_MAX: usize = 8;
/// The field that holds a record's body.
const FIELD: &[u8] = b"b";

/// A command of `words`.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        push_head(&mut bytes, word.len());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Writes what stands in front of the body of an `XADD` to `key`; [`XADD_END`] comes behind it.
pub(crate) fn push_xadd(buffer: &mut Vec<u8>, key: &str, body_bytes: usize) {
    buffer.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n");
    push_head(buffer, key.len());
    buffer.extend_from_slice(key.as_bytes());
    buffer.extend_from_slice(b"\r\n$1\r\n*\r\n");
    push_head(buffer, FIELD.len());
    buffer.extend_from_slice(FIELD);
    buffer.extend_from_slice(b"\r\n");
    push_head(buffer, body_bytes);
}

/// What ends a command after its last word.
pub(crate) const XADD_END: &[u8] = b"\r\n";

fn push_head(buffer: &mut Vec<u8>, len: usize) {
    use std::io::Write;

    write!(buffer, "${len}\r\n").expect("a Vec takes all");
}

/// The answer of `count` replies once all have come: status 200 with them as body, or 400 with the
/// first error among them.
pub(crate) fn answer(bytes: &[u8], count: u16) -> Result<Option<Answer>, &'static str> {
    let (mut at, mut error) = (0, None);
    for _ in 0..count {
        let Some(end) = reply_end(bytes, at, 0)? else { return Ok(None) };
        if bytes[at] == b'-' {
            error.get_or_insert(at + 1..end - 2);
        }
        at = end;
    }
    if bytes.len() > at {
        return Err("bytes after the replies");
    }
    let (status, body) = error.map_or((200, 0..at), |error| (400, error));
    Ok(Some(Answer { status, is_reusable: true, body, receipt: None }))
}

/// One entry of a stream, lent from a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// The entries in a whole reply to `XRANGE`, or to `XREAD` of one stream; an `XREAD` that waited in
/// vain has none.
pub(crate) fn entries(reply: &[u8]) -> Result<Vec<Entry<'_>>, &'static str> {
    let mut cursor = Cursor { bytes: reply, at: 0 };
    let Some(mut count) = cursor.array()? else { return Ok(Vec::new()) };
    if count > 0 && is_of_xread(reply) {
        cursor.array()?;
        cursor.bulk()?;
        count = cursor.array()?.ok_or("no entries")?;
    }
    let mut entries = Vec::with_capacity(count.min(reply.len() / 8));
    for _ in 0..count {
        if cursor.array()? != Some(2) {
            return Err("not an entry");
        }
        let id = cursor.bulk()?;
        if cursor.array()? != Some(2) || cursor.bulk()? != FIELD {
            return Err("an entry of another kind");
        }
        entries.push(Entry { id, body: cursor.bulk()? });
    }
    Ok(entries)
}

/// `XREAD` answers `[[key, [entry...]]]`, `XRANGE` answers `[entry...]`: what follows the first
/// name tells them apart, as an entry's id is `digits-digits` and a key here never is.
fn is_of_xread(reply: &[u8]) -> bool {
    let mut cursor = Cursor { bytes: reply, at: 0 };
    let name = cursor.array().and_then(|_| cursor.array()).and_then(|_| cursor.bulk());
    name.is_ok_and(|name| !name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-'))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The length of an array; `None` for the null array.
    fn array(&mut self) -> Result<Option<usize>, &'static str> {
        self.head(b'*')
    }

    fn bulk(&mut self) -> Result<&'a [u8], &'static str> {
        let len = self.head(b'$')?.ok_or("a null string")?;
        let text = self.bytes.get(self.at..self.at + len).ok_or("cut off")?;
        self.at += len + 2;
        Ok(text)
    }

    fn head(&mut self, kind: u8) -> Result<Option<usize>, &'static str> {
        if self.bytes.get(self.at) != Some(&kind) {
            return Err("another kind of reply");
        }
        let (number, after) = number_line(self.bytes, self.at + 1)?.ok_or("cut off")?;
        self.at = after;
        Ok(usize::try_from(number).ok())
    }
}

/// Where the reply that begins at `at` ends; `None` when it needs more bytes.
fn reply_end(bytes: &[u8], at: usize, depth: usize) -> Result<Option<usize>, &'static str> {
    if depth > DEPTH_MAX {
        return Err("replies nested too deep");
    }
    let Some(kind) = bytes.get(at) else { return Ok(None) };
    match kind {
        b'+' | b'-' | b':' => Ok(line_end(bytes, at)),
        b'$' => {
            let Some((len, start)) = number_line(bytes, at + 1)? else { return Ok(None) };
            let Ok(len) = usize::try_from(len) else { return Ok(Some(start)) };
            let end = start.saturating_add(len).saturating_add(2);
            Ok((bytes.len() >= end).then_some(end))
        }
        b'*' => {
            let Some((count, mut at)) = number_line(bytes, at + 1)? else { return Ok(None) };
            for _ in 0..count {
                let Some(end) = reply_end(bytes, at, depth + 1)? else { return Ok(None) };
                at = end;
            }
            Ok(Some(at))
        }
        _ => Err("not a reply"),
    }
}

/// The number from `at` to the end of its line, and where the next line begins.
fn number_line(bytes: &[u8], at: usize) -> Result<Option<(i64, usize)>, &'static str> {
    let Some(end) = line_end(bytes, at) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[at..end - 2]).map_err(|_| "bad number")?;
    text.parse().map(|number| Some((number, end))).map_err(|_| "bad number")
}

fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
    Some(at + length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XRANGE: &str = "*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nb\r\n$2\r\nhi\r\n\
                          *2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nb\r\n$0\r\n\r\n";

    #[test]
    fn a_record_is_a_command_of_five_words() {
        let mut bytes = Vec::new();
        push_xadd(&mut bytes, "key", 2);
        bytes.extend_from_slice(b"hi");
        bytes.extend_from_slice(XADD_END);
        assert_eq!(bytes, command(&[b"XADD", b"key", b"*", b"b", b"hi"]));
    }

    #[test]
    fn answers_are_complete_at_their_last_byte_and_not_before() {
        for (text, count, status, body) in [
            ("$3\r\n1-0\r\n", 1, 200, "$3\r\n1-0\r\n"),
            ("$3\r\n1-0\r\n$3\r\n1-1\r\n", 2, 200, "$3\r\n1-0\r\n$3\r\n1-1\r\n"),
            ("$3\r\n1-0\r\n-ERR no\r\n", 2, 400, "ERR no"),
            (":0\r\n", 1, 200, ":0\r\n"),
            ("*-1\r\n", 1, 200, "*-1\r\n"),
            (XRANGE, 1, 200, XRANGE),
        ] {
            for split in 0..text.len() {
                assert_eq!(answer(&text.as_bytes()[..split], count), Ok(None), "{text:?} {split}");
            }
            let found = answer(text.as_bytes(), count).unwrap().unwrap();
            assert_eq!(found.status, status, "{text:?}");
            assert_eq!(&text.as_bytes()[found.body], body.as_bytes(), "{text:?}");
        }
        let deep = "*1\r\n".repeat(DEPTH_MAX + 2);
        for text in ["HTTP/1.1 200 OK\r\n", "$x\r\n", "*\r\n", ":1\r\n:2\r\n", &deep] {
            assert!(answer(text.as_bytes(), 1).is_err(), "{text:?}");
        }
    }

    #[test]
    fn both_kinds_of_reading_give_the_same_entries() {
        let expected = vec![Entry { id: b"1-0", body: b"hi" }, Entry { id: b"1-1", body: b"" }];
        assert_eq!(entries(XRANGE.as_bytes()), Ok(expected));
        let xread = format!("*1\r\n*2\r\n$9\r\nloadgen-1\r\n{XRANGE}");
        assert_eq!(entries(xread.as_bytes()), entries(XRANGE.as_bytes()));
        for nothing in ["*0\r\n", "*-1\r\n"] {
            assert_eq!(entries(nothing.as_bytes()), Ok(Vec::new()));
        }
        for broken in ["$1\r\nx\r\n", "*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nc\r\n$0\r\n\r\n"] {
            assert!(entries(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
