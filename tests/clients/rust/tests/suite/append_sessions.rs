//! Append sessions and producers: pipelining, order, failure in the middle, batching.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use s2_sdk::append_session::{AppendSessionConfig, BatchSubmitTicket};
use s2_sdk::batching::{AppendInputs, AppendRecordBatches, BatchLimits, BatchingConfig};
use s2_sdk::error::{
    AppendConditionFailed, AppendError, AppendSessionError, ProducerError, RequestError,
};
use s2_sdk::producer::ProducerConfig;
use s2_sdk::types::{
    AppendAck, AppendInput, AppendRecord, BasinConfig, CommandRecord, CreateStreamInput,
    FencingToken, MeteredBytes, RetentionPolicy, StreamConfig, TimestampingConfig,
    TimestampingMode,
};

use crate::common::{
    BATCH_BYTES_MAX, Contents, RECORD_OVERHEAD_BYTES, basin_with, bodies, client, code, config,
    from_seq_num, input, noise, read_back, record, stream as new_stream, stream_name, texts,
    within,
};

fn condition(error: AppendSessionError) -> AppendConditionFailed {
    match error {
        AppendSessionError::Append(AppendError::ConditionFailed(condition)) => condition,
        other => panic!("not a condition: {other:?}"),
    }
}

fn request(error: &AppendSessionError) -> &RequestError {
    error.request_error().unwrap_or_else(|| panic!("not a request error: {error:?}"))
}

#[tokio::test]
async fn thousands_of_pipelined_batches_are_acknowledged_in_order() {
    within(async {
        let stream = new_stream(&client(config())).await;
        let session = stream.append_session(AppendSessionConfig::new());
        let mut appended = Vec::new();
        let mut tickets: Vec<(u64, BatchSubmitTicket)> = Vec::new();
        for number in 0..3000_u64 {
            let records: Vec<_> = (0..=number % 3)
                .map(|part| record(noise(number * 3 + part, 40 + (number % 50) as usize)))
                .collect();
            let first = appended.len() as u64;
            appended.extend(records.iter().cloned());
            let batch = input(records).with_match_seq_num(first);
            tickets.push((first, session.submit(batch).await.unwrap()));
        }
        let mut end = None::<AppendAck>;
        for (first, ticket) in tickets {
            let ack = ticket.await.unwrap();
            assert_eq!(ack.start.seq_num, first);
            if let Some(before) = end {
                assert_eq!(before.end.seq_num, ack.start.seq_num);
                assert!(before.end.timestamp <= ack.start.timestamp);
            }
            assert!(ack.tail.seq_num >= ack.end.seq_num);
            end = Some(ack);
        }
        session.close().await.unwrap();
        assert_eq!(stream.check_tail().await.unwrap().seq_num, appended.len() as u64);
        let read = read_back(&stream, 0, appended.len()).await;
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&appended));
    })
    .await;
}

#[tokio::test]
async fn a_failure_in_the_middle_acknowledges_what_came_before_and_applies_nothing_after() {
    within(async {
        let stream = new_stream(&client(config())).await;
        let session = stream.append_session(AppendSessionConfig::new());
        const FAILING: u64 = 120;
        let mut tickets = Vec::new();
        for number in 0..200_u64 {
            let expected = if number == FAILING { 7 } else { number };
            let batch = input([record(number.to_string())]).with_match_seq_num(expected);
            match session.submit(batch).await {
                Ok(ticket) => tickets.push(ticket),
                Err(_) => assert!(number > FAILING, "batch {number} was not even taken"),
            }
        }
        for (number, ticket) in (0_u64..).zip(tickets) {
            match ticket.await {
                Ok(ack) => assert!(number < FAILING && ack.start.seq_num == number),
                Err(error) if number == FAILING => {
                    assert!(matches!(
                        condition(error),
                        AppendConditionFailed::SeqNumMismatch(FAILING)
                    ));
                }
                Err(error) => {
                    assert!(number > FAILING, "batch {number} was not acknowledged: {error:?}")
                }
            }
        }
        assert!(session.submit(bodies(["late"])).await.is_err());
        session.close().await.unwrap_err();
        assert_eq!(stream.check_tail().await.unwrap().seq_num, FAILING);
        read_back(&stream, 0, 120).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_is_fenced_off() {
    within(async {
        let stream = new_stream(&client(config())).await;
        let token = |text: &str| text.parse::<FencingToken>().unwrap();
        let session = stream.append_session(AppendSessionConfig::new());
        let ours = bodies(["ours"]).with_fencing_token(token(""));
        session.submit(ours).await.unwrap().await.unwrap();
        let fence = input([CommandRecord::fence(token("theirs")).into()]);
        stream.append(fence).await.unwrap();
        let late = bodies(["late"]).with_fencing_token(token(""));
        let error = session.submit(late).await.unwrap().await.unwrap_err();
        match condition(error) {
            AppendConditionFailed::FencingTokenMismatch(actual) => {
                assert_eq!(actual.to_string(), "theirs");
            }
            other => panic!("{other}"),
        }
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 2);
    })
    .await;
}

#[tokio::test]
async fn refusals_reach_the_session_with_their_code() {
    within(async {
        let s2 = client(config());
        let (basin, _) = basin_with(&s2, BasinConfig::new()).await;
        let missing = basin.stream(stream_name("missing"));
        let session = missing.append_session(AppendSessionConfig::new());
        let error = session.submit(bodies(["a"])).await.unwrap().await.unwrap_err();
        assert_eq!(code(request(&error)), "stream_not_found");

        let require = TimestampingConfig::new().with_mode(TimestampingMode::ClientRequire);
        let create = CreateStreamInput::new(stream_name("s"))
            .with_config(StreamConfig::new().with_timestamping(require));
        basin.create_stream(create).await.unwrap();
        let stream = basin.stream(stream_name("s"));
        let session = stream.append_session(AppendSessionConfig::new());
        let good = session.submit(input([record("a").with_timestamp(1)])).await.unwrap();
        let bad = session.submit(bodies(["b"])).await.unwrap();
        assert_eq!(good.await.unwrap().end.seq_num, 1);
        assert_eq!(code(request(&bad.await.unwrap_err())), "invalid");
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 1);
    })
    .await;
}

#[tokio::test]
async fn the_largest_batches_pass_through_a_session_within_its_limits() {
    within(async {
        let stream = new_stream(&client(config())).await;
        let limits = AppendSessionConfig::new()
            .with_max_unacked_bytes(2 * 1024 * 1024)
            .unwrap()
            .with_max_unacked_batches(NonZeroU32::new(3).unwrap());
        let session = stream.append_session(limits);
        let mut appended = Vec::new();
        let mut tickets = Vec::new();
        for seed in 0..8 {
            let records = if seed % 2 == 0 {
                vec![record(noise(seed, BATCH_BYTES_MAX - RECORD_OVERHEAD_BYTES))]
            } else {
                let each = BATCH_BYTES_MAX / 1000 - RECORD_OVERHEAD_BYTES;
                (0..1000).map(|number| record(noise(seed * 1000 + number, each))).collect()
            };
            let batch = input(records.clone());
            let bytes = u32::try_from(batch.records.metered_bytes()).unwrap();
            let permit = session.reserve(bytes).await.unwrap();
            tickets.push(permit.submit(batch));
            appended.extend(records);
        }
        for ticket in tickets {
            ticket.await.unwrap();
        }
        session.close().await.unwrap();
        let read = read_back(&stream, 0, appended.len()).await;
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&appended));
    })
    .await;
}

#[tokio::test]
async fn a_producer_batches_records_and_knows_the_place_of_each() {
    within(async {
        let s2 = client(config());
        let (basin, _) =
            basin_with(&s2, BasinConfig::new().with_create_stream_on_append(true)).await;
        let stream = basin.stream(stream_name("produced"));
        let limits = BatchLimits::new()
            .with_max_batch_records(10)
            .unwrap()
            .with_max_batch_bytes(4096)
            .unwrap();
        let batching =
            BatchingConfig::new().with_linger(Duration::from_millis(20)).with_limits(limits);
        let created = StreamConfig::new().with_retention_policy(RetentionPolicy::Infinite);
        let producer = stream.producer(
            ProducerConfig::new()
                .with_max_unacked_bytes(1024 * 1024)
                .unwrap()
                .with_batching(batching)
                .with_match_seq_num(0)
                .with_fencing_token("".parse().unwrap())
                .with_stream_config(created),
        );
        let records: Vec<_> =
            (0..500_u64).map(|number| record(noise(number, (number % 700) as usize))).collect();
        let mut tickets = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let record = record.clone();
            if number % 2 == 0 {
                tickets.push(producer.submit(record).await.unwrap());
            } else {
                let bytes = u32::try_from(record.metered_bytes()).unwrap();
                tickets.push(producer.reserve(bytes).await.unwrap().submit(record));
            }
        }
        producer.flush().await.unwrap();
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 500);
        let mut batches = Vec::new();
        for (number, ticket) in (0_u64..).zip(tickets) {
            let ack = ticket.await.unwrap();
            assert_eq!(ack.seq_num, number);
            assert!((ack.batch.start.seq_num..ack.batch.end.seq_num).contains(&number));
            assert!(ack.batch.end.seq_num - ack.batch.start.seq_num <= 10);
            batches.push(ack.batch.start.seq_num);
        }
        batches.dedup();
        assert!((50..500).contains(&batches.len()), "{} batches", batches.len());
        let last = producer.submit(record("last")).await.unwrap();
        producer.close().await.unwrap();
        assert_eq!(last.await.unwrap().seq_num, 500);

        let read = read_back(&stream, 0, 501).await;
        assert_eq!(Contents::of_read(&read[..500]), Contents::of_appended(&records));
        let config = basin.get_stream_config(stream_name("produced")).await.unwrap();
        assert!(matches!(config.retention_policy, Some(RetentionPolicy::Infinite)));
    })
    .await;
}

#[tokio::test]
async fn a_producer_stops_at_a_failed_condition() {
    within(async {
        let stream = new_stream(&client(config())).await;
        let producer = stream.producer(ProducerConfig::new().with_match_seq_num(0));
        producer.submit(record("a")).await.unwrap().await.unwrap();
        stream.append(bodies(["between"])).await.unwrap();
        let error = producer.submit(record("b")).await.unwrap().await.unwrap_err();
        let ProducerError::Append(error) = error else { panic!("{error:?}") };
        assert!(matches!(condition(error), AppendConditionFailed::SeqNumMismatch(2)));
        producer.close().await.unwrap_err();
        let read = stream.read(from_seq_num(0)).await.unwrap();
        assert_eq!(texts(&read.records), ["a", "between"]);
    })
    .await;
}

#[tokio::test]
async fn the_batching_helpers_feed_a_session() {
    within(async {
        let new = new_stream(&client(config())).await;
        let records: Vec<AppendRecord> =
            (0..2500_u64).map(|number| record(noise(number, 30))).collect();
        let session = new.append_session(AppendSessionConfig::new());
        let mut tickets = Vec::new();

        let lazily = AppendRecordBatches::from_stream(
            stream::iter(records[..1250].to_vec()),
            BatchingConfig::new(),
        );
        let limits = BatchLimits::new().with_max_batch_records(100).unwrap();
        let eagerly = AppendRecordBatches::from_iter(records[1250..].to_vec(), limits).unwrap();
        let lazily = AppendInputs::new(lazily).with_match_seq_num(0);
        let eagerly = AppendInputs::new(eagerly)
            .with_match_seq_num(1250)
            .with_fencing_token("".parse().unwrap());
        let mut inputs = lazily.chain(eagerly);
        while let Some(input) = inputs.next().await {
            let input: AppendInput = input.unwrap();
            tickets.push(session.submit(input).await.unwrap());
        }
        session.close().await.unwrap();
        for ticket in tickets {
            ticket.await.unwrap();
        }
        let read = read_back(&new, 0, 2500).await;
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&records));
    })
    .await;
}
