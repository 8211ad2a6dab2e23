//! Read sessions: following, bounds, every start, being caught up, slow readers, many at once.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use s2_sdk::S2Stream;
use s2_sdk::append_session::AppendSessionConfig;
use s2_sdk::error::{CaughtUpError, ReadError, ReadSessionError};
use s2_sdk::read_session::ReadSession;
use s2_sdk::types::{
    BasinConfig, CommandRecord, DeleteStreamInput, Http2Config, MeteredBytes, ReadFrom, ReadInput,
    ReadLimits, ReadSessionConfig, ReadSessionRetryPolicy, ReadStart, ReadStop, RetryConfig,
    SequencedRecord,
};

use crate::common::{
    BATCH_BYTES_MAX, Contents, RECORD_OVERHEAD_BYTES, basin_with, bodies, client, code, config,
    count, from, from_seq_num, input, is_reference, noise, read_back, record, seq_nums, stream,
    stream_in, stream_name, texts, within,
};

async fn open(stream: &S2Stream, input: ReadInput) -> ReadSession {
    stream.read_session(input, ReadSessionConfig::new()).await.unwrap()
}

/// All records of a session that ends.
async fn all(stream: &S2Stream, input: ReadInput) -> Vec<SequencedRecord> {
    let batches: Vec<_> = open(stream, input).await.try_collect().await.unwrap();
    batches.into_iter().flat_map(|batch| batch.records).collect()
}

/// The next `expected` records of a session that does not end.
async fn take(session: &mut ReadSession, expected: usize) -> Vec<SequencedRecord> {
    let mut records = Vec::new();
    while records.len() < expected {
        let batch = session.next().await.expect("the session goes on").unwrap();
        assert!(!batch.records.is_empty() && batch.records.len() <= 1000);
        assert!(
            batch.records.iter().map(MeteredBytes::metered_bytes).sum::<usize>() <= BATCH_BYTES_MAX
        );
        records.extend(batch.records);
    }
    assert_eq!(records.len(), expected);
    records
}

#[tokio::test]
async fn a_session_catches_up_and_follows_live_appends() {
    within(async {
        let stream = stream(&client(config())).await;
        let records: Vec<_> =
            (0..4000_u64).map(|number| record(noise(number, (number % 300) as usize))).collect();
        for batch in records[..2000].chunks(500) {
            stream.append(input(batch.to_vec())).await.unwrap();
        }
        let mut session = open(&stream, from_seq_num(0)).await;
        let writer = async {
            let appends = stream.append_session(AppendSessionConfig::new());
            for batch in records[2000..].chunks(7) {
                appends.submit(input(batch.to_vec())).await.unwrap();
            }
            appends.close().await.unwrap();
        };
        let (read, ()) = tokio::join!(take(&mut session, 4000), writer);
        assert_eq!(seq_nums(&read), (0..4000).collect::<Vec<_>>());
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&records));
    })
    .await;
}

/// Drives the session until it has caught up; what it delivered on the way.
async fn catch_up(session: &mut ReadSession) -> (u64, Vec<SequencedRecord>) {
    let mut caught_up = session.caught_up();
    let mut records = Vec::new();
    loop {
        tokio::select! {
            tail = &mut caught_up => return (tail.unwrap().seq_num, records),
            batch = session.next() => {
                records.extend(batch.expect("the session goes on").unwrap().records);
            }
        }
    }
}

#[tokio::test]
async fn being_caught_up_is_noticed_and_lost_and_noticed_again() {
    within(async {
        let stream = stream(&client(config())).await;
        let mut session = open(&stream, from_seq_num(0)).await;
        assert!(!session.is_caught_up());
        assert_eq!(session.resume_seq_num(), Some(0));
        assert_eq!(catch_up(&mut session).await.0, 0, "an empty stream");
        assert!(session.is_caught_up());

        stream.append(bodies(["a", "b", "c"])).await.unwrap();
        assert_eq!(texts(&take(&mut session, 3).await), ["a", "b", "c"]);
        assert_eq!(session.resume_seq_num(), Some(3));
        assert_eq!(catch_up(&mut session).await.0, 3);

        let mut second = open(&stream, from(ReadFrom::TailOffset(2))).await;
        assert_eq!(second.resume_seq_num(), None, "not known yet");
        let (tail, records) = catch_up(&mut second).await;
        assert_eq!((tail, texts(&records)), (3, vec!["b".to_owned(), "c".to_owned()]));

        let bounded = open(&stream, from_seq_num(0).with_stop(count(1))).await;
        let caught_up = bounded.caught_up();
        bounded.try_collect::<Vec<_>>().await.unwrap();
        assert!(matches!(caught_up.await, Err(CaughtUpError::SessionClosed)));
    })
    .await;
}

#[tokio::test]
async fn sessions_start_anywhere_and_end_at_their_bounds() {
    within(async {
        let stream = stream(&client(config())).await;
        let records = [10, 20, 20, 30].map(|at: u64| record(at.to_string()).with_timestamp(at));
        stream.append(input(records)).await.unwrap();
        let size = record("10").metered_bytes();
        let bytes = |bytes| ReadStop::new().with_limits(ReadLimits::new().with_bytes(bytes));
        let now = ReadStop::new().with_wait(0);
        for (start, stop, expected) in [
            (ReadFrom::SeqNum(0), now.clone(), vec![0, 1, 2, 3]),
            (ReadFrom::SeqNum(2), now.clone(), vec![2, 3]),
            (ReadFrom::SeqNum(4), now.clone(), vec![]),
            (ReadFrom::Timestamp(20), now.clone(), vec![1, 2, 3]),
            (ReadFrom::Timestamp(21), now.clone(), vec![3]),
            (ReadFrom::TailOffset(1), now.clone(), vec![3]),
            (ReadFrom::TailOffset(9), now.clone(), vec![0, 1, 2, 3]),
            (ReadFrom::TailOffset(0), ReadStop::new().with_wait(1), vec![]),
            (ReadFrom::SeqNum(0), count(3), vec![0, 1, 2]),
            (ReadFrom::SeqNum(0), count(9), vec![0, 1, 2, 3]),
            (ReadFrom::SeqNum(0), count(0), vec![]),
            (ReadFrom::SeqNum(0), bytes(2 * size), vec![0, 1]),
            (ReadFrom::SeqNum(0), bytes(2 * size - 1), vec![0]),
            (ReadFrom::SeqNum(0), ReadStop::new().with_until(..30), vec![0, 1, 2]),
            (ReadFrom::Timestamp(20), ReadStop::new().with_until(..21).with_wait(1), vec![1, 2]),
        ] {
            let read = all(&stream, from(start).with_stop(stop.clone())).await;
            assert_eq!(seq_nums(&read), expected, "{start:?} {stop:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_beyond_the_tail_is_refused_or_clamped() {
    within(async {
        let stream = stream(&client(config())).await;
        stream.append(bodies(["a"])).await.unwrap();
        let refused = stream.read_session(from_seq_num(9), ReadSessionConfig::new()).await;
        let error = refused.err().expect("nothing is there");
        let ReadSessionError::Read(ReadError::ReadUnwritten(tail)) = error else {
            panic!("not an unwritten position: {error}");
        };
        assert_eq!(tail.seq_num, 1);
        let start = ReadStart::new().with_from(ReadFrom::SeqNum(9)).with_clamp_to_tail(true);
        let mut session = open(&stream, ReadInput::new().with_start(start)).await;
        assert_eq!(catch_up(&mut session).await.0, 1);
        stream.append(bodies(["b"])).await.unwrap();
        assert_eq!(seq_nums(&take(&mut session, 1).await), [1]);
    })
    .await;
}

#[tokio::test]
async fn a_wait_starts_again_after_every_batch_and_then_ends_the_session() {
    within(async {
        let stream = stream(&client(config())).await;
        let session = open(&stream, from_seq_num(0).with_stop(ReadStop::new().with_wait(4))).await;
        let start = Instant::now();
        let writer = async {
            for body in ["a", "b"] {
                tokio::time::sleep(Duration::from_millis(2200)).await;
                stream.append(bodies([body])).await.unwrap();
            }
        };
        let (batches, ()) = tokio::join!(session.try_collect::<Vec<_>>(), writer);
        let records: Vec<_> = batches.unwrap().into_iter().flat_map(|b| b.records).collect();
        assert_eq!(texts(&records), ["a", "b"]);
        let took = start.elapsed();
        assert!((8..20).contains(&took.as_secs()), "ended after {took:?}");
    })
    .await;
}

#[tokio::test]
async fn command_records_can_be_hidden_and_still_count() {
    within(async {
        let stream = stream(&client(config())).await;
        stream.append(bodies(["a"])).await.unwrap();
        let fence = CommandRecord::fence("t".parse().unwrap());
        stream.append(input([fence.into(), record("b")])).await.unwrap();
        let hidden = from_seq_num(0).with_ignore_command_records(true);
        let mut session = open(&stream, hidden).await;
        let (tail, records) = catch_up(&mut session).await;
        assert_eq!((tail, seq_nums(&records)), (3, vec![0, 2]));
        let shown = all(&stream, from_seq_num(0).with_stop(count(3))).await;
        assert_eq!(shown.iter().filter(|record| record.is_command_record()).count(), 1);
    })
    .await;
}

/// More sessions than fit on one connection, all waiting for the same records.
#[tokio::test]
async fn many_followers_get_the_same_records() {
    within(async {
        let stream = stream(&client(config())).await;
        let mut followers = Vec::new();
        for _ in 0..150 {
            let mut session = open(&stream, from(ReadFrom::SeqNum(0))).await;
            followers.push(tokio::spawn(async move {
                Contents::of_read(&take(&mut session, 20).await)
            }));
        }
        let records: Vec<_> = (0..20_u64).map(|number| record(noise(number, 500))).collect();
        for record in &records {
            stream.append(input([record.clone()])).await.unwrap();
        }
        for follower in followers {
            assert_eq!(follower.await.unwrap(), Contents::of_appended(&records));
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_sleeps_misses_nothing() {
    within(async {
        let stream = stream(&client(config())).await;
        let mut session = open(&stream, from_seq_num(0)).await;
        stream.append(bodies(["first"])).await.unwrap();
        take(&mut session, 1).await;
        // More than windows and buffers on the way can hold.
        let records: Vec<_> = (0..24_u64).map(|number| record(noise(number, 1_000_000))).collect();
        let appends = stream.append_session(AppendSessionConfig::new());
        for record in &records {
            appends.submit(input([record.clone()])).await.unwrap();
        }
        appends.close().await.unwrap();
        let read = take(&mut session, 24).await;
        assert_eq!(seq_nums(&read), (1..25).collect::<Vec<_>>());
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&records));
    })
    .await;
}

#[tokio::test]
async fn the_smallest_windows_still_let_the_largest_batch_through() {
    within(async {
        let (basin, name) = basin_with(&client(config()), BasinConfig::new()).await;
        let stream = stream_in(&basin, "s").await;
        let largest = record(noise(5, BATCH_BYTES_MAX - RECORD_OVERHEAD_BYTES));
        stream.append(input([largest.clone()])).await.unwrap();
        let windows = Http2Config::new()
            .with_stream_receive_window(1024)
            .unwrap()
            .with_connection_receive_window(Http2Config::MIN_CONNECTION_RECEIVE_WINDOW)
            .unwrap()
            .with_max_concurrent_requests(1)
            .unwrap();
        let narrow = client(config().with_http2(windows));
        let stream = narrow.basin(name).stream(stream_name("s"));
        let read = read_back(&stream, 0, 1).await;
        assert_eq!(Contents::of_read(&read), Contents::of_appended([&largest]));
        let unary = stream.read(from_seq_num(0)).await.unwrap().records;
        assert_eq!(Contents::of_read(&unary), Contents::of_appended([&largest]));
    })
    .await;
}

/// The SDK gives up after 20 s without a frame; without retries that would end this session.
#[tokio::test]
async fn an_idle_session_is_kept_alive() {
    within(async {
        let once = RetryConfig::new().with_max_attempts(NonZeroU32::MIN);
        let stream = stream(&client(config().with_retry(once))).await;
        let mut session = open(&stream, from_seq_num(0)).await;
        let writer = async {
            tokio::time::sleep(Duration::from_secs(21)).await;
            stream.append(bodies(["at last"])).await.unwrap();
        };
        let (read, ()) = tokio::join!(take(&mut session, 1), writer);
        assert_eq!(texts(&read), ["at last"]);
    })
    .await;
}

#[tokio::test]
async fn deletion_ends_the_sessions_of_a_stream() {
    within(async {
        let (basin, _) = basin_with(&client(config()), BasinConfig::new()).await;
        let stream = stream_in(&basin, "s").await;
        stream.append(bodies(["a"])).await.unwrap();
        let policy = ReadSessionConfig::new().with_retry_policy(ReadSessionRetryPolicy::Indefinite);
        let mut session = stream.read_session(from_seq_num(0), policy).await.unwrap();
        take(&mut session, 1).await;
        let appends = stream.append_session(AppendSessionConfig::new());
        appends.submit(bodies(["b"])).await.unwrap().await.unwrap();
        take(&mut session, 1).await;
        basin.delete_stream(DeleteStreamInput::new(stream_name("s"))).await.unwrap();

        let ended = loop {
            match session.next().await.expect("an error comes before the end") {
                Ok(batch) => assert!(is_reference(), "a record after the deletion: {batch:?}"),
                Err(error) => break error,
            }
        };
        let gone = ["stream_deletion_pending", "stream_not_found"];
        let ended = code(ended.request_error().unwrap()).to_owned();
        assert!(gone.contains(&ended.as_str()), "{ended}");
        assert!(is_reference() || ended == gone[0], "{ended}");
        let late = match appends.submit(bodies(["c"])).await {
            Ok(ticket) => ticket.await.unwrap_err(),
            Err(error) => error,
        };
        assert!(gone.contains(&code(late.request_error().unwrap())), "{late}");
    })
    .await;
}
