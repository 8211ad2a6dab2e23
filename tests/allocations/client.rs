//! Clients that append over and over, each in its own way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::runtime::Runtime;

const ANSWER_WAIT: Duration = Duration::from_secs(45);
const BASIN: &str = "test-basin-1";
const RECORDS: &str = "/v1/streams/s/records";

/// A batch of one record as JSON.
pub(crate) const JSON: &[u8] =
    br#"{"records":[{"headers":[["source","bench"]],"body":"hello, this is a record"}]}"#;
/// A batch of one record as protobuf.
pub(crate) const PROTO: &[u8] = b"\x0A\x1A\x12\x0F\x0A\x06source\x12\x05bench\x1A\x07hello, ";

/// An HTTP/1.1 connection.
pub(crate) struct Http1 {
    socket: TcpStream,
    received: Vec<u8>,
    request: Vec<u8>,
}

impl Http1 {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the server listens");
        socket.set_nodelay(true).expect("a socket");
        socket.set_read_timeout(Some(ANSWER_WAIT)).expect("a socket");
        Self { socket, received: Vec::new(), request: Vec::new() }
    }

    /// One that appends `body`, of this type.
    pub(crate) fn appending(address: SocketAddr, content_type: &str, body: &[u8]) -> Self {
        let mut conn = Self::connect(address);
        conn.request = request("POST", RECORDS, content_type, body);
        conn
    }

    pub(crate) fn send(&mut self) {
        self.socket.write_all(&self.request).expect("it is taken");
    }

    /// Reads an answer, which must be a success.
    pub(crate) fn receive(&mut self) {
        let head = self.receive_head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        while self.received.len() < length {
            self.receive_more();
        }
        assert_eq!(self.received.len(), length, "one answer: {head}");
        self.received.clear();
    }

    fn receive_head(&mut self) -> String {
        loop {
            let end = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.received.drain(..end + 4).collect();
                let head = String::from_utf8(head).expect("text");
                assert!(head.starts_with("HTTP/1.1 20"), "{head}");
                return head;
            }
            self.receive_more();
        }
    }

    fn receive_more(&mut self) {
        let mut piece = [0; 16 * 1024];
        let n = self.socket.read(&mut piece).expect("an answer in time");
        assert!(n > 0, "the server closed: {}", String::from_utf8_lossy(&self.received));
        self.received.extend_from_slice(&piece[..n]);
    }
}

fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\ns2-basin: {BASIN}\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Makes the stream that all append to.
pub(crate) fn create(address: SocketAddr) {
    for (path, body) in [
        ("/v1/basins", format!(r#"{{"basin":"{BASIN}"}}"#)),
        ("/v1/streams", r#"{"stream":"s"}"#.to_owned()),
    ] {
        let mut conn = Http1::connect(address);
        conn.request = request("POST", path, "application/json", body.as_bytes());
        conn.send();
        conn.receive();
    }
}

/// An S2S append session over HTTP/1.1.
pub(crate) struct Session {
    conn: Http1,
    /// A frame in a chunk of its own.
    message: Vec<u8>,
    /// Answers without their chunks.
    frames: Vec<u8>,
}

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut conn = Http1::connect(address);
        conn.request = format!(
            "POST {RECORDS} HTTP/1.1\r\nhost: test\r\ns2-basin: {BASIN}\r\n\
             content-type: s2s/proto\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        conn.send();
        conn.receive_head();
        let length = u32::try_from(PROTO.len() + 1).expect("short").to_be_bytes();
        let frame = [&length[1..], &[0], PROTO].concat();
        let message = [format!("{:x}\r\n", frame.len()).as_bytes(), &frame, b"\r\n"].concat();
        Self { conn, message, frames: Vec::new() }
    }

    /// Sends as many batches at once.
    pub(crate) fn send(&mut self, count: usize) {
        self.conn.socket.write_all(&self.message.repeat(count)).expect("they are taken");
    }

    /// Reads as many acknowledgements.
    pub(crate) fn receive(&mut self, count: usize) {
        for _ in 0..count {
            while !self.take_frame() {
                self.take_chunks();
                self.conn.receive_more();
                self.take_chunks();
            }
        }
        assert!(self.frames.is_empty(), "no more than was asked for");
    }

    fn take_frame(&mut self) -> bool {
        let [0, high, low, flag, ..] = self.frames[..] else { return false };
        assert_eq!(flag, 0, "an acknowledgement");
        let bytes = 3 + usize::from(high) * 256 + usize::from(low);
        let whole = self.frames.len() >= bytes;
        if whole {
            self.frames.drain(..bytes);
        }
        whole
    }

    /// Takes whole chunks out of what was received.
    fn take_chunks(&mut self) {
        let received = &mut self.conn.received;
        while let Some(line) = received.windows(2).position(|bytes| bytes == b"\r\n") {
            let digits = std::str::from_utf8(&received[..line]).expect("a size");
            let bytes = usize::from_str_radix(digits, 16).expect("a size");
            let (start, end) = (line + 2, line + 2 + bytes);
            if received.len() < end + 2 {
                break;
            }
            self.frames.extend_from_slice(&received[start..end]);
            received.drain(..end + 2);
        }
    }
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    runtime: Runtime,
    conn: SendRequest<Bytes>,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let conn = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
            socket.set_nodelay(true).expect("a socket");
            let (conn, driver) = h2::client::handshake(socket).await.expect("it speaks HTTP/2");
            tokio::spawn(driver);
            conn
        });
        Self { runtime, conn }
    }

    /// Appends so many batches of one record as JSON at once, each with a request of its own.
    pub(crate) fn append(&mut self, count: usize) {
        let Self { runtime, conn } = self;
        let all = async {
            let mut answers = Vec::with_capacity(count);
            for _ in 0..count {
                let request = http::Request::post(format!("http://test{RECORDS}"))
                    .header("s2-basin", BASIN)
                    .header("content-type", "application/json")
                    .body(())
                    .expect("a request");
                let mut ready = conn.clone().ready().await.expect("it lives");
                let (answer, mut body) = ready.send_request(request, false).expect("it lives");
                body.send_data(Bytes::from_static(JSON), true).expect("it lives");
                answers.push(answer);
            }
            for answer in answers {
                let answer = answer.await.expect("an answer");
                assert_eq!(answer.status(), 200);
                let mut body = answer.into_body();
                while let Some(piece) = body.data().await {
                    let length = piece.expect("a body").len();
                    body.flow_control().release_capacity(length).expect("it was taken");
                }
            }
        };
        let bounded = async { tokio::time::timeout(ANSWER_WAIT, all).await };
        runtime.block_on(bounded).expect("answers in time");
    }
}
