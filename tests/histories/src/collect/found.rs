//! Appends of unknown outcome that the last read found.
//!
//! Many such appends at once have too many orders to be tried: the content of a stream is one hash
//! in a history, which says that an order was wrong only at the next read. But bodies are random,
//! so a batch that stands at one place of what was read last has taken effect there, and its
//! outcome is known after all: the tail after it. An order that explains the history with this
//! knowledge explains it without as well, because there the append may have had this effect.

use std::collections::BTreeMap;

use crate::event::{Event, Finish, Line, Start};

/// The history in which such appends are successes. They end where their unknown outcome stood:
/// after everything else.
///
/// A batch stays unknown if it stands at several places, or if another append asked for the same
/// records: then it is not known whose they are.
pub fn resolve(lines: &[Line], records: &[u64]) -> Vec<Line> {
    let mut batches = BTreeMap::new();
    let mut askers: BTreeMap<&[u64], usize> = BTreeMap::new();
    for line in lines {
        if let Event::Start(Start::Append(append)) = &line.event {
            batches.insert(line.op_id, append.record_hashes.as_slice());
            *askers.entry(&append.record_hashes).or_insert(0) += 1;
        }
    }
    let resolved = |line: &Line| {
        let Event::Finish(Finish::AppendIndefiniteFailure) = line.event else { return None };
        let batch = *batches.get(&line.op_id)?;
        if batch.is_empty() || askers.get(batch) != Some(&1) {
            return None;
        }
        let mut places = records.windows(batch.len()).enumerate().filter(|(_, at)| *at == batch);
        let (first, _) = places.next()?;
        let tail = (first + batch.len()) as u64;
        let event = Event::Finish(Finish::AppendSuccess { tail });
        places.next().is_none().then_some(Line { event, ..line.clone() })
    };
    lines.iter().map(|line| resolved(line).unwrap_or_else(|| line.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Append;

    /// The outcomes after appends of these batches, all unknown.
    fn outcomes(batches: &[&[u64]], records: &[u64]) -> Vec<Option<u64>> {
        let mut lines = Vec::new();
        for (number, batch) in (0..).zip(batches) {
            let append = Append {
                num_records: batch.len() as u64,
                record_hashes: batch.to_vec(),
                set_fencing_token: None,
                fencing_token: None,
                match_seq_num: None,
            };
            let event = Event::Start(Start::Append(append));
            lines.push(Line { event, client_id: number, op_id: number });
        }
        for number in (0..).take(batches.len()) {
            let event = Event::Finish(Finish::AppendIndefiniteFailure);
            lines.push(Line { event, client_id: number, op_id: number });
        }
        let outcome = |line: &Line| match line.event {
            Event::Finish(Finish::AppendSuccess { tail }) => Some(tail),
            _ => None,
        };
        resolve(&lines, records)[batches.len()..].iter().map(outcome).collect()
    }

    #[test]
    fn a_batch_that_stands_whole_at_one_place_was_appended_there() {
        assert_eq!(outcomes(&[&[1, 2], &[3]], &[9, 3, 1, 2, 8]), [Some(4), Some(2)]);
        assert_eq!(outcomes(&[&[1, 2], &[3]], &[9]), [None, None]);
    }

    #[test]
    fn what_is_torn_repeated_or_asked_for_twice_stays_unknown() {
        assert_eq!(outcomes(&[&[1, 2]], &[1, 9, 2]), [None]);
        assert_eq!(outcomes(&[&[1]], &[1, 1]), [None]);
        assert_eq!(outcomes(&[&[1], &[1]], &[1]), [None, None]);
    }
}
