//! How a sender wakes a poller: each poller owns one [`Signal`] and leaves it with the [`Waiters`] of
//! every partition it reads; a partition notifies only when somebody says that it is about to sleep. A poller
//! sleeps on its thread or as a task: both begin with [`Signal::announce`].
//!
//! No wake-up is lost, because of the order on both sides:
//!
//! 1. the sender makes its record visible, passes a `SeqCst` fence, then reads the number of sleepers;
//! 2. the sleeper raises that number, passes a `SeqCst` fence, then looks for records once more.
//!
//! One of the two fences comes first: either the sender sees the sleeper, or the sleeper the record.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::{
    Arc, AtomicBool, AtomicUsize, CachePadded, Event, EventListener, Instant, Listener, Mutex, Ordering,
    fence,
};

/// Wakes one poller, whichever partition the news comes from.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    event: Event,
    /// Somebody wants the poll under way, or else the next one, to end.
    interrupted: AtomicBool,
}

impl Signal {
    /// Wakes the poller if it sleeps, or is about to.
    pub(crate) fn notify(&self) {
        self.event.notify(usize::MAX);
    }

    /// Interrupts the poll under way, or else the next one.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Whether there was an interruption since the last call.
    #[inline]
    pub(crate) fn take_interruption(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst) && self.interrupted.swap(false, Ordering::SeqCst)
    }

    /// Announces the poller as a sleeper to all `waiters`. It must look for news once more before it waits.
    pub(crate) fn announce(&self, waiters: Vec<Arc<Waiters>>) -> Sleep {
        let listener = self.event.listen();
        for waiters in &waiters {
            waiters.sleepers.fetch_add(1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        Sleep { listener, announced: Announced(waiters) }
    }
}

/// The sleep of a poller, from its announcement until it is dropped: any notification since then ends it.
/// It owns what it was announced to, so that a future can hold it.
#[derive(Debug)]
pub(crate) struct Sleep {
    listener: EventListener,
    announced: Announced,
}

impl Sleep {
    /// Blocks until notified or until `deadline` (`None`: for as long as it takes).
    pub(crate) fn wait(self, deadline: Option<Instant>) {
        let Self { listener, announced } = self;
        match deadline {
            Some(deadline) => drop(listener.wait_deadline(deadline)),
            None => listener.wait(),
        }
        drop(announced);
    }

    /// Whether the poller was notified; if not, the task of `cx` will be woken when it is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.listener).poll(cx)
    }
}

/// Where a poller counts as a sleeper, until dropped.
#[derive(Debug)]
struct Announced(Vec<Arc<Waiters>>);

impl Drop for Announced {
    fn drop(&mut self) {
        for waiters in &self.0 {
            waiters.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The pollers of one partition, or of the list of topics.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// How many pollers sleep or are about to. Senders read it after every append, so it is kept apart from
    /// what others write.
    sleepers: CachePadded<AtomicUsize>,
    signals: Mutex<Vec<Arc<Signal>>>,
}

impl Waiters {
    /// From now on `signal` is notified of news, until [`Waiters::unregister`].
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
        // What is woken is others' code: no lock is held.
        let signals = self.signals.lock().clone();
        signals.iter().for_each(|signal| signal.notify());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    fn registered() -> (Arc<Signal>, Arc<Waiters>) {
        let (signal, waiters) = (Arc::new(Signal::default()), Arc::new(Waiters::default()));
        waiters.register(&signal);
        (signal, waiters)
    }

    fn sleepers(waiters: &Waiters) -> usize {
        waiters.sleepers.load(Ordering::SeqCst)
    }

    #[test]
    fn a_notification_between_the_look_and_the_sleep_is_not_lost() {
        let (signal, waiters) = registered();
        let sleep = signal.announce(vec![Arc::clone(&waiters)]);
        // The look finds nothing, the append comes right after it: without a deadline, a lost
        // notification would hang this test.
        waiters.notify();
        sleep.wait(None);
    }

    #[test]
    fn a_poller_counts_as_a_sleeper_until_its_sleep_ends_or_is_given_up() {
        let (signal, waiters) = registered();
        let sleep = signal.announce(vec![Arc::clone(&waiters)]);
        assert_eq!(sleepers(&waiters), 1);
        drop(sleep);
        assert_eq!(sleepers(&waiters), 0);
        let sleep = signal.announce(vec![Arc::clone(&waiters), Arc::clone(&waiters)]);
        assert_eq!(sleepers(&waiters), 2);
        sleep.wait(Some(Instant::now()));
        assert_eq!(sleepers(&waiters), 0);
    }

    #[test]
    fn a_sleeping_task_is_ready_once_notified() {
        let (signal, waiters) = registered();
        let mut sleep = signal.announce(vec![Arc::clone(&waiters)]);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.poll(&mut cx).is_pending());
        waiters.notify();
        assert!(sleep.poll(&mut cx).is_ready());
    }

    #[test]
    fn an_interruption_is_taken_once() {
        let signal = Signal::default();
        assert!(!signal.take_interruption());
        signal.interrupt();
        signal.interrupt();
        assert!(signal.take_interruption());
        assert!(!signal.take_interruption());
    }

    #[test]
    fn an_unregistered_poller_is_left_alone() {
        let (signal, waiters) = registered();
        waiters.unregister(&signal);
        let mut sleep = signal.announce(vec![Arc::clone(&waiters)]);
        waiters.notify_all();
        assert!(sleep.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        sleep.wait(Some(Instant::now() + Duration::from_millis(1)));
        assert!(waiters.signals.lock().is_empty());
    }
}
