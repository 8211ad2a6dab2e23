//! What a server's receipts say about where the time of appends went (docs/RECEIPTS.md).
//!
//! The header of a unary answer is a dictionary of structured fields, of which four keys matter
//! here; an acknowledgement in a session carries the same as a field of protobuf. What a server
//! that knows no receipts leaves out is counted as missing.

use hdrhistogram::Histogram;
use prost::Message;
use serde_json::{Value, json};

/// The header that asks for receipts and brings them.
pub(crate) const HEADER: &str = "thalweg-receipt";

/// Longest time that is told apart, in microseconds.
const US_MAX: u64 = 3_600_000_000;
/// Most batches of a group that are told apart.
const BATCHES_MAX: u64 = 1_000_000;

/// One receipt, as far as it is used; also as the field of an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Receipt {
    /// Batches under the same sync.
    #[prost(uint64, tag = "5")]
    pub(crate) batches: u64,
    /// From the batch's arrival until its group was begun, in microseconds.
    #[prost(uint64, tag = "7")]
    pub(crate) queued_us: u64,
    /// Writing the group.
    #[prost(uint64, tag = "8")]
    pub(crate) write_us: u64,
    /// Syncing it.
    #[prost(uint64, tag = "9")]
    pub(crate) sync_us: u64,
}

impl Receipt {
    /// Reads the value of the header; `None` unless all four keys are there.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let key = |name: &str| -> Option<u64> {
            let mut members = text.split(',').filter_map(|member| member.trim().split_once('='));
            members.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        Some(Self {
            batches: key("batches")?,
            queued_us: key("queued_us")?,
            write_us: key("write_us")?,
            sync_us: key("sync_us")?,
        })
    }
}

/// What the receipts of many appends said.
pub(crate) struct Receipts {
    queued_us: Histogram<u64>,
    write_us: Histogram<u64>,
    sync_us: Histogram<u64>,
    batches: Histogram<u64>,
    /// Acknowledgements without one.
    missing: u64,
}

impl Default for Receipts {
    fn default() -> Self {
        let us = || Histogram::new_with_bounds(1, US_MAX, 3).expect("constant bounds are valid");
        let batches = Histogram::new_with_bounds(1, BATCHES_MAX, 3);
        Self {
            queued_us: us(),
            write_us: us(),
            sync_us: us(),
            batches: batches.expect("constant bounds are valid"),
            missing: 0,
        }
    }
}

impl Receipts {
    /// Counts the receipt of one acknowledgement, or that it had none.
    pub(crate) fn count(&mut self, receipt: Option<Receipt>) {
        let Some(receipt) = receipt else {
            self.missing += 1;
            return;
        };
        self.queued_us.saturating_record(receipt.queued_us);
        self.write_us.saturating_record(receipt.write_us);
        self.sync_us.saturating_record(receipt.sync_us);
        self.batches.saturating_record(receipt.batches);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let same = "all receipts share their bounds";
        self.queued_us.add(&other.queued_us).expect(same);
        self.write_us.add(&other.write_us).expect(same);
        self.sync_us.add(&other.sync_us).expect(same);
        self.batches.add(&other.batches).expect(same);
        self.missing += other.missing;
    }

    fn parts(&self) -> [(&'static str, &Histogram<u64>); 4] {
        [
            ("queued_us", &self.queued_us),
            ("write_us", &self.write_us),
            ("sync_us", &self.sync_us),
            ("batches", &self.batches),
        ]
    }

    /// Prints medians and p99 to standard output.
    pub(crate) fn print(&self) {
        let (count, missing) = (self.queued_us.len(), self.missing);
        println!("receipts    {count}, {missing} acknowledgements without one");
        if count == 0 {
            return;
        }
        for (name, histogram) in self.parts() {
            let (p50, p99) = (histogram.value_at_quantile(0.5), histogram.value_at_quantile(0.99));
            println!("            {name:<9}  p50 {p50}, p99 {p99}");
        }
    }

    /// The same for machines.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!({ "count": self.queued_us.len(), "missing": self.missing });
        for (name, histogram) in self.parts().into_iter().filter(|(_, one)| !one.is_empty()) {
            let quantile = |quantile| histogram.value_at_quantile(quantile);
            value[name] = json!({ "p50": quantile(0.5), "p99": quantile(0.99) });
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_in_any_order_and_only_whole() {
        let receipt = Receipt { batches: 17, queued_us: 31, write_us: 0, sync_us: 55 };
        let documented = "shard=0, segment=12, offset=409600, class=express, batches=17, \
                          bytes=20480, queued_us=31, write_us=0, sync_us=55";
        for text in [documented, "sync_us=55,write_us=0, new=1, queued_us=31,batches=17"] {
            assert_eq!(Receipt::parse(text.as_bytes()), Some(receipt), "{text}");
        }
        for text in ["", "batches=17", "batches=x, queued_us=31, write_us=0, sync_us=55", "\u{e9}"]
        {
            assert_eq!(Receipt::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Receipt::parse(b"\xff"), None);
    }

    #[test]
    fn quantiles_are_those_of_the_receipts_and_none_is_forgotten() {
        let mut one = Receipts::default();
        for us in 1..=100 {
            let (queued_us, write_us) = (us, 2 * us);
            one.count(Some(Receipt { batches: 3, queued_us, write_us, sync_us: 7 }));
        }
        one.count(None);
        let mut sum = Receipts::default();
        sum.add(&one);
        sum.add(&one);
        let value = sum.json();
        assert_eq!((&value["count"], &value["missing"]), (&json!(200), &json!(2)));
        assert_eq!(value["queued_us"], json!({"p50": 50, "p99": 99}));
        assert_eq!(value["write_us"], json!({"p50": 100, "p99": 198}));
        assert_eq!(value["sync_us"], json!({"p50": 7, "p99": 7}));
        assert_eq!(value["batches"], json!({"p50": 3, "p99": 3}));
        assert_eq!(Receipts::default().json(), json!({"count": 0, "missing": 0}));
    }
}
