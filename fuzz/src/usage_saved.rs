//! Usage counters as they are saved in the log and in checkpoints: what was taken over is saved as
//! it is, and taking it over twice changes nothing.

use thalweg::usage::{Ledger, Saved};

/// The input is a run of entries, each JSON text, with a zero byte between two.
pub fn run(data: &[u8]) {
    let mut ledger = Ledger::default();
    for text in data.split(|byte| *byte == 0) {
        let Ok(saved) = Saved::parse(text) else { continue };
        let _pairs = saved.streams().count();
        let _refused = ledger.apply(&saved);
    }
    ledger.settle();
    // Where nothing was used, nothing is taken over either.
    let says = |part: &Saved| *part != Saved::default();
    let saved: Vec<Saved> = ledger.save().filter(says).collect();
    let mut again = Ledger::default();
    for part in &saved {
        let text = serde_json::to_vec(part).expect("plain members");
        let parsed = Saved::parse(&text).expect("what is saved can be read");
        assert_eq!(parsed, *part);
        again.apply(&parsed).expect("what is saved can be taken over");
        again.apply(&parsed).expect("twice");
    }
    assert_eq!(again.save().filter(says).collect::<Vec<_>>(), saved);
    ledger.prune(1_700_000_000);
    let _kept = (ledger.unsaved().count(), ledger.stored_bytes());
}
