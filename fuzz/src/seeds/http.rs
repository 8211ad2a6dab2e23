//! Requests, whole and pipelined, and what tries to smuggle one.

fn known(length: usize, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn coded(body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// Header lines on which two servers may disagree about a body's length, each in a request that has
/// five bytes behind it.
const AMBIGUOUS: [&str; 24] = [
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 05",
    "Content-Length: 0x5",
    "Content-Length: 5 ",
    "Content-Length:\t5",
    "Content-Length : 5",
    " Content-Length: 5",
    "X: y\r\n Content-Length: 5",
    "X: y\nContent-Length: 5",
    "X: y\rContent-Length: 5",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: CHUNKED",
    "transfer-encoding: \"chunked\"",
];

const BODIES: [&str; 16] = [
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "3;a=b\r\nabc\r\n2;x=\"y\"\r\nde\r\n0\r\nT: u\r\n\r\n",
    "A\r\n0123456789\r\n00\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhello0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\n a: b\r\n\r\n",
];

const HEADS: [&str; 14] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /v1/streams?prefix=a&limit=3 HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\n\r\n",
    "GET http://h/a?b HTTP/1.1\r\nHost: other\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n",
];

fn all() -> Vec<String> {
    let ambiguous = AMBIGUOUS.iter().map(|lines| {
        format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    });
    let pipelines = [
        known(5, "hello") + &coded("3\r\nabc\r\n0\r\n\r\n") + &known(0, "") + HEADS[0],
        known(4, "GET ") + "/b HTTP/1.1\r\nHost: h\r\n\r\n",
        known(9, "hello"),
        coded("5\r\nhel"),
    ];
    let heads = HEADS.iter().map(|head| (*head).to_owned());
    heads.chain(ambiguous).chain(pipelines).collect()
}

pub(super) fn pipelines() -> Vec<Vec<u8>> {
    let bodies = BODIES.iter().map(|body| coded(body) + HEADS[0]);
    all().into_iter().chain(bodies).map(String::into_bytes).collect()
}

pub(super) fn heads() -> Vec<Vec<u8>> {
    let chosen = all().into_iter().enumerate();
    chosen.map(|(index, text)| format!("{}{text}", index % 2).into_bytes()).collect()
}

pub(super) fn chunked() -> Vec<Vec<u8>> {
    BODIES.iter().map(|body| body.as_bytes().to_vec()).collect()
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    const BASIN: &str = "s2-basin: test-basin-1\n";
    let cases = [
        ("GET", "/health", ""),
        ("GET", "/metrics", ""),
        ("OPTIONS", "/v1/streams", ""),
        ("GET", "/v1/basins?prefix=te%73&start_after=&limit=10", ""),
        ("POST", "/v1/basins", "content-type: application/json\ns2-request-token: abc"),
        ("PUT", "/v1/basins/test-basin-1", "content-type: application/json"),
        ("DELETE", "/v1/basins/test-basin-1", ""),
        ("GET", "/v1/streams?prefix=a+b%2Bc&start_after=%E6%97%A5&limit=1000", BASIN),
        ("GET", "/v1/streams/a%2Fb", BASIN),
        ("PATCH", "/v1/streams/%E6%97%A5", BASIN),
        ("GET", "/v1/streams/s/records/tail", BASIN),
        ("GET", "/v1/streams/s/records?seq_num=5&count=10&bytes=9&clamp=true&wait=3", BASIN),
        (
            "GET",
            "/v1/streams/s/records?timestamp=5&until=9",
            "s2-basin: test-basin-1\n\
          accept: text/event-stream\nlast-event-id: 1,2,3",
        ),
        (
            "GET",
            "/v1/streams/s/records?tail_offset=5",
            "s2-basin: test-basin-1\n\
          content-type: s2s/proto\naccept-encoding: zstd, gzip;q=0.5\ns2-format: base64",
        ),
        ("POST", "/v1/streams/s/records", "s2-basin: test-basin-1\ncontent-type: s2s/proto"),
        (
            "POST",
            "/v1/streams/s/records",
            "s2-basin: test-basin-1\n\
          content-type: application/protobuf\naccept: application/json;q=1",
        ),
        (
            "POST",
            "/v1/streams/s/records",
            "s2-basin: test-basin-1\n\
          content-type: application/json; charset=utf-8\ncontent-encoding: gzip\n\
          s2-format: json-binsafe",
        ),
        ("GET", "/v1/metrics?set=active-basins&start=1&end=2&interval=hour", ""),
        ("GET", "/v1/metrics/test-basin-1/s?set=storage&start=1", ""),
        ("GET", "/v1/locations", ""),
        ("PUT", "/v1/access-tokens/x", ""),
    ];
    let text = |(method, target, headers): (&str, &str, &str)| {
        format!("{method}\n{target}\n{headers}").into_bytes()
    };
    cases.into_iter().map(text).collect()
}
