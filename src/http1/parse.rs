//! From the bytes of a head to a judged [`Head`], or to the reason why not.
//!
//! `httparse` finds the parts. It takes LF for CRLF and knows no meanings, so the search for the
//! head's end refuses bare LF before it, and the meanings are judged behind it. When it objects,
//! [`diagnose`] looks again, slowly, for which rule was broken.

use std::mem::MaybeUninit;
use std::str;

use super::head::{BodyLength, Head, Span, Version};
use super::limits::{HEADER_COUNT_CEILING, Limits};
use super::violation::Violation;

/// The search for the end of a head: remembers how far it came, so that no byte is looked at
/// twice however slowly a head arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadSearch {
    searched: usize,
    line_at: usize,
}

impl HeadSearch {
    /// Nothing searched yet.
    pub(super) const NEW: Self = Self { searched: 0, line_at: 0 };

    /// The length of the head that `bytes` starts with, or `None` when it does not end in them.
    /// `bytes` must be what the last call saw, and what came since.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Violation> {
        let window = &bytes[..bytes.len().min(limits.head_bytes_max)];
        for i in memchr::memchr_iter(b'\n', &window[self.searched..]) {
            let lf_at = self.searched + i;
            if lf_at == 0 || window[lf_at - 1] != b'\r' {
                return Err(Violation::BareLf);
            }
            if lf_at == self.line_at + 1 {
                return Ok(Some(lf_at + 1));
            }
            self.line_at = lf_at + 1;
        }
        self.searched = window.len();
        match (window.len() == limits.head_bytes_max, self.line_at) {
            (false, _) => Ok(None),
            (true, 0) => Err(Violation::TargetTooLong),
            (true, _) => Err(Violation::HeadTooLarge),
        }
    }
}

/// Parses and judges `bytes`: one head with all of its line ends, none of them a bare LF. Fills
/// `head`, which must be empty; after a refusal what it holds means nothing.
pub(super) fn parse_head(head: &mut Head, bytes: &[u8], limits: &Limits) -> Result<(), Violation> {
    let mut slots = [const { MaybeUninit::uninit() }; HEADER_COUNT_CEILING];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut slots[..limits.header_count_max]);
    match parsed {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Violation::HeaderCount),
        // A disagreement about where the head ends is as bad as an error.
        _ => return Err(diagnose(bytes).unwrap_or(Violation::RequestLine)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Violation::RequestLine);
    };
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.method = Span::of(method.as_bytes(), bytes);
    judge_target(head, method, target, bytes, limits)?;
    let mut facts = Facts::default();
    for line in request.headers.iter() {
        head.lines.push(Span::of(line.name.as_bytes(), bytes), Span::of(line.value, bytes));
        facts.note(line.name, line.value)?;
    }
    facts.conclude(head, bytes)
}

/// Splits the target (RFC 9112 section 3.2) into authority, path and query.
fn judge_target(
    head: &mut Head,
    method: &str,
    target: &str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(), Violation> {
    if target.len() > limits.target_bytes_max {
        return Err(Violation::TargetTooLong);
    }
    if method == "CONNECT" {
        return Err(Violation::ConnectUnsupported);
    }
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(Violation::Target);
    }
    let local = if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        target
    } else {
        let rest = after_scheme(target).ok_or(Violation::Target)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, local) = rest.split_at(end);
        if authority.is_empty() || !is_authority(authority.as_bytes()) {
            return Err(Violation::Target);
        }
        head.authority = Some(Span::of(authority.as_bytes(), bytes));
        local
    };
    let local = local.as_bytes();
    match memchr::memchr(b'?', local) {
        Some(mark) => {
            head.path = Span::of(&local[..mark], bytes);
            head.query = Some(Span::of(&local[mark + 1..], bytes));
        }
        None => head.path = Span::of(local, bytes),
    }
    Ok(())
}

/// What follows `http://` or `https://`.
fn after_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

/// The bytes of `host[:port]`. A comma, legal in RFC 3986 names that nobody has, is how repeated
/// `Host` lines look after a merge, so it is none of them.
const AUTHORITY_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:[]~%!$&'()*+;=";
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] = true;
        i += 1;
    }
    table
};

fn is_authority(value: &[u8]) -> bool {
    value.iter().all(|&byte| AUTHORITY_BYTES[usize::from(byte)])
}

/// What the header lines say about framing and connection.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Facts<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), Violation> {
        // The length first: it rules out nearly every line at the cost of one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => match self.host.replace(value) {
                Some(_) => Err(Violation::HostRepeated),
                None if is_authority(value) => Ok(()),
                None => Err(Violation::HostInvalid),
            },
            6 if name.eq_ignore_ascii_case("expect") => {
                self.expects_continue = true;
                let known = value.eq_ignore_ascii_case(b"100-continue");
                if known { Ok(()) } else { Err(Violation::ExpectationUnknown) }
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = parse_length(value).ok_or(Violation::LengthInvalid)?;
                match self.length.replace(length) {
                    Some(_) => Err(Violation::LengthRepeated),
                    None => Ok(()),
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.chunked {
                    return Err(Violation::TransferEncodingRepeated);
                }
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                if self.chunked { Ok(()) } else { Err(Violation::TransferEncodingUnsupported) }
            }
            _ => Ok(()),
        }
    }

    fn conclude(self, head: &mut Head, bytes: &[u8]) -> Result<(), Violation> {
        let http11 = head.version == Version::Http11;
        if http11 && self.host.is_none() {
            return Err(Violation::HostMissing);
        }
        if self.chunked && !http11 {
            return Err(Violation::TransferEncodingOnHttp10);
        }
        head.body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Violation::LengthAndTransferEncoding),
            (Some(length), false) => BodyLength::Known(length),
            (None, true) => BodyLength::Chunked,
            (None, false) => BodyLength::None,
        };
        head.authority = head.authority.or(self.host.map(|host| Span::of(host, bytes)));
        head.keep_alive = !self.close && (http11 || self.keep_alive);
        let has_body = !matches!(head.body, BodyLength::None | BodyLength::Known(0));
        head.expects_continue = self.expects_continue && http11 && has_body;
        Ok(())
    }
}

/// A decimal number of 64 bits, with nothing before or behind it.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether `byte` may be in a method or a header name (RFC 9110 section 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The first rule of grammar that a head breaks.
fn diagnose(bytes: &[u8]) -> Option<Violation> {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr::memchr(b'\r', line).is_some() { Err(Violation::BareCr) } else { Ok(line) }
    });
    let request_line = lines.next().unwrap_or(Ok(b"")).and_then(judge_request_line);
    request_line.err().or_else(|| {
        lines.take_while(|line| *line != Ok(b"")).find_map(|line| line.and_then(judge_line).err())
    })
}

fn judge_request_line(line: &[u8]) -> Result<(), Violation> {
    let mut outer = line.splitn(2, |&byte| byte == b' ');
    let method = outer.next().unwrap_or_default();
    let mut inner = outer.next().unwrap_or_default().rsplitn(2, |&byte| byte == b' ');
    let version = inner.next().unwrap_or_default();
    let target = inner.next().ok_or(Violation::RequestLine)?;
    let versioned = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit());
    if method.is_empty() || !method.iter().all(|&byte| is_token_byte(byte)) || !versioned {
        return Err(Violation::RequestLine);
    }
    let visible = !target.iter().any(|&byte| byte <= b' ' || byte == 0x7f);
    if target.is_empty() || !visible || str::from_utf8(target).is_err() {
        return Err(Violation::Target);
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => Ok(()),
        _ => Err(Violation::VersionUnsupported),
    }
}

fn judge_line(line: &[u8]) -> Result<(), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::ObsFold);
    }
    let colon = memchr::memchr(b':', line).ok_or(Violation::HeaderName)?;
    let (name, value) = line.split_at(colon);
    let trimmed = name.trim_ascii_end();
    if name.is_empty() {
        Err(Violation::HeaderNameEmpty)
    } else if !trimmed.iter().all(|&byte| is_token_byte(byte)) {
        Err(Violation::HeaderName)
    } else if trimmed.len() < name.len() {
        Err(Violation::SpaceBeforeColon)
    } else if value.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        Err(Violation::HeaderValue)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_searched_twice() {
        let (mut search, limits) = (HeadSearch::NEW, Limits::default());
        let (first, second) = ("GET / HTTP/1.0\r\nA: b", "\r\n\r\nrest");
        assert_eq!(search.advance(first.as_bytes(), &limits), Ok(None));
        // A bare LF in the part already searched goes unseen only if that part is skipped.
        let changed = first.replace('b', "\n") + second;
        let end = first.len() + 4;
        assert_eq!(search.advance(changed.as_bytes(), &limits), Ok(Some(end)));
        let mut fresh = HeadSearch::NEW;
        assert_eq!(fresh.advance(changed.as_bytes(), &limits), Err(Violation::BareLf));
    }

    #[test]
    fn lengths_are_decimal_and_of_64_bits() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"007"), Some(7));
        assert_eq!(parse_length(b"18446744073709551615"), Some(u64::MAX));
        for refused in [&b""[..], b"18446744073709551616", b"+1", b"1 ", b"1,1", b"a"] {
            assert_eq!(parse_length(refused), None);
        }
    }

    #[test]
    fn parser_and_diagnosis_agree_about_every_byte_in_every_place() {
        use Violation as V;
        let head = b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        let limits = Limits::default();
        let mut refused = 0;
        for (place, byte) in (0..head.len()).flat_map(|place| (0..=255).map(move |b| (place, b))) {
            let mut changed = *head;
            changed[place] = byte;
            let mut search = HeadSearch::NEW;
            let ends = search.advance(&changed, &limits);
            if ends != Ok(Some(head.len())) || !is_token_byte(changed[0]) {
                continue;
            }
            let shown = changed.escape_ascii();
            match parse_head(&mut Head::default(), &changed, &limits) {
                Ok(()) => assert_eq!(diagnose(&changed), None, "{shown}"),
                // What the parser does not judge.
                Err(V::HostMissing | V::HostInvalid) => assert_eq!(diagnose(&changed), None),
                Err(V::Target) if changed[4] != b'/' || changed[5] == b'#' => {}
                Err(violation) => {
                    refused += 1;
                    assert_eq!(diagnose(&changed), Some(violation), "{shown}");
                }
            }
        }
        assert!(refused > 1000, "{refused}");
    }
}
