//! One thread's connections, and who tells them when to append.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::abuse::http1::{Answer, PATIENCE};

/// Pause between two looks at what has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// When connections append.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrivals {
    /// As soon as the one before is answered.
    WhenAnswered,
    /// So many a second over all connections, whatever the answers.
    PerSecond(f64),
}

/// What a thread does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) connections: usize,
    pub(super) arrivals: Arrivals,
}

/// Sends `request` again and again for that long.
pub(super) fn load(
    address: SocketAddr,
    request: &Arc<Vec<u8>>,
    plan: Plan,
    duration: Duration,
) -> Result<Part> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let desk = Rc::new(Desk { free: RefCell::default(), part: RefCell::new(Part::new()?) });
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let mut clients = Vec::new();
        for _ in 0..plan.connections {
            clients.push(Client { address, request: Arc::clone(request), wire: None });
            clients.last_mut().context("just added")?.connect().await?;
        }
        match plan.arrivals {
            Arrivals::WhenAnswered => when_answered(&desk, clients, duration).await,
            Arrivals::PerSecond(rate) => per_second(&desk, clients, rate, duration).await,
        }
        Ok::<(), anyhow::Error>(())
    });
    ended?;
    drop(local);
    let desk = Rc::into_inner(desk).context("a connection is still under way")?;
    Ok(desk.part.into_inner())
}

/// Which connections are free, and what became of all appends so far.
struct Desk {
    free: RefCell<Vec<usize>>,
    part: RefCell<Part>,
}

async fn when_answered(desk: &Rc<Desk>, clients: Vec<Client>, duration: Duration) {
    let until = Instant::now() + duration;
    let mut tasks = Vec::new();
    for mut client in clients {
        let desk = Rc::clone(desk);
        tasks.push(tokio::task::spawn_local(async move {
            while Instant::now() < until {
                client.append(&desk).await;
            }
        }));
    }
    for task in tasks {
        // It ends by itself: each append is bounded in time.
        let _ended = task.await;
    }
}

async fn per_second(desk: &Rc<Desk>, clients: Vec<Client>, rate: f64, duration: Duration) {
    let (mut tasks, mut doors) = (Vec::new(), Vec::new());
    for (number, mut client) in clients.into_iter().enumerate() {
        let (door, mut arrivals) = mpsc::channel::<()>(1);
        doors.push(door);
        desk.free.borrow_mut().push(number);
        let desk = Rc::clone(desk);
        tasks.push(tokio::task::spawn_local(async move {
            while arrivals.recv().await.is_some() {
                client.append(&desk).await;
                desk.free.borrow_mut().push(number);
            }
        }));
    }
    let (began, mut seen) = (Instant::now(), 0);
    while began.elapsed() < duration {
        sleep(LOOK_EVERY).await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let arrived = (began.elapsed().as_secs_f64() * rate) as u64;
        for _ in seen..arrived {
            let free = desk.free.borrow_mut().pop();
            // A free connection's door is open and has nobody in it.
            let sent = free.is_some_and(|number| doors[number].try_send(()).is_ok());
            desk.part.borrow_mut().shed += u64::from(!sent);
        }
        seen = arrived;
    }
    drop(doors);
    for task in tasks {
        let _ended = task.await;
    }
}

/// One connection, opened again whenever it ends.
struct Client {
    address: SocketAddr,
    request: Arc<Vec<u8>>,
    wire: Option<TcpStream>,
}

impl Client {
    async fn connect(&mut self) -> io::Result<()> {
        let wire = timeout(PATIENCE, TcpStream::connect(self.address)).await??;
        wire.set_nodelay(true)?;
        // As the blocking connections: closed ones must not keep their ports.
        sockopt::set_socket_linger(&wire, Some(Duration::ZERO))?;
        self.wire = Some(wire);
        Ok(())
    }

    /// Appends once, and counts what became of it.
    async fn append(&mut self, desk: &Desk) {
        let began = Instant::now();
        let answered = timeout(PATIENCE, self.exchange()).await;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let answer = answered.ok().and_then(Result::ok);
        if answer.as_ref().is_none_or(|answer| answer.closes) {
            self.wire = None;
        }
        let mut part = desk.part.borrow_mut();
        match answer {
            Some(answer) if answer.status == 200 => {
                part.acked += 1;
                // It grows as it must, and no answer is awaited for longer than it can hold.
                let _recorded = part.latency_us.record(took_us);
            }
            Some(answer) if answer.is_refusal() && answer.says_when() => part.refused += 1,
            _ => part.bad += 1,
        }
    }

    async fn exchange(&mut self) -> Result<Answer> {
        if self.wire.is_none() {
            self.connect().await?;
        }
        let wire = self.wire.as_mut().context("connected")?;
        // A refusal may come before all is sent, and the connection end with it.
        let sent = wire.write_all(&self.request).await;
        let mut received = Vec::new();
        loop {
            if let Some(answer) = Answer::take(&mut received)? {
                return Ok(answer);
            }
            let mut piece = [0; 4096];
            match wire.read(&mut piece).await? {
                0 => {
                    return sent
                        .map_err(Into::into)
                        .and_then(|()| Err(anyhow::anyhow!("closed without an answer")));
                }
                n => received.extend_from_slice(&piece[..n]),
            }
        }
    }
}
