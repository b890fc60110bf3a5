//! How those who wait for an append hear of its outcome. Batches that are written to the file together share
//! one [`Completion`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::sync::{Arc, Event, EventListener, Listener, OnceLock};

/// Why batches were not acknowledged.
#[derive(Clone, Debug)]
pub(super) enum AppendFault {
    /// They are not in the log.
    NotAppended(Arc<Error>),
    /// They are in the file, and it is not known whether a power loss would take them.
    Unknown(String),
}

/// The outcome of some batches, once there is one.
#[derive(Debug, Default)]
pub(super) struct Completion {
    outcome: OnceLock<Result<(), AppendFault>>,
    event: Event,
}

impl Completion {
    /// Decides the outcome; the first one counts.
    pub(super) fn complete(&self, outcome: Result<(), AppendFault>) {
        self.outcome.get_or_init(|| outcome);
        self.event.notify(usize::MAX);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.outcome.get().is_some()
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

    /// Wakes those who wait, though there is no outcome: they look what there is to do.
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

/// Tells all who wait.
pub(super) fn complete_all(completions: Vec<Arc<Completion>>, outcome: &Result<(), AppendFault>) {
    for completion in completions {
        completion.complete(outcome.clone());
    }
}
