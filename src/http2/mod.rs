//! The server side of HTTP/2 with prior knowledge: the `h2` crate over our sockets.
//!
//! This room answers for the crate's set-up: which limits hold, how its bytes reach a socket, how
//! a body is received whole or sent within the peer's windows. It knows neither routes nor what a
//! body means, and it has no executor: who drives the connection is the caller.
//!
//! Invariants:
//!
//! * A connection holds at most [`Limits::window_bytes`] of bodies that nobody has taken yet, and
//!   each stream at most [`Limits::stream_window_bytes`].
//! * What is sent waits for the peer's window: no more than [`SEND_BUFFER_BYTES`] of a stream wait
//!   inside the crate.
//! * Known floods end the connection with `ENHANCE_YOUR_CALM`: resets, heads and small frames
//!   beyond what the crate tolerates, and whatever frames bring nothing forward beyond what
//!   [`Transport`] tolerates, which then tells its [`Socket`].
//!
//! Sources: RFC 9113; S2 specification, section 1.1.

#![forbid(unsafe_code)]

mod body;
mod head;
mod pace;
#[cfg(test)]
pub(crate) mod tests;
mod transport;

pub use body::{next_piece, send};
pub use h2::server::{Connection, Handshake, SendResponse};
pub use h2::{Error, Reason, RecvStream, SendStream};
pub use head::{Fields, RequestHead, ResponseHead, send_continue};

/// A request as the crate accepts it.
pub type Request = http::Request<RecvStream>;
pub use transport::{Socket, Transport};

use bytes::Bytes;

/// What an HTTP/2 client with prior knowledge sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes of one stream that the crate holds for a peer that does not take them.
pub const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// What a peer may send on a connection without asking (RFC 9113, section 6.9.2).
const WINDOW_BYTES_MIN: u32 = 65_535;

/// Window beyond that from which on frames may be large.
const LARGE_WINDOW_BYTES: u32 = 1024 * 1024;
/// Largest frame on a connection whose window is smaller.
const SMALL_FRAME_BYTES: u32 = 64 * 1024;

/// What a peer may make us hold, per connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests open at once. Clients put up to 100 on a connection without asking.
    pub streams_max: u32,
    /// Bytes of all bodies that may be sent to us before we took them.
    pub window_bytes: u32,
    /// The same for one body.
    pub stream_window_bytes: u32,
    /// Largest frame that we accept, in bytes. A message within one frame needs not be put
    /// together.
    pub frame_bytes_max: u32,
    /// Largest decoded header list that we accept, in bytes, by the measure of RFC 9113.
    pub head_bytes_max: u32,
    /// What the crate charges for small frames that wait to be taken: 256 less their length each.
    /// A session of tiny batches sends many before the first of them is looked at.
    pub small_frames_bytes: usize,
    /// Streams that the peer reset before we looked at them.
    pub pending_resets_max: usize,
}

impl Limits {
    /// These limits with a window of so many bytes more than any peer has without asking, but no
    /// more than before. Who has a small window sends small frames, too: one is held until it is
    /// whole.
    #[must_use]
    pub fn with_window(&self, more_bytes: u32) -> Self {
        let window_bytes = (WINDOW_BYTES_MIN + more_bytes).min(self.window_bytes);
        let frame_bytes_max = if more_bytes < LARGE_WINDOW_BYTES {
            self.frame_bytes_max.min(SMALL_FRAME_BYTES)
        } else {
            self.frame_bytes_max
        };
        Self { window_bytes, frame_bytes_max, ..self.clone() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: 256,
            window_bytes: 16 * 1024 * 1024,
            stream_window_bytes: 2 * 1024 * 1024,
            frame_bytes_max: 256 * 1024,
            head_bytes_max: 64 * 1024,
            small_frames_bytes: 16 * 1024 * 1024,
            pending_resets_max: 64,
        }
    }
}

/// Begins a connection; our SETTINGS go out first, whatever the peer does.
pub fn handshake<S>(transport: Transport<S>, limits: &Limits) -> Handshake<Transport<S>, Bytes>
where
    S: Socket,
{
    h2::server::Builder::new()
        .max_concurrent_streams(limits.streams_max)
        .initial_connection_window_size(limits.window_bytes)
        .initial_window_size(limits.stream_window_bytes)
        .max_frame_size(limits.frame_bytes_max)
        .max_header_list_size(limits.head_bytes_max)
        .max_pending_accept_reset_streams(limits.pending_resets_max)
        .data_frame_budget(limits.small_frames_bytes)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .handshake(transport)
}

#[cfg(test)]
mod limit_tests {
    use super::*;

    #[test]
    fn a_small_window_comes_with_small_frames() {
        let limits = Limits::default();
        let sizes = |more_bytes| {
            let limits = limits.with_window(more_bytes);
            (limits.window_bytes, limits.frame_bytes_max)
        };
        assert_eq!(sizes(0), (65_535, 64 * 1024));
        assert_eq!(sizes(1 << 20), (65_535 + (1 << 20), limits.frame_bytes_max));
        assert_eq!(sizes(1 << 30), (limits.window_bytes, limits.frame_bytes_max));
    }
}
