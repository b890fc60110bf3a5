//! A log as its syncer sees it: what is to be synced, what becomes of it, and going on in other files when a
//! sync has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::completion::{AppendFault, Completion};
use super::health::Status;
use super::partition_log::PartitionLog;
use super::syncer::{SyncSource, Unsynced, Usage};
use super::wakeups::Wakeups;
use crate::error::{Error, Result};
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::Arc;

/// How many entries the indexes of a log at rest keep together; 24 bytes each.
const INDEX_ENTRIES_AT_REST: usize = 48;

impl SyncSource for PartitionLog {
    fn write_begins(&self) {
        self.stage().lock().write_requested = false;
    }

    fn sync_begins(&self) {
        self.stage().lock().sync_requested = None;
    }

    fn write_staged(&self, wakeups: &mut Wakeups) -> Result<()> {
        let Some(home) = self.home() else { return Ok(()) };
        self.write_all(home, &mut home.tail.lock(), wakeups)
    }

    fn is_sync_awaited(&self) -> bool {
        self.home().is_some_and(|home| home.tail.lock().is_awaited())
    }

    fn take_unsynced(&self) -> Option<Unsynced> {
        let mut tail = self.home()?.tail.lock();
        let unsynced = tail.take_unsynced()?;
        {
            let mut stage = self.stage().lock();
            let covers_all = stage.next_offset() == unsynced.end_offset;
            stage.unsynced.sync_begins(covers_all);
        }
        drop(tail);
        if is_planted(Bug::MarkBeforeSync) {
            self.stage().lock().note_synced(unsynced.end_offset, self.view());
            self.write_mark();
        }
        Some(unsynced)
    }

    fn synced(&self, done: &Unsynced, wakeups: &mut Wakeups) {
        let Some(home) = self.home() else { return };
        let synced = home.tail.lock().synced(done);
        let mut stage = self.stage().lock();
        stage.note_synced(synced, self.view());
        if let Some(end) = &done.unpublished {
            self.publish(home, stage, end, wakeups);
            wakeups.note_records(self.waiters());
        }
    }

    fn not_synced(&self, unsynced: &Unsynced) {
        let Some(home) = self.home() else { return };
        home.tail.lock().not_synced(unsynced);
        if self.check_readable().is_ok() {
            self.try_again_later(home);
        }
    }

    fn is_to_be_looked_at(&self) -> bool {
        self.home().is_some_and(|home| home.tail.lock().is_to_be_looked_at())
    }

    fn usage(&self) -> Usage {
        let Some(home) = self.home() else { return Usage::Unused };
        let mut tail = home.tail.lock();
        let is_unused = tail.is_unused();
        if self.stage().lock().sync_requested.is_some() {
            Usage::Unsynced
        } else if is_unused {
            // A mark is synced too before its file is closed.
            tail.sync_marks_too();
            Usage::Unused
        } else {
            tail.is_to_be_looked_at();
            Usage::Used
        }
    }

    fn rest(&self) {
        let Some(home) = self.home() else { return };
        let mut tail = home.tail.lock();
        let mut stage = self.stage().lock();
        if !tail.is_at_rest() || !stage.is_at_rest(tail.end_offset()) {
            return;
        }
        let chunks = stage.rest(self.view());
        drop(stage);
        let file = tail.rest();
        drop(tail);
        // Closing and freeing need no lock.
        drop((chunks, file));
        let segments = self.view().read().segments().to_vec();
        let most = INDEX_ENTRIES_AT_REST / segments.len().max(1);
        segments.iter().for_each(|segment| segment.index().write().thin(most));
    }

    fn write_mark(&self) {
        let Some(home) = self.home() else { return };
        let mut wakeups = Wakeups::default();
        let mut tail = home.tail.lock();
        let may_write = tail.broken().is_none() && self.health.status() == Status::Open;
        if may_write && self.stage().lock().push_mark() {
            // One that cannot be written is written later. Whoever waits for something else is told.
            drop(self.write_all(home, &mut tail, &mut wakeups));
        }
    }

    fn is_broken(&self) -> bool {
        self.home().is_some_and(|home| home.tail.lock().broken().is_some())
    }

    fn write_again(&self, fault: &str, unsynced: Option<&Unsynced>, wakeups: &mut Wakeups) -> Result<()> {
        let Some(home) = self.home() else { return Ok(()) };
        let mut tail = home.tail.lock();
        tail.break_off(fault.to_owned());
        tail.restore_unpublished(unsynced.and_then(|unsynced| unsynced.unpublished.clone()));
        let rewrite = || self.rewrite(&home.place, &mut tail);
        let rewritten = catch_unwind(AssertUnwindSafe(rewrite));
        match rewritten.unwrap_or_else(|_| Err(self.failed("the storage panicked"))) {
            Ok(()) => {
                self.health.resume();
                let (unpublished, waiting) = tail.take_waiting();
                let mut stage = self.stage().lock();
                stage.note_synced(tail.end_offset(), self.view());
                if let Some(end) = &unpublished {
                    self.publish(home, stage, end, wakeups);
                    wakeups.note_records(self.waiters());
                }
                wakeups.decide(&waiting, &Ok(()));
                Ok(())
            }
            Err(error) => {
                let is_full = matches!(error, Error::StorageFull { .. });
                let error = if is_full { error } else { self.failed(&format!("{fault}; {error}")) };
                self.health.suspend(error.duplicate());
                let unknown = AppendFault::Unknown(format!("{fault}; {error}"));
                wakeups.decide(&tail.give_up_waiting(), &Err(unknown));
                // What somebody had begun to write ended in a panic.
                let error = self.take_back(home, &tail, error, Some(fault.to_owned()), wakeups);
                // The files of one that was deleted are gone.
                if self.check_readable().is_ok() {
                    self.try_again_later(home);
                }
                Err(error)
            }
        }
    }

    fn rouse(&self) {
        let Some(home) = self.home() else { return };
        let mut waiting: Vec<Arc<Completion>> = home.tail.lock().waiting().collect();
        waiting.extend(self.stage().lock().waiting());
        // Wakers are others' code: no lock is held.
        waiting.iter().for_each(|completion| completion.rouse());
    }
}
