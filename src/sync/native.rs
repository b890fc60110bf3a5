//! What runs: locks, atomics, events, threads and channels of the standard library, parking_lot,
//! event-listener and crossbeam.

use std::ops::Range;

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicI64 as UnmodelledI64, AtomicU8, AtomicU32, AtomicU64,
    AtomicU64 as UnmodelledU64, AtomicUsize, fence,
};
/// For memory that is used again when nobody holds it: a model checker sees who holds it when.
#[cfg(not(ottla_tsan))]
pub(crate) use std::sync::{Arc as TrackedArc, OnceLock};
pub(crate) use std::thread;
pub(crate) use std::time::Instant;

pub(crate) use crossbeam_channel as channel;
pub(crate) use event_listener::{Event, EventListener, Listener};
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

/// Where the readers and writers of some bytes pass by, for a model checker to see. Costs nothing.
#[derive(Debug)]
pub(crate) struct ByteAccesses;

impl ByteAccesses {
    pub(crate) fn new(_bytes: usize) -> Self {
        Self
    }

    /// The bytes are read now.
    #[inline]
    pub(crate) fn read(&self, _bytes: Range<usize>) {}

    /// The bytes are written now.
    #[inline]
    pub(crate) fn write(&self, _bytes: Range<usize>) {}
}

/// Whether a thread has ended.
pub(crate) fn has_ended<T>(thread: &thread::JoinHandle<T>) -> bool {
    thread.is_finished()
}
