//! One client, which chooses what to do from its seed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use s2_sdk::S2Stream;
use s2_sdk::append_session::{AppendSession, AppendSessionConfig, BatchSubmitTicket};
use s2_sdk::types::{
    AppendInput, AppendRecord, AppendRecordBatch, CommandRecord, FencingToken, ValidationError,
};
use tokio::time::{Instant, sleep, timeout};

use super::outcome::Outcome;
use super::read::{check_tail, read_all};
use super::recorder::{Begun, Recorder};
use super::{Fault, REQUEST_WITHIN, Workload};
use crate::event::{Append, Finish, Start, record_hash};

/// The most batches that a session has under way.
const DEPTH_MAX: usize = 4;
const RECORDS_MAX: usize = 8;
/// So long that no two bodies are the same by chance.
const BODY_BYTES_MIN: usize = 16;
const BODY_BYTES_MAX: usize = 256;
/// One in so many batches holds a body that fills several blocks of a disk.
const BATCHES_PER_LARGE_BODY: u32 = 20;
const LARGE_BODY_BYTES_MAX: usize = 20_000;
/// In place of an identity that has an operation of unknown outcome.
const USED_UP: u64 = u64::MAX;
/// Every so many operations, a client of the fencing workload sets its token.
const OPERATIONS_BETWEEN_FENCES: u64 = 10;
/// Between questions of a client whose server went away.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The longest rest between operations, in microseconds: long enough for a history to last until it
/// is hit, short enough for operations to meet.
const REST_US_MAX: u64 = 12_000;

/// When clients end.
#[derive(Clone)]
pub struct Until {
    /// Each after this many operations.
    pub operations: u64,
    /// All at this time.
    pub deadline: Instant,
    /// All as soon as this is set.
    pub stopped: Rc<Cell<bool>>,
}

impl Until {
    fn is_over(&self) -> bool {
        self.stopped.get() || Instant::now() >= self.deadline
    }
}

/// One client and what it believes.
pub struct Client {
    stream: S2Stream,
    workload: Workload,
    rng: StdRng,
    recorder: Rc<Recorder>,
    /// One identity for each batch that may be under way.
    identities: Vec<u64>,
    /// Whether it appends and reads in sessions.
    is_session: bool,
    /// Whether what it asks in between is left out of the history.
    pub(super) appends_only: bool,
    session: Option<AppendSession>,
    /// Its guess of the tail.
    expected: u64,
    token: FencingToken,
}

/// A batch to send and how it stands in the history.
struct Prepared {
    asked: Append,
    input: AppendInput,
}

impl Client {
    /// A client of its own; fails if there are not enough identities.
    pub fn new(
        stream: S2Stream,
        workload: Workload,
        is_session: bool,
        mut rng: StdRng,
        recorder: Rc<Recorder>,
    ) -> Result<Self, Fault> {
        let depth = if is_session { DEPTH_MAX } else { 1 };
        let identities: Option<Vec<u64>> = (0..depth).map(|_| recorder.identity()).collect();
        let token = format!("{:08x}", rng.next_u32()).parse()?;
        Ok(Self {
            stream,
            workload,
            rng,
            recorder,
            identities: identities.ok_or("too many clients")?,
            is_session,
            appends_only: false,
            session: None,
            expected: 0,
            token,
        })
    }

    /// Works until it is time to end, or no identity is left.
    pub async fn run(mut self, until: Until) {
        let mut operations = 0;
        let mut next_fence = 0;
        while operations < until.operations && !until.is_over() && !self.identities.is_empty() {
            let is_fence = self.workload == Workload::Fencing && operations >= next_fence;
            let prepared = if is_fence {
                next_fence = operations + OPERATIONS_BETWEEN_FENCES;
                self.fence().map(|fence| vec![fence])
            } else if self.appends_only || self.rng.random_ratio(1, 3) {
                self.batches()
            } else {
                Ok(Vec::new())
            };
            let prepared = prepared.expect("batches stay within the limits of the API");
            operations += prepared.len().max(1) as u64;
            let is_answered = if prepared.is_empty() {
                self.observe().await
            } else if self.is_session {
                self.append_in_session(prepared).await
            } else {
                self.append(prepared).await
            };
            if !is_answered {
                self.wait_for_answer(&until).await;
            } else {
                sleep(Duration::from_micros(self.rng.random_range(0..REST_US_MAX))).await;
            }
        }
    }

    /// A read or a question for the tail; whether it was answered.
    async fn observe(&mut self) -> bool {
        if self.rng.random_bool(0.5) {
            return self.check_tail().await;
        }
        let begun = self.recorder.begin(self.identities[0], Start::Read);
        let (answer, _) = read_all(&self.stream, self.is_session).await;
        if let Finish::ReadSuccess { tail, .. } = answer {
            self.expected = tail;
        }
        let is_answered = answer != Finish::ReadFailure;
        self.recorder.end(begun, answer);
        is_answered
    }

    async fn check_tail(&mut self) -> bool {
        if self.appends_only {
            let answer = check_tail(&self.stream).await;
            if let Finish::CheckTailSuccess { tail } = answer {
                self.expected = tail;
            }
            return answer != Finish::CheckTailFailure;
        }
        let begun = self.recorder.begin(self.identities[0], Start::CheckTail);
        let answer = check_tail(&self.stream).await;
        if let Finish::CheckTailSuccess { tail } = answer {
            self.expected = tail;
        }
        let is_answered = answer != Finish::CheckTailFailure;
        self.recorder.end(begun, answer);
        is_answered
    }

    /// A client whose server went away asks for the tail until it is told: appends to a server
    /// that is not there would only use up identities.
    async fn wait_for_answer(&mut self, until: &Until) {
        while !until.is_over() && !self.identities.is_empty() && !self.check_tail().await {
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    async fn append(&mut self, prepared: Vec<Prepared>) -> bool {
        let mut is_answered = true;
        for (lane, Prepared { asked, input }) in prepared.into_iter().enumerate() {
            let begun = self.recorder.begin(self.identities[lane], Start::Append(asked));
            let outcome = match timeout(REQUEST_WITHIN, self.stream.append(input)).await {
                Ok(Ok(ack)) => Outcome::Appended(ack.end.seq_num),
                Ok(Err(error)) => Outcome::of(&error),
                Err(_) => Outcome::Unknown,
            };
            is_answered &= self.conclude(lane, begun, outcome, true);
        }
        self.identities.retain(|identity| *identity != USED_UP);
        is_answered
    }

    /// Sends all batches before it waits for the first; whether all were answered.
    async fn append_in_session(&mut self, mut prepared: Vec<Prepared>) -> bool {
        let session = self
            .session
            .take()
            .unwrap_or_else(|| self.stream.append_session(AppendSessionConfig::new()));
        prepared.truncate(self.identities.len());
        let mut sent: Vec<(Begun, Result<BatchSubmitTicket, Outcome>)> = Vec::new();
        for (lane, Prepared { asked, input }) in prepared.into_iter().enumerate() {
            let begun = self.recorder.begin(self.identities[lane], Start::Append(asked));
            let submitted = match timeout(REQUEST_WITHIN, session.submit(input)).await {
                Ok(Ok(ticket)) => Ok(ticket),
                // It was not taken into the session, so it was not sent.
                Ok(Err(_)) | Err(_) => Err(Outcome::Unsent),
            };
            sent.push((begun, submitted));
        }
        let mut is_whole = true;
        let mut is_answered = true;
        for (lane, (begun, submitted)) in sent.into_iter().enumerate() {
            let outcome = match submitted {
                Err(outcome) => outcome,
                Ok(ticket) => match timeout(REQUEST_WITHIN, ticket).await {
                    Ok(Ok(ack)) => Outcome::Appended(ack.end.seq_num),
                    Ok(Err(error)) => Outcome::of_session(&error),
                    Err(_) => Outcome::Unknown,
                },
            };
            // Only the first failure of a session was judged; the others repeat its answer.
            let is_first = is_whole;
            is_whole &= matches!(outcome, Outcome::Appended(_));
            is_answered &= self.conclude(lane, begun, outcome, is_first);
        }
        self.identities.retain(|identity| *identity != USED_UP);
        if is_whole && self.rng.random_ratio(9, 10) {
            self.session = Some(session);
        }
        is_answered
    }

    /// Records an outcome and learns from it; whether a server answered.
    fn conclude(&mut self, lane: usize, begun: Begun, outcome: Outcome, is_judged: bool) -> bool {
        let answer = match outcome {
            Outcome::Appended(tail) => {
                self.expected = tail;
                Finish::AppendSuccess { tail }
            }
            Outcome::Refused { tail } => {
                if let Some(tail) = tail.filter(|_| is_judged) {
                    self.expected = tail;
                    if !self.appends_only {
                        self.recorder.told(begun, tail);
                    }
                }
                Finish::AppendDefiniteFailure
            }
            Outcome::Unsent => Finish::AppendDefiniteFailure,
            Outcome::Unknown => {
                self.identities[lane] = self.recorder.identity().unwrap_or(USED_UP);
                Finish::AppendIndefiniteFailure
            }
        };
        self.recorder.end(begun, answer);
        matches!(outcome, Outcome::Appended(_) | Outcome::Refused { .. })
    }

    /// Batches with the conditions of the workload: one, or some for a session.
    fn batches(&mut self) -> Result<Vec<Prepared>, ValidationError> {
        let depth = if self.is_session { self.rng.random_range(1..=DEPTH_MAX) } else { 1 };
        let mut expected = self.expected;
        (0..depth)
            .map(|_| {
                let bodies = self.bodies();
                let mut asked = asked(bodies.iter().map(Vec::as_slice));
                let records: Result<Vec<_>, _> =
                    bodies.into_iter().map(AppendRecord::new).collect();
                let mut input = AppendInput::new(AppendRecordBatch::try_from_iter(records?)?);
                match self.workload {
                    Workload::Regular => {}
                    Workload::MatchSeqNum => {
                        asked.match_seq_num = Some(expected);
                        input = input.with_match_seq_num(expected);
                        expected += asked.num_records;
                    }
                    Workload::Fencing => {
                        asked.fencing_token = Some(self.token.to_string());
                        input = input.with_fencing_token(self.token.clone());
                    }
                }
                Ok(Prepared { asked, input })
            })
            .collect()
    }

    /// A batch that sets the client's token, if the tail is the expected one: otherwise the last of
    /// several at once would always win.
    fn fence(&self) -> Result<Prepared, ValidationError> {
        let token = self.token.to_string();
        let mut asked = asked([token.as_bytes()]);
        asked.set_fencing_token = Some(token);
        asked.match_seq_num = Some(self.expected);
        let record = AppendRecord::from(CommandRecord::fence(self.token.clone()));
        let batch = AppendRecordBatch::try_from_iter([record])?;
        Ok(Prepared { asked, input: AppendInput::new(batch).with_match_seq_num(self.expected) })
    }

    fn bodies(&mut self) -> Vec<Vec<u8>> {
        let count = self.rng.random_range(1..=RECORDS_MAX);
        let large = self.rng.random_ratio(1, BATCHES_PER_LARGE_BODY);
        (0..count)
            .map(|number| {
                let is_large = large && number == 0;
                let max = if is_large { LARGE_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
                let mut body = vec![0; self.rng.random_range(BODY_BYTES_MIN..=max)];
                self.rng.fill_bytes(&mut body);
                body
            })
            .collect()
    }
}

/// An append of these bodies as it stands in the history, without conditions.
fn asked<'a>(bodies: impl IntoIterator<Item = &'a [u8]>) -> Append {
    let record_hashes: Vec<u64> = bodies.into_iter().map(record_hash).collect();
    Append {
        num_records: record_hashes.len() as u64,
        record_hashes,
        set_fencing_token: None,
        fencing_token: None,
        match_seq_num: None,
    }
}
