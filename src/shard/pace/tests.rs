use std::cell::RefCell;
use std::convert::Infallible;

use futures_util::future::{self as futures, Either};

use super::*;
use crate::io::sim::{SimIo, SimRuntime};

/// Less than a piece at the end.
const SENT_BYTES: usize = 10 * PIECE_BYTES + 1;
/// The rest after a whole piece that took no time to hand over.
const PIECE_REST_US: u64 = RESTS * (PIECE_BYTES as u64 / BYTES_PER_US);

/// A piece that was sent: when, by whom, which.
type Sent = (u64, usize, Range<usize>);

/// Has so many senders send all at once; `appends` says, as of a time, how many groups became
/// durable. Returns what was sent, in order.
fn sent_by(senders: usize, appends: impl Fn(u64) -> Option<u64>) -> Vec<Sent> {
    let io = SimIo::new(1);
    let (pace, sent) = (Pace::default(), RefCell::new(Vec::new()));
    SimRuntime::new(&io).block_on(futures::join_all((0..senders).map(|sender| {
        let (io, pace, sent) = (&io, &pace, &sent);
        let appends = &appends;
        async move {
            let each = async |piece| {
                sent.borrow_mut().push((io.now_us(), sender, piece));
                Ok::<(), Infallible>(())
            };
            let Ok(()) = pace.send(io, || appends(io.now_us()), SENT_BYTES, each).await;
        }
    })));
    sent.into_inner()
}

/// All of each sender's bytes were sent, in order.
fn assert_whole(sent: &[Sent], senders: usize) {
    for sender in 0..senders {
        let mut next = 0;
        for (_, _, piece) in sent.iter().filter(|(_, by, _)| *by == sender) {
            assert_eq!(piece.start, next);
            assert!(!piece.is_empty());
            next = piece.end;
        }
        assert_eq!(next, SENT_BYTES);
    }
}

#[test]
fn without_appends_nobody_rests() {
    let sent = sent_by(3, |_| None);
    assert_whole(&sent, 3);
    assert!(sent.iter().all(|(at_us, _, piece)| *at_us == 0 && piece.len() == SENT_BYTES));
}

#[test]
fn with_appends_all_senders_together_rest_after_each_piece() {
    for senders in [1, 8] {
        let sent = sent_by(senders, Some);
        assert_whole(&sent, senders);
        assert!(sent.iter().all(|(.., piece)| piece.len() <= PIECE_BYTES), "{sent:?}");
        for two in sent.windows(2) {
            let (rest_us, piece) = (two[1].0 - two[0].0, &two[0].2);
            let least_us = if piece.len() == PIECE_BYTES { PIECE_REST_US } else { 0 };
            assert!(rest_us >= least_us && rest_us <= PIECE_REST_US, "{two:?}");
        }
        // In turn, once all have come: the first one has sent a piece before that.
        for (at, (_, by, _)) in sent.iter().skip(1).take(8 * senders).enumerate() {
            assert_eq!(*by, at % senders, "{sent:?}");
        }
    }
}

/// However short a rest is for a core that does not get on: a group of appends comes first.
#[test]
fn a_group_of_appends_comes_between_two_pieces() {
    const GROUP_US: u64 = 3_000;
    let sent = sent_by(4, |now_us| Some(now_us / GROUP_US));
    assert_whole(&sent, 4);
    let groups: Vec<_> = sent.iter().map(|(at_us, ..)| at_us / GROUP_US).collect();
    assert!(groups.windows(2).all(|two| two[0] + 1 == two[1]), "{groups:?}");
}

/// Readers get on when appends do not.
#[test]
fn no_rest_is_longer_than_the_limit() {
    let sent = sent_by(2, |_| Some(7));
    assert_whole(&sent, 2);
    for two in sent.windows(2) {
        let rest_us = two[1].0 - two[0].0;
        assert!((REST_US_MAX..REST_US_MAX + LOOK_US).contains(&rest_us), "{two:?}");
    }
}

#[test]
fn when_appends_end_so_do_rests() {
    let last_us = 3 * PIECE_REST_US;
    let sent = sent_by(1, |now_us| (now_us < last_us).then_some(now_us));
    assert_whole(&sent, 1);
    // Three pieces, and then the rest of it in one.
    let (end_us, _, piece) = sent.last().expect("some");
    assert!((last_us..=last_us + PIECE_REST_US).contains(end_us), "{sent:?}");
    assert_eq!((sent.len(), piece.start), (4, 3 * PIECE_BYTES));
}

#[test]
fn who_waits_for_its_peer_keeps_nobody_from_a_turn() {
    let io = SimIo::new(1);
    let pace = Pace::default();
    SimRuntime::new(&io).block_on(async {
        let stuck =
            pace.send(&io, || Some(io.now_us()), SENT_BYTES, async |_| futures::pending().await);
        let other =
            pace.send(&io, || Some(io.now_us()), SENT_BYTES, async |_| Ok::<(), Infallible>(()));
        match futures::select(pin!(stuck), pin!(other)).await {
            Either::Right((Ok(()), _)) => {}
            Either::Left((ended, _)) => {
                let Ok(()): Result<(), Infallible> = ended;
                panic!("it was stuck");
            }
        }
    });
    // Its wait is no work, and nobody rests for it.
    assert!(io.now_us() <= 11 * PIECE_REST_US, "{} us", io.now_us());
}

#[test]
fn a_turn_is_followed_by_a_rest_as_long_as_the_work_deserves_up_to_a_limit() {
    let io = SimIo::new(1);
    let pace = Pace::default();
    SimRuntime::new(&io).block_on(async {
        for worked_us in [0, 1, 100, REST_US_MAX, 1_000_000] {
            let mut turn = pace.turn(&io, || Some(io.now_us())).await;
            io.sleep_us(worked_us).await;
            let ended_us = io.now_us();
            turn.done();
            drop(turn); // counts once
            drop(pace.turn(&io, || Some(io.now_us())).await);
            let rest_us = io.now_us() - ended_us;
            assert_eq!(rest_us, (RESTS * worked_us).min(REST_US_MAX), "after {worked_us} us");
        }
    });
}

#[test]
fn whoever_gives_up_leaves_the_turn_to_others() {
    let io = SimIo::new(1);
    let pace = Pace::default();
    SimRuntime::new(&io).block_on(async {
        let held = pace.turn(&io, || Some(io.now_us())).await;
        for _ in 0..3 {
            let waiting = pin!(pace.turn(&io, || Some(io.now_us())));
            assert!(matches!(
                futures::select(waiting, pin!(io.sleep_us(5))).await,
                Either::Right(_)
            ));
        }
        drop(held);
        drop(pace.turn(&io, || Some(io.now_us())).await);
    });
}
