//! Single scenes that a run seldom comes to.

use std::pin::pin;

use futures_util::future::{self, Either};

use super::ledger::Batch;
use super::life::{self, Server};
use super::line::{Line, Pace, chunks, open_request, request};
use super::words;
use crate::io::Clock;
use crate::io::sim::{SimIo, SimRuntime, Stream as Dice, Wire};
use crate::shard::testkit::{create, create_basin, provision};

/// Room for less than what each of the clients is to be told.
const WIRE: Wire = Wire { room_bytes: 1_000, piece_bytes_max: 500, delay_us_max: 200 };
/// Longest that a client may keep what is sent to it waiting: the server's patience for a whole
/// batch, and until it looks.
const PATIENCE_US_MAX: u64 = 80_000_000;
/// Bytes in the stream that nobody reads to its end.
const STREAM_BYTES: usize = 400_000;
const TARGET: &str = "/v1/streams/a/records";

/// A client that reads nothing unless it is asked to.
fn stalled(runtime: &SimRuntime, io: &SimIo, core: &Server) -> Line {
    life::connect_by(runtime, io, core, WIRE, Pace { bytes_max: 1_000, pause_us: 0 })
}

/// Appends a batch and waits for its acknowledgement.
async fn append(line: &Line, batch: &Batch) {
    let headers = "content-type: application/protobuf\r\n";
    let asked = request("POST", TARGET, headers, &words::append_proto(batch));
    line.send(&asked).await.expect("the server reads");
    let head = line.head().await.expect("it answers");
    let body = line.body(&head).await.expect("it answers");
    assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(&body));
}

/// Everything that a client may ask for and then not take, or begin and not finish.
fn stalls() -> Vec<Vec<u8>> {
    let events = "accept: text/event-stream\r\n";
    let from_start = format!("{TARGET}?seq_num=0");
    let whole = request("POST", TARGET, "content-type: application/json\r\n", b"{\"records\":[]}");
    vec![
        request("GET", &from_start, "content-type: s2s/proto\r\n", b""),
        request("GET", &from_start, events, b""),
        request("GET", &from_start, "", b""),
        Vec::new(),
        whole[..20].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        whole,
    ]
}

#[test]
fn a_client_that_stalls_for_good_is_let_go() {
    for seed in 0..2 {
        println!("seed {seed} of: cargo test --lib shard::model::network::scenes");
        let io = SimIo::new(seed);
        let runtime = SimRuntime::new(&io);
        runtime.block_on(async {
            let mut dice = Dice::new(seed, "scene");
            let (core, shard) = life::start(&runtime, &io, &mut dice).await;
            create_basin(&shard).await;
            provision(&shard, create("a")).await;
            let wire = Wire { room_bytes: 64_000, piece_bytes_max: 16_000, ..WIRE };
            let pace = Pace { bytes_max: 1_000, pause_us: 0 };
            let busy = life::connect_by(&runtime, &io, &core, wire, pace);
            let batch = Batch::plain(vec![vec![b'x'; STREAM_BYTES / 40]; 20]);
            append(&busy, &batch).await;
            append(&busy, &batch).await;
            let lines: Vec<Line> = stalls().iter().map(|_| stalled(&runtime, &io, &core)).collect();
            for (line, bytes) in lines.iter().zip(stalls()) {
                line.send(&bytes).await.expect("there is room for that");
            }
            let session = stalled(&runtime, &io, &core);
            let sender = session.clone();
            let mut dice = Dice::new(seed, "session");
            let sending = runtime.spawn(async move {
                let frame = words::frame(&words::append_proto(&Batch::plain(vec![vec![b'y']])));
                let opened = sender.send(&open_request(TARGET)).await;
                let mut sent = opened.is_ok();
                // More acknowledgements than there is room for.
                while sent {
                    sent = sender.send(&chunks(&mut dice, &frame)).await.is_ok();
                }
            });
            io.sleep_us(1_000_000).await;
            assert_eq!(core.lifelines.count(), 2 + lines.len(), "all are here");
            let freed = pin!(async {
                while core.lifelines.count() > 1 {
                    let began_us = io.now_us();
                    append(&busy, &Batch::plain(vec![vec![b'z']])).await;
                    assert!(io.now_us() < began_us + 1_000_000, "others are held up");
                    io.sleep_us(500_000).await;
                }
            });
            let late = pin!(io.sleep_us(PATIENCE_US_MAX));
            let freed = future::select(freed, late).await;
            assert!(matches!(freed, Either::Left(_)), "stalled clients are held for ever");
            sending.await;
            busy.close();
            io.sleep_us(1_000_000).await;
            assert_eq!(core.lifelines.count(), 0);
            life::assert_nothing_held(&core);
            drop((lines, session));
        });
    }
}
