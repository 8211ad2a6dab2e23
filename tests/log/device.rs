//! The two devices that the suite runs on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use thalweg::io::Io;
use thalweg::io::glommio::GlommioIo;
use thalweg::io::sim::{SimIo, SimRuntime};

/// A directory that outlives the processes that use it.
pub(crate) trait Device {
    type Io: Io;

    /// Runs one process's life on it.
    fn run<T>(&self, life: impl AsyncFnOnce(Rc<Self::Io>) -> T) -> T;

    /// All files, by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>>;

    /// Makes or replaces a file.
    fn put(&self, name: &str, bytes: &[u8]);

    /// Removes a file.
    fn remove(&self, name: &str);
}

/// The simulated device; each process dies and leaves what it wrote.
pub(crate) struct Simulated {
    io: RefCell<SimIo>,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        Self { io: RefCell::new(SimIo::new(1)) }
    }
}

impl Device for Simulated {
    type Io = SimIo;

    fn run<T>(&self, life: impl AsyncFnOnce(Rc<SimIo>) -> T) -> T {
        let io = self.io.borrow().kill(1);
        *self.io.borrow_mut() = io.clone();
        SimRuntime::new(&io).block_on(life(Rc::new(io.clone())))
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        use thalweg::io::Disk;
        let io = self.io.borrow();
        let names = io.list().unwrap().into_iter();
        names.map(|(name, _)| (name.clone(), io.contents(&name).unwrap())).collect()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.io.borrow().put_contents(name, bytes.to_vec());
    }

    fn remove(&self, name: &str) {
        use thalweg::io::Disk;
        self.io.borrow().remove(name).unwrap();
    }
}

/// The real device: a directory of its own below cargo's for test files.
pub(crate) struct Real {
    root: PathBuf,
}

impl Real {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("log-{}-{number}", std::process::id());
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&root).unwrap();
        Self { root }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // A failed test leaves its files behind for whoever looks into it.
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.root).unwrap();
        }
    }
}

impl Device for Real {
    type Io = GlommioIo;

    fn run<T>(&self, life: impl AsyncFnOnce(Rc<GlommioIo>) -> T) -> T {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).make();
        let executor = executor.unwrap();
        executor.run(async {
            let output = life(Rc::new(GlommioIo::new(&self.root))).await;
            // Writes under way go on when their futures are dropped. The end of a process waits
            // for them; the end of an executor does not.
            glommio::timer::sleep(Duration::from_millis(20)).await;
            output
        })
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(&self.root).unwrap().map(Result::unwrap);
        let bytes = |path: PathBuf| std::fs::read(path).unwrap();
        entries.map(|e| (e.file_name().into_string().unwrap(), bytes(e.path()))).collect()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.root.join(name), bytes).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.root.join(name)).unwrap();
    }
}

/// Makes a test on each device of every function named.
macro_rules! on_both_devices {
    ($($name:ident),* $(,)?) => {
        mod simulated {
            $(#[test] fn $name() { super::$name(&crate::device::Simulated::new()); })*
        }
        mod real {
            $(#[test] fn $name() { super::$name(&crate::device::Real::new()); })*
        }
    };
}
pub(crate) use on_both_devices;
