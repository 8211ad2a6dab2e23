use proptest::prelude::*;

use super::*;
use crate::codec::Format;
use crate::codec::json::ReadBatchEncoder;

fn id(seq_num: u64, count: u64, bytes: u64) -> EventId {
    EventId { seq_num, count, bytes }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("events are UTF-8")
}

fn one_record(out: &mut Vec<u8>, body: &[u8]) {
    let mut batch = ReadBatchEncoder::new(out, Format::Raw);
    batch.record(1, 7, std::iter::empty(), body);
    batch.finish(None);
}

#[test]
fn a_batch_has_its_id_before_or_behind_its_data() {
    let before = text(|out| push_batch(out, id(1, 2, 18), |out| one_record(out, b"a")));
    let behind = text(|out| {
        begin_batch(out);
        one_record(out, b"a");
        finish_batch(out, id(1, 2, 18));
    });
    let data = r#"data: {"records":[{"seq_num":1,"timestamp":7,"body":"a"}]}"#;
    assert_eq!(before, format!("event: batch\nid: 1,2,18\n{data}\n\n"));
    assert_eq!(behind, format!("event: batch\n{data}\nid: 1,2,18\n\n"));
}

#[test]
fn the_other_events() {
    let tail = StreamPosition { seq_num: 3, timestamp: 4 };
    assert_eq!(
        text(|out| push_ping(out, 1000, tail)),
        "event: ping\ndata: {\"timestamp\":1000,\"tail\":{\"seq_num\":3,\"timestamp\":4}}\n\n"
    );
    assert_eq!(
        text(|out| push_error(out, br#"{"code":"other","message":"m"}"#)),
        "event: error\ndata: {\"code\":\"other\",\"message\":\"m\"}\n\n"
    );
    assert_eq!(text(push_done), "data: [DONE]\n\n");
}

#[test]
fn data_is_one_line_whatever_a_record_holds() {
    for body in [&b"a\nb\r\nc\r"[..], b"\n\n", b"\xFF\n", "\u{2028}\u{85}".as_bytes()] {
        let event = text(|out| push_batch(out, id(1, 1, 9), |out| one_record(out, body)));
        assert_eq!(event.matches(['\n', '\r']).count(), 4, "{event:?}");
    }
}

#[test]
fn event_ids_accepted() {
    let max = u64::MAX;
    let cases: [(&str, EventId); 6] = [
        ("0,0,0", id(0, 0, 0)),
        ("5,2,18", id(5, 2, 18)),
        (" 5,2,18\t", id(5, 2, 18)),
        ("007,0,00", id(7, 0, 0)),
        ("0,18446744073709551615,18446744073709551615", id(0, max, max)),
        ("18446744073709551615,1,9", id(max, 1, 9)),
    ];
    for (text, expected) in cases {
        assert_eq!(EventId::parse(text.as_bytes()), Ok(expected), "{text:?}");
    }
}

#[test]
fn event_ids_refused() {
    let cases: [&[u8]; 18] = [
        b"",
        b" ",
        b"5",
        b"5,2",
        b"5,2,18,1",
        b"5,2,18,",
        b",,",
        b"5,,18",
        b",2,18",
        b"5,2,",
        b"-1,2,18",
        b"+1,2,18",
        b"5, 2,18",
        b"5,2,1 8",
        b"5.0,2,18",
        b"0x5,2,18",
        b"18446744073709551616,1,1",
        b"5,2,\xFF",
    ];
    for text in cases {
        assert_eq!(EventId::parse(text), Err(InvalidEventId), "{text:?}");
    }
}

#[test]
fn counters_add_up_and_stay_at_their_maximum() {
    let start = EventId::parse(b"0,1,9").unwrap();
    assert_eq!(start.advance(3, 3, 27), id(3, 4, 36));
    assert_eq!(EventId::default().advance(0, 1, 8).advance(1, 1, 8), id(1, 2, 16));
    let full = id(7, u64::MAX, u64::MAX - 1);
    assert_eq!(full.advance(9, 1, 5), id(9, u64::MAX, u64::MAX));
}

proptest! {
    #[test]
    fn ids_survive_a_round_trip(numbers in any::<[u64; 3]>()) {
        let [seq_num, count, bytes] = numbers;
        let id = id(seq_num, count, bytes);
        prop_assert_eq!(EventId::parse(id.to_string().as_bytes()), Ok(id));
    }
}
