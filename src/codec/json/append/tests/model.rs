//! The decoder against serde_json: another parser, another idea of the same rules.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Deserializer};

use super::*;

#[derive(Debug, Deserialize)]
struct Body {
    records: Vec<Record>,
    #[serde(default)]
    match_seq_num: Option<u64>,
    #[serde(default, deserialize_with = "token")]
    fencing_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Record {
    #[serde(default)]
    timestamp: Option<u64>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
}

fn token<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(text) if text.len() > 36 => Err(serde::de::Error::custom("too long")),
        text => Ok(text),
    }
}

/// What the decoder should say of a body, without its words.
#[derive(Debug, PartialEq)]
enum Verdict {
    BadJson,
    Invalid,
    Accepted { records: Vec<Plain>, match_seq_num: Option<u64>, fencing_token: Option<String> },
}

/// Timestamp, headers, body.
type Plain = (Option<u64>, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

fn verdict_of_model(json: &[u8], format: Format) -> Verdict {
    let Ok(body) = serde_json::from_slice::<Body>(json) else {
        return Verdict::BadJson;
    };
    // serde takes an array for a struct; the API does not.
    let has_objects = serde_json::from_slice::<serde_json::Value>(json).is_ok_and(|v| {
        let records = v.get("records").and_then(serde_json::Value::as_array);
        v.is_object() && records.is_some_and(|r| r.iter().all(serde_json::Value::is_object))
    });
    if !has_objects {
        return Verdict::BadJson;
    }
    let bytes = |text: &String| match format {
        Format::Raw => Some(text.clone().into_bytes()),
        Format::Base64 => STANDARD.decode_to_vec(text).ok(),
    };
    let plain = |record: &Record| -> Option<Plain> {
        let headers = record.headers.iter().map(|(n, v)| Some((bytes(n)?, bytes(v)?)));
        Some((record.timestamp, headers.collect::<Option<Vec<_>>>()?, bytes(&record.body)?))
    };
    match body.records.iter().map(plain).collect::<Option<Vec<Plain>>>() {
        Some(records) if is_legal(&records) => Verdict::Accepted {
            records,
            match_seq_num: body.match_seq_num,
            fencing_token: body.fencing_token,
        },
        _ => Verdict::Invalid,
    }
}

/// Sections 4.2 and 4.3, as far as small batches can break them.
fn is_legal(records: &[Plain]) -> bool {
    let record_is_legal = |(_, headers, body): &Plain| match &headers[..] {
        [(name, value)] if name.is_empty() => match &value[..] {
            b"fence" => body.len() <= 36 && std::str::from_utf8(body).is_ok(),
            b"trim" => body.len() == 8,
            _ => false,
        },
        many => many.iter().all(|(name, _)| !name.is_empty()),
    };
    (1..=1000).contains(&records.len()) && records.iter().all(record_is_legal)
}

fn verdict_of_decoder(json: &[u8], format: Format) -> Verdict {
    // At an odd place of a larger buffer: spans count from the buffer's start.
    let buf = [b"\xFF{\"", json, b"\"}]"].concat();
    let body = BodyBuf::new(buf, 3, 3 + json.len());
    let input = match AppendDecoder::new().decode(body, format) {
        Ok(input) => input,
        Err(DecodeError::BadJson(_)) => return Verdict::BadJson,
        Err(DecodeError::Invalid(_)) => return Verdict::Invalid,
        Err(other) => panic!("{other:?}"),
    };
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    let plain = |index: usize| -> Plain {
        let headers = headers_of(&input, index).into_iter().map(owned).collect();
        (input.records[index].timestamp, headers, body_of(&input, index).to_vec())
    };
    Verdict::Accepted {
        records: (0..input.records.len()).map(plain).collect(),
        match_seq_num: input.match_seq_num,
        fencing_token: input.fencing_token.map(|t| t.as_str().to_owned()),
    }
}

/// `text` as a JSON string, characters escaped as the bits of `choices` say.
fn quoted(text: &str, choices: u64) -> String {
    let mut json = String::from("\"");
    for (index, c) in text.chars().enumerate() {
        let must = matches!(c, '"' | '\\' | '\0'..='\u{1f}');
        if must || (choices >> (index % 64)) & 1 == 1 {
            for unit in c.encode_utf16(&mut [0; 2]) {
                json.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            json.push(c);
        }
    }
    json + "\""
}

fn string() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        4 => "[a-z\"\\\\/\n\t\u{0}\u{7f}é日😀]{0,12}",
        2 => "\\PC{0,70}",
        3 => vec(any::<u8>(), 0..60).prop_map(|b| STANDARD.encode_to_string(b)),
        1 => Just("fence".to_owned()),
        1 => Just("trim".to_owned()),
        1 => Just("\0\0\0\0\0\0\0\u{5}".to_owned()),
        1 => Just(String::new()),
    ];
    let choices =
        prop_oneof![Just(0), any::<u64>(), (any::<u64>(), any::<u64>()).prop_map(|(a, b)| a & b)];
    (text, choices).prop_map(|(text, choices)| quoted(&text, choices))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => any::<u64>().prop_map(|n| n.to_string()),
        3 => (0_u64..10).prop_map(|n| n.to_string()),
        2 => Just("null".to_owned()),
        1 => prop::sample::select(vec!["-0", "1.0", "1e3", "-1", "18446744073709551616", "01"])
            .prop_map(str::to_owned),
    ]
}

fn member(
    name: &'static str,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    value.prop_map(move |v| format!("\"{name}\":{v}"))
}

fn list(open: char, close: char, items: &[String]) -> String {
    format!("{open}{}{close}", items.join(","))
}

fn record() -> impl Strategy<Value = String> {
    let pair = vec(string(), 2).prop_map(|p| list('[', ']', &p));
    let headers = vec(pair, 0..3).prop_map(|h| list('[', ']', &h));
    let known = prop_oneof![
        30 => member("body", string()),
        20 => member("headers", headers),
        15 => member("timestamp", number()),
        10 => member("unknown", prop_oneof![string(), number()]),
        1 => member("body", Just("null".to_owned())),
        1 => member("headers", Just("[[\"a\"]]".to_owned())),
    ];
    vec(known, 0..3).prop_map(|m| list('{', '}', &m))
}

/// Bodies that are mostly right.
fn body() -> impl Strategy<Value = String> {
    let records = member("records", vec(record(), 1..4).prop_map(|r| list('[', ']', &r)));
    let others = vec(
        prop_oneof![
            member("match_seq_num", number()),
            member("fencing_token", string()),
            member("x", record()),
        ],
        0..3,
    );
    (records, others).prop_map(|(records, mut members)| {
        members.insert(members.len() / 2, records);
        list('{', '}', &members)
    })
}

/// `body` with one byte changed, taken out or put in.
fn damaged(body: &[u8], at: usize, kind: u8, byte: u8) -> Vec<u8> {
    let mut damaged = body.to_vec();
    let at = at % damaged.len();
    match kind % 3 {
        0 => damaged[at] = byte,
        1 => drop(damaged.remove(at)),
        _ => damaged.insert(at, byte),
    }
    damaged
}

fn tricky_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        prop::sample::select(b"\0\"\\[]{},:019-.eEudD \n\x0c\x0btfn\x7f\x80\xff".to_vec()),
        any::<u8>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn says_what_the_model_says_of_bodies_mostly_right(json in body(), is_base64 in any::<bool>()) {
        let format = if is_base64 { Format::Base64 } else { Format::Raw };
        let json = json.as_bytes();
        prop_assert_eq!(verdict_of_decoder(json, format), verdict_of_model(json, format));
    }

    #[test]
    fn says_what_the_model_says_of_damaged_bodies(
        json in body(),
        at in any::<usize>(),
        kind in any::<u8>(),
        byte in tricky_byte(),
    ) {
        let json = damaged(json.as_bytes(), at, kind, byte);
        let (ours, model) =
            (verdict_of_decoder(&json, Format::Raw), verdict_of_model(&json, Format::Raw));
        prop_assert_eq!(ours, model, "{}", String::from_utf8_lossy(&json));
    }
}
