//! S2S sessions of a client: frames out, frames in, over either protocol.

use std::time::Duration;

use serde_json::Value;

use super::client::{Client, records_path};
use super::duplex::{Exchange, Protocol};
use super::http::{Request, Response, shown};
use super::s2s::{AppendAck, AppendInput, Frame, ReadBatch};

/// A session whose head has come.
pub(crate) struct Session {
    pub(crate) exchange: Exchange,
    pub(crate) head: Response,
    buffer: Vec<u8>,
}

/// The request of an append session.
pub(crate) fn append_request(stream: &str) -> Request {
    Request::new("POST", &records_path(stream)).header("content-type", "s2s/proto")
}

/// The request of a read session with a query such as `seq_num=0`.
pub(crate) fn read_request(stream: &str, query: &str) -> Request {
    Request::get(&format!("{}?{query}", records_path(stream))).header("content-type", "s2s/proto")
}

impl Session {
    /// Opens an append session; its head must come before anything is sent.
    #[track_caller]
    pub(crate) fn append(client: &Client, protocol: Protocol, stream: &str) -> Self {
        Self::open(Exchange::start_open(client, protocol, append_request(stream)))
    }

    /// Opens a read session.
    #[track_caller]
    pub(crate) fn read(client: &Client, protocol: Protocol, stream: &str, query: &str) -> Self {
        Self::open(Exchange::start(client, protocol, read_request(stream, query)))
    }

    /// Waits for the head, which must be that of a session.
    #[track_caller]
    pub(crate) fn open(mut exchange: Exchange) -> Self {
        let head = exchange.head();
        check_session_head(&head, "s2s/proto");
        Self { exchange, head, buffer: Vec::new() }
    }

    pub(crate) fn push(&mut self, input: &AppendInput) {
        self.exchange.send(&input.frame());
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.exchange.send(bytes);
    }

    /// Half-closes.
    pub(crate) fn finish(&mut self) {
        self.exchange.finish();
    }

    /// The next frame; `None` is the end, which must not be in the middle of one.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        match self.try_next() {
            Ok(frame) => frame,
            Err(error) => panic!("expected a frame or the end: {error}"),
        }
    }

    /// The same; the error says how the session broke off.
    pub(crate) fn try_next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let Some(frame) = Frame::take(&mut self.buffer) {
                return Ok(Some(frame));
            }
            match self.exchange.piece()? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(format!("ended within a frame: {}", shown(&self.buffer))),
            }
        }
    }

    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        self.next().expect("a frame, but the session ended")
    }

    /// The next acknowledgement, whose three positions must be there and fit together.
    #[track_caller]
    pub(crate) fn ack(&mut self) -> AppendAck {
        let ack: AppendAck = self.frame().message();
        check_ack(&ack);
        ack
    }

    /// Acknowledgements of one record each from `start` on, up to and without `end`.
    #[track_caller]
    pub(crate) fn acks(&mut self, start: u64, end: u64) {
        let mut last_tail = 0;
        for expected in start..end {
            let ack = self.ack();
            let at = (ack.start.expect("checked").seq_num, ack.end.expect("checked").seq_num);
            assert_eq!(at, (expected, expected + 1), "acknowledgements come in order");
            let tail = ack.tail.expect("checked").seq_num;
            assert!(tail >= last_tail, "the tail went back from {last_tail} to {tail}");
            last_tail = tail;
        }
    }

    #[track_caller]
    pub(crate) fn batch(&mut self) -> ReadBatch {
        let batch: ReadBatch = self.frame().message();
        assert!(!batch.records.is_empty() || batch.tail.is_some(), "an empty batch without tail");
        batch
    }

    /// The next batch must be a heartbeat with this tail.
    #[track_caller]
    pub(crate) fn heartbeat(&mut self, seq_num: u64) {
        let batch = self.batch();
        assert!(batch.is_heartbeat(), "expected a heartbeat, came {:?}", batch.seq_nums());
        assert_eq!(batch.tail.map(|tail| tail.seq_num), Some(seq_num), "the heartbeat's tail");
    }

    /// A terminal frame must come next, and then the end.
    #[track_caller]
    pub(crate) fn terminal(&mut self) -> (u16, Value) {
        let frame = self.frame();
        assert!(frame.is_terminal(), "expected a terminal frame, came {frame:?}");
        let error = frame.error();
        self.end();
        error
    }

    /// A terminal frame with this status and code must come next, and then the end.
    #[track_caller]
    pub(crate) fn refused(&mut self, status: u16, code: &str) {
        let (came, body) = self.terminal();
        assert_eq!((came, body["code"].as_str()), (status, Some(code)), "{body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }

    /// The session must end here.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        if let Some(frame) = self.next() {
            panic!("expected the end, came {frame:?}");
        }
    }

    /// Reads up to the end; every batch must follow the one before. Gives the sequence numbers.
    #[track_caller]
    pub(crate) fn all_batches(&mut self) -> Vec<ReadBatch> {
        let mut batches = Vec::new();
        while let Some(frame) = self.next() {
            batches.push(frame.message());
        }
        batches
    }

    #[track_caller]
    pub(crate) fn silent_for(&mut self, span: Duration) {
        assert!(self.buffer.is_empty(), "expected nothing, came {}", shown(&self.buffer));
        assert!(self.exchange.stays_silent(span), "something came within {span:?}");
    }
}

/// Fails unless this is the head of a streaming answer.
#[track_caller]
pub(crate) fn check_session_head(head: &Response, content_type: &str) {
    head.status(200);
    let is = |name: &str, value: Option<&str>| {
        if head.header(name) != value {
            head.fail(&format!("expected the header {name}: {value:?}"));
        }
    };
    is("content-type", Some(content_type));
    is("cache-control", Some("no-cache, no-transform"));
    is("x-accel-buffering", Some("no"));
    is("content-length", None);
    is("content-encoding", None);
}

#[track_caller]
fn check_ack(ack: &AppendAck) {
    let (Some(start), Some(end), Some(tail)) = (ack.start, ack.end, ack.tail) else {
        panic!("an acknowledgement lacks a position: {ack:?}");
    };
    assert!(start.seq_num < end.seq_num && end.seq_num <= tail.seq_num, "{ack:?}");
    assert!(start.timestamp <= end.timestamp && end.timestamp <= tail.timestamp, "{ack:?}");
}
