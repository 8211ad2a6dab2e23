//! What all threads allocate but those that ask not to be counted, and where.

#![expect(clippy::disallowed_types, reason = "threads of a test share what it found")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
/// Whether places are noted, which takes long.
static NOTING: AtomicBool = AtomicBool::new(false);
static TRACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());
/// Calls of our own code that a place is told by, innermost first.
const CALLS_SHOWN: usize = 4;

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(true) };
}

/// Leaves this thread out.
pub(crate) fn leave_out_this_thread() {
    IS_COUNTED.set(false);
}

/// How often the threads that count have allocated so far.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::SeqCst)
}

/// Where was allocated, and how often.
pub(crate) type Places = BTreeMap<String, u64>;

/// Does `work` and notes what is allocated meanwhile. What it found is read later: that takes long,
/// and a server that is left alone for long does other things.
pub(crate) fn noted(work: impl FnOnce()) -> Vec<Backtrace> {
    NOTING.store(true, Ordering::SeqCst);
    work();
    NOTING.store(false, Ordering::SeqCst);
    std::mem::take(&mut *TRACES.lock().expect("nobody panics with it"))
}

/// Where that was.
pub(crate) fn places_of(traces: &[Backtrace]) -> Places {
    let mut places = Places::new();
    for trace in traces {
        *places.entry(place_of(&trace.to_string())).or_default() += 1;
    }
    places
}

/// Whether the place is within the runtime: its timers, its sources, its tables. How often they
/// allocate depends on how often the core sleeps.
pub(crate) fn is_of_the_runtime(place: &str) -> bool {
    let place = place.trim_start_matches('<');
    place.starts_with("glommio::") || place.starts_with("smallvec::")
}

/// The innermost calls that are not of the allocator, the standard library or this module.
fn place_of(trace: &str) -> String {
    let lines = trace.lines().map(str::trim);
    let calls = lines.filter(|line| line.split_once(": ").is_some_and(|(n, _)| is_number(n)));
    let names = calls.filter_map(|line| line.split_once(": ").map(|(_, name)| name));
    let ours = names.filter(|name| {
        let name = name.trim_start_matches('<');
        let others = ["std::", "core::", "alloc::", "__r", "allocations::", "T as "];
        !others.iter().any(|prefix| name.starts_with(prefix))
    });
    ours.take(CALLS_SHOWN).collect::<Vec<_>>().join(" < ")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn note() {
    if !IS_COUNTED.get() {
        return;
    }
    COUNT.fetch_add(1, Ordering::SeqCst);
    if NOTING.load(Ordering::Relaxed) {
        // Noting allocates, too.
        IS_COUNTED.set(false);
        TRACES.lock().expect("nobody panics with it").push(Backtrace::force_capture());
        IS_COUNTED.set(true);
    }
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call is passed on to `System` unchanged. Counting allocates only while it is
// switched off for this thread, and does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, thus from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
