//! Writers, each alone on a stream, and what the streams must hold after them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use serde_json::json;

use crate::common::client::{Client, batch, records_path};
use crate::common::http::{Conn, Request};
use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll};

/// So that every shard has some.
pub(crate) const STREAMS: usize = 4;
pub(crate) const BASIN: &str = "bucket-tests";

/// When an append may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// When it is in the bucket.
    Standard,
    /// When it is on the local disk.
    Express,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Express => "express",
        }
    }

    pub(crate) fn stream(self, number: usize) -> String {
        format!("{}-{number}", self.name())
    }
}

/// Makes the basin and the streams of all writers.
#[track_caller]
pub(crate) fn prepare(server: &Server) {
    let mut client = server.client();
    client.post("/v1/basins", &json!({ "basin": BASIN })).status(201);
    let mut client = client.in_basin(BASIN);
    for number in 0..STREAMS {
        for class in [Class::Standard, Class::Express] {
            let config = json!({ "storage_class": class.name() });
            client.create_stream_with(&class.stream(number), &config);
        }
    }
}

/// A client in the basin.
pub(crate) fn client(server: &Server) -> Client {
    server.client().in_basin(BASIN)
}

/// What one writer sent, in order, and how much of it was acknowledged: at the places that an
/// empty stream has for it, or the writer fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) stream: String,
    /// What the stream held before.
    pub(crate) before: usize,
    pub(crate) sent: Vec<String>,
    /// How many of them were acknowledged.
    pub(crate) acked: usize,
    /// Why the writer ended, if not because it was asked to.
    pub(crate) ended: Option<String>,
}

/// Writers at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acked: Vec<Arc<AtomicUsize>>,
    writers: Vec<JoinHandle<Told>>,
}

impl Load {
    /// One writer for each stream of this class, until it is told to stop or not answered with
    /// success.
    pub(crate) fn start(server: &Server, class: Class, label: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self { stop: Arc::clone(&stop), acked: Vec::new(), writers: Vec::new() };
        for number in 0..STREAMS {
            let acked = Arc::new(AtomicUsize::new(0));
            load.acked.push(Arc::clone(&acked));
            let stop = Arc::clone(&stop);
            let mut client = client(server);
            let label = label.to_owned();
            load.writers.push(thread::spawn(move || {
                let stream = class.stream(number);
                let before = client.tail_seq_num(&stream).try_into().expect("a short stream");
                write(&client, stream, before, &label, &stop, &acked)
            }));
        }
        load
    }

    /// How many appends were acknowledged so far.
    pub(crate) fn acked(&self) -> usize {
        self.acked.iter().map(|acked| acked.load(Ordering::Acquire)).sum()
    }

    /// Waits until every writer has this many acknowledgements more.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, count: usize) {
        let now = || self.acked.iter().map(|acked| acked.load(Ordering::Acquire));
        let wanted: Vec<usize> = now().map(|acked| acked + count).collect();
        let reached = poll(EVENTUALLY_WAIT, || {
            now().zip(&wanted).all(|(acked, wanted)| acked >= *wanted).then_some(())
        });
        assert!(reached.is_some(), "not acknowledged in time: {:?}", now().collect::<Vec<_>>());
    }

    /// Has the writers stop, and gives what they were told.
    pub(crate) fn stop(self) -> Vec<Told> {
        self.stop.store(true, Ordering::Release);
        let writers = self.writers.into_iter();
        writers.map(|writer| writer.join().expect("a writer ends well")).collect()
    }
}

fn write(
    client: &Client,
    stream: String,
    before: usize,
    label: &str,
    stop: &AtomicBool,
    acked: &AtomicUsize,
) -> Told {
    let mut told = Told { stream, before, ..Told::default() };
    let mut conn = Conn::open(client.host());
    while !stop.load(Ordering::Acquire) {
        let body = format!("{label} {} {}", told.stream, told.sent.len());
        let request = Request::post(&records_path(&told.stream), &batch(&[&body]));
        told.sent.push(body);
        let written = conn.write(&client.encode(&request));
        let answer = written.map_err(|error| error.to_string());
        match answer.and_then(|()| conn.read_response("POST")) {
            Ok(answer) if answer.status == 200 => {
                let place = (before + told.acked) as u64;
                assert_eq!(answer.u64_at("/start/seq_num"), place, "{}", told.stream);
                told.acked += 1;
                acked.store(told.acked, Ordering::Release);
            }
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                told.ended = Some(format!("{} {body}", answer.status));
                return told;
            }
            Err(error) => {
                told.ended = Some(error);
                return told;
            }
        }
    }
    told
}

/// The bodies of a whole stream, whose numbers must have no gap.
#[track_caller]
pub(crate) fn read_all(client: &mut Client, stream: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    let tail = client.tail_seq_num(stream);
    while (bodies.len() as u64) < tail {
        let page = client.read(stream, &format!("seq_num={}&count=1000", bodies.len())).records();
        assert!(!page.is_empty(), "{stream} ends at {} of {tail}", bodies.len());
        for record in page {
            assert_eq!(record["seq_num"], json!(bodies.len()), "{stream} has a gap");
            bodies.push(record["body"].as_str().expect("a body").to_owned());
        }
    }
    bodies
}

/// Fails unless a stream goes on, after what it held before, with what its writer sent, in that
/// order and without a gap, at least as far as `promised` of it; gives how far that is.
#[track_caller]
pub(crate) fn check(bodies: &[String], told: &Told, promised: usize) -> usize {
    let after = bodies.get(told.before..).unwrap_or_default();
    let common = after.iter().zip(&told.sent).take_while(|(there, sent)| there == sent).count();
    assert!(
        common >= promised,
        "{}: {promised} were promised, {common} are there ({} sent, {} acknowledged); then {:?}",
        told.stream,
        told.sent.len(),
        told.acked,
        after.get(common),
    );
    common
}

/// The same of streams that hold nothing else, all that was acknowledged promised.
#[track_caller]
pub(crate) fn check_all(client: &mut Client, told: &[Told]) {
    for told in told {
        let bodies = read_all(client, &told.stream);
        let found = check(&bodies, told, told.acked);
        assert_eq!(bodies.len(), told.before + found, "{} holds what nobody sent", told.stream);
    }
}

/// Waits until everything is in the bucket.
#[track_caller]
pub(crate) fn wait_until_shipped(server: &Server) {
    let mut client = server.client();
    let shipped = poll(EVENTUALLY_WAIT, || (lag_bytes(&mut client) == 0).then_some(()));
    assert!(shipped.is_some(), "{} bytes are not in the bucket", lag_bytes(&mut client));
}

/// How much is not in the bucket.
#[track_caller]
pub(crate) fn lag_bytes(client: &mut Client) -> u64 {
    static KNOWN: OnceLock<()> = OnceLock::new();
    let name = "thalweg_bucket_lag_bytes";
    KNOWN.get_or_init(|| {
        let text = client.get("/metrics").status(200).body.clone();
        let text = String::from_utf8(text).expect("text");
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name}:\n{text}");
    });
    client.metric(name)
}

/// One plain append; must succeed. Gives its place.
#[track_caller]
pub(crate) fn append(client: &mut Client, stream: &str, body: &str) -> u64 {
    client.append_bodies(stream, &[body]).u64_at("/start/seq_num")
}

/// Whether an object is a piece of a shard's log.
pub(crate) fn is_log(name: &str) -> bool {
    name.starts_with("shard-") && name.contains("/log/")
}
