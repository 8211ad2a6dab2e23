//! A TCP proxy that cuts connections in the middle of what they carry.
//!
//! ```text
//! fault-proxy --listen 127.0.0.1:0 --to ADDR --seed S --cut-after-bytes A..B --cuts N
//! ```
//!
//! Odd cuts count the bytes from client to server, even cuts those from server to client, on each
//! connection since the cut before. The connection that first carries the drawn number of bytes in
//! that direction delivers exactly that many and is then closed in both directions, with a reset or
//! in order, as the seed has it: almost always in the middle of a frame. After `N` cuts the proxy
//! only forwards.
//!
//! The first line on standard output is `listening on ADDR`, each cut adds a line `cut K of N:
//! ...`. The seed decides amounts and manner of the cuts; what is in flight at that moment is up to
//! the machine. The proxy ends when its standard input ends, at the latest after ten minutes.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const USAGE: &str = "usage: fault-proxy --listen ADDR --to ADDR --seed S \
                     --cut-after-bytes A..B --cuts N";
const LIFETIME_MAX: Duration = Duration::from_secs(600);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Smaller than a frame of the sessions, so that a cut falls between two writes of one frame.
const BUFFER_BYTES: usize = 4096;

/// What the command line says.
struct Options {
    listen: String,
    to: String,
    seed: u64,
    cut_after_bytes: Range<u64>,
    cuts: u32,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            listen: "127.0.0.1:0".into(),
            to: String::new(),
            seed: 0,
            cut_after_bytes: 0..0,
            cuts: 0,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let bad = || format!("{name}: cannot use \"{value}\"");
            match name.as_str() {
                "--listen" => options.listen = value,
                "--to" => options.to = value,
                "--seed" => options.seed = value.parse().map_err(|_| bad())?,
                "--cuts" => options.cuts = value.parse().map_err(|_| bad())?,
                "--cut-after-bytes" => {
                    let (from, until) = value.split_once("..").ok_or_else(bad)?;
                    let parse = |text: &str| text.parse::<u64>().map_err(|_| bad());
                    options.cut_after_bytes = parse(from)?..parse(until)?;
                }
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if options.to.is_empty() || (options.cuts > 0 && options.cut_after_bytes.is_empty()) {
            return Err("--to and a range for --cut-after-bytes are needed".into());
        }
        Ok(options)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// The next cut: where it falls and how it is made.
#[derive(Clone, Copy)]
struct Cut {
    number: u32,
    way: Way,
    after_bytes: u64,
    reset: bool,
}

/// The cuts still to come; shared by all connections, so that each happens once.
struct Plan {
    cuts: u32,
    range: Range<u64>,
    random: Cell<u64>,
    next: RefCell<Option<Cut>>,
}

impl Plan {
    fn new(options: &Options) -> Self {
        let plan = Self {
            cuts: options.cuts,
            range: options.cut_after_bytes.clone(),
            random: Cell::new(options.seed),
            next: RefCell::new(None),
        };
        plan.draw(1);
        plan
    }

    fn draw(&self, number: u32) {
        let cut = (number <= self.cuts).then(|| Cut {
            number,
            way: if number % 2 == 1 { Way::ToServer } else { Way::ToClient },
            after_bytes: self.range.start
                + self.random() % (self.range.end - self.range.start).max(1),
            reset: self.random() % 2 == 1,
        });
        *self.next.borrow_mut() = cut;
    }

    /// SplitMix64.
    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// How many of the `len_bytes` just received may pass; the cut, if it falls among them.
    fn allow(&self, way: Way, passed: &mut Passed, len_bytes: usize) -> (usize, Option<Cut>) {
        let next = *self.next.borrow();
        let Some(cut) = next.filter(|cut| cut.way == way) else { return (len_bytes, None) };
        if passed.cut != cut.number {
            *passed = Passed { cut: cut.number, bytes: 0 };
        }
        let rest = cut.after_bytes.saturating_sub(passed.bytes);
        let allowed = len_bytes.min(usize::try_from(rest).unwrap_or(usize::MAX));
        passed.bytes += allowed as u64;
        if passed.bytes < cut.after_bytes {
            return (allowed, None);
        }
        let way = match way {
            Way::ToServer => "client to server",
            Way::ToClient => "server to client",
        };
        let manner = if cut.reset { "reset" } else { "closed" };
        println!(
            "cut {} of {}: {way} after {} bytes, {manner}",
            cut.number, self.cuts, passed.bytes
        );
        self.draw(cut.number + 1);
        (allowed, Some(cut))
    }
}

/// What one direction of one connection has carried since a cut became the next one.
#[derive(Default)]
struct Passed {
    cut: u32,
    bytes: u64,
}

/// Forwards one direction until its end or a cut.
async fn forward(
    plan: &Plan,
    way: Way,
    source: &mut OwnedReadHalf,
    target: &mut OwnedWriteHalf,
) -> Option<Cut> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut passed = Passed::default();
    loop {
        let len_bytes = match source.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(len_bytes) => len_bytes,
        };
        let (allowed, cut) = plan.allow(way, &mut passed, len_bytes);
        if target.write_all(&buffer[..allowed]).await.is_err() {
            break;
        }
        if cut.is_some() {
            return cut;
        }
    }
    // The other direction may still have something to say.
    let _ = target.shutdown().await;
    None
}

async fn serve(plan: &Plan, client: TcpStream, to: &str) {
    let server = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await;
    let Ok(Ok(server)) = server else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let cut = {
        let up = forward(plan, Way::ToServer, &mut client_read, &mut server_write);
        let down = forward(plan, Way::ToClient, &mut server_read, &mut client_write);
        tokio::pin!(up, down);
        let (mut up_open, mut down_open) = (true, true);
        loop {
            let cut = tokio::select! {
                cut = &mut up, if up_open => { up_open = false; cut }
                cut = &mut down, if down_open => { down_open = false; cut }
                else => break None,
            };
            if cut.is_some() {
                break cut;
            }
        }
    };
    let client = client_read.reunite(client_write).expect("both halves are of one socket");
    let server = server_read.reunite(server_write).expect("both halves are of one socket");
    if cut.is_some_and(|cut| cut.reset) {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

async fn run(options: Options) -> std::io::Result<()> {
    let listener = TcpListener::bind(&options.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let plan = Rc::new(Plan::new(&options));
    let to: Rc<str> = options.to.into();
    loop {
        let (client, _) = listener.accept().await?;
        let (plan, to) = (plan.clone(), to.clone());
        tokio::task::spawn_local(async move { serve(&plan, client, &to).await });
    }
}

/// Ends with standard input. A thread of its own, because a blocked read cannot be cancelled.
fn end_with_standard_input() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

fn main() {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("{error}\n{USAGE}");
        std::process::exit(2);
    });
    end_with_standard_input();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built at the start");
    let served = LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(LIFETIME_MAX, run(options)).await });
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            eprintln!("fault-proxy: {error}");
            std::process::exit(1);
        }
        Err(_) => {
            eprintln!("fault-proxy: ended after {} s", LIFETIME_MAX.as_secs());
            std::process::exit(1);
        }
    }
}
