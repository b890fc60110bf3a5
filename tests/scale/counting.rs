//! What the process uses: bytes, counted by its allocator, and open files. For the test of what a partition costs
//! and the benchmark beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

static IN_USE: AtomicI64 = AtomicI64::new(0);

fn count(allocated: usize, freed: usize) {
    IN_USE.fetch_add(allocated as i64 - freed as i64, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` as it came; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: the caller keeps to the contract of `realloc`, which is the same.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is in use at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) bytes: i64,
    /// 0 where it cannot be known.
    pub(crate) files: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self { bytes: IN_USE.load(Ordering::Relaxed), files }
    }

    /// What so many partitions have added to it: bytes for each, and files together.
    pub(crate) fn since(before: Self, partitions: u32) -> (i64, usize) {
        let now = Self::now();
        ((now.bytes - before.bytes) / i64::from(partitions), now.files.saturating_sub(before.files))
    }
}
