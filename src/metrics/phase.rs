//! Where the time between a batch's arrival and its ack went, by storage class.
//!
//! ```text
//!  arrival      write begins    written       synced          ack
//!     |------------|--------------|-------------|--------------|
//!         queue        write           sync         respond
//!     '------------------------ whole -------------------------'
//! ```
//!
//! * Counted once for each ack, so all five have the same count, and the four parts add up to the
//!   whole. Write and sync are those of the whole group: each of its batches waited for them.
//! * Queue holds admission, the group before, and the wait for company. Write is 0 where the device
//!   writes and syncs in one; that is counted as sync.
//! * What lies outside is the way between client and shard.

use hdrhistogram::Histogram as HdrHistogram;

use super::histogram::{FINE_LATENCY_US, Histogram};
use super::snapshot::{CLASSES, QUANTILE_US_MAX, index_of};
use crate::types::StorageClass;

/// Groups whose times are remembered. An ack is counted as soon as its task runs after the group is
/// durable, which is before many more groups are; one that comes later still is counted with the
/// oldest group that is left, and what it waited longer is counted as respond.
const GROUPS_KEPT: usize = 64;
/// Significant digits of a part. Two need a seventh of the memory of three, whose lines would take
/// others' room in the cache on the append path.
const PART_DIGITS: u8 = 2;

/// A part of the time that an ack takes, or the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From the batch's arrival until its group began to be written.
    Queue,
    /// Until the group was written.
    Write,
    /// Until it was synced.
    Sync,
    /// Until the shard had told who waited for it.
    Respond,
    /// All of it.
    Whole,
}

impl Phase {
    /// Every phase, in the order in which they pass.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Write, Self::Sync, Self::Respond, Self::Whole];
    /// Those that add up to the whole.
    pub(super) const PARTS: [Self; 4] = [Self::Queue, Self::Write, Self::Sync, Self::Respond];

    /// Its name in tables and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Respond => "respond",
            Self::Whole => "whole",
        }
    }
}

/// The times of one group, as far as acks need them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GroupTimes {
    /// Every entry up to this ticket became durable with it.
    pub(super) ticket: u64,
    /// When its write began, on the monotonic clock.
    pub(super) began_us: u64,
    pub(super) write_us: u64,
    pub(super) sync_us: u64,
}

/// The parts of all acks of one class, in microseconds.
pub(super) type Parts = [HdrHistogram<u64>; 4];

/// Recording: the newest groups, and the parts by class.
#[derive(Debug)]
pub(super) struct Phases {
    newest: [GroupTimes; GROUPS_KEPT],
    /// Where the next group goes.
    next: usize,
    parts: [Parts; 2],
}

impl Default for Phases {
    fn default() -> Self {
        let part = || {
            HdrHistogram::new_with_max(QUANTILE_US_MAX, PART_DIGITS)
                .expect("the bound is above 2 and two digits are among the possible ones")
        };
        let parts = CLASSES.map(|_| std::array::from_fn(|_| part()));
        Self { newest: [GroupTimes::default(); GROUPS_KEPT], next: 0, parts }
    }
}

impl Phases {
    /// A group is durable.
    pub(super) fn group(&mut self, group: GroupTimes) {
        self.newest[self.next] = group;
        self.next = (self.next + 1) % GROUPS_KEPT;
    }

    /// A batch that arrived at `since_us` and was made durable with `ticket` is acknowledged
    /// `whole_us` later. Does not allocate: the histograms have all their counts from the start.
    pub(super) fn acked(&mut self, class: StorageClass, ticket: u64, since_us: u64, whole_us: u64) {
        let group = self.group_of(ticket);
        // An ack that came before its group, which must not be, waited for no group that is known.
        let mut left_us = whole_us;
        let mut take = |part_us: u64| {
            let taken = part_us.min(left_us);
            left_us -= taken;
            taken
        };
        let queue_us = take(group.map_or(u64::MAX, |g| g.began_us.saturating_sub(since_us)));
        let write_us = take(group.map_or(0, |g| g.write_us));
        let sync_us = take(group.map_or(0, |g| g.sync_us));
        let parts = &mut self.parts[index_of(class)];
        for (part, us) in parts.iter_mut().zip([queue_us, write_us, sync_us, left_us]) {
            part.saturating_record(us.min(QUANTILE_US_MAX));
        }
    }

    /// The oldest group that is remembered and reaches `ticket`.
    fn group_of(&self, ticket: u64) -> Option<GroupTimes> {
        let newest_first = (1..=GROUPS_KEPT).map(|back| {
            let at = (self.next + GROUPS_KEPT - back) % GROUPS_KEPT;
            self.newest[at]
        });
        newest_first.take_while(|group| group.ticket >= ticket).last()
    }

    /// The parts of each class in buckets with fixed bounds.
    pub(super) fn histograms(&self) -> [[Histogram; 4]; 2] {
        self.parts
            .each_ref()
            .map(|parts| parts.each_ref().map(|part| Histogram::of_hdr(FINE_LATENCY_US, part)))
    }

    /// The parts of each class.
    pub(super) fn parts(&self) -> &[Parts; 2] {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::StorageClass::{Express, Standard};

    fn only(phases: &Phases, class: StorageClass) -> [u64; 4] {
        phases.parts[index_of(class)].each_ref().map(|part| {
            assert_eq!(part.len(), 1, "counted once");
            part.max()
        })
    }

    #[test]
    fn a_batch_is_counted_with_the_group_that_made_it_durable() {
        for (ticket, expected) in [(1, [10, 20, 30, 140]), (5, [10, 20, 30, 140])] {
            let mut phases = Phases::default();
            phases.group(GroupTimes { ticket: 5, began_us: 1_010, write_us: 20, sync_us: 30 });
            // A later one, as when the task did not run at once.
            phases.group(GroupTimes { ticket: 9, began_us: 1_100, write_us: 5, sync_us: 6 });
            phases.acked(Standard, ticket, 1_000, 200);
            assert_eq!(only(&phases, Standard), expected, "ticket {ticket}");
            assert_eq!(phases.parts[index_of(Express)][0].len(), 0, "of another class");
        }
    }

    #[test]
    fn more_groups_than_are_remembered_leave_the_oldest() {
        let mut phases = Phases::default();
        for ticket in 1..=GROUPS_KEPT as u64 + 3 {
            phases.group(GroupTimes { ticket, began_us: 100 + ticket, write_us: 1, sync_us: 2 });
        }
        phases.acked(Express, 1, 100, 50);
        assert_eq!(only(&phases, Express), [4, 1, 2, 43], "ticket 4 is the oldest left");
    }

    #[test]
    fn an_ack_before_its_group_is_all_queue() {
        let mut phases = Phases::default();
        phases.group(GroupTimes { ticket: 3, began_us: 10, write_us: 1, sync_us: 1 });
        phases.acked(Express, 4, 5, 7);
        assert_eq!(only(&phases, Express), [7, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn the_parts_add_up_to_the_whole(
            since_us in 0_u64..200, whole_us in 0_u64..200, began_us in 0_u64..300,
            write_us in 0_u64..200, sync_us in 0_u64..200,
        ) {
            let mut phases = Phases::default();
            phases.group(GroupTimes { ticket: 1, began_us, write_us, sync_us });
            phases.acked(Express, 1, since_us, whole_us);
            // Below 256 two digits are exact.
            prop_assert_eq!(only(&phases, Express).iter().sum::<u64>(), whole_us);
        }
    }
}
