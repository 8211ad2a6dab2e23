//! Ownership under faults, by seed: several nodes take one shard over from each other, ship, tidy
//! up, stall and die, while the store loses answers, delays writes and does them twice.
//!
//! What holds in the end, whatever happened:
//! * every piece that was acknowledged is in the log, or in a base, and what follows it follows it;
//! * of two owners, the later one's pieces come after all that the earlier one has acknowledged.

mod faulty;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use self::faulty::{Dice, Faulty};
use super::archive::Archiver;
use super::format::{Body, Place};
use super::link::Link;
use super::local::{Frames, LocalLog};
use super::ownership::{Owned, read_log, survey, take_over};
use super::ship::{Shipper, progress_of};
use super::store::Store;
use super::{Error, Result};
use crate::log::segment::LogFacts;

const ID: u128 = 77;
const FACTS: LogFacts = LogFacts { directory_id: ID, shard: 0, segment_bytes: 1 << 20 };
const NODES: usize = 3;
/// Frames of a segment in these tests.
const SEGMENT_PIECES: u32 = 5;
const PIECE_BYTES: u32 = 4096;
/// How long the nodes go on, in the tests' time.
const LIFE: Duration = Duration::from_secs(300);

/// What was acknowledged: for each frame, its term, and the checksum behind it.
type Acknowledged = Rc<std::cell::RefCell<BTreeMap<u64, (u64, u32)>>>;

/// One life of a node: takes the shard over, and ships until it has lost it.
async fn live(store: Store, node: String, mut dice: Dice, acked: Acknowledged) -> Result<()> {
    let owned = take_over(&store, (ID, 0), &node, || 1, |_| Ok(())).await?;
    let (said, progress) = watch::channel(progress_of(&owned));
    let (_stop, stop) = watch::channel(false);
    let link = Link::new(1 << 20, u64::MAX);
    let local = || LocalLog::new(Path::new("/nowhere"), FACTS);
    let mut archiver = Archiver {
        store: store.clone(),
        link: Arc::clone(&link),
        local: local(),
        owned: owned.clone(),
        progress: progress.clone(),
    };
    let mut place = owned.end.unwrap_or_else(Place::start);
    let interval = Duration::ZERO;
    let term = owned.author.term;
    let mut shipper =
        Shipper { store, link, local: local(), owned, interval, progress: said, stop };
    loop {
        // Now and then an owner stands still, and wakes up as an old one.
        sleep(Duration::from_millis(dice.up_to(if dice.one_in(10) { 20_000 } else { 300 }))).await;
        if place.offset >= (1 + SEGMENT_PIECES) * PIECE_BYTES {
            place = place.rolled();
        }
        let frames = frames_at(place, term, &mut dice);
        place = shipper.ship(frames).await?;
        acked.borrow_mut().insert(place.next_frame_seq - 1, (term, place.prev_crc));
        if dice.one_in(4) {
            let progress = *progress.borrow();
            archiver.archive_as_if(place.segment, progress.segment_from).await?;
        }
    }
}

/// What a frame holds.
fn said(frame_seq: u64, term: u64, crc: u32) -> Bytes {
    let mut bytes = format!("frame {frame_seq} of term {term}, {crc}").into_bytes();
    bytes.resize(PIECE_BYTES as usize, b' ');
    bytes.into()
}

fn frames_at(from: Place, term: u64, dice: &mut Dice) -> Frames {
    let crc = u32::try_from(dice.up_to(u64::from(u32::MAX))).expect("below");
    let (offset, next_frame_seq) = (from.offset + PIECE_BYTES, from.next_frame_seq + 1);
    let to = Place { offset, next_frame_seq, prev_crc: crc, ..from };
    let bytes = said(from.next_frame_seq, term, crc);
    Frames { from, to, bytes, segment_bytes: 1 << 20, written_us: 1 }
}

impl Archiver {
    /// What a base says when all segments before `epoch` are stored.
    async fn archive_as_if(&mut self, epoch: u64, segment_from: u64) -> Result<()> {
        let mut base = self.owned.base.clone();
        let first = base.end.map_or(1, |end| end.segment);
        if first >= epoch {
            return Ok(());
        }
        let term = self.owned.author.term;
        (first..epoch).for_each(|epoch| base.push_segment(epoch, term));
        let frames = (epoch - 1) * u64::from(SEGMENT_PIECES);
        // Which checksum is there does not matter here: the first piece says where it begins.
        let begin = Place { segment: epoch, next_frame_seq: frames + 1, ..Place::start() };
        base.end = Some(begin);
        let unneeded = super::archive::raise_floor(&mut base, 0, segment_from);
        self.replace_base(base, unneeded).await
    }
}

/// What the bucket says in the end.
async fn check(store: &Store, acked: &BTreeMap<u64, (u64, u32)>, what: &str) {
    let standing = survey(store, (ID, 0)).await.expect(what);
    let base = standing.base.map(|(_, base)| base).unwrap_or_default();
    let mut next = base.end.map_or(1, |end| end.next_frame_seq);
    let begin = next;
    let mut term_before = 0;
    for number in base.floor.max(1)..=standing.newest {
        let (head, bytes) = read_log(store, (ID, 0), number).await.expect(what).expect(what);
        assert!(head.term >= term_before, "{what}: object {number} is of an older term");
        term_before = head.term;
        let Body::Piece(piece) = head.body else { continue };
        if piece.next_frame_seq <= begin {
            continue;
        }
        assert_eq!(piece.first_frame_seq, next, "{what}: object {number} does not follow");
        next = piece.next_frame_seq;
        if let Some((term, crc)) = acked.get(&piece.first_frame_seq) {
            assert_eq!((*term, *crc), (head.term, piece.prev_crc), "{what}: object {number}");
            let said = said(piece.first_frame_seq, *term, *crc);
            assert!(bytes == said, "{what}: object {number} has other bytes");
        }
    }
    let last = acked.keys().next_back().copied().unwrap_or(0);
    assert!(next > last, "{what}: frame {last} was acknowledged, and the log ends before {next}");
    let terms: Vec<u64> = acked.values().map(|(term, _)| *term).collect();
    assert!(terms.is_sorted(), "{what}: an older owner acknowledged after a newer one");
}

/// Returns how many frames were acknowledged, by how many terms.
fn run(seed: u64) -> (usize, usize) {
    let what = format!("seed {seed} (THALWEG_BUCKET_SEED={seed} cargo test --lib bucket::tests)");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let acked = Acknowledged::default();
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let faulty = Arc::new(Faulty::new(seed));
        let store = Store::of(Arc::clone(&faulty) as _, object_store::path::Path::default());
        let nodes = (0..NODES).map(|node| {
            let (store, acked, what) = (store.clone(), Rc::clone(&acked), what.clone());
            let mut dice = Dice::new(seed ^ (node as u64 + 1).wrapping_mul(0x9E37_79B9));
            tokio::task::spawn_local(async move {
                for life in 0.. {
                    sleep(Duration::from_millis(dice.up_to(60_000))).await;
                    let name = format!("node-{node}-{life}");
                    let living = live(store.clone(), name, dice.fork(), Rc::clone(&acked));
                    // A life ends by losing the shard, or at any moment.
                    match timeout(Duration::from_millis(dice.up_to(90_000)), living).await {
                        Err(_) | Ok(Err(Error::Lost { .. } | Error::Refused(_))) => {}
                        Ok(other) => panic!("{what}: {other:?}"),
                    }
                }
            })
        });
        let nodes: Vec<_> = nodes.collect();
        sleep(LIFE).await;
        nodes.iter().for_each(tokio::task::JoinHandle::abort);
        for node in nodes {
            if let Err(error) = node.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        // What was on its way arrives.
        sleep(Duration::from_secs(60)).await;
        faulty.heal();
        let acked = acked.borrow().clone();
        check(&store, &acked, &what).await;
    });
    let acked = acked.borrow();
    let terms: std::collections::BTreeSet<u64> = acked.values().map(|(term, _)| *term).collect();
    (acked.len(), terms.len())
}

#[test]
fn owners_follow_each_other_whatever_the_store_does() {
    let seeds = match std::env::var("THALWEG_BUCKET_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..=seed
        }
        Err(_) => {
            let runs =
                std::env::var("THALWEG_BUCKET_RUNS").map_or(20, |runs| runs.parse().unwrap());
            0..=runs - 1
        }
    };
    let (mut frames, mut terms) = (0, 0);
    let runs = seeds.clone().count();
    for seed in seeds {
        let (more_frames, more_terms) = run(seed);
        frames += more_frames;
        terms += more_terms;
    }
    assert!(frames > 50 * runs && terms > 2 * runs, "{frames} frames and {terms} terms only");
}

#[test]
fn who_claims_in_a_hole_owns_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let memory = Arc::new(object_store::memory::InMemory::new());
        let store = Store::of(memory, object_store::path::Path::default());
        let first = take_over(&store, (ID, 0), "a", || 1, |_| Ok(())).await.unwrap();
        assert_eq!((first.next_number, first.author.term, first.ordinal), (2, 1, 1));
        let again = take_over(&store, (ID, 0), "b", || 1, |_| Ok(())).await.unwrap();
        assert_eq!((again.next_number, again.author.term, again.ordinal), (3, 2, 2));
        assert_eq!(again.base.claims, [1, 2]);
        let refused = |_: &super::ownership::Standing| Err(Error::Refused("no".to_owned()));
        assert!(take_over(&store, (ID, 0), "c", || 1, refused).await.is_err());
        // The first owner finds out at its next piece, and at its next base.
        let mut old = old_owner(&store, first);
        let lost = old.archive_as_if(2, 2).await.unwrap_err();
        assert!(matches!(lost, Error::Lost { term: 2, .. }), "{lost}");
    });
}

fn old_owner(store: &Store, owned: Owned) -> Archiver {
    let (_, progress) = watch::channel(progress_of(&owned));
    let local = LocalLog::new(Path::new("/nowhere"), FACTS);
    Archiver { store: store.clone(), link: Link::new(1, 1), local, owned, progress }
}
