//! The end of a log: it is closed, or its topic deleted, or nobody holds it any more.

use super::completion::AppendFault;
use super::health::Status;
use super::partition_log::PartitionLog;
use super::piece::TakenBack;
use super::syncer::SyncSource;
use super::wakeups::Wakeups;
use crate::error::{Error, Result};
use crate::sync::Arc;

impl PartitionLog {
    /// Ends appends and fetches, for good, and makes everything durable.
    pub(crate) fn close(&self) -> Result<()> {
        self.end(Status::Closed);
        self.wait_for_compaction();
        if let Some(home) = self.home() {
            home.tail.lock().sync_marks_too();
        }
        // One that is fenced has nothing that could be lost by now.
        let outcome = self.flush();
        // Handles may keep it for long.
        self.rest();
        outcome
    }

    /// Ends appends and fetches: the topic is gone.
    pub(crate) fn delete(&self) {
        self.end(Status::Deleted);
        self.wait_for_compaction();
        if let Some(home) = self.home() {
            let mut wakeups = Wakeups::default();
            let mut tail = home.tail.lock();
            let TakenBack { attempted, untouched } = self.drop_unwritten(&tail);
            let error = Error::TopicDeleted { topic: self.identity().topic.to_string() };
            let deleted = Err(AppendFault::NotAppended(Arc::new(error)));
            for waiting in [tail.give_up_waiting(), attempted, untouched] {
                wakeups.decide(&waiting, &deleted);
            }
            wakeups.note_room(&home.room);
        }
    }

    fn end(&self, status: Status) {
        {
            let _no_append_under_way = self.stage().lock();
            self.health.end(status);
        }
        self.waiters().notify_all();
        self.upkeep().notify_room();
        if let Some(home) = self.home() {
            home.room.notify(usize::MAX);
        }
    }
}

#[cfg(ottla_tsan)]
impl PartitionLog {
    /// What others did with the log came before it is dropped. `Arc` sees to that with a fence, which
    /// ThreadSanitizer does not know; locks it knows.
    fn order_after_users(&self) {
        drop(self.stage().lock());
        drop(self.view().write());
    }
}

impl Drop for PartitionLog {
    /// Dropping writes, which does not block for long, but does not sync: that is left to the flusher, which
    /// outlives the log. By then another broker may own the directory; syncing its files does no harm.
    fn drop(&mut self) {
        #[cfg(ottla_tsan)]
        self.order_after_users();
        let Some(home) = self.home() else { return };
        if self.check_readable().is_err() {
            return;
        }
        let mut wakeups = Wakeups::default();
        let mut tail = home.tail.lock();
        // Those who wait for what cannot be written are told.
        drop(self.write_all(home, &mut tail, &mut wakeups));
        let is_awaited = tail.is_awaited();
        if let Some(unsynced) = tail.take_unsynced() {
            home.syncer.leave(unsynced);
            let flush = &home.place.flush;
            // If nobody listens, the broker was closed, and has synced everything.
            let _asked = if is_awaited {
                flush.write(&home.syncer)
            } else {
                flush.sync_within(self.settings().sync_interval(), &home.syncer)
            };
        }
    }
}
