//! Lives of the server's process: what runs, who comes, and how it ends.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures_util::future::{self, Either};

use super::line::{Line, Pace, request};
use super::visit::{Manner, Scene, Visit};
use super::{Run, STREAMS, one_in, words};
use crate::io::Clock;
use crate::io::sim::{Faults, SILENCE_US, SimIo, SimRuntime, Stream as Dice, Wire};
use crate::shard::connection::{ConnectionSettings, serve};
use crate::shard::core::Core;
use crate::shard::drain::Stage;
use crate::shard::engine::EngineConfig;
use crate::shard::model::life::open;
use crate::shard::testkit::{
    CONFIG, Shard, assert_whole, connection_settings, create, create_basin, provision,
};

/// How often the server looks for those whose time is up, in microseconds.
const SWEEP_US: u64 = 50_000;
/// How long a connection may have no request, in microseconds.
const IDLE_US: u64 = 5_000_000;
/// How long the server waits for a client, in microseconds.
const PEER_US: u64 = 3_000_000;
/// How long until the last connection of clients that are gone is freed, in microseconds: until the
/// silence is noticed, and then what a connection may take to end.
const FREED_US_MAX: u64 = SILENCE_US + 2 * (IDLE_US + PEER_US) + 10_000_000;
/// Longest that clients take for what they came for, in microseconds.
const VISITS_US_MAX: u64 = 400_000_000;
/// How long a server that drains may take, in microseconds.
const DRAIN_US_MAX: u64 = 10_000_000;

pub(super) type Server = Rc<Core<SimIo>>;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Clients finish, their connections are freed; then it is shut down.
    Calm,
    /// It is shut down with clients in the middle of everything.
    Drained,
    /// It dies, the process or the power, at some moment.
    Dead,
    /// Its disk fails at some moment: it takes nothing more, and its clients finish.
    Failed,
}

fn settings() -> ConnectionSettings {
    ConnectionSettings { idle_us: IDLE_US, peer_us: PEER_US, ..connection_settings() }
}

fn config(dice: &mut Dice) -> EngineConfig {
    let mut config = CONFIG;
    config.log.segment_bytes = 256 * 1024;
    config.policy.standard_wait_us_max = dice.below(3) * 1_000;
    config.policy.standard_bytes_enough = 16 * 1024;
    config.checkpoint_bytes = if dice.coin() { 1 << 30 } else { 100_000 };
    config
}

/// Starts the core of a server with one shard.
pub(super) async fn start(runtime: &SimRuntime, io: &SimIo, dice: &mut Dice) -> (Server, Shard) {
    let shard = open(runtime, io, config(dice)).await;
    let engines = BTreeMap::from([(0, Rc::clone(&shard))]);
    let load = (0, Arc::from([AtomicUsize::new(0)]));
    let core = Rc::new(Core::new(1, engines, vec![None], ((), ()), settings(), load));
    core.share_all_basins().await.expect("the one shard is here");
    let server = Rc::clone(&core);
    runtime.spawn(async move {
        loop {
            server.tick();
            server.sweep();
            server.clock().sleep_us(SWEEP_US).await;
        }
    });
    (core, shard)
}

/// Connects a client.
pub(super) fn connect(
    runtime: &SimRuntime,
    io: &SimIo,
    core: &Server,
    dice: &mut Dice,
    pace: Pace,
) -> Line {
    let wire = Wire {
        room_bytes: [1_000, 8_000, 64_000][dice.index(3)],
        piece_bytes_max: [50, 1_500, 16_000][dice.index(3)],
        delay_us_max: [0, 200, 2_000][dice.index(3)],
    };
    connect_by(runtime, io, core, wire, pace)
}

/// The same over a connection that is like that.
pub(super) fn connect_by(
    runtime: &SimRuntime,
    io: &SimIo,
    core: &Server,
    wire: Wire,
    pace: Pace,
) -> Line {
    let (client, server) = io.connect(wire);
    core.metrics.connection_accepted();
    runtime.spawn(serve(Rc::clone(core), server));
    Line::new(io, client, pace)
}

impl Run {
    /// The first life: a basin and its streams.
    pub(super) fn begin(&mut self) {
        let runtime = SimRuntime::new(&self.io);
        runtime.block_on(async {
            let shard = open(&runtime, &self.io, config(&mut self.dice)).await;
            create_basin(&shard).await;
            for stream in STREAMS {
                provision(&shard, create(stream)).await;
            }
        });
        drop(runtime);
        self.pass_on(true);
    }

    /// One life: a look at everything, clients, an end.
    pub(super) fn live(&mut self) {
        let io = self.io.clone();
        let runtime = SimRuntime::new(&io);
        let end = match self.dice.below(9) {
            0..3 => End::Calm,
            3 => End::Drained,
            4 => End::Failed,
            _ => End::Dead,
        };
        self.tell(&format!("a life that ends {end:?}"));
        runtime.block_on(async {
            let (core, shard) = start(&runtime, &io, &mut self.dice).await;
            self.check_all(&runtime, &core).await;
            let scene = Rc::new(Scene::default());
            let visits = 3 + self.dice.below(8);
            let here = Rc::new(Cell::new(visits));
            for _ in 0..visits {
                self.invite(&runtime, &core, &scene, &here);
            }
            match end {
                End::Calm => {
                    until(&io, VISITS_US_MAX, "clients do not finish", || here.get() == 0).await;
                    self.check_freed(&io, &core).await;
                    self.check_all(&runtime, &core).await;
                    shard.close().await.expect("the disk is whole");
                }
                End::Drained => {
                    let us = self.dice.below(600_000);
                    io.sleep_us(us).await;
                    scene.is_ending.set(true);
                    drain(&io, &core).await;
                    shard.close().await.expect("the disk is whole");
                }
                End::Dead => {
                    let us = self.dice.below(600_000);
                    io.sleep_us(us).await;
                }
                End::Failed => {
                    let us = self.dice.below(300_000);
                    io.sleep_us(us).await;
                    scene.is_failing.set(true);
                    io.set_faults(Faults { fail_sync: Some(1), ..Faults::default() });
                    until(&io, VISITS_US_MAX, "clients do not finish", || here.get() == 0).await;
                    self.check_freed(&io, &core).await;
                }
            }
        });
        drop(runtime);
        let killed = matches!(end, End::Dead | End::Failed) && self.dice.coin();
        let mut ledger = self.ledger.borrow_mut();
        match end {
            End::Failed => ledger.reached.disks_failed += 1,
            End::Dead if killed => ledger.reached.lives_killed += 1,
            End::Dead => ledger.reached.power_cuts += 1,
            End::Calm | End::Drained => ledger.reached.lives_closed += 1,
        }
        drop(ledger);
        self.pass_on(!killed);
    }

    /// The last life: everything is there, and the directory is whole.
    pub(super) fn read_back(&mut self) {
        let io = self.io.clone();
        let runtime = SimRuntime::new(&io);
        runtime.block_on(async {
            let (core, shard) = start(&runtime, &io, &mut self.dice).await;
            self.check_all(&runtime, &core).await;
            shard.close().await.expect("the disk is whole");
        });
        drop(runtime);
        let mut log = CONFIG.log;
        log.segment_bytes = 256 * 1024;
        assert_whole(&self.io, log);
    }

    fn pass_on(&mut self, power: bool) {
        self.events += self.io.trace().len();
        let seed = self.dice.next_u64();
        self.io = if power { self.io.crash(seed) } else { self.io.kill(seed) };
    }

    fn tell(&self, what: &str) {
        let line = format!("{} us: {what}", self.io.now_us());
        self.ledger.borrow_mut().lines.push(line);
    }

    /// Has a client come, now or soon.
    fn invite(
        &mut self,
        runtime: &SimRuntime,
        core: &Server,
        scene: &Rc<Scene>,
        here: &Rc<Cell<u64>>,
    ) {
        let number = self.ledger.borrow_mut().visit();
        let mut dice = Dice::new(self.dice.next_u64(), "visit");
        let manner = Manner::draw(&mut dice);
        let pace = match manner {
            Manner::Slow => Pace { bytes_max: 40 + dice.index(400), pause_us: dice.below(400) },
            _ => Pace { bytes_max: 1 + dice.index(16_000), pause_us: 0 },
        };
        let line = connect(runtime, &self.io, core, &mut dice, pace);
        let kind = dice.below(3);
        if kind != 2 {
            scene.writers.set(scene.writers.get() + 1);
        }
        let mut visit = Visit {
            io: self.io.clone(),
            ledger: Rc::clone(&self.ledger),
            scene: Rc::clone(scene),
            stream: dice.index(STREAMS.len()),
            dice,
            line,
            number,
            manner,
            own_end: 0,
        };
        let here = Rc::clone(here);
        runtime.spawn(async move {
            if one_in(&mut visit.dice, 2) {
                visit.pause().await;
            }
            match kind {
                0 => visit.unary().await,
                1 => visit.append_session().await,
                _ => visit.read_session().await,
            }
            if kind != 2 {
                visit.scene.writers.set(visit.scene.writers.get() - 1);
            }
            here.set(here.get() - 1);
        });
    }

    /// When all clients are gone, so is what they made the server hold.
    async fn check_freed(&self, io: &SimIo, core: &Server) {
        let freed = || core.lifelines.count() == 0;
        until(io, FREED_US_MAX, "connections are not freed", freed).await;
        assert_nothing_held(core);
        self.ledger.borrow_mut().reached.connections_freed += 1;
    }

    /// Reads every stream whole, by requests, and holds it to the ledger.
    async fn check_all(&mut self, runtime: &SimRuntime, core: &Server) {
        let io = self.io.clone();
        let pace = Pace { bytes_max: 16_000, pause_us: 0 };
        let line = connect(runtime, &io, core, &mut self.dice, pace);
        for (stream, name) in STREAMS.into_iter().enumerate() {
            let mut contents = Vec::new();
            loop {
                let from = contents.len();
                let target = format!("/v1/streams/{name}/records?seq_num={from}&clamp=true");
                let asked = request("GET", &target, "accept: application/protobuf\r\n", b"");
                line.send(&asked).await.unwrap_or_else(|gone| panic!("{gone:?}"));
                let head = line.head().await.unwrap_or_else(|gone| panic!("{gone:?}"));
                let body = line.body(&head).await.unwrap_or_else(|gone| panic!("{gone:?}"));
                if head.status == 416 {
                    break;
                }
                assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(&body));
                contents.extend(words::records_proto(&body).records);
            }
            self.ledger.borrow_mut().check(stream, &contents);
        }
        line.close();
        until(&io, FREED_US_MAX, "a connection is not freed", || core.lifelines.count() == 0).await;
    }
}

/// Without clients, the server counts nothing for them.
pub(super) fn assert_nothing_held(core: &Server) {
    for held in [&core.held, &core.answers, &core.windows] {
        assert_eq!(held.bytes(), 0, "memory is still counted for clients that are gone");
    }
    assert!(core.served_sessions.borrow().is_empty());
}

/// Waits, looking now and then.
async fn until(io: &SimIo, us_max: u64, otherwise: &str, reached: impl Fn() -> bool) {
    let late = pin!(io.sleep_us(us_max));
    let looks = pin!(async {
        while !reached() {
            io.sleep_us(SWEEP_US).await;
        }
    });
    if let Either::Right(_) = future::select(looks, late).await {
        panic!("{otherwise}");
    }
}

/// Shuts down as the server does.
async fn drain(io: &SimIo, core: &Server) {
    core.enter(Stage::Draining);
    io.sleep_us(SWEEP_US / 10).await;
    let begin_us = io.now_us();
    while core.lifelines.count() > 0 && io.now_us() < begin_us + DRAIN_US_MAX {
        if core.drain.stage() == Stage::Draining && io.now_us() > begin_us + DRAIN_US_MAX / 2 {
            core.enter(Stage::Ending);
        }
        core.lifelines.drain();
        io.sleep_us(SWEEP_US / 5).await;
    }
    core.lifelines.abort();
    until(io, SWEEP_US, "connections outlive the server", || core.lifelines.count() == 0).await;
}
