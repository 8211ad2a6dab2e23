//! Unary appends and reads: contents, conditions, commands, limits, starts and ends.

use std::time::{Duration, Instant};

use s2_sdk::S2Stream;
use s2_sdk::error::{AppendConditionFailed, AppendError, ReadError};
use s2_sdk::types::{
    AppendAck, AppendRecord, BasinConfig, CommandRecord, CreateStreamInput, FencingToken,
    MeteredBytes, ReadFrom, ReadInput, ReadLimits, ReadStart, ReadStop, StreamConfig,
    TimestampingConfig, TimestampingMode,
};

use crate::common::{
    BATCH_BYTES_MAX, Contents, RECORD_OVERHEAD_BYTES, append_code, basin_with, bodies, client,
    config, count, from, from_seq_num, input, noise, now_ms, read_code, record,
    record_with_headers, seq_nums, stream, stream_name, texts, within,
};

fn unwritten_tail(error: ReadError) -> u64 {
    match error {
        ReadError::ReadUnwritten(tail) => tail.seq_num,
        other => panic!("not an unwritten position: {other}"),
    }
}

fn condition(error: AppendError) -> AppendConditionFailed {
    match error {
        AppendError::ConditionFailed(condition) => condition,
        other => panic!("not a condition: {other}"),
    }
}

/// Appends records with the given timestamps.
async fn append_at(stream: &S2Stream, timestamps: &[u64]) -> AppendAck {
    let records = timestamps.iter().map(|at| record(at.to_string()).with_timestamp(*at));
    stream.append(input(records)).await.unwrap()
}

#[tokio::test]
async fn what_was_appended_is_read_back_exactly() {
    within(async {
        let stream = stream(&client(config())).await;
        let before = now_ms() - 60_000;
        let records: Vec<AppendRecord> = vec![
            record("text"),
            record(""),
            record(noise(1, 5000)),
            record_with_headers("", &[(b"name only", b"")]),
            record_with_headers(
                noise(2, 100),
                &[(b"k", b"v"), (b"k", b"w"), (b"\xff\x00", b"\xfe")],
            ),
            record("at").with_timestamp(now_ms() - 1000),
        ];
        let ack = stream.append(input(records.clone())).await.unwrap();
        assert_eq!((ack.start.seq_num, ack.end.seq_num, ack.tail.seq_num), (0, 6, 6));
        assert!(ack.start.timestamp >= before && ack.end.timestamp >= ack.start.timestamp);
        assert_eq!(ack.tail, ack.end);
        assert_eq!(stream.check_tail().await.unwrap(), ack.tail);

        let read = stream.read(from_seq_num(0)).await.unwrap().records;
        assert_eq!(seq_nums(&read), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&records));
        assert!(read.is_sorted_by_key(|record| record.timestamp));
        assert_eq!(read[5].timestamp, ack.tail.timestamp);
    })
    .await;
}

#[tokio::test]
async fn the_largest_record_and_the_largest_batches_pass_whole() {
    within(async {
        let stream = stream(&client(config())).await;
        let largest = record(noise(3, BATCH_BYTES_MAX - RECORD_OVERHEAD_BYTES));
        let exactly: Vec<_> = (0..16)
            .map(|seed| record(noise(seed, BATCH_BYTES_MAX / 16 - RECORD_OVERHEAD_BYTES)))
            .collect();
        let many: Vec<_> = (0..1000_u64).map(|number| record(number.to_string())).collect();
        let headers: Vec<_> = (0..1000)
            .map(|_| record_with_headers("b", &[(b"h".as_slice(), b"v".as_slice()); 50]))
            .collect();
        let mut appended = Vec::new();
        for batch in [vec![largest], exactly, many, headers] {
            let metered = batch.iter().map(MeteredBytes::metered_bytes).sum::<usize>();
            assert!(metered <= BATCH_BYTES_MAX);
            let ack = stream.append(input(batch.clone())).await.unwrap();
            assert_eq!(ack.end.seq_num - ack.start.seq_num, batch.len() as u64);
            appended.extend(batch);
        }
        let mut read = Vec::new();
        while read.len() < appended.len() {
            let batch = stream.read(from_seq_num(read.len() as u64)).await.unwrap().records;
            assert!(!batch.is_empty() && batch.len() <= 1000);
            assert!(
                batch.iter().map(MeteredBytes::metered_bytes).sum::<usize>() <= BATCH_BYTES_MAX
            );
            read.extend(batch);
        }
        assert_eq!(Contents::of_read(&read), Contents::of_appended(&appended));
    })
    .await;
}

#[tokio::test]
async fn reads_start_by_number_by_time_and_from_the_tail() {
    within(async {
        let stream = stream(&client(config())).await;
        append_at(&stream, &[10, 20, 20, 30]).await;
        for (start, expected) in [
            (ReadFrom::SeqNum(0), vec![0, 1, 2, 3]),
            (ReadFrom::SeqNum(3), vec![3]),
            (ReadFrom::Timestamp(0), vec![0, 1, 2, 3]),
            (ReadFrom::Timestamp(11), vec![1, 2, 3]),
            (ReadFrom::Timestamp(20), vec![1, 2, 3]),
            (ReadFrom::Timestamp(30), vec![3]),
            (ReadFrom::TailOffset(2), vec![2, 3]),
            (ReadFrom::TailOffset(9), vec![0, 1, 2, 3]),
        ] {
            let read = stream.read(from(start)).await.unwrap();
            assert_eq!(seq_nums(&read.records), expected, "{start:?}");
        }
        let default = stream.read(ReadInput::new()).await.unwrap();
        assert_eq!(default.records.len(), 4);
        for start in [ReadFrom::SeqNum(4), ReadFrom::SeqNum(99), ReadFrom::Timestamp(31)] {
            let error = stream.read(from(start)).await.unwrap_err();
            assert_eq!(unwritten_tail(error), 4, "{start:?}");
        }
        assert_eq!(
            unwritten_tail(stream.read(from(ReadFrom::TailOffset(0))).await.unwrap_err()),
            4
        );
    })
    .await;
}

#[tokio::test]
async fn a_clamped_read_starts_at_the_tail() {
    within(async {
        let stream = stream(&client(config())).await;
        stream.append(bodies(["a"])).await.unwrap();
        let beyond = ReadStart::new().with_from(ReadFrom::SeqNum(99)).with_clamp_to_tail(true);
        let clamped = ReadInput::new().with_start(beyond);
        assert_eq!(unwritten_tail(stream.read(clamped.clone()).await.unwrap_err()), 1);
        let waiting = clamped.with_stop(ReadStop::new().with_wait(1));
        assert!(stream.read(waiting).await.unwrap().records.is_empty());
    })
    .await;
}

#[tokio::test]
async fn reads_end_at_their_bounds() {
    within(async {
        let stream = stream(&client(config())).await;
        append_at(&stream, &[10, 20, 30]).await;
        let size = record("10").metered_bytes();
        let bytes = |bytes| ReadStop::new().with_limits(ReadLimits::new().with_bytes(bytes));
        for (stop, expected) in [
            (count(2), vec![0, 1]),
            (count(0), vec![]),
            (bytes(2 * size), vec![0, 1]),
            (bytes(2 * size - 1), vec![0]),
            (bytes(size - 1), vec![]),
            (ReadStop::new().with_until(..30), vec![0, 1]),
            (ReadStop::new().with_until(..31), vec![0, 1, 2]),
            (ReadStop::new().with_until(..10), vec![]),
        ] {
            let read = stream.read(from_seq_num(0).with_stop(stop.clone())).await.unwrap();
            assert_eq!(seq_nums(&read.records), expected, "{stop:?}");
        }
        let never = from(ReadFrom::Timestamp(5)).with_stop(ReadStop::new().with_until(..5));
        assert_eq!(read_code(&stream.read(never).await.unwrap_err()), "invalid");
    })
    .await;
}

#[tokio::test]
async fn a_waiting_read_returns_what_arrives() {
    within(async {
        let stream = stream(&client(config())).await;
        stream.append(bodies(["old"])).await.unwrap();
        let waiting = from_seq_num(1).with_stop(ReadStop::new().with_wait(20));
        let start = Instant::now();
        let (read, ack) = tokio::join!(stream.read(waiting), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stream.append(bodies(["new", "newer"])).await
        });
        let read = read.unwrap();
        assert_eq!(texts(&read.records), ["new", "newer"]);
        assert_eq!(read.tail, Some(ack.unwrap().tail));
        assert!(start.elapsed() < Duration::from_secs(10), "not only when the wait is over");
        let idle = from_seq_num(3).with_stop(ReadStop::new().with_wait(1));
        assert!(stream.read(idle).await.unwrap().records.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_failed_condition_names_the_actual_state_and_changes_nothing() {
    within(async {
        let stream = stream(&client(config())).await;
        stream.append(bodies(["a", "b"]).with_match_seq_num(0)).await.unwrap();
        let error = stream.append(bodies(["c"]).with_match_seq_num(0)).await.unwrap_err();
        assert!(matches!(condition(error), AppendConditionFailed::SeqNumMismatch(2)));
        stream.append(bodies(["c"]).with_match_seq_num(2)).await.unwrap();

        let token = |text: &str| text.parse::<FencingToken>().unwrap();
        let fence = || input([CommandRecord::fence(token("t1")).into()]);
        stream.append(fence().with_fencing_token(token(""))).await.unwrap();
        for wrong in ["t0", ""] {
            let error =
                stream.append(bodies(["d"]).with_fencing_token(token(wrong))).await.unwrap_err();
            match condition(error) {
                AppendConditionFailed::FencingTokenMismatch(actual) => {
                    assert_eq!(actual.to_string(), "t1", "after {wrong:?}");
                }
                other => panic!("{other}"),
            }
        }
        let both = bodies(["d"]).with_fencing_token(token("t0")).with_match_seq_num(0);
        let error = condition(stream.append(both).await.unwrap_err());
        assert!(matches!(error, AppendConditionFailed::FencingTokenMismatch(_)), "fencing first");
        stream.append(bodies(["d"]).with_fencing_token(token("t1"))).await.unwrap();
        stream.append(bodies(["e"])).await.unwrap();
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 6);
        FencingToken::generate(36).expect("the longest token is legal");
    })
    .await;
}

#[tokio::test]
async fn a_trim_takes_records_away_and_commands_can_be_ignored() {
    within(async {
        let stream = stream(&client(config())).await;
        stream.append(bodies(["a", "b", "c"])).await.unwrap();
        let trim = input([CommandRecord::trim(2).into()]);
        assert_eq!(stream.append(trim).await.unwrap().end.seq_num, 4);
        // Trimming is done in the background; the whole case is bounded.
        let read = loop {
            let read = stream.read(from_seq_num(0)).await.unwrap().records;
            if read[0].seq_num == 2 {
                break read;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(seq_nums(&read), [2, 3]);
        assert!(!read[0].is_command_record() && read[1].is_command_record());
        assert_eq!(read[1].body.as_ref(), 2_u64.to_be_bytes());
        let visible = from_seq_num(0).with_ignore_command_records(true);
        assert_eq!(seq_nums(&stream.read(visible).await.unwrap().records), [2]);
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 4);
    })
    .await;
}

#[tokio::test]
async fn invalid_batches_are_refused_whole() {
    within(async {
        let s2 = client(config());
        let (basin, _) = basin_with(&s2, BasinConfig::new()).await;
        let require = TimestampingConfig::new().with_mode(TimestampingMode::ClientRequire);
        let create = CreateStreamInput::new(stream_name("s"))
            .with_config(StreamConfig::new().with_timestamping(require));
        basin.create_stream(create).await.unwrap();
        let stream = basin.stream(stream_name("s"));

        let half = input([record("a").with_timestamp(1), record("b")]);
        assert_eq!(append_code(&stream.append(half).await.unwrap_err()), "invalid");
        let unknown = input([record_with_headers("", &[(b"", b"nope")]).with_timestamp(1)]);
        assert_eq!(append_code(&stream.append(unknown).await.unwrap_err()), "invalid");
        let mixed =
            input([record_with_headers("t", &[(b"", b"fence"), (b"x", b"y")]).with_timestamp(1)]);
        assert_eq!(append_code(&stream.append(mixed).await.unwrap_err()), "invalid");
        assert_eq!(stream.check_tail().await.unwrap().seq_num, 0);

        let missing = basin.stream(stream_name("missing"));
        assert_eq!(
            append_code(&missing.append(bodies(["a"])).await.unwrap_err()),
            "stream_not_found"
        );
        assert_eq!(read_code(&missing.check_tail().await.unwrap_err()), "stream_not_found");
    })
    .await;
}

#[tokio::test]
async fn timestamps_follow_the_stream_configuration() {
    within(async {
        let s2 = client(config());
        let (basin, _) = basin_with(&s2, BasinConfig::new()).await;
        let later = now_ms() + 600_000;
        for (name, mode, uncapped, sent, exact) in [
            ("capped", TimestampingMode::ClientPrefer, false, later, false),
            ("uncapped", TimestampingMode::ClientPrefer, true, later, true),
            ("arrival", TimestampingMode::Arrival, false, 1, false),
            ("prefer", TimestampingMode::ClientPrefer, false, 1, true),
        ] {
            let timestamping = TimestampingConfig::new().with_mode(mode).with_uncapped(uncapped);
            let config = StreamConfig::new().with_timestamping(timestamping);
            let create = CreateStreamInput::new(stream_name(name)).with_config(config);
            basin.create_stream(create).await.unwrap();
            let ack = append_at(&basin.stream(stream_name(name)), &[sent]).await;
            let got = ack.start.timestamp;
            if exact {
                assert_eq!(got, sent, "{name}");
            } else {
                assert!(got.abs_diff(now_ms()) < 60_000, "{name}: {got}");
            }
        }
        let stream = basin.stream(stream_name("prefer"));
        let ack = append_at(&stream, &[1000, 500]).await;
        assert_eq!(ack.end.timestamp, 1000, "time does not go back");
    })
    .await;
}

#[tokio::test]
async fn many_calls_at_once_keep_their_answers_apart() {
    within(async {
        let stream = stream(&client(config())).await;
        let appends = (0..200_u64).map(|number| {
            let stream = stream.clone();
            tokio::spawn(async move {
                let ack = stream.append(input([record(number.to_string())])).await.unwrap();
                (ack.start.seq_num, number)
            })
        });
        let mut placed = Vec::new();
        for append in appends.collect::<Vec<_>>() {
            placed.push(append.await.unwrap());
        }
        placed.sort_unstable();
        let read = stream.read(from_seq_num(0)).await.unwrap().records;
        let read: Vec<(u64, u64)> = read
            .iter()
            .map(|record| (record.seq_num, String::from_utf8_lossy(&record.body).parse().unwrap()))
            .collect();
        assert_eq!(read, placed);
    })
    .await;
}
