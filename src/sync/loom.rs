//! What stands in for [`native`](super) under `--cfg loom`: loom tries every order in which the threads of a
//! model can meet in these types. Locks and events are in [`stand_in`](super).
//!
//! The standard library's `Arc` and `Weak` stay: loom's cannot be made cyclic or hold a trait object. loom
//! takes their counting for nothing that orders anything, so a model fails where memory is only safe
//! because of it; where it is relied on, there is [`TrackedArc`]. Time does not pass here: a wait with a
//! deadline is a plain wait, and a model in which nobody comes to wake it fails. Channels are what they are
//! natively: no model sends through one to a thread that waits for it.

use std::ops::Range;

pub(crate) use ::loom::sync::Arc as TrackedArc;
pub(crate) use ::loom::sync::MutexGuard;
pub(crate) use ::loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
};
pub(crate) use crossbeam_channel as channel;

/// For what no model looks at: what depends on the time of day, and what is made in a constant.
pub(crate) use std::sync::atomic::{AtomicI64 as UnmodelledI64, AtomicU64 as UnmodelledU64};
pub(crate) use std::time::Instant;

use super::{EventListener, Listener};

/// What [`stand_in`](super) is made of.
pub(super) mod primitive {
    pub(crate) use ::loom::sync::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
}

/// Threads of a model.
pub(crate) mod thread {
    #[cfg(test)]
    pub(crate) use ::loom::thread::spawn;
    pub(crate) use ::loom::thread::{Builder, JoinHandle};
    pub(crate) use std::thread::sleep;
}

/// A wait like any other.
pub(super) fn wait_deadline(listener: EventListener, _deadline: Instant) -> Option<()> {
    listener.wait();
    Some(())
}

/// One cell for each [`CELL_BYTES`] of some memory. loom fails the model if a byte is read or written by one
/// thread and written by another and neither happens before the other.
#[derive(Debug)]
pub(crate) struct ByteAccesses {
    cells: Vec<::loom::cell::UnsafeCell<()>>,
}

const CELL_BYTES: usize = 8;

impl ByteAccesses {
    pub(crate) fn new(bytes: usize) -> Self {
        let cells = (0..bytes.div_ceil(CELL_BYTES)).map(|_| ::loom::cell::UnsafeCell::new(()));
        Self { cells: cells.collect() }
    }

    /// The bytes are read now.
    pub(crate) fn read(&self, bytes: Range<usize>) {
        for cell in self.touched(bytes) {
            cell.with(|_| ());
        }
    }

    /// The bytes are written now.
    pub(crate) fn write(&self, bytes: Range<usize>) {
        for cell in self.touched(bytes) {
            cell.with_mut(|_| ());
        }
    }

    fn touched(&self, bytes: Range<usize>) -> &[::loom::cell::UnsafeCell<()>] {
        &self.cells[bytes.start / CELL_BYTES..bytes.end.div_ceil(CELL_BYTES)]
    }
}
