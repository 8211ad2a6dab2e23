//! What a thread allocates, counted; a test binary that has this module allocates through it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What this thread has allocated so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocations {
    /// How often it has.
    pub(crate) count: u64,
    /// Bytes asked for, less those that it has freed; the allocator adds its own to each.
    pub(crate) held_bytes: i64,
}

thread_local! {
    static ALLOCATIONS: Cell<Allocations> =
        const { Cell::new(Allocations { count: 0, held_bytes: 0 }) };
}

pub(crate) fn allocations() -> Allocations {
    ALLOCATIONS.get()
}

fn count(more: u64, layout: Layout, sign: i64) {
    let Allocations { count, held_bytes } = ALLOCATIONS.get();
    let bytes = i64::try_from(layout.size()).expect("a layout is at most that large");
    ALLOCATIONS.set(Allocations { count: count + more, held_bytes: held_bytes + sign * bytes });
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: every call is passed on to `System` unchanged; counting neither allocates (the thread
// local is constant and has no destructor) nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout, 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, layout, -1);
        // SAFETY: `ptr` came from `alloc` above, thus from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
