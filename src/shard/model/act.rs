//! Doing operations on the shard: what a client sends, and what it learns.

use serde_json::Value;

use super::plan::{Batch, Op, Upkeep};
use crate::api::query::{ReadQuery, ReadStart};
use crate::codec::{BatchForm, Format};
use crate::io::Clock;
use crate::shard::call::{Answer, Call, Page};
use crate::shard::testkit::{Shard, basin, patch, path};
use crate::types::append::{AppendBuilder, HeaderSpan, Span};
use crate::types::config::Change;
use crate::types::{
    Ack, AppendInput, FencingToken, PartialStreamConfig, Refusal, Retention, StreamConfigPatch,
    StreamPosition,
};

/// A record as a read shows it; bytes that are not UTF-8 come back lossily.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) seq_num: u64,
    pub(super) timestamp: u64,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// What a client learnt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing: it, or the shard, was gone before the answer.
    Unknown,
    Refused(Refusal),
    Acked(Ack),
    Read(Vec<Shown>),
    Tail(StreamPosition),
    Listed(Vec<(String, Option<u64>)>),
    /// Done, and nothing more to say.
    Done,
}

/// An operation, when it was under way (milliseconds since the Unix epoch), and how it ended.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) op: Op,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) outcome: Outcome,
}

impl Upkeep {
    /// Does it. Whatever it is, streams read the same afterwards: the step that holds it is
    /// compared with the model like any other.
    async fn run(self, shard: &Shard) {
        match self {
            Self::Checkpoint => shard.checkpoint().await.expect("the disk is whole"),
            Self::Clean => {
                let epoch = shard.first_needed_epoch().await;
                if epoch < shard.segments.active().epoch {
                    shard.clean(epoch).await.expect("the disk is whole");
                }
            }
        }
    }
}

pub(super) fn wall_ms(shard: &Shard) -> u64 {
    shard.io.wall_us() / 1000
}

/// Does one operation as a client would.
pub(super) async fn act(shard: &Shard, op: &Op) -> Outcome {
    let call = match op {
        Op::Upkeep(upkeep) => {
            upkeep.run(shard).await;
            return Outcome::Done;
        }
        Op::Sleep { us } => {
            shard.io.sleep_us(*us).await;
            return Outcome::Done;
        }
        Op::Create { name, age_secs, standard } => Call::CreateStream {
            path: path(name),
            config: PartialStreamConfig {
                retention: Some(retention(*age_secs)),
                storage_class: standard.then(|| "standard".to_owned()),
                ..PartialStreamConfig::default()
            },
            creation: None,
        },
        Op::Delete { name } => Call::DeleteStream(path(name)),
        Op::Retain { name, age_secs } => {
            let retention = Change::Set(retention(*age_secs));
            patch(name, StreamConfigPatch { retention, ..StreamConfigPatch::default() })
        }
        Op::Append { name, batch } => append(name, input(batch)),
        Op::Read { name, query } => read(name, *query),
        Op::Tail { name } => Call::CheckTail(path(name)),
        Op::List => list(),
    };
    match shard.handle(call).await {
        Ok(answer) => outcome(answer),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Ack(ack, _) => Outcome::Acked(ack),
        Answer::Body(body) => Outcome::Read(parse(&body)),
        Answer::Tail(tail) => Outcome::Tail(tail),
        Answer::Streams(records) => {
            let shown = |record: crate::control::StreamRecord| {
                assert_eq!(record.deleted_us, None, "no answer shows {} half deleted", record.name);
                (record.name, age_secs(record.config.retention))
            };
            Outcome::Listed(records.into_iter().map(shown).collect())
        }
        Answer::Done | Answer::Stream(..) | Answer::StreamConfig(_) => Outcome::Done,
        other => panic!("not asked for: {other:?}"),
    }
}

fn retention(age_secs: Option<u64>) -> Retention {
    age_secs.map_or(Retention::Infinite, Retention::AgeSecs)
}

fn age_secs(retention: Retention) -> Option<u64> {
    match retention {
        Retention::AgeSecs(secs) => Some(secs),
        Retention::Infinite => None,
    }
}

fn append(name: &str, input: AppendInput) -> Call {
    Call::Append { path: path(name), input, auto_create: PartialStreamConfig::default() }
}

fn read(name: &str, query: ReadQuery) -> Call {
    let (form, auto_create) = (BatchForm::Json(Format::Raw), PartialStreamConfig::default());
    Call::Read { path: path(name), query, form, auto_create }
}

fn list() -> Call {
    let page = Page { prefix: String::new(), start_after: String::new(), limit: 1000 };
    Call::ListStreams(basin(), page)
}

fn input(batch: &Batch) -> AppendInput {
    let mut buf = Vec::new();
    let mut builder = AppendBuilder::default();
    let span = |buf: &mut Vec<u8>, bytes: &[u8]| {
        let number = |n: usize| u32::try_from(n).expect("small");
        buf.extend_from_slice(bytes);
        Span { offset: number(buf.len() - bytes.len()), len: number(bytes.len()) }
    };
    for record in &batch.records {
        for (name, value) in &record.headers {
            let name = span(&mut buf, name.as_bytes());
            let value = span(&mut buf, value.as_bytes());
            builder.push_header(HeaderSpan { name, value });
        }
        let body = span(&mut buf, &record.body);
        builder.push_record(&buf, record.client_ms, body).expect("a legal record");
    }
    builder.finish(buf, batch.match_seq_num, batch.token).expect("a legal batch")
}

fn parse(body: &[u8]) -> Vec<Shown> {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = body["records"].as_array().expect("records").iter().map(|record| Shown {
        seq_num: record["seq_num"].as_u64().expect("a number"),
        timestamp: record["timestamp"].as_u64().expect("a number"),
        headers: record["headers"].as_array().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (text(&header[0]), text(&header[1]))).collect()
        }),
        body: text(&record["body"]),
    });
    records.collect()
}

/// A stream as it shows itself when nothing else is under way.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) tail: StreamPosition,
    pub(super) age_secs: Option<u64>,
    pub(super) token: FencingToken,
    /// All that can be read, without a gap up to the tail.
    pub(super) records: Vec<Shown>,
    /// When the look began and ended, milliseconds since the Unix epoch.
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
}

impl Seen {
    /// The first record that can be read, or the tail.
    pub(super) fn first(&self) -> u64 {
        self.records.first().map_or(self.tail.seq_num, |record| record.seq_num)
    }
}

/// Looks at a stream; `None` when there is none of this name.
pub(super) async fn look(shard: &Shard, name: &'static str) -> Option<Seen> {
    let from_ms = wall_ms(shard);
    let tail = match shard.handle(Call::CheckTail(path(name))).await {
        Ok(Answer::Tail(tail)) => tail,
        Err(Refusal::StreamNotFound(_)) => return None,
        other => panic!("the tail of {name}: {other:?}"),
    };
    let age_secs = match shard.handle(Call::GetStream(path(name))).await {
        Ok(Answer::StreamConfig(config)) => age_secs(config.retention),
        other => panic!("the configuration of {name}: {other:?}"),
    };
    let token = probe_token(shard, name).await;
    let records = read_all(shard, name, tail.seq_num).await;
    Some(Seen { tail, age_secs, token, records, from_ms, to_ms: wall_ms(shard) })
}

/// Asks for the fencing token by an append that is refused for having another.
async fn probe_token(shard: &Shard, name: &str) -> FencingToken {
    let body = b"never to be seen".to_vec();
    let record = super::plan::Sent { client_ms: None, headers: Vec::new(), body, command: None };
    let token = Some(FencingToken::new("of the one who looks").expect("short"));
    let batch = Batch { records: vec![record], match_seq_num: None, token };
    match shard.handle(append(name, input(&batch))).await {
        Err(Refusal::FencingTokenMismatch(token)) => token,
        other => panic!("the token of {name}: {other:?}"),
    }
}

/// Reads everything up to `tail`.
async fn read_all(shard: &Shard, name: &str, tail: u64) -> Vec<Shown> {
    let mut records: Vec<Shown> = Vec::new();
    let (mut next, mut begun) = (0, 1);
    while next < tail {
        let start = ReadStart::SeqNum(next);
        let query = ReadQuery {
            start,
            clamp: false,
            count: None,
            bytes: None,
            until: None,
            wait_secs: None,
        };
        let part = match shard.handle(read(name, query)).await {
            Ok(Answer::Body(body)) => parse(&body),
            other => panic!("{name} from {next}: {other:?}"),
        };
        let follows = part.first().is_some_and(|record| record.seq_num == next);
        if !records.is_empty() && !follows {
            // Retention went past us between two parts: what was read before is gone by now.
            assert!(begun < 20, "{name} has a gap at {next}");
            records.clear();
            (next, begun) = (0, begun + 1);
            continue;
        }
        let Some(last) = part.last() else { break };
        next = last.seq_num + 1;
        records.extend(part);
    }
    assert!(records.is_sorted_by(|a, b| a.seq_num + 1 == b.seq_num), "{name} has a gap");
    records
}

/// The streams of the basin, as listed.
pub(super) async fn list_all(shard: &Shard) -> Vec<(String, Option<u64>)> {
    match shard.handle(list()).await.map(outcome) {
        Ok(Outcome::Listed(streams)) => streams,
        other => panic!("the listing: {other:?}"),
    }
}
