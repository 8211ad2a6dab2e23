//! Shutting down with sessions open (S2 specification, section 6.6).

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::common::client::{Client, fresh_basin_on, records_path};
use crate::common::duplex::{Exchange, Protocol};
use crate::common::frames::{DATA, GOAWAY, RawHttp2};
use crate::common::http::Request;
use crate::common::http2::Http2;
use crate::common::poll;
use crate::common::s2s::{AppendInput, Frame, RECONNECT_ADVISED, ReadBatch};
use crate::common::server::Server;
use crate::common::session::{Session, read_request};
use crate::common::sse::{Events, sse_request};

/// How long a shutdown may take, sessions that nobody ends included.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

fn server() -> Option<(Server, Client)> {
    let server = Server::start()?;
    let client = fresh_basin_on(&server, &json!(null));
    Some((server, client))
}

#[track_caller]
fn is_deaf(client: &Client) -> bool {
    TcpStream::connect(client.host()).is_err()
}

/// Streams that belong to both cores, each with both protocols.
fn places() -> Vec<(Protocol, String)> {
    let names = (0..6).map(|index| format!("stream {index}"));
    names
        .flat_map(|name| Protocol::BOTH.map(|protocol| (protocol, format!("{name} {protocol}"))))
        .collect()
}

#[test]
fn case_99_sessions_are_advised_and_lose_nothing() {
    let Some((mut server, mut client)) = server() else { return };
    let mut sessions = Vec::new();
    for (protocol, stream) in places() {
        client.create_stream(&stream);
        let mut writer = Session::append(&client, protocol, &stream);
        let mut follower = Session::read(&client, protocol, &stream, "seq_num=0");
        writer.push(&AppendInput::one("before"));
        let ack = writer.frame();
        assert_eq!(ack.flag, 0, "no advice before the shutdown: {ack:?}");
        while follower.batch().is_heartbeat() {}
        sessions.push((stream, writer, follower));
    }
    let watch = server.ask_to_end();
    poll(Duration::from_secs(3), || is_deaf(&client).then_some(())).expect("the port closes");
    for (stream, writer, follower) in &mut sessions {
        // An idle follower is told by a heartbeat; by then nobody new is let in.
        let advised = follower.frame();
        assert_eq!(advised.flag, RECONNECT_ADVISED, "{stream}: {advised:?}");
        assert!(advised.message::<ReadBatch>().is_heartbeat(), "{stream}");
        assert!(is_deaf(&client), "the advice comes when the port is closed");
        writer.push(&AppendInput::one("during"));
        writer.push(&AppendInput::one("also"));
        writer.finish();
    }
    for (stream, writer, follower) in &mut sessions {
        for seq_num in [1, 2] {
            let frame = writer.frame();
            assert_eq!(frame.flag, RECONNECT_ADVISED, "{stream}: {frame:?}");
            let ack: crate::common::s2s::AppendAck = frame.message();
            assert_eq!(ack.start.map(|start| start.seq_num), Some(seq_num), "{stream}");
        }
        writer.end();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let frame = follower.frame();
            assert_eq!(frame.flag, RECONNECT_ADVISED, "{stream}: {frame:?}");
            seen.extend(frame.message::<ReadBatch>().seq_nums());
        }
        assert_eq!(seen, [1, 2], "{stream}");
    }
    // The followers leave, as advised.
    let streams: Vec<String> = sessions.into_iter().map(|(stream, _, _)| stream).collect();
    let (status, elapsed) = server.wait_for_end(watch);
    assert!(status.success() && elapsed < SHUTDOWN_MAX, "{status} after {elapsed:?}");
    server.restart();
    let mut after = server.client().in_basin(client.basin());
    for stream in streams {
        let bodies = after.read_bodies(&stream, "seq_num=0");
        assert_eq!(bodies, ["before", "during", "also"], "{stream}");
    }
}

#[test]
fn case_100_sessions_that_stay_are_ended_in_time() {
    let Some((mut server, mut client)) = server() else { return };
    let mut sessions = Vec::new();
    let mut events = Vec::new();
    for (protocol, stream) in places() {
        client.create_stream(&stream);
        let mut writer = Session::append(&client, protocol, &stream);
        writer.push(&AppendInput::one("before"));
        writer.acks(0, 1);
        let mut follower = Session::read(&client, protocol, &stream, "seq_num=1");
        follower.heartbeat(1);
        let mut sse = Events::open(&client, protocol, sse_request(&stream, "seq_num=1"));
        assert_eq!(sse.event().name, "ping");
        sessions.push((stream, writer, follower));
        events.push(sse);
    }
    let watch = server.ask_to_end();
    for (stream, writer, follower) in &mut sessions {
        eprintln!("{stream}");
        writer.refused(503, "server_draining");
        loop {
            let frame: Frame = follower.frame();
            if frame.is_terminal() {
                let (status, body) = frame.error();
                assert_eq!((status, &body["code"]), (503, &json!("server_draining")), "{stream}");
                break;
            }
            assert_eq!(frame.flag, RECONNECT_ADVISED, "{stream}: {frame:?}");
        }
        follower.end();
    }
    for sse in &mut events {
        let mut event = sse.event();
        while event.name == "ping" {
            event = sse.event();
        }
        assert_eq!((&*event.name, &event.json()["code"]), ("error", &json!("server_draining")));
        assert_eq!(sse.next(), None);
    }
    let (status, elapsed) = server.wait_for_end(watch);
    assert!(status.success() && elapsed < SHUTDOWN_MAX, "{status} after {elapsed:?}");
}

#[test]
fn followers_are_ended_also_by_a_core_that_has_no_connections() {
    let Some((mut server, mut client)) = server() else { return };
    let streams: Vec<String> = (0..6).map(|index| format!("stream {index}")).collect();
    for stream in &streams {
        client.create_stream(stream);
    }
    // One connection, on one of the cores; about half of its streams are the other core's.
    let host = client.host().to_owned();
    let basin = client.basin().to_owned();
    drop(client);
    let connection = Http2::open(&host);
    let mut followers: Vec<Session> = streams
        .iter()
        .map(|stream| {
            let request = read_request(stream, "seq_num=0").header("s2-basin", &basin);
            Session::open(Exchange::of_stream(connection.start(&request)))
        })
        .collect();
    followers.iter_mut().for_each(|follower| follower.heartbeat(0));
    let watch = server.ask_to_end();
    for (stream, follower) in streams.iter().zip(&mut followers) {
        let last = std::iter::from_fn(|| follower.next()).last().expect("frames");
        assert!(last.is_terminal(), "{stream}: {last:?}");
        assert_eq!(last.error().1["code"], "server_draining", "{stream}");
    }
    let (status, elapsed) = server.wait_for_end(watch);
    assert!(status.success() && elapsed < Duration::from_secs(8), "{status} after {elapsed:?}");
}

/// A client that keeps writing and never leaves: what has no acknowledgement when it is told
/// `server_draining` did not happen.
#[test]
fn what_was_not_acknowledged_when_draining_ends_did_not_happen() {
    let Some((mut server, mut client)) = server() else { return };
    let mut sessions = Vec::new();
    for (protocol, stream) in places() {
        client.create_stream(&stream);
        sessions.push((Session::append(&client, protocol, &stream), stream, 0, 0));
    }
    let watch = server.ask_to_end();
    // Unacknowledged batches are kept at 10 in every session until it is ended.
    let mut open = sessions.len();
    while open > 0 {
        for (session, _, sent, acked) in &mut sessions {
            if *acked == u64::MAX {
                continue;
            }
            while *sent < *acked + 10 {
                session.push(&AppendInput::one(format!("{sent}")));
                *sent += 1;
            }
            let frame = session.frame();
            if frame.is_terminal() {
                let (status, body) = frame.error();
                assert_eq!((status, &body["code"]), (503, &json!("server_draining")));
                session.end();
                *sent = *acked;
                *acked = u64::MAX;
                open -= 1;
            } else {
                *acked += 1;
            }
        }
        assert!(watch.elapsed() < SHUTDOWN_MAX, "sessions are not ended");
    }
    let acked: Vec<(String, u64)> =
        sessions.into_iter().map(|(_, stream, acked, _)| (stream, acked)).collect();
    let (status, elapsed) = server.wait_for_end(watch);
    assert!(status.success() && elapsed < SHUTDOWN_MAX, "{status} after {elapsed:?}");
    server.restart();
    let mut after = server.client().in_basin(client.basin());
    for (stream, acked) in acked {
        assert_eq!(after.tail_seq_num(&stream), acked, "{stream}: exactly what was acknowledged");
    }
}

#[test]
fn http2_connections_are_told_to_go_away_and_finish_what_they_do() {
    let Some((mut server, mut client)) = server() else { return };
    client.create_stream("s");
    client.append_bodies("s", &["x"]);
    let mut idle = Http2::open(client.host());
    idle.send(&Request::get("/health")).status(200);
    let mut raw = RawHttp2::open(client.host(), &[]);
    let headers = [("s2-basin", client.basin())];
    let path = format!("{}?seq_num=1&wait=60", records_path("s"));
    let head = raw.request(1, 1, "GET", &path, &headers);
    raw.write(&head).expect("it is taken");
    raw.find(|frame| frame.kind == crate::common::frames::SETTINGS).expect("settings");
    let watch = server.ask_to_end();
    let frames: Vec<_> = std::iter::from_fn(|| raw.next()).collect();
    let away = frames.iter().find(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
    assert_eq!(away.code(), 0, "without an error: {away:?}");
    let last = frames.iter().find(|frame| frame.stream == 1 && frame.ends_stream());
    let last = last.expect("the read is answered");
    assert_eq!((last.kind, &*last.payload), (DATA, &b"{\"records\":[]}"[..]));
    idle.ended().expect("the idle connection ends without an error");
    let (status, elapsed) = server.wait_for_end(watch);
    assert!(status.success(), "{status}");
    assert!(elapsed < Duration::from_secs(3), "nothing was left to wait for: {elapsed:?}");
}
