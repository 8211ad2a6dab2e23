//! Appends in JSON, against `serde_json` and the `base64` crate: both take and refuse the same
//! bodies, and read the same records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thalweg::codec::Format;
use thalweg::codec::json::AppendDecoder;
use thalweg::wire::BodyBuf;

use crate::append::{Batch, Record, Verdict, of_batch, of_server};

#[derive(Deserialize)]
struct Body {
    records: Vec<BodyRecord>,
    #[serde(default)]
    match_seq_num: Option<u64>,
    #[serde(default, deserialize_with = "token")]
    fencing_token: Option<String>,
}

#[derive(Deserialize)]
struct BodyRecord {
    #[serde(default)]
    timestamp: Option<u64>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
}

/// A token that is too long is a matter of shape in JSON (S2 specification, section 4.1).
fn token<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(text) if text.len() > 36 => Err(serde::de::Error::custom("too long")),
        text => Ok(text),
    }
}

/// The first byte chooses how strings hold bytes, the others are the body.
pub fn run(data: &[u8]) {
    let Some((choice, json)) = data.split_first() else { return };
    let format = if choice % 2 == 0 { Format::Raw } else { Format::Base64 };
    let ours = of_decoder(&mut AppendDecoder::new(), json, format);
    // `serde_json` does not go deeper than 127 levels; the decoder keeps no level on the stack.
    if let Some(model) = of_model(json, format) {
        assert_eq!(ours, model, "{format:?} {}", json.escape_ascii());
    }
    // What a decoder keeps from one body to the next changes nothing.
    let mut used = AppendDecoder::new();
    let before = br#"{"records":[{"body":"eA==","headers":[["bg==","dg=="]],"timestamp":1}]}"#;
    of_decoder(&mut used, before, Format::Base64);
    assert_eq!(of_decoder(&mut used, json, format), ours);
}

fn of_decoder(decoder: &mut AppendDecoder, json: &[u8], format: Format) -> Verdict {
    // At an odd place of a larger buffer: spans count from the buffer's start, and what lies
    // around the body is not part of it.
    let buf = [b"\xFF{\"", json, b"\"}]"].concat();
    let body = BodyBuf::new(buf, 3, 3 + json.len());
    of_server(decoder.decode(body, format))
}

/// Whether anything looks like a number with an exponent of three digits or more. What is beyond a
/// float in that way is refused by `simd-json`, where `serde_json` takes `0E999` for zero.
fn has_long_exponent(json: &[u8]) -> bool {
    json.iter().enumerate().filter(|(_, byte)| matches!(byte, b'e' | b'E')).any(|(at, _)| {
        let rest = &json[at + 1..];
        let rest = rest.strip_prefix(b"+").or(rest.strip_prefix(b"-")).unwrap_or(rest);
        rest.len() >= 3 && rest[..3].iter().all(u8::is_ascii_digit)
    })
}

/// `None` when the model cannot tell.
fn of_model(json: &[u8], format: Format) -> Option<Verdict> {
    let too_deep = |error: &serde_json::Error| error.to_string().contains("recursion limit");
    let value = match serde_json::from_slice::<Value>(json) {
        Ok(value) => value,
        Err(error) if too_deep(&error) => return None,
        // `simd-json` counts exponents in 32 bits: of a member that nobody reads it takes them.
        Err(_) if has_long_exponent(json) => return None,
        Err(_) => return Some(Verdict::Malformed),
    };
    if has_long_exponent(json) {
        return None;
    }
    // serde takes an array for a struct; the API does not.
    let records = value.get("records").and_then(Value::as_array);
    let has_objects = value.is_object() && records.is_some_and(|r| r.iter().all(Value::is_object));
    // Repeated members are refused only here: a `Value` has the last of them.
    let body = match serde_json::from_slice::<Body>(json) {
        Ok(body) if has_objects => body,
        _ => return Some(Verdict::Malformed),
    };
    let Body { records, match_seq_num, fencing_token } = body;
    let bytes = |text: String| match format {
        Format::Raw => Some(text.into_bytes()),
        Format::Base64 => STANDARD.decode(text).ok(),
    };
    let record = |record: BodyRecord| -> Option<Record> {
        let headers = record.headers.into_iter().map(|(n, v)| Some((bytes(n)?, bytes(v)?)));
        let headers = headers.collect::<Option<Vec<_>>>()?;
        Some(Record { timestamp: record.timestamp, headers, body: bytes(record.body)? })
    };
    let Some(records) = records.into_iter().map(record).collect::<Option<Vec<_>>>() else {
        return Some(Verdict::Invalid);
    };
    Some(of_batch(Batch { records, match_seq_num, fencing_token }))
}
