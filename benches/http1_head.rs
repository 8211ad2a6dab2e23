//! How long one request takes from received bytes to an owned, judged request and back to a
//! recycled buffer.
//!
//! `cargo bench --bench http1_head`. Without the `--bench` that this command passes on, as under
//! `cargo test`, it runs a few rounds only. The hash covers what was parsed: it must not change
//! unless the inputs or the number of rounds do.

use std::hint::black_box;
use std::time::Instant;

use thalweg::http1::{Conn, Event, Limits};

/// Requests per timed sample: long enough for the clock, short enough for a tail.
const REQUESTS_PER_SAMPLE: u32 = 64;

struct Case {
    name: &'static str,
    input: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let append = "POST /v1/streams/sensors%2Froom-17/records HTTP/1.1\r\n\
        Host: s2.example.com:8080\r\n\
        User-Agent: s2-sdk-rust/0.34.3\r\n\
        Accept: application/json\r\n\
        Accept-Encoding: zstd, gzip\r\n\
        Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\
        Content-Type: application/json\r\n\
        Content-Length: 64\r\n\
        Connection: keep-alive\r\n\
        s2-basin: measurements\r\n\
        s2-format: raw\r\n\r\n";
    let body = "x".repeat(64);
    let mut chunked = append.replace("Content-Length: 64", "Transfer-Encoding: chunked");
    chunked += &format!("20\r\n{}\r\n20\r\n{}\r\n0\r\n\r\n", &body[..32], &body[32..]);
    let small = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
    vec![
        Case { name: "append, 10 headers, 64 bytes", input: (append.to_owned() + &body).into() },
        Case { name: "append, 10 headers, 2 chunks", input: chunked.into() },
        Case { name: "health, 1 header", input: small.into() },
    ]
}

/// One turn of the connection; returns a number that depends on all that was parsed.
fn turn(conn: &mut Conn, input: &[u8]) -> u64 {
    conn.recv_space()[..input.len()].copy_from_slice(input);
    conn.received(input.len());
    let Ok(Event::Head) = conn.next_event() else { panic!("no head") };
    conn.collect_body().expect("the body is small");
    let Ok(Event::Request(request)) = conn.next_event() else { panic!("no request") };
    let head = request.head();
    let mut sum = (head.method().len() + head.path().len() + request.body().len()) as u64;
    sum += head.header("s2-basin").map_or(0, <[u8]>::len) as u64;
    let (buf, body_at) = request.into_body().into_parts();
    conn.recycle(buf);
    sum.wrapping_mul(31) + body_at as u64
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn measure(case: &Case, samples: usize) -> (u64, Vec<f64>) {
    let mut conn = Conn::new(Limits::default());
    let mut hash = 0u64;
    let mut ns: Vec<f64> = (0..samples)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..REQUESTS_PER_SAMPLE {
                let sum = turn(&mut conn, black_box(&case.input));
                hash = hash.wrapping_mul(1_000_003).wrapping_add(black_box(sum));
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS_PER_SAMPLE)
        })
        .collect();
    ns.sort_by(f64::total_cmp);
    (hash, ns)
}

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let samples = if full { 20_000 } else { 3 };
    println!("http1_head: {samples} samples of {REQUESTS_PER_SAMPLE} requests, one connection");
    for case in cases() {
        let (_, _) = measure(&case, samples / 10);
        let (hash, ns) = measure(&case, samples);
        let at = |permille: usize| ns[(ns.len() - 1) * permille / 1000];
        println!(
            "{}: {} bytes, p50 {:.0} ns, p99 {:.0} ns, p99.9 {:.0} ns per request, hash {hash:016x}",
            case.name,
            case.input.len(),
            at(500),
            at(990),
            at(999),
        );
    }
}
