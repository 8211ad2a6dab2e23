//! What one executor records about its connections and requests.

use std::cell::RefCell;

use serde::Serialize;

use super::snapshot::add;
use super::tally::Tally;

/// What one executor has counted since it started, or several together. Plain data, `Send`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExecutorSnapshot {
    /// Connections open, now.
    pub connections: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections that came from another executor.
    pub connections_moved: u64,
    /// Connections closed at once because a bound was reached.
    pub connections_refused: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Requests that crossed to another core.
    pub forwarded: u64,
    /// Microseconds in which it had something to do.
    pub busy_us: u64,
    /// Times that it ran a task.
    pub tasks: u64,
    /// Broken HTTP, by the status it was answered with.
    pub http_violations: Tally<u16>,
    /// Handshakes of TLS that have ended, by how.
    pub tls_handshakes: Tally<&'static str>,
    /// Refusals that never reached a shard, by the API's code.
    pub refusals: Tally<&'static str>,
}

impl ExecutorSnapshot {
    /// Adds what another executor has counted; what is true *now* adds up as well.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.connections, other.connections);
        add(&mut self.connections_accepted, other.connections_accepted);
        add(&mut self.connections_moved, other.connections_moved);
        add(&mut self.connections_refused, other.connections_refused);
        add(&mut self.requests, other.requests);
        add(&mut self.forwarded, other.forwarded);
        add(&mut self.busy_us, other.busy_us);
        add(&mut self.tasks, other.tasks);
        self.http_violations.merge(&other.http_violations);
        self.tls_handshakes.merge(&other.tls_handshakes);
        self.refusals.merge(&other.refusals);
    }
}

/// The numbers of one executor. Recording does not allocate while keys are few.
#[derive(Debug, Default)]
pub struct ExecutorMetrics {
    state: RefCell<ExecutorSnapshot>,
}

impl ExecutorMetrics {
    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> ExecutorSnapshot {
        self.state.borrow().clone()
    }

    /// It ran tasks, so many times and for so long.
    pub fn ran(&self, busy_us: u64, tasks: u64) {
        let mut state = self.state.borrow_mut();
        add(&mut state.busy_us, busy_us);
        add(&mut state.tasks, tasks);
    }

    /// A connection was accepted here; it is open now.
    pub fn connection_accepted(&self) {
        let mut state = self.state.borrow_mut();
        add(&mut state.connections_accepted, 1);
        add(&mut state.connections, 1);
    }

    /// A connection that another executor accepted came here; it is open here now.
    pub fn connection_moved_in(&self) {
        let mut state = self.state.borrow_mut();
        add(&mut state.connections_moved, 1);
        add(&mut state.connections, 1);
    }

    /// A connection that was open here is no longer: it closed, or moved to another executor.
    pub fn connection_left(&self) {
        let connections = &mut self.state.borrow_mut().connections;
        debug_assert!(*connections > 0, "only an open connection leaves");
        *connections = connections.saturating_sub(1);
    }

    /// A connection was closed at once because a bound was reached; it never counted as open.
    pub fn connection_refused(&self) {
        add(&mut self.state.borrow_mut().connections_refused, 1);
    }

    /// The head of a request was read.
    pub fn request(&self) {
        add(&mut self.state.borrow_mut().requests, 1);
    }

    /// A request crossed to another core.
    pub fn forwarded(&self) {
        add(&mut self.state.borrow_mut().forwarded, 1);
    }

    /// A connection broke the rules of HTTP and was answered with `status`.
    pub fn http_violation(&self, status: u16) {
        self.state.borrow_mut().http_violations.add(status, 1);
    }

    /// A handshake of TLS has ended.
    pub fn tls_handshake(&self, result: &'static str) {
        self.state.borrow_mut().tls_handshakes.add(result, 1);
    }

    /// A request was refused with the API's `code` before it reached a shard.
    pub fn refused(&self, code: &'static str) {
        self.state.borrow_mut().refusals.add(code, 1);
    }
}
