//! One operation on one shard of a server that does not run.

use std::path::PathBuf;
use std::rc::Rc;

use futures_util::future;
use glommio::{LocalExecutorBuilder, Placement};

use super::call::{Call, CallResult};
use super::engine::{Engine, EngineConfig};
use crate::io::glommio::GlommioIo;
use crate::types::refusal::chain;

/// Opens the shard in the directory at `path`, has it do `call`, and closes it again.
///
/// * Durable: what the answer says, when this returns.
/// * Errors: why the shard cannot be opened or closed, in words for an operator.
/// * Call it on a thread that runs no executor, with the data directory locked.
pub fn call(path: PathBuf, config: EngineConfig, call: Call) -> Result<CallResult, String> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(|e| {
        format!("an executor could not be started (is io_uring allowed here?): {e}")
    })?;
    executor.run(async move {
        let io = Rc::new(GlommioIo::new(&path));
        let engine = Rc::new(Engine::open(io, config).await.map_err(|e| chain(&e))?);
        let writing = glommio::spawn_local(Rc::clone(&engine).run_writer());
        let keeping = glommio::spawn_local(Rc::clone(&engine).run_segments());
        let answered = engine.handle(call).await;
        let closed = engine.close().await.map_err(|e| chain(&e));
        future::join(writing.cancel(), keeping.cancel()).await;
        closed.map(|()| answered)
    })
}
