//! The decisions of group commit, on plain memory.

use super::*;
use StorageClass::{Express, Standard};

#[derive(Debug)]
struct Memory(Vec<u8>);

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Buffer for Memory {
    fn truncate(&mut self, len_bytes: usize) {
        self.0.truncate(len_bytes);
    }
}

const POLICY: Policy = Policy { standard_wait_us_max: 20_000, standard_bytes_enough: 10_000 };

fn push(gather: &mut Gather<Memory, u64>, len: usize, class: StorageClass, now_us: u64) {
    let put = |out: &mut [u8]| {
        out[..len].fill(7);
        len
    };
    gather.push(|n| Memory(vec![0xAA; n]), len + 9, put, now_us, class, now_us);
}

#[test]
fn an_express_batch_is_written_at_once() {
    let mut gather = Gather::default();
    assert_eq!(gather.step(&POLICY, 0, 0), Step::Idle);
    push(&mut gather, 10, Express, 5);
    assert_eq!(gather.step(&POLICY, 5, 0), Step::Write);
}

#[test]
fn standard_batches_wait_for_company_while_it_comes() {
    let mut gather = Gather::default();
    push(&mut gather, 10, Standard, 1_000);
    assert_eq!(gather.step(&POLICY, 1_000, 0), Step::WaitUntilUs(6_000), "a quarter of the limit");
    push(&mut gather, 10, Standard, 5_000);
    assert_eq!(gather.step(&POLICY, 5_000, 0), Step::WaitUntilUs(10_000), "company extends it");
    push(&mut gather, 10, Standard, 20_000);
    assert_eq!(gather.standard_wait_us(20_500), Some(19_500));
    assert_eq!(gather.step(&POLICY, 20_000, 0), Step::WaitUntilUs(21_000), "but not for ever");
    assert_eq!(gather.step(&POLICY, 21_000, 0), Step::Write);
}

#[test]
fn an_express_batch_cuts_the_wait_of_standard_ones() {
    let mut gather = Gather::default();
    push(&mut gather, 10, Standard, 0);
    push(&mut gather, 10, Express, 1);
    assert_eq!(gather.step(&POLICY, 1, 0), Step::Write);
    assert_eq!(gather.standard_wait_us(1), None);
    assert_eq!(gather.take(usize::MAX).len(), 1);
    push(&mut gather, 10, Standard, 2);
    assert!(matches!(gather.step(&POLICY, 2, 0), Step::WaitUntilUs(_)), "urgency is gone with it");
}

#[test]
fn enough_bytes_or_a_slow_device_end_the_wait() {
    let mut gather = Gather::default();
    push(&mut gather, 10_000, Standard, 0);
    assert_eq!(gather.step(&POLICY, 0, 0), Step::Write);
    let mut gather = Gather::default();
    push(&mut gather, 10, Standard, 0);
    assert_eq!(gather.step(&POLICY, 0, 62_500), Step::Write, "no budget left for waiting");
}

#[test]
fn entries_never_cross_a_frame_and_keep_their_order() {
    let mut gather = Gather::default();
    for now_us in 0..200 {
        push(&mut gather, 1_000, Express, now_us);
    }
    assert_eq!(gather.bytes(), 200_000);
    let frames = gather.take(usize::MAX);
    let notes: Vec<u64> = frames.iter().flat_map(|f| f.notes.clone()).collect();
    assert_eq!(notes, (0..200).collect::<Vec<_>>());
    for frame in &frames {
        assert_eq!((frame.end - FRAME_HEADER_BYTES) % 1_000, 0, "whole entries only");
        let payload = &frame.buf.0[FRAME_HEADER_BYTES..frame.end];
        assert_eq!(frame.payload_crc, crc32c::crc32c(payload));
    }
    assert_eq!(gather.bytes(), 0);
}

#[test]
fn a_group_is_split_at_its_limit_and_at_the_end_of_the_segment() {
    let mut gather = Gather::default();
    for _ in 0..12 {
        push(&mut gather, 1 << 20, Express, 0);
    }
    assert!(gather.take(8_192).is_empty(), "no room in the segment");
    let first: usize = gather.take(usize::MAX).iter().map(OpenFrame::frame_bytes).sum();
    assert!(first <= GROUP_BYTES_MAX && first > GROUP_BYTES_MAX / 2);
    let mut rest = 0;
    while gather.bytes() > 0 {
        rest += gather.take(usize::MAX).len();
    }
    assert_eq!(rest, 9, "three of twelve went first");
}

#[test]
fn the_next_frame_has_the_memory_of_earlier_notes() {
    let mut gather = Gather::default();
    push(&mut gather, 10, Express, 5);
    let mut frames = gather.take(usize::MAX);
    let notes = frames.remove(0).notes;
    assert_eq!(notes, [5]);
    let address = notes.as_ptr();
    gather.take_back(notes);
    push(&mut gather, 10, Express, 6);
    let mut frames = gather.take(usize::MAX);
    let notes = frames.remove(0).notes;
    assert_eq!((&*notes, notes.as_ptr()), (&[6][..], address));
    let many = Vec::with_capacity(NOTES_KEPT + 1);
    gather.take_back(many);
    assert_eq!(gather.spare_notes.capacity(), 0, "what is large is not kept");
}
