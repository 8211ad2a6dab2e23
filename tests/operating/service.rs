//! A server under a service manager, which is a socket here, and its end.

#![expect(clippy::disallowed_methods, reason = "threads of a test run no executor")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::common::client::{batch, fresh_basin_on, records_path};
use crate::common::duplex::Protocol;
use crate::common::http::{Conn, Request};
use crate::common::s2s::{AppendInput, RECONNECT_ADVISED};
use crate::common::server::Server;
use crate::common::session::Session;
use crate::common::{EVENTUALLY_WAIT, Stopwatch, poll, unique_name};

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: &'static str,
}

impl Manager {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("notify"));
        let socket = UnixDatagram::bind(&path).expect("the path is short enough");
        socket.set_read_timeout(Some(EVENTUALLY_WAIT)).expect("a timeout can be set");
        let path = path.to_str().expect("UTF-8").to_owned();
        Self { socket, path: Box::leak(path.into_boxed_str()) }
    }

    /// The next message, as its lines.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).expect("a message comes");
        let text = std::str::from_utf8(&bytes[..len]).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    /// The first message with this line, and those before it.
    #[track_caller]
    fn until(&self, line: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let mut before = Vec::new();
        loop {
            let message = self.next();
            if message.iter().any(|told| told == line) {
                return (message, before);
            }
            before.push(message);
            assert!(before.len() < 1_000, "{line} does not come: {:?}", before.last());
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        fs::remove_file(self.path).unwrap_or_else(|error| eprintln!("{error}"));
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() {
    let manager = Manager::new();
    let settings = [("NOTIFY_SOCKET", manager.path), ("WATCHDOG_USEC", "2000000")];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let (ready, before) = manager.until("READY=1");
    let status = ready.iter().find(|line| line.starts_with("STATUS=listening on http"));
    assert!(status.is_some(), "{ready:?}");
    let is_reading = |message: &Vec<String>| message[0].starts_with("STATUS=reading the logs: ");
    assert!(before.iter().any(is_reading), "{before:?}");
    assert!(!before.iter().flatten().any(|line| line == "READY=1"));
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");

    // It goes on as long as the cores do.
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }

    // A reload is told before and after, also without anything to read again.
    server.signal("HUP");
    let (reloading, _) = manager.until("RELOADING=1");
    let since = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.is_some_and(|us| us.parse::<u64>().is_ok_and(|us| us > 0)), "{reloading:?}");
    manager.until("READY=1");
    client.append_bodies("s", &["after a reload"]);

    let watch = server.ask_to_end();
    let (stopping, _) = manager.until("STOPPING=1");
    assert!(stopping.contains(&"STATUS=draining".to_owned()), "{stopping:?}");
    let (status, _) = server.wait_for_end(watch);
    assert!(status.success(), "{status}");
}

#[test]
fn a_manager_that_is_gone_does_not_hurt() {
    let manager = Manager::new();
    let path = manager.path;
    drop(manager);
    let Some(mut server) = Server::start_with(1, &[("NOTIFY_SOCKET", path)]) else { return };
    assert!(server.said().contains("the service manager could not be told"));
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}

/// Sessions go on for two fifths of the time that was given, which is longer here than by default;
/// a second signal does not wait for that.
#[test]
fn a_drain_takes_as_long_as_it_was_given_and_a_second_signal_ends_it() {
    let Some(mut server) = Server::start_with(1, &[("THALWEG_DRAIN_SECS", "3600")]) else { return };
    let mut client = fresh_basin_on(&server, &json!(null));
    client.create_stream("s");
    let mut writer = Session::append(&client, Protocol::Http1, "s");
    writer.push(&AppendInput::one("before"));
    writer.acks(0, 1);
    // One request has begun to arrive, and an answer on a later connection says that it was seen.
    let late = client.encode(&Request::post(&records_path("s"), &batch(&["late"])));
    let mut conn = Conn::open(server.host());
    conn.write(&late[..late.len() - 1]).expect("the socket takes it");
    client.another().tail("s").status(200);
    let watch = server.ask_to_end();
    let is_deaf = || TcpStream::connect(client.host()).is_err().then_some(());
    poll(EVENTUALLY_WAIT, is_deaf).expect("the port closes");
    // By default, sessions would be ended after four seconds.
    let drained = Stopwatch::start();
    let mut seq_num = 1;
    while drained.elapsed() < Duration::from_secs(5) {
        writer.push(&AppendInput::one("during"));
        let frame = writer.frame();
        assert_eq!(frame.flag, RECONNECT_ADVISED, "record {seq_num}: {frame:?}");
        seq_num += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    // What arrives whole only now is new work.
    conn.write(&late[late.len() - 1..]).expect("the socket takes it");
    let answer = conn.read_response("POST").expect("an answer");
    answer.refused(503, "server_draining");
    server.signal("TERM");
    let (status, elapsed) = server.wait_for_end(watch);
    assert_eq!(status.code(), Some(1), "after {elapsed:?}");
    assert!(server.said().contains("ended by a second signal"), "{}", server.said());
    server.restart();
    let mut after = server.client().in_basin(client.basin());
    let tail = after.tail_seq_num("s");
    assert_eq!(tail, seq_num, "what was acknowledged is there, and what was refused is not");
}

/// A request that never arrives whole keeps no server from ending.
#[test]
fn a_request_that_stays_unfinished_is_given_up_when_the_drain_is_over() {
    let settings = [("THALWEG_DRAIN_SECS", "1"), ("THALWEG_PEER_SECS", "3600")];
    let Some(mut server) = Server::start_with(2, &settings) else { return };
    let mut stuck = TcpStream::connect(server.client().host()).expect("connects");
    let head = b"POST /v1/basins HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    std::io::Write::write_all(&mut stuck, head).expect("sent");
    let (status, elapsed) = server.terminate();
    assert!(status.success(), "{status} after {elapsed:?}");
}

#[test]
fn the_unit_names_settings_that_there_are() {
    let unit = include_str!("../../scripts/thalweg.service");
    let (ended_well, help) = super::thalweg(&["serve", "--help"]);
    assert!(ended_well, "{help}");
    let help = super::words(&help);
    let words = unit.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: Vec<&str> = words.filter(|word| word.starts_with("THALWEG_")).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "THALWEG_") {
        assert!(help.contains(&format!("[env: {name}=")), "{name} is no setting");
    }
    for line in ["Type=notify", "NotifyAccess=main", "ExecStart=/usr/local/bin/thalweg serve"] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    let families = unit.lines().find(|line| line.starts_with("RestrictAddressFamilies="));
    assert!(families.is_some_and(|line| line.contains("AF_UNIX")), "it tells over such a socket");
}

#[test]
fn health_is_asked_where_the_settings_say() {
    for settings in [&[][..], &[("THALWEG_TLS_SELF_SIGNED", "true")]] {
        let Some(mut server) = Server::start_with(1, settings) else { return };
        let host = if settings.is_empty() { server.host() } else { server.secure_host() };
        let listen = format!("--listen={host}");
        let mut arguments = vec!["health", &listen];
        if !settings.is_empty() {
            arguments.push("--tls-self-signed=true");
        }
        let (is_well, said) = super::thalweg(&arguments);
        assert!(is_well && said.contains("OK"), "{settings:?}: {said}");
        server.terminate();
        let (is_well, said) = super::thalweg(&arguments);
        assert!(!is_well && said.contains(host_of(&listen)), "{settings:?}: {said}");
    }
}

fn host_of(listen: &str) -> &str {
    listen.strip_prefix("--listen=").expect("as above")
}
