//! A small executor for futures that stay on one thread: who runs next is drawn from the seed,
//! and time moves only when nobody can run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{SimIo, Stream, World};
use crate::io::Tasks;

/// The number of the future given to [`SimRuntime::block_on`] among the tasks.
const ROOT: u64 = 0;

/// Says whether a task can run. Atomic only because wakers must be sendable.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    woken: Arc<Woken>,
    /// `None` while it is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// Runs tasks over the clock of one [`SimIo`]. Dropped, it drops its tasks where they stand:
/// that is how a simulated process dies.
pub struct SimRuntime {
    world: Rc<World>,
    choice: RefCell<Stream>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    tasks_made: Cell<u64>,
}

impl SimRuntime {
    /// An executor without tasks.
    #[must_use]
    pub fn new(io: &SimIo) -> Self {
        Self {
            world: Rc::clone(&io.world),
            choice: RefCell::new(Stream::new(io.world.seed, "schedule")),
            tasks: RefCell::default(),
            tasks_made: ROOT.into(),
        }
    }

    /// Starts a task; it runs while [`block_on`](Self::block_on) does.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> SimTask<T> {
        let (task, future) = SimTask::of(future);
        self.add(future);
        task
    }

    fn add(&self, future: Pin<Box<dyn Future<Output = ()>>>) {
        let number = self.tasks_made.get() + 1;
        self.tasks_made.set(number);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.borrow_mut().insert(number, Task { woken, future: Some(future) });
    }

    /// Runs `future` to its end, and every task beside it meanwhile.
    ///
    /// # Panics
    ///
    /// When nobody can run and no timer is left: the system under test is stuck.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.run(future).unwrap_or_else(|| panic!("stuck: nobody can run and no timer is left"))
    }

    /// As [`block_on`](Self::block_on), but `None` when nobody can run and no timer is left.
    pub fn run<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut root = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            self.world.spawned.0.take().into_iter().for_each(|future| self.add(future));
            let Some(number) = self.next(&woken) else {
                if self.world.advance() {
                    continue;
                }
                return None;
            };
            self.world.note("run", "", number);
            if number != ROOT {
                self.poll_task(number);
                continue;
            }
            woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = root.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
        }
    }

    /// Chooses among those who can run.
    fn next(&self, root: &Woken) -> Option<u64> {
        let tasks = self.tasks.borrow();
        let can_run = |woken: &Woken| woken.0.load(Ordering::Relaxed);
        let mut ready: Vec<u64> = Vec::new();
        ready.extend(can_run(root).then_some(ROOT));
        ready.extend(tasks.iter().filter(|(_, t)| can_run(&t.woken)).map(|(number, _)| *number));
        if ready.is_empty() {
            return None;
        }
        let chosen = self.choice.borrow_mut().index(ready.len());
        Some(ready[chosen])
    }

    fn poll_task(&self, number: u64) {
        let mut tasks = self.tasks.borrow_mut();
        let task = tasks.get_mut(&number).expect("chosen from this map");
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        let mut future = task.future.take().expect("nobody polls it already");
        drop(tasks); // it may start others
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.tasks.borrow_mut();
        if done {
            tasks.remove(&number);
        } else if let Some(task) = tasks.get_mut(&number) {
            task.future = Some(future);
        }
    }
}

impl Drop for SimRuntime {
    fn drop(&mut self) {
        // What is dropped may start tasks to say goodbye; nobody hears them.
        drop(self.tasks.take());
        while !self.world.spawned.0.borrow().is_empty() {
            drop(self.world.spawned.0.take());
        }
    }
}

/// Tasks that were started by those who know no executor.
#[derive(Default)]
pub(super) struct Spawned(RefCell<Vec<Pin<Box<dyn Future<Output = ()>>>>>);

impl fmt::Debug for Spawned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spawned").field(&self.0.borrow().len()).finish()
    }
}

impl SimIo {
    /// As [`SimRuntime::spawn`], for the executor that runs over this clock.
    fn start<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> SimTask<T> {
        let (task, future) = SimTask::of(future);
        self.world.spawned.0.borrow_mut().push(future);
        task
    }
}

impl Tasks for SimIo {
    type Queue = ();

    fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static, (): ()) {
        drop(self.start(task));
    }

    async fn run_to_end<T: 'static>(
        &self,
        task: impl Future<Output = T> + 'static,
        (): (),
    ) -> Option<T> {
        Some(self.start(task).await)
    }

    /// Here and now: another thread would be beyond the seed.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }
}

#[derive(Debug)]
struct Shared<T> {
    output: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { output: RefCell::new(None), waker: RefCell::new(None) }
    }
}

/// A task's output, to be awaited once. Dropped, the task goes on.
#[derive(Debug)]
pub struct SimTask<T> {
    shared: Rc<Shared<T>>,
}

impl<T: 'static> SimTask<T> {
    fn of(future: impl Future<Output = T> + 'static) -> (Self, Pin<Box<dyn Future<Output = ()>>>) {
        let shared = Rc::new(Shared::default());
        let task = Self { shared: Rc::clone(&shared) };
        let future = async move {
            let output = future.await;
            *shared.output.borrow_mut() = Some(output);
            if let Some(waker) = shared.waker.take() {
                waker.wake();
            }
        };
        (task, Box::pin(future))
    }
}

impl<T> Future for SimTask<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(output) = self.shared.output.borrow_mut().take() {
            return Poll::Ready(output);
        }
        *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
