//! Lines of a real file as records, dealt round robin over the streams.
//!
//! * Line `i` goes to stream `i % streams`, in file order within each stream.
//! * An append takes up to `records_per_batch` lines and never exceeds the metered size limit.
//! * Memory is bounded: when a stream lags behind the others, they wait for it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result, bail};

use crate::record::{IDENTITY_BYTES, IDENTITY_HEADER};

/// Metered bytes of one append, as the API limits them.
const BATCH_METERED_BYTES_MAX: usize = 1_048_576;
/// Metered bytes of a record besides its body: fixed, plus the identity header when tracked.
const RECORD_OVERHEAD_BYTES: usize = 8 + 2 + IDENTITY_HEADER.len() + IDENTITY_BYTES;
/// Bytes of lines read ahead for streams that lag.
const READ_AHEAD_BYTES_MAX: usize = 64 << 20;

/// What a writer gets when it asks for its next append.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The bodies of the next append.
    Lines(Vec<Vec<u8>>),
    /// Another stream must catch up first: ask again in a moment.
    Later,
    /// The file has no more lines for this stream.
    End,
}

/// A file being dealt out; shared by all load threads.
pub(crate) struct Input {
    dealer: Mutex<Dealer>,
}

struct Dealer {
    reader: Box<dyn BufRead + Send>,
    queues: Vec<VecDeque<Vec<u8>>>,
    queued_bytes: usize,
    next_stream: usize,
    line: u64,
    is_at_end: bool,
    needs_utf8: bool,
}

impl Input {
    /// Opens `path` for dealing to `streams` streams. With `needs_utf8` other lines are refused.
    pub(crate) fn open(path: &Path, streams: u32, needs_utf8: bool) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self::new(Box::new(BufReader::with_capacity(1 << 20, file)), streams, needs_utf8))
    }

    fn new(reader: Box<dyn BufRead + Send>, streams: u32, needs_utf8: bool) -> Self {
        let queues = (0..streams).map(|_| VecDeque::new()).collect();
        let dealer = Dealer {
            reader,
            queues,
            queued_bytes: 0,
            next_stream: 0,
            line: 0,
            is_at_end: false,
            needs_utf8,
        };
        Self { dealer: Mutex::new(dealer) }
    }

    /// The next append of `stream`, of at most `records_max` lines.
    pub(crate) fn next(&self, stream: u32, records_max: u16) -> Result<Next> {
        let mut dealer: MutexGuard<'_, Dealer> = self.dealer.lock().expect("no holder panics");
        dealer.next(stream as usize, usize::from(records_max))
    }
}

impl Dealer {
    fn next(&mut self, stream: usize, records_max: usize) -> Result<Next> {
        while self.queues[stream].len() < records_max && !self.is_at_end {
            if self.queued_bytes >= READ_AHEAD_BYTES_MAX {
                if self.queues[stream].is_empty() {
                    return Ok(Next::Later);
                }
                break;
            }
            self.read_line()?;
        }
        let mut bodies = Vec::new();
        let mut metered_bytes = 0;
        while bodies.len() < records_max
            && let Some(line) = self.queues[stream].front()
        {
            metered_bytes += RECORD_OVERHEAD_BYTES + line.len();
            if metered_bytes > BATCH_METERED_BYTES_MAX && !bodies.is_empty() {
                break;
            }
            self.queued_bytes -= line.len() + 1;
            bodies.extend(self.queues[stream].pop_front());
        }
        Ok(if bodies.is_empty() { Next::End } else { Next::Lines(bodies) })
    }

    fn read_line(&mut self) -> Result<()> {
        let mut line = Vec::new();
        let len = self.reader.read_until(b'\n', &mut line).context("reading the input file")?;
        if len == 0 {
            self.is_at_end = true;
            return Ok(());
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() + RECORD_OVERHEAD_BYTES > BATCH_METERED_BYTES_MAX {
            bail!("line {} is longer than a record may be", self.line);
        }
        if self.needs_utf8 && std::str::from_utf8(&line).is_err() {
            bail!("line {} is not UTF-8: use --format base64", self.line);
        }
        self.queued_bytes += line.len() + 1;
        self.queues[self.next_stream].push_back(line);
        self.next_stream = (self.next_stream + 1) % self.queues.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn input(text: &[u8], streams: u32, needs_utf8: bool) -> Input {
        Input::new(Box::new(Cursor::new(text.to_vec())), streams, needs_utf8)
    }

    fn lines(texts: &[&str]) -> Next {
        Next::Lines(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    #[test]
    fn lines_are_dealt_round_robin_in_file_order() {
        let input = input(b"a\nb\n\nd\ne", 2, true);
        assert_eq!(input.next(1, 10).unwrap(), lines(&["b", "d"]));
        assert_eq!(input.next(0, 2).unwrap(), lines(&["a", ""]));
        assert_eq!(input.next(0, 2).unwrap(), lines(&["e"]));
        assert_eq!(input.next(0, 2).unwrap(), Next::End);
        assert_eq!(input.next(1, 2).unwrap(), Next::End);
    }

    #[test]
    fn an_append_stays_below_the_metered_limit() {
        let text = format!("{0}\n{0}\n{0}\n", "x".repeat(500_000));
        let input = input(text.as_bytes(), 1, true);
        for records in [2, 1] {
            let Next::Lines(bodies) = input.next(0, 1_000).unwrap() else { panic!("lines") };
            assert_eq!(bodies.len(), records);
        }
    }

    #[test]
    fn a_stream_too_far_ahead_waits_for_the_others() {
        let line = format!("{}\n", "x".repeat(1_000_000));
        let input = input(line.repeat(140).as_bytes(), 2, true);
        let mut dealt = 0;
        while let Next::Lines(bodies) = input.next(0, 1).unwrap() {
            dealt += bodies.len();
        }
        assert_eq!(input.next(0, 1).unwrap(), Next::Later, "after {dealt}");
        assert!(matches!(input.next(1, 1).unwrap(), Next::Lines(_)));
        assert!(matches!(input.next(0, 1).unwrap(), Next::Lines(_)), "there is room again");
    }

    #[test]
    fn unusable_lines_are_named() {
        for (text, needs_utf8, message) in [
            (b"ok\n\xff\n".to_vec(), true, "line 2 is not UTF-8"),
            (vec![b'x'; 1_048_577], false, "line 1 is longer"),
        ] {
            let error = input(&text, 1, needs_utf8).next(0, 10).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(input(b"\xff\n", 1, false).next(0, 1).is_ok(), "binary lines go as base64");
    }
}
