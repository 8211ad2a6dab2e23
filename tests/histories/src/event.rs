//! One line of a history: a JSON object that says that an operation began or ended.
//!
//! The order of the lines is the order in time. Names and shapes are those of the public model
//! (see the crate's documentation); nothing may be added to them, because its reader is strict.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    pub event: Event,
    /// Who did it. One client has at most one operation under way.
    pub client_id: u64,
    /// Which operation it belongs to; unique in the history.
    pub op_id: u64,
}

/// An operation began or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It is about to be sent.
    Start(Start),
    /// Its outcome is known, or it is known that nobody will ever know.
    Finish(Finish),
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// An append of one batch.
    Append(Append),
    /// A read of everything, from the first record to the tail.
    Read,
    /// A question for the tail.
    CheckTail,
}

/// The batch of an append, with its conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// As many as there are `record_hashes`.
    pub num_records: u64,
    /// XXH3 of each record's body, in order.
    pub record_hashes: Vec<u64>,
    /// The token that the batch sets, if it is a fence; its body is the token.
    pub set_fencing_token: Option<String>,
    /// Condition: the stream's token.
    pub fencing_token: Option<String>,
    /// Condition: the stream's tail.
    pub match_seq_num: Option<u64>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// The append had no effect and never will have.
    AppendDefiniteFailure,
    /// The append has taken effect, or will, or neither. Stands after all other lines of a
    /// history, because it may take effect until then.
    AppendIndefiniteFailure,
    /// The append has taken effect.
    AppendSuccess {
        /// The sequence number after its last record.
        tail: u64,
    },
    /// Nothing was learnt.
    CheckTailFailure,
    /// An answer to [`Start::CheckTail`].
    CheckTailSuccess {
        /// The next sequence number to be assigned.
        tail: u64,
    },
    /// Nothing was learnt.
    ReadFailure,
    /// An answer to [`Start::Read`].
    ReadSuccess {
        /// The sequence number after the last record, 0 for an empty stream.
        tail: u64,
        /// [`chain`] over all records.
        stream_hash: u64,
    },
}

/// The hash of a record's body.
pub fn record_hash(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// The hash of a stream that a record was added to; that of an empty stream is 0.
pub fn chain(stream_hash: u64, record_hash: u64) -> u64 {
    xxh3_64_with_seed(&record_hash.to_le_bytes(), stream_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors stand in the tests of both halves of the public model.
    #[test]
    fn hashes_are_those_of_the_public_model() {
        assert_eq!(record_hash(b"foo"), 0xab6e_5f64_077e_7d8a);
        let foo = chain(0, record_hash(b"foo"));
        let bar = chain(foo, record_hash(b"bar"));
        let baz = chain(bar, record_hash(b"baz"));
        assert_eq!([foo, bar], [0x4d2b_003e_e417_c3a5, 0x132e_5d5d_d793_6edd]);
        assert_eq!(baz, 0x732e_e99a_bc50_02ff);
    }

    #[test]
    fn lines_are_spelled_as_the_public_model_reads_them() {
        let append = Append {
            num_records: 1,
            record_hashes: vec![u64::MAX],
            set_fencing_token: None,
            fencing_token: Some("a".into()),
            match_seq_num: Some(2733),
        };
        let cases = [
            (
                Event::Start(Start::Append(append)),
                concat!(
                    r#"{"Start":{"Append":{"num_records":1,"#,
                    r#""record_hashes":[18446744073709551615],"#,
                    r#""set_fencing_token":null,"fencing_token":"a","match_seq_num":2733}}}"#
                ),
            ),
            (Event::Start(Start::Read), r#"{"Start":"Read"}"#),
            (Event::Start(Start::CheckTail), r#"{"Start":"CheckTail"}"#),
            (
                Event::Finish(Finish::AppendSuccess { tail: 9 }),
                r#"{"Finish":{"AppendSuccess":{"tail":9}}}"#,
            ),
            (Event::Finish(Finish::AppendDefiniteFailure), r#"{"Finish":"AppendDefiniteFailure"}"#),
            (
                Event::Finish(Finish::AppendIndefiniteFailure),
                r#"{"Finish":"AppendIndefiniteFailure"}"#,
            ),
            (
                Event::Finish(Finish::ReadSuccess { tail: 7, stream_hash: 42 }),
                r#"{"Finish":{"ReadSuccess":{"tail":7,"stream_hash":42}}}"#,
            ),
            (Event::Finish(Finish::ReadFailure), r#"{"Finish":"ReadFailure"}"#),
            (
                Event::Finish(Finish::CheckTailSuccess { tail: 3 }),
                r#"{"Finish":{"CheckTailSuccess":{"tail":3}}}"#,
            ),
            (Event::Finish(Finish::CheckTailFailure), r#"{"Finish":"CheckTailFailure"}"#),
        ];
        for (event, spelled) in cases {
            let line = Line { event, client_id: 2, op_id: 4984 };
            let json = format!(r#"{{"event":{spelled},"client_id":2,"op_id":4984}}"#);
            assert_eq!(serde_json::to_string(&line).unwrap(), json);
            assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        }
    }
}
