//! TLS: what a connection needs to be private, between the socket and the protocols on it.
//!
//! * `identity` is a certificate chain with its key, from files or made up at start; `acceptor`
//!   what every new connection is given of it; `reload` looks for changed files.
//! * `handshake` is a state machine without a socket; `stream` is the socket that comes of it, and
//!   `visitor` one for a thread without an executor. `probe` is a client for health checks and for
//!   tests.
//!
//! What must hold:
//! * TLS 1.2 and 1.3 only, without early data: nothing that a client sent can be played again.
//! * ALPN offers `h2` and `http/1.1`; a client that offers neither, but others, is refused.
//! * Until its handshake is done, a peer is given a bounded amount of memory and of our time.
//! * A new certificate is for new connections: those that are open keep what they agreed on. One
//!   that cannot be used changes nothing.
//!
//! The library is rustls with the primitives of ring.

#![forbid(unsafe_code)]

mod acceptor;
mod handshake;
mod identity;
mod probe;
mod reload;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod visitor;

pub use acceptor::{Acceptor, Application};
pub use handshake::{Handshake, RECORD_HANDSHAKE};
pub use identity::{Error, Files, Identity};
pub use probe::{speak, with_anybody};
pub use reload::Reloader;
pub use stream::{Secret, Stream};
pub use visitor::Visitor;
