//! Appends in protobuf, against `prost`: both take and refuse the same messages, and read the same
//! records.

use prost::Message as _;
use thalweg::codec::proto::{decode_append, messages};

use crate::append::{Batch, Record, Verdict, of_batch, of_server};

/// The input is the message.
pub fn run(data: &[u8]) {
    let ours = of_decoder(data);
    assert_eq!(ours, of_model(data), "{}", data.escape_ascii());
    // What was accepted is the same message once `prost` has written it again.
    if let (Verdict::Accepted(_), Ok(input)) = (&ours, messages::AppendInput::decode(data)) {
        assert_eq!(of_decoder(&input.encode_to_vec()), ours);
    }
}

fn of_decoder(message: &[u8]) -> Verdict {
    // Spans count from the start of the payload, and what lies around the message is not part of
    // it.
    let payload = [b"\x0A\x05", message, b"\x0A"].concat();
    of_server(decode_append(payload, 2..2 + message.len()))
}

fn of_model(message: &[u8]) -> Verdict {
    let Ok(input) = messages::AppendInput::decode(message) else { return Verdict::Malformed };
    let record = |record: messages::AppendRecord| Record {
        timestamp: record.timestamp,
        headers: record.headers.into_iter().map(|h| (h.name, h.value)).collect(),
        body: record.body,
    };
    let records = input.records.into_iter().map(record).collect();
    let (match_seq_num, fencing_token) = (input.match_seq_num, input.fencing_token);
    of_batch(Batch { records, match_seq_num, fencing_token })
}
