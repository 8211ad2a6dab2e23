//! Doing operations on the shard: what a client sends, and what it learns.

use serde_json::Value;

use super::plan::{Batch, Op, Upkeep};
use crate::api::query::{ReadQuery, ReadStart};
use crate::audit::Origin;
use crate::codec::{BatchForm, Format};
use crate::io::Clock;
use crate::shard::call::{Answer, Asked, Call, Page};
use crate::shard::folder::FoldError;
use crate::shard::testkit::{Shard, basin, patch, path};
use crate::types::append::{AppendBuilder, HeaderSpan, Span};
use crate::types::config::Change;
use crate::types::refusal::chain;
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
#[derive(Debug, Clone)]
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
    /// The shard's own work failed, and promised nothing; told when the test fails.
    #[expect(dead_code, reason = "shown by Debug alone")]
    Unfinished(String),
}

/// An operation, when it was under way (milliseconds since the Unix epoch), and how it ended.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) op: Op,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// The same on the monotonic clock of that life, in microseconds; `None` if it never ended.
    pub(super) began_us: u64,
    pub(super) to_us: Option<u64>,
    pub(super) outcome: Outcome,
}

impl Upkeep {
    /// Does it. Whatever it is, and whatever comes of it, streams read the same afterwards: the
    /// step that holds it is compared with the model like any other.
    async fn run(self, shard: &Shard) -> Outcome {
        let text = |error: &dyn std::error::Error| Outcome::Unfinished(chain(error));
        match self {
            Self::Checkpoint => match shard.checkpoint().await {
                Ok(()) => Outcome::Done,
                Err(error) => text(&error),
            },
            Self::Clean => {
                let epoch = shard.first_needed_epoch().await;
                if epoch >= shard.segments.active().epoch {
                    return Outcome::Done;
                }
                match shard.clean(epoch).await {
                    Ok(_) => Outcome::Done,
                    Err(error) => text(&error),
                }
            }
            Self::Fold => match shard.fold_step().await {
                // Right after the log went on in another segment.
                Ok(_) | Err(FoldError::NothingBehind(_)) => Outcome::Done,
                Err(error) => text(&error),
            },
        }
    }
}

pub(super) fn wall_ms(shard: &Shard) -> u64 {
    shard.io.wall_us() / 1000
}

/// The latest that the wall clock ever showed: no arrival is later, wherever it was set back to.
pub(super) fn high_ms(shard: &Shard) -> u64 {
    shard.io.wall_high_us() / 1000
}

/// Does one operation as a client would.
pub(super) async fn act(shard: &Shard, op: &Op) -> Outcome {
    let call = match op {
        Op::Upkeep(upkeep) => return upkeep.run(shard).await,
        Op::Sleep { us } => {
            shard.io.sleep_us(*us).await;
            return Outcome::Done;
        }
        Op::Create { name, age_secs, standard, empty_secs } => Call::CreateStream {
            path: path(name),
            config: PartialStreamConfig {
                retention: Some(retention(*age_secs)),
                storage_class: standard.then(|| "standard".to_owned()),
                delete_on_empty_min_age_secs: Some(*empty_secs),
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
        Op::Tail { name } => Call::CheckTail(path(name), Origin::default()),
        Op::List => list(),
    };
    match shard.handle(call).await {
        Ok(answer) => outcome(answer),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Ack(ack, ..) => Outcome::Acked(ack),
        Answer::Body(body, _) => Outcome::Read(parse(&body)),
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
    Call::Append { path: path(name), key: None, input, asked: Asked::default(), receipt: false }
}

fn read(name: &str, query: ReadQuery) -> Call {
    let (form, asked) = (BatchForm::Json(Format::Raw), Asked::default());
    Call::Read { path: path(name), key: None, query, form, asked }
}

pub(super) fn list() -> Call {
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
    /// When the look began, milliseconds since the Unix epoch.
    pub(super) from_ms: u64,
    /// The latest that the clock had shown when it began, and when it ended.
    pub(super) high_from_ms: u64,
    pub(super) to_ms: u64,
}

impl Seen {
    /// The first record that can be read, or the tail.
    pub(super) fn first(&self) -> u64 {
        self.records.first().map_or(self.tail.seq_num, |record| record.seq_num)
    }
}

/// Looks at a stream; `None` when there is none of this name, or it goes while we look.
pub(super) async fn look(shard: &Shard, name: &'static str) -> Option<Seen> {
    let (from_ms, high_from_ms) = (wall_ms(shard), high_ms(shard));
    let is_gone = |refusal: &Refusal| {
        matches!(refusal, Refusal::StreamNotFound(_) | Refusal::StreamDeletionPending(_))
    };
    let tail = match shard.handle(Call::CheckTail(path(name), Origin::default())).await {
        Ok(Answer::Tail(tail)) => tail,
        Err(refusal) if is_gone(&refusal) => return None,
        other => panic!("the tail of {name}: {other:?}"),
    };
    let age_secs = match shard.handle(Call::GetStream(path(name))).await {
        Ok(Answer::StreamConfig(config)) => age_secs(config.retention),
        Err(refusal) if is_gone(&refusal) => return None,
        other => panic!("the configuration of {name}: {other:?}"),
    };
    let token = match probe_token(shard, name).await {
        Refusal::FencingTokenMismatch(token) => token,
        refusal if is_gone(&refusal) => return None,
        other => panic!("the token of {name}: {other:?}"),
    };
    let records = match read_all(shard, name, tail.seq_num).await {
        Ok(records) => records,
        Err(refusal) if is_gone(&refusal) => return None,
        Err(refusal) => panic!("{name}: {refusal:?}"),
    };
    let to_ms = high_ms(shard);
    Some(Seen { tail, age_secs, token, records, from_ms, high_from_ms, to_ms })
}

/// Asks for the fencing token by an append that is refused for having another.
async fn probe_token(shard: &Shard, name: &str) -> Refusal {
    let body = b"never to be seen".to_vec();
    let record = super::plan::Sent { client_ms: None, headers: Vec::new(), body, command: None };
    let token = Some(FencingToken::new("of the one who looks").expect("short"));
    let batch = Batch { records: vec![record], match_seq_num: None, token };
    shard.handle(append(name, input(&batch))).await.expect_err("nobody's token")
}

/// Reads everything up to `tail`.
pub(super) async fn read_all(shard: &Shard, name: &str, tail: u64) -> Result<Vec<Shown>, Refusal> {
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
            Ok(Answer::Body(body, _)) => parse(&body),
            Err(refusal) => return Err(refusal),
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
    Ok(records)
}

/// The streams of the basin, as listed.
pub(super) async fn list_all(shard: &Shard) -> Vec<(String, Option<u64>)> {
    match shard.handle(list()).await.map(outcome) {
        Ok(Outcome::Listed(streams)) => streams,
        other => panic!("the listing: {other:?}"),
    }
}
