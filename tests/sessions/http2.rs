//! HTTP/2 as such: settings, many requests at once, limits, and clients that mean harm.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::common::Stopwatch;
use crate::common::client::{Client, fresh_basin, fresh_basin_on, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, Http2Frame, PING, RST_STREAM, RawHttp2,
    SETTINGS, encode_frame, push_literal,
};
use crate::common::http::Request;
use crate::common::http2::{Http2, Stream};
use crate::common::s2s::AppendInput;
use crate::common::server::Server;
use crate::common::session::{Session, append_request};

const REFUSED_STREAM: u32 = 7;

fn setting(frame: &Http2Frame, name: u16) -> Option<u32> {
    frame
        .payload
        .chunks(6)
        .find(|entry| entry[..2] == name.to_be_bytes())
        .map(|entry| u32::from_be_bytes(entry[2..].try_into().expect("four bytes")))
}

#[test]
fn settings_come_first_and_at_once_and_allow_much() {
    let client = fresh_basin();
    let mut raw = RawHttp2::open(client.host(), &[]);
    let first = raw.next_within(Duration::from_secs(2)).expect("at once").expect("a frame");
    assert_eq!((first.kind, first.flags), (SETTINGS, 0), "{first:?}");
    let streams = setting(&first, 3).expect("a limit of streams");
    assert!(streams >= 250, "{streams} streams");
    let window = setting(&first, 4).expect("a window");
    assert!(window >= 1024 * 1024, "a stream's window of {window}");
    let update = raw.find(|frame| frame.kind == 8 && frame.stream == 0);
    let more = u32::from_be_bytes(update.expect("an update").payload[..4].try_into().expect("4"));
    assert!(more >= 1024 * 1024, "a connection's window of {more} more");
}

#[test]
fn case_97_many_requests_share_a_connection_with_a_session() {
    let client = fresh_basin();
    let mut conn = Http2::open(client.host());
    let send = |request: Request| conn.send(&client.scoped(request));
    let create = |name: &str| Request::post("/v1/streams", &json!({ "stream": name }));
    send(create("s")).status(201);
    let mut session =
        Session::open(Exchange::of_stream(conn.start_open(&client.scoped(append_request("s")))));
    let append =
        |name: &str| Request::post(&records_path(name), &json!({ "records": [{ "body": name }] }));
    let mut requests: Vec<(u16, Request)> = Vec::new();
    for index in 0..20 {
        requests.push((201, create(&format!("new {index}"))));
        requests.push((200, append("s")));
        requests.push((200, Request::get("/v1/streams?limit=10")));
        requests.push((200, Request::get(&format!("{}/tail", records_path("s")))));
    }
    requests.extend((0..15).map(|_| (404, append("missing"))));
    assert_eq!(requests.len(), 95);
    let mut streams: Vec<(u16, Stream)> = requests
        .into_iter()
        .map(|(status, request)| (status, conn.start(&client.scoped(request))))
        .collect();
    session.push(&AppendInput::one("meanwhile"));
    session.ack();
    for (status, stream) in &mut streams {
        stream.whole().expect("an answer").status(*status);
    }
    let watch = Stopwatch::start();
    conn.ping();
    assert!(watch.elapsed() < Duration::from_secs(1), "PONG after {:?}", watch.elapsed());
    session.push(&AppendInput::one("afterwards"));
    let ack = session.ack();
    assert_eq!(ack.end.map(|end| end.seq_num), Some(22));
    session.finish();
    session.end();
    let bodies =
        conn.send(&client.scoped(Request::get(&format!("{}?seq_num=0", records_path("s")))));
    assert_eq!(bodies.records().len(), 22);
}

#[test]
fn an_idle_connection_is_told_to_go_away() {
    let settings = [("THALWEG_IDLE_SECS", "1")];
    let Some(server) = Server::start_with(2, &settings) else { return };
    let mut raw = RawHttp2::open(server.host(), &[]);
    let away = raw.find(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
    assert_eq!(away.code(), 0, "{away:?}");
    while raw.next().is_some() {}
}

/// One stream more than allowed is refused, and nothing else happens.
#[test]
fn streams_beyond_the_limit_are_refused_alone() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let mut raw = RawHttp2::open(client.host(), &[]);
    let first = raw.next().expect("settings");
    let limit = setting(&first, 3).expect("a limit of streams");
    let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
    let path = records_path("s");
    let mut heads = Vec::new();
    for index in 0..=limit {
        heads.extend(raw.request(2 * index + 1, 0, "POST", &path, &headers));
    }
    raw.write(&heads).expect("they are taken");
    let refused = raw.find(|frame| frame.kind == RST_STREAM).expect("one is refused");
    assert_eq!((refused.stream, refused.code()), (2 * limit + 1, REFUSED_STREAM));
    // All others are open: the last of them appends, ends, and makes room.
    let last = 2 * limit - 1;
    raw.write(&encode_frame(DATA, 1, last, &AppendInput::one("x").frame())).expect("taken");
    let ended = raw.find(|frame| frame.stream == last && frame.ends_stream());
    assert!(ended.is_some(), "the last stream within the limit is served");
    let head = raw.request(2 * limit + 3, 1, "GET", "/health", &[]);
    raw.write(&head).expect("it is taken");
    let ended = raw.find(|frame| frame.stream == 2 * limit + 3 && frame.ends_stream());
    assert!(ended.is_some(), "there is room for another");
}

#[test]
fn heads_that_are_too_large_are_refused_alone() {
    let client = fresh_basin();
    let mut raw = RawHttp2::open(client.host(), &[]);
    let large = "x".repeat(15_000);
    let mut block = Vec::new();
    for (name, value) in
        [(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "h")]
    {
        push_literal(&mut block, name, value);
    }
    for _ in 0..5 {
        push_literal(&mut block, "x-large", &large);
    }
    let mut pieces = block.chunks(16_000);
    let head = pieces.next().expect("the first piece");
    raw.send(HEADERS, 1, 1, head).expect("it is taken");
    let rest: Vec<&[u8]> = pieces.collect();
    for (index, piece) in rest.iter().enumerate() {
        let flags = if index + 1 == rest.len() { END_HEADERS } else { 0 };
        // The server may have had enough already.
        let _taken = raw.send(CONTINUATION, flags, 1, piece);
    }
    let refused = raw.find(|frame| {
        frame.kind == GOAWAY || frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)
    });
    let refused = refused.expect("an answer, a reset or a GOAWAY");
    // 431 is the literal of a head that has no room in the static table.
    assert!(refused.kind != HEADERS || refused.payload != [0x88], "no 200: {refused:?}");
    let mut other = Http2::open(client.host());
    other.send(&Request::get("/health")).status(200);
    other.ping();
}

/// What a client may not do ends its connection or its stream, with the code that says why.
#[test]
fn broken_frames_end_the_connection() {
    let client = fresh_basin();
    let large = vec![0; 300_000];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a frame beyond the largest", encode_frame(DATA, 0, 1, &large)),
        ("DATA on no stream", encode_frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", encode_frame(DATA, 0, 7, b"x")),
        ("HEADERS on an even stream", encode_frame(HEADERS, 5, 2, &[0x82])),
        ("an index that is not there", encode_frame(HEADERS, 5, 1, &[0xFF, 0xFF, 0x7F])),
        ("a PING of 7 bytes", encode_frame(PING, 0, 0, &[0; 7])),
        ("SETTINGS of 5 bytes", encode_frame(SETTINGS, 0, 0, &[0; 5])),
        ("a window update of 0", encode_frame(8, 0, 0, &[0; 4])),
        ("a CONTINUATION of nothing", encode_frame(CONTINUATION, 4, 1, &[0x82])),
        ("a reset of an idle stream", encode_frame(RST_STREAM, 0, 9, &[0; 4])),
    ];
    for (name, bytes) in cases {
        let mut raw = RawHttp2::open(client.host(), &[]);
        // The server may close before it has taken all.
        let _taken = raw.write(&bytes);
        match raw.find(|frame| frame.kind == GOAWAY) {
            Some(away) => assert_ne!(away.code(), 0, "{name}"),
            None => eprintln!("{name}: closed without a GOAWAY"),
        }
    }
    let broken_preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX";
    let mut conn = crate::common::http::Conn::open(client.host());
    conn.write(broken_preface).expect("it is taken");
    let refused = conn.read_response("PRI").expect("HTTP/1.1 says what is wrong");
    assert!(matches!(refused.status, 400 | 505), "{refused}");
    Http2::open(client.host()).send(&Request::get("/health")).status(200);
}

/// How long others may wait while somebody does harm: not for ever, on a machine that is busy
/// with other tests as well.
const OTHERS_WAIT: Duration = Duration::from_secs(10);

/// Asks for something over both protocols, over new connections to whichever core.
fn be_served(client: &Client) {
    for _ in 0..6 {
        let watch = Stopwatch::start();
        let mut other = Http2::open(client.host());
        other.send(&Request::get("/health")).status(200);
        other.ping();
        client.another().get("/health").status(200);
        let elapsed = watch.elapsed();
        assert!(elapsed < OTHERS_WAIT, "others wait for {elapsed:?}");
    }
}

/// Attacks on three connections at once for as long as others are served. Gives whether the
/// server ended each of the three.
fn attack(client: &Client, bytes: impl Fn(&RawHttp2, u32) -> Vec<u8> + Sync) -> Vec<bool> {
    const ROUNDS_MIN: u32 = 40;
    const ROUNDS_MAX: u32 = 2000;
    let served = AtomicBool::new(false);
    let attacker = || {
        let mut raw = RawHttp2::open(client.host(), &[]);
        for round in 0..ROUNDS_MAX {
            let bytes = bytes(&raw, round);
            if raw.write(&bytes).is_err() {
                return true;
            }
            // What comes is read, or else the socket would stop us and not the server.
            loop {
                match raw.next_within(Duration::from_millis(1)) {
                    Ok(Some(frame)) if frame.kind == GOAWAY => return true,
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => break,
                }
            }
            if round >= ROUNDS_MIN && served.load(Ordering::Relaxed) {
                break;
            }
        }
        false
    };
    thread::scope(|scope| {
        let attackers: Vec<_> = (0..3).map(|_| scope.spawn(attacker)).collect();
        be_served(client);
        served.store(true, Ordering::Relaxed);
        attackers.into_iter().map(|attacker| attacker.join().expect("no panic")).collect()
    })
}

/// On a server of its own, so that other tests do not pay for it.
#[test]
fn floods_do_not_hurt_others() {
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let path = records_path("s");
    let basin = client.basin().to_owned();
    let headers = [("s2-basin", &*basin), ("content-type", "s2s/proto")];
    eprintln!("resets");
    let ended = attack(&client, |raw, round| {
        let mut bytes = Vec::new();
        for index in 0..100 {
            let stream = 2 * (100 * round + index) + 1;
            bytes.extend(raw.request(stream, 0, "POST", &path, &headers));
            bytes.extend(encode_frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        bytes
    });
    assert_eq!(ended, [true; 3], "who floods with resets is sent away");
    eprintln!("CONTINUATION");
    let ended = attack(&client, |raw, round| {
        let mut bytes = Vec::new();
        if round == 0 {
            bytes = raw.request(1, 0, "GET", "/health", &[]);
            bytes[4] = 0;
        }
        bytes.extend(encode_frame(CONTINUATION, 0, 1, &[0; 0]).repeat(500));
        let mut block = Vec::new();
        push_literal(&mut block, "x", &"y".repeat(1000));
        bytes.extend(encode_frame(CONTINUATION, 0, 1, &block).repeat(20));
        bytes
    });
    assert_eq!(ended, [true; 3], "who floods with CONTINUATION is sent away");
    eprintln!("SETTINGS");
    let settings = encode_frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    let ended = attack(&client, |_, _| settings.repeat(1000));
    assert_eq!(ended, [true; 3], "who floods with SETTINGS is sent away");
    eprintln!("PING");
    let ended = attack(&client, |_, _| encode_frame(PING, 0, 0, b"12345678").repeat(1000));
    assert_eq!(ended, [true; 3], "who floods with PING is sent away");
    eprintln!("empty DATA");
    let ended = attack(&client, |raw, round| {
        let mut bytes = Vec::new();
        if round == 0 {
            bytes = raw.request(1, 0, "POST", &path, &headers);
        }
        bytes.extend(encode_frame(DATA, 0, 1, &[]).repeat(1000));
        bytes
    });
    assert_eq!(ended, [true; 3], "who floods with empty DATA is sent away");
    eprintln!("window updates");
    let ended = attack(&client, |_, _| encode_frame(8, 0, 0, &1u32.to_be_bytes()).repeat(1000));
    assert_eq!(ended, [true; 3], "who floods with window updates is sent away");
    // Whatever became of the attackers, sessions are served as before.
    for protocol in Protocol::BOTH {
        let mut session = Session::append(&client, protocol, "s");
        session.push(&AppendInput::one("x"));
        session.ack();
        session.finish();
        session.end();
    }
}

/// Peers that send small frames or requests as fast as they can, and take all answers, have their
/// share of the cores and no more.
#[test]
fn relentless_peers_leave_time_for_others() {
    let Some(server) = Server::start() else { return };
    let client = &server.client();
    let request = format!("GET /health HTTP/1.1\r\nhost: {}\r\n\r\n", client.host());
    let frames = |frame: Vec<u8>| {
        let raw = RawHttp2::open(client.host(), &[]);
        (raw.socket(), frame.repeat(4000))
    };
    let floods: [&dyn Fn() -> (TcpStream, Vec<u8>); 3] = [
        &|| frames(encode_frame(PING, 0, 0, b"12345678")),
        // PRIORITY, which means nothing any more.
        &|| frames(encode_frame(2, 0, 3, &[0, 0, 0, 1, 9])),
        &|| {
            let socket = TcpStream::connect(client.host()).expect("it listens");
            (socket, request.repeat(1000).into_bytes())
        },
    ];
    for flood in floods {
        let served = &AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                let (mut writer, chunk) = flood();
                let mut reader = writer.try_clone().expect("descriptors are left");
                scope.spawn(move || {
                    while !served.load(Ordering::Relaxed) && writer.write_all(&chunk).is_ok() {}
                    let _closed_already = writer.shutdown(Shutdown::Both);
                });
                scope.spawn(move || {
                    let mut piece = vec![0; 65_536];
                    while reader.read(&mut piece).is_ok_and(|n| n > 0) {}
                });
            }
            let asked = scope.spawn(|| be_served(client)).join();
            served.store(true, Ordering::Relaxed);
            asked.expect("others are served");
        });
    }
}

/// A read that waits is given up with its stream, or else a peer that opens and resets them
/// could make us hold any number.
#[test]
fn reads_that_wait_are_given_up_when_they_are_reset() {
    const ROUNDS: u32 = 20;
    const READS: u32 = 100;
    let Some(server) = Server::start() else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    for stream in ["a", "b", "c"] {
        client.create_stream(stream);
    }
    let mut raw = RawHttp2::open(client.host(), &[]);
    let headers = [("s2-basin", client.basin().to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    for round in 0..ROUNDS {
        let numbers = (READS * round..READS * (round + 1)).map(|at| 2 * at + 1);
        let mut heads = Vec::new();
        for (stream, name) in numbers.clone().zip(["a", "b", "c"].into_iter().cycle()) {
            let path = format!("{}?seq_num=0&wait=60", records_path(name));
            heads.extend(raw.request(stream, 1, "GET", &path, &headers));
        }
        heads.extend(encode_frame(PING, 0, 0, b"accepted"));
        raw.write(&heads).expect("they are taken");
        raw.find(|frame| frame.kind == PING && frame.flags == 1).expect("an answer");
        let resets = numbers.map(|stream| encode_frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        raw.write(&resets.collect::<Vec<_>>().concat()).expect("they are taken");
    }
    raw.write(&encode_frame(PING, 0, 0, b"finished")).expect("it is taken");
    raw.find(|frame| frame.kind == PING && frame.flags == 1).expect("an answer");
    // Those that still wait are given what comes.
    let before = client.metric("thalweg_read_records_total");
    for stream in ["a", "b", "c"] {
        client.append_bodies(stream, &["x"]);
        assert_eq!(client.read_bodies(stream, "seq_num=0"), ["x"]);
    }
    let given = client.metric("thalweg_read_records_total") - before;
    assert_eq!(given, 3, "records were given to reads that nobody waits for");
}

#[test]
fn a_reset_ends_a_follower_and_nothing_else() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let mut raw = RawHttp2::open(client.host(), &[]);
    let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
    let path = format!("{}?seq_num=0", records_path("s"));
    for stream in [1, 3] {
        let head = raw.request(stream, 1, "GET", &path, &headers);
        raw.write(&head).expect("it is taken");
        let heartbeat = raw.find(|frame| frame.kind == DATA && frame.stream == stream);
        assert_eq!(heartbeat.expect("a heartbeat").payload, [0, 0, 3, 0, 0x12, 0]);
    }
    raw.send(RST_STREAM, 0, 1, &8u32.to_be_bytes()).expect("it is taken");
    raw.send(PING, 0, 0, b"12345678").expect("it is taken");
    let pong = raw.find(|frame| frame.kind == PING).expect("an answer");
    assert_eq!((pong.flags, &*pong.payload), (1, &b"12345678"[..]));
    client.append_bodies("s", &["x"]);
    let frame = raw.find(|frame| frame.kind == DATA).expect("a batch");
    assert_eq!(frame.stream, 3, "the stream that was reset gets nothing");
}

/// A client that goes away finishes what it has begun.
#[test]
fn a_goaway_of_the_client_leaves_its_streams_alone() {
    let mut client = fresh_basin();
    for stream in crate::STREAMS {
        client.create_stream(stream);
        let mut raw = RawHttp2::open(client.host(), &[]);
        let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
        let head = raw.request(1, 0, "POST", &records_path(stream), &headers);
        raw.write(&head).expect("it is taken");
        raw.find(|frame| frame.kind == HEADERS && frame.stream == 1).expect("a head");
        raw.send(GOAWAY, 0, 0, &[0; 8]).expect("it is taken");
        raw.send(DATA, 0, 1, &AppendInput::one("x").frame()).expect("it is taken");
        let ack = raw.find(|frame| frame.kind == DATA && frame.stream == 1).expect("an ack");
        assert_eq!(ack.payload[3], 0, "a regular frame: {ack:?}");
        raw.send(DATA, 1, 1, &[]).expect("it is taken");
        let ended = raw.find(|frame| frame.stream == 1 && frame.ends_stream());
        assert!(ended.is_some(), "a clean end");
        assert_eq!(client.tail_seq_num(stream), 1);
    }
}

/// Some clients end a body with trailers.
#[test]
fn trailers_end_a_body() {
    let mut client = fresh_basin();
    client.create_stream("s");
    let mut raw = RawHttp2::open(client.host(), &[]);
    let headers = [("s2-basin", client.basin()), ("content-type", "s2s/proto")];
    let head = raw.request(1, 0, "POST", &records_path("s"), &headers);
    let mut trailer = Vec::new();
    push_literal(&mut trailer, "x-sum", "1");
    // Padded, besides.
    let frame = AppendInput::one("x").frame();
    let padded = [&[3][..], &frame, &[0, 0, 0]].concat();
    let sent = [
        head,
        encode_frame(DATA, 8, 1, &padded),
        encode_frame(HEADERS, 1 | END_HEADERS, 1, &trailer),
    ];
    raw.write(&sent.concat()).expect("it is taken");
    let ended =
        raw.find(|frame| frame.stream == 1 && (frame.ends_stream() || frame.kind == RST_STREAM));
    assert!(ended.is_some_and(|frame| frame.ends_stream()), "a clean end");
    assert_eq!(client.tail_seq_num("s"), 1);
}

/// Unary requests over HTTP/2 are those of HTTP/1.1.
#[test]
fn unary_requests_are_answered_alike() {
    let client = fresh_basin();
    let conn = Http2::open(client.host());
    let send = |request: Request| conn.send(&client.scoped(request));
    let created = send(Request::post("/v1/streams", &json!({ "stream": "ä/b" })));
    created.status(201);
    assert_eq!(created.header("s2-provision-result"), Some("created"));
    let path = records_path("ä/b");
    send(Request::post(&path, &json!({ "records": [{ "body": "a" }] }))).status(200);
    send(Request::post(&path, &json!({ "records": [] }))).refused(422, "invalid");
    send(Request::new("POST", &path).bytes("{}")).refused(400, "bad_json");
    send(Request::get(&format!("{path}?seq_num=5"))).status(416);
    send(Request::get("/v1/nope")).refused(404, "not_found");
    send(Request::new("PUT", "/health")).refused(405, "method_not_allowed");
    let head = send(Request::new("HEAD", "/health"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("2"));
    let options = Request::new("OPTIONS", &path).header("origin", "http://o");
    let options = send(options.header("access-control-request-method", "POST"));
    assert_eq!(options.status(200).header("access-control-allow-origin"), Some("http://o"));
    let large = Request::new("POST", &path).header("content-type", "application/json");
    send(large.bytes(vec![b' '; 17 * 1024 * 1024])).status(413);
    let deleted = send(Request::new("DELETE", "/v1/streams/%C3%A4%2Fb"));
    assert_eq!(deleted.status(202).header("content-length"), Some("0"));
    let lines: Vec<_> = deleted.headers.iter().filter(|(n, _)| *n != n.to_lowercase()).collect();
    assert!(lines.is_empty(), "names are lower case: {lines:?}");
}
