//! The address of metrics: few connections, on the first core, and nothing but what `api::gate`
//! lets through there.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use super::connection::serve_scrape;
use super::core::Core;
use crate::io::Clock;
use crate::io::glommio::GlommioIo;
use crate::io::socket::{VectoredSocket, adopt_listener, keep_alive};

/// Connections at a time; more are closed at once. They count among the server's others, but are
/// not kept out by them: metrics are looked at when too many came.
const CONNECTIONS_MAX: usize = 16;
/// Pause after a failure to accept.
const PAUSE_US: u64 = 50_000;

/// Takes the address; the listener, a blocking one, goes to the first core.
///
/// * Errors: it cannot be had.
pub(super) fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| format!("cannot listen for metrics on {address}: {error}"))
}

/// Accepts connections for as long as the core runs.
pub(super) async fn accept(core: Rc<Core<GlommioIo>>, listener: TcpListener) {
    let listener = adopt_listener(listener);
    let open = Rc::new(Cell::new(0));
    loop {
        let socket = match listener.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "accept failed at the address of metrics");
                core.clock().sleep_us(PAUSE_US).await;
                continue;
            }
        };
        if open.get() >= CONNECTIONS_MAX || core.drain.is_begun() {
            core.metrics.connection_refused();
            continue;
        }
        core.metrics.connection_accepted();
        if socket.set_nodelay(true).is_err() || keep_alive(&socket).is_err() {
            core.metrics.connection_left();
            continue; // the peer is gone already
        }
        open.set(open.get() + 1);
        let (served, open) = (Rc::clone(&core), Rc::clone(&open));
        core.spawn(async move {
            serve_scrape(served, VectoredSocket::new(socket)).await;
            open.set(open.get() - 1);
        });
    }
}
