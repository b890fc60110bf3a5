//! How those who wait for an append hear of its outcome. Batches that are written to the file together share
//! one [`Completion`]; whoever is to decide it holds its [`Promise`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::sync::{Arc, AtomicBool, Event, EventListener, Instant, Listener, OnceLock, Ordering, fence};

/// Why batches were not acknowledged.
#[derive(Clone, Debug)]
pub(super) enum AppendFault {
    /// They are not in the log.
    NotAppended(Arc<Error>),
    /// It is not known whether the next open finds them.
    Unknown(String),
}

/// The outcome of some batches, once there is one.
#[derive(Debug, Default)]
pub(super) struct Completion {
    outcome: OnceLock<Result<(), AppendFault>>,
    event: Event,
    /// Nobody holds a delivery any more for one of the batches.
    detached: AtomicBool,
    /// What became of those is being told.
    reported: AtomicBool,
}

/// The right to decide the outcome of a [`Completion`], and the duty: if it is dropped, the outcome is
/// unknown. So nobody waits for ever, even if the storage panics.
#[derive(Debug, Default)]
pub(super) struct Promise(Arc<Completion>);

impl Promise {
    pub(super) fn completion(&self) -> Arc<Completion> {
        Arc::clone(&self.0)
    }

    /// Decides the outcome; the first one counts. Those who wait are not woken yet.
    pub(super) fn keep(&self, outcome: Result<(), AppendFault>) {
        self.0.decide(outcome);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.0.is_complete() {
            self.0.decide(Err(AppendFault::Unknown("the work on it was broken off".to_owned())));
            self.0.rouse();
        }
    }
}

impl Completion {
    /// Decides the outcome; the first one counts. Those who wait are not woken yet.
    fn decide(&self, outcome: Result<(), AppendFault>) {
        self.outcome.get_or_init(|| outcome);
    }

    /// Takes note that nobody will ask what became of one of the batches.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
        // Whoever comes second, this or the outcome, sees the other.
        fence(Ordering::SeqCst);
    }

    /// Why batches that nobody will ask for were not acknowledged, once; `None` as long as there are none.
    pub(super) fn unheard(&self) -> Option<&AppendFault> {
        let fault = self.outcome.get()?.as_ref().err()?;
        fence(Ordering::SeqCst);
        let is_unheard =
            self.detached.load(Ordering::Relaxed) && !self.reported.swap(true, Ordering::Relaxed);
        is_unheard.then_some(fault)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Whether the outcome is that the batches were not acknowledged.
    pub(super) fn has_failed(&self) -> bool {
        self.outcome.get().is_some_and(Result::is_err)
    }

    /// What a waiter is told about its record; `None` while it is open.
    pub(super) fn outcome(&self, partition: &impl Fn() -> TopicPartition, offset: u64) -> Option<Result<()>> {
        Some(match self.outcome.get()? {
            Ok(()) => Ok(()),
            Err(AppendFault::NotAppended(error)) => Err(error.duplicate()),
            Err(AppendFault::Unknown(fault)) => {
                Err(Error::OutcomeUnknown { partition: partition(), offset, fault: fault.clone() })
            }
        })
    }

    /// Wakes those who wait: they look whether there is an outcome, or something to do.
    pub(super) fn rouse(&self) {
        self.event.notify(usize::MAX);
    }

    /// Notified when there is an outcome, or something to do.
    pub(super) fn listen(&self) -> EventListener {
        self.event.listen()
    }

    /// Blocks until there is an outcome.
    pub(super) fn wait(&self) {
        while !self.is_complete() {
            let listener = self.event.listen();
            if !self.is_complete() {
                listener.wait();
            }
        }
    }

    /// Blocks until there is an outcome, or until `deadline`.
    pub(super) fn wait_until(&self, deadline: Instant) {
        while !self.is_complete() {
            let listener = self.event.listen();
            if self.is_complete() || listener.wait_deadline(deadline).is_none() {
                return;
            }
        }
    }

    /// Ready when there is an outcome; until then `listener` is registered for it.
    pub(super) fn poll(&self, listener: &mut Option<EventListener>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_complete() {
                return Poll::Ready(());
            }
            let Some(registered) = listener else {
                // Registered first, then looked again: a completion in between is not missed.
                *listener = Some(self.event.listen());
                continue;
            };
            match Pin::new(registered).poll(context) {
                Poll::Ready(()) => *listener = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
