//! Black-box suite of TLS: a real server, clients of the same library as its own, and clients that
//! speak to it across a bridge.
//!
//! With `THALWEG_TEST_TLS=1` the other suites run across such a bridge as well: what they ask of
//! the API must hold under TLS too.

mod common;

#[path = "tls/crowd.rs"]
mod crowd;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/refused.rs"]
mod refused;
#[path = "tls/speaks.rs"]
mod speaks;

use common::server::Server;

/// A server with a certificate of its own making; `None` when the suite has no server of its own.
fn secure_server(settings: &[(&'static str, &'static str)]) -> Option<Server> {
    let mut settings = settings.to_vec();
    settings.push(("THALWEG_TLS_SELF_SIGNED", "true"));
    Server::start_with(2, &settings)
}

/// How many handshakes ended like this.
fn handshakes(server: &Server, result: &str) -> u64 {
    let name = format!("thalweg_tls_handshakes_total{{result=\"{result}\"}}");
    server.client().metric(&name)
}
