//! Pipelined requests, against hyper: both find the same requests with the same bodies, or one of
//! them refuses. Two servers that see different requests in the same bytes are how requests are
//! smuggled.
//!
//! hyper finds the parts of a head with the parser that the server has, so what is compared is what
//! both do themselves: where a body begins and ends, and what follows it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use thalweg::http1::{Limits, Violation};

use crate::connection::{End, Mode, Seen, run as run_ours};

/// A request as hyper found it; the body is `None` when it was refused or cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    method: String,
    target: String,
    body: Option<Vec<u8>>,
}

/// The input is what a client sends.
pub fn run(data: &[u8]) {
    let ours = run_ours([data], &Limits::default(), Mode::Collect, true);
    compare(data, &ours);
}

/// Compares what the server made of `input` with what hyper does.
pub fn compare(input: &[u8], ours: &Seen) {
    let theirs = hyper_sees(input);
    let shown = || format!("{}\nours {ours:#?}\ntheirs {theirs:#?}", input.escape_ascii());
    for (index, request) in ours.requests.iter().enumerate() {
        // hyper refused here, or before: both cannot be used against each other.
        let Some(other) = theirs.get(index) else { return };
        let Some(body) = &other.body else { return };
        assert_eq!(request.method, other.method, "{}", shown());
        assert_eq!(request.target, other.target, "{}", shown());
        assert!(request.body == *body, "another body: {}", shown());
    }
    let Some(extra) = theirs.get(ours.requests.len()) else { return };
    match ours.end {
        // Stricter is safe: nothing that follows is looked at.
        End::Refused(Violation::Truncated) => {
            assert_eq!(extra.body, None, "hyper has a request that is not there: {}", shown());
        }
        End::Refused(_) => {}
        End::Closed => {
            let closed = ours.requests.last().is_some_and(|last| last.head.contains("keep=false"));
            assert!(closed, "hyper has one more: {}", shown());
        }
        End::Pending => unreachable!("the input has an end"),
    }
}

/// All of the input at once, and an output that takes everything.
struct Pipe<'a> {
    input: &'a [u8],
}

impl Read for Pipe<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.input.split_at(self.input.len().min(buf.remaining()));
        buf.put_slice(now);
        self.input = later;
        Poll::Ready(Ok(()))
    }
}

impl Write for Pipe<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn hyper_sees(input: &[u8]) -> Vec<Other> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let target = parts.uri.path().to_owned() + &query;
            let index = seen.borrow().len();
            seen.borrow_mut().push(Other {
                method: parts.method.as_str().to_owned(),
                target,
                body: None,
            });
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            seen.borrow_mut()[index].body = body;
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = http1::Builder::new();
    builder.half_close(true);
    let connection = builder.serve_connection(Pipe { input }, service);
    let mut connection = std::pin::pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    // Nothing has to be waited for, so each turn is progress; bounded all the same.
    let turns_max = 1000 + 10 * input.len();
    let over = (0..turns_max).any(|_| connection.as_mut().poll(&mut context).is_ready());
    assert!(over, "hyper does not come to an end: {}", input.escape_ascii());
    seen.take()
}
