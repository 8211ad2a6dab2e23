//! What an answer says about an append: acknowledged, refused, or left in doubt.

use prost::Message;
use serde::Deserialize;

use crate::cli::Protocol;
use crate::proto::AppendAck;
use crate::receipts::Receipt;
use crate::setup::error_code;

/// Of an error of a server of another kind, so much is shown.
const ERROR_BYTES_SHOWN: usize = 80;

/// What became of one append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the stream, from this sequence number on.
    Acked { start: u64 },
    /// It is not in the stream; how the answer is called.
    Refused(String),
    /// Nobody knows; how that came about.
    Doubtful(String),
}

/// A range that an acknowledgement names.
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The range of an acknowledgement in protobuf, and the receipt if there is one in it; `None` when
/// it is no acknowledgement.
pub(crate) fn decode_ack(body: &[u8]) -> Option<(Range, Option<Receipt>)> {
    let AppendAck { start: Some(start), end: Some(end), tail: Some(_), receipt } =
        AppendAck::decode(body).ok()?
    else {
        return None;
    };
    Some((Range { start: start.seq_num, end: end.seq_num }, receipt))
}

/// What `range` says about an append of `count` records.
pub(crate) fn judge_range(range: &Range, count: u16) -> Outcome {
    if range.start.checked_add(u64::from(count)) == Some(range.end) {
        Outcome::Acked { start: range.start }
    } else {
        Outcome::Doubtful("acknowledgement of a range that is not the append's".to_owned())
    }
}

/// What an answer to a unary append of `count` records says about it.
pub(crate) fn judge(protocol: Protocol, status: u16, body: &[u8], count: u16) -> Outcome {
    #[derive(Deserialize)]
    struct Position {
        seq_num: u64,
    }
    #[derive(Deserialize)]
    struct Ack {
        start: Position,
        end: Position,
    }
    if protocol.is_foreign() {
        return judge_foreign(status, body);
    }
    if status == 200 {
        let range = match protocol {
            Protocol::Json => serde_json::from_slice::<Ack>(body)
                .ok()
                .map(|Ack { start, end }| Range { start: start.seq_num, end: end.seq_num }),
            // A unary answer has its receipt in a header.
            _ => decode_ack(body).map(|(range, _)| range),
        };
        return match range {
            Some(range) => judge_range(&range, count),
            None => Outcome::Doubtful("200 without an acknowledgement".to_owned()),
        };
    }
    judge_error(status, body, "")
}

/// What a server of another kind says about an append: it names no range of ours.
fn judge_foreign(status: u16, body: &[u8]) -> Outcome {
    match status {
        200 | 204 => Outcome::Acked { start: 0 },
        _ => {
            let words = String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES_SHOWN)]);
            Outcome::Doubtful(format!("{status} {}", words.trim()))
        }
    }
}

/// What an error says about the append it answers; `origin` goes in front of its name.
pub(crate) fn judge_error(status: u16, body: &[u8], origin: &str) -> Outcome {
    let code = error_code(body);
    let is_clean = match status {
        // Source: S2 specification, section 2.2, column "Clean". 502 `hot_server` and 503
        // `server_draining` promise that nothing happened; a bare 502 or 503 does not.
        408 | 499 | 500 | 504 => false,
        502 => code == "hot_server",
        503 => code == "server_draining",
        _ => (400..600).contains(&status),
    };
    let kind = format!("{origin}{status} {code}");
    if is_clean { Outcome::Refused(kind) } else { Outcome::Doubtful(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Position;

    fn refused(kind: &str) -> Outcome {
        Outcome::Refused(kind.to_owned())
    }

    fn doubtful(kind: &str) -> Outcome {
        Outcome::Doubtful(kind.to_owned())
    }

    const OTHER_RANGE: &str = "acknowledgement of a range that is not the append's";

    #[test]
    fn answers_are_acknowledgements_refusals_or_leave_doubt() {
        let ack = r#"{"start":{"seq_num":5,"timestamp":1},"end":{"seq_num":7,"timestamp":1},"tail":{"seq_num":9,"timestamp":2}}"#;
        let code = |code: &str| format!(r#"{{"code":"{code}","message":"m"}}"#);
        for (status, body, outcome) in [
            (200, ack.to_owned(), Outcome::Acked { start: 5 }),
            (200, ack.replace('7', "8"), doubtful(OTHER_RANGE)),
            (200, "{}".to_owned(), doubtful("200 without an acknowledgement")),
            (201, ack.to_owned(), doubtful("201 end")),
            (412, r#"{"seq_num_mismatch":3}"#.to_owned(), refused("412 seq_num_mismatch")),
            (422, code("invalid"), refused("422 invalid")),
            (429, code("rate_limited"), refused("429 rate_limited")),
            (404, String::new(), refused("404 without JSON body")),
            (502, code("hot_server"), refused("502 hot_server")),
            (502, "<html>".to_owned(), doubtful("502 without JSON body")),
            (503, code("server_draining"), refused("503 server_draining")),
            (503, code("unavailable"), doubtful("503 unavailable")),
            (500, code("storage"), doubtful("500 storage")),
            (504, code("upstream_timeout"), doubtful("504 upstream_timeout")),
            (408, code("request_timeout"), doubtful("408 request_timeout")),
        ] {
            let found = judge(Protocol::Json, status, body.as_bytes(), 2);
            assert_eq!(found, outcome, "{status} {body}");
        }
    }

    #[test]
    fn servers_of_another_kind_acknowledge_by_their_status_alone() {
        for protocol in [Protocol::Redis, Protocol::DurableStreams] {
            let acked = Outcome::Acked { start: 0 };
            assert_eq!(judge(protocol, 200, b"$3\r\n1-0\r\n", 1), acked);
            assert_eq!(judge(protocol, 204, b"", 1), acked);
            assert_eq!(judge(protocol, 400, b"ERR no\n", 1), doubtful("400 ERR no"));
        }
    }

    #[test]
    fn protobuf_acknowledgements_need_all_their_positions() {
        let at = |seq_num| Some(Position { seq_num, timestamp: 1 });
        let ack = AppendAck { start: at(5), end: at(7), tail: at(7), receipt: None };
        for (ack, outcome) in [
            (ack.clone(), Outcome::Acked { start: 5 }),
            (AppendAck { end: at(6), ..ack.clone() }, doubtful(OTHER_RANGE)),
            (AppendAck { start: at(u64::MAX), ..ack.clone() }, doubtful(OTHER_RANGE)),
            (AppendAck { tail: None, ..ack.clone() }, doubtful("200 without an acknowledgement")),
            (AppendAck { start: None, ..ack }, doubtful("200 without an acknowledgement")),
        ] {
            let found = judge(Protocol::Proto, 200, &ack.encode_to_vec(), 2);
            assert_eq!(found, outcome, "{ack:?}");
        }
        let noise = judge(Protocol::Proto, 200, b"\xff\xff", 2);
        assert_eq!(noise, doubtful("200 without an acknowledgement"));
        let error = judge(Protocol::Proto, 422, br#"{"code":"invalid"}"#, 2);
        assert_eq!(error, refused("422 invalid"), "errors are JSON whatever was asked for");
    }
}
