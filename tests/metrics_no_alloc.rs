//! Recording on the append path takes no memory: proven by counting what this thread allocates.

use thalweg::metrics::{ExecutorMetrics, GroupWritten, Metrics};
use thalweg::types::{BasinName, StorageClass};
use thalweg::usage::{Class, Counter, Ledger, Stored};

#[path = "common/counting.rs"]
mod counting;

use counting::allocations;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = allocations().count;
    work();
    allocations().count - before
}

#[test]
fn recording_does_not_allocate() {
    let (metrics, executor) = (Metrics::default(), ExecutorMetrics::default());
    assert!(allocations_of(|| drop(metrics.snapshot())) > 0, "allocations are counted");

    let recording = allocations_of(|| {
        for latency_us in [0, 1, 2_047, 2_048, 59_999_999, 60_000_000, 67_108_864, u64::MAX] {
            for class in [StorageClass::Express, StorageClass::Standard] {
                metrics.append_offered(1000, latency_us);
                metrics.append_admitted(latency_us);
                metrics.append_acked(class, 1000, latency_us, latency_us);
                metrics.append_waited(class, 1, latency_us / 2, latency_us);
            }
            metrics.standard_waited(latency_us);
            metrics.group_written(GroupWritten {
                batches: latency_us,
                frames: 1,
                written_bytes: 4096,
                record_bytes: 100,
                ticket: 1,
                began_us: 0,
                write_us: latency_us,
                sync_us: latency_us,
            });
            metrics.set_inflight_bytes(100);
            metrics.refused("rate_limited");
            metrics.refused("invalid");
            metrics.records_read(1, 100);
            executor.connection_accepted();
            executor.request();
            executor.forwarded();
            executor.http_violation(400);
            executor.connection_left();
        }
    });
    assert_eq!(recording, 0);
}

#[test]
fn counting_usage_allocates_only_for_the_first_of_a_minute() {
    const AT_S: u64 = 1_700_006_400;
    let mut ledger = Ledger::default();
    let name = BasinName::new("test-basin-1").expect("legal");
    let book = ledger.basin(&name);
    let mut stored = Stored::default();
    let mut first = 0;
    let mut count = |at_s| {
        for class in [Class::Express, Class::Standard, Class::Other] {
            let before = stored.bytes();
            stored.append(first, first + 1, 10);
            first += 1;
            book.appended(class, at_s, 10, (before, stored.bytes()));
        }
        book.count(Counter::ReadBytes, at_s, 10);
        book.count(Counter::ReadOpsUnary, at_s, 1);
    };
    assert!(allocations_of(|| count(AT_S)) > 0, "the first of all makes room");
    let counting = allocations_of(|| (AT_S..AT_S + 60).for_each(&mut count));
    assert_eq!(counting, 0, "in the same minute");
    assert_eq!(allocations_of(|| drop(ledger.basin(&name))), 0, "a known basin");
}
