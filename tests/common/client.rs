//! The API as a test speaks it: a keep-alive connection, a basin, and the calls by name.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::http::{Conn, Request, Response};
use super::server::{Server, stderr_end};
use super::unique_name;

/// A client with at most one connection, which it opens when it needs one and keeps while the
/// server allows it.
pub(crate) struct Client {
    host: String,
    basin: Option<String>,
    token: Option<String>,
    conn: Option<Conn>,
    connects: u32,
    stderr: Option<PathBuf>,
}

impl Client {
    pub(crate) fn new(host: &str, stderr: Option<PathBuf>) -> Self {
        let host = host.to_owned();
        Self { host, basin: None, token: None, conn: None, connects: 0, stderr }
    }

    /// The same server and basin over a connection of its own.
    pub(crate) fn another(&self) -> Self {
        let mut other = Self::new(&self.host, self.stderr.clone());
        other.basin.clone_from(&self.basin);
        other.token.clone_from(&self.token);
        other
    }

    /// Sends `s2-basin` with every request below `/v1/streams` from now on.
    pub(crate) fn in_basin(mut self, basin: &str) -> Self {
        self.basin = Some(basin.to_owned());
        self
    }

    /// Presents this access token with every request from now on that presents nothing itself.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn basin(&self) -> &str {
        self.basin.as_deref().expect("this client has a basin")
    }

    /// `address:port` of the server.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The request with `s2-basin`, if it needs one and has none, and with the access token.
    pub(crate) fn scoped(&self, request: Request) -> Request {
        let request = match &self.token {
            Some(token) if !request.has_header("authorization") => {
                request.header("authorization", format!("Bearer {token}"))
            }
            _ => request,
        };
        let scoped = request.target.starts_with("/v1/streams") && !request.has_header("s2-basin");
        match &self.basin {
            Some(basin) if scoped => request.header("s2-basin", basin),
            _ => request,
        }
    }

    /// How many connections were opened so far.
    pub(crate) fn connects(&self) -> u32 {
        self.connects
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn send(&mut self, request: Request) -> Response {
        let sent = self.encode(&request);
        self.exchange(&sent, &request.method)
    }

    /// The bytes that [`Client::send`] would write: with `s2-basin` unless the request has one.
    pub(crate) fn encode(&self, request: &Request) -> Vec<u8> {
        self.scoped(request.clone()).encode(&self.host)
    }

    /// Sends raw bytes and reads the answer to a request of `method`.
    #[track_caller]
    pub(crate) fn exchange(&mut self, sent: &[u8], method: &str) -> Response {
        let written = self.conn().write(sent);
        match self.read_response(method, sent) {
            Ok(response) => response,
            Err(error) => self.fail(&format!("{error} (written: {written:?})"), sent),
        }
    }

    /// Reads one more answer on the connection; `sent` is what a failure shows as the request.
    pub(crate) fn read_response(&mut self, method: &str, sent: &[u8]) -> Result<Response, String> {
        let mut response = self.conn().read_response(method)?;
        response.sent = sent.to_vec();
        response.stderr.clone_from(&self.stderr);
        if response.closes {
            self.conn = None;
        }
        Ok(response)
    }

    /// Sends raw bytes over a connection of their own; they must be answered once, with one of
    /// `statuses`, after which the server must close.
    #[track_caller]
    pub(crate) fn answered_and_closed(&mut self, sent: &[u8], statuses: &[u16]) -> Response {
        let mut conn = Conn::open(&self.host);
        let written = conn.write(sent);
        let mut response = match conn.read_response("POST") {
            Ok(response) => response,
            Err(error) => self.fail(&format!("{error} (written: {written:?})"), sent),
        };
        response.sent = sent.to_vec();
        response.stderr.clone_from(&self.stderr);
        if !statuses.contains(&response.status) {
            response.fail(&format!("expected a status of {statuses:?}"));
        }
        conn.expect_closed(&response);
        response
    }

    /// The open connection, or a new one.
    pub(crate) fn conn(&mut self) -> &mut Conn {
        let connects = &mut self.connects;
        self.conn.get_or_insert_with(|| {
            *connects += 1;
            Conn::open(&self.host)
        })
    }

    #[track_caller]
    fn fail(&self, what: &str, sent: &[u8]) -> ! {
        let stderr = self.stderr.as_deref().map(stderr_end).unwrap_or_default();
        panic!("{what}\n--- sent\n{}\n{stderr}", super::http::shown(sent));
    }
}

/// The calls by name.
impl Client {
    /// The sum of all series of a metric.
    #[track_caller]
    pub(crate) fn metric(&mut self, name: &str) -> u64 {
        let response = self.get("/metrics");
        let text = String::from_utf8(response.status(200).body.clone()).expect("text");
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        format!("{:.0}", values.fold(0.0, |sum, value| sum + value))
            .parse()
            .expect("a whole number")
    }

    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(Request::get(target))
    }

    #[track_caller]
    pub(crate) fn post(&mut self, target: &str, body: &Value) -> Response {
        self.send(Request::post(target, body))
    }

    #[track_caller]
    pub(crate) fn put(&mut self, target: &str, body: &Value) -> Response {
        self.send(Request::new("PUT", target).json(body))
    }

    #[track_caller]
    pub(crate) fn patch(&mut self, target: &str, body: &Value) -> Response {
        self.send(Request::new("PATCH", target).json(body))
    }

    #[track_caller]
    pub(crate) fn delete(&mut self, target: &str) -> Response {
        self.send(Request::new("DELETE", target))
    }

    /// Creates a stream of the basin's default configuration; must succeed.
    #[track_caller]
    pub(crate) fn create_stream(&mut self, stream: &str) {
        self.post("/v1/streams", &json!({ "stream": stream })).status(201);
    }

    #[track_caller]
    pub(crate) fn create_stream_with(&mut self, stream: &str, config: &Value) {
        self.post("/v1/streams", &json!({ "stream": stream, "config": config })).status(201);
    }

    /// The stream's configuration; must exist.
    #[track_caller]
    pub(crate) fn config(&mut self, stream: &str) -> Value {
        self.get(&stream_path(stream)).status(200).json()
    }

    #[track_caller]
    pub(crate) fn append(&mut self, stream: &str, body: &Value) -> Response {
        self.post(&records_path(stream), body)
    }

    /// Appends one batch of plain bodies; must succeed.
    #[track_caller]
    pub(crate) fn append_bodies(&mut self, stream: &str, bodies: &[&str]) -> Response {
        let ack = self.append(stream, &batch(bodies));
        check_ack(&ack, bodies.len());
        ack
    }

    /// Reads with a query such as `seq_num=0&count=1`, in any outcome.
    #[track_caller]
    pub(crate) fn read(&mut self, stream: &str, query: &str) -> Response {
        self.get(&format!("{}?{query}", records_path(stream)))
    }

    /// The bodies of the records that a read gives; must succeed.
    #[track_caller]
    pub(crate) fn read_bodies(&mut self, stream: &str, query: &str) -> Vec<String> {
        let records = self.read(stream, query).records();
        records.iter().map(|record| record["body"].as_str().unwrap_or_default().into()).collect()
    }

    /// The sequence numbers of the records that a read gives; must succeed.
    #[track_caller]
    pub(crate) fn read_seq_nums(&mut self, stream: &str, query: &str) -> Vec<u64> {
        let records = self.read(stream, query).records();
        records.iter().map(|record| record["seq_num"].as_u64().unwrap_or(u64::MAX)).collect()
    }

    #[track_caller]
    pub(crate) fn tail(&mut self, stream: &str) -> Response {
        self.get(&format!("{}/tail", records_path(stream)))
    }

    /// The next sequence number; must succeed.
    #[track_caller]
    pub(crate) fn tail_seq_num(&mut self, stream: &str) -> u64 {
        self.tail(stream).status(200).u64_at("/tail/seq_num")
    }
}

/// A client of the shared server in a basin of its own with default configuration.
pub(crate) fn fresh_basin() -> Client {
    fresh_basin_on(Server::shared(), &json!(null))
}

/// A client of the shared server in a basin of its own with this configuration.
pub(crate) fn fresh_basin_with(config: &Value) -> Client {
    fresh_basin_on(Server::shared(), config)
}

/// A client in a basin of its own.
pub(crate) fn fresh_basin_on(server: &Server, config: &Value) -> Client {
    let basin = unique_name("case");
    let mut client = server.client();
    client.post("/v1/basins", &json!({ "basin": basin, "config": config })).status(201);
    client.in_basin(&basin)
}

/// The body of an append of plain records.
pub(crate) fn batch(bodies: &[&str]) -> Value {
    let records: Vec<Value> = bodies.iter().map(|body| json!({ "body": body })).collect();
    json!({ "records": records })
}

/// Fails unless `ack` is a consistent answer to an append of `count` records.
#[track_caller]
pub(crate) fn check_ack(ack: &Response, count: usize) {
    ack.status(200);
    let seq_num = |position: &str| ack.u64_at(&format!("/{position}/seq_num"));
    let timestamp = |position: &str| ack.u64_at(&format!("/{position}/timestamp"));
    let count = u64::try_from(count).expect("a count fits into 64 bits");
    if seq_num("end") != seq_num("start") + count {
        ack.fail("end and start are not as far apart as the batch is long");
    }
    if seq_num("tail") < seq_num("end") || timestamp("tail") < timestamp("end") {
        ack.fail("the tail is before the end of the batch");
    }
    if timestamp("start") > timestamp("end") {
        ack.fail("timestamps decrease within the batch");
    }
}

pub(crate) fn stream_path(stream: &str) -> String {
    format!("/v1/streams/{}", percent_encoded(stream))
}

pub(crate) fn records_path(stream: &str) -> String {
    format!("{}/records", stream_path(stream))
}

/// Encodes everything but the unreserved characters, as the official clients do.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
