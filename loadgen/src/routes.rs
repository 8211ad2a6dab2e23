//! Requests that are not built in place: those of HTTP/2, and the heads that open sessions.

use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use crate::cli::{AppendArgs, HttpVersion, Protocol};
use crate::request::{append_headers, kind_headers};

/// The requests of a run, by stream.
pub(crate) struct Routes {
    /// The server's address, as the user gave it.
    url: String,
    names: Vec<String>,
    /// Header lines common to all requests.
    headers: String,
    /// Header lines of appends.
    append_headers: String,
    /// Unary appends over HTTP/2, ready to be copied; empty otherwise.
    unary: Vec<Request<()>>,
}

impl Routes {
    /// `headers` are complete lines, as [`crate::client::common_headers`] makes them.
    pub(crate) fn new(names: &[String], headers: &str, args: &AppendArgs) -> Self {
        let mut routes = Self {
            url: args.target.url.to_string(),
            names: names.to_vec(),
            headers: headers.to_owned(),
            append_headers: append_headers(args),
            unary: Vec::new(),
        };
        if args.protocol != Protocol::S2s && args.http == HttpVersion::Two {
            let streams = 0..u32::try_from(names.len()).expect("at most a million");
            routes.unary = streams.map(|stream| routes.append(stream)).collect();
        }
        routes
    }

    /// A unary append of `body_bytes` to `stream` over HTTP/2.
    pub(crate) fn unary_append(&self, stream: u32, body_bytes: usize) -> Request<()> {
        let mut request = self.unary[stream as usize].clone();
        let length = HeaderValue::from(body_bytes);
        request.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        request
    }

    /// The head of a request that appends to `stream`, over HTTP/2.
    pub(crate) fn append(&self, stream: u32) -> Request<()> {
        let path = format!("/v1/streams/{}/records", self.names[stream as usize]);
        self.request(Method::POST, &path, &self.append_headers)
    }

    /// The head of an append session to `stream`, over HTTP/1.1.
    pub(crate) fn append_session_head(&self, stream: u32) -> String {
        let (name, common) = (&self.names[stream as usize], &self.headers);
        let kinds = &self.append_headers;
        format!(
            "POST /v1/streams/{name}/records HTTP/1.1\r\n{common}{kinds}\
             transfer-encoding: chunked\r\n\r\n"
        )
    }

    /// A session that reads `stream` from `seq_num` on, over HTTP/2.
    pub(crate) fn read(&self, stream: u32, seq_num: u64) -> Request<()> {
        let kinds = kind_headers(Protocol::S2s, crate::cli::Format::Raw);
        self.request(Method::GET, &self.read_path(stream, seq_num), &kinds)
    }

    /// The head of a session that reads `stream` from `seq_num` on, over HTTP/1.1.
    pub(crate) fn read_head(&self, stream: u32, seq_num: u64) -> String {
        let (path, common) = (self.read_path(stream, seq_num), &self.headers);
        let kinds = kind_headers(Protocol::S2s, crate::cli::Format::Raw);
        format!("GET {path} HTTP/1.1\r\n{common}{kinds}\r\n")
    }

    fn read_path(&self, stream: u32, seq_num: u64) -> String {
        format!("/v1/streams/{}/records?seq_num={seq_num}", self.names[stream as usize])
    }

    fn request(&self, method: Method, path: &str, kinds: &str) -> Request<()> {
        let uri: Uri = format!("{}{path}", self.url).parse().expect("made of checked parts");
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        for line in self.headers.lines().chain(kinds.lines()) {
            let (name, value) = line.split_once(": ").expect("a header line");
            // The authority goes into the request line of HTTP/2.
            if name != "host" {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
                let value = HeaderValue::from_str(value).expect("a header value");
                request.headers_mut().insert(name, value);
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::client::common_headers;

    fn routes(options: &[&str]) -> Routes {
        let line = ["loadgen", "append", "--token", "t"].iter().chain(options);
        let Command::Append(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        let headers = common_headers(&args.target, Some("b"));
        Routes::new(&["s".to_owned()], &headers, &args)
    }

    #[test]
    fn both_versions_ask_for_the_same() {
        let routes = routes(&["--protocol", "s2s", "--http", "2"]);
        let request = routes.append(0);
        assert_eq!(request.uri(), "http://127.0.0.1:4440/v1/streams/s/records");
        assert_eq!(request.headers()["s2-basin"], "b");
        assert_eq!(request.headers()["authorization"], "Bearer t");
        assert_eq!(request.headers()["content-type"], "s2s/proto");
        assert!(!request.headers().contains_key("host"));
        let head = routes.append_session_head(0);
        for line in ["s2-basin: b", "content-type: s2s/proto", "transfer-encoding: chunked"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
        }
        let read = routes.read(0, 7);
        assert_eq!(read.uri().path_and_query().unwrap(), "/v1/streams/s/records?seq_num=7");
        assert!(routes.read_head(0, 7).starts_with("GET /v1/streams/s/records?seq_num=7 HTTP/1.1"));
    }

    #[test]
    fn unary_appends_carry_their_length() {
        let routes = routes(&["--protocol", "proto", "--http", "2"]);
        let request = routes.unary_append(0, 123);
        assert_eq!(request.headers()["content-length"], "123");
        assert_eq!(request.headers()["content-type"], "application/protobuf");
    }
}
