//! Server-sent events as a browser reads them.

use serde_json::Value;

use super::client::{Client, records_path};
use super::duplex::{Exchange, Protocol};
use super::http::{Request, shown};
use super::session::check_session_head;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its name; empty when it has none.
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl Event {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The sequence numbers of a batch event.
    #[track_caller]
    pub(crate) fn seq_nums(&self) -> Vec<u64> {
        assert_eq!(self.name, "batch", "{self:?}");
        let body = self.json();
        let records = body["records"].as_array().expect("records").clone();
        assert!(!records.is_empty(), "batch events are never empty");
        records.iter().map(|record| record["seq_num"].as_u64().expect("a number")).collect()
    }

    fn parse(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => event.id = Some(value.to_owned()),
                "data" => {
                    assert!(event.data.is_empty(), "data is a single line: {text:?}");
                    value.clone_into(&mut event.data);
                }
                _ => panic!("unexpected field: {text:?}"),
            }
        }
        event
    }
}

/// A response of events whose head has come.
pub(crate) struct Events {
    exchange: Exchange,
    buffer: Vec<u8>,
}

/// The request of an SSE read with a query such as `seq_num=0`.
pub(crate) fn sse_request(stream: &str, query: &str) -> Request {
    Request::get(&format!("{}?{query}", records_path(stream))).header("accept", "text/event-stream")
}

impl Events {
    #[track_caller]
    pub(crate) fn open(client: &Client, protocol: Protocol, request: Request) -> Self {
        let mut exchange = Exchange::start(client, protocol, request);
        check_session_head(&exchange.head(), "text/event-stream");
        Self { exchange, buffer: Vec::new() }
    }

    /// The next event; `None` is the end, which must not be in the middle of one.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let text: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Some(Event::parse(&String::from_utf8(text).expect("events are UTF-8")));
            }
            match self.exchange.piece() {
                Ok(Some(piece)) => self.buffer.extend_from_slice(&piece),
                Ok(None) if self.buffer.is_empty() => return None,
                Ok(None) => panic!("ended within an event: {}", shown(&self.buffer)),
                Err(error) => panic!("expected an event: {error}"),
            }
        }
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.next().expect("an event, but the response ended")
    }

    /// The done marker must come next, and then the end.
    #[track_caller]
    pub(crate) fn done(&mut self) {
        let event = self.event();
        assert_eq!(event, Event { data: "[DONE]".to_owned(), ..Event::default() });
        assert_eq!(self.next(), None, "nothing comes after the done marker");
    }

    /// Reads batches up to the done marker; gives their records' numbers and the last id.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u64>, Option<String>) {
        let (mut seq_nums, mut id) = (Vec::new(), None);
        loop {
            let event = self.event();
            if event.name == "batch" {
                seq_nums.extend(event.seq_nums());
                assert!(event.id.is_some(), "batch events have an id: {event:?}");
                id = event.id;
            } else if event.data == "[DONE]" {
                assert_eq!(self.next(), None, "nothing comes after the done marker");
                return (seq_nums, id);
            } else {
                assert_eq!(event.name, "ping", "{event:?}");
            }
        }
    }
}
