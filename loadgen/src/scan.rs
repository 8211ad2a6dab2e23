//! `loadgen scan`: readers that go through whole streams, from the first record to the last and
//! again, for as long as asked: what old data is read by, beside appends or alone.
//!
//! * Each reader follows a stream in an S2S read session over HTTP/1.1 until a heartbeat says that
//!   it is at the tail, and begins anew.
//! * Records must come in order, without a gap, and as many as a heartbeat says; one that does not
//!   fails the run.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use prost::Message;
use serde_json::json;
use tokio::time::timeout;

use crate::cli::{Format, Protocol, ScanArgs};
use crate::client::common_headers;
use crate::clock::ns;
use crate::duplex;
use crate::peers;
use crate::place::Place;
use crate::proto::ReadBatch;
use crate::request::kind_headers;
use crate::s2s::Frame;
use crate::setup::stream_name;
use crate::stats::CpuUse;

/// What all readers got.
#[derive(Debug, Default)]
struct Got {
    records: Cell<u64>,
    body_bytes: Cell<u64>,
    passes: Cell<u64>,
}

impl Got {
    fn add(&self, records: u64, body_bytes: u64) {
        self.records.set(self.records.get() + records);
        self.body_bytes.set(self.body_bytes.get() + body_bytes);
    }
}

/// Reads, prints what came.
pub(crate) fn run(args: &ScanArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let protocol = args.protocol;
    ensure!(
        protocol.is_foreign() || protocol == Protocol::S2s,
        "what is read in sessions is not read by {}",
        protocol.name()
    );
    let (got, began, cpu) = (Got::default(), Instant::now(), CpuUse::of_this_thread());
    let until = began + args.duration;
    let readers = (0..args.readers).map(|reader| read(args, reader, (began, until), &got));
    runtime.block_on(try_join_all(readers))?;
    let wall_ns = ns(began.elapsed());
    let cpu = cpu.and_then(|start| Some(CpuUse::of_this_thread()?.since(start, wall_ns)));
    let secs = began.elapsed().as_secs_f64();
    let records_per_s = got.records.get() as f64 / secs;
    let mib_per_s = got.body_bytes.get() as f64 / secs / f64::from(1 << 20);
    println!(
        "scanned     {records_per_s:.1} records/s, {mib_per_s:.2} MiB/s by {} readers, {} passes \
         in {secs:.2} s",
        args.readers,
        got.passes.get()
    );
    if let Some(out) = &args.out {
        let result = json!({
            "readers": args.readers,
            "seconds": secs,
            "records_per_s": records_per_s,
            "mib_per_s": mib_per_s,
            "passes": got.passes.get(),
            "busy_share": cpu.map(CpuUse::busy_share),
        });
        std::fs::create_dir_all(out)?;
        let path = out.join("scan.json");
        std::fs::write(&path, format!("{result:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(got.records.get() > 0, "no record came");
    Ok(())
}

/// One reader: pass after pass, each on a connection of its own.
async fn read(
    args: &ScanArgs,
    reader: u32,
    (began, until): (Instant, Instant),
    got: &Got,
) -> Result<()> {
    let place = args.target.place()?;
    let (name, limit) =
        (stream_name(args.seed, reader % args.streams), args.target.request_timeout);
    let common = common_headers(&args.target, Some(&args.basin));
    if args.protocol.is_foreign() {
        return read_foreign(args, (&name, &common), &place, until, got).await;
    }
    let kinds = kind_headers(Protocol::S2s, Format::Raw);
    let head = format!("GET /v1/streams/{name}/records?seq_num=0 HTTP/1.1\r\n{common}{kinds}\r\n");
    while Instant::now() < until {
        let opened = duplex::open_one(&place, &head, limit).await;
        let (_outgoing, mut incoming) = opened.with_context(|| format!("reading {name}"))?;
        let pace = args.mib_per_s.map(|mib_per_s| (began, mib_per_s << 20));
        let mut pass = Pass { next: None, limit, until, pace };
        let ended = pass.run(&mut incoming, got).await;
        if ended.with_context(|| format!("reading {name}"))? {
            got.passes.set(got.passes.get() + 1);
        }
    }
    Ok(())
}

/// The same where another protocol is spoken.
async fn read_foreign(
    args: &ScanArgs,
    (name, headers): (&str, &str),
    place: &Place,
    until: Instant,
    got: &Got,
) -> Result<()> {
    let limit = args.target.request_timeout;
    while Instant::now() < until {
        let pass = if args.protocol == Protocol::Redis {
            peers::scan::redis(place, name, limit, until).await
        } else {
            let record_bytes = args.record_bytes as u64;
            peers::scan::octets(place, (name, headers), record_bytes, limit, until).await
        };
        let (records, body_bytes, is_whole) = pass.with_context(|| format!("reading {name}"))?;
        got.add(records, body_bytes);
        got.passes.set(got.passes.get() + u64::from(is_whole));
    }
    Ok(())
}

/// One way through a stream.
struct Pass {
    /// Number of the record that comes next; the first one may have any.
    next: Option<u64>,
    limit: Duration,
    until: Instant,
    /// When all readers began, and how many bytes a second they may take together.
    pace: Option<(Instant, u64)>,
}

impl Pass {
    /// Reads to the tail; `false` when time was up before.
    async fn run(&mut self, incoming: &mut duplex::Incoming, got: &Got) -> Result<bool> {
        loop {
            while let Some(frame) = incoming.next().map_err(anyhow::Error::msg)? {
                if self.take(frame, got)? {
                    return Ok(true);
                }
            }
            if Instant::now() >= self.until {
                return Ok(false);
            }
            if let Some((began, bytes_per_s)) = self.pace {
                let took = got.body_bytes.get() as f64 / bytes_per_s as f64;
                tokio::time::sleep_until((began + Duration::from_secs_f64(took)).into()).await;
            }
            let more = timeout(self.limit, incoming.receive()).await;
            ensure!(more.context("nothing comes")??, "the session ended");
        }
    }

    /// Takes a frame; `true` at the tail.
    fn take(&mut self, frame: Frame, got: &Got) -> Result<bool> {
        let message = match frame {
            Frame::Message(message) => message,
            Frame::Terminal { status, body } => {
                bail!("{status} {}", String::from_utf8_lossy(&body))
            }
        };
        let batch = ReadBatch::decode(message).context("no batch")?;
        if batch.records.is_empty() {
            let tail = batch.tail.context("a heartbeat without a tail")?.seq_num;
            let next = self.next.unwrap_or(tail);
            ensure!(next == tail, "a heartbeat at {tail}, but {next} has not come");
            return Ok(true);
        }
        for record in &batch.records {
            let expected = self.next.unwrap_or(record.seq_num);
            ensure!(record.seq_num == expected, "{} instead of {expected}", record.seq_num);
            self.next = Some(expected + 1);
            got.add(1, record.body.len() as u64);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::{Position, SequencedRecord};

    fn frame(seq_nums: &[u64], tail: Option<u64>) -> Frame {
        let record = |seq_num: &u64| SequencedRecord {
            seq_num: *seq_num,
            timestamp: 1,
            headers: Vec::new(),
            body: Bytes::from_static(b"four"),
        };
        let tail = tail.map(|seq_num| Position { seq_num, timestamp: 1 });
        let batch = ReadBatch { records: seq_nums.iter().map(record).collect(), tail };
        Frame::Message(batch.encode_to_vec().into())
    }

    fn pass() -> Pass {
        Pass { next: None, limit: Duration::ZERO, until: Instant::now(), pace: None }
    }

    #[test]
    fn a_pass_ends_at_the_tail_and_counts() {
        let (got, mut pass) = (Got::default(), pass());
        for (frame, at_tail) in [
            (frame(&[3, 4], None), false),
            (frame(&[5], Some(6)), false),
            (frame(&[], Some(6)), true),
        ] {
            assert_eq!(pass.take(frame, &got).unwrap(), at_tail);
        }
        assert_eq!((got.records.get(), got.body_bytes.get()), (3, 12));
        assert!(Pass { next: None, ..pass }.take(frame(&[], Some(0)), &got).unwrap(), "empty");
    }

    #[test]
    fn gaps_repetitions_and_early_heartbeats_fail() {
        for (second, what) in [
            (frame(&[5], None), "gap"),
            (frame(&[3], None), "again"),
            (frame(&[], Some(5)), "early"),
        ] {
            let (got, mut pass) = (Got::default(), pass());
            pass.take(frame(&[3], None), &got).unwrap();
            assert!(pass.take(second, &got).is_err(), "{what}");
        }
    }
}
