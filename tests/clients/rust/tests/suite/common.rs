//! What all cases share: a client of the server under test, basins of their own, bounds in time.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use s2_sdk::error::{AppendError, ReadError, RequestError};
use s2_sdk::types::{
    AppendInput, AppendRecord, AppendRecordBatch, BasinConfig, BasinName, CreateBasinInput,
    CreateStreamInput, Header, ReadFrom, ReadInput, ReadLimits, ReadSessionConfig, ReadStart,
    ReadStop, S2Config, S2Endpoints, SequencedRecord, StreamName,
};
use s2_sdk::{S2, S2Basin, S2Stream};
use sha2::{Digest, Sha256};

/// Every case ends within this time, or fails.
const CASE_WITHIN: Duration = Duration::from_secs(45);
/// The most that a batch may hold, in metered bytes.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// What a record weighs beside its body.
pub const RECORD_OVERHEAD_BYTES: usize = 8;

/// Address of the server under test, as `http://host:port`, or `https://`.
pub fn url() -> String {
    std::env::var("THALWEG_URL").expect("THALWEG_URL names the server under test")
}

/// Whether the server under test is the reference server, which lacks some calls.
pub fn is_reference() -> bool {
    std::env::var("THALWEG_PEER").is_ok_and(|peer| peer == "reference")
}

/// Whether the server under test asks who its clients are; then `token` is its root token.
pub fn is_enforced() -> bool {
    std::env::var("THALWEG_TOKEN").is_ok_and(|token| !token.is_empty())
}

pub fn token() -> String {
    let given = std::env::var("THALWEG_TOKEN").ok().filter(|token| !token.is_empty());
    given.unwrap_or_else(|| "any-token".to_owned())
}

pub fn config() -> S2Config {
    config_at(&url())
}

pub fn config_at(url: &str) -> S2Config {
    config_of(url, &token())
}

/// The same for who has this token.
pub fn config_of(url: &str, token: &str) -> S2Config {
    S2Config::new(token)
        .with_endpoints(S2Endpoints::for_endpoint(url).expect("the address is a URL"))
}

pub fn client(config: S2Config) -> S2 {
    S2::new(config).expect("the configuration is complete")
}

/// Runs a case within its time.
pub async fn within<T>(case: impl Future<Output = T>) -> T {
    tokio::time::timeout(CASE_WITHIN, case).await.expect("the case ends within its time")
}

/// A basin name that no other run has used.
pub fn basin_name() -> BasinName {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_micros();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("rust-{now:x}-{}-{number}", std::process::id()).parse().expect("the name is legal")
}

/// A new basin and its name.
pub async fn basin_with(s2: &S2, config: BasinConfig) -> (S2Basin, BasinName) {
    let name = basin_name();
    let input = CreateBasinInput::new(name.clone()).with_config(config);
    s2.create_basin(input).await.expect("the basin is new");
    (s2.basin(name.clone()), name)
}

/// A new stream in a new basin.
pub async fn stream(s2: &S2) -> S2Stream {
    let (basin, _) = basin_with(s2, BasinConfig::new()).await;
    stream_in(&basin, "s").await
}

pub async fn stream_in(basin: &S2Basin, name: &str) -> S2Stream {
    basin
        .create_stream(CreateStreamInput::new(stream_name(name)))
        .await
        .expect("the stream is new");
    basin.stream(stream_name(name))
}

pub fn stream_name(name: &str) -> StreamName {
    name.parse().expect("the name is legal")
}

pub fn record(body: impl Into<Bytes>) -> AppendRecord {
    AppendRecord::new(body).expect("the record is within its limits")
}

pub fn record_with_headers(body: impl Into<Bytes>, headers: &[(&[u8], &[u8])]) -> AppendRecord {
    let headers = headers
        .iter()
        .map(|(name, value)| Header::new(name.to_vec(), value.to_vec()))
        .collect::<Vec<_>>();
    record(body).with_headers(headers).expect("the record is within its limits")
}

pub fn input(records: impl IntoIterator<Item = AppendRecord>) -> AppendInput {
    let batch = AppendRecordBatch::try_from_iter(records).expect("the batch is within its limits");
    AppendInput::new(batch)
}

/// A batch of one record for each body.
pub fn bodies<const N: usize>(bodies: [&'static str; N]) -> AppendInput {
    input(bodies.map(record))
}

/// Bytes that look random and depend on `seed` alone.
pub fn noise(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    (0..len_bytes).map(|_| next()).collect()
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(now.as_millis()).expect("the year is below 500 million")
}

pub fn from(from: ReadFrom) -> ReadInput {
    ReadInput::new().with_start(ReadStart::new().with_from(from))
}

pub fn from_seq_num(seq_num: u64) -> ReadInput {
    from(ReadFrom::SeqNum(seq_num))
}

pub fn count(count: usize) -> ReadStop {
    ReadStop::new().with_limits(ReadLimits::new().with_count(count))
}

pub fn texts(records: &[SequencedRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
}

pub fn seq_nums(records: &[SequencedRecord]) -> Vec<u64> {
    records.iter().map(|record| record.seq_num).collect()
}

/// Reads `expected` records from `seq_num` on with a bounded session.
pub async fn read_back(stream: &S2Stream, seq_num: u64, expected: usize) -> Vec<SequencedRecord> {
    let input = from_seq_num(seq_num).with_stop(count(expected));
    let mut session =
        stream.read_session(input, ReadSessionConfig::new()).await.expect("the stream is read");
    let mut records = Vec::with_capacity(expected);
    while let Some(batch) = session.next().await {
        records.extend(batch.expect("the session goes on").records);
    }
    assert_eq!(records.len(), expected);
    records
}

/// A hash over everything that a client wrote: bodies and headers in order.
#[derive(Default)]
pub struct Contents(Sha256);

impl Contents {
    pub fn add<'a>(&mut self, headers: impl IntoIterator<Item = &'a Header>, body: &[u8]) {
        let mut add = |bytes: &[u8]| {
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        };
        for header in headers {
            add(&header.name);
            add(&header.value);
        }
        add(body);
    }

    pub fn of_appended<'a>(records: impl IntoIterator<Item = &'a AppendRecord>) -> String {
        let mut contents = Self::default();
        for record in records {
            contents.add(record.headers(), record.body());
        }
        contents.finish()
    }

    pub fn of_read<'a>(records: impl IntoIterator<Item = &'a SequencedRecord>) -> String {
        let mut contents = Self::default();
        for record in records {
            contents.add(&record.headers, &record.body);
        }
        contents.finish()
    }

    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The code of a refusal by the server.
pub fn code(error: &RequestError) -> &str {
    error.server_error().map_or_else(|| panic!("not from the server: {error}"), |e| &e.code)
}

pub fn append_code(error: &AppendError) -> &str {
    code(error.request_error().unwrap_or_else(|| panic!("not a request error: {error}")))
}

pub fn read_code(error: &ReadError) -> &str {
    code(error.request_error().unwrap_or_else(|| panic!("not a request error: {error}")))
}

/// The result, or nothing when the reference server says that it has no such call.
pub fn unless_missing<T>(result: Result<T, RequestError>) -> Option<T> {
    match result {
        Err(error) if is_reference() && code(&error) == "not_implemented" => None,
        result => Some(result.expect("the call is answered")),
    }
}
