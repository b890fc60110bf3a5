//! Waking those who wait, and telling subscribers, once no lock is held any more: what wakers and subscribers
//! do is others' code.

use super::completion::{AppendFault, Completion, Promise};
use super::upkeep::Upkeep;
use crate::error::Result;
use crate::sync::signal::Waiters;
use crate::sync::{Arc, Event};
use crate::trace::Later;

/// Who is to be woken. They are when it is dropped: it is made before a lock is taken, and so outlives it.
#[derive(Debug, Default)]
pub(super) struct Wakeups {
    readers: Option<Arc<Waiters>>,
    room: Option<Arc<Event>>,
    decided: Vec<Arc<Completion>>,
    upkeep: Option<Arc<Upkeep>>,
    events: Later,
}

impl Wakeups {
    /// There are records to read.
    pub(super) fn note_records(&mut self, readers: &Arc<Waiters>) {
        self.readers.get_or_insert_with(|| Arc::clone(readers));
    }

    /// There is room for records.
    pub(super) fn note_room(&mut self, room: &Arc<Event>) {
        self.room.get_or_insert_with(|| Arc::clone(room));
    }

    /// A segment was sealed that may be given up or compacted some time.
    pub(super) fn note_sealed(&mut self, upkeep: &Arc<Upkeep>) {
        self.upkeep.get_or_insert_with(|| Arc::clone(upkeep));
    }

    /// Something is to be told to subscribers.
    pub(super) fn tell(&mut self, tell: impl FnOnce() + Send + 'static) {
        self.events.tell(tell);
    }

    /// Decides what became of some batches. Whoever asks is told from now on.
    pub(super) fn decide(&mut self, promises: &[Promise], outcome: &Result<(), AppendFault>) {
        for promise in promises {
            promise.keep(outcome.clone());
            self.decided.push(promise.completion());
        }
    }
}

impl Drop for Wakeups {
    fn drop(&mut self) {
        if let Some(readers) = &self.readers {
            readers.notify();
        }
        if let Some(room) = &self.room {
            room.notify(usize::MAX);
        }
        self.decided.iter().for_each(|completion| completion.rouse());
        if let Some(upkeep) = &self.upkeep {
            upkeep.wake();
        }
    }
}
