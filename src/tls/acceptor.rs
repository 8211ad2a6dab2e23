//! What new connections are given: the settings of TLS, and the certificate of the moment.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};

use super::identity::{Error, Identity};

/// The names of the protocols in ALPN, best first.
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Tickets that a client gets for its next connections, each good for one.
const TICKETS: usize = 1;

/// What a client and the server agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// HTTP/1.1, by name.
    Http1,
    /// HTTP/2, by name.
    Http2,
    /// The client named nothing: its first bytes say what it speaks.
    Unnamed,
}

impl Application {
    pub(super) fn of(session: &ServerConnection) -> Self {
        match session.alpn_protocol() {
            Some(H2) => Self::Http2,
            Some(_) => Self::Http1,
            None => Self::Unnamed,
        }
    }
}

/// The certificate of the moment. Read at each handshake, replaced now and then, without a lock.
#[derive(Debug)]
struct Current(ArcSwap<Identity>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified())
    }
}

/// Begins handshakes, on any core; clones share the certificate.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// An acceptor that shows `identity` until it is replaced.
    ///
    /// * Errors: [`Error::Unusable`] when the system gives no randomness.
    pub fn new(identity: Identity) -> Result<Self, Error> {
        let current = Arc::new(Current(ArcSwap::from_pointee(identity)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(Error::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        // Tickets, which the client keeps: nothing is held for those who may come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(Error::Unusable)?;
        config.send_tls13_tickets = TICKETS;
        debug_assert_eq!(config.max_early_data_size, 0, "early data can be played again");
        Ok(Self { config: Arc::new(config), current })
    }

    /// Shows `identity` to connections from now on.
    pub fn replace(&self, identity: Identity) {
        self.current.0.store(Arc::new(identity));
    }

    /// The SHA-256 of the certificate of the moment.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.current.0.load().fingerprint()
    }

    /// Whether handshakes take so long that an executor should not wait for them.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.current.0.load().is_slow()
    }

    /// What new connections are given.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The state of a new connection.
    ///
    /// * Errors: [`Error::Unusable`], for settings that do not go together.
    pub(super) fn session(&self) -> Result<ServerConnection, Error> {
        ServerConnection::new(Arc::clone(&self.config)).map_err(Error::Unusable)
    }
}
