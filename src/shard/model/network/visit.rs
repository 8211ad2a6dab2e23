//! What a client is: one connection, a stream, a manner, and what it does with them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::ledger::{Ledger, Place};
use super::line::{Gone, Head, Line};
use super::words::Ack;
use super::{STREAMS, one_in};
use crate::io::Clock;
use crate::io::sim::{SimIo, Stream as Dice};

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Manner {
    /// As it should.
    Calm,
    /// As it should, and reads little at a time.
    Slow,
    /// Its connection is cut, wherever it is.
    Cut,
    /// It stops sending in the middle of something, and waits for what comes.
    HalfClose,
    /// It is gone without a word.
    Vanish,
    /// It reads nothing for some time.
    Stall,
    /// It ends its body in the middle of a frame.
    ShortFrame,
    /// It sends a frame that holds no message.
    Garbage,
}

impl Manner {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(16) {
            0..6 => Self::Calm,
            6 | 7 => Self::Slow,
            8 | 9 => Self::Cut,
            10 => Self::HalfClose,
            11 | 12 => Self::Vanish,
            13 => Self::Stall,
            14 => Self::ShortFrame,
            _ => Self::Garbage,
        }
    }

    /// Whether its client hears everything that there is to hear.
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Calm | Self::Slow)
    }
}

/// What the clients of one life have in common.
#[derive(Debug, Default)]
pub(super) struct Scene {
    /// The server ends: connections may break off.
    pub(super) is_ending: Cell<bool>,
    /// The disk fails, or has failed: what is refused for that may be there.
    pub(super) is_failing: Cell<bool>,
    /// Clients that may still write.
    pub(super) writers: Cell<usize>,
}

/// A client.
pub(super) struct Visit {
    pub(super) io: SimIo,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    pub(super) scene: Rc<Scene>,
    pub(super) dice: Dice,
    pub(super) line: Line,
    pub(super) stream: usize,
    pub(super) number: u64,
    pub(super) manner: Manner,
    /// How far this client knows the stream to be by its own answers.
    pub(super) own_end: u64,
}

impl Visit {
    pub(super) fn target(&self) -> String {
        format!("/v1/streams/{}/records", STREAMS[self.stream])
    }

    pub(super) fn tell(&self, what: &str) {
        let line =
            format!("{} us: visit {} ({:?}): {what}", self.io.now_us(), self.number, self.manner);
        self.ledger.borrow_mut().lines.push(line);
    }

    /// A pause of any length that the server's patience allows.
    pub(super) async fn pause(&mut self) {
        let us = match self.dice.below(8) {
            0..4 => 0,
            4..7 => self.dice.below(5_000),
            _ => self.dice.below(300_000),
        };
        if us > 0 {
            self.io.sleep_us(us).await;
        }
    }

    /// Draws a batch, with `pending` records of ours before it.
    pub(super) fn draw(&mut self, pending: u64, in_session: bool) -> usize {
        let place = Place { stream: self.stream, visit: self.number, in_session };
        self.ledger.borrow_mut().draw(&mut self.dice, place, pending)
    }

    pub(super) fn acked(&mut self, id: usize, ack: Ack) {
        assert!(ack.start >= self.own_end, "acknowledgements of one client ascend: {ack:?}");
        self.own_end = ack.end;
        self.ledger.borrow_mut().acked(id, ack);
    }

    /// A connection that a client did nothing to may end only with the server.
    pub(super) fn excuse(&self, gone: &Gone) {
        self.tell(&format!("gone: {}", gone.0));
        let excused = !self.manner.is_good() || self.scene.is_ending.get();
        assert!(excused, "visit {} was broken off: {}", self.number, gone.0);
    }

    /// What a refusal may say when nobody did anything wrong but to race.
    pub(super) fn check_refusal(&self, status: u16, text: &str) {
        let draining = status == 503 && text.contains("server_draining");
        assert!(!draining || self.scene.is_ending.get(), "nobody asked it to stop");
        let raced = status == 412 || status == 429;
        let failed = self.may_be_there(status);
        assert!(raced || draining || failed, "visit {} was refused: {status} {text}", self.number);
    }

    /// Whether what was refused so may be there all the same.
    pub(super) fn may_be_there(&self, status: u16) -> bool {
        status == 500 && self.scene.is_failing.get()
    }

    /// Does what the manner asks for, in the middle of `bytes`: sends a part of them that is not
    /// all.
    pub(super) async fn misbehave(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let part = self.dice.index(bytes.len());
        self.tell(&format!("misbehaves behind {part} of {} bytes", bytes.len()));
        self.ledger.borrow_mut().reached.count(self.manner);
        self.line.send(&bytes[..part]).await?;
        if one_in(&mut self.dice, 2) {
            self.pause().await;
        }
        match self.manner {
            Manner::Cut => self.line.cut(),
            Manner::Vanish => self.line.vanish(),
            _ => self.line.half_close(),
        }
        Ok(())
    }

    /// The same client, for one of the two directions.
    pub(super) fn part(&mut self, purpose: &str) -> Self {
        Self {
            io: self.io.clone(),
            ledger: Rc::clone(&self.ledger),
            scene: Rc::clone(&self.scene),
            dice: Dice::new(self.dice.next_u64(), purpose),
            line: self.line.clone(),
            ..*self
        }
    }

    /// Reads the answer to a request, and says what it was.
    pub(super) async fn answer(&self) -> Result<(Head, Vec<u8>), Gone> {
        let head = self.line.head().await?;
        let body = self.line.body(&head).await?;
        Ok((head, body))
    }
}
