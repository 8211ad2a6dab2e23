use super::*;
use crate::io::Clock;
use crate::io::sim::{Faults, SimIo};
use crate::shard::call::{Asked, Call};
use crate::shard::testkit::{create, create_basin, live_with, path, provision};
use crate::types::AppendInput;
use crate::types::append::{AppendBuilder, Span};

fn batch() -> AppendInput {
    let mut builder = AppendBuilder::default();
    builder.push_record(b"one", None, Span { offset: 0, len: 3 }).expect("fits");
    builder.finish(b"one".to_vec(), None, None).expect("a batch")
}

/// What was in flight when the log failed stays so; nothing comes any more.
#[test]
fn there_are_no_appends_once_the_log_has_failed() {
    let io = SimIo::new(1);
    let life = async |shard: crate::shard::testkit::Shard| {
        create_basin(&shard).await;
        provision(&shard, create("s")).await;
        shard.io.sleep_us(1_000_000).await;
        let append = || {
            let asked = Asked::default();
            shard.handle(Call::Append {
                path: path("s"),
                key: None,
                input: batch(),
                asked,
                receipt: false,
            })
        };
        append().await.expect("appended");
        assert!(shard.has_appends(), "a moment ago");
        io.set_faults(Faults { fail_sync: Some(0), ..io.faults() });
        let refused = append().await;
        assert!(matches!(refused, Err(Refusal::Storage(_))), "the log fails");
        shard.io.sleep_us(APPENDS_LAST_US).await;
        assert!(shard.inflight_bytes.get() > 0);
        assert!(!shard.has_appends());
    };
    live_with(&io, |_, _| {}, life);
}
