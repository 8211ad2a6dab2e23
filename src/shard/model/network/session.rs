//! Clients that append in a session: batches one behind the other, acknowledgements as they come.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use futures_util::future;

use super::line::{Gone, chunks, open_request};
use super::one_in;
use super::visit::{Manner, Visit};
use super::words::{self, Frame};
use crate::io::Clock;

/// What one session's two directions tell each other.
#[derive(Default)]
struct Talk {
    /// Batches that were sent whole and are not answered.
    unanswered: RefCell<VecDeque<usize>>,
    /// Nothing more will be answered.
    is_over: Cell<bool>,
    /// A frame was sent that ends the session.
    is_spoilt: Cell<bool>,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Well,
    /// By its last frame.
    Refused,
}

impl Visit {
    /// One session; if it ends well, some requests on the same connection.
    pub(super) async fn append_session(&mut self) {
        match self.try_append_session().await {
            Ok(Ended::Well) if self.manner.is_good() && !self.scene.is_ending.get() => {
                assert!(!self.line.has_more(), "something follows the session's end");
                self.ledger.borrow_mut().reached.sessions_ended_well += 1;
                self.unary().await;
            }
            Ok(_) => self.line.close(),
            Err(gone) => self.excuse(&gone),
        }
    }

    async fn try_append_session(&mut self) -> Result<Ended, Gone> {
        self.line.send(&open_request(&self.target())).await?;
        let head = self.line.head().await?;
        if head.status != 200 {
            let body = self.line.body(&head).await?;
            self.check_refusal(head.status, &String::from_utf8_lossy(&body));
            return Ok(Ended::Refused);
        }
        let talk = Talk::default();
        let (mut sender, mut receiver) = (self.part("send"), self.part("receive"));
        let (sent, heard) = future::join(sender.send_batches(&talk), async {
            let heard = receiver.hear_acks(&talk, &head).await;
            talk.is_over.set(true);
            heard
        })
        .await;
        self.own_end = receiver.own_end;
        // Who is refused may find that nobody reads any more.
        let ended = heard?;
        if ended == Ended::Well {
            sent?;
            assert!(!talk.is_spoilt.get(), "a frame that is none was taken for one");
            let left = talk.unanswered.borrow();
            assert!(left.is_empty(), "the session ended well, without answers to {left:?}");
        }
        Ok(ended)
    }

    async fn send_batches(&mut self, talk: &Talk) -> Result<(), Gone> {
        let batches = 1 + self.dice.below(40);
        let fault_at = (!self.manner.is_good()).then(|| self.dice.below(batches));
        let quick = self.dice.coin();
        for at in 0..batches {
            if !quick || one_in(&mut self.dice, 16) {
                self.pause().await;
            }
            if talk.is_over.get() {
                return Ok(());
            }
            let pending: usize = {
                let ledger = self.ledger.borrow();
                talk.unanswered.borrow().iter().map(|id| ledger.batch(*id).records.len()).sum()
            };
            let id = self.draw(pending as u64, true);
            let frame = words::frame(&words::append_proto(self.ledger.borrow().batch(id)));
            if fault_at == Some(at) && self.manner != Manner::Stall {
                return self.spoil(&frame, talk).await;
            }
            self.ledger.borrow_mut().sent_whole(id);
            talk.unanswered.borrow_mut().push_back(id);
            let bytes = chunks(&mut self.dice, &frame);
            self.line.send(&bytes).await?;
        }
        if one_in(&mut self.dice, 8) {
            self.pause().await;
        }
        self.line.send(b"0\r\n\r\n").await
    }

    /// Goes wrong in the middle of a frame, which must never be taken for a batch.
    async fn spoil(&mut self, frame: &[u8], talk: &Talk) -> Result<(), Gone> {
        let part = match self.manner {
            Manner::ShortFrame => frame[..1 + self.dice.index(frame.len() - 1)].to_vec(),
            // Its message is no message: the field that it begins with is longer than it.
            Manner::Garbage => words::frame(&[0x0A, 0x7F, 0x01]),
            _ => {
                let bytes = chunks(&mut self.dice, &frame[..frame.len() - 1]);
                self.misbehave(&bytes).await?;
                return Ok(());
            }
        };
        talk.is_spoilt.set(true);
        self.tell("spoils its session");
        self.ledger.borrow_mut().reached.count(self.manner);
        let bytes = chunks(&mut self.dice, &part);
        self.line.send(&bytes).await?;
        self.line.send(b"0\r\n\r\n").await
    }

    async fn hear_acks(&mut self, talk: &Talk, head: &super::line::Head) -> Result<Ended, Gone> {
        if self.manner == Manner::Stall {
            self.ledger.borrow_mut().reached.count(self.manner);
            let us = self.dice.below(20_000_000);
            self.io.sleep_us(us).await;
        }
        let mut received = Vec::new();
        while let Some(piece) = self.line.chunk(head).await? {
            received.extend_from_slice(&piece);
            while let Some(frame) = words::take_frame(&mut received) {
                match frame {
                    Frame::Message(message) => {
                        let id = talk.unanswered.borrow_mut().pop_front();
                        let id = id.expect("an acknowledgement of nothing");
                        self.acked(id, words::ack_proto(&message));
                    }
                    Frame::Terminal(status, text) => {
                        talk.is_over.set(true);
                        self.hear_failure(talk, status, &text);
                        let end = self.line.chunk(head).await?;
                        assert!(end.is_none(), "something follows the last frame");
                        return Ok(Ended::Refused);
                    }
                }
            }
        }
        assert!(received.is_empty(), "the session ended within a frame");
        Ok(Ended::Well)
    }

    /// The first failure is the last answer; nothing behind it was looked at.
    fn hear_failure(&mut self, talk: &Talk, status: u16, text: &str) {
        self.tell(&format!("is told {status} {text}"));
        let left = talk.unanswered.take();
        let mut ledger = self.ledger.borrow_mut();
        if status == 400 {
            assert!(talk.is_spoilt.get(), "a frame was not understood: {text}");
            assert!(left.is_empty(), "{left:?} were sent before the frame that is none");
            ledger.reached.frames_refused += 1;
            return;
        }
        ledger.reached.sessions_refused += 1;
        if !self.may_be_there(status) {
            left.into_iter().for_each(|id| ledger.refused(id));
        }
        drop(ledger);
        self.check_refusal(status, text);
    }
}
