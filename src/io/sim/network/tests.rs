use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::io::Clock;
use crate::io::sim::SimRuntime;

const WIRE: Wire = Wire { room_bytes: 100, piece_bytes_max: 7, delay_us_max: 50 };

/// Runs `talk` with both ends of a connection, for some seeds.
fn with_ends(talk: impl AsyncFn(&SimIo, &SimRuntime, SimSocket, SimSocket)) {
    for seed in 0..50 {
        let io = SimIo::new(seed);
        let runtime = SimRuntime::new(&io);
        let (client, server) = io.connect(WIRE);
        runtime.block_on(talk(&io, &runtime, client, server));
    }
}

#[test]
fn everything_arrives_in_order_through_little_room() {
    let sent: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    with_ends(async |_, runtime, mut client, mut server| {
        let bytes = sent.clone();
        let sending = runtime.spawn(async move {
            client.write_all(&bytes).await.unwrap();
            client.shutdown(Shutdown::Write).await.unwrap();
            client
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, sent);
        // The other direction is still open.
        let mut client = sending.await;
        server.write_all(b"bye").await.unwrap();
        drop(server);
        received.clear();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"bye");
    });
}

#[test]
fn who_sends_waits_for_who_reads() {
    with_ends(async |io, runtime, mut client, server| {
        let sending = runtime.spawn(async move { client.write_all(&[1; 1_000]).await });
        io.sleep_us(1_000_000).await;
        assert_eq!(server.unread_bytes(), 100, "no more than there is room for");
        drop(server);
        assert!(sending.await.is_err(), "nobody reads any more");
    });
}

#[test]
fn a_cut_ends_both_sides_at_some_byte() {
    let lengths = RefCell::new(std::collections::BTreeSet::new());
    with_ends(async |_, runtime, mut client, mut server| {
        client.write_all(&[1; 60]).await.unwrap();
        let reading = runtime.spawn(async move {
            let mut received = Vec::new();
            let end = server.read_to_end(&mut received).await;
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(server.write_all(b"x").await.is_err());
            received.len()
        });
        client.cut();
        let length = reading.await;
        lengths.borrow_mut().insert(length);
    });
    assert!(lengths.borrow().len() > 5, "always at the same byte: {lengths:?}");
}

#[test]
fn a_client_that_vanishes_is_missed_only_after_the_silence() {
    with_ends(async |io, _, mut client, mut server| {
        client.write_all(b"a").await.unwrap();
        io.sleep_us(1_000).await;
        client.vanish();
        let mut byte = [0];
        server.read_exact(&mut byte).await.unwrap();
        server.write_all(&[2; 100]).await.expect("there is room for that");
        let began_us = io.now_us();
        let end = server.read_exact(&mut byte).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(io.now_us() >= began_us + SILENCE_US - 1_000);
    });
}

#[test]
fn an_end_closed_with_bytes_unread_resets_the_connection() {
    with_ends(async |_, _, mut client, mut server| {
        client.write_all(b"unread").await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        let end = client.read_to_end(&mut answer).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(b"answer".starts_with(&answer[..]));
    });
}
