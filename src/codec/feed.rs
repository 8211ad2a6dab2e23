//! What a read session delivers, message by message: S2S frames or server-sent events.
//!
//! Records are spelled once, into the bytes that are sent.

use super::json::ReadBatchEncoder as JsonBatch;
use super::proto::{ReadBatchEncoder as ProtoBatch, TAIL_BYTES_MAX, encoded_record_bytes};
use super::sse::EventId;
use super::{Coding, Format, s2s, sse};
use crate::types::StreamPosition;

/// Body of a message to be coded from which on no more records join it, in bytes.
const CODED_BYTES_ENOUGH: usize = 128 * 1024;

/// How a read session spells its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// As S2S messages.
    S2s {
        /// How large ones are compressed.
        coding: Option<Coding>,
    },
    /// As server-sent events.
    Sse {
        /// How bytes stand in JSON.
        format: Format,
        /// The event that the client saw last, if it resumes.
        resumed: Option<EventId>,
    },
}

/// What a batch's last bytes say.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The durable tail, when the batch may say it.
    pub tail: Option<StreamPosition>,
    /// Number of its last record.
    pub last_seq_num: u64,
    /// How many records it has.
    pub records: u64,
    /// Their metered bytes.
    pub bytes: u64,
    /// Whether the client should move to another connection.
    pub advise_reconnect: bool,
}

/// Spells the messages of one read session.
#[derive(Debug)]
pub struct FeedEncoder {
    feed: Feed,
    /// What has been delivered, in this response and those that it resumes.
    delivered: EventId,
}

impl FeedEncoder {
    /// An encoder at the start of a response.
    #[must_use]
    pub fn new(feed: Feed) -> Self {
        let delivered = match feed {
            Feed::Sse { resumed: Some(id), .. } => id,
            _ => EventId::default(),
        };
        Self { feed, delivered }
    }

    /// Opens a batch in `out`, which is empty.
    pub fn begin<'a>(&'a mut self, out: &'a mut Vec<u8>) -> FeedBatch<'a> {
        debug_assert!(out.is_empty());
        let form = match self.feed {
            Feed::S2s { coding } => {
                let start = s2s::begin(out);
                Form::S2s { start, coding, body: ProtoBatch::new(out), body_bytes: 0 }
            }
            Feed::Sse { format, .. } => {
                sse::begin_batch(out);
                Form::Sse { body: JsonBatch::new(out, format) }
            }
        };
        FeedBatch { form, delivered: &mut self.delivered }
    }

    /// Appends a heartbeat: nothing is below `tail` that was not sent.
    pub fn heartbeat(
        &self,
        out: &mut Vec<u8>,
        tail: StreamPosition,
        now_ms: u64,
        advise_reconnect: bool,
    ) {
        match self.feed {
            Feed::S2s { .. } => {
                let start = s2s::begin(out);
                ProtoBatch::new(out).finish(Some(tail));
                s2s::finish(out, start, None, advise_reconnect).expect("a position is short");
            }
            Feed::Sse { .. } => sse::push_ping(out, now_ms, tail),
        }
    }
}

/// One batch that is being spelled.
#[derive(Debug)]
pub struct FeedBatch<'a> {
    form: Form<'a>,
    delivered: &'a mut EventId,
}

#[derive(Debug)]
enum Form<'a> {
    S2s { start: s2s::FrameStart, coding: Option<Coding>, body: ProtoBatch<'a>, body_bytes: usize },
    Sse { body: JsonBatch<'a> },
}

impl FeedBatch<'_> {
    /// Appends one record; `false` when the message has no room for it, and then it is not there.
    #[must_use]
    pub fn record<'h>(
        &mut self,
        seq_num: u64,
        timestamp: u64,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])> + Clone,
        body: &[u8],
    ) -> bool {
        match &mut self.form {
            Form::S2s { body: batch, body_bytes, coding, .. } => {
                let headers_of = headers.clone();
                let bytes = encoded_record_bytes(seq_num, timestamp, headers_of, body.len());
                // Coding holds the core: a message ends where that would be long.
                if coding.is_some() && *body_bytes >= CODED_BYTES_ENOUGH {
                    return false;
                }
                // The first record has the room of the tail too: it cannot go anywhere else.
                let tail_bytes = if *body_bytes == 0 { 0 } else { TAIL_BYTES_MAX };
                if *body_bytes + bytes + tail_bytes > s2s::BODY_BYTES_MAX {
                    return false;
                }
                *body_bytes += bytes;
                batch.record(seq_num, timestamp, headers, body);
            }
            Form::Sse { body: batch } => batch.record(seq_num, timestamp, headers, body),
        }
        true
    }

    /// Closes the batch.
    pub fn finish(self, stamp: Stamp) {
        let Stamp { tail, last_seq_num, records, bytes, .. } = stamp;
        *self.delivered = self.delivered.advance(last_seq_num, records, bytes);
        match self.form {
            Form::S2s { start, coding, body, body_bytes } => {
                let has_room = body_bytes + TAIL_BYTES_MAX <= s2s::BODY_BYTES_MAX;
                let out = body.finish(tail.filter(|_| has_room));
                s2s::finish(out, start, coding, stamp.advise_reconnect)
                    .expect("records are counted before they are appended");
            }
            Form::Sse { body } => sse::finish_batch(body.finish(tail), *self.delivered),
        }
    }

    /// Leaves the batch out: nothing of it remains.
    pub fn abandon(self) {
        match self.form {
            Form::S2s { body, .. } => body.finish(None).clear(),
            Form::Sse { body } => body.finish(None).clear(),
        }
    }
}
