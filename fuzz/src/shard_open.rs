//! A shard that starts on a directory: it refuses it or serves it. What is served is asked for:
//! every stream's tail, its records from several places, and one more append.

use std::rc::Rc;

use thalweg::api::query::{ReadQuery, ReadStart};
use thalweg::codec::BatchForm;
use thalweg::io::sim::{SimIo, SimRuntime};
use thalweg::log::group::Policy;
use thalweg::log::reader::ReadMemory;
use thalweg::shard::call::{Answer, Call, Page, StreamPath};
use thalweg::shard::checkpoint::CheckpointPace;
use thalweg::shard::engine::{Engine, EngineConfig};
use thalweg::shard::scrub::ScrubPolicy;
use thalweg::types::{AppendBuilder, AppendInput, BasinName, Refusal, Span, StreamName};

use crate::image::{LOG, make};

const CONFIG: EngineConfig = EngineConfig {
    log: LOG,
    policy: Policy { standard_wait_us_max: 0, standard_bytes_enough: 0 },
    inflight_bytes_max: 1 << 20,
    read_memory: ReadMemory { window_bytes_max: 1 << 20, cache_bytes_max: 1 << 20 },
    index_bytes_max: 1 << 30,
    checkpoint_bytes: 1 << 30,
    checkpoint_pace: CheckpointPace { streams: 256, pause_us: 1 },
    usage_flush_us: 10_000_000,
    scrub: ScrubPolicy { bytes_per_sec: 64 << 20, interval_us: 1_000_000 },
};

type Shard = Rc<Engine<SimIo>>;

/// Streams that are asked for.
const STREAMS_MAX: usize = 8;

/// The input is an image of a directory.
pub fn run(data: &[u8]) {
    let io = make(data);
    let runtime = SimRuntime::new(&io);
    runtime.block_on(async {
        let Ok(engine) = Engine::open(Rc::new(io.clone()), CONFIG).await else { return };
        let shard = Rc::new(engine);
        runtime.spawn(Rc::clone(&shard).run_writer());
        runtime.spawn(Rc::clone(&shard).run_segments());
        serve(&shard).await;
    });
}

async fn serve(shard: &Shard) {
    let page = || Page { prefix: String::new(), start_after: String::new(), limit: STREAMS_MAX };
    let Ok(Answer::Basins(basins)) = shard.handle(Call::ListBasins(page())).await else { return };
    for basin in basins {
        let basin = BasinName::new(&basin.name).expect("listed");
        let call = Call::ListStreams(basin.clone(), page());
        let Ok(Answer::Streams(streams)) = shard.handle(call).await else { continue };
        for stream in streams {
            let stream = StreamName::new(&stream.name).expect("listed");
            ask(shard, &StreamPath { basin: basin.clone(), stream }).await;
        }
    }
    let _health = shard.handle(Call::Health).await;
}

async fn ask(shard: &Shard, path: &StreamPath) {
    let _tail = shard.handle(Call::CheckTail(path.clone(), Default::default())).await;
    let starts = [
        ReadStart::SeqNum(0),
        ReadStart::SeqNum(5),
        ReadStart::Timestamp(1_600_000_000_000),
        ReadStart::TailOffset(2),
    ];
    for start in starts {
        let _read = read(shard, path, start).await;
    }
    let (to, input, asked) = (path.clone(), one(), Default::default());
    let call = Call::Append { path: to, input, asked, receipt: false, key: None };
    if let Ok(Answer::Ack(ack, ..)) = shard.handle(call).await {
        assert_eq!(ack.end.seq_num, ack.start.seq_num + 1);
        let start = ReadStart::SeqNum(ack.start.seq_num);
        match read(shard, path, start).await {
            Ok(Answer::Body(body, _)) => {
                let is_read = body.windows(5).any(|bytes| bytes == b"fresh");
                assert!(is_read, "{path:?}: {ack:?}, {}", body.escape_ascii());
            }
            // A frame before it, which the checkpoint let pass unread, may be damaged.
            Err(Refusal::Storage(_)) => {}
            other => panic!("appended and not read: {other:?}"),
        }
    }
}

async fn read(
    shard: &Shard,
    path: &StreamPath,
    start: ReadStart,
) -> thalweg::shard::call::CallResult {
    let query =
        ReadQuery { start, clamp: true, count: None, bytes: None, until: None, wait_secs: None };
    let (path, form) = (path.clone(), BatchForm::Proto);
    shard.handle(Call::Read { path, query, form, asked: Default::default(), key: None }).await
}

/// A batch of one record.
fn one() -> AppendInput {
    let mut builder = AppendBuilder::default();
    builder.push_record(b"fresh", None, Span { offset: 0, len: 5 }).expect("small");
    builder.finish(b"fresh".to_vec(), None, None).expect("one record")
}
