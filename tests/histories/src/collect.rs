//! Clients of a running server, and what they did and were told, as a history.
//!
//! * [`recorder`]: writes the events down, in the order in which this process saw them
//! * [`outcome`]: what an error says about the effect of an append
//! * [`read`]: reads and questions for the tail
//! * [`found`]: appends of unknown outcome that the last read found
//! * [`client`]: one client that chooses what to do from its seed
//!
//! All clients run on one thread, so the order of the events needs no lock and no clock: a begin is
//! recorded before its request is made, an end after its answer was taken. The official client does
//! the talking, each client with a connection of its own and without retries, because a retry
//! would hide that one append was sent twice.

pub mod client;
pub mod found;
pub mod outcome;
pub mod read;
pub mod recorder;

use std::future::Future;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use s2_sdk::types::{
    BasinName, CreateStreamInput, EnsureBasinInput, RetryConfig, S2Config, S2Endpoints,
    StreamConfig, StreamName,
};
use s2_sdk::{S2, S2Stream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use crate::event::{Finish, Line, Start};

use client::{Client, Until};
use read::{check_tail, read_all};
use recorder::{Recorder, Totals};

/// The kind of conditions that clients put on their appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// None.
    Regular,
    /// Each names the position that it expects.
    MatchSeqNum,
    /// Each names its client's token, which clients set in turn.
    Fencing,
}

/// How clients append and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One request for each append and for each page that is read.
    Unary,
    /// Sessions.
    Session,
    /// Some clients so, some so.
    Mixed,
}

/// What to collect.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// The server, as http://host:port
    #[arg(long)]
    pub url: String,
    /// The stream, which must be new; it is made in the basin `histories`
    #[arg(long)]
    pub stream: String,
    /// Conditions of appends
    #[arg(long, value_enum)]
    pub workload: Workload,
    /// How to append and read
    #[arg(long, value_enum)]
    pub form: Form,
    /// Decides what clients do
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Clients at once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub clients: u64,
    /// The most operations of one client
    #[arg(long, default_value_t = 120)]
    pub operations: u64,
    /// The longest time, in milliseconds; SIGTERM ends it earlier
    #[arg(long, default_value_t = 60_000)]
    pub duration_ms: u64,
    /// Storage class of the stream; without it, the server's own choice
    #[arg(long)]
    pub storage_class: Option<String>,
    /// Clients only append until the last read: for servers of which one may not know yet that
    /// another has taken over, or shows what is not yet where it survives
    #[arg(long)]
    pub appends_only: bool,
}

/// No request takes longer than this, or its outcome is unknown.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// After its last client, a history waits this long for a server that answers.
const LAST_READ_WITHIN: Duration = Duration::from_secs(60);
/// The most identities in one history: each append of unknown outcome uses one up.
const IDENTITIES_MAX: u64 = 60;
const BASIN: &str = "histories";

/// What was collected.
pub struct Collected {
    /// The history.
    pub lines: Vec<Line>,
    /// The history with what the last read found out: see [`found`].
    pub found: Vec<Line>,
    /// What the history holds.
    pub totals: Totals,
}

/// A fault of the collector or its surroundings: no history comes of it.
pub type Fault = Box<dyn std::error::Error>;

/// Runs clients until they are through or `stop` is, then reads everything back. Calls `at_work`
/// when the stream exists: from then on a server may go away.
pub async fn collect(
    plan: &Plan,
    at_work: impl FnOnce(),
    stop: impl Future<Output = ()> + 'static,
) -> Result<Collected, Fault> {
    let basin: BasinName = BASIN.parse()?;
    let stream: StreamName = plan.stream.parse()?;
    let s2 = connect(plan)?;
    // Another history may have made it.
    s2.ensure_basin(EnsureBasinInput::new(basin.clone())).await?;
    let basin = s2.basin(basin);
    let mut config = StreamConfig::new();
    if let Some(class) = &plan.storage_class {
        config = config.with_storage_class(class.as_str());
    }
    basin.create_stream(CreateStreamInput::new(stream.clone()).with_config(config)).await?;

    let recorder = Rc::new(Recorder::new(IDENTITIES_MAX));
    let mut clients = Vec::new();
    for number in 0..plan.clients {
        let stream = connect(plan)?.basin(BASIN.parse()?).stream(stream.clone());
        let is_session = match plan.form {
            Form::Unary => false,
            Form::Session => true,
            Form::Mixed => number % 2 == 0,
        };
        let rng = StdRng::seed_from_u64(plan.seed.wrapping_mul(1009).wrapping_add(number));
        let recorder = Rc::clone(&recorder);
        let mut client = Client::new(stream, plan.workload, is_session, rng, recorder)?;
        client.appends_only = plan.appends_only;
        clients.push(client);
    }
    at_work();
    let until = Until {
        operations: plan.operations,
        deadline: Instant::now() + Duration::from_millis(plan.duration_ms),
        stopped: Rc::default(),
    };
    let local = LocalSet::new();
    local.run_until(run(clients, until, stop)).await?;
    let records = read_back(&basin.stream(stream), plan.form, &recorder).await?;
    let (lines, totals) = recorder.take();
    let found = found::resolve(&lines, &records);
    Ok(Collected { lines, found, totals })
}

async fn run(
    clients: Vec<Client>,
    until: Until,
    stop: impl Future<Output = ()> + 'static,
) -> Result<(), Fault> {
    let stopped = Rc::clone(&until.stopped);
    let stopper = spawn_local(async move {
        stop.await;
        stopped.set(true);
    });
    let tasks: Vec<_> =
        clients.into_iter().map(|client| spawn_local(client.run(until.clone()))).collect();
    for task in tasks {
        task.await?;
    }
    stopper.abort();
    Ok(())
}

/// What was acknowledged must still be there when everything is over: without an answer here, a
/// server that lost everything and then stayed away would pass.
async fn read_back(stream: &S2Stream, form: Form, recorder: &Recorder) -> Result<Vec<u64>, Fault> {
    let deadline = Instant::now() + LAST_READ_WITHIN;
    let is_session = form != Form::Unary;
    let reader = recorder.identity_of_reader();
    loop {
        let begun = recorder.begin(reader, Start::Read);
        let (answer, records) = read_all(stream, is_session).await;
        let is_answered = matches!(answer, Finish::ReadSuccess { .. });
        recorder.end(begun, answer);
        let begun = recorder.begin(reader, Start::CheckTail);
        let answer = check_tail(stream).await;
        let is_told = matches!(answer, Finish::CheckTailSuccess { .. });
        recorder.end(begun, answer);
        if is_answered && is_told {
            return Ok(records);
        }
        if Instant::now() > deadline {
            return Err("the stream cannot be read back".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn connect(plan: &Plan) -> Result<S2, Fault> {
    let once = RetryConfig::new().with_max_attempts(NonZeroU32::MIN);
    let config = S2Config::new("any-token")
        .with_endpoints(S2Endpoints::for_endpoint(&plan.url)?)
        .with_request_timeout(REQUEST_WITHIN)
        .with_retry(once);
    Ok(S2::new(config)?)
}
