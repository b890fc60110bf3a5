//! How a sender wakes a poller: each poller owns one [`Signal`] and leaves it with the [`Waiters`] of
//! every partition it reads; a partition notifies only when somebody says that it is about to sleep.
//!
//! No wake-up is lost, because of the order on both sides:
//!
//! 1. the sender makes its record visible, passes a `SeqCst` fence, then reads the number of sleepers;
//! 2. the sleeper raises that number, passes a `SeqCst` fence, then looks for records once more.
//!
//! One of the two fences comes first: either the sender sees the sleeper, or the sleeper the record.

use std::time::Instant;

use super::{Arc, AtomicUsize, Event, Listener, Mutex, Ordering, fence};

/// Wakes one poller, whichever partition the news comes from.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    event: Event,
}

impl Signal {
    /// Wakes the poller if it sleeps, or is about to.
    pub(crate) fn notify(&self) {
        self.event.notify(usize::MAX);
    }

    /// Sleeps until notified or until `deadline` (`None`: for as long as it takes), unless `ready`
    /// finds something after the poller has been announced to `partitions` as a sleeper.
    pub(crate) fn sleep_unless<'a, T>(
        &self,
        partitions: impl Iterator<Item = &'a Waiters> + Clone,
        deadline: Option<Instant>,
        ready: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let listener = self.event.listen();
        let _sleeping = Sleeping::announce(partitions);
        let found = ready();
        if found.is_none() {
            match deadline {
                Some(deadline) => drop(listener.wait_deadline(deadline)),
                None => listener.wait(),
            }
        }
        found
    }
}

/// The pollers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// How many pollers sleep or are about to. Senders read it after every append.
    sleepers: AtomicUsize,
    signals: Mutex<Vec<Arc<Signal>>>,
}

impl Waiters {
    /// From now on `signal` is notified of appends, until [`Waiters::unregister`].
    pub(crate) fn register(&self, signal: &Arc<Signal>) {
        self.signals.lock().push(Arc::clone(signal));
    }

    pub(crate) fn unregister(&self, signal: &Arc<Signal>) {
        self.signals.lock().retain(|known| !Arc::ptr_eq(known, signal));
    }

    /// Called after something became visible; costs a fence and a load when nobody sleeps.
    #[inline]
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.notify_all();
        }
    }

    /// Wakes everybody, asleep or not: for news other than an append (closed, deleted).
    #[cold]
    pub(crate) fn notify_all(&self) {
        for signal in self.signals.lock().iter() {
            signal.notify();
        }
    }
}

/// A poller that counts as a sleeper with every partition in it, until dropped.
struct Sleeping<'a, I: Iterator<Item = &'a Waiters> + Clone> {
    partitions: I,
}

impl<'a, I: Iterator<Item = &'a Waiters> + Clone> Sleeping<'a, I> {
    fn announce(partitions: I) -> Self {
        for waiters in partitions.clone() {
            waiters.sleepers.fetch_add(1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        Self { partitions }
    }
}

impl<'a, I: Iterator<Item = &'a Waiters> + Clone> Drop for Sleeping<'a, I> {
    fn drop(&mut self) {
        for waiters in self.partitions.clone() {
            waiters.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_notification_between_the_look_and_the_sleep_is_not_lost() {
        let signal = Arc::new(Signal::default());
        let waiters = Waiters::default();
        waiters.register(&signal);
        // The look finds nothing, the append comes right after it: without a deadline, a lost
        // notification would hang this test.
        let found: Option<()> = signal.sleep_unless([&waiters].into_iter(), None, || {
            waiters.notify();
            None
        });
        assert!(found.is_none());
    }

    #[test]
    fn what_the_second_look_finds_is_returned_without_sleeping() {
        let signal = Arc::new(Signal::default());
        let waiters = Waiters::default();
        waiters.register(&signal);
        assert_eq!(signal.sleep_unless([&waiters].into_iter(), None, || Some(7)), Some(7));
        assert_eq!(waiters.sleepers.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_unregistered_poller_is_left_alone() {
        let signal = Arc::new(Signal::default());
        let waiters = Waiters::default();
        waiters.register(&signal);
        waiters.unregister(&signal);
        let deadline = Instant::now() + Duration::from_millis(1);
        let found: Option<()> = signal.sleep_unless([&waiters].into_iter(), Some(deadline), || {
            waiters.notify_all();
            None
        });
        assert!(found.is_none());
        assert!(waiters.signals.lock().is_empty());
    }
}
