//! What a frame's payload holds: every entry, batch and record can be walked through or is refused,
//! and what is walked through is inside the payload.

use thalweg::control::SavedState;
use thalweg::log::entry::{Batch, Entry, Kind, Trimmed, entries};
use thalweg::log::format::FormatError;
use thalweg::types::LogPos;

/// The input is the payload.
pub fn run(data: &[u8]) {
    let mut walked_bytes = 0;
    for entry in entries(data) {
        let Ok(entry) = entry else { return };
        walked_bytes += entry.bytes.len();
        let _judged = read_whole(&entry);
    }
    assert_eq!(walked_bytes, data.len(), "all of it is some entry's");
}

/// Reads everything that an entry says.
///
/// * Errors: [`FormatError`], as whoever replays a log would have it.
pub fn read_whole(entry: &Entry<'_>) -> Result<(), FormatError> {
    match entry.kind {
        Kind::Batch | Kind::Moved => {
            let batch = Batch::of(entry)?;
            let moved = batch.moved_to(LogPos { segment: 1, offset_bytes: 4096 })?;
            assert_eq!(moved.end_seq_num - moved.first_seq_num, u64::from(batch.record_count));
            assert_eq!(moved.end_seq_num, batch.end_seq_num());
            let mut expected = (batch.place.first_seq_num, batch.first_timestamp);
            for record in batch.records() {
                let record = record?;
                assert_eq!(record.seq_num, expected.0);
                assert!(record.timestamp >= expected.1);
                let headers = record.headers().map(|(name, value)| 2 + name.len() + value.len());
                let bytes = 8 + headers.sum::<usize>() + record.body.len();
                match record.sealed {
                    Some(_) => assert_eq!(bytes, 8, "what is encrypted is not seen"),
                    None => assert_eq!(record.metered_bytes, bytes as u64),
                }
                assert!(record.metered_bytes <= 8 + 2 * entry.bytes.len() as u64);
                expected = (record.seq_num + 1, record.timestamp);
            }
            Ok(())
        }
        Kind::Trimmed => Trimmed::of(entry).map(|trimmed| {
            assert_eq!(trimmed.encode(), entry.metadata());
        }),
        Kind::StreamState => SavedState::parse(entry.metadata()).map(|_| ()),
        _ => Ok(()),
    }
}
