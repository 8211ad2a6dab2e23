//! One way through a whole stream of a server of another kind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{octets, resp};
use crate::connection::{self, Connection};
use crate::place::{Place, Wire};

/// Entries asked for at a time.
const ENTRIES: &[u8] = b"1000";
/// Room for what comes at a time.
const READ_BYTES: usize = 256 << 10;

/// What came of one pass: records, bytes of their bodies, and whether it got to the end in time.
pub(crate) type Pass = (u64, u64, bool);

/// Goes through the key `key` by `XRANGE`, until time is up.
pub(crate) async fn redis(
    place: &Place,
    key: &str,
    limit: Duration,
    until: Instant,
) -> Result<Pass> {
    let mut connection = Connection::open(place).await?;
    let (mut records, mut bytes) = (0, 0);
    let mut from = b"-".to_vec();
    while Instant::now() < until {
        let request = resp::command(&[b"XRANGE", key.as_bytes(), &from, b"+", b"COUNT", ENTRIES]);
        let parse = |bytes: &mut Vec<u8>| resp::answer(bytes, 1);
        let answer = connection.exchange_by(&request, limit, parse).await?;
        let body = connection.body(&answer);
        ensure!(answer.status == 200, "{}", String::from_utf8_lossy(body));
        let entries = resp::entries(body).map_err(anyhow::Error::msg)?;
        let Some(last) = entries.last() else { return Ok((records, bytes, true)) };
        records += entries.len() as u64;
        bytes += entries.iter().map(|entry| entry.body.len() as u64).sum::<u64>();
        // What comes behind it.
        from = [b"(", last.id].concat();
    }
    Ok((records, bytes, false))
}

/// Reads all bytes of the stream `name`, records of `record_bytes` each, until time is up.
pub(crate) async fn octets(
    place: &Place,
    (name, headers): (&str, &str),
    record_bytes: u64,
    limit: Duration,
    until: Instant,
) -> Result<Pass> {
    let mut stream = Connection::open(place).await?.into_stream();
    stream.write_all(octets::read(name, headers).as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    let (length, head_bytes) = loop {
        receive(&mut stream, &mut bytes, limit).await?;
        match connection::head_with_length(&bytes).map_err(anyhow::Error::msg)? {
            None => {}
            Some((200, length, head_bytes)) => break (length, head_bytes),
            Some((status, ..)) => bail!("status {status}"),
        }
    };
    ensure!(length % record_bytes == 0, "{length} bytes are not records of {record_bytes}");
    let mut got = (bytes.len() - head_bytes) as u64;
    while got < length && Instant::now() < until {
        bytes.clear();
        got += receive(&mut stream, &mut bytes, limit).await?;
    }
    ensure!(got <= length, "bytes after the answer");
    Ok((got / record_bytes, got, got == length))
}

/// Takes in more bytes; tells how many.
async fn receive(stream: &mut Wire, bytes: &mut Vec<u8>, limit: Duration) -> Result<u64> {
    let count = timeout(limit, stream.read_buf(bytes)).await.context("nothing comes")??;
    ensure!(count > 0, "the answer ended early");
    Ok(count as u64)
}
