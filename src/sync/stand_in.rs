//! Locks and events for both model checkers: made of the checker's own mutex, lock and condition, so that it
//! sees every step, with the interfaces of parking_lot and event-listener.

use std::future::Future;
use std::pin::Pin;
use std::sync::{PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use super::Arc;
use super::checker::{self, Instant, MutexGuard, primitive};

/// The checker's, with the methods of parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(primitive::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(primitive::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The checker's, with the methods of parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(primitive::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(primitive::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> primitive::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> primitive::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// event-listener's, as far as the crate uses it: everybody who listens at the time of a notification is
/// woken, whether asleep already or not yet; and nobody else is.
#[derive(Debug, Default)]
pub(crate) struct Event {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: primitive::Mutex<State>,
    notified: primitive::Condvar,
}

#[derive(Debug, Default)]
struct State {
    notifications: u64,
    listeners: u64,
    /// Of the listeners that are polled, by their numbers.
    wakers: Vec<(u64, Waker)>,
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
        let mut state = self.inner.lock();
        state.listeners += 1;
        let (number, seen) = (state.listeners, state.notifications);
        drop(state);
        EventListener { inner: Arc::clone(&self.inner), number, seen, has_waker: false }
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
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Waits for the next notification of its [`Event`].
#[derive(Debug)]
pub(crate) struct EventListener {
    inner: Arc<Inner>,
    number: u64,
    seen: u64,
    has_waker: bool,
}

/// Whether a thread has ended. In a model none does before it is told to.
pub(crate) fn has_ended<T>(_thread: &super::thread::JoinHandle<T>) -> bool {
    false
}

/// How a thread waits, as in event-listener.
pub(crate) trait Listener: Sized {
    fn wait(self);

    fn wait_deadline(self, deadline: Instant) -> Option<()>;
}

impl Listener for EventListener {
    fn wait(self) {
        let mut state = self.inner.lock();
        while state.notifications == self.seen {
            state = self.inner.notified.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_deadline(self, deadline: Instant) -> Option<()> {
        checker::wait_deadline(self, deadline)
    }
}

impl EventListener {
    #[cfg(shuttle)]
    pub(super) fn is_notified(&self) -> bool {
        self.inner.lock().notifications != self.seen
    }
}

impl Future for EventListener {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.lock();
        if state.notifications != self.seen {
            return Poll::Ready(());
        }
        state.wakers.retain(|(number, _)| *number != self.number);
        state.wakers.push((self.number, context.waker().clone()));
        self.has_waker = true;
        Poll::Pending
    }
}

impl Drop for EventListener {
    fn drop(&mut self) {
        if self.has_waker {
            self.inner.lock().wakers.retain(|(number, _)| *number != self.number);
        }
    }
}
