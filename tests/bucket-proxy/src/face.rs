//! One way to the bucket: an address of its own, with faults of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::faults::{Counts, Cut, Dice, Fate, Faults};
use super::http::Message;
use super::stale::Births;

/// The bucket takes no longer to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A silent connection is given up after this long.
const SILENT_MAX: Duration = Duration::from_secs(120);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// An idle connection is closed after this long.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// What all faces share: the bucket behind them.
#[derive(Debug)]
pub struct Bucket {
    /// `address:port`.
    pub to: String,
    births: Mutex<Births>,
    /// Held while a conditional write is under way. The S3 server of the tests looks first and
    /// writes then: without this, two that come at once may both succeed.
    conditional: Mutex<()>,
}

/// One way to the bucket.
#[derive(Debug)]
pub struct Face {
    bucket: Arc<Bucket>,
    address: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    dice: Dice,
    counts: Counts,
}

/// A panic of one connection does not end the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bucket {
    /// The bucket at this address.
    pub fn new(to: &str) -> Arc<Self> {
        let (births, conditional) = (Mutex::default(), Mutex::default());
        Arc::new(Self { to: to.to_owned(), births, conditional })
    }

    /// Has the bucket answer a request.
    fn ask(&self, request: &Message) -> io::Result<Message> {
        let is_conditional = request.header("if-none-match").is_some();
        let _alone = is_conditional.then(|| lock(&self.conditional));
        let mut bucket = TcpStream::connect(&self.to)?;
        bucket.set_nodelay(true)?;
        bucket.set_read_timeout(Some(ANSWER_WITHIN))?;
        bucket.set_write_timeout(Some(ANSWER_WITHIN))?;
        request.send(&mut bucket, "close")?;
        let answer = Message::read_answer(&mut bucket, request.method())?;
        if request.method() == "PUT" && answer.status() == 200 {
            lock(&self.births).note(request.path());
        }
        Ok(answer)
    }
}

impl Face {
    /// Begins to listen, on a free port of the loopback address, for as long as the process lives.
    pub fn start(bucket: &Arc<Bucket>, seed: u64) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (faults, counts) = (Faults::default(), Counts::default());
        let face = Arc::new(Self {
            bucket: Arc::clone(bucket),
            address: listener.local_addr()?,
            state: Mutex::new(State { faults, dice: Dice::new(seed), counts }),
        });
        let serving = Arc::clone(&face);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let face = Arc::clone(&serving);
                thread::spawn(move || face.serve(client));
            }
        });
        Ok(face)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the faults, in the words of [`Faults::change`].
    pub fn change<'a>(&self, words: impl Iterator<Item = &'a str>) -> Result<(), String> {
        lock(&self.state).faults.change(words)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    fn faults(&self) -> Faults {
        lock(&self.state).faults.clone()
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut lock(&self.state).counts);
    }

    fn serve(self: &Arc<Self>, mut client: TcpStream) {
        let _ = client.set_nodelay(true);
        let _ = client.set_read_timeout(Some(IDLE_MAX));
        while let Ok(Some(request)) = Message::read_request(&mut client) {
            let Some(answer) = self.answer(&request) else { return };
            if answer.send(&mut client, "keep-alive").is_err() {
                return;
            }
        }
    }

    /// What the client is told; `None` when its connection ends instead.
    fn answer(self: &Arc<Self>, request: &Message) -> Option<Message> {
        self.count(|counts| counts.requests += 1);
        let half = Duration::from_millis(self.faults().latency_ms) / 2;
        thread::sleep(half);
        if !self.is_open() {
            self.count(|counts| counts.lost_requests += 1);
            return None;
        }
        let fate = {
            let mut state = lock(&self.state);
            let State { faults, dice, .. } = &mut *state;
            faults.draw(dice, request.method())
        };
        match fate {
            Fate::SlowDown => {
                self.count(|counts| counts.slowed += 1);
                let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.\
                            </Message></Error>";
                return Some(Message::answer("503 Slow Down", body));
            }
            Fate::LoseRequest => {
                self.count(|counts| counts.lost_requests += 1);
                return None;
            }
            Fate::Late => {
                self.count(|counts| counts.late += 1);
                self.apply_later(request);
                return None;
            }
            Fate::Twice => {
                self.count(|counts| counts.twice += 1);
                self.apply_later(request);
            }
            Fate::Pass | Fate::LoseAnswer => {}
        }
        let answer = self.apply(request)?;
        thread::sleep(half);
        if fate == Fate::LoseAnswer || !self.is_open() {
            self.count(|counts| counts.lost_answers += 1);
            return None;
        }
        Some(answer)
    }

    /// Has the bucket do it; `None` when the bucket cannot be reached.
    fn apply(&self, request: &Message) -> Option<Message> {
        let mut answer = self.bucket.ask(request).ok()?;
        if request.method() == "PUT" {
            self.count(|counts| match answer.status() {
                200 => counts.created += 1,
                412 | 409 => counts.refused += 1,
                _ => {}
            });
        }
        let stale = Duration::from_millis(self.faults().stale_ms);
        let is_list = request.method() == "GET" && request.query().contains("list-type=2");
        if is_list && !stale.is_zero() && answer.status() == 200 {
            let list = String::from_utf8_lossy(&answer.body);
            let (kept, hidden) = lock(&self.bucket.births).hide(&list, stale);
            answer.body = kept.into_bytes();
            self.count(|counts| counts.hidden += hidden);
        }
        Some(answer)
    }

    /// Applies it in a while, whatever is cut by then: it is on its way.
    fn apply_later(self: &Arc<Self>, request: &Message) {
        let wait = Duration::from_millis(self.faults().late_ms);
        let (face, request) = (Arc::clone(self), request.clone());
        thread::spawn(move || {
            thread::sleep(wait);
            let Ok(answer) = face.bucket.ask(&request) else { return };
            face.count(|counts| {
                counts.arrived += 1;
                counts.late_created += u64::from(answer.status() == 200);
            });
        });
    }

    /// Whether requests come through; a silent face says so only when it was silent for long, or
    /// when it is not silent any more: what came meanwhile is lost all the same.
    fn is_open(&self) -> bool {
        let began = Instant::now();
        match self.faults().cut {
            Cut::No => return true,
            Cut::Closed => return false,
            Cut::Silent => {}
        }
        while self.faults().cut == Cut::Silent && began.elapsed() < SILENT_MAX {
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        false
    }
}
