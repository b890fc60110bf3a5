//! Buffers for codecs that have to write, kept by each thread so that a send allocates nothing.

use std::cell::Cell;

/// A buffer that grew beyond this is given back rather than kept.
const LARGEST_KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<[Vec<u8>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// Calls `f` with two empty buffers. A codec that itself sends gets fresh ones.
#[inline]
pub(super) fn with_two<T>(f: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> T) -> T {
    let mut buffers = SCRATCH.take();
    let [first, second] = &mut buffers;
    let outcome = f(first, second);
    for buffer in &mut buffers {
        buffer.clear();
        buffer.shrink_to(LARGEST_KEPT_BYTES);
    }
    SCRATCH.set(buffers);
    outcome
}
