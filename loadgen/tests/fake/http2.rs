//! HTTP/2 to carry requests and sessions.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::session::{Act, Appends, LOOK_AGAIN, Reads, parse_path};
use super::{RECEIPT, State, encode, is_receipt_due, is_session, respond};

/// Ends a connection from within one of its requests.
#[derive(Default)]
struct Breaker {
    told: Notify,
}

impl Breaker {
    /// Never returns: the caller keeps its streams, so that they are not reset before the end.
    async fn end(&self) -> ! {
        // What was sent before leaves first.
        tokio::time::sleep(LOOK_AGAIN).await;
        self.told.notify_one();
        std::future::pending().await
    }
}

/// Serves one connection until either side ends it.
pub(super) fn serve(stream: TcpStream, state: &Arc<Mutex<State>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let breaker = Rc::new(Breaker::default());
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                () = breaker.told.notified() => return,
            };
            let Some(Ok((request, responder))) = accepted else { return };
            let (state, breaker) = (Arc::clone(state), Rc::clone(&breaker));
            tokio::task::spawn_local(
                async move { answer(request, responder, &state, &breaker).await },
            );
        }
    });
}

/// Answers one request; nothing when the client is gone.
async fn answer(
    request: Request<RecvStream>,
    mut responder: SendResponse<Bytes>,
    state: &Mutex<State>,
    breaker: &Breaker,
) -> Option<()> {
    state.lock().unwrap().requests_of_http2 += 1;
    let (head, mut incoming) = request.into_parts();
    let headers: BTreeMap<_, _> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let path = head.uri.path_and_query().unwrap().as_str();
    if is_session(&headers) {
        let outgoing = responder.send_response(Response::new(()), false).ok()?;
        let receipts = is_receipt_due(state, &headers);
        let what = (head.method.as_str(), path, receipts);
        return session(what, incoming, outgoing, state, breaker).await;
    }
    let mut body = Vec::new();
    while let Some(Ok(piece)) = incoming.data().await {
        incoming.flow_control().release_capacity(piece.len()).ok()?;
        body.extend_from_slice(&piece);
    }
    let Some((status, answer)) = respond(state, head.method.as_str(), path, &headers, &body) else {
        breaker.end().await
    };
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let (kind, body) = encode(status, &answer, &headers);
    let mut response = Response::builder().status(status).header("content-type", kind);
    if is_receipt_due(state, &headers) {
        response = response.header("thalweg-receipt", RECEIPT);
    }
    let response = response.body(()).unwrap();
    let mut outgoing = responder.send_response(response, false).ok()?;
    outgoing.send_data(Bytes::from(body), true).ok()
}

async fn session(
    (method, path, receipts): (&str, &str, bool),
    mut incoming: RecvStream,
    mut outgoing: SendStream<Bytes>,
    state: &Mutex<State>,
    breaker: &Breaker,
) -> Option<()> {
    let (name, from) = parse_path(path);
    if method == "GET" {
        let mut reads = Reads::new(state, &name, from);
        loop {
            match reads.act(state) {
                Act::Wait => tokio::time::sleep(LOOK_AGAIN).await,
                act => send(&mut outgoing, act, breaker).await?,
            }
        }
    }
    let mut appends = Appends::new(&name, receipts);
    let mut is_ended = false;
    while let Some(Ok(piece)) = incoming.data().await {
        incoming.flow_control().release_capacity(piece.len()).ok()?;
        for act in appends.take(state, &piece) {
            is_ended |= act == Act::End;
            send(&mut outgoing, act, breaker).await?;
        }
    }
    if !is_ended {
        send(&mut outgoing, Act::End, breaker).await?;
    }
    Some(())
}

async fn send(outgoing: &mut SendStream<Bytes>, act: Act, breaker: &Breaker) -> Option<()> {
    match act {
        Act::Wait => Some(()),
        Act::Send(bytes) => outgoing.send_data(Bytes::from(bytes), false).ok(),
        Act::End => outgoing.send_data(Bytes::new(), true).ok(),
        Act::Break(bytes) => {
            outgoing.send_data(Bytes::from(bytes), false).ok()?;
            breaker.end().await
        }
    }
}
