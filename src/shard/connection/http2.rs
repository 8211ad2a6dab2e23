//! One HTTP/2 connection: streams come in, each is answered by a task of its own, and this file's
//! loop moves their bytes.
//!
//! Tasks that are ready at the same time put their frames into one buffer before the loop sends
//! it: answers of one log group go out together.

mod socket;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::{self, Either};

use crate::http2::{self, Connection, Transport};
use crate::io::notify::Notify;
use crate::io::{Io, Socket as _};
use crate::shard::connection::Peer;
use crate::shard::connection::held::FREE_REQUESTS;
use crate::shard::core::Core;
use crate::shard::lifeline::{Goodbye, Registered, Waiting};
use socket::SharedSocket;
use stream::Stream;

type Wire<I> = Connection<Transport<SharedSocket<I>>, Bytes>;

/// How long a peer may take for the last frames, in microseconds.
const GOODBYE_US: u64 = 2_000_000;

/// What the streams of a connection tell its loop.
#[derive(Default)]
struct Streams {
    open: Cell<usize>,
    changed: Notify,
}

/// Counts a stream for as long as it is served.
struct Counted(Rc<Streams>);

impl Counted {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0 {
            self.0.changed.notify();
        }
    }
}

/// Serves a connection of which the preface was received, until it ends.
pub(super) async fn serve<I: Io>(
    core: &Rc<Core<I>>,
    socket: Peer<I>,
    received: Vec<u8>,
    line: &Registered,
) {
    line.wait_for(Waiting::Peer, core.now_us() + core.connection.peer_us);
    let peer = socket.peer();
    let socket = SharedSocket::new(core, socket, line);
    let transport = Transport::new(socket.clone(), received);
    let (_window, window_bytes) = core.windows.grant_window();
    let limits = core.connection.http2_limits.with_window(window_bytes);
    let handshake = http2::handshake(transport, &limits);
    let Ok(Ok(mut wire)) = line.guard(handshake).await else { return };
    let streams = Rc::new(Streams::default());
    let gone = run(core, &socket, peer, &mut wire, &streams, line).await;
    // Its streams end now, whatever the peer still sends.
    drop(wire);
    if let Gone::Politely = gone {
        socket.linger(line).await;
    }
}

/// How a connection ended.
enum Gone {
    /// Everything was sent, and that it is the end.
    Politely,
    /// The peer is gone, or its time is up.
    Abruptly,
}

/// Accepts streams until there will be no more.
async fn run<I: Io>(
    core: &Rc<Core<I>>,
    socket: &SharedSocket<I>,
    peer: Option<SocketAddr>,
    wire: &mut Wire<I>,
    streams: &Rc<Streams>,
    line: &Registered,
) -> Gone {
    let mut leaving = false;
    loop {
        // Who leaves has as long as a peer may take for what was sent.
        let patience_us = if leaving { GOODBYE_US } else { core.connection.idle_us };
        if streams.open.get() == 0 {
            line.wait_for(Waiting::Peer, core.now_us() + patience_us);
        } else {
            line.wait_for(Waiting::Answer, 0);
        }
        let accepted = {
            let told = pin!(told(core, socket, streams, leaving));
            line.guard(future::select(pin!(wire.accept()), told)).await.map(|either| match either {
                Either::Left((accepted, _)) => Some(accepted),
                Either::Right(_) => None,
            })
        };
        match accepted {
            Ok(Some(Some(Ok((request, respond))))) => {
                let stream = Stream::new(core, respond, peer);
                let is_free = streams.open.get() < FREE_REQUESTS;
                let counted = Counted::new(streams);
                // Boxed where it is made: on its way to the executor it would be copied whole.
                let task = Box::pin(async move {
                    stream.serve(request, is_free).await;
                    drop(counted);
                });
                core.spawn(task);
            }
            Ok(Some(Some(Err(error)))) => {
                tracing::debug!(%error, "HTTP/2 connection ended");
                return Gone::Abruptly;
            }
            Ok(None) if socket.is_flooded() => return send_away(core, wire, line).await,
            Ok(Some(None)) => return Gone::Politely,
            Ok(None) if core.drain.is_begun() && !leaving => {
                leaving = true;
                wire.graceful_shutdown();
            }
            Ok(None) => {}
            // Idle for too long: it is told so, and has a little time to take it.
            Err(Goodbye::TimedOut) if !leaving && !line.is_stalled() => {
                leaving = true;
                wire.graceful_shutdown();
            }
            Err(_) => return Gone::Abruptly,
        }
    }
}

/// Ends a connection whose peer sends far more frames than it needs, and tells it so.
async fn send_away<I: Io>(core: &Core<I>, wire: &mut Wire<I>, line: &Registered) -> Gone {
    tracing::debug!("HTTP/2 connection ended: too many frames that bring nothing forward");
    wire.abrupt_shutdown(http2::Reason::ENHANCE_YOUR_CALM);
    line.wait_for(Waiting::Peer, core.now_us() + GOODBYE_US);
    match line.guard(pin!(poll_fn(|cx| wire.poll_closed(cx)))).await {
        Ok(Ok(())) => Gone::Politely,
        _ => Gone::Abruptly,
    }
}

/// Waits for the last stream to end, or for the server to drain if this does not leave yet, or for
/// the peer to have sent too much: which is found out on the way to here.
async fn told<I: Io>(core: &Core<I>, socket: &SharedSocket<I>, streams: &Streams, leaving: bool) {
    let flooded = pin!(poll_fn(|_| match socket.is_flooded() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }));
    let changed = pin!(streams.changed.notified());
    let ended = future::select(flooded, changed);
    if leaving {
        ended.await;
    } else {
        future::select(ended, pin!(core.drain.begun())).await;
    }
}
