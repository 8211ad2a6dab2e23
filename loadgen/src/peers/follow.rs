//! Following one stream of a server of another kind: batches of records out of what it sends.
//!
//! * Durable Streams: server-sent events. What arrives is cut into records by their length.
//! * Redis: `XREAD` that waits for more, again and again on one connection.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::octets::{self, Event, Events};
use super::resp;
use crate::cli::Protocol;
use crate::client::common_headers;
use crate::connection::{Connection, Failure};
use crate::context::{NotOpened, Plan};
use crate::duplex::{Chunks, read_head};
use crate::place::Wire;
use crate::proto::{ReadBatch, SequencedRecord};
use crate::setup::stream_name;

/// Entries asked for at a time.
const ENTRIES: &[u8] = b"1000";
/// How long `XREAD` waits before it says that nothing came, milliseconds.
const BLOCK_MS: &[u8] = b"5000";
/// Room made for each read.
const READ_BYTES: usize = 64 << 10;

/// A stream that is followed.
pub(crate) enum Follow {
    Octets(Box<Octets>),
    Redis(Box<Redis>),
}

/// A stream of bytes in server-sent events.
pub(crate) struct Octets {
    half: ReadHalf<Wire>,
    /// Held, as its end would tell the server that nobody listens.
    _writer: WriteHalf<Wire>,
    chunks: Chunks,
    events: Events,
    cutter: Cutter,
}

/// A key that is read again and again.
pub(crate) struct Redis {
    stream: Wire,
    key: String,
    last: Vec<u8>,
    unsent: Bytes,
    received: Vec<u8>,
    next_seq_num: u64,
}

impl Follow {
    /// Follows stream `stream` from record `seq_num` on.
    pub(crate) async fn open(plan: &Plan, stream: u32, seq_num: u64) -> Result<Self, NotOpened> {
        let (args, limit) = (&plan.args, plan.args.target.request_timeout);
        let name = stream_name(args.seed, stream);
        let socket = Connection::open(&plan.place).await?.into_stream();
        if args.protocol == Protocol::Redis {
            if seq_num > 0 {
                return Err(NotOpened::Answered("an entry's id is not known".to_owned()));
            }
            let mut redis = Redis {
                stream: socket,
                key: name,
                last: b"0".to_vec(),
                unsent: Bytes::new(),
                received: Vec::new(),
                next_seq_num: 0,
            };
            redis.ask();
            return Ok(Self::Redis(Box::new(redis)));
        }
        let headers = common_headers(&args.target, None);
        let offset = format!("{:016}_{:016}", 0, seq_num * args.record_bytes as u64);
        let (mut half, mut writer) = tokio::io::split(socket);
        let head = octets::follow(&name, &headers, &offset);
        let opened = timeout(limit, async {
            writer.write_all(head.as_bytes()).await.map_err(Failure::Lost)?;
            writer.flush().await.map_err(Failure::Lost)?;
            read_head(&mut half).await
        });
        let mut octets = Octets {
            chunks: Chunks::new(opened.await.map_err(|_| Failure::Timeout)??),
            half,
            _writer: writer,
            events: Events::default(),
            cutter: Cutter::new(args.record_bytes, seq_num),
        };
        octets.decode()?;
        Ok(Self::Octets(Box::new(octets)))
    }

    /// Takes in more bytes; false at the end of the answer. Nothing is lost when it is cancelled.
    pub(crate) async fn receive(&mut self) -> Result<bool, Failure> {
        match self {
            Self::Octets(octets) => {
                if octets.chunks.is_over() {
                    return Ok(false);
                }
                octets.chunks.raw.reserve(READ_BYTES);
                let count = octets.half.read_buf(&mut octets.chunks.raw).await;
                if count.map_err(Failure::Lost)? == 0 {
                    return Err(Failure::Lost(std::io::ErrorKind::UnexpectedEof.into()));
                }
                octets.decode()?;
            }
            Self::Redis(redis) => {
                while !redis.unsent.is_empty() {
                    let count = redis.stream.write(&redis.unsent).await.map_err(Failure::Lost)?;
                    redis.unsent.advance(count);
                }
                redis.received.reserve(READ_BYTES);
                let count = redis.stream.read_buf(&mut redis.received).await;
                if count.map_err(Failure::Lost)? == 0 {
                    return Err(Failure::Lost(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Ok(true)
    }

    /// The next records among the bytes received; `None` when they need more of them.
    pub(crate) fn next(&mut self) -> Result<Option<ReadBatch>, String> {
        match self {
            Self::Octets(octets) => loop {
                match octets.events.next()? {
                    None => return Ok(None),
                    Some(Event::Control(_)) => {}
                    Some(Event::Data(data)) => {
                        let records = octets.cutter.cut(&data);
                        if !records.is_empty() {
                            return Ok(Some(ReadBatch { records, tail: None }));
                        }
                    }
                }
            },
            Self::Redis(redis) => redis.next(),
        }
    }

    /// True when a part of a record is left.
    pub(crate) fn has_rest(&self) -> bool {
        match self {
            Self::Octets(octets) => !octets.cutter.rest.is_empty(),
            Self::Redis(redis) => !redis.received.is_empty(),
        }
    }
}

impl Octets {
    fn decode(&mut self) -> Result<(), Failure> {
        let Self { chunks, events, .. } = self;
        chunks.decode(|piece| events.push(piece)).map_err(Failure::Protocol)
    }
}

impl Redis {
    fn ask(&mut self) {
        let (key, last) = (self.key.as_bytes(), &self.last);
        let words: [&[u8]; 8] =
            [b"XREAD", b"COUNT", ENTRIES, b"BLOCK", BLOCK_MS, b"STREAMS", key, last];
        self.unsent = resp::command(&words).into();
    }

    fn next(&mut self) -> Result<Option<ReadBatch>, String> {
        let Some(answer) = resp::answer(&self.received, 1)? else { return Ok(None) };
        if answer.status != 200 {
            return Err(String::from_utf8_lossy(&self.received[answer.body]).into_owned());
        }
        let entries = resp::entries(&self.received)?;
        let mut records = Vec::with_capacity(entries.len());
        for entry in &entries {
            records.push(record(self.next_seq_num, entry.body));
            self.next_seq_num += 1;
        }
        if let Some(entry) = entries.last() {
            self.last = entry.id.to_vec();
        }
        self.received.clear();
        self.ask();
        Ok((!records.is_empty()).then_some(ReadBatch { records, tail: None }))
    }
}

/// Cuts a sequence of bytes into records of one length, and numbers them.
struct Cutter {
    record_bytes: usize,
    next_seq_num: u64,
    rest: BytesMut,
}

impl Cutter {
    fn new(record_bytes: usize, next_seq_num: u64) -> Self {
        Self { record_bytes, next_seq_num, rest: BytesMut::new() }
    }

    fn cut(&mut self, data: &[u8]) -> Vec<SequencedRecord> {
        self.rest.extend_from_slice(data);
        let mut records = Vec::new();
        while self.rest.len() >= self.record_bytes {
            let body = self.rest.split_to(self.record_bytes);
            records.push(record(self.next_seq_num, &body));
            self.next_seq_num += 1;
        }
        records
    }
}

fn record(seq_num: u64, body: &[u8]) -> SequencedRecord {
    let body = Bytes::copy_from_slice(body);
    SequencedRecord { seq_num, timestamp: 0, headers: Vec::new(), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_records_wherever_they_are_cut() {
        let text = b"aaaabbbbccccd";
        for split in 0..=text.len() {
            let mut cutter = Cutter::new(4, 7);
            let mut records = cutter.cut(&text[..split]);
            records.extend(cutter.cut(&text[split..]));
            let found: Vec<_> =
                records.iter().map(|record| (record.seq_num, &record.body[..])).collect();
            let expected: [(u64, &[u8]); 3] = [(7, b"aaaa"), (8, b"bbbb"), (9, b"cccc")];
            assert_eq!(found, expected, "cut at {split}");
            assert_eq!(cutter.rest, b"d".as_slice());
        }
    }
}
