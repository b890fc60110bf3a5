//! An allocator with a limit: a length that is believed before it is checked asks for more than any input
//! holds, and ends the program.

use std::alloc::{GlobalAlloc, Layout, System};

/// The most that one allocation may take. Inputs are far smaller; the largest piece of memory that the
/// library itself takes is 1 MiB.
const MOST_BYTES: usize = 16 << 20;

/// The system's allocator, which has nothing left for those who ask for too much.
struct Limited;

// SAFETY: every call within the limit goes to `System` as it came; a null pointer says that there is no room.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST_BYTES {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST_BYTES {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > MOST_BYTES {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps to the contract of `realloc`, which is the same.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;
