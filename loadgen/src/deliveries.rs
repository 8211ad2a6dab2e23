//! The part of the result that is about readers.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::report::{quantiles_json, quantiles_text};
use crate::stats::Delivery;

/// Prints it to standard output, latencies only when `is_shown`.
pub(crate) fn print(delivery: &Delivery, measured: Duration, is_shown: bool) {
    let [records, mib] = per_second(delivery, measured);
    println!("delivered   {records:.1} records/s, {mib:.2} MiB/s to all readers");
    println!(
        "deliveries  {} records, {} heartbeats, {} records of other runs",
        delivery.records_ever, delivery.heartbeats, delivery.foreign
    );
    let counts = delivery.faults.counts().map(|(name, count)| format!("{count} {name}"));
    println!("readers     {}", counts.join(", "));
    for example in &delivery.faults.examples {
        println!("            {example}");
    }
    if is_shown {
        println!("delivery    {} (from intended send)", quantiles_text(&delivery.latency));
        println!("            {} (from acknowledgement)", quantiles_text(&delivery.from_ack));
        println!(
            "            {} came before their acknowledgement (counted as 0), {} too late to know",
            delivery.early, delivery.forgotten
        );
    }
}

/// The same for machines.
pub(crate) fn json(delivery: &Delivery, measured: Duration, is_shown: bool) -> Value {
    let shown = |histogram| if is_shown { quantiles_json(histogram) } else { Value::Null };
    let [records, mib] = per_second(delivery, measured);
    let counts = delivery.faults.counts();
    let mut faults: Map<_, _> =
        counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    faults.insert("examples".to_owned(), json!(delivery.faults.examples));
    json!({
        "records_per_s": records,
        "mib_per_s": mib,
        "records": delivery.records_ever,
        "heartbeats": delivery.heartbeats,
        "of_other_runs": delivery.foreign,
        "from_send_us": shown(&delivery.latency),
        "from_ack_us": shown(&delivery.from_ack),
        "before_ack": delivery.early,
        "ack_forgotten": delivery.forgotten,
        "faults": faults,
    })
}

/// Records and MiB that arrived at readers per second of measured time.
#[expect(clippy::cast_precision_loss, reason = "rates")]
fn per_second(delivery: &Delivery, measured: Duration) -> [f64; 2] {
    let seconds = measured.as_secs_f64().max(1e-9);
    let mib = delivery.body_bytes as f64 / f64::from(1 << 20);
    [delivery.records as f64 / seconds, mib / seconds]
}
