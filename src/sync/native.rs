//! What runs: locks, atomics and events of the standard library, parking_lot and event-listener.

use std::ops::Range;

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicI64 as UnmodelledI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
};
/// For memory that is used again when nobody holds it: a model checker sees who holds it when.
pub(crate) use std::sync::{Arc as TrackedArc, OnceLock};

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
