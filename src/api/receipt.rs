//! Receipts of appends, as a header (`docs/RECEIPTS.md`).

use crate::types::{Receipt, StorageClass};

/// The header that asks for a receipt, and the one that brings it.
pub const RECEIPT: &str = "thalweg-receipt";

/// The value of the response's header: a dictionary of structured fields (RFC 9651), always with
/// the same keys.
#[must_use]
pub fn header_value(receipt: &Receipt) -> String {
    let Receipt { shard, pos, group_batches, group_bytes, queued_us, write_us, sync_us, .. } =
        receipt;
    let (segment, offset) = (pos.segment, pos.offset_bytes);
    let class = match receipt.class {
        StorageClass::Express => "express",
        StorageClass::Standard => "standard",
    };
    format!(
        "shard={shard}, segment={segment}, offset={offset}, class={class}, \
         batches={group_batches}, bytes={group_bytes}, \
         queued_us={queued_us}, write_us={write_us}, sync_us={sync_us}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogPos;

    #[test]
    fn a_receipt_is_a_dictionary() {
        let mut receipt = Receipt {
            shard: 0,
            pos: LogPos { segment: 12, offset_bytes: 409_600 },
            class: StorageClass::Express,
            group_batches: 17,
            group_bytes: 20_480,
            queued_us: 31,
            write_us: 40,
            sync_us: 55,
        };
        let expected = "shard=0, segment=12, offset=409600, class=express, \
                        batches=17, bytes=20480, queued_us=31, write_us=40, sync_us=55";
        assert_eq!(header_value(&receipt), expected);
        receipt.class = StorageClass::Standard;
        assert_eq!(header_value(&receipt), expected.replace("express", "standard"));
    }
}
