//! How often the server allocates for an append, once everything is warm.
//!
//! A server in this process notes where its threads allocate between the answers of a client. The
//! runtime's own allocations are left out: they depend on how often the core sleeps. What is held
//! to a ceiling is the median of several rounds, since background work falls into few of them. A
//! ceiling is what was measured when it was last set: who lowers a count lowers its ceiling, and
//! who must raise one says why.
//!
//! `ALLOCATION_PLACES=1 cargo test --test allocations -- --nocapture` says also where.

#[path = "allocations/client.rs"]
mod client;
#[path = "allocations/counter.rs"]
mod counter;
#[path = "allocations/server.rs"]
mod server;

use std::net::SocketAddr;

use client::{Http1, Http2, JSON, PROTO, Session};
use counter::Places;

/// Appends under way together in a round that has more than one.
const TOGETHER: usize = 16;
/// What a group of batches allocates: two lists of frames, a count of references, and now and then
/// a timer. Batches that come together may be one group or two.
const GROUP: u64 = 4;
const WARM_UP_ROUNDS: usize = 100;
/// Rounds of which all allocations are counted, the runtime's too.
const COUNTED_ROUNDS: u64 = 200;
/// Rounds of which the places are noted.
const NOTED_ROUNDS: usize = 21;

/// Appends some batches and waits for their answers.
type Round = Box<dyn FnMut()>;

/// One way to append.
struct Case {
    name: &'static str,
    /// Appends in a round.
    appends: usize,
    /// Most allocations of a round but for those of the runtime, as the median of several.
    ceiling: u64,
    round: Round,
}

fn unary(address: SocketAddr, content_type: &str, body: &[u8], count: usize) -> Round {
    let connect = |_| Http1::appending(address, content_type, body);
    let mut conns: Vec<_> = (0..count).map(connect).collect();
    Box::new(move || {
        conns.iter_mut().for_each(Http1::send);
        conns.iter_mut().for_each(Http1::receive);
    })
}

fn session(address: SocketAddr, count: usize) -> Round {
    let mut session = Session::open(address);
    Box::new(move || {
        session.send(count);
        session.receive(count);
    })
}

fn http2(address: SocketAddr, count: usize) -> Round {
    let mut conn = Http2::connect(address);
    Box::new(move || conn.append(count))
}

#[test]
fn an_append_allocates_no_more_than_is_known() {
    counter::leave_out_this_thread();
    let server = server::Running::start();
    let address = server.address;
    client::create(address);
    let (json, proto) = ("application/json", "application/protobuf");
    let case = |name, appends, ceiling, round| Case { name, appends, ceiling, round };
    let cases = [
        case("JSON over HTTP/1.1", 1, GROUP, unary(address, json, JSON, 1)),
        case("JSON over HTTP/1.1", TOGETHER, 2 * GROUP, unary(address, json, JSON, TOGETHER)),
        case("protobuf over HTTP/1.1", 1, GROUP, unary(address, proto, PROTO, 1)),
        case("protobuf over HTTP/1.1", TOGETHER, 2 * GROUP, unary(address, proto, PROTO, TOGETHER)),
        case("session over HTTP/1.1", 1, GROUP, session(address, 1)),
        case("session over HTTP/1.1", TOGETHER, 2 * GROUP, session(address, TOGETHER)),
        case("JSON over HTTP/2", 1, 17 + GROUP, http2(address, 1)),
        case("JSON over HTTP/2", TOGETHER, 256 + 2 * GROUP, http2(address, TOGETHER)),
    ];
    let mut faults = Vec::new();
    for mut case in cases {
        let (median, all) = case.measure();
        let Case { name, appends, ceiling, .. } = case;
        println!("{name}, {appends} at a time: {median}, with the runtime's {all} on average");
        if median > ceiling {
            faults.push(format!("{name}, {appends} at a time: {median}, more than {ceiling}"));
        }
    }
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

impl Case {
    /// Allocations of a round without those of the runtime, as the median of several, and of all
    /// on average.
    fn measure(&mut self) -> (u64, u64) {
        let round = &mut self.round;
        (0..WARM_UP_ROUNDS).for_each(|_| round());
        let before = counter::count();
        (0..COUNTED_ROUNDS).for_each(|_| round());
        let all = (counter::count() - before) / COUNTED_ROUNDS;
        let traces: Vec<_> = (0..NOTED_ROUNDS).map(|_| counter::noted(&mut *round)).collect();
        let noted: Vec<Places> = traces.iter().map(|round| counter::places_of(round)).collect();
        let sum = |places: &Places| {
            let ours = places.iter().filter(|(place, _)| !counter::is_of_the_runtime(place));
            ours.map(|(_, count)| count).sum::<u64>()
        };
        let mut sums: Vec<u64> = noted.iter().map(sum).collect();
        sums.sort_unstable();
        if std::env::var_os("ALLOCATION_PLACES").is_some() {
            show(&noted);
        }
        (sums[NOTED_ROUNDS / 2], all)
    }
}

/// Shows how often was allocated where in all rounds together, the most frequent first.
fn show(rounds: &[Places]) {
    let mut places = Places::new();
    for (place, count) in rounds.iter().flatten() {
        *places.entry(place.clone()).or_default() += count;
    }
    let mut places: Vec<_> = places.into_iter().map(|(place, count)| (count, place)).collect();
    places.sort_by(|a, b| b.cmp(a));
    for (count, place) in places {
        println!("  {count} in {NOTED_ROUNDS} rounds: {place}");
    }
}
