//! Bodies: collected and streamed, of known length and chunked, alone and pipelined.

use super::super::{Conn, Event, Limits, Violation};
use super::{Driver, Mode, Seen, feed, run_all};

const BOTH: [Mode; 2] = [Mode::Collect, Mode::Stream];

/// A chunked `POST` around raw chunk bytes.
fn chunked(raw: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{raw}")
}

/// A `POST` that declares `length` and brings `body`.
fn known(length: usize, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn bodies(seen: &[Seen]) -> Vec<&[u8]> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Request { body, .. } => Some(&body[..]),
            _ => None,
        })
        .collect()
}

#[test]
fn pipelined_requests_come_out_one_by_one_in_both_modes() {
    let input = [
        known(5, "hello"),
        chunked("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: u\r\n\r\n"),
        "\r\n".into(),
        known(0, ""),
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(),
        chunked("0\r\n\r\n"),
        known(3, "\r\n\r"),
    ]
    .concat();
    for mode in BOTH {
        let seen = run_all(input.as_bytes(), &Limits::default(), mode);
        let expected: [&[u8]; 6] = [b"hello", b"abcde", b"", b"", b"", b"\r\n\r"];
        assert_eq!(bodies(&seen), expected);
        assert_eq!(seen.last(), Some(&Seen::Closed));
    }
}

#[test]
fn an_end_in_the_middle_of_a_body_is_a_violation() {
    for input in [known(5, ""), known(5, "hell"), chunked(""), chunked("5\r\nhello\r\n0\r\n\r")] {
        for mode in BOTH {
            let seen = run_all(input.as_bytes(), &Limits::default(), mode);
            assert_eq!(seen.last(), Some(&Seen::Refused(Violation::Truncated)), "{input:?}");
            assert!(bodies(&seen).is_empty());
        }
    }
}

#[test]
fn a_malformed_chunk_ends_the_connection_in_both_modes() {
    let cases = [
        ("x\r\n", Violation::ChunkSize),
        ("3\r\nabcd\r\n", Violation::ChunkEnd),
        ("3\nabc\r\n0\r\n\r\n", Violation::BareLf),
        ("0\r\na : b\r\n\r\n", Violation::SpaceBeforeColon),
    ];
    for (raw, violation) in cases {
        for mode in BOTH {
            let input = [known(1, "x"), chunked(raw), known(1, "y")].concat();
            let seen = run_all(input.as_bytes(), &Limits::default(), mode);
            assert_eq!(seen.last(), Some(&Seen::Refused(violation)), "{raw:?}");
            assert_eq!(bodies(&seen), [b"x"]);
        }
    }
}

#[test]
fn only_collected_bodies_are_bounded() {
    let limits = Limits { body_bytes_max: 4, ..Limits::default() };
    let fits = [known(4, "abcd"), chunked("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")];
    let exceeds = [known(5, "abcde"), chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")];
    for input in fits {
        assert_eq!(bodies(&run_all(input.as_bytes(), &limits, Mode::Collect)), [b"abcd"]);
    }
    for input in exceeds {
        let seen = run_all(input.as_bytes(), &limits, Mode::Collect);
        assert_eq!(seen, [Seen::Refused(Violation::BodyTooLarge)]);
        assert_eq!(bodies(&run_all(input.as_bytes(), &limits, Mode::Stream)), [b"abcde"]);
    }
}

#[test]
fn a_declared_length_too_large_is_refused_at_the_head() {
    for length in [5, u64::MAX] {
        let mut conn = Conn::new(Limits { body_bytes_max: 4, ..Limits::default() });
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        feed(&mut conn, head.as_bytes());
        assert!(matches!(conn.next_event(), Ok(Event::Head)));
        assert_eq!(conn.collect_body(), Err(Violation::BodyTooLarge));
        assert_eq!(conn.next_event().unwrap_err(), Violation::BodyTooLarge);
    }
}

#[test]
fn streamed_data_comes_before_the_rest_of_the_body() {
    let mut conn = Conn::new(Limits::default());
    feed(&mut conn, chunked("").as_bytes());
    assert!(matches!(conn.next_event(), Ok(Event::Head)));
    let request = conn.stream_body();
    assert_eq!(request.head().path(), "/");
    assert!(matches!(conn.next_event(), Ok(Event::NeedInput)));
    for (raw, data) in [(&b"a\r\n0123"[..], &b"0123"[..]), (b"456789\r\n1\r", b"456789")] {
        feed(&mut conn, raw);
        let Ok(Event::Data(piece)) = conn.next_event() else { panic!("no data") };
        assert_eq!(piece, data);
        assert!(matches!(conn.next_event(), Ok(Event::NeedInput)));
    }
    feed(&mut conn, b"\nx\r\n0\r\n\r\n");
    assert!(matches!(conn.next_event(), Ok(Event::Data(b"x"))));
    assert!(matches!(conn.next_event(), Ok(Event::End)));
    assert!(matches!(conn.next_event(), Ok(Event::NeedInput)));
    conn.received_eof();
    assert!(matches!(conn.next_event(), Ok(Event::Closed)));
}

#[test]
fn a_streamed_body_of_any_length_needs_bounded_memory() {
    let mut conn = Conn::new(Limits::default());
    feed(&mut conn, chunked("ffffffffffffffff\r\n").as_bytes());
    assert!(matches!(conn.next_event(), Ok(Event::Head)));
    let _request = conn.stream_body();
    for _ in 0..1000 {
        while !matches!(conn.next_event(), Ok(Event::NeedInput)) {}
        let len = conn.recv_space().len();
        assert!(len <= 2 * super::super::READ_BYTES, "{len}");
        conn.received(len);
    }
}

#[test]
fn a_collected_body_of_known_length_is_contiguous_whatever_its_size() {
    let body: String = ('a'..='z').cycle().take(3_000_000).collect();
    let input = [known(body.len(), &body), known(1, "x")].concat();
    for piece_bytes in [1460, 65_536, 10_000_000] {
        let seen = Driver::new(Limits::default(), Mode::Collect)
            .run(input.as_bytes().chunks(piece_bytes), true);
        assert_eq!(bodies(&seen), [body.as_bytes(), b"x"]);
    }
}

#[test]
fn the_steady_state_uses_the_same_buffer_again() {
    let mut conn = Conn::new(Limits::default());
    let mut origin = None;
    for raw in [known(5, "hello"), chunked("5\r\nhello\r\n0\r\n\r\n")].iter().cycle().take(20) {
        feed(&mut conn, raw.as_bytes());
        assert!(matches!(conn.next_event(), Ok(Event::Head)));
        conn.collect_body().unwrap();
        let Ok(Event::Request(request)) = conn.next_event() else { panic!("no request") };
        let (buf, _) = request.into_body().into_parts();
        assert_eq!(*origin.get_or_insert(buf.as_ptr()), buf.as_ptr());
        conn.recycle(buf);
    }
}

#[test]
fn an_oversized_buffer_is_not_kept() {
    let mut conn = Conn::new(Limits { spare_bytes_max: 1000, ..Limits::default() });
    let large = vec![0; 1001];
    conn.recycle(large);
    assert_ne!(conn.recv_space().len(), 1001);
    let mut conn = Conn::new(Limits { spare_bytes_max: 2000, ..Limits::default() });
    let small = vec![0; 2000];
    let origin = small.as_ptr();
    conn.recycle(small);
    assert_eq!(conn.recv_space().as_ptr(), origin);
}

#[test]
fn connections_and_requests_can_move_to_another_core() {
    fn movable<T: Send + 'static>() {}
    movable::<Conn>();
    movable::<super::super::Request>();
}

#[test]
fn a_sniffer_sees_what_was_received_before_it_is_judged() {
    let mut conn = Conn::new(Limits::default());
    assert_eq!(conn.unread(), b"");
    feed(&mut conn, b"PRI * HTTP/2.0\r\n\r\nSM");
    assert_eq!(conn.unread(), b"PRI * HTTP/2.0\r\n\r\nSM");
    assert_eq!(conn.next_event().unwrap_err(), Violation::VersionUnsupported);
}

#[test]
fn a_pipelined_request_is_not_looked_at_before_it_is_asked_for() {
    let mut conn = Conn::new(Limits::default());
    feed(&mut conn, [known(1, "x"), "garbage\n".into()].concat().as_bytes());
    assert!(matches!(conn.next_event(), Ok(Event::Head)));
    conn.collect_body().unwrap();
    assert!(matches!(conn.next_event(), Ok(Event::Request(_))));
    assert_eq!(conn.unread(), b"garbage\n");
    assert_eq!(conn.next_event().unwrap_err(), Violation::BareLf);
}

#[test]
fn memory_for_the_whole_of_a_known_body_is_wanted_at_once_and_then_no_more() {
    const BODY_BYTES: usize = 1 << 20;
    let mut conn = Conn::new(Limits::default());
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    let whole_bytes = head.len() + BODY_BYTES;
    assert!(conn.memory_wanted().expect("a first buffer") <= 16 * 1024);
    conn.recv_space()[..head.len()].copy_from_slice(head.as_bytes());
    conn.received(head.len());
    assert!(matches!(conn.next_event(), Ok(Event::Head)));
    conn.collect_body().expect("not too long");
    assert_eq!(conn.memory_wanted(), Some(whole_bytes));
    let mut received = head.len();
    while received < whole_bytes {
        assert!(conn.memory_wanted().is_none_or(|bytes| bytes <= whole_bytes), "{received}");
        let n = conn.recv_space().len().min(whole_bytes - received);
        conn.received(n);
        received += n;
        assert!(conn.memory_bytes() <= whole_bytes);
    }
    assert!(matches!(conn.next_event(), Ok(Event::Request(_))));
    conn.recycle(Vec::with_capacity(100_000));
    conn.shrink();
    assert_eq!(conn.memory_bytes(), 0, "nothing is kept when memory is short");
}
