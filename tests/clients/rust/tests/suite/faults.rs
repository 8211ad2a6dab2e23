//! Connections that are cut in the middle of frames, in both directions, several times: the SDK's
//! own retries must end in exactly the expected stream.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use s2_sdk::S2;
use s2_sdk::append_session::{AppendSession, AppendSessionConfig, BatchSubmitTicket};
use s2_sdk::error::{AppendSessionError, ClientError, RequestError};
use s2_sdk::read_session::ReadSession;
use s2_sdk::types::{
    AppendAck, AppendInput, BasinConfig, ReadSessionConfig, RetryConfig, S2Config, SequencedRecord,
};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::common::{
    Contents, basin_with, client, config, config_at, from_seq_num, input, noise, read_back, record,
    stream_in, url, within,
};

const CUTS: u32 = 10;
const CUT_AFTER_BYTES: &str = "20000..120000";
const BATCH_RECORDS: u64 = 3;
/// Far more than the cuts need.
const BATCHES_MAX: u64 = 5000;

/// A proxy before the server, which cuts connections as `FAULT_SEED` says.
struct Proxy {
    url: String,
    cuts: Arc<AtomicU32>,
    _child: Child,
}

impl Proxy {
    async fn start() -> Self {
        let seed = std::env::var("FAULT_SEED").unwrap_or_else(|_| "1".into());
        println!("to repeat: scripts/clients.sh --only rust --seed {seed}");
        let url = url();
        let (scheme, to) = url.trim_end_matches('/').split_once("://").expect("it is a URL");
        let mut child = Command::new(
            std::env::var("FAULT_PROXY").unwrap_or(env!("CARGO_BIN_EXE_fault-proxy").into()),
        )
        .args(["--listen", "127.0.0.1:0", "--to", to, "--seed", &seed])
        .args(["--cut-after-bytes", CUT_AFTER_BYTES, "--cuts", &CUTS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the proxy starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = lines.next_line().await.unwrap().expect("the proxy prints its address");
        let address = first.strip_prefix("listening on ").expect("the proxy prints its address");
        let cuts = Arc::new(AtomicU32::new(0));
        tokio::spawn(count_cuts(lines, cuts.clone()));
        Self { url: format!("{scheme}://{address}"), cuts, _child: child }
    }

    fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::Relaxed)
    }

    /// A client behind the proxy, with an own connection.
    fn client(&self) -> S2 {
        client(impatient(config_at(&self.url)))
    }
}

async fn count_cuts(mut lines: Lines<BufReader<ChildStdout>>, cuts: Arc<AtomicU32>) {
    while let Ok(Some(line)) = lines.next_line().await {
        println!("{line}");
        cuts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Retries often and soon. Each attempt that makes progress starts the count anew.
fn impatient(config: S2Config) -> S2Config {
    config.with_retry(
        RetryConfig::new()
            .with_max_attempts(NonZeroU32::new(12).unwrap())
            .with_min_base_delay(Duration::from_millis(5))
            .with_max_base_delay(Duration::from_millis(100)),
    )
}

/// Batch `number`: records that name their place and look random otherwise.
fn batch(number: u64) -> AppendInput {
    input((0..BATCH_RECORDS).map(|part| {
        let place = number * BATCH_RECORDS + part;
        let mut body = place.to_be_bytes().to_vec();
        body.extend(noise(place, 1500 + (place % 1000) as usize));
        record(body)
    }))
}

fn place(record: &SequencedRecord) -> u64 {
    u64::from_be_bytes(record.body[..8].try_into().unwrap())
}

fn expected(batches: u64) -> String {
    Contents::of_appended(
        (0..batches).flat_map(|number| batch(number).records).collect::<Vec<_>>().iter(),
    )
}

fn session(stream: &s2_sdk::S2Stream) -> AppendSession {
    // Few batches at once, so that writing lasts as long as there are cuts.
    let few = NonZeroU32::new(24).unwrap();
    stream.append_session(AppendSessionConfig::new().with_max_unacked_batches(few))
}

/// Whether the client (0.35.3) met a broken connection that it does not know as one: rarely, when
/// a request goes out on a connection in the moment of its end. It does not try that again.
fn is_unclassified(error: Option<&RequestError>) -> bool {
    let Some(RequestError::Client(ClientError::Other(text))) = error else { return false };
    text.contains("SendRequest")
}

/// Follows the stream until it has all records.
async fn follow(stream: s2_sdk::S2Stream, records: Arc<AtomicU32>) -> Vec<SequencedRecord> {
    let mut read: Vec<SequencedRecord> = Vec::new();
    let mut session: Option<ReadSession> = None;
    loop {
        let next = match &mut session {
            Some(session) => session.next().await.expect("the session goes on"),
            None => {
                let input = from_seq_num(read.len() as u64);
                match stream.read_session(input, ReadSessionConfig::new()).await {
                    Ok(opened) => {
                        session = Some(opened);
                        continue;
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match next {
            Ok(batch) => {
                for record in batch.records {
                    assert_eq!(record.seq_num, read.len() as u64, "no gap and no repetition");
                    read.push(record);
                }
            }
            Err(error) => {
                assert!(is_unclassified(error.request_error()), "retries suffice: {error:?}");
                session = None;
            }
        }
        let all = records.load(Ordering::Acquire) as usize;
        if all > 0 && read.len() >= all {
            return read;
        }
    }
}

/// Without conditions a retry may repeat batches whose acknowledgement was lost, but it never
/// loses or tears one, and every acknowledgement names a place where its batch stands.
#[tokio::test]
async fn an_append_session_outlives_cuts() {
    within(async {
        let proxy = Proxy::start().await;
        let (basin, name) = basin_with(&client(config()), BasinConfig::new()).await;
        let direct = stream_in(&basin, "s").await;
        let cut = proxy.client().basin(name).stream("s".parse().unwrap());
        let mut current = session(&cut);
        let mut acks: Vec<AppendAck> = Vec::new();
        let mut pending: VecDeque<BatchSubmitTicket> = VecDeque::new();
        let mut next = 0_u64;
        loop {
            let enough = next >= 50 && proxy.cuts() == CUTS;
            let result = if enough && pending.is_empty() {
                break;
            } else if enough || pending.len() > 16 {
                let ticket = pending.pop_front().expect("it is not empty");
                ticket.await.map(|ack| acks.push(ack))
            } else {
                assert!(next < BATCHES_MAX, "{} cuts", proxy.cuts());
                if next % 8 == 7 && proxy.cuts() % 2 == 1 {
                    // The next cut counts bytes to the client.
                    if let Err(error) = cut.read(from_seq_num(0)).await {
                        assert!(is_unclassified(error.request_error()), "{error}");
                    }
                }
                current.submit(batch(next)).await.map(|ticket| {
                    pending.push_back(ticket);
                    next += 1;
                })
            };
            if let Err(error) = result {
                assert!(is_unclassified(error.request_error()), "retries suffice: {error:?}");
                println!("again from the first batch without an acknowledgement: {error}");
                pending.clear();
                current = session(&cut);
                next = acks.len() as u64;
            }
        }
        current.close().await.unwrap();
        let tail = direct.check_tail().await.unwrap().seq_num;
        let stored = read_back(&direct, 0, usize::try_from(tail).unwrap()).await;
        let batches = acks.len() as u64;
        for (number, ack) in (0_u64..).zip(acks) {
            let range = usize::try_from(ack.start.seq_num).unwrap()
                ..usize::try_from(ack.end.seq_num).unwrap();
            let found = Contents::of_read(&stored[range]);
            assert_eq!(found, Contents::of_appended(batch(number).records.iter()), "{number}");
        }
        let mut firsts = Vec::new();
        for chunk in stored.chunks(BATCH_RECORDS as usize) {
            let number = place(&chunk[0]) / BATCH_RECORDS;
            let whole = Contents::of_appended(batch(number).records.iter());
            assert_eq!(Contents::of_read(chunk), whole, "batches stand whole");
            if !firsts.contains(&number) {
                firsts.push(number);
            }
        }
        assert_eq!(firsts, (0..batches).collect::<Vec<_>>(), "in order, none lost");
        println!("{batches} batches, {} stored", stored.len() as u64 / BATCH_RECORDS);
    })
    .await;
}

/// With a position in each batch a retry repeats nothing: the session goes on by itself, or ends
/// because what it repeats is there already, and a new one goes on at the tail.
#[tokio::test]
async fn positions_make_every_batch_appear_exactly_once() {
    within(async {
        let proxy = Proxy::start().await;
        let (basin, name) = basin_with(&client(config()), BasinConfig::new()).await;
        let direct = stream_in(&basin, "s").await;
        let cut = proxy.client().basin(name.clone()).stream("s".parse().unwrap());
        let all = Arc::new(AtomicU32::new(0));
        let reader = proxy.client().basin(name).stream("s".parse().unwrap());
        let follower = tokio::spawn(follow(reader, all.clone()));

        let mut next = 0_u64;
        let mut restarts = 0;
        let mut current = session(&cut);
        let mut pending: VecDeque<(u64, BatchSubmitTicket)> = VecDeque::new();
        loop {
            let enough = next >= 50 && proxy.cuts() == CUTS;
            let result = if enough && pending.is_empty() {
                break;
            } else if enough || pending.len() > 16 {
                let (number, ticket) = pending.pop_front().expect("it is not empty");
                ticket.await.map(|ack| assert_eq!(ack.start.seq_num, number * BATCH_RECORDS))
            } else {
                assert!(next < BATCHES_MAX, "{} cuts", proxy.cuts());
                let input = batch(next).with_match_seq_num(next * BATCH_RECORDS);
                current.submit(input).await.map(|ticket| {
                    pending.push_back((next, ticket));
                    next += 1;
                })
            };
            if let Err(error) = result {
                assert!(
                    matches!(error, AppendSessionError::IndefiniteFailure { .. })
                        || is_unclassified(error.request_error()),
                    "only doubt about an earlier attempt may end a session: {error:?}"
                );
                restarts += 1;
                assert!(restarts <= CUTS);
                pending.clear();
                current = session(&cut);
                let tail = direct.check_tail().await.unwrap().seq_num;
                assert_eq!(tail % BATCH_RECORDS, 0, "batches stand whole");
                next = tail / BATCH_RECORDS;
            }
        }
        current.close().await.unwrap();
        let total = next * BATCH_RECORDS;
        assert_eq!(direct.check_tail().await.unwrap().seq_num, total);
        // One more record wakes a follower that has read everything already.
        all.store(u32::try_from(total).unwrap(), Ordering::Release);
        direct.append(input([record("end")])).await.unwrap();
        let followed = follower.await.unwrap();
        let followed = &followed[..usize::try_from(total).unwrap()];
        let stored = read_back(&direct, 0, usize::try_from(total).unwrap()).await;
        assert_eq!(Contents::of_read(&stored), expected(next));
        assert_eq!(Contents::of_read(followed), expected(next));
        println!("{next} batches, {CUTS} cuts, {restarts} new sessions");
    })
    .await;
}
