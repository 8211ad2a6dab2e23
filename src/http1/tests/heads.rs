//! Heads: what is accepted and what it says, what is refused and why.

use super::super::{BodyLength, Conn, Event, Limits, Persistence, Version, Violation};
use super::{Mode, Seen, describe, feed, run_all};

/// The description of the only request in `input`, which must be without body.
fn accepted(input: &str) -> String {
    for mode in [Mode::Collect, Mode::Stream] {
        let seen = run_all(input.as_bytes(), &Limits::default(), mode);
        let [Seen::Request { head, body }, Seen::Closed] = &seen[..] else {
            panic!("{input:?}: {seen:?}");
        };
        assert!(body.is_empty());
        if mode == Mode::Stream {
            return head.clone();
        }
    }
    unreachable!()
}

#[test]
fn accepted_heads_say_what_they_hold() {
    let cases = [
        (
            "GET /v1/streams/a%2Fb/records?seq_num=0&count=1 HTTP/1.1\r\nHost: h:80\r\n\r\n",
            "GET /v1/streams/a%2Fb/records Some(\"seq_num=0&count=1\") Some(\"h:80\") Http11 \
             keep=true None continue=false [Host=h:80]",
        ),
        (
            "get //x/../y? HTTP/1.1\r\nhost:\r\n\r\n",
            "get //x/../y Some(\"\") Some(\"\") Http11 keep=true None continue=false [host=]",
        ),
        (
            "GET /?a?b HTTP/1.0\r\n\r\n",
            "GET / Some(\"a?b\") None Http10 keep=false None continue=false []",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * None Some(\"h\") Http11 keep=true None continue=false [Host=h]",
        ),
        (
            "GET http://a.b:1/p?q HTTP/1.1\r\nHost: other\r\n\r\n",
            "GET /p Some(\"q\") Some(\"a.b:1\") Http11 keep=true None continue=false [Host=other]",
        ),
        (
            "GET HTTPS://[::1]?q HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / Some(\"q\") Some(\"[::1]\") Http11 keep=true None continue=false [Host=h]",
        ),
        (
            "M-SEARCH! /\u{e9} HTTP/1.1\r\nHost: h\r\nX: \t a \u{e9} \t \r\nx:b\r\nY:  \r\n\r\n",
            "M-SEARCH! /\u{e9} None Some(\"h\") Http11 keep=true None continue=false \
             [Host=h|X=a \\xc3\\xa9|x=b|Y=]",
        ),
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
            "GET / None Some(\"h\") Http11 keep=true Known(0) continue=false \
             [Host=h|Content-Length=0|Expect=100-continue]",
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(accepted(input), expected, "{input:?}");
    }
}

#[test]
fn keep_alive_follows_version_and_connection_options() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: te, close ,x\r\n", false),
        ("1.1", "Connection: keep-alive\r\nconnection: close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: ,,\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: x,keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, line, keep_alive) in cases {
        let first = format!("GET /1 HTTP/{version}\r\nHost: h\r\n{line}\r\n");
        let input = format!("{first}GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
        let seen = run_all(input.as_bytes(), &Limits::default(), Mode::Collect);
        let requests = if keep_alive { 2 } else { 1 };
        assert_eq!(seen.len(), requests + 1, "{first:?}: {seen:?}");
        assert_eq!(seen[requests], Seen::Closed);
    }
}

/// Wraps a target in a request line.
fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// Wraps lines in a head; the lines bring their own ends.
fn lines(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

/// Demands that each input is refused for that reason, however it is cut.
fn refuse<S: AsRef<str>>(violation: Violation, inputs: impl IntoIterator<Item = S>) {
    for input in inputs {
        let input = input.as_ref();
        let seen = run_all(input.as_bytes(), &Limits::default(), Mode::Collect);
        assert_eq!(seen, [Seen::Refused(violation)], "{input:?}");
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    use Violation as V;
    let first = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let ways = [" GET / HTTP/1.1", "GET HTTP/1.1", "GET", "GET /", "GET / HTTP/1.1 ", "\0"];
    refuse(V::RequestLine, ways.map(first));
    let ways = ["G(T / HTTP/1.1", "\x16\x03\x01", "GET / http/1.1", "GET / HTTP/11", "{\"a\":1}"];
    refuse(V::RequestLine, ways.map(first));
    let ways = ["GET / HTTP/1.10", "GET / HTTP", "GET / HTTP/+.1", "\u{e9} / HTTP/1.1", ": x"];
    refuse(V::RequestLine, ways.map(first));
    refuse(V::VersionUnsupported, ["2.0", "1.2", "0.9"].map(|v| first(&format!("GET / HTTP/{v}"))));
    refuse(V::VersionUnsupported, ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]);
    refuse(V::ConnectUnsupported, ["CONNECT h:80 HTTP/1.1", "CONNECT /x HTTP/1.1"].map(first));
}

#[test]
fn malformed_targets_are_refused() {
    let ways = ["", "/a b", " /", "/ ", "/\x01", "/\x7f", "/\t", "*", "x", "h:80", "ftp://h/"];
    refuse(Violation::Target, ways.map(target));
    let ways = ["/#", "/x?y#z", "http:///", "http://u@h/", "http://a,b/", "http:/x", "?q", "://h/"];
    refuse(Violation::Target, ways.map(target));
}

#[test]
fn line_ends_other_than_crlf_are_refused() {
    use Violation as V;
    refuse(V::EmptyLines, ["\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n"]);
    refuse(V::BareLf, ["\n", "\r\n\nGET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\n\n"]);
    refuse(V::BareLf, ["GET / HTTP/1.0\nA: b\r\n\r\n", "GET / HTTP/1.0\r\n\n"]);
    refuse(V::BareLf, ["A: b\n", "A: b\r\nC: d\n\r\n", "A:\n"].map(lines));
    refuse(V::BareCr, ["\rGET", "\r\r\n", "GET /\r HTTP/1.0\r\n\r\n"]);
    refuse(V::BareCr, ["A: b\rC: d\r\n", "A: b\r\r\n", "A\r: b\r\n", "A:\r\r\n"].map(lines));
    refuse(V::Truncated, ["G", "\r", "GET / HTTP/1.1\r\nHost: h\r\n\r"]);
}

#[test]
fn malformed_header_lines_are_refused() {
    use Violation as V;
    refuse(V::ObsFold, ["A: b\r\n c\r\n", "A: b\r\n\tc\r\n", "A:\r\n b\r\n", " \r\n"].map(lines));
    refuse(V::ObsFold, ["GET / HTTP/1.1\r\n Host: h\r\n\r\n"]);
    refuse(V::SpaceBeforeColon, ["A : b\r\n", "Content-Length\t: 0\r\n"].map(lines));
    refuse(V::HeaderNameEmpty, [":\r\n", ": b\r\n"].map(lines));
    refuse(
        V::HeaderName,
        ["A\r\n", "A b: c\r\n", "A\0: b\r\n", "(: b\r\n", "\u{e9}:\r\n"].map(lines),
    );
    refuse(V::HeaderValue, ["A: \0\r\n", "A: b\x01\r\n", "A: \x7f\r\n", "A: b\x0b\r\n"].map(lines));
}

#[test]
fn missing_repeated_or_malformed_hosts_are_refused() {
    use Violation as V;
    refuse(V::HostMissing, ["GET / HTTP/1.1\r\n\r\n", "GET http://h/ HTTP/1.1\r\nA: b\r\n\r\n"]);
    refuse(V::HostRepeated, ["Host: h\r\n", "hOST: other\r\n", "Host:\r\n"].map(lines));
    refuse(V::HostRepeated, ["GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"]);
    let hosts = ["a b", "a,b", "a/b", "u@h", "\u{e9}", "a?b", "\"h\""];
    refuse(V::HostInvalid, hosts.map(|h| format!("GET / HTTP/1.1\r\nHost: {h}\r\n\r\n")));
}

#[test]
fn ambiguous_framing_is_refused() {
    use Violation as V;
    let both = "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n";
    refuse(V::LengthAndTransferEncoding, [lines(both)]);
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    refuse(V::LengthAndTransferEncoding, [lines(both)]);
    for second in ["Content-Length: 5\r\n", "content-length: 6\r\n", "CONTENT-LENGTH: 05\r\n"] {
        refuse(V::LengthRepeated, [lines(&format!("Content-Length: 5\r\n{second}"))]);
    }
    let length = |value: &str| lines(&format!("Content-Length: {value}\r\n"));
    let ways = ["", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", "five", "5.0", "\u{665}", "5;"];
    refuse(V::LengthInvalid, ways.map(length));
    refuse(V::LengthInvalid, ["18446744073709551616", "99999999999999999999"].map(length));
    let coding = |value: &str| lines(&format!("Transfer-Encoding: {value}\r\n"));
    let ways =
        ["", "gzip", "identity", "gzip, chunked", "chunked, gzip", "chunked;q=1", "xchunked"];
    refuse(V::TransferEncodingUnsupported, ways.map(coding));
    let ways = ["chunked,", "chunked, chunked", "\"chunked\"", "chunke", "\u{e9}chunked"];
    refuse(V::TransferEncodingUnsupported, ways.map(coding));
    let chunked = "Transfer-Encoding: chunked\r\n";
    refuse(V::TransferEncodingRepeated, [lines(&chunked.repeat(2))]);
    refuse(V::TransferEncodingOnHttp10, [format!("POST / HTTP/1.0\r\n{chunked}\r\n")]);
    let expect = |value: &str| lines(&format!("Expect: {value}\r\n"));
    refuse(V::ExpectationUnknown, ["", "200-ok", "100-continue, x", "100-continue;q"].map(expect));
}

#[test]
fn a_target_that_is_not_utf8_is_refused() {
    let seen = run_all(b"GET /\xff HTTP/1.0\r\n\r\n", &Limits::default(), Mode::Collect);
    assert_eq!(seen, [Seen::Refused(Violation::Target)]);
}

#[test]
fn limits_refuse_one_more_than_they_allow() {
    let small = Limits {
        head_bytes_max: 60,
        target_bytes_max: 20,
        header_count_max: 3,
        empty_lines_max: 0,
        ..Limits::default()
    };
    let with_head_of = |bytes: usize| {
        let head = "GET / HTTP/1.0\r\nA: \r\n\r\n";
        head.replace("A: ", &format!("A: {}", "x".repeat(bytes - head.len())))
    };
    let allowed = [
        with_head_of(60),
        format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(19)),
        format!("GET / HTTP/1.0\r\n{}\r\n", "A:\r\n".repeat(3)),
    ];
    let refused = [
        (with_head_of(61), Violation::HeadTooLarge),
        (format!("GET / HTTP/1.0\r\n{}", "x".repeat(200)), Violation::HeadTooLarge),
        (format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(20)), Violation::TargetTooLong),
        (format!("GET /{}", "x".repeat(200)), Violation::TargetTooLong),
        (format!("GET / HTTP/1.0\r\n{}\r\n", "A:\r\n".repeat(4)), Violation::HeaderCount),
        ("\r\nGET / HTTP/1.0\r\n\r\n".into(), Violation::EmptyLines),
    ];
    for input in allowed {
        let seen = run_all(input.as_bytes(), &small, Mode::Collect);
        assert!(matches!(seen[..], [Seen::Request { .. }, Seen::Closed]), "{input:?}: {seen:?}");
    }
    for (input, violation) in refused {
        let seen = run_all(input.as_bytes(), &small, Mode::Collect);
        assert_eq!(seen, [Seen::Refused(violation)], "{input:?}");
    }
}

#[test]
fn the_largest_head_of_the_default_limits_is_accepted() {
    let mut input = String::from("GET / HTTP/1.1\r\nHost: h\r\n");
    for i in 0..98 {
        input += &format!("x-{i}: {i}\r\n");
    }
    let fill = Limits::default().head_bytes_max - input.len() - "fill: \r\n\r\n".len();
    input += &format!("fill: {}\r\n\r\n", "y".repeat(fill));
    let mut conn = Conn::new(Limits::default());
    feed(&mut conn, input.as_bytes());
    assert!(matches!(conn.next_event(), Ok(Event::Head)));
    assert_eq!(conn.head().lines().count(), 100);
    assert_eq!(conn.head().header("X-97"), Some(&b"97"[..]));
    assert_eq!(conn.head().header("fill").map(<[u8]>::len), Some(fill));
}

#[test]
fn header_lookups_ignore_case_and_keep_order() {
    let mut conn = Conn::new(Limits::default());
    feed(&mut conn, b"GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\nX: 1\r\naccept: b\r\n\r\n");
    assert!(matches!(conn.next_event(), Ok(Event::Head)));
    let head = conn.head();
    assert_eq!(head.header("ACCEPT"), Some(&b"a"[..]));
    assert_eq!(head.headers("accept").collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(head.header("accep"), None);
    assert_eq!(head.header("accept-"), None);
}

#[test]
fn the_answer_says_what_the_client_needs_about_the_connection() {
    let cases = [
        ("1.1", "", Persistence::Implied),
        ("1.1", "Connection: close\r\n", Persistence::Close),
        ("1.0", "", Persistence::Close),
        ("1.0", "Connection: keep-alive\r\n", Persistence::KeepAlive),
    ];
    for (version, line, persistence) in cases {
        let mut conn = Conn::new(Limits::default());
        feed(&mut conn, format!("GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n").as_bytes());
        assert!(matches!(conn.next_event(), Ok(Event::Head)));
        assert_eq!(conn.head().persistence(), persistence, "{version} {line}");
    }
}

#[test]
fn continue_is_awaited_until_the_body_begins() {
    let cases = [
        ("1.1", "Content-Length: 2\r\nExpect: 100-Continue\r\n", "", true),
        ("1.1", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", "", true),
        ("1.1", "Content-Length: 2\r\nExpect: 100-continue\r\n", "h", false),
        ("1.1", "Expect: 100-continue\r\n", "", false),
        ("1.1", "Content-Length: 2\r\n", "", false),
        ("1.0", "Content-Length: 2\r\nExpect: 100-continue\r\n", "", false),
    ];
    for (version, lines, body, awaited) in cases {
        let mut conn = Conn::new(Limits::default());
        assert!(!conn.awaits_continue());
        let head = format!("POST / HTTP/{version}\r\nHost: h\r\n{lines}\r\n{body}");
        feed(&mut conn, head.as_bytes());
        assert!(matches!(conn.next_event(), Ok(Event::Head)));
        assert_eq!(conn.awaits_continue(), awaited, "{version} {lines} {body}");
        conn.collect_body().unwrap();
        assert!(!conn.awaits_continue());
    }
}

#[test]
fn a_head_can_be_looked_at_before_and_after_the_choice() {
    let mut conn = Conn::new(Limits::default());
    feed(&mut conn, b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    for _ in 0..2 {
        assert!(matches!(conn.next_event(), Ok(Event::Head)));
    }
    let before = describe(conn.head());
    assert_eq!(conn.head().version(), Version::Http11);
    assert_eq!(conn.head().body_length(), BodyLength::Known(2));
    conn.collect_body().unwrap();
    let Ok(Event::Request(request)) = conn.next_event() else { panic!("no request") };
    assert_eq!(describe(request.head()), before);
    assert_eq!(request.body(), b"hi");
}

#[test]
fn statuses_are_those_of_the_standard() {
    let cases = [
        (Violation::BareLf, 400),
        (Violation::BodyTooLarge, 413),
        (Violation::TargetTooLong, 414),
        (Violation::ExpectationUnknown, 417),
        (Violation::HeadTooLarge, 431),
        (Violation::HeaderCount, 431),
        (Violation::TrailersTooLarge, 431),
        (Violation::TransferEncodingUnsupported, 501),
        (Violation::ConnectUnsupported, 501),
        (Violation::VersionUnsupported, 505),
    ];
    for (violation, status) in cases {
        assert_eq!(violation.status(), status);
        assert_ne!(super::super::reason_phrase(status), "");
    }
}
