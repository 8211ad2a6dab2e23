//! How the allocator treats memory that is given back, and how much the rings take.

/// Largest block that comes from the allocator's own memory, in bytes: all that log frames and
/// bodies need.
const BLOCK_BYTES_MAX: i32 = 32 * 1024 * 1024;
/// Free memory that the allocator keeps, in bytes per thread.
const KEPT_BYTES: i32 = 64 * 1024 * 1024;

/// Memory that each executor's rings register with the kernel, in bytes. Three rings pin it, and
/// the default limit of locked memory is 8 MiB for all; what does not fit is not registered.
pub const RING_MEMORY_BYTES: usize = 512 * 1024;

/// Has the allocator keep freed memory for the next use, instead of giving each large block back
/// to the kernel, which fills a new one with zeros page by page: that took longer than copying
/// the records.
///
/// To be called before other threads start.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: sets two numbers of the C library's allocator; no other thread runs yet.
        let set = unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, BLOCK_BYTES_MAX)
                & libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES)
        };
        if set == 0 {
            tracing::warn!("the allocator refused its settings; large appends will be slower");
        }
    }
}
