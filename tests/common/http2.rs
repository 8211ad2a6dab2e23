//! An HTTP/2 client with prior knowledge, on the `h2` crate.
//!
//! Connections are driven by a thread of their own, so that PINGs are answered and windows kept
//! while a test does something else. What a test does not read is not given back to the window.

use std::future::Future;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ANSWER_WAIT;
use super::http::{Body, Request, Response};

/// The runtime that all connections live on.
pub(super) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

/// Waits for something of a connection.
fn wait<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    let bounded = async { timeout(ANSWER_WAIT, future).await };
    runtime().block_on(bounded).map_err(|_| format!("{what} did not come within {ANSWER_WAIT:?}"))
}

/// The receive windows of a client, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
}

impl Default for Windows {
    /// Those of the official Rust client.
    fn default() -> Self {
        Self { stream: 2 * 1024 * 1024, connection: 5 * 1024 * 1024 }
    }
}

/// A connection; dropping it closes the socket, whatever is under way.
pub(crate) struct Http2 {
    host: String,
    requests: SendRequest<Bytes>,
    pings: h2::PingPong,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http2 {
    pub(crate) fn open(host: &str) -> Self {
        Self::open_with(host, Windows::default())
    }

    pub(crate) fn open_with(host: &str, windows: Windows) -> Self {
        let connected = wait("a connection", async {
            let socket = tokio::net::TcpStream::connect(host).await.expect("the server listens");
            socket.set_nodelay(true).expect("a fresh socket takes options");
            h2::client::Builder::new()
                .initial_window_size(windows.stream)
                .initial_connection_window_size(windows.connection)
                .handshake::<_, Bytes>(socket)
                .await
                .expect("a socket takes the preface")
        });
        let (requests, mut connection) = connected.unwrap_or_else(|error| panic!("{error}"));
        let pings = connection.ping_pong().expect("a fresh connection");
        let driver = runtime().spawn(connection);
        Self { host: host.to_owned(), requests, pings, driver }
    }

    /// Sends a request with its whole body.
    #[track_caller]
    pub(crate) fn start(&self, request: &Request) -> Stream {
        let mut stream = self.start_open(request);
        match &request.body {
            Body::None => stream.finish(),
            Body::Sized(body) => stream.send_last(body.clone()),
            Body::Chunked(pieces) => {
                pieces.iter().for_each(|piece| stream.send(piece));
                stream.finish();
            }
        }
        stream
    }

    /// Sends the head of a request; its body stays open.
    #[track_caller]
    pub(crate) fn start_open(&self, request: &Request) -> Stream {
        match self.try_start_open(request) {
            Ok(stream) => stream,
            Err(error) => panic!("{} {}: {error}", request.method, request.target),
        }
    }

    pub(crate) fn try_start_open(&self, request: &Request) -> Result<Stream, String> {
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("http://{}{}", self.host, request.target));
        for (name, value) in &request.headers {
            head = head.header(name.as_str(), value.as_slice());
        }
        if let Body::Sized(body) = &request.body {
            head = head.header("content-length", body.len());
        }
        let head = head.body(()).expect("a request");
        let requests = self.requests.clone();
        let ready = wait("room for another stream", requests.ready())?;
        let mut requests = ready.map_err(|error| error.to_string())?;
        // Requests without a body end with their head, as those of real clients do.
        let ends = matches!(request.body, Body::None) && request.method != "POST";
        let (response, send) =
            requests.send_request(head, ends).map_err(|error| error.to_string())?;
        let send = (!ends).then_some(send);
        let response = Some(Box::pin(response));
        Ok(Stream { send, response, body: None, ended: false })
    }

    /// One request and its whole answer.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Response {
        let mut stream = self.start(request);
        stream.whole().unwrap_or_else(|error| {
            panic!("{} {}: {error}", request.method, request.target);
        })
    }

    /// Sends a PING and waits for the answer.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        let pong = wait("the answer to a PING", self.pings.ping(h2::Ping::opaque()));
        pong.expect("a PING is answered").expect("the connection lives");
    }

    /// Waits until the connection has ended; the error says how.
    pub(crate) fn ended(&mut self) -> Result<(), String> {
        let ended = wait("the end of the connection", &mut self.driver)?;
        ended.expect("the driver does not panic").map_err(|error| error.to_string())
    }
}

/// A request and its answer, both of them under way.
pub(crate) struct Stream {
    send: Option<SendStream<Bytes>>,
    response: Option<std::pin::Pin<Box<ResponseFuture>>>,
    body: Option<RecvStream>,
    ended: bool,
}

impl Stream {
    /// Sends a piece of the body. It waits inside the client for as long as the server does not
    /// take it.
    #[track_caller]
    pub(crate) fn send(&mut self, piece: &[u8]) {
        let send = self.send.as_mut().expect("the body is open");
        // The stream may have been reset meanwhile, which is seen when the answer is read.
        let _taken = send.send_data(Bytes::copy_from_slice(piece), false);
    }

    fn send_last(&mut self, piece: Vec<u8>) {
        if let Some(mut send) = self.send.take() {
            let _taken = send.send_data(piece.into(), true);
        }
    }

    /// Ends the body.
    pub(crate) fn finish(&mut self) {
        self.send_last(Vec::new());
    }

    /// Resets the stream.
    pub(crate) fn reset(&mut self, reason: h2::Reason) {
        self.send.as_mut().expect("the body is open").send_reset(reason);
    }

    /// Waits for the head of the answer.
    pub(crate) fn head(&mut self) -> Result<Response, String> {
        let response = self.response.take().expect("the head is read once");
        let response = wait("the head of the answer", response)?;
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
        self.body = Some(body);
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let headers = head.headers.iter().map(|(n, v)| (n.to_string(), text(v))).collect();
        Ok(Response {
            status: head.status.as_u16(),
            headers,
            body: Vec::new(),
            closes: false,
            sent: Vec::new(),
            stderr: None,
        })
    }

    /// Waits for the next piece of the answer's body; `None` is its end.
    pub(crate) fn piece(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.ended {
            return Ok(None);
        }
        let body = self.body.as_mut().expect("the head is read first");
        let Some(piece) = wait("more of the answer", body.data())? else {
            self.ended = true;
            return Ok(None);
        };
        let piece = piece.map_err(|error| format!("the answer broke off: {error}"))?;
        let released = body.flow_control().release_capacity(piece.len());
        released.map_err(|error| error.to_string())?;
        Ok(Some(piece.to_vec()))
    }

    /// Whether nothing of the body comes for that long, not even the end.
    pub(crate) fn stays_silent(&mut self, span: Duration) -> bool {
        let body = self.body.as_mut().expect("the head is read first");
        let ended = std::future::poll_fn(|cx| match body.poll_data(cx) {
            std::task::Poll::Ready(piece) => std::task::Poll::Ready(piece.is_some()),
            std::task::Poll::Pending => std::task::Poll::Pending,
        });
        let bounded = async { timeout(span, ended).await };
        runtime().block_on(bounded).is_err()
    }

    /// The whole answer.
    pub(crate) fn whole(&mut self) -> Result<Response, String> {
        let mut response = self.head()?;
        while let Some(piece) = self.piece()? {
            response.body.extend_from_slice(&piece);
        }
        Ok(response)
    }
}
