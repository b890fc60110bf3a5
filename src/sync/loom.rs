//! What stands in for [`native`](super) under `--cfg loom`: loom tries every order in which the threads of a
//! model can meet in these types.
//!
//! The standard library's `Arc` and `Weak` stay: loom's cannot be made cyclic or hold a trait object. loom
//! takes their counting for nothing that orders anything, so a model fails where memory is only safe
//! because of it; where it is relied on, there is [`TrackedArc`]. Time does not pass here: a wait with a
//! deadline is a plain wait, and a model in which nobody comes to wake it fails.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

pub(crate) use ::loom::sync::Arc as TrackedArc;
use ::loom::sync::Condvar;
pub(crate) use ::loom::sync::MutexGuard;
pub(crate) use ::loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
};
use ::loom::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::{Arc, Ordering};

/// For what no model looks at: what depends on the time of day, and what is made in a constant.
pub(crate) use std::sync::atomic::AtomicI64 as UnmodelledI64;

/// loom's, with the methods of parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(::loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(::loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// loom's, with the methods of parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(::loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(::loom::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The standard library's, with a flag that loom sees: who finds the value also sees what was done before it
/// was set.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    is_set: AtomicBool,
    setting: Mutex<()>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { value: std::sync::OnceLock::new(), is_set: AtomicBool::new(false), setting: Mutex::new(()) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let _setting = self.setting.lock();
        let value = self.value.get_or_init(init);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// event-listener's, as far as the crate uses it: everybody who listens at the time of a notification is
/// woken, whether asleep already or not yet.
#[derive(Debug, Default)]
pub(crate) struct Event {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: ::loom::sync::Mutex<State>,
    notified: Condvar,
}

#[derive(Debug, Default)]
struct State {
    notifications: u64,
    wakers: Vec<Waker>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn listen(&self) -> EventListener {
        let seen = self.inner.lock().notifications;
        EventListener { inner: Arc::clone(&self.inner), seen }
    }

    /// Wakes all listeners.
    pub(crate) fn notify(&self, listeners: usize) {
        assert_eq!(listeners, usize::MAX, "the crate always wakes all");
        let wakers = {
            let mut state = self.inner.lock();
            state.notifications += 1;
            std::mem::take(&mut state.wakers)
        };
        self.inner.notified.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Waits for the next notification of its [`Event`].
#[derive(Debug)]
pub(crate) struct EventListener {
    inner: Arc<Inner>,
    seen: u64,
}

/// How a thread waits, as in event-listener.
pub(crate) trait Listener: Sized {
    fn wait(self);

    fn wait_deadline(self, _deadline: Instant) -> Option<()> {
        self.wait();
        Some(())
    }
}

impl Listener for EventListener {
    fn wait(self) {
        let mut state = self.inner.lock();
        while state.notifications == self.seen {
            state = self.inner.notified.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for EventListener {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.inner.lock();
        if state.notifications != self.seen {
            return Poll::Ready(());
        }
        state.wakers.push(context.waker().clone());
        Poll::Pending
    }
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
