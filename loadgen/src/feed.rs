//! What a writer writes next: its streams in turn, its appends numbered, encoded ahead of time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::context::{Context, Plan};
use crate::input::Next;
use crate::record::BatchId;
use crate::request::{Bodies, Encoded, Encoder};

/// Pause before asking a lagging input again.
const INPUT_PAUSE: Duration = Duration::from_millis(1);

/// The appends of one writer.
pub(crate) struct Feed {
    /// Number within the run, written into every record.
    writer: u32,
    streams: Vec<u32>,
    turn: usize,
    next_batch: u32,
    /// Holds the append prepared last.
    pub(crate) encoder: Encoder,
}

/// An append ready to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prepared {
    pub(crate) id: BatchId,
    pub(crate) stream: u32,
    pub(crate) encoded: Encoded,
    /// When the writer was last busy with something that is not the generator's own doing.
    pub(crate) free_ns: u64,
}

/// The streams of writer `writer` of `writers`: with fewer writers than streams each serves several
/// in turn, otherwise several share one.
pub(crate) fn streams_of(writer: u32, writers: u32, streams: u32) -> Vec<u32> {
    if writers < streams {
        (writer..streams).step_by(writers as usize).collect()
    } else {
        vec![writer % streams]
    }
}

impl Feed {
    /// The feed of writer `writer` of the run.
    pub(crate) fn new(plan: &Plan, writer: u32) -> Self {
        let encoder = Encoder::new(Arc::clone(&plan.layout), plan.args.is_tracked());
        let streams = streams_of(writer, plan.args.writers(), plan.args.streams);
        Self { writer, streams, turn: 0, next_batch: 0, encoder }
    }

    /// Encodes the next append; `None` when the input has ended for all streams served here.
    pub(crate) async fn prepare(&mut self, context: &Context) -> Result<Option<Prepared>> {
        let plan = &*context.plan;
        let args = &plan.args;
        loop {
            let free_ns = context.clock.now_ns();
            let Some(&stream) = self.streams.get(self.turn) else { return Ok(None) };
            let lines;
            let bodies = match &plan.input {
                None => Bodies::Generated {
                    pool: &plan.pool,
                    count: args.records_per_batch,
                    len: args.record_bytes,
                    is_stamped: plan.board.is_some(),
                },
                Some(input) => match input.next(stream, args.records_per_batch)? {
                    Next::Lines(taken) => {
                        lines = taken;
                        Bodies::Given { bodies: &lines, identity_header: args.is_tracked() }
                    }
                    Next::Later if context.is_over() => return Ok(None),
                    Next::Later => {
                        sleep(INPUT_PAUSE).await;
                        continue;
                    }
                    Next::End => {
                        self.streams.remove(self.turn);
                        self.turn = self.turn.min(self.streams.len().saturating_sub(1));
                        continue;
                    }
                },
            };
            let id = BatchId { run: plan.run, writer: self.writer, batch: self.next_batch };
            self.next_batch += 1;
            self.turn = (self.turn + 1) % self.streams.len();
            let encoded = self.encoder.encode(id, stream, &bodies);
            return Ok(Some(Prepared { id, stream, encoded, free_ns }));
        }
    }
}
