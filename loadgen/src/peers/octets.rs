//! The little of the Durable Streams protocol that is needed: heads of requests, and the events of
//! a stream that is followed.
//!
//! Streams are made as `text/plain`: such a stream takes any bytes as they are, and its events
//! carry them as text and not in base64.

/// A request that makes the stream `name`; `headers` are complete lines.
pub(crate) fn create(name: &str, headers: &str) -> String {
    format!(
        "PUT /{name} HTTP/1.1\r\n{headers}content-type: text/plain\r\ncontent-length: 0\r\n\r\n"
    )
}

/// The head of an append to `name`, up to the digits of its length.
pub(crate) fn append_head(name: &str, headers: &str) -> String {
    format!("POST /{name} HTTP/1.1\r\n{headers}content-type: text/plain\r\ncontent-length: ")
}

/// A request for all that `name` holds.
pub(crate) fn read(name: &str, headers: &str) -> String {
    format!("GET /{name}?offset=-1 HTTP/1.1\r\n{headers}\r\n")
}

/// A request for the events of `name` from `offset` on.
pub(crate) fn follow(name: &str, headers: &str, offset: &str) -> String {
    format!(
        "GET /{name}?offset={offset}&live=sse HTTP/1.1\r\n{headers}accept: text/event-stream\r\n\r\n"
    )
}

/// What an event said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// More of the stream.
    Data(Vec<u8>),
    /// How far the stream was told, and whether it was all.
    Control(Vec<u8>),
}

/// Cuts server-sent events out of the bytes of an answer.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bytes: Vec<u8>,
    at: usize,
    /// Up to here no event ends.
    searched: usize,
}

impl Events {
    /// Adds what came.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.searched -= self.at;
            self.at = 0;
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, &'static str> {
        loop {
            let from = self.searched.max(self.at);
            let Some(found) = self.bytes[from..].windows(2).position(|pair| pair == b"\n\n") else {
                // The first half of an end may be here already.
                self.searched = self.bytes.len().saturating_sub(1).max(self.at);
                return Ok(None);
            };
            let event = event(&self.bytes[self.at..from + found])?;
            self.at = from + found + 2;
            self.searched = self.at;
            if event.is_some() {
                return Ok(event);
            }
        }
    }
}

/// The event of `lines`; `None` for a comment.
fn event(lines: &[u8]) -> Result<Option<Event>, &'static str> {
    let (mut kind, mut data) = (None, Vec::new());
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"event:") {
            kind = Some(name.trim_ascii());
        } else if let Some(text) = line.strip_prefix(b"data:") {
            data.extend_from_slice(text.strip_prefix(b" ").unwrap_or(text));
        }
    }
    match kind {
        Some(b"data") => Ok(Some(Event::Data(data))),
        Some(b"control") => Ok(Some(Event::Control(data))),
        Some(_) => Err("an event of another kind"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_wherever_the_bytes_are() {
        let text = b": hello\n\nevent: data\ndata:ab\n\nevent: control\ndata: {}\n\n";
        let expected = [Event::Data(b"ab".to_vec()), Event::Control(b"{}".to_vec())];
        for split in 0..text.len() {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for piece in [&text[..split], &text[split..]] {
                events.push(piece);
                while let Some(event) = events.next().unwrap() {
                    found.push(event);
                }
            }
            assert_eq!(found, expected, "cut at {split}");
        }
        let mut events = Events::default();
        events.push(b"event: other\n\n");
        assert!(events.next().is_err());
    }
}
