//! Clients that send requests one behind the other, often several before the first answer.

use futures_util::future;

use super::line::{Gone, request};
use super::one_in;
use super::visit::{Manner, Visit};
use super::words;
use crate::io::Clock;

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Append { id: usize, proto: bool },
    Read { from: u64, count: u64, at_least: u64, proto: bool },
    Tail { at_least: u64 },
}

impl Visit {
    /// Some rounds of requests.
    pub(super) async fn unary(&mut self) {
        let rounds = 1 + self.dice.below(6);
        let fault_at = (!self.manner.is_good()).then(|| self.dice.below(rounds));
        for round in 0..rounds {
            let done = self.round(fault_at == Some(round)).await;
            match done {
                Ok(true) => self.pause().await,
                Ok(false) => return,
                Err(gone) => return self.excuse(&gone),
            }
        }
        self.line.close();
    }

    /// Requests, and their answers; whether the connection goes on.
    async fn round(&mut self, is_last: bool) -> Result<bool, Gone> {
        let depth = if self.dice.coin() { 1 } else { 1 + self.dice.below(5) };
        let mut asked = Vec::new();
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let (one, spelled) = self.ask();
            asked.push(one);
            bytes.push(spelled);
        }
        let whole = if is_last { self.dice.index(bytes.len()) } else { bytes.len() };
        let mut sender = self.part("send");
        // Both at once: neither side has room for all that the other says.
        let (sent, heard) = future::join(sender.send_round(&asked, &bytes, whole), async {
            if is_last && self.manner == Manner::Stall {
                let us = self.dice.below(20_000_000);
                self.io.sleep_us(us).await;
            }
            for one in asked.iter().take(whole) {
                if !self.hear(*one).await? {
                    return Ok(false);
                }
            }
            Ok(!is_last)
        })
        .await;
        let goes_on = heard?;
        if goes_on {
            sent?;
        }
        Ok(goes_on)
    }

    /// Sends the first `whole` requests, and goes wrong in the middle of the next one if there is
    /// one.
    async fn send_round(
        &mut self,
        asked: &[Asked],
        bytes: &[Vec<u8>],
        whole: usize,
    ) -> Result<(), Gone> {
        for (one, spelled) in asked.iter().zip(bytes).take(whole) {
            if let Asked::Append { id, .. } = one {
                self.ledger.borrow_mut().sent_whole(*id);
            }
            if one_in(&mut self.dice, 4) {
                self.pause().await;
            }
            self.line.send(spelled).await?;
        }
        match bytes.get(whole) {
            Some(_) if self.manner == Manner::Stall => {
                self.ledger.borrow_mut().reached.count(self.manner);
            }
            Some(next) => self.misbehave(next).await?,
            None => {}
        }
        Ok(())
    }

    /// Draws a request.
    fn ask(&mut self) -> (Asked, Vec<u8>) {
        let at_least = self.ledger.borrow().acked_end(self.stream);
        let proto = self.dice.coin();
        match self.dice.below(8) {
            0 => {
                let target = self.target() + "/tail";
                (Asked::Tail { at_least }, request("GET", &target, "", b""))
            }
            1 | 2 => {
                let (from, count) = (self.dice.below(at_least + 1), 1 + self.dice.below(200));
                let target = format!("{}?seq_num={from}&count={count}&clamp=true", self.target());
                let accept = if proto { "accept: application/protobuf\r\n" } else { "" };
                let asked = Asked::Read { from, count, at_least, proto };
                (asked, request("GET", &target, accept, b""))
            }
            _ => {
                let id = self.draw(0, false);
                let ledger = self.ledger.borrow();
                let batch = ledger.batch(id);
                let (media, body) = if proto {
                    ("application/protobuf", words::append_proto(batch))
                } else {
                    ("application/json", words::append_json(batch))
                };
                let headers = format!("content-type: {media}\r\naccept: {media}\r\n");
                let asked = Asked::Append { id, proto };
                (asked, request("POST", &self.target(), &headers, &body))
            }
        }
    }

    /// Takes the answer; whether the connection goes on.
    async fn hear(&mut self, asked: Asked) -> Result<bool, Gone> {
        let (head, body) = self.answer().await?;
        match asked {
            Asked::Append { id, proto } => match head.status {
                200 => {
                    let ack = if proto { words::ack_proto(&body) } else { words::ack_json(&body) };
                    self.acked(id, ack);
                }
                status => {
                    self.check_refusal(status, &String::from_utf8_lossy(&body));
                    if !self.may_be_there(status) {
                        self.ledger.borrow_mut().refused(id);
                    }
                }
            },
            Asked::Tail { at_least } => {
                if head.status == 200 {
                    let at_least = at_least.max(self.own_end);
                    let tail = words::tail_json(&body);
                    self.ledger.borrow_mut().told_tail(self.stream, tail, at_least);
                } else {
                    self.check_refusal(head.status, &String::from_utf8_lossy(&body));
                }
            }
            Asked::Read { from, count, at_least, proto } => match head.status {
                200 => {
                    let records = if proto {
                        words::records_proto(&body)
                    } else {
                        words::records_json(&body)
                    };
                    self.check_read(&records, from, count, at_least.max(self.own_end));
                }
                // It starts at the tail.
                416 => assert!(from >= at_least.max(self.own_end), "there was something to read"),
                status => self.check_refusal(status, &String::from_utf8_lossy(&body)),
            },
        }
        Ok(!head.closes)
    }

    fn check_read(&mut self, read: &words::Records, from: u64, count: u64, at_least: u64) {
        let mut ledger = self.ledger.borrow_mut();
        let mut next = from;
        for record in &read.records {
            assert_eq!(record.seq_num, next, "a read has a gap");
            ledger.saw(self.stream, record);
            next += 1;
        }
        assert!(next - from <= count, "more than was asked for");
        assert!(next >= at_least.min(from + count), "a read ends at {next} of {at_least}");
        if let Some(tail) = read.tail {
            ledger.told_tail(self.stream, tail, at_least);
        }
    }
}
