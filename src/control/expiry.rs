//! Which batches of a stream are past their retention: one rule for reads and for what trims.
//!
//! * A batch is hidden when it arrived before a *floor*: now less the age. Not at the age, but one
//!   millisecond after it, since both times are cut to whole milliseconds and nothing goes early.
//! * The floor only rises while the process lives, and the log keeps it when the age changes. What
//!   a reader saw hidden is kept as a trim point before it is shown (`shard::read::passed`). So
//!   what was seen to go stays gone, whatever happens to the age, the clock or the process.
//! * The batches of a stream never arrive earlier than those before them, even when the clock steps
//!   back. So what is hidden is the front of the stream, and a batch is never hidden at birth.

use std::cell::Cell;

use super::stream::Stream;
use crate::types::Retention;

/// Batches that arrived before this are past their retention now; all times are milliseconds since
/// the Unix epoch.
#[must_use]
pub fn floor_ms(retention: Retention, now_ms: u64) -> u64 {
    match retention {
        Retention::Infinite => 0,
        Retention::AgeSecs(age_secs) => now_ms.saturating_sub(age_secs.saturating_mul(1000)),
    }
}

/// Whether a span of time is surely over when only whole milliseconds of its ends are known.
#[must_use]
pub fn is_over(since_ms: u64, now_ms: u64, secs: u64) -> bool {
    now_ms.saturating_sub(since_ms) > secs.saturating_mul(1000)
}

/// What a stream remembers of the times of its batches.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    hidden_before_ms: Cell<u64>,
    /// When its last batch arrived, durable or not, as far as is known.
    last_ms: Cell<u64>,
}

impl Expiry {
    /// Takes note of a batch, or of one that is found in the log.
    pub(super) fn arrived(&self, arrival_ms: u64) {
        self.last_ms.set(self.last_ms.get().max(arrival_ms));
    }

    /// What arrived before `floor_ms` is hidden from now on.
    pub(super) fn hide(&self, floor_ms: u64) {
        self.hidden_before_ms.set(self.hidden_before_ms.get().max(floor_ms));
    }
}

impl Stream {
    /// When a batch that is accepted now arrives: not before those that are there, nor so early
    /// that it would be hidden.
    pub fn arrive(&self, now_ms: u64) -> u64 {
        let Expiry { hidden_before_ms, last_ms } = &self.expiry;
        let arrival_ms = now_ms.max(last_ms.get()).max(hidden_before_ms.get());
        self.expiry.arrived(arrival_ms);
        arrival_ms
    }

    /// Hides what is past its retention now.
    pub fn hide_expired(&self, now_ms: u64) {
        self.expiry.hide(floor_ms(self.retention(), now_ms));
    }

    /// Batches that arrived before this are hidden, milliseconds since the Unix epoch.
    #[must_use]
    pub fn hidden_before_ms(&self) -> u64 {
        self.expiry.hidden_before_ms.get()
    }

    /// The first record that may not be hidden, as far as the index tells; those before it are.
    #[must_use]
    pub fn hidden_to(&self) -> u64 {
        let floor_ms = self.hidden_before_ms();
        if self.last_arrival_ms.get() < floor_ms {
            return self.durable.get().tail.seq_num;
        }
        self.index().arrived_before(floor_ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::StreamRecord;

    #[test]
    fn the_floor_is_the_age_before_now() {
        use Retention::{AgeSecs, Infinite};
        let cases = [
            (Infinite, u64::MAX, 0),
            (AgeSecs(5), 7_000, 2_000),
            (AgeSecs(5), 5_000, 0),
            (AgeSecs(5), 4_999, 0),
            (AgeSecs(u64::MAX), u64::MAX, 0),
        ];
        for (retention, now_ms, floor) in cases {
            assert_eq!(floor_ms(retention, now_ms), floor, "{retention:?} at {now_ms}");
        }
    }

    #[test]
    fn a_time_is_over_only_when_whole_milliseconds_prove_it() {
        // Begun at 10.9 ms and looked at in 1010.0 ms: 999.1 ms, whatever the whole numbers say.
        for (now_ms, over) in [(0, false), (1009, false), (1010, false), (1011, true)] {
            assert_eq!(is_over(10, now_ms, 1), over, "at {now_ms}");
        }
        assert!(!is_over(0, u64::MAX, u64::MAX), "too long to tell");
    }

    fn stream(hidden_before_ms: Option<u64>) -> Stream {
        let record = r#"{"id":1,"basin":"b","name":"s","created_us":1,"config":{}}"#;
        let record = serde_json::from_str::<StreamRecord>(record).expect("a record");
        Stream::new(StreamRecord { hidden_before_ms, ..record }, 0)
    }

    #[test]
    fn batches_arrive_in_order_and_unhidden_whatever_the_clock_does() {
        let stream = stream(None);
        for (now_ms, arrival_ms) in [(100, 100), (70, 100), (101, 101)] {
            assert_eq!(stream.arrive(now_ms), arrival_ms, "at {now_ms}");
        }
        stream.expiry.hide(200);
        stream.expiry.hide(150);
        assert_eq!(stream.hidden_before_ms(), 200, "it only rises");
        assert_eq!(stream.arrive(170), 200, "not hidden at birth");
    }

    #[test]
    fn what_the_log_says_is_hidden_is_hidden() {
        let stream = stream(Some(300));
        assert_eq!(stream.hidden_before_ms(), 300);
        stream.set_record(StreamRecord { hidden_before_ms: Some(400), ..stream.record() });
        stream.set_record(StreamRecord { hidden_before_ms: None, ..stream.record() });
        assert_eq!(stream.hidden_before_ms(), 400);
    }
}
