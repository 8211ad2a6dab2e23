//! A judged request head: positions of its parts, and the view that reads them.

use std::str;

use super::encode::Persistence;

/// Header lines that need no allocation.
const LINES_INLINE: usize = 16;

/// The protocol version of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: closes by default, knows no chunked coding.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither `Content-Length` nor `Transfer-Encoding`: there is no body.
    #[default]
    None,
    /// `Content-Length`, in bytes.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Part of a head, as position and length in bytes from the head's start. A head is at most
/// [`HEAD_BYTES_CEILING`](super::HEAD_BYTES_CEILING) long and ends in CRLF, so 16 bits suffice.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    at: u16,
    len: u16,
}

impl Span {
    /// The span of `part`, which must be a subslice of `whole`.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Self {
        let at = part.as_ptr() as usize - whole.as_ptr() as usize;
        let narrow = |n| u16::try_from(n).expect("the head's length is bounded");
        Self { at: narrow(at), len: narrow(part.len()) }
    }

    fn of_bytes(self, head: &[u8]) -> &[u8] {
        &head[usize::from(self.at)..usize::from(self.at) + usize::from(self.len)]
    }
}

/// Name and value of one header line.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    name: Span,
    value: Span,
}

/// The header lines in the order they came; the first [`LINES_INLINE`] need no allocation.
#[derive(Debug, Default)]
pub(super) struct Lines {
    count: usize,
    first: [Line; LINES_INLINE],
    more: Vec<Line>,
}

impl Lines {
    pub(super) fn push(&mut self, name: Span, value: Span) {
        match self.first.get_mut(self.count) {
            Some(slot) => *slot = Line { name, value },
            None => self.more.push(Line { name, value }),
        }
        self.count += 1;
    }

    fn iter(&self) -> impl Iterator<Item = &Line> {
        self.first.iter().take(self.count).chain(&self.more)
    }
}

/// What a head says, as positions and facts; the bytes are elsewhere.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) method: Span,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    /// From an absolute-form target, else from `Host`.
    pub(super) authority: Option<Span>,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) body: BodyLength,
    pub(super) lines: Lines,
}

/// A request head: a view of its bytes, all of them already judged.
#[derive(Debug, Clone, Copy)]
pub struct HeadRef<'a> {
    head: &'a Head,
    bytes: &'a [u8],
}

impl<'a> HeadRef<'a> {
    pub(super) fn new(head: &'a Head, bytes: &'a [u8]) -> Self {
        Self { head, bytes }
    }

    fn text(self, span: Span) -> &'a str {
        str::from_utf8(span.of_bytes(self.bytes)).expect("method and target were judged")
    }

    /// The method: any token, in the case it was sent.
    #[must_use]
    pub fn method(self) -> &'a str {
        self.text(self.head.method)
    }

    /// The path of the target, raw: nothing is percent-decoded, collapsed or lower-cased. `*` is
    /// the asterisk form; an absolute form without path has the path `/`.
    #[must_use]
    pub fn path(self) -> &'a str {
        match self.text(self.head.path) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?` of the target, raw; `None` without one, empty after a last one.
    #[must_use]
    pub fn query(self) -> Option<&'a str> {
        self.head.query.map(|span| self.text(span))
    }

    /// `host[:port]` of an absolute-form target, else of `Host`. `None` only on HTTP/1.0.
    #[must_use]
    pub fn authority(self) -> Option<&'a str> {
        self.head.authority.map(|span| self.text(span))
    }

    /// The protocol version.
    #[must_use]
    pub fn version(self) -> Version {
        self.head.version
    }

    /// Whether the client lets the connection live on after this exchange.
    #[must_use]
    pub fn keep_alive(self) -> bool {
        self.head.keep_alive
    }

    /// What the answer has to say about the connection when the server has no reason to close.
    #[must_use]
    pub fn persistence(self) -> Persistence {
        match (self.head.keep_alive, self.head.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http11) => Persistence::Implied,
            (true, Version::Http10) => Persistence::KeepAlive,
        }
    }

    /// How the body is framed.
    #[must_use]
    pub fn body_length(self) -> BodyLength {
        self.head.body
    }

    /// Whether the client waits for [`CONTINUE`](super::CONTINUE) before it sends its body. Never
    /// without a body, never on HTTP/1.0.
    #[must_use]
    pub fn expects_continue(self) -> bool {
        self.head.expects_continue
    }

    /// The value of the first header line of that name, in any case; blanks around it are gone.
    #[must_use]
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// The values of all header lines of that name, in order.
    pub fn headers(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.head
            .lines
            .iter()
            .filter(move |line| {
                line.name.of_bytes(self.bytes).eq_ignore_ascii_case(name.as_bytes())
            })
            .map(move |line| line.value.of_bytes(self.bytes))
    }

    /// All header lines in order: name as it was sent, value without blanks around it.
    pub fn lines(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.head
            .lines
            .iter()
            .map(move |line| (self.text(line.name), line.value.of_bytes(self.bytes)))
    }
}
