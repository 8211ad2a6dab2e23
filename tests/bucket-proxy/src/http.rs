//! Requests and answers of HTTP/1.1, each read whole: what a bucket is spoken to in.

use std::io::{self, ErrorKind, Read, Write};

/// No head is longer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// No body is longer.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A request or an answer.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line, without its end.
    pub first: String,
    /// Names as they came, and values.
    pub headers: Vec<(String, String)>,
    /// Without the framing it came in.
    pub body: Vec<u8>,
}

impl Message {
    /// An answer of our own.
    pub fn answer(status: &str, body: &str) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/xml".to_owned())];
        Self { first: format!("HTTP/1.1 {status}"), headers, body: body.as_bytes().to_vec() }
    }

    /// Reads a request; `None` when the peer closed instead of sending one.
    pub fn read_request(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some((mut message, rest)) = read_head(from)? else { return Ok(None) };
        message.body = match message.length()? {
            _ if message.is_chunked() => read_chunked(from, rest)?,
            Some(length) => read_exactly(from, rest, length)?,
            None => Vec::new(),
        };
        Ok(Some(message))
    }

    /// Reads the answer to a request of `method`.
    pub fn read_answer(from: &mut impl Read, method: &str) -> io::Result<Self> {
        let (mut message, rest) =
            read_head(from)?.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
        let status = message.status();
        message.body = match message.length()? {
            _ if method == "HEAD" || status == 204 || status == 304 => Vec::new(),
            _ if message.is_chunked() => read_chunked(from, rest)?,
            Some(length) => read_exactly(from, rest, length)?,
            None => read_to_end(from, rest)?,
        };
        Ok(message)
    }

    /// The word at this place of the first line.
    fn word(&self, place: usize) -> &str {
        self.first.split(' ').nth(place).unwrap_or_default()
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// A request's path, without the question.
    pub fn path(&self) -> &str {
        let target = self.word(1);
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// A request's question.
    pub fn query(&self) -> &str {
        self.word(1).split_once('?').map_or("", |(_, query)| query)
    }

    /// An answer's status, 0 when it has none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.contains("chunked"))
    }

    fn length(&self) -> io::Result<Option<usize>> {
        let Some(value) = self.header("content-length") else { return Ok(None) };
        let length = value.trim().parse().map_err(|_| invalid("content-length"))?;
        if length > BODY_BYTES_MAX { Err(invalid("a long body")) } else { Ok(Some(length)) }
    }

    /// Sends it whole, the body with its length; `connection` says what becomes of the connection.
    pub fn send(&self, to: &mut impl Write, connection: &str) -> io::Result<()> {
        let mut head = format!("{}\r\n", self.first);
        // An answer to HEAD tells a length and has no body.
        let has_length = self.body.is_empty() && self.header("content-length").is_some();
        for (name, value) in &self.headers {
            let own = ["connection", "transfer-encoding", "keep-alive"];
            let is_own = own.iter().any(|own| name.eq_ignore_ascii_case(own));
            if is_own || (!has_length && name.eq_ignore_ascii_case("content-length")) {
                continue;
            }
            head += &format!("{name}: {value}\r\n");
        }
        if !has_length && self.status() != 204 && self.status() != 304 {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        head += &format!("Connection: {connection}\r\n\r\n");
        to.write_all(&[head.as_bytes(), &self.body].concat())?;
        to.flush()
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

/// The head, and what was read beyond it.
fn read_head(from: &mut impl Read) -> io::Result<Option<(Message, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(invalid("a long head"));
        }
        match from.read(&mut buffer)? {
            0 if bytes.is_empty() => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    };
    let rest = bytes.split_off(end + 4);
    let text = String::from_utf8(bytes).map_err(|_| invalid("a head that is no text"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let headers = pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    Ok(Some((Message { first, headers, body: Vec::new() }, rest)))
}

fn read_exactly(from: &mut impl Read, mut got: Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    if got.len() > length {
        return Err(invalid("more than one request at once"));
    }
    let before = got.len();
    got.resize(length, 0);
    from.read_exact(&mut got[before..])?;
    Ok(got)
}

fn read_to_end(from: &mut impl Read, mut got: Vec<u8>) -> io::Result<Vec<u8>> {
    from.take(BODY_BYTES_MAX as u64).read_to_end(&mut got)?;
    Ok(got)
}

fn read_chunked(from: &mut impl Read, got: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut from = io::Cursor::new(got).chain(from);
    let mut body = Vec::new();
    loop {
        let line = read_line(&mut from)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid("a chunk's size"))?;
        if body.len() + size > BODY_BYTES_MAX {
            return Err(invalid("a long body"));
        }
        if size == 0 {
            while !read_line(&mut from)?.is_empty() {}
            return Ok(body);
        }
        let before = body.len();
        body.resize(before + size, 0);
        from.read_exact(&mut body[before..])?;
        read_line(&mut from)?;
    }
}

fn read_line(from: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < HEAD_BYTES_MAX {
        from.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => break,
            b'\r' => {}
            other => line.push(other),
        }
    }
    String::from_utf8(line).map_err(|_| invalid("a line that is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_whole_however_they_are_framed() {
        let told = b"PUT /b/k?x=1 HTTP/1.1\r\nHost: h\r\ncontent-length: 5\r\n\r\nhello".to_vec();
        let request = Message::read_request(&mut &told[..]).unwrap().unwrap();
        assert_eq!((request.method(), request.path(), request.query()), ("PUT", "/b/k", "x=1"));
        assert_eq!(request.body, b"hello");
        let chunked =
            b"HTTP/1.1 200 K\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        let answer = Message::read_answer(&mut &chunked[..], "GET").unwrap();
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"abcde"[..]));
        let mut sent = Vec::new();
        answer.send(&mut sent, "keep-alive").unwrap();
        let text = String::from_utf8(sent).unwrap();
        assert!(
            text.ends_with("Content-Length: 5\r\nConnection: keep-alive\r\n\r\nabcde"),
            "{text}"
        );
        let open = b"HTTP/1.1 200 OK\r\n\r\nall of it";
        assert_eq!(Message::read_answer(&mut &open[..], "GET").unwrap().body, b"all of it");
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let answer = Message::read_answer(&mut &head[..], "HEAD").unwrap();
        let mut sent = Vec::new();
        answer.send(&mut sent, "close").unwrap();
        assert!(String::from_utf8(sent).unwrap().contains("Content-Length: 9\r\n"));
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_an_error() {
        assert!(Message::read_request(&mut &b""[..]).unwrap().is_none());
        for text in [
            &b"PUT / HTTP/1.1\r\n"[..],
            b"PUT / HTTP/1.1\r\ncontent-length: 2\r\n\r\na",
            b"PUT / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\na",
            b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(Message::read_request(&mut &text[..]).is_err());
        }
    }
}
