//! The order in which a step's batches came, found from their answers and from what can be read.
//!
//! Batches tile the numbers between the tail before and the tail after. Where an acknowledged one
//! lies its answer says. The rest are batches whose answer never came, each wholly there or not
//! at all; what can be read of one tells which it is. Where nothing can be read any more, because
//! it was trimmed or has expired, what it did stays open: then less can be checked, and is not.

use std::collections::BTreeMap;

use super::act::{Outcome, Seen, Shown};
use super::plan::Sent;
use super::truth::{Append, Known};
use crate::types::{Ack, Command, FencingToken, Refusal, StreamPosition};

/// A record that found its place in this step.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) sent: &'a Sent,
    /// As it can be read, if it can.
    pub(super) shown: Option<&'a Shown>,
    /// Bounds of its arrival, milliseconds since the Unix epoch.
    pub(super) arrived_ms: (u64, u64),
}

impl Placed<'_> {
    /// Whether this is how a read shows it, but for its timestamp.
    pub(super) fn is(&self, shown: &Shown) -> bool {
        is(self.sent, shown)
    }
}

fn is(sent: &Sent, shown: &Shown) -> bool {
    sent.headers == shown.headers && String::from_utf8_lossy(&sent.body) == *shown.body
}

/// What a step's appends did.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) placed: BTreeMap<u64, Placed<'a>>,
    /// Commands moved the trim point here.
    pub(super) trimmed: u64,
    /// Commands that nobody can see may have moved it here.
    pub(super) may_be_trimmed: u64,
    /// Some of the numbers hold nobody knows what.
    pub(super) hidden: bool,
    /// Batches without an answer that turned out to be there, and not to be there.
    pub(super) unanswered: (u64, u64),
    /// Where batches began and ended, with the token from there on if it is known.
    states: Vec<(u64, Option<FencingToken>)>,
    /// The last record's timestamp, if it is known.
    timestamp: Option<u64>,
    shown: BTreeMap<u64, &'a Shown>,
    seen: &'a Seen,
    name: &'a str,
}

impl<'a> Order<'a> {
    /// Finds the order, and checks each batch against the stream as it then was.
    pub(super) fn find(
        name: &'a str,
        before: &Known,
        appends: &[Append<'a>],
        seen: &'a Seen,
    ) -> Self {
        let mut order = Self {
            placed: BTreeMap::new(),
            trimmed: before.trimmed,
            may_be_trimmed: 0,
            hidden: false,
            unanswered: (0, 0),
            states: vec![(before.tail.seq_num, Some(before.token))],
            timestamp: Some(before.tail.timestamp),
            shown: seen.records.iter().map(|shown| (shown.seq_num, shown)).collect(),
            seen,
            name,
        };
        order.check_unchanged(before);
        let mut acked = order.acked(before.tail, appends);
        let mut unknown: Vec<Append<'a>> = appends.to_vec();
        unknown.retain(|append| matches!(append.attempt.outcome, Outcome::Unknown));
        let mut at = before.tail.seq_num;
        while at < seen.tail.seq_num {
            at = match acked.remove(&at) {
                Some((append, ack)) => order.place(at, append, Some(ack)),
                None => {
                    let next = acked.first_key_value().map_or(seen.tail.seq_num, |(at, _)| *at);
                    order.place_unknown(at, next, &mut unknown)
                }
            };
        }
        assert!(acked.is_empty(), "{name}: acknowledged, and not there: {acked:?}");
        order.unanswered.1 = unknown.len() as u64;
        order.check_end(&unknown);
        appends.iter().for_each(|append| order.check_refusal(append));
        order
    }

    /// What was there before reads as it did.
    fn check_unchanged(&self, before: &Known) {
        let (name, tail, now) = (self.name, before.tail, self.seen.tail);
        assert!(now.seq_num >= tail.seq_num, "{name}: the tail went back from {tail:?} to {now:?}");
        for shown in self.seen.records.iter().take_while(|shown| shown.seq_num < tail.seq_num) {
            assert!(shown.seq_num >= before.first, "{name}: {} is back", shown.seq_num);
            let held = before.records.get(&shown.seq_num);
            let is_known = held.is_some_and(|held| held.is(shown));
            assert!(is_known, "{name}: {held:?} reads {shown:?}");
        }
    }

    /// The acknowledged batches by where they begin.
    fn acked(
        &self,
        tail: StreamPosition,
        appends: &[Append<'a>],
    ) -> BTreeMap<u64, (Append<'a>, Ack)> {
        let mut acked = BTreeMap::new();
        for append in appends {
            let Outcome::Acked(ack) = append.attempt.outcome else { continue };
            let len = append.batch.records.len() as u64;
            let (name, end) = (self.name, ack.end.seq_num);
            assert_eq!(end, ack.start.seq_num + len, "{name}: {ack:?}");
            assert!(ack.start.seq_num >= tail.seq_num, "{name}: over what was there: {ack:?}");
            assert!(ack.tail.seq_num >= end, "{name}: {ack:?}");
            let lost = ack.tail.seq_num > self.seen.tail.seq_num;
            assert!(!lost, "{name}: acknowledged, and not there: {ack:?}, {:?}", self.seen.tail);
            let twice = acked.insert(ack.start.seq_num, (*append, ack));
            assert!(twice.is_none(), "{name}: two acknowledgements of one place: {ack:?}");
        }
        acked
    }

    /// Finds what lies at `at`, before the next acknowledged batch; returns where to go on.
    fn place_unknown(&mut self, at: u64, next: u64, unknown: &mut Vec<Append<'a>>) -> u64 {
        let readable = at.max(self.seen.first());
        if readable >= next {
            self.hide(next, unknown);
            return next;
        }
        let found = unknown.iter().enumerate().find_map(|(index, append)| {
            let mut starts = (at..=readable).filter(|start| self.reads(*start, next, append));
            starts.next_back().map(|start| (index, start))
        });
        let Some((index, start)) = found else {
            panic!("{}: nobody sent what is there: {:?}", self.name, self.shown[&readable]);
        };
        if start > at {
            self.hide(start, unknown);
        }
        let append = unknown.remove(index);
        self.unanswered.0 += 1;
        self.place(start, append, None)
    }

    /// Whether what can be read from `start` on, before `next`, is this whole batch.
    fn reads(&self, start: u64, next: u64, append: &Append<'_>) -> bool {
        let end = start + append.batch.records.len() as u64;
        let readable = start.max(self.seen.first())..end;
        let mut records = (start..).zip(&append.batch.records);
        !readable.is_empty()
            && end <= next
            && records.all(|(at, sent)| self.shown.get(&at).is_none_or(|shown| is(sent, shown)))
    }

    /// Goes on at `to`, over what cannot be read any more: some of the `unknown`.
    fn hide(&mut self, to: u64, unknown: &[Append<'a>]) {
        let (at, _) = *self.states.last().expect("begins with one");
        let count: usize = unknown.iter().map(|append| append.batch.records.len()).sum();
        assert!(to - at <= count as u64, "{}: nobody sent {at} to {to}", self.name);
        for sent in unknown.iter().flat_map(|append| &append.batch.records) {
            if let Some(Command::Trim(keep_from)) = sent.command {
                self.may_be_trimmed = self.may_be_trimmed.max(keep_from.min(to));
            }
        }
        self.hidden = true;
        self.timestamp = None;
        self.states.push((to, None));
    }

    /// Puts a batch where it lies and judges it there; returns where it ends.
    fn place(&mut self, start: u64, append: Append<'a>, ack: Option<Ack>) -> u64 {
        let Append { batch, attempt } = append;
        let (name, (_, token)) = (self.name, *self.states.last().expect("begins with one"));
        let matches = batch.match_seq_num.is_none_or(|seq_num| seq_num == start);
        assert!(matches, "{name}: {start} is not what was to match: {batch:?}");
        let fenced = batch.token.zip(token).is_some_and(|(named, token)| named != token);
        assert!(!fenced, "{name}: the token was {token:?}: {batch:?}");
        let ends_ms = if ack.is_some() { attempt.to_ms } else { self.seen.high_from_ms };
        let arrived_ms = (attempt.from_ms, ends_ms);
        let mut token = token;
        for (at, sent) in (start..).zip(&batch.records) {
            let shown = self.shown.get(&at).copied();
            self.timestamp = self.timestamp_of(sent, shown, arrived_ms);
            match sent.command {
                Some(Command::Fence(new)) => token = Some(new),
                Some(Command::Trim(keep_from)) => {
                    self.trimmed = self.trimmed.max(keep_from.min(at + 1));
                }
                None => {}
            }
            if let (Some(ack), Some(shown)) = (ack, shown) {
                let last = at + 1 == ack.end.seq_num;
                let starts = at != start || shown.timestamp == ack.start.timestamp;
                let ends = !last || shown.timestamp == ack.end.timestamp;
                assert!(is(sent, shown), "{name}: {sent:?} reads {shown:?}");
                assert!(starts && ends, "{name}: {ack:?} reads {shown:?}");
            }
            self.placed.insert(at, Placed { sent, shown, arrived_ms });
        }
        if let Some(ack) = ack {
            self.timestamp = Some(ack.end.timestamp);
        }
        let end = start + batch.records.len() as u64;
        self.states.push((end, token));
        end
    }

    /// Checks a record's timestamp against the one before, the client's and its arrival.
    fn timestamp_of(
        &self,
        sent: &Sent,
        shown: Option<&Shown>,
        arrived_ms: (u64, u64),
    ) -> Option<u64> {
        let timestamp = shown?.timestamp;
        if let Some(before) = self.timestamp {
            let bound = |arrived: u64| before.max(sent.client_ms.unwrap_or(u64::MAX).min(arrived));
            let (least, most) = (bound(arrived_ms.0), bound(arrived_ms.1));
            let fits = (least..=most).contains(&timestamp);
            assert!(fits, "{}: not in {least}..={most}: {shown:?}", self.name);
        }
        Some(timestamp)
    }

    fn check_end(&mut self, unknown: &[Append<'_>]) {
        let (name, seen) = (self.name, self.seen);
        let (_, token) = *self.states.last().expect("begins with one");
        self.may_be_trimmed = self.may_be_trimmed.max(self.trimmed);
        if let Some(timestamp) = self.timestamp {
            assert_eq!(seen.tail.timestamp, timestamp, "{name}: the tail's");
        }
        let hidden = unknown.iter().flat_map(|append| &append.batch.records);
        let open = || {
            let tokens = self.states.iter().filter_map(|(_, token)| *token);
            tokens.chain(hidden.filter_map(|sent| match sent.command {
                Some(Command::Fence(token)) => Some(token),
                _ => None,
            }))
        };
        match token {
            Some(token) => assert_eq!(seen.token, token, "{name}: the token"),
            None => assert!(open().any(|t| t == seen.token), "{name}: nobody's token: {seen:?}"),
        }
    }

    /// Checks that a refusal told the truth about some moment of the step.
    fn check_refusal(&self, append: &Append<'_>) {
        let Outcome::Refused(refusal) = &append.attempt.outcome else { return };
        let (name, batch) = (self.name, append.batch);
        let fits = |t: &Option<FencingToken>| match (t, batch.token) {
            (Some(token), Some(named)) => *token == named,
            _ => true,
        };
        let told = match refusal {
            Refusal::SeqNumMismatch(next) => {
                let mut states = self.states.iter();
                let met = states.any(|(at, token)| at == next && fits(token));
                batch.match_seq_num.is_some_and(|seq_num| seq_num != *next)
                    && *next <= self.seen.tail.seq_num
                    && (met || self.hidden)
            }
            Refusal::FencingTokenMismatch(token) => {
                let met = self.states.iter().any(|(_, t)| *t == Some(*token));
                batch.token.is_some_and(|named| named != *token) && (met || self.hidden)
            }
            // Judged by `truth`, as a name; and by `trouble`: there was no room, or no time.
            Refusal::StreamNotFound(_) | Refusal::HotServer(_) | Refusal::RateLimited { .. } => {
                true
            }
            _ => false,
        };
        assert!(told, "{name}: {refusal} was not so: {batch:?}");
    }
}
