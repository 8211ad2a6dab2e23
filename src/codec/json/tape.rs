//! Reads the tape of an append body into a draft: spans and numbers, not yet judged.
//!
//! The tape holds every value of the document in order; a container says how many nodes it
//! encloses, so an unknown member is skipped in one step however deep it is. Nothing here
//! recurses over input.
//!
//! Every type error of the whole body is found here, so that `bad_json` can win over `invalid`.

use simd_json::{Node, StaticNode};

use crate::types::limits::BATCH_RECORDS_MAX;
use crate::types::{FencingToken, HeaderSpan, Span};

/// An integer of 19 digits: from here on simd-json does not look at what follows the digits.
const UNCHECKED_NUMBERS_MIN: u64 = 1_000_000_000_000_000_000;

/// One record as it stands in the body.
#[derive(Debug, Clone, Copy)]
pub(super) struct DraftRecord {
    /// The client's timestamp.
    pub(super) timestamp: Option<u64>,
    /// How many of the draft's headers, in order, are this record's.
    pub(super) headers_count: u32,
    /// Its body, still in the client's format.
    pub(super) body: Span,
}

/// A whole body as it stands: right in shape, not yet judged.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// At most one more than a batch may hold: enough to see that it is too many.
    pub(super) records: Vec<DraftRecord>,
    /// The headers of `records`, in order; then those of records beyond the bound, if any.
    pub(super) headers: Vec<HeaderSpan>,
    pub(super) match_seq_num: Option<u64>,
    pub(super) fencing_token: Option<FencingToken>,
    /// Whether there may be numbers of which simd-json did not see the end.
    pub(super) has_unseen_numbers: bool,
}

impl Draft {
    /// Reads `nodes`, the tape of a buffer that starts at address `base`.
    ///
    /// * Errors: a message for the client.
    pub(super) fn fill(&mut self, nodes: &[Node<'_>], base: usize) -> Result<(), String> {
        self.records.clear();
        self.headers.clear();
        self.match_seq_num = None;
        self.fencing_token = None;
        self.has_unseen_numbers = false;
        Walk { nodes: nodes.iter(), base, draft: self }.body()
    }

    /// Gives back lists that grew beyond `items_max` items.
    pub(super) fn shed(&mut self, items_max: usize) {
        if self.headers.capacity() > items_max {
            self.headers = Vec::new();
        }
    }
}

/// A cursor over the tape.
struct Walk<'a, 'tape, 'input> {
    nodes: std::slice::Iter<'tape, Node<'input>>,
    base: usize,
    draft: &'a mut Draft,
}

impl<'input> Walk<'_, '_, 'input> {
    fn body(mut self) -> Result<(), String> {
        let Node::Object { len, .. } = self.next() else {
            return Err("body must be an object".to_owned());
        };
        let (mut records, mut match_seq_num, mut fencing_token) = (false, false, false);
        for _ in 0..len {
            match self.key() {
                "records" => {
                    once(&mut records, "records")?;
                    self.records()?;
                }
                "match_seq_num" => {
                    once(&mut match_seq_num, "match_seq_num")?;
                    self.draft.match_seq_num = self.integer("match_seq_num")?;
                }
                "fencing_token" => {
                    once(&mut fencing_token, "fencing_token")?;
                    self.draft.fencing_token = self.fencing_token()?;
                }
                _ => self.ignore(),
            }
        }
        if records { Ok(()) } else { Err("missing member `records`".to_owned()) }
    }

    fn records(&mut self) -> Result<(), String> {
        let Node::Array { len, .. } = self.next() else {
            return Err("`records` must be an array".to_owned());
        };
        self.draft.records.reserve(len.min(BATCH_RECORDS_MAX + 1));
        for index in 0..len {
            let record = self.record().map_err(|e| format!("records[{index}]: {e}"))?;
            if index <= BATCH_RECORDS_MAX {
                self.draft.records.push(record);
            }
        }
        Ok(())
    }

    fn record(&mut self) -> Result<DraftRecord, String> {
        let Node::Object { len, .. } = self.next() else {
            return Err("a record must be an object".to_owned());
        };
        let (mut timestamp, mut headers, mut body) = (false, false, false);
        let mut record = DraftRecord { timestamp: None, headers_count: 0, body: Span::default() };
        for _ in 0..len {
            match self.key() {
                "body" => {
                    once(&mut body, "body")?;
                    record.body = self.string("`body` must be a string")?;
                }
                "headers" => {
                    once(&mut headers, "headers")?;
                    record.headers_count = self.headers()?;
                }
                "timestamp" => {
                    once(&mut timestamp, "timestamp")?;
                    record.timestamp = self.integer("timestamp")?;
                }
                _ => self.ignore(),
            }
        }
        Ok(record)
    }

    fn headers(&mut self) -> Result<u32, String> {
        const PAIR: &str = "a header must be an array of two strings";
        let Node::Array { len, .. } = self.next() else {
            return Err("`headers` must be an array".to_owned());
        };
        self.draft.headers.reserve(len);
        for _ in 0..len {
            let Node::Array { len: 2, .. } = self.next() else {
                return Err(PAIR.to_owned());
            };
            let (name, value) = (self.string(PAIR)?, self.string(PAIR)?);
            self.draft.headers.push(HeaderSpan { name, value });
        }
        #[expect(clippy::cast_possible_truncation, reason = "a body has fewer than 2^32 bytes")]
        Ok(len as u32)
    }

    fn fencing_token(&mut self) -> Result<Option<FencingToken>, String> {
        match self.next() {
            Node::Static(StaticNode::Null) => Ok(None),
            Node::String(text) => FencingToken::new(text).map(Some).map_err(|e| e.to_string()),
            _ => Err("`fencing_token` must be a string or null".to_owned()),
        }
    }

    fn integer(&mut self, member: &str) -> Result<Option<u64>, String> {
        match self.next() {
            Node::Static(StaticNode::Null) => Ok(None),
            Node::Static(StaticNode::U64(number)) => {
                self.draft.has_unseen_numbers |= number >= UNCHECKED_NUMBERS_MIN;
                Ok(Some(number))
            }
            _ => Err(format!("`{member}` must be an unsigned 64-bit integer or null")),
        }
    }

    /// The next node, a string, as a span of the buffer.
    fn string(&mut self, otherwise: &str) -> Result<Span, String> {
        let Node::String(text) = self.next() else {
            return Err(otherwise.to_owned());
        };
        // The tape's strings lie in the buffer, unescaped where they were escaped; an empty one
        // too. A buffer is shorter than 2^32 bytes (`AppendDecoder::decode`).
        #[expect(clippy::cast_possible_truncation, reason = "the buffer's length fits 32 bits")]
        Ok(Span { offset: (text.as_ptr().addr() - self.base) as u32, len: text.len() as u32 })
    }

    fn key(&mut self) -> &'input str {
        match self.next() {
            Node::String(key) => key,
            _ => unreachable!("a tape holds a string before each member of an object"),
        }
    }

    /// Passes over the value of a member that means nothing here.
    fn ignore(&mut self) {
        self.draft.has_unseen_numbers = true;
        if let Node::Object { count, .. } | Node::Array { count, .. } = self.next()
            && count > 0
        {
            self.nodes.nth(count - 1).expect("a container's nodes follow it on the tape");
        }
    }

    fn next(&mut self) -> Node<'input> {
        *self.nodes.next().expect("a tape is as long as its containers say")
    }
}

/// Notes that `member` was met; a second time is an error.
fn once(met: &mut bool, member: &str) -> Result<(), String> {
    if std::mem::replace(met, true) {
        Err(format!("member `{member}` is repeated"))
    } else {
        Ok(())
    }
}
