//! The rules of one stream: conditions, timestamps, sequence numbers, fencing and trimming.
//!
//! Pure: a state and a batch go in, the next state or a refusal comes out. Nothing here waits,
//! reads a clock or knows what is durable; `shard` keeps one state as accepted and one as durable.
//!
//! Order of checks (S2 specification, section 4.4): fencing token, sequence number, timestamps.
//! A refused batch changes nothing.

#![forbid(unsafe_code)]

use crate::planted::{self, Bug};
use crate::types::{
    AppendInput, Command, FencingToken, Refusal, StreamConfig, StreamPosition, TimestampingMode,
};

/// What a stream's rules depend on; everything else about it is its records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// Next sequence number to assign, and the last record's timestamp.
    pub tail: StreamPosition,
    /// Token that an append which names one must name.
    pub fencing_token: FencingToken,
    /// First sequence number still readable.
    pub trim_point: u64,
}

/// How a stream's records get their timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamping {
    /// Whose timestamp counts.
    pub mode: TimestampingMode,
    /// Whether a client's timestamp may lie in the future.
    pub uncapped: bool,
}

impl From<&StreamConfig> for Timestamping {
    fn from(config: &StreamConfig) -> Self {
        Self { mode: config.timestamping_mode, uncapped: config.timestamping_uncapped }
    }
}

impl State {
    /// Judges `batch` against this state and returns the state after it.
    ///
    /// * Units: `now_ms` and timestamps are milliseconds since the Unix epoch.
    /// * Shape: `timestamps` is cleared and holds one timestamp per record on success.
    /// * Errors: [`Refusal::FencingTokenMismatch`], [`Refusal::SeqNumMismatch`] or
    ///   [`Refusal::Invalid`] (a required timestamp is missing, or the stream is full).
    /// * Source: S2 specification, sections 4.3 to 4.5.
    pub fn judge(
        &self,
        batch: &AppendInput,
        timestamping: Timestamping,
        now_ms: u64,
        timestamps: &mut Vec<u64>,
    ) -> Result<Self, Refusal> {
        if let Some(token) = &batch.fencing_token
            && *token != self.fencing_token
            && !(planted::has(Bug::FencePassed) && batch.match_seq_num.is_some())
        {
            return Err(Refusal::FencingTokenMismatch(self.fencing_token));
        }
        if let Some(seq_num) = batch.match_seq_num
            && seq_num != self.tail.seq_num
        {
            return Err(Refusal::SeqNumMismatch(self.tail.seq_num));
        }
        let end = self.tail.seq_num.checked_add(batch.records.len() as u64);
        let end = end.ok_or_else(|| Refusal::Invalid("the stream is full".to_owned()))?;
        let timestamp = self.assign_timestamps(batch, timestamping, now_ms, timestamps)?;

        let mut after = Self { tail: StreamPosition { seq_num: end, timestamp }, ..*self };
        for (record, seq_num) in batch.records.iter().zip(self.tail.seq_num..) {
            if let Some(command) = record.command {
                after.apply(command, seq_num);
            }
        }
        Ok(after)
    }

    /// Does what a command record asks; `own_seq_num` is that record's number. A trim goes at most
    /// past itself, and never back.
    pub fn apply(&mut self, command: Command, own_seq_num: u64) {
        match command {
            Command::Fence(token) => self.fencing_token = token,
            Command::Trim(keep_from) => {
                self.trim_point = self.trim_point.max(keep_from.min(own_seq_num + 1));
            }
        }
    }

    /// Fills `timestamps`; returns the last one.
    fn assign_timestamps(
        &self,
        batch: &AppendInput,
        timestamping: Timestamping,
        now_ms: u64,
        timestamps: &mut Vec<u64>,
    ) -> Result<u64, Refusal> {
        timestamps.clear();
        let mut greatest = self.tail.timestamp;
        for record in &batch.records {
            let base = match (timestamping.mode, record.timestamp) {
                (TimestampingMode::Arrival, _) | (TimestampingMode::ClientPrefer, None) => now_ms,
                (_, Some(timestamp)) => timestamp,
                (TimestampingMode::ClientRequire, None) => {
                    return Err(Refusal::Invalid(
                        "every record of this stream must carry a timestamp".to_owned(),
                    ));
                }
            };
            let capped = if timestamping.uncapped { base } else { base.min(now_ms) };
            let floor = if planted::has(Bug::TimeStepsBack) { 0 } else { greatest };
            greatest = floor.max(capped);
            timestamps.push(greatest);
        }
        Ok(greatest)
    }
}

#[cfg(test)]
mod tests;
