//! Sessions: a stream that is appended to, or read from, for as long as a client likes.
//!
//! ```text
//!  connection: deframe, decode          the stream's shard: judge, log, wait | scan, spell
//!       send(In) ------------------> [ pipe ] ------------------> `append`, `read`
//!       recv() <-------------------- [ pipe ] <------------------ Out, in order
//! ```
//!
//! Both ends hold the same [`Pipe`] when the stream's shard is on the connection's core.
//! Otherwise each core has a pipe of its own, and what goes into one comes out of the other by
//! messages, which keep their order.
//!
//! Who bounds what: a connection keeps at most [`PENDING_BATCHES_MAX`] batches and
//! [`PENDING_BYTES_MAX`] bytes unanswered; the shard spells no further when
//! [`OUTSTANDING_BYTES_MAX`] bytes have not been taken.

mod append;
mod pipe;
mod read;

use std::rc::Rc;

use super::call::{Age, Asked, StreamPath};
use super::core::{Core, Message};
use super::engine::Engine;
use crate::api::query::ReadQuery;
use crate::codec::Feed;
use crate::io::Io;
use crate::types::{Ack, AppendInput, Receipt, Refusal, SuppliedKey};

pub(super) use pipe::{Pipe, RemoteSessions};

/// Most batches of a session that wait for their acknowledgement; more are not read.
pub(super) const PENDING_BATCHES_MAX: usize = 1024;
/// Most metered bytes of them.
pub(super) const PENDING_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes spelled and not yet taken by the peer, above which a read waits.
pub(super) const OUTSTANDING_BYTES_MAX: usize = 1024 * 1024;

/// The same when all sessions of a shard together have [`OUTSTANDING_TOTAL_BYTES`].
pub(super) const OUTSTANDING_BYTES_LEAST: usize = 32 * 1024;
/// Bytes spelled and not yet taken, of all sessions of a shard, above which each has less.
pub(super) const OUTSTANDING_TOTAL_BYTES: usize = 64 * 1024 * 1024;

/// What a session is about.
#[derive(Debug)]
pub(super) enum Open {
    /// Batches come in, acknowledgements go out.
    Append {
        /// To which stream.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// How that is asked for.
        asked: Asked,
        /// Whether acknowledgements come with a receipt.
        receipt: bool,
    },
    /// Spelled batches go out.
    Read {
        /// From which stream.
        path: StreamPath,
        /// The key to an encrypted stream.
        key: Option<SuppliedKey>,
        /// What to read.
        query: ReadQuery,
        /// How to spell it.
        feed: Feed,
        /// How that is asked for.
        asked: Asked,
    },
}

impl Open {
    /// The stream that it is about.
    pub(super) fn path(&self) -> &StreamPath {
        match self {
            Self::Append { path, .. } | Self::Read { path, .. } => path,
        }
    }
}

/// What a client sends in a session.
#[derive(Debug)]
pub(super) enum In {
    /// A batch to append.
    Batch(AppendInput),
    /// Nothing more comes.
    End,
}

/// What a session answers, in order.
#[derive(Debug)]
pub(super) enum Out {
    /// The stream is there, and the session begins. Anything before it is a plain refusal.
    Opened,
    /// The next batch is durable; with a receipt, if the session asks for them.
    Ack(Ack, Option<Receipt>),
    /// The next bytes of the response.
    Bytes(Vec<u8>, Age),
    /// It ends, because of this.
    Failed(Refusal),
    /// It ends well.
    Done,
}

impl Out {
    fn is_last(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Done)
    }
}

/// What one core tells another about a session of theirs.
#[derive(Debug)]
pub(super) enum Told {
    /// Start it on this shard.
    Open(u16, Box<Open>),
    /// The client sent this.
    In(In),
    /// The client took that many bytes.
    Taken(usize),
    /// The client is gone, or wants no more.
    Closed,
    /// The shard answers this.
    Out(Vec<Out>),
}

/// A connection's end of a session; dropping it ends the session. What was logged stays logged.
pub(super) struct Session<I: Io> {
    core: Rc<Core<I>>,
    pipe: Rc<Pipe>,
    /// The core of its shard and its number between the two, when it is another core.
    remote: Option<(usize, u64)>,
}

impl<I: Io> Session<I> {
    /// Opens a session on the shard that owns its stream.
    pub(super) async fn open(core: &Rc<Core<I>>, open: Open) -> Result<Self, Refusal> {
        let shard = core.shard_of(open.path());
        let pipe = Rc::new(Pipe::default());
        if let Some(engine) = core.engine(shard) {
            start(engine, open, &pipe, core);
            return Ok(Self { core: Rc::clone(core), pipe, remote: None });
        }
        let (to, number) = (core.core_of(shard), core.remote_sessions.add(&pipe));
        let session = Self { core: Rc::clone(core), pipe, remote: Some((to, number)) };
        session.tell(Told::Open(shard, Box::new(open))).await?;
        Ok(session)
    }

    /// Hands over what the client sent.
    pub(super) async fn send(&self, input: In) -> Result<(), Refusal> {
        if self.remote.is_some() {
            return self.tell(Told::In(input)).await;
        }
        self.pipe.push_in(input);
        Ok(())
    }

    /// Waits for the next answer.
    pub(super) async fn recv(&self) -> Out {
        self.pipe.next_out().await
    }

    /// The next answer, if it is there.
    pub(super) fn try_recv(&self) -> Option<Out> {
        self.pipe.pop_out()
    }

    /// Says that the client took that many bytes of [`Out::Bytes`].
    pub(super) async fn taken(&self, bytes: usize) -> Result<(), Refusal> {
        if self.remote.is_some() {
            return self.tell(Told::Taken(bytes)).await;
        }
        self.pipe.taken(bytes);
        Ok(())
    }

    async fn tell(&self, told: Told) -> Result<(), Refusal> {
        let Some((to, number)) = self.remote else { return Ok(()) };
        let sent = self.core.send(to, Message::ToSession(number, told)).await;
        sent.map_err(|()| Refusal::Other("the core of this shard is gone".to_owned()))
    }
}

impl<I: Io> Drop for Session<I> {
    fn drop(&mut self) {
        self.pipe.close();
        let Some((to, number)) = self.remote else { return };
        self.core.remote_sessions.remove(number);
        let core = Rc::clone(&self.core);
        // When that core is gone, so is its end of the session.
        let told = async move { core.send(to, Message::ToSession(number, Told::Closed)).await };
        self.core.spawn(told);
    }
}

/// Runs a session on a shard of this core.
fn start<I: Io>(engine: &Rc<Engine<I>>, open: Open, pipe: &Rc<Pipe>, core: &Rc<Core<I>>) {
    let (engine, pipe) = (Rc::clone(engine), Rc::clone(pipe));
    let queue = match open {
        Open::Append { .. } => core.queue(),
        Open::Read { .. } => core.readers_queue(),
    };
    core.clock().spawn(async move { engine.run_session(open, &pipe).await }, queue);
}

impl<I: Io> Engine<I> {
    pub(super) async fn run_session(self: Rc<Self>, open: Open, pipe: &Rc<Pipe>) {
        let ended = match open {
            Open::Append { path, key, asked, receipt } => {
                self.append_session((&path, key), &asked, receipt, pipe).await
            }
            Open::Read { path, key, query, feed, asked } => {
                self.read_session((&path, key), &query, feed, &asked, pipe).await
            }
        };
        match ended {
            Ok(()) => pipe.push_out(Out::Done),
            Err(refusal) => pipe.push_out(Out::Failed(refusal)),
        }
    }
}

impl<I: Io> Core<I> {
    /// Takes what another core says about a session of its connections.
    pub(super) fn told_session(self: &Rc<Self>, from: usize, number: u64, told: Told) {
        let key = (from, number);
        match told {
            Told::Open(shard, open) => {
                let pipe = Rc::new(Pipe::default());
                self.served_sessions.borrow_mut().insert(key, Rc::clone(&pipe));
                match self.engine(shard) {
                    Some(engine) => start(engine, *open, &pipe, self),
                    None => pipe
                        .push_out(Out::Failed(Refusal::Other("the shard is not here".to_owned()))),
                }
                let core = Rc::clone(self);
                self.spawn(async move { core.forward(key, &pipe).await });
            }
            Told::Out(outs) => {
                // The connection may have gone meanwhile.
                if let Some(pipe) = self.remote_sessions.get(number) {
                    outs.into_iter().for_each(|out| pipe.push_out(out));
                }
            }
            Told::Closed => {
                if let Some(pipe) = self.served_sessions.borrow_mut().remove(&key) {
                    pipe.close();
                }
            }
            Told::In(input) => self.with_served(key, |pipe| pipe.push_in(input)),
            Told::Taken(bytes) => self.with_served(key, |pipe| pipe.taken(bytes)),
        }
    }

    fn with_served(&self, key: (usize, u64), told: impl FnOnce(&Pipe)) {
        // It may have ended meanwhile.
        if let Some(pipe) = self.served_sessions.borrow().get(&key) {
            told(pipe);
        }
    }

    /// Sends what a session answers to the core of its connection, until the session ends.
    async fn forward(self: Rc<Self>, key: (usize, u64), pipe: &Pipe) {
        let (to, number) = key;
        loop {
            let Some(outs) = pipe.next_outs().await else { break };
            let last = outs.last().is_some_and(Out::is_last);
            let sent = self.send(to, Message::ToSession(number, Told::Out(outs))).await;
            if last || sent.is_err() {
                break;
            }
        }
        self.served_sessions.borrow_mut().remove(&key);
        pipe.close();
    }
}
