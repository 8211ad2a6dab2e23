//! Clients that read in a session, in frames or in events, and follow the stream.

use super::line::{Gone, Head, request};
use super::visit::{Manner, Visit};
use super::words::{self, Frame, Records};
use super::{FOLLOW_US_MAX, one_in};
use crate::io::Clock;

/// What comes of a read.
enum Came {
    Records(Records),
    /// The end, as it should be.
    Done,
    /// The end, for this reason.
    Failed(u16, String),
}

/// How far a read is.
struct Reading {
    next: u64,
    /// Most records, if it has a bound; it ends at the tail then.
    count: Option<u64>,
    is_events: bool,
    received: Vec<u8>,
}

impl Visit {
    /// Reads until everything was seen that was written, or until its manner ends it.
    pub(super) async fn read_session(&mut self) {
        match self.try_read_session().await {
            Ok(()) => self.line.close(),
            Err(gone) => self.excuse(&gone),
        }
    }

    async fn try_read_session(&mut self) -> Result<(), Gone> {
        let acked_end = self.ledger.borrow().acked_end(self.stream);
        let (from, is_events) = (self.dice.below(acked_end + 1), self.dice.coin());
        let count = one_in(&mut self.dice, 3).then(|| 1 + self.dice.below(100));
        let bound = count.map_or(String::new(), |count| format!("&count={count}"));
        let target = format!("{}?seq_num={from}{bound}&clamp=true", self.target());
        let headers = match is_events {
            true => "accept: text/event-stream\r\n",
            false => "content-type: s2s/proto\r\n",
        };
        self.line.send(&request("GET", &target, headers, b"")).await?;
        let head = self.line.head().await?;
        if head.status != 200 {
            let body = self.line.body(&head).await?;
            if head.status != 416 || count.is_none() || from != acked_end {
                self.check_refusal(head.status, &String::from_utf8_lossy(&body));
            }
            return Ok(());
        }
        let reading = Reading { next: from, count, is_events, received: Vec::new() };
        self.follow(reading, &head, from, acked_end).await
    }

    async fn follow(
        &mut self,
        mut reading: Reading,
        head: &Head,
        from: u64,
        acked_end: u64,
    ) -> Result<(), Gone> {
        let mut left = (!self.manner.is_good()).then(|| self.dice.below(12));
        let began_us = self.io.now_us();
        loop {
            if left == Some(0) && self.go_wrong().await {
                return Ok(());
            }
            left = left.and_then(|left| left.checked_sub(1));
            match reading.come(self, head).await? {
                Came::Records(read) => self.see(&mut reading, &read),
                Came::Done => {
                    let count = reading.count.expect("only a read with a bound ends well");
                    let end = acked_end.min(from + count);
                    assert!(reading.next >= end, "a read ended at {} of {end}", reading.next);
                    self.ledger.borrow_mut().reached.reads_ended += 1;
                    return Ok(());
                }
                Came::Failed(status, text) => {
                    self.check_refusal(status, &text);
                    return Ok(());
                }
            }
            let end = self.ledger.borrow().acked_end(self.stream);
            let written = self.scene.writers.get() == 0 && reading.count.is_none();
            if written && reading.next >= end {
                self.ledger.borrow_mut().reached.reads_caught_up += 1;
                return Ok(());
            }
            let long = self.io.now_us() > began_us + FOLLOW_US_MAX;
            assert!(!long, "a reader hears nothing of {end}, and is at {}", reading.next);
        }
    }

    /// Does what its manner asks for; whether that is its end.
    async fn go_wrong(&mut self) -> bool {
        self.tell("goes wrong");
        self.ledger.borrow_mut().reached.count(self.manner);
        match self.manner {
            Manner::Cut => self.line.cut(),
            Manner::Vanish => self.line.vanish(),
            Manner::Stall => {
                let us = self.dice.below(20_000_000);
                self.io.sleep_us(us).await;
                return false;
            }
            // The others say that they send nothing more, and go on reading.
            _ => {
                self.line.half_close();
                return false;
            }
        }
        true
    }

    fn see(&mut self, reading: &mut Reading, read: &Records) {
        let mut ledger = self.ledger.borrow_mut();
        for record in &read.records {
            assert_eq!(record.seq_num, reading.next, "a session has a gap");
            ledger.saw(self.stream, record);
            reading.next += 1;
        }
        if let Some(tail) = read.tail {
            ledger.told_tail(self.stream, tail, 0);
        }
        drop(ledger);
        self.own_end = self.own_end.max(reading.next);
    }
}

impl Reading {
    /// What comes next.
    async fn come(&mut self, visit: &Visit, head: &Head) -> Result<Came, Gone> {
        loop {
            let came = if self.is_events { self.take_event() } else { self.take_frame() };
            if let Some(came) = came {
                return Ok(came);
            }
            let Some(piece) = visit.line.chunk(head).await? else {
                assert!(self.received.is_empty(), "the session ended within something");
                assert!(!self.is_events, "events end with a mark");
                return Ok(Came::Done);
            };
            self.received.extend_from_slice(&piece);
        }
    }

    fn take_frame(&mut self) -> Option<Came> {
        Some(match words::take_frame(&mut self.received)? {
            Frame::Message(message) => Came::Records(words::records_proto(&message)),
            Frame::Terminal(status, text) => Came::Failed(status, text),
        })
    }

    fn take_event(&mut self) -> Option<Came> {
        let end = self.received.windows(2).position(|two| two == b"\n\n")?;
        let text: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
        let text = String::from_utf8(text).expect("events are text");
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let data = field("data").expect("each event has data");
        Some(match field("event") {
            None => {
                assert_eq!(data, "[DONE]");
                Came::Done
            }
            Some("batch") => Came::Records(words::records_json(data.as_bytes())),
            Some("ping") => {
                let tail = Some(words::tail_json(data.as_bytes()));
                Came::Records(Records { tail, ..Records::default() })
            }
            Some("error") => Came::Failed(503, data.to_owned()),
            Some(other) => panic!("there is no event {other}"),
        })
    }
}
