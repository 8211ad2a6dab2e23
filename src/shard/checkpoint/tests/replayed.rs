//! What replay takes for saved already, and what for damage.

use super::*;
use crate::control::StreamRecord;
use crate::log::checkpoint::CheckpointFacts;
use crate::log::entry::{Entry, entries, metadata_bytes, put_metadata};
use crate::log::format::{FormatError, FrameHeader};
use crate::log::scan::Visitor;
use crate::log::writer::Chain;
use crate::shard::replay::Replay;
use crate::types::{LogPos, StreamPosition};

const POS: LogPos = LogPos { segment: 1, offset_bytes: 4096 };
/// Where the checkpoint stands, and where its streams were all saved.
const PLACE: u64 = 10;
const SAVED: u64 = 20;
/// The tail of the only stream in it.
const TAIL: u64 = 5;

fn visit(replay: &mut Replay, kind: Kind, body: &[u8]) -> Result<(), FormatError> {
    let mut bytes = vec![0; metadata_bytes(body.len())];
    put_metadata(&mut bytes, kind, body);
    let all: Vec<Entry<'_>> = entries(&bytes).collect::<Result<_, _>>().expect("entries");
    all.iter().try_for_each(|entry| replay.entry(POS, entry))
}

/// A replay that has read the checkpoint.
fn replay(end_frame_seq: u64) -> Replay {
    let record = r#"{"id":1,"basin":"test-basin-1","name":"s","created_us":1,"config":{}}"#;
    let record = serde_json::from_str::<StreamRecord>(record).expect("a record");
    let saved = Stream::new(record.clone(), 0);
    let tail = StreamPosition { seq_num: TAIL, timestamp: 1 };
    saved.became_durable(StreamPosition::default(), 1, POS, State { tail, ..State::default() });
    let mut replay = Replay::default();
    let chain = Chain { next_frame_seq: PLACE, prev_crc: 0 };
    let (first_epoch, next_stream_id) = (1, 2);
    replay.checkpoint(&CheckpointFacts {
        pos: POS,
        chain,
        first_epoch,
        next_stream_id,
        end_frame_seq,
    });
    visit(&mut replay, Kind::Stream, &json(&record)).expect("a stream");
    visit(&mut replay, Kind::StreamState, &saved.encode_state()).expect("its state");
    replay
}

/// The bytes of a batch of empty records, each of 8 bytes by the API's measure.
fn batch_entry(first_seq_num: u64, records: u16) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&records.to_le_bytes());
    for number in [1, first_seq_num, 1, 1] {
        body.extend_from_slice(&u64::to_le_bytes(number));
    }
    body.extend_from_slice(&(8 * u32::from(records)).to_le_bytes());
    body.extend((0..records).flat_map(|_| [0, 0, 0]));
    body
}

#[test]
fn a_batch_is_saved_already_or_goes_on_from_the_tail_or_is_damage() {
    const OUT: Result<u64, FormatError> = Err(FormatError::Entry("batch out of sequence"));
    // Where the checkpoint's streams were all saved, the frame, first record and count of the
    // batch, and the tail after it.
    let cases = [
        (SAVED, PLACE, 0, 5, Ok(TAIL)),
        (SAVED, PLACE, 0, 1, Ok(TAIL)),
        (SAVED, PLACE, 3, 2, Ok(TAIL)),
        (SAVED, SAVED - 1, 4, 1, Ok(TAIL)),
        (SAVED, PLACE, 5, 2, Ok(7)),
        (SAVED, SAVED, 5, 2, Ok(7)),
        // Some of it is saved: none is, or all of it.
        (SAVED, PLACE, 4, 2, OUT),
        (SAVED, PLACE, 0, 6, OUT),
        (SAVED, PLACE, 6, 1, OUT),
        // Nothing was saved as late as this frame.
        (SAVED, SAVED, 3, 2, OUT),
        (PLACE, PLACE, 3, 2, OUT),
        (PLACE, PLACE, 5, 2, Ok(7)),
    ];
    for (saved, frame_seq, first, records, expected) in cases {
        let mut replay = replay(saved);
        let header = FrameHeader {
            shard: 0,
            epoch: 1,
            frame_seq,
            durable_seq: 0,
            written_us: 0,
            prev_crc: 0,
            payload_bytes: 0,
            payload_crc: 0,
            entry_count: 1,
        };
        replay.frame(POS, &header);
        let met = visit(&mut replay, Kind::Batch, &batch_entry(first, records));
        let catalog = replay.into_catalog();
        let tail = catalog.stream_by_id(StreamId(1)).expect("there").durable.get().tail.seq_num;
        let case = format!("saved to {saved}: frame {frame_seq}, {records} from {first}");
        assert_eq!(met.map(|()| tail), expected, "{case}");
        // Counted once, whether it was saved or not.
        let counted: Vec<_> = catalog.usage.save().flat_map(|s| s.minutes).collect();
        let wanted = usize::from(expected.is_ok()) * 2;
        assert_eq!(counted.len(), wanted, "{case}: {counted:?}");
    }
}
