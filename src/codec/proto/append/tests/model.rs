//! The decoder against `prost`: both take and refuse the same messages, and read the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Timestamp, headers, body.
type Plain = (Option<u64>, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

#[derive(Debug, PartialEq)]
enum Verdict {
    BadProto,
    Invalid,
    Accepted { records: Vec<Plain>, match_seq_num: Option<u64>, fencing_token: Option<String> },
}

fn verdict_of_model(message: &[u8]) -> Verdict {
    let Ok(input) = messages::AppendInput::decode(message) else { return Verdict::BadProto };
    let plain = |record: messages::AppendRecord| {
        let headers = record.headers.into_iter().map(|h| (h.name, h.value)).collect();
        (record.timestamp, headers, record.body)
    };
    let records: Vec<Plain> = input.records.into_iter().map(plain).collect();
    let token_fits = input.fencing_token.as_ref().is_none_or(|token| token.len() <= 36);
    if !token_fits || records.is_empty() || !records.iter().all(is_legal) {
        return Verdict::Invalid;
    }
    let (match_seq_num, fencing_token) = (input.match_seq_num, input.fencing_token);
    Verdict::Accepted { records, match_seq_num, fencing_token }
}

/// Section 4.3; batches here are too small to break the limits of 4.2.
fn is_legal((_, headers, body): &Plain) -> bool {
    match &headers[..] {
        [(name, value)] if name.is_empty() => match &value[..] {
            b"fence" => body.len() <= 36 && std::str::from_utf8(body).is_ok(),
            b"trim" => body.len() == 8,
            _ => false,
        },
        headers => headers.iter().all(|(name, _)| !name.is_empty()),
    }
}

fn verdict_of_decoder(message: &[u8]) -> Verdict {
    let input = match decode(message) {
        Ok(input) => input,
        Err(DecodeError::BadProto(_)) => return Verdict::BadProto,
        Err(DecodeError::Invalid(_)) => return Verdict::Invalid,
        Err(other) => panic!("{other:?}"),
    };
    let bytes = |span: Span| span.of(&input.buf).to_vec();
    let plain = |record: &crate::types::RecordSpan| {
        let headers = input.headers_of(record).iter();
        let headers = headers.map(|h| (bytes(h.name), bytes(h.value))).collect();
        (record.timestamp, headers, bytes(record.body))
    };
    Verdict::Accepted {
        records: input.records.iter().map(plain).collect(),
        match_seq_num: input.match_seq_num,
        fencing_token: input.fencing_token.map(|token| token.as_str().to_owned()),
    }
}

fn any_header() -> impl Strategy<Value = messages::Header> {
    let name = prop_oneof![3 => vec(any::<u8>(), 1..6), 1 => Just(Vec::new())];
    let value =
        prop_oneof![vec(any::<u8>(), 0..200), Just(b"fence".to_vec()), Just(b"trim".to_vec()),];
    (name, value).prop_map(|(name, value)| messages::Header { name, value })
}

fn any_record() -> impl Strategy<Value = messages::AppendRecord> {
    let body = prop_oneof![vec(any::<u8>(), 0..300), vec(any::<u8>(), 8), Just(b"tok".to_vec())];
    (any::<Option<u64>>(), vec(any_header(), 0..4), body)
        .prop_map(|(timestamp, headers, body)| messages::AppendRecord { timestamp, headers, body })
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let match_seq_num = prop_oneof![any::<Option<u64>>(), Just(Some(0))];
    (vec(any_record(), 0..5), match_seq_num, proptest::option::of(".{0,20}")).prop_map(
        |(records, match_seq_num, fencing_token)| {
            messages::AppendInput { records, match_seq_num, fencing_token }.encode_to_vec()
        },
    )
}

/// Bytes that look like fields, so that random messages get past their first byte.
fn fieldish() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"\x08\x0A\x10\x12\x18\x1A\x22\x7B\x7C\x79\x7D\x00\x01\x02\x04"[..]),
        1 => any::<u8>(),
    ];
    vec(byte, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn valid_messages_read_as_prost_reads_them(message in any_message()) {
        prop_assert_eq!(verdict_of_decoder(&message), verdict_of_model(&message));
    }

    #[test]
    fn mutated_messages_too(
        message in any_message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut message = message;
        for (at, byte, change) in changes {
            let at = at.index(message.len() + 1);
            match change {
                0 => message.truncate(at),
                1 => message.insert(at, byte),
                2 if at < message.len() => drop(message.remove(at)),
                _ if at < message.len() => message[at] = byte,
                _ => {}
            }
        }
        prop_assert_eq!(verdict_of_decoder(&message), verdict_of_model(&message));
    }

    #[test]
    fn spliced_messages_too(parts in vec(prop_oneof![any_message(), fieldish()], 0..4)) {
        let message = parts.concat();
        prop_assert_eq!(verdict_of_decoder(&message), verdict_of_model(&message));
    }
}
