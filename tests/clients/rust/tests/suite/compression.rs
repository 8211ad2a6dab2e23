//! Compressed bodies and messages, in both codings, beside a client without compression.

use s2_sdk::append_session::AppendSessionConfig;
use s2_sdk::error::{AppendConditionFailed, AppendError};
use s2_sdk::types::{
    AppendRecord, BasinConfig, Compression, EnsureStreamInput, ListStreamsInput, RetentionPolicy,
    StreamConfig,
};

use crate::common::{
    BATCH_BYTES_MAX, Contents, basin_with, bodies, client, code, config, from_seq_num, input,
    noise, read_back, record, record_with_headers, stream_in, stream_name, within,
};

/// Batches below and above every threshold, some that shrink and some that do not.
fn batches() -> Vec<Vec<AppendRecord>> {
    let text = "all work and no play ".repeat(40_000);
    vec![
        vec![record("tiny")],
        vec![record(text[..2000].to_owned())],
        vec![record(text)],
        vec![record(noise(1, 900_000))],
        (0..1000_u64)
            .map(|number| record_with_headers(number.to_string(), &[(b"h", b"v")]))
            .collect(),
        vec![record("x".repeat(BATCH_BYTES_MAX - 8))],
    ]
}

async fn everything_works(compression: Compression) {
    let s2 = client(config().with_compression(compression));
    let (basin, name) = basin_with(&s2, BasinConfig::new()).await;
    let stream = stream_in(&basin, "s").await;
    let batches = batches();

    let mut appended = Vec::new();
    for batch in &batches {
        stream.append(input(batch.clone())).await.unwrap();
        appended.extend(batch.iter().cloned());
    }
    let session = stream.append_session(AppendSessionConfig::new());
    let mut tickets = Vec::new();
    for batch in &batches {
        tickets.push(session.submit(input(batch.clone())).await.unwrap());
        appended.extend(batch.iter().cloned());
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    session.close().await.unwrap();

    let expected = Contents::of_appended(&appended);
    let plain = client(config()).basin(name).stream(stream_name("s"));
    for reader in [&stream, &plain] {
        let read = read_back(reader, 0, appended.len()).await;
        assert_eq!(Contents::of_read(&read), expected);
        let mut read = Vec::new();
        while read.len() < appended.len() {
            let next = from_seq_num(read.len() as u64);
            read.extend(reader.read(next).await.unwrap().records);
        }
        assert_eq!(Contents::of_read(&read), expected);
    }

    // Errors stay readable, and so do answers and bodies that are not records.
    let error = stream.append(bodies(["late"]).with_match_seq_num(0)).await.unwrap_err();
    assert!(
        matches!(error, AppendError::ConditionFailed(AppendConditionFailed::SeqNumMismatch(_))),
        "{error}"
    );
    for number in 0..40 {
        let config = StreamConfig::new().with_retention_policy(RetentionPolicy::Infinite);
        let name = stream_name(&format!("a rather long name so that the list is long {number}"));
        basin.ensure_stream(EnsureStreamInput::new(name).with_config(config)).await.unwrap();
    }
    assert_eq!(basin.list_streams(ListStreamsInput::new()).await.unwrap().values.len(), 41);
    let missing = basin.get_stream_config(stream_name("missing")).await.unwrap_err();
    assert_eq!(code(&missing), "stream_not_found");
}

#[tokio::test]
async fn everything_works_with_gzip() {
    within(everything_works(Compression::Gzip)).await;
}

#[tokio::test]
async fn everything_works_with_zstd() {
    within(everything_works(Compression::Zstd)).await;
}
