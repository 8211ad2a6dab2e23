//! There may be millions of streams, so what an idle one takes is held down here.
//!
//! Counted are the bytes asked for; the system's allocator adds about 8 to each allocation.

use std::rc::Rc;

use thalweg::control::{Catalog, Stream, StreamRecord};
use thalweg::stream::State;
use thalweg::types::{BasinName, FencingToken, LogPos, StreamPosition};

#[path = "common/counting.rs"]
mod counting;

const STREAMS: u64 = 10_000;

fn record(id: u64) -> StreamRecord {
    let json = format!(
        r#"{{"id":{id},"basin":"test-basin","name":"stream-{id:08}","created_us":1,"config":{{}}}}"#
    );
    serde_json::from_str(&json).expect("a record")
}

/// Bytes that each of the streams takes more after `work`.
fn bytes_each(work: impl FnOnce()) -> i64 {
    let before = counting::allocations().held_bytes;
    work();
    let more = counting::allocations().held_bytes - before;
    more / i64::try_from(STREAMS).expect("a few")
}

/// What happens when a batch of one record is appended to each.
fn append_to_each(catalog: &Catalog, fencing_token: FencingToken, offset_bytes: u32) {
    for stream in catalog.streams() {
        let StreamPosition { seq_num, .. } = stream.accepted.get().tail;
        let tail = StreamPosition { seq_num: seq_num + 1, timestamp: 7 };
        let after = State { tail, trim_point: 0, fencing_token };
        stream.accepted.set(after);
        let (first, pos) =
            (StreamPosition { seq_num, timestamp: 7 }, LogPos { segment: 1, offset_bytes });
        stream.became_durable(first, 7, pos, after);
        stream.count_batch(seq_num, &after, 7, 100);
    }
}

#[test]
fn an_idle_stream_takes_a_few_hundred_bytes() {
    let basin = BasinName::new("test-basin").expect("legal");
    let mut catalog = Catalog::default();
    let made = bytes_each(|| {
        for id in 1..=STREAMS {
            let stream = Rc::new(Stream::new(record(id), 1));
            catalog.add_stream(basin.clone(), &stream);
        }
    });
    let token = FencingToken::default();
    let written = bytes_each(|| append_to_each(&catalog, token, 4096));
    let again = bytes_each(|| append_to_each(&catalog, token, 8192));
    println!("made: {made}, written to: {written} more, again nearby: {again} more");
    assert!((300..=420).contains(&made), "{made} bytes");
    assert!((30..=45).contains(&written), "{written} bytes");
    assert_eq!(again, 0);

    let configured = bytes_each(|| {
        let ids: Vec<_> = catalog.streams().map(Rc::clone).collect();
        for stream in ids {
            let mut record = stream.record();
            record.config.delete_on_empty_min_age_secs = 60;
            catalog.set_record(&stream, record);
        }
    });
    assert_eq!(configured, 0, "the same for all is held once");
    let fenced = FencingToken::new("somebody").expect("short");
    let kept = bytes_each(|| append_to_each(&catalog, fenced, 12_288));
    assert_eq!(kept, 2 * 37, "a token, as accepted and as durable");
    let kept = bytes_each(|| append_to_each(&catalog, token, 16_384));
    assert_eq!(kept, -2 * 37);
}
