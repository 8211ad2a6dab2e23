//! Judges measured latencies: whether a sync can be what it claims, and what an Express append
//! may be expected to take.
//!
//! Nothing here proves that a flush is honest; only a power cut does. What is named is a sync that
//! is quicker than the device below could be if it did what it is asked for.

use serde::Serialize;

use super::device::Cache;
use super::finding::{Finding, Group};
use super::measure::Measured;

/// A write and its sync that take less than this were not on a device, in nanoseconds: the
/// quickest drives there are take some ten microseconds for a block, without any flush.
const ANY_DEVICE_NS: u64 = 5_000;
/// A flush of a volatile cache that takes less than this hardly programmed flash, in nanoseconds:
/// that takes some hundreds of microseconds, and about one hundred where it is quickest.
const VOLATILE_FLUSH_NS: u64 = 100_000;
/// Fewer syncs than this say nothing of the slowest in a hundred.
const COUNT_MIN: u64 = 100;
/// A slowest in a hundred beyond so many medians has another reason than the device's usual work.
const RARE_TIMES: u64 = 10;
/// What an Express append should take at most, in microseconds.
const EXPRESS_US: u64 = 50_000;

/// Latencies of one size, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latencies {
    /// How many were measured.
    pub count: u64,
    /// Half were at most this.
    pub p50_us: u64,
    /// Nine of ten were.
    pub p90_us: u64,
    /// 99 of a hundred were.
    pub p99_us: u64,
    /// All were.
    pub max_us: u64,
}

/// What was measured for one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Bytes of each write.
    pub write_bytes: usize,
    /// Writes without a sync.
    pub write_alone: Latencies,
    /// The syncs after one write each.
    pub sync: Latencies,
    /// Write and sync together.
    pub write_and_sync: Latencies,
}

impl Row {
    /// The numbers of a measurement.
    #[must_use]
    pub fn of(measured: &Measured) -> Self {
        let latencies = |ns: &hdrhistogram::Histogram<u64>| Latencies {
            count: ns.len(),
            p50_us: micros(ns.value_at_quantile(0.5)),
            p90_us: micros(ns.value_at_quantile(0.9)),
            p99_us: micros(ns.value_at_quantile(0.99)),
            max_us: micros(ns.max()),
        };
        Self {
            write_bytes: measured.write_bytes,
            write_alone: latencies(&measured.alone_ns),
            sync: latencies(&measured.sync_ns),
            write_and_sync: latencies(&measured.both_ns),
        }
    }
}

/// Rounded up, so that nothing takes no time.
fn micros(ns: u64) -> u64 {
    ns.div_ceil(1000)
}

/// Expected latency of an Express append, in microseconds, without network and clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Express {
    /// Half of the appends that come alone.
    pub alone_p50_us: u64,
    /// 99 of a hundred of the appends that come alone.
    pub alone_p99_us: u64,
    /// 99 of a hundred of those that come among many, at most about.
    pub crowded_p99_us: u64,
    /// How that was found.
    pub derived: &'static str,
}

/// An append that comes alone waits for one write and sync of a block. One that comes among many
/// waits for the rest of the group that is under way, and then for its own, which are larger.
#[must_use]
pub fn expect(rows: &[Row]) -> Option<Express> {
    let small = rows.first()?.write_and_sync;
    let group = rows.get(1).map_or(small, |row| row.write_and_sync);
    Some(Express {
        alone_p50_us: small.p50_us,
        alone_p99_us: small.p99_us,
        crowded_p99_us: 2 * group.p99_us.max(small.p99_us),
        derived: "alone: one write and sync of 4 KiB as measured; crowded: twice the 99th \
                  percentile of 64 KiB, for the group under way and the next; without network, \
                  processors and clients",
    })
}

/// Medians of what was measured with 4 KiB, in nanoseconds, and what is known of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushFacts {
    /// A write without a sync.
    pub alone_ns: u64,
    /// The sync after a write.
    pub sync_ns: u64,
    /// Both.
    pub both_ns: u64,
    /// What the devices say of their caches.
    pub cache: Cache,
    /// The file system is in memory, as another finding says.
    pub is_in_memory: bool,
}

impl FlushFacts {
    /// Those of a measurement, if it has any.
    #[must_use]
    pub fn of(measured: &[Measured], cache: Cache, is_in_memory: bool) -> Option<Self> {
        let small = measured.first()?;
        let median = |ns: &hdrhistogram::Histogram<u64>| ns.value_at_quantile(0.5);
        Some(Self {
            alone_ns: median(&small.alone_ns),
            sync_ns: median(&small.sync_ns),
            both_ns: median(&small.both_ns),
            cache,
            is_in_memory,
        })
    }
}

/// Whether the syncs can be what they claim.
#[must_use]
pub fn judge_honesty(facts: &FlushFacts) -> Option<Finding> {
    const SUSPICION: &str = "this is a suspicion, not a proof: only a power cut shows what a sync \
                             was worth";
    const CHECK: &str = "ask whoever provides the disk whether flushes reach something that lasts \
                         (in QEMU: no cache=unsafe), and cut the power once while it writes";
    let FlushFacts { alone_ns, sync_ns, both_ns, cache, is_in_memory } = *facts;
    if is_in_memory {
        return None;
    }
    let suspect = |id, what: String, why: &str| {
        let finding = Finding::warning(id, Group::Flush, what);
        Some(finding.why(format!("{why}; {SUSPICION}")).advice(CHECK))
    };
    let us = |ns: u64| format!("{}.{} us", ns / 1000, ns % 1000 / 100);
    if both_ns < ANY_DEVICE_NS {
        return suspect(
            "flush.impossible",
            format!("writing and syncing 4 KiB takes {}", us(both_ns)),
            "no drive is as quick: memory took it, here or at the host",
        );
    }
    if cache != Cache::Volatile {
        return Some(Finding::ok(
            "flush.plausible",
            Group::Flush,
            "syncs are as quick as a device without a volatile cache, or an unknown one, may be",
        ));
    }
    if both_ns <= alone_ns.saturating_add(alone_ns / 10) {
        return suspect(
            "flush.free",
            format!("writing 4 KiB takes {} with a sync and {} without", us(both_ns), us(alone_ns)),
            "the device says that its cache is volatile, so each sync should flush it and take \
             longer than the write alone",
        );
    }
    if sync_ns < VOLATILE_FLUSH_NS {
        return suspect(
            "flush.quick",
            format!("flushing a volatile cache takes {}", us(sync_ns)),
            "flash takes some hundreds of microseconds to be written; a drive that is protected \
             against power loss may be as quick, but mostly says that its cache is not volatile",
        );
    }
    let what = format!("a sync takes {} and the write before it {}", us(sync_ns), us(alone_ns));
    Some(Finding::ok("flush.plausible", Group::Flush, format!("{what}, as flushing a cache would")))
}

/// What the latencies mean for appends.
#[must_use]
pub fn judge_latency(
    rows: &[Row],
    expected: &Express,
    cache: Cache,
    has_server_beside: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ms = |us: u64| match us {
        0..10_000 => format!("{}.{:03} ms", us / 1000, us % 1000),
        _ => format!("{}.{} ms", us / 1000, us % 1000 / 100),
    };
    let what = format!(
        "an Express append waits {} for the disk when it comes alone (99 of 100: {}), and up to \
         about {} among many",
        ms(expected.alone_p50_us),
        ms(expected.alone_p99_us),
        ms(expected.crowded_p99_us),
    );
    if expected.crowded_p99_us > EXPRESS_US {
        let slow = Finding::warning("flush.slow", Group::Flush, what)
            .why(format!("Express should take at most {}", ms(EXPRESS_US)))
            .advice(
                "a drive that is protected against power loss, with nobody else on it; ext4 or XFS \
                 without copy-on-write layers; no limit on operations per second",
            );
        findings.push(slow);
    } else {
        let fine = Finding::ok("flush.latency", Group::Flush, what);
        findings.push(fine.advice(improvement(rows, cache).unwrap_or_default()));
    }
    if rows.iter().any(|row| row.write_and_sync.count < COUNT_MIN) {
        let what = format!("fewer than {COUNT_MIN} syncs of some size were measured");
        let few = Finding::note("flush.few", Group::Flush, what);
        findings.push(few.why("their slowest in a hundred is a guess; --seconds measures longer"));
    }
    if has_server_beside {
        let beside =
            Finding::note("flush.beside", Group::Flush, "measured beside a running server");
        findings.push(beside.why("each took from the other: alone, the disk may be quicker"));
    }
    findings
}

/// What would make appends quicker, as far as the numbers tell.
fn improvement(rows: &[Row], cache: Cache) -> Option<&'static str> {
    let Row { write_alone, sync, write_and_sync, .. } = rows.first()?;
    if write_and_sync.p99_us > RARE_TIMES * write_and_sync.p50_us {
        return Some(
            "the slowest are far slower than most: look for others that use the disk, and for a \
             limit on its operations",
        );
    }
    (cache == Cache::Volatile && sync.p50_us > write_alone.p50_us).then_some(
        "quicker: most of it is the flush of a volatile cache; a drive that is protected against \
         power loss needs none",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_that_can_be_and_that_can_hardly_be() {
        let facts = |alone_us: u64, sync_us: u64, both_us: u64, cache| FlushFacts {
            alone_ns: alone_us * 1000,
            sync_ns: sync_us * 1000,
            both_ns: both_us * 1000,
            cache,
            is_in_memory: false,
        };
        for (facts, expected) in [
            (facts(2, 1, 3, Cache::None), "flush.impossible"),
            (facts(2, 1, 3, Cache::Unknown), "flush.impossible"),
            (facts(20, 1, 21, Cache::None), "flush.plausible"),
            (facts(20, 1, 21, Cache::Volatile), "flush.free"),
            (facts(20, 12, 32, Cache::Volatile), "flush.quick"),
            (facts(20, 99, 119, Cache::Volatile), "flush.quick"),
            (facts(20, 100, 120, Cache::Volatile), "flush.plausible"),
            (facts(20, 12, 32, Cache::Unknown), "flush.plausible"),
            (facts(80, 900, 980, Cache::Volatile), "flush.plausible"),
        ] {
            let found = judge_honesty(&facts).unwrap();
            assert_eq!(found.id, expected, "{facts:?}");
            let is_suspect = expected != "flush.plausible";
            assert_eq!(found.why.contains("not a proof"), is_suspect, "{}", found.why);
        }
        let memory = FlushFacts { is_in_memory: true, ..facts(1, 1, 2, Cache::Unknown) };
        assert_eq!(judge_honesty(&memory), None);
    }

    fn row(write_bytes: usize, p50_us: u64, p99_us: u64, count: u64) -> Row {
        let latencies = Latencies { count, p50_us, p90_us: p99_us, p99_us, max_us: p99_us };
        let (sync, write_alone) = (latencies, latencies);
        Row { write_bytes, write_alone, sync, write_and_sync: latencies }
    }

    #[test]
    fn expectations_follow_from_the_rows() {
        let rows = [row(4096, 200, 900, 500), row(65_536, 400, 2000, 500)];
        let expected = expect(&rows).unwrap();
        let Express { alone_p50_us, alone_p99_us, crowded_p99_us, .. } = expected;
        assert_eq!((alone_p50_us, alone_p99_us, crowded_p99_us), (200, 900, 4000));
        assert_eq!(expect(&[]), None);
        let alone = expect(&rows[..1]).unwrap();
        assert_eq!(alone.crowded_p99_us, 1800);
        let ids = |rows: &[Row], beside| {
            let found = judge_latency(rows, &expect(rows).unwrap(), Cache::None, beside);
            found.into_iter().map(|finding| finding.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&rows, false), ["flush.latency"]);
        assert_eq!(ids(&rows, true), ["flush.latency", "flush.beside"]);
        assert_eq!(ids(&[row(4096, 200, 25_001, 99)], false), ["flush.slow", "flush.few"]);
        assert_eq!(ids(&[row(4096, 200, 25_000, 100)], false), ["flush.latency"]);
    }

    #[test]
    fn advice_follows_from_what_is_slow() {
        let with_sync = |sync_us: u64, p99_us: u64| {
            let mut row = row(4096, 100, p99_us, 500);
            row.sync.p50_us = sync_us;
            row
        };
        for (row, cache, words) in [
            (with_sync(101, 1000), Cache::Volatile, Some("flush of a volatile cache")),
            (with_sync(101, 1000), Cache::None, None),
            (with_sync(100, 1000), Cache::Volatile, None),
            (with_sync(101, 1001), Cache::Volatile, Some("others that use the disk")),
            (with_sync(101, 1001), Cache::None, Some("others that use the disk")),
        ] {
            let said = improvement(&[row], cache);
            assert_eq!(said.is_some(), words.is_some(), "{row:?} {cache:?}");
            assert!(said.unwrap_or_default().contains(words.unwrap_or_default()), "{said:?}");
        }
    }
}
