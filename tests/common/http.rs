//! Just enough of an HTTP/1.1 client: whole requests out, whole responses in, no leniency.

use std::fmt::{self, Write as _};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::server::stderr_end;
use super::{ANSWER_WAIT, Stopwatch};

/// Most bytes of a message that a failure prints.
const SHOWN_BYTES_MAX: usize = 1500;

/// A request, built up by value.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: &'static str,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Body,
}

/// How the request's body is framed.
#[derive(Clone)]
pub(crate) enum Body {
    /// Neither a body nor a header that speaks of one.
    None,
    /// With `content-length`.
    Sized(Vec<u8>),
    /// With `transfer-encoding: chunked`; the pieces become the chunks.
    Chunked(Vec<Vec<u8>>),
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, version: "HTTP/1.1", headers: Vec::new(), body: Body::None }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a JSON body.
    pub(crate) fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).json(body)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string())
    }

    /// A body with a length and no type.
    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Sized(body.into());
        self
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Request line and header lines as given, without the empty line behind them.
    pub(crate) fn encode_head(&self, host: &str) -> Vec<u8> {
        let mut out =
            format!("{} {} {}\r\nhost: {host}\r\n", self.method, self.target, self.version)
                .into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: ").as_bytes());
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    pub(crate) fn encode(&self, host: &str) -> Vec<u8> {
        let mut out = self.encode_head(host);
        match &self.body {
            Body::None => out.extend_from_slice(b"\r\n"),
            Body::Sized(body) => {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
            }
            Body::Chunked(chunks) => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for piece in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    out.extend_from_slice(&chunk(piece));
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        out
    }
}

/// A piece of a body as a chunk.
pub(crate) fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", piece.len()).into_bytes();
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
    out
}

/// A response together with the request it answers, so that a failed check can show both.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The server closes the connection after it.
    pub(crate) closes: bool,
    pub(crate) sent: Vec<u8>,
    pub(crate) stderr: Option<PathBuf>,
}

impl Response {
    /// The value of a header that occurs at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        if found.next().is_some() {
            self.fail(&format!("the header {name} occurs twice"));
        }
        value
    }

    /// Fails unless the status is `status`.
    #[track_caller]
    pub(crate) fn status(&self, status: u16) -> &Self {
        if self.status != status {
            self.fail(&format!("expected status {status}, came {}", self.status));
        }
        self
    }

    /// The body, which must be JSON and say so.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let media_type = self.header("content-type").unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            self.fail(&format!("expected a JSON body, content-type is {media_type:?}"));
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| self.fail(&format!("the body is not JSON: {error}")))
    }

    /// Fails unless status and whole JSON body are these.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &Value) -> &Self {
        if self.status(status).json() != *body {
            self.fail(&format!("expected the body {body}"));
        }
        self
    }

    /// The member of the JSON body at `pointer`, which must exist (`null` counts).
    #[track_caller]
    pub(crate) fn at(&self, pointer: &str) -> Value {
        let Some(value) = self.json().pointer(pointer).cloned() else {
            self.fail(&format!("the body has no {pointer}"));
        };
        value
    }

    #[track_caller]
    pub(crate) fn u64_at(&self, pointer: &str) -> u64 {
        let value = self.at(pointer);
        value.as_u64().unwrap_or_else(|| self.fail(&format!("{pointer} is no unsigned integer")))
    }

    /// Fails unless this is an error of that status and code in the usual shape.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> &Self {
        self.refused_as(&[(status, code)])
    }

    /// Fails unless this is one of these errors, in the usual shape.
    #[track_caller]
    pub(crate) fn refused_as(&self, errors: &[(u16, &str)]) -> &Self {
        if !errors.iter().any(|(status, _)| *status == self.status) {
            self.fail(&format!("expected one of the errors {errors:?}"));
        }
        let code = self.error_code();
        if !errors.contains(&(self.status, code.as_str())) {
            self.fail(&format!("expected one of the errors {errors:?}"));
        }
        self
    }

    /// The `code` of an error body, whose shape is checked: two texts, nothing else needed.
    #[track_caller]
    pub(crate) fn error_code(&self) -> String {
        let body = self.json();
        let text = |member: &str| body.get(member).and_then(Value::as_str).map(str::to_owned);
        match (text("code"), text("message")) {
            (Some(code), Some(message)) if !code.is_empty() && !message.is_empty() => code,
            _ => self.fail("expected an error body with code and message"),
        }
    }

    /// The records of a read's body.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Value> {
        let Value::Array(records) = self.status(200).at("/records") else {
            self.fail("records is no array");
        };
        records
    }

    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        let stderr = self.stderr.as_deref().map(stderr_end).unwrap_or_default();
        panic!("{what}\n--- sent\n{}\n--- came\n{self}\n{stderr}", shown(&self.sent));
    }
}

impl fmt::Display for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "status {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(out, "{name}: {value}")?;
        }
        write!(out, "\n{}", shown(&self.body))
    }
}

/// Bytes for a failure's report: text as it is, the rest escaped, the middle of long ones left out.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let kept = bytes.len().min(SHOWN_BYTES_MAX);
    let mut text = String::new();
    for chunk in bytes[..kept].utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    if kept < bytes.len() {
        write!(text, "... ({} bytes in all)", bytes.len())
            .expect("writing to a String cannot fail");
    }
    text
}

/// One TCP connection and the bytes that came beyond the last response.
pub(crate) struct Conn {
    stream: TcpStream,
    buffer: Vec<u8>,
    watch: Stopwatch,
    wait: Duration,
}

impl Conn {
    pub(crate) fn open(host: &str) -> Self {
        let address = host.parse().unwrap_or_else(|error| panic!("{host}: {error}"));
        let stream = TcpStream::connect_timeout(&address, ANSWER_WAIT)
            .unwrap_or_else(|error| panic!("cannot connect to {host}: {error}"));
        stream.set_nodelay(true).expect("a fresh socket takes options");
        stream.set_write_timeout(Some(ANSWER_WAIT)).expect("a fresh socket takes options");
        Self { stream, buffer: Vec::new(), watch: Stopwatch::start(), wait: ANSWER_WAIT }
    }

    /// Writes raw bytes. An error is not yet a failure: the server may have answered early.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one response to a request of `method`; an interim response counts as one. The error
    /// says what was missing and shows what came instead.
    pub(crate) fn read_response(&mut self, method: &str) -> Result<Response, String> {
        let mut response = self.read_head()?;
        self.read_body(method, &mut response)?;
        Ok(response)
    }

    /// Reads the head of a response; its body stays where it is.
    pub(crate) fn read_head(&mut self) -> Result<Response, String> {
        self.watch = Stopwatch::start();
        let (response, head_bytes) = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if self.fill()? == 0 {
                let came = shown(&self.buffer);
                return Err(format!("the connection ended within a head, after {came:?}"));
            }
        };
        self.buffer.drain(..head_bytes);
        Ok(response)
    }

    /// Reads the body of the response whose head was read last.
    pub(crate) fn read_body(
        &mut self,
        method: &str,
        response: &mut Response,
    ) -> Result<(), String> {
        let chunked = match response.header("transfer-encoding") {
            None => false,
            Some(coding) if coding.eq_ignore_ascii_case("chunked") => true,
            Some(coding) => return Err(format!("unexpected transfer-encoding {coding:?}")),
        };
        let length = response.header("content-length").map(str::parse::<usize>);
        let length = length.transpose().map_err(|error| format!("content-length: {error}"))?;
        let has_no_body = method == "HEAD" || matches!(response.status, 100..200 | 204 | 304);
        response.body = match (has_no_body, chunked, length) {
            (true, ..) => Vec::new(),
            (false, true, None) => self.read_chunks()?,
            (false, false, Some(length)) => self.read_exactly(length)?,
            (false, true, Some(_)) => return Err("both ways of framing in a response".into()),
            (false, false, None) => {
                response.closes = true;
                while self.fill()? > 0 {}
                std::mem::take(&mut self.buffer)
            }
        };
        Ok(())
    }

    /// Reads the next chunk of a body; `None` is its end.
    pub(crate) fn read_chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.watch = Stopwatch::start();
        self.next_chunk()
    }

    /// Another handle of the socket, to write with while this one reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be duplicated")
    }

    /// Whether nothing comes for that long, not even the end.
    pub(crate) fn stays_silent(&mut self, wait: Duration) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        self.watch = Stopwatch::start();
        let usual = std::mem::replace(&mut self.wait, wait);
        let filled = self.fill();
        self.wait = usual;
        filled.is_err()
    }

    /// Fails unless the server sends nothing more and closes the connection.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self, after: &Response) {
        self.watch = Stopwatch::start();
        while self.buffer.is_empty() {
            match self.fill() {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => after.fail(&format!("expected the connection to close: {error}")),
            }
        }
        after.fail(&format!("expected the connection to close, came {}", shown(&self.buffer)));
    }

    fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                let came = self.buffer.len();
                return Err(format!("the connection ended {came} bytes into a body of {length}"));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn read_line(&mut self) -> Result<String, String> {
        let end = loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                break end;
            }
            if self.fill()? == 0 {
                return Err("the connection ended within a chunked body".into());
            }
        };
        let line = self.buffer.drain(..end + 2).take(end).collect();
        String::from_utf8(line).map_err(|error| error.to_string())
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let line = self.read_line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|error| format!("chunk size {line:?}: {error}"))?;
        if size == 0 {
            while !self.read_line()?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.read_exactly(size)?;
        if !self.read_line()?.is_empty() {
            return Err("a chunk is longer than it says".into());
        }
        Ok(Some(chunk))
    }

    /// Reads once; 0 is the end. A reset is an end too: the server was done with the connection.
    fn fill(&mut self) -> Result<usize, String> {
        let left = self.wait.saturating_sub(self.watch.elapsed());
        let left = left.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).expect("a read timeout above zero is legal");
        let mut piece = [0; 65_536];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.fill(),
            Err(error) => {
                let came = shown(&self.buffer);
                Err(format!("no whole answer within {:?}: {error}; came: {came:?}", self.wait))
            }
        }
    }
}

/// A response head at the start of `bytes`, and its length; `None` while it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Response, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes);
    let parsed = parsed.map_err(|error| format!("not a response ({error}): {}", shown(bytes)))?;
    let httparse::Status::Complete(head_bytes) = parsed else { return Ok(None) };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<_> =
        head.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
    let mut response = Response {
        status: head.code.expect("a complete head has a status"),
        headers,
        body: Vec::new(),
        closes: false,
        sent: Vec::new(),
        stderr: None,
    };
    let connection = response.header("connection").unwrap_or_default().to_ascii_lowercase();
    response.closes = connection.contains("close")
        || (head.version == Some(0) && !connection.contains("keep-alive"));
    Ok(Some((response, head_bytes)))
}
