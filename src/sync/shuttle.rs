//! What stands in for [`native`](super) under `--cfg shuttle`: Shuttle runs whole brokers, thread by thread,
//! and chooses at each of these steps who goes on. Locks and events are in [`stand_in`](super).
//!
//! Atomics are sequentially consistent here whatever they ask for; what weaker orders allow is for the models
//! in loom and for the thread sanitizer to find. `Arc`s are the standard library's.
//!
//! **Time** is the test's own, and passes when the scheduler's dice say so. A thread may be kept from running
//! for any length of time, so a wait with a deadline may end at any step after it began: it is given a number
//! of looks, now a few, now many, and then the time has come if it had not before. So a wake-up that is lost
//! to it is not noticed. Tests that are to notice it wait without a deadline, or for [`FOREVER`], and Shuttle
//! finds that nobody can go on.

use std::cell::Cell;
use std::ops::{Add, Range};
use std::time::Duration;

use ::shuttle::rand::{Rng, thread_rng};

pub(crate) use ::shuttle::sync::MutexGuard;
pub(crate) use ::shuttle::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
};
pub(crate) use std::sync::Arc as TrackedArc;
/// For what no test looks at: what depends on the time of day, and what is made in a constant.
pub(crate) use std::sync::atomic::{AtomicI64 as UnmodelledI64, AtomicU64 as UnmodelledU64};

use super::{EventListener, Listener};

/// What [`stand_in`](super) is made of.
pub(super) mod primitive {
    pub(crate) use ::shuttle::sync::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
}

/// Threads of a test.
pub(crate) mod thread {
    #[cfg(test)]
    pub(crate) use ::shuttle::thread::spawn;
    pub(crate) use ::shuttle::thread::{Builder, JoinHandle};
    use std::time::Duration;

    /// Lets the others go on. So much time has passed.
    pub(crate) fn sleep(duration: Duration) {
        super::pass(duration);
        ::shuttle::thread::yield_now();
    }
}

/// Unbounded channels, as far as the crate uses crossbeam's.
pub(crate) mod channel {
    pub(crate) use ::shuttle::sync::mpsc::Sender;
    use ::shuttle::sync::mpsc::{self, TryRecvError};
    pub(crate) use std::sync::mpsc::{RecvError, RecvTimeoutError};

    use super::{Instant, wait_until};

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel();
        (sender, Receiver(receiver))
    }

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(mpsc::Receiver<T>);

    impl<T> Receiver<T> {
        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            self.0.recv()
        }

        pub(crate) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
            if deadline.is_never() {
                return self.recv().map_err(RecvTimeoutError::from);
            }
            let look = || match self.0.try_recv() {
                Ok(received) => Some(Ok(received)),
                Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
                Err(TryRecvError::Empty) => None,
            };
            wait_until(deadline, look).unwrap_or(Err(RecvTimeoutError::Timeout))
        }
    }
}

thread_local! {
    /// How much time has passed; not none, so that no wait of `Duration::MAX` has a deadline. Shuttle runs
    /// all threads of a test on one.
    static PASSED: Cell<Duration> = const { Cell::new(Duration::from_secs(1)) };
}

/// A moment in the time of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    /// Some time may have passed since it was last asked for.
    pub(crate) fn now() -> Self {
        if thread_rng().gen_ratio(1, 4) {
            pass(Duration::from_millis(thread_rng().gen_range(1..=30)));
        }
        Self(PASSED.get())
    }

    /// Whether a wait until then is one without a deadline.
    fn is_never(self) -> bool {
        self.0.saturating_sub(PASSED.get()) > FOREVER / 2
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

fn pass(duration: Duration) {
    PASSED.set(PASSED.get().saturating_add(duration));
}

/// So much time does not pass.
pub(crate) const FOREVER: Duration = Duration::from_secs(3_600);

/// The most looks that a wait with a deadline is given: enough for a broker to do all that it has to do.
const LOOKS: u32 = 200;

/// Waits until a look has an outcome; `None` if the time came first.
fn wait_until<T>(deadline: Instant, look: impl Fn() -> Option<T>) -> Option<T> {
    let looks = if thread_rng().gen_bool(0.5) { thread_rng().gen_range(0..4) } else { LOOKS };
    for _ in 0..looks {
        if let Some(outcome) = look() {
            return Some(outcome);
        }
        if PASSED.get() >= deadline.0 {
            return None;
        }
        ::shuttle::thread::yield_now();
    }
    let outcome = look();
    if outcome.is_none() {
        PASSED.set(PASSED.get().max(deadline.0));
    }
    outcome
}

pub(super) fn wait_deadline(listener: EventListener, deadline: Instant) -> Option<()> {
    if deadline.is_never() {
        listener.wait();
        return Some(());
    }
    wait_until(deadline, || listener.is_notified().then_some(()))
}

/// Where the readers and writers of some bytes pass by; loom looks at them.
#[derive(Debug)]
pub(crate) struct ByteAccesses;

impl ByteAccesses {
    pub(crate) fn new(_bytes: usize) -> Self {
        Self
    }

    /// The bytes are read now.
    pub(crate) fn read(&self, _bytes: Range<usize>) {}

    /// The bytes are written now.
    pub(crate) fn write(&self, _bytes: Range<usize>) {}
}
