//! Reads of a whole stream and questions for its tail.

use futures_util::StreamExt;
use s2_sdk::S2Stream;
use s2_sdk::error::{ReadError, ReadSessionError};
use s2_sdk::types::{
    ReadFrom, ReadInput, ReadLimits, ReadSessionConfig, ReadStart, ReadStop, SequencedRecord,
};
use tokio::time::{Instant, timeout_at};

use super::REQUEST_WITHIN;
use crate::event::{Finish, chain, record_hash};

/// What was read so far, from the first record on.
#[derive(Default)]
struct Contents {
    tail: u64,
    hash: u64,
    /// The hash of each record.
    records: Vec<u64>,
}

/// An answer to a read of everything, and the hash of each record that it held.
pub type Read = (Finish, Vec<u64>);

impl Contents {
    /// Takes the next records, or fails if they are not the next: a gap is no answer that the
    /// model could judge, so it is told as wrong content.
    fn add(&mut self, records: &[SequencedRecord]) {
        for record in records {
            let hash = record_hash(&record.body);
            self.records.push(hash);
            self.hash = chain(self.hash, hash);
            if record.seq_num != self.tail {
                // No stream has this hash but by chance of 1 in 2^64.
                self.hash = chain(self.hash, record.seq_num);
            }
            self.tail = record.seq_num + 1;
        }
    }

    fn answer(self) -> Read {
        (Finish::ReadSuccess { tail: self.tail, stream_hash: self.hash }, self.records)
    }
}

/// Asks for the tail.
pub async fn check_tail(stream: &S2Stream) -> Finish {
    match tokio::time::timeout(REQUEST_WITHIN, stream.check_tail()).await {
        Ok(Ok(position)) => Finish::CheckTailSuccess { tail: position.seq_num },
        _ => Finish::CheckTailFailure,
    }
}

/// Reads from the first record to the tail, in one session or page by page.
pub async fn read_all(stream: &S2Stream, is_session: bool) -> Read {
    let deadline = Instant::now() + REQUEST_WITHIN;
    let answer =
        async { if is_session { read_session(stream).await } else { read_pages(stream).await } };
    timeout_at(deadline, answer).await.ok().flatten().unwrap_or((Finish::ReadFailure, Vec::new()))
}

fn from(seq_num: u64) -> ReadInput {
    ReadInput::new().with_start(ReadStart::new().with_from(ReadFrom::SeqNum(seq_num)))
}

/// A session with a bound ends at the tail instead of following it.
async fn read_session(stream: &S2Stream) -> Option<Read> {
    let input =
        from(0).with_stop(ReadStop::new().with_limits(ReadLimits::new().with_count(usize::MAX)));
    let mut contents = Contents::default();
    let mut session = match stream.read_session(input, ReadSessionConfig::new()).await {
        Ok(session) => session,
        Err(ReadSessionError::Read(ReadError::ReadUnwritten(tail))) if tail.seq_num == 0 => {
            return Some(contents.answer());
        }
        Err(_) => return None,
    };
    while let Some(batch) = session.next().await {
        contents.add(&batch.ok()?.records);
    }
    Some(contents.answer())
}

/// The read takes effect with its last page, which says that there is nothing more: everything
/// before it is still what it was.
async fn read_pages(stream: &S2Stream) -> Option<Read> {
    let mut contents = Contents::default();
    loop {
        match stream.read(from(contents.tail)).await {
            Ok(batch) if !batch.records.is_empty() => contents.add(&batch.records),
            Err(ReadError::ReadUnwritten(tail)) if tail.seq_num == contents.tail => {
                return Some(contents.answer());
            }
            // A tail below what was read, or a page of nothing, never explains itself: the model
            // is told the tail, and refuses it together with what was read.
            Err(ReadError::ReadUnwritten(tail)) => {
                let told = Contents { tail: tail.seq_num, ..contents };
                return Some(told.answer());
            }
            Ok(_) => return Some(Contents { tail: u64::MAX, ..contents }.answer()),
            Err(_) => return None,
        }
    }
}
