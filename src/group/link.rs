//! What the consumer of a member and the coordinator tell each other without a lock.

use std::time::Duration;

use crate::sync::signal::Signal;
use crate::sync::{Arc, AtomicBool, AtomicU64, Instant, Ordering};

/// Between a consumer and the coordinator.
#[derive(Debug)]
pub(crate) struct Link {
    /// Whether there is something to do for the member.
    news: AtomicBool,
    signal: Arc<Signal>,
    liveness: Option<Liveness>,
}

/// Whether the member polls as often as it promised.
#[derive(Debug)]
struct Liveness {
    max_poll_interval: Duration,
    since: Instant,
    /// [`POLLING`], [`EVICTED`], or when its last poll ended: nanoseconds after `since`, and 1.
    state: AtomicU64,
}

/// It is in a poll, and may stay there.
const POLLING: u64 = 0;
const EVICTED: u64 = u64::MAX;

/// A member has not polled for too long, and has lost its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted;

impl Link {
    pub(super) fn new(signal: Arc<Signal>, max_poll_interval: Option<Duration>) -> Self {
        let liveness = max_poll_interval.map(|max_poll_interval| Liveness {
            max_poll_interval,
            since: Instant::now(),
            // It is being built, which is like a poll.
            state: AtomicU64::new(POLLING),
        });
        Self { news: AtomicBool::new(true), signal, liveness }
    }

    /// There is something to do for the consumer.
    pub(super) fn leave_news(&self) {
        self.news.store(true, Ordering::SeqCst);
    }

    /// Wakes the consumer. The news come first: who is about to sleep has registered to be woken, and then
    /// looks once more.
    pub(super) fn ring(&self) {
        self.signal.notify();
    }

    /// The consumer has left something undone: its next look tries again.
    pub(crate) fn try_again(&self) {
        self.leave_news();
    }

    /// Whether there was news since the last call.
    #[inline]
    pub(crate) fn take_news(&self) -> bool {
        self.news.load(Ordering::SeqCst) && self.news.swap(false, Ordering::SeqCst)
    }

    /// A poll begins. A member that was evicted is told.
    #[inline]
    pub(crate) fn poll_begins(&self) -> Result<(), Evicted> {
        let Some(liveness) = &self.liveness else { return Ok(()) };
        match liveness
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| (state != EVICTED).then_some(POLLING))
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Evicted),
        }
    }

    /// A poll has ended.
    #[inline]
    pub(crate) fn poll_ends(&self) {
        if let Some(liveness) = &self.liveness {
            let nanos = Instant::now().saturating_duration_since(liveness.since).as_nanos();
            let state = u64::try_from(nanos).unwrap_or(u64::MAX).clamp(1, EVICTED - 1);
            // Nobody evicts who is in a poll.
            liveness.state.store(state, Ordering::Release);
        }
    }

    pub(crate) fn is_evicted(&self) -> bool {
        let state = self.liveness.as_ref().map(|liveness| liveness.state.load(Ordering::Acquire));
        state == Some(EVICTED)
    }

    /// Evicts the member if it has not polled for too long; else says when it is to be looked at again, if
    /// ever.
    pub(super) fn evict_if_late(&self, now: Instant) -> Option<Instant> {
        let liveness = self.liveness.as_ref()?;
        let state = liveness.state.load(Ordering::Acquire);
        let last = match state {
            EVICTED => return None,
            POLLING => now,
            ended => liveness.since + Duration::from_nanos(ended),
        };
        let due = last.checked_add(liveness.max_poll_interval)?;
        if due > now {
            return Some(due);
        }
        let evicts = liveness.state.compare_exchange(state, EVICTED, Ordering::AcqRel, Ordering::Acquire);
        // If that fails, it polls just now.
        if evicts.is_err() { now.checked_add(liveness.max_poll_interval) } else { None }
    }
}
