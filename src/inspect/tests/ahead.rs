//! Checkpoints whose streams were saved while the log went on.

use super::*;
use crate::log::checkpoint::CheckpointFacts;
use crate::log::entry::Trimmed;
use crate::types::StreamId;

const MORE_FENCE: &[Rec] = &[Rec::Command("fence", b"other-token")];

/// Writes a checkpoint that stands before the appends in `meanwhile` and has streams as they are
/// after them; `edit` changes what it says of itself.
async fn checkpoint_ahead(
    log: &Log,
    meanwhile: impl AsyncFnOnce(&Log),
    edit: impl FnOnce(&mut CheckpointFacts),
) {
    let place = log.facts();
    meanwhile(log).await;
    let mut facts = CheckpointFacts { end_frame_seq: log.facts().end_frame_seq, ..place };
    edit(&mut facts);
    log.checkpoint_of(facts).await;
}

async fn append_some(log: &Log) {
    log.append(1, DATA).await;
    log.append(1, MORE_FENCE).await;
    log.append(2, DATA).await;
}

#[test]
fn streams_may_be_later_than_the_place() {
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        checkpoint_ahead(&log, append_some, |_| {}).await;
        log.append(1, DATA).await;
        log.append(2, FENCE).await;
    });
    let (whole, text) = verify_on(&sample);
    assert!(whole, "{text}");
    // And so when the log goes on nowhere.
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        checkpoint_ahead(&log, append_some, |_| {}).await;
    });
    let (whole, text) = verify_on(&sample);
    assert!(whole, "{text}");
}

#[test]
fn streams_may_not_be_later_than_where_all_were_saved() {
    for later in [false, true] {
        let sample = Sample::new(|log, _| async move {
            write_start(&log).await;
            // Stream 2 got its last batch in the frame before.
            checkpoint_ahead(&log, append_some, |facts| facts.end_frame_seq -= 1).await;
            if later {
                log.append(2, DATA).await;
            }
        });
        let reason = "stream 2: tail is 4 here and 2 in the log";
        assert_refused(verify_on(&sample), reason);
    }
}

#[test]
fn a_later_state_must_have_been_that_of_the_log_at_some_place() {
    let cases: &[(usize, u8, &str)] = &[
        (8, 5, "stream 1: tail is 5 here and 6 in the log"),
        (8, 8, "stream 1: tail is 8 here and 7 in the log"),
        (16, 1, "stream 1: tail's timestamp differs"),
        (24, 2, "stream 1: trim point differs"),
        (36, b'S', "stream 1: fencing token differs"),
    ];
    for (at, byte, reason) in cases {
        let sample = Sample::new(|log, _| async move {
            write_start(&log).await;
            let place = log.facts();
            append_some(&log).await;
            let end_frame_seq = log.facts().end_frame_seq;
            log.checkpoint_edited(CheckpointFacts { end_frame_seq, ..place }, |state| {
                assert_ne!(state[*at], *byte);
                state[*at] = *byte;
            })
            .await;
        });
        assert_refused(verify_on(&sample), reason);
    }
}

#[test]
fn a_log_that_ends_before_all_was_saved_is_reported() {
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        checkpoint_ahead(&log, append_some, |facts| facts.end_frame_seq += 1).await;
    });
    assert_refused(verify_on(&sample), "knows of frame 10, but the log ends before frame 10");
}

/// What a checkpoint is whose state of stream 1 is trimmed to its tail, which is 4, by a trim that
/// the log has where `write` puts it: 3 is what its batches say.
fn trimmed_to_the_tail(write: impl AsyncFn(&Log, When)) -> (bool, String) {
    let sample = Sample::new(|log, _| async move {
        write_start(&log).await;
        write(&log, When::BeforeThePlace).await;
        let place = log.facts();
        write(&log, When::WhileSaved).await;
        let end_frame_seq = log.facts().end_frame_seq;
        log.checkpoint_edited(CheckpointFacts { end_frame_seq, ..place }, |state| {
            assert_eq!((state[8], state[24]), (4, 3), "tail and trim point");
            state[24] = 4;
        })
        .await;
        write(&log, When::AfterAllWereSaved).await;
        log.append(1, DATA).await;
        write(&log, When::AfterTheNextBatch).await;
    });
    verify_on(&sample)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    BeforeThePlace,
    WhileSaved,
    AfterAllWereSaved,
    AfterTheNextBatch,
}

#[test]
fn a_saved_trim_point_must_be_one_that_the_log_has_by_then() {
    let cases = [
        (When::BeforeThePlace, true),
        (When::WhileSaved, true),
        (When::AfterAllWereSaved, false),
        (When::AfterTheNextBatch, false),
    ];
    for (when, is_right) in cases {
        let judged = trimmed_to_the_tail(async |log, now| {
            if now == when {
                let trimmed = Trimmed { stream: StreamId(1), trim_point: 4, at_ms: 1 };
                log.metadata(Kind::Trimmed, &trimmed.encode()).await;
            } else {
                log.append(2, DATA).await;
            }
        });
        if is_right {
            assert!(judged.0, "{when:?}: {}", judged.1);
        } else {
            assert_refused(judged, "stream 1: trim point differs from the log's");
        }
    }
    let without = trimmed_to_the_tail(async |_, _| {});
    assert_refused(without, "stream 1: trim point differs from the log's");
}

#[test]
fn a_trim_beyond_the_tail_is_reported() {
    let beyond = verify_after(|log| async move {
        let trimmed = Trimmed { stream: StreamId(1), trim_point: 5, at_ms: 1 };
        log.metadata(Kind::Trimmed, &trimmed.encode()).await;
    });
    assert_refused(beyond, "stream 1: trim point beyond the tail");
}
