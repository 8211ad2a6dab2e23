//! Tests of the room as a whole: bytes in, events out, cut in every way.

mod bodies;
mod heads;
mod properties;

use super::{Conn, Event, HeadRef, Limits, Violation};

/// What to do with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Collect,
    Stream,
}

/// One request, or the end of a connection, in a form that compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Request {
        head: String,
        body: Vec<u8>,
    },
    /// A streamed body that had not ended when the input did, or when a violation was met.
    Open {
        head: String,
    },
    Pending,
    Closed,
    Refused(Violation),
}

/// All that a head says, as text; asserts what must hold of every head, whatever was sent.
pub(super) fn describe(head: HeadRef<'_>) -> String {
    assert!(!head.method().is_empty() && head.method().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(head.path().starts_with('/') || head.path() == "*");
    assert!(!head.path().contains([' ', '?', '#', '\r', '\n']));
    for (name, value) in head.lines() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
        assert_eq!(value.trim_ascii(), value);
    }
    let lines: Vec<_> =
        head.lines().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
    format!(
        "{} {} {:?} {:?} {:?} keep={} {:?} continue={} [{}]",
        head.method(),
        head.path(),
        head.query(),
        head.authority(),
        head.version(),
        head.keep_alive(),
        head.body_length(),
        head.expects_continue(),
        lines.join("|"),
    )
}

/// Writes `bytes` where the connection wants them; they may be more than there is room for.
pub(super) fn feed(conn: &mut Conn, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = conn.recv_space();
        assert!(!space.is_empty());
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        conn.received(n);
        bytes = &bytes[n..];
    }
}

/// A connection driven by a test, and what came out of it.
pub(super) struct Driver {
    pub(super) conn: Conn,
    mode: Mode,
    seen: Vec<Seen>,
    open: Option<(String, Vec<u8>)>,
    fed_bytes: usize,
}

impl Driver {
    pub(super) fn new(limits: Limits, mode: Mode) -> Self {
        Self { conn: Conn::new(limits), mode, seen: Vec::new(), open: None, fed_bytes: 0 }
    }

    /// Takes events until the connection needs input (`true`) or is over (`false`).
    fn drain(&mut self) -> bool {
        // A request of at least 16 bytes makes at most three events, and each piece of data has a
        // byte of its own.
        for _ in 0..2 * self.fed_bytes + 2 {
            match self.conn.next_event() {
                Ok(Event::NeedInput) => return true,
                Ok(Event::Closed) => {
                    self.seen.push(Seen::Closed);
                    return false;
                }
                Ok(Event::Head) if self.mode == Mode::Collect => {
                    let _latched = self.conn.collect_body();
                }
                Ok(Event::Head) => {
                    let request = self.conn.stream_body();
                    assert!(request.body().is_empty());
                    self.open = Some((describe(request.head()), Vec::new()));
                    self.conn.recycle(request.into_body().into_parts().0);
                }
                Ok(Event::Request(request)) => {
                    let (head, body) = (describe(request.head()), request.body().to_vec());
                    let given = request.into_body();
                    assert_eq!(given.as_slice(), body);
                    self.conn.recycle(given.into_parts().0);
                    self.seen.push(Seen::Request { head, body });
                }
                Ok(Event::Data(piece)) => {
                    assert!(!piece.is_empty());
                    self.open.as_mut().unwrap().1.extend_from_slice(piece);
                }
                Ok(Event::End) => {
                    let (head, body) = self.open.take().unwrap();
                    self.seen.push(Seen::Request { head, body });
                }
                Err(violation) => {
                    assert_eq!(self.conn.next_event().unwrap_err(), violation, "final");
                    self.end_open();
                    self.seen.push(Seen::Refused(violation));
                    return false;
                }
            }
        }
        panic!("more events than bytes allow");
    }

    fn end_open(&mut self) {
        if let Some((head, _)) = self.open.take() {
            self.seen.push(Seen::Open { head });
        }
    }

    /// Gives the input in `pieces`, then the end of input if `eof`, and tells what came out.
    pub(super) fn run<'a>(
        mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        eof: bool,
    ) -> Vec<Seen> {
        for piece in pieces {
            if !self.drain() {
                return self.seen;
            }
            feed(&mut self.conn, piece);
            self.fed_bytes += piece.len();
        }
        if !self.drain() {
            return self.seen;
        }
        if eof {
            self.conn.received_eof();
            assert!(!self.drain(), "nothing to wait for after the end");
        } else {
            self.end_open();
            self.seen.push(Seen::Pending);
        }
        self.seen
    }
}

/// Runs `input` whole, cut in two at every place, and byte by byte, with and without an end of
/// input; demands the same of all, and returns what came out with an end of input.
pub(super) fn run_all(input: &[u8], limits: &Limits, mode: Mode) -> Vec<Seen> {
    let run =
        |pieces: &[&[u8]], eof| Driver::new(limits.clone(), mode).run(pieces.iter().copied(), eof);
    let [open, closed] = [false, true].map(|eof| {
        let whole = run(&[input], eof);
        for cut in 0..=input.len() {
            let (first, second) = input.split_at(cut);
            assert_eq!(run(&[first, second], eof), whole, "{} @{cut}", input.escape_ascii());
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(run(&bytes, eof), whole, "{}", input.escape_ascii());
        whole
    });
    let common = open.len() - usize::from(open.last() == Some(&Seen::Pending));
    assert_eq!(open[..common], closed[..common], "an end of input changes nothing before it");
    closed
}
