//! Case tables of accepted and refused messages; `model` compares with `prost`.

use prost::Message;

use super::super::messages;
use super::*;
use crate::types::Command;

mod model;

/// Decodes `message` from the middle of a payload, so that offsets are put to the test.
fn decode(message: &[u8]) -> Result<AppendInput, DecodeError> {
    let payload = [b"before", message, b"behind"].concat();
    decode_append(payload, 6..6 + message.len())
}

#[track_caller]
fn assert_bad_proto(message: &[u8]) {
    match decode(message) {
        Err(DecodeError::BadProto(text)) => assert!(text.len() <= 100, "{text}"),
        other => panic!("{:x?}: {other:?}", &message[..message.len().min(40)]),
    }
}

#[track_caller]
fn assert_invalid(message: &[u8]) {
    match decode(message) {
        Err(DecodeError::Invalid(text)) => assert!(text.len() <= 100, "{text}"),
        other => panic!("{:x?}: {other:?}", &message[..message.len().min(40)]),
    }
}

fn record(body: &[u8]) -> messages::AppendRecord {
    messages::AppendRecord { body: body.to_vec(), ..Default::default() }
}

fn header(name: &[u8], value: &[u8]) -> messages::Header {
    messages::Header { name: name.to_vec(), value: value.to_vec() }
}

fn batch(records: Vec<messages::AppendRecord>) -> Vec<u8> {
    messages::AppendInput { records, ..Default::default() }.encode_to_vec()
}

/// A length-delimited field.
fn field(key: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    crate::wire::push_varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

#[test]
fn the_example_of_the_specification_is_one_record() {
    let input = decode(b"\x0A\x04\x1A\x02hi").unwrap();
    assert_eq!(input.records.len(), 1);
    assert_eq!(input.records[0].body.of(&input.buf), b"hi");
    assert_eq!((input.match_seq_num, input.fencing_token), (None, None));
    assert_eq!(input.metered_bytes, 10);
}

#[test]
fn spans_point_into_a_shared_payload_without_a_copy() {
    let payload = bytes::Bytes::from(b"xx\x0A\x0C\x12\x06\x0A\x01n\x12\x01v\x1A\x02hi".to_vec());
    let address = payload.as_ptr();
    let input = decode_append(payload.clone(), 2..payload.len()).unwrap();
    assert_eq!(input.buf.as_ptr(), address);
    let header = input.headers_of(&input.records[0])[0];
    assert_eq!((header.name.of(&input.buf), header.value.of(&input.buf)), (&b"n"[..], &b"v"[..]));
    assert_eq!(input.records[0].body, Span { offset: 14, len: 2 });
}

#[test]
fn presence_is_kept_and_the_last_of_a_scalar_counts() {
    let one = b"\x0A\x00".as_slice();
    let none = |input: &AppendInput| (input.match_seq_num, input.fencing_token);
    let cases: [(&[u8], Option<u64>, Option<&str>); 6] = [
        (b"", None, None),
        (b"\x10\x00", Some(0), None),
        (b"\x1A\x00", None, Some("")),
        (b"\x10\x05\x10\x00", Some(0), None),
        (
            b"\x1A\x02t1\x1A\x01x\x10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
            Some(u64::MAX),
            Some("x"),
        ),
        (b"\x10\x81\x80\x00", Some(1), None), // longer than need be
    ];
    for (fields, match_seq_num, token) in cases {
        for message in [[one, fields].concat(), [fields, one].concat()] {
            let input = decode(&message).unwrap();
            let token = token.map(|text| FencingToken::new(text).unwrap());
            assert_eq!(none(&input), (match_seq_num, token), "{message:x?}");
        }
    }
}

#[test]
fn fields_of_a_record_come_in_any_order_and_the_last_counts() {
    let mut fields = field(0x1A, b"first");
    fields.extend(b"\x08\x07");
    fields.extend(field(0x12, &[field(0x12, b"v"), field(0x0A, b"x"), field(0x0A, b"n")].concat()));
    fields.extend(field(0x1A, b"body"));
    fields.extend(b"\x08\x00");
    fields.extend(field(0x12, &field(0x0A, b"m")));
    let input = decode(&field(0x0A, &fields)).unwrap();
    let only = input.records[0];
    assert_eq!((only.timestamp, only.body.of(&input.buf)), (Some(0), &b"body"[..]));
    let headers: Vec<_> = input.headers_of(&only).iter().collect();
    assert_eq!(headers.len(), 2);
    assert_eq!(headers[0].name.of(&input.buf), b"n");
    assert_eq!(headers[0].value.of(&input.buf), b"v");
    assert_eq!((headers[1].name.of(&input.buf), headers[1].value.len), (&b"m"[..], 0));
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped_at_every_level() {
    let unknown: [&[u8]; 6] = [
        b"\x78\xFF\x01",
        b"\x79\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\x7A\x03abc",
        b"\x7D\x01\x02\x03\x04",
        b"\x7B\x08\x01\x13\x7A\x00\x14\x7C",
        b"\xF8\xFF\xFF\xFF\x0F\x00", // the greatest field number
    ];
    for unknown in unknown {
        let header = field(0x12, &[unknown, b"\x0A\x01n", unknown].concat());
        let record = field(0x0A, &[unknown, &header, b"\x1A\x02hi", unknown].concat());
        let input = decode(&[unknown, &record, unknown].concat()).unwrap();
        assert_eq!(input.records[0].body.of(&input.buf), b"hi", "{unknown:x?}");
        assert_eq!(input.headers.len(), 1);
    }
}

#[test]
fn malformed_messages_are_refused() {
    let cases: [&[u8]; 24] = [
        b"garbage",
        b"\x0A",                                             // no length
        b"\x0A\x01",                                         // beyond the end
        b"\x0A\x02\x1A\x01x",                                // beyond the record
        b"\x0A\x04\x12\x02\x0A\x01x",                        // beyond the header
        b"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x00", // a length of 2^64 - 1
        b"\x0A\xFF\xFF\xFF\xFF\x0F\x00",                     // a length of 2^32 - 1
        b"\x0A\x80",                                         // a varint cut short
        b"\x10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02",     // more than 64 bits
        b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", // more than ten bytes
        b"\x08\x01",                                         // records as an integer
        b"\x12\x01\x00",                                     // match_seq_num as bytes
        b"\x18\x01",                                         // fencing_token as an integer
        b"\x0A\x02\x18\x01",                                 // body as an integer
        b"\x0A\x03\x0A\x01\x00",                             // timestamp as bytes
        b"\x0A\x00\x1A\x01\xFF",                             // fencing_token not UTF-8
        b"\x0A\x00\x1A\x01\xFF\x1A\x01x",                    // nor where it does not count
        b"\x00\x01",                                         // field number 0
        b"\x7E",                                             // wire type 6
        b"\x7F",                                             // wire type 7
        b"\x7C",                                             // a group's end without its start
        b"\x7B\x08\x01",                                     // a group without its end
        b"\x7B\x74",                                         // the end of another group
        b"\x80\x80\x80\x80\x10\x00",                         // a field number beyond 29 bits
    ];
    for message in cases {
        assert_bad_proto(message);
        let model = messages::AppendInput::decode(message);
        assert!(model.is_err(), "{message:x?}");
    }
}

#[test]
fn groups_may_be_nested_as_deep_as_prost_allows() {
    for depth in [1, 98, 99, 100, 101, 5000] {
        let mut message = vec![0x7B; depth];
        message.extend(vec![0x7C; depth]);
        message.extend(b"\x0A\x00");
        let model = messages::AppendInput::decode(&message[..]);
        assert_eq!(decode(&message).is_ok(), model.is_ok(), "{depth} levels");
    }
    assert_bad_proto(&vec![0x7B; 2 * 1024 * 1024]);
}

#[test]
fn every_cut_of_a_message_that_is_not_between_fields_is_refused() {
    let records = vec![
        record(b"a"),
        messages::AppendRecord {
            timestamp: Some(7),
            headers: vec![header(b"n", b"v")],
            body: vec![1; 200],
        },
    ];
    let whole = messages::AppendInput {
        records,
        match_seq_num: Some(300),
        fencing_token: Some("token".to_owned()),
    }
    .encode_to_vec();
    for cut in 0..whole.len() {
        let model = messages::AppendInput::decode(&whole[..cut]);
        match decode(&whole[..cut]) {
            Err(DecodeError::BadProto(_)) => assert!(model.is_err(), "cut at {cut}"),
            Err(DecodeError::Invalid(_)) => assert_eq!(cut, 0),
            Ok(input) => assert_eq!(input.records.len(), model.unwrap().records.len()),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn record_count_is_one_to_a_thousand() {
    assert_invalid(b"");
    assert_invalid(b"\x10\x00");
    assert_eq!(decode(&batch(vec![record(b"")])).unwrap().metered_bytes, 8);
    assert_eq!(decode(&batch(vec![record(b"x"); 1000])).unwrap().records.len(), 1000);
    assert_invalid(&batch(vec![record(b""); 1001]));
}

#[test]
fn metered_limits_are_inclusive() {
    let most = 1_048_576;
    assert_eq!(decode(&batch(vec![record(&vec![0; most - 8])])).unwrap().metered_bytes, 1_048_576);
    assert_invalid(&batch(vec![record(&vec![0; most - 7])]));
    let half = record(&vec![0; most / 2 - 8]);
    assert!(decode(&batch(vec![half.clone(), half.clone()])).is_ok());
    assert_invalid(&batch(vec![half.clone(), half, record(b"")]));
}

#[test]
fn a_legal_batch_of_the_most_headers_is_taken() {
    let headers = vec![header(b"n", b""); (1_048_576 - 8) / 3];
    let full = messages::AppendRecord { headers, ..Default::default() };
    assert_eq!(decode(&batch(vec![full])).unwrap().headers.len(), 349_522);
}

#[test]
fn commands_and_header_names() {
    let with = |headers: Vec<messages::Header>, body: &[u8]| {
        batch(vec![messages::AppendRecord { headers, ..record(body) }])
    };
    let token = FencingToken::new("t1").unwrap();
    let command = |message: &[u8]| decode(message).unwrap().records[0].command;
    assert_eq!(command(&with(vec![header(b"", b"fence")], b"t1")), Some(Command::Fence(token)));
    let trim = with(vec![header(b"", b"trim")], &7u64.to_be_bytes());
    assert_eq!(command(&trim), Some(Command::Trim(7)));
    assert_eq!(command(&with(vec![header(b"x", b"")], b"")), None);
    for (headers, body) in [
        (vec![header(b"", b"nope")], &b""[..]),
        (vec![header(b"", b"")], b""),
        (vec![header(b"", b"fence"), header(b"x", b"y")], b""),
        (vec![header(b"x", b"y"), header(b"", b"fence")], b""),
        (vec![header(b"", b"fence")], &[b'x'; 37]),
        (vec![header(b"", b"fence")], b"\xFF"),
        (vec![header(b"", b"trim")], b"1234567"),
    ] {
        assert_invalid(&with(headers, body));
    }
}

#[test]
fn a_fencing_token_is_at_most_36_bytes_where_it_counts() {
    let long = field(0x1A, &[b'x'; 37]);
    assert!(decode(&[b"\x0A\x00", &field(0x1A, &[b'x'; 36])[..]].concat()).is_ok());
    assert_invalid(&[b"\x0A\x00", &long[..]].concat());
    assert!(decode(&[&long[..], b"\x0A\x00\x1A\x00"].concat()).is_ok());
}

#[test]
fn malformed_protobuf_wins_over_an_invalid_batch() {
    let invalid = batch(vec![record(b""); 1001]);
    assert_invalid(&invalid);
    assert_bad_proto(&[&invalid[..], b"\x0A\x02\x1A\x01"].concat());
    assert_bad_proto(&[&invalid[..], b"\x0A\x02\x12\x01"].concat());
}

#[test]
fn memory_is_bounded_whatever_a_message_claims() {
    let bytes = 2 * 1024 * 1024;
    // Records without anything, and a record of nothing but empty headers.
    assert_invalid(&b"\x0A\x00".repeat(bytes / 2));
    assert_invalid(&field(0x0A, &b"\x12\x00".repeat(bytes / 2)));
    let mut draft = Draft::with_room_for(b"\x0A\x00");
    let message = field(0x0A, &b"\x12\x00".repeat(bytes / 2));
    draft.read(Fields::of_payload(&message, 0)).unwrap();
    assert!(draft.invalid.is_some());
    assert!(draft.headers_metered_bytes <= BATCH_METERED_BYTES_MAX + 2);
}

#[test]
#[should_panic(expected = "range.end <= payload.len()")]
fn a_range_outside_the_payload_is_a_bug_of_the_caller() {
    drop(decode_append(vec![0; 4], 2..5));
}
