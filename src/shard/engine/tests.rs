//! What a shard does by itself, on a simulated disk.

use futures_util::FutureExt;

use crate::io::Disk;
use crate::io::sim::SimIo;
use crate::shard::testkit::{create, create_basin, live_with, provision};

/// A server that shuts down writes a last checkpoint while the background may be at one.
#[test]
fn a_checkpoint_waits_for_the_one_under_way() {
    let io = SimIo::new(1);
    live_with(
        &io,
        |_, _| {},
        async |shard| {
            create_basin(&shard).await;
            provision(&shard, create("s")).await;
            let mut first = Box::pin(shard.checkpoint());
            assert!((&mut first).now_or_never().is_none(), "it is under way");
            let (first, last) = futures_util::future::join(first, shard.close()).await;
            first.expect("written");
            last.expect("written");
        },
    );
    let names = io.list().expect("lists").into_iter().map(|(name, _)| name);
    let (whole, other): (Vec<_>, Vec<_>) =
        names.filter(|name| name.starts_with("checkpoint-")).partition(|n| n.ends_with(".ckpt"));
    assert_eq!((whole.len(), other.len()), (1, 0), "both are of the same place in the log");
    live_with(
        &io.kill(2),
        |_, _| {},
        async |shard| {
            assert_eq!(shard.catalog.borrow().stream_count(), 1);
        },
    );
}
