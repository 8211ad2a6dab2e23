//! A connection of the server's, driven without a socket, and what came out of it.

use thalweg::http1::{Conn, Event, HeadRef, Limits, Violation};

/// What to do with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Want it whole.
    Collect,
    /// Want it in pieces.
    Stream,
}

/// A request that came out whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Path and query, as they were sent.
    pub target: String,
    /// Everything else that its head says, as text.
    pub head: String,
    /// Its body, without chunk framing.
    pub body: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More input was wanted.
    Pending,
    /// Between two requests, or after one that closes.
    Closed,
    /// With a refusal.
    Refused(Violation),
}

/// Everything that came out of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whole requests, in order.
    pub requests: Vec<Request>,
    /// The head of a request whose streamed body did not end.
    pub open: Option<String>,
    /// How it ended.
    pub end: End,
}

/// All that a head says, as text; asserts what must hold of every head, whatever was sent.
fn describe(head: HeadRef<'_>) -> String {
    assert!(!head.method().is_empty() && head.method().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(head.path().starts_with('/') || head.path() == "*");
    assert!(!head.path().contains([' ', '?', '#', '\r', '\n']));
    let mut lines = String::new();
    for (name, value) in head.lines() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
        assert_eq!(value.trim_ascii(), value);
        lines += &format!("{name}={}|", value.escape_ascii());
    }
    format!(
        "{:?} {:?} keep={} {:?} continue={} {lines}",
        head.authority(),
        head.version(),
        head.keep_alive(),
        head.body_length(),
        head.expects_continue(),
    )
}

fn request(head: HeadRef<'_>, body: Vec<u8>) -> Request {
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    Request {
        method: head.method().to_owned(),
        target: head.path().to_owned() + &query,
        head: describe(head),
        body,
    }
}

/// Writes `bytes` where the connection wants them; they may be more than there is room for.
fn feed(conn: &mut Conn, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = conn.recv_space();
        assert!(!space.is_empty());
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        conn.received(n);
        bytes = &bytes[n..];
    }
}

struct Driver {
    conn: Conn,
    mode: Mode,
    requests: Vec<Request>,
    open: Option<Request>,
    fed_bytes: usize,
}

impl Driver {
    /// Takes events until the connection wants input (`None`) or is over.
    fn drain(&mut self) -> Option<End> {
        // A request of at least 16 bytes makes at most three events, and each piece of data has a
        // byte of its own.
        for _ in 0..2 * self.fed_bytes + 2 {
            match self.conn.next_event() {
                Ok(Event::NeedInput) => return None,
                Ok(Event::Closed) => return Some(End::Closed),
                Ok(Event::Head) if self.mode == Mode::Collect => {
                    let _latched = self.conn.collect_body();
                }
                Ok(Event::Head) => {
                    let head = self.conn.stream_body();
                    self.open = Some(request(head.head(), Vec::new()));
                    self.conn.recycle(head.into_body().into_parts().0);
                }
                Ok(Event::Request(whole)) => {
                    self.requests.push(request(whole.head(), whole.body().to_vec()));
                    self.conn.recycle(whole.into_body().into_parts().0);
                }
                Ok(Event::Data(piece)) => {
                    assert!(!piece.is_empty());
                    self.open.as_mut().expect("within a request").body.extend_from_slice(piece);
                }
                Ok(Event::End) => self.requests.push(self.open.take().expect("within a request")),
                Err(violation) => {
                    assert_eq!(self.conn.next_event().expect_err("final"), violation);
                    return Some(End::Refused(violation));
                }
            }
        }
        panic!("more events than bytes allow");
    }

    fn seen(self, end: End) -> Seen {
        Seen { requests: self.requests, open: self.open.map(|open| open.head), end }
    }
}

/// Gives a connection the input in `pieces`, then the end of input if `eof`.
pub fn run<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
    mode: Mode,
    eof: bool,
) -> Seen {
    let conn = Conn::new(limits.clone());
    let mut driver = Driver { conn, mode, requests: Vec::new(), open: None, fed_bytes: 0 };
    for piece in pieces {
        if let Some(end) = driver.drain() {
            return driver.seen(end);
        }
        feed(&mut driver.conn, piece);
        driver.fed_bytes += piece.len();
    }
    if eof && driver.drain().is_none() {
        driver.conn.received_eof();
        let end = driver.drain().expect("nothing to wait for after the end");
        return driver.seen(end);
    }
    let end = driver.drain().unwrap_or(End::Pending);
    driver.seen(end)
}

/// Runs `input` whole, cut in two at up to `cuts_max` places that are spread over it, and byte by
/// byte; demands the same of all, and returns what came out.
pub fn run_cut(input: &[u8], limits: &Limits, mode: Mode, cuts_max: usize) -> Seen {
    let whole = run([input], limits, mode, true);
    let step = input.len().div_ceil(cuts_max).max(1);
    for cut in (1..input.len()).step_by(step) {
        let (first, second) = input.split_at(cut);
        let seen = run([first, second], limits, mode, true);
        assert_eq!(seen, whole, "cut at {cut}: {}", input.escape_ascii());
    }
    let seen = run(input.chunks(1), limits, mode, true);
    assert_eq!(seen, whole, "byte by byte: {}", input.escape_ascii());
    let open = run([input], limits, mode, false);
    assert_eq!(open.requests, whole.requests, "an end of input changes nothing before it");
    whole
}

/// Demands that a body is the same collected and streamed: only a collected one has a bound.
pub fn assert_same(collected: &Seen, streamed: &Seen) {
    if collected.end == End::Refused(Violation::BodyTooLarge) {
        let common = collected.requests.len();
        assert_eq!(Some(&collected.requests[..]), streamed.requests.get(..common));
        return;
    }
    assert_eq!(collected.requests, streamed.requests);
    assert_eq!(collected.end, streamed.end);
}
