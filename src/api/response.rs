//! A response before a transport frames it.

use std::borrow::Cow;

use serde::Serialize;

use crate::types::StreamPosition;

/// Media type of JSON bodies, errors included.
pub const JSON: &str = "application/json";
/// Media type of protobuf bodies.
pub const PROTOBUF: &str = "application/protobuf";
/// Media type of S2S sessions.
pub const S2S: &str = "s2s/proto";
/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Media type of plain text.
pub const TEXT: &str = "text/plain";
/// Media type of the Prometheus text exposition.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// A response header: lower-case name and value. Most values are fixed, and hot paths add them.
pub type Header = (&'static str, Cow<'static, str>);

/// A complete response.
///
/// * The transport adds `content-length`, which a 202 needs even though its body is empty, and
///   drops the body in answer to HEAD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Value of `content-type`; absent when there is no body.
    pub content_type: Option<&'static str>,
    /// Further headers.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// What became of a resource, as `s2-provision-result` says it: clients rely on the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provision {
    /// It is new.
    Created,
    /// It was there already, and its configuration is another now.
    Updated,
    /// It was there already, just as it was asked for; nothing was written.
    Noop,
}

impl Response {
    /// A response with a body of the given media type.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type: Some(content_type), headers: Vec::new(), body }
    }

    /// A response without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A JSON response.
    ///
    /// # Panics
    ///
    /// When `value` cannot be JSON: a map with keys that are not texts. None of ours is.
    #[must_use]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("our forms are structs of plain values");
        Self::new(status, JSON, body)
    }

    /// A plain-text response.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, TEXT, text.as_bytes().to_vec())
    }

    /// `{"tail":{...}}`: the answer of a tail check, and of a read that starts beyond it.
    #[must_use]
    pub fn tail(status: u16, tail: StreamPosition) -> Self {
        let StreamPosition { seq_num, timestamp } = tail;
        Self::json(status, &TailForm { tail: PositionForm { seq_num, timestamp } })
    }

    /// Adds a header; `name` is lower-case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds `s2-provision-result`.
    #[must_use]
    pub fn with_provision(self, provision: Provision) -> Self {
        let text = match provision {
            Provision::Created => "created",
            Provision::Updated => "updated",
            Provision::Noop => "noop",
        };
        self.with_header("s2-provision-result", text)
    }
}

#[derive(Serialize)]
struct TailForm {
    tail: PositionForm,
}

#[derive(Serialize)]
struct PositionForm {
    seq_num: u64,
    timestamp: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_deletion_is_an_empty_202() {
        let response = Response::empty(202);
        assert_eq!((response.status, response.content_type, response.body.len()), (202, None, 0));
    }

    #[test]
    fn a_tail_is_shown_with_both_numbers() {
        let response = Response::tail(200, StreamPosition::default());
        assert_eq!(response.status, 200);
        assert_eq!(response.content_type, Some("application/json"));
        assert_eq!(response.body, br#"{"tail":{"seq_num":0,"timestamp":0}}"#);
    }

    #[test]
    fn the_provision_result_is_a_header() {
        for (provision, text) in [
            (Provision::Created, "created"),
            (Provision::Updated, "updated"),
            (Provision::Noop, "noop"),
        ] {
            let response = Response::text(201, "x").with_provision(provision);
            assert_eq!(response.headers, [("s2-provision-result", text.into())]);
        }
    }
}
