//! Syncing a log: one sync at a time, and none after one that failed. Lives apart from the log, so that the
//! flusher, in the middle of a sync, keeps neither the log nor its directory in use.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::chunk::StagedBytes;
use super::completion::{AppendFault, Completion, Promise};
use super::identity::LogIdentity;
use super::segment::{OpenSegment, SyncError};
use super::sync_times::SyncTimes;
use super::wakeups::Wakeups;
use crate::error::{Error, Result};
use crate::sync::{Arc, Instant, Listener, Mutex, MutexGuard, Weak};
use crate::trace;

/// What a sync has to do.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// Oldest first; the last one is the active one.
    pub(super) segments: Vec<OpenSegment>,
    /// The end of the log: what is safe when all of them are synced.
    pub(super) end_offset: u64,
    /// Up to where readers may see the log then, if they do not yet.
    pub(super) unpublished: Option<StagedBytes>,
    /// Who waits for it.
    pub(super) waiting: Vec<Promise>,
}

impl Unsynced {
    /// Syncs it. A storage that panics has failed: it is not known what it did.
    fn sync(&self) -> Result<(), Unfinished> {
        let sync = || self.segments.iter().try_for_each(OpenSegment::sync);
        match catch_unwind(AssertUnwindSafe(sync)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SyncError::Failed(error))) => Err(Unfinished::Failed(error.to_string())),
            Ok(Err(SyncError::NotTried(error))) => Err(Unfinished::NotTried(error)),
            Err(_) => Err(Unfinished::Failed("the storage panicked".to_owned())),
        }
    }

    fn decide(&self, outcome: &Result<(), AppendFault>, wakeups: &mut Wakeups) {
        wakeups.decide(&self.waiting, outcome);
    }
}

/// Why a sync has not made safe what it was to.
enum Unfinished {
    /// For this reason it may be lost.
    Failed(String),
    /// Some of it could not be tried.
    NotTried(Error),
}

/// A log, as far as syncing needs it.
pub(super) trait SyncSource: Send + Sync + std::fmt::Debug {
    /// The flusher begins to write: what is staged from now on has to ask it anew.
    fn write_begins(&self);

    /// The flusher begins to sync: what is staged from now on has to ask it anew.
    fn sync_begins(&self);

    /// Writes what is staged to the file. What could not be written was taken back, and what those who wait
    /// for it are told is decided.
    fn write_staged(&self, wakeups: &mut Wakeups) -> Result<()>;

    /// Whether somebody waits for a sync.
    fn is_sync_awaited(&self) -> bool;

    /// What is written and not synced yet.
    fn take_unsynced(&self) -> Option<Unsynced>;

    /// Takes note of a sync that succeeded.
    fn synced(&self, done: &Unsynced, wakeups: &mut Wakeups);

    /// The log was synced: whether to look later if it is still in use. Not if somebody is going to anyway.
    fn is_to_be_looked_at(&self) -> bool;

    /// Whether the log was used since it was said that somebody would look.
    fn usage(&self) -> Usage;

    /// Gives up what the log needs only while it is in use, unless something of it is not synced.
    fn rest(&self);

    /// Takes note of a sync that could not be tried: what it was to do is left to the next one.
    fn not_synced(&self, unsynced: &Unsynced);

    /// Writes a sync mark, if the log does not say yet how far it is synced.
    fn write_mark(&self);

    /// Whether a write left something behind that keeps the log from being written to and synced.
    fn is_broken(&self) -> bool;

    /// A sync has failed, or something else for which nothing may be written or synced any more: writes
    /// everything again that may be lost. If that fails too, the log takes no records, and it is tried again
    /// later. Decides what those who wait are told, but for those who wait for `unsynced`.
    fn write_again(&self, fault: &str, unsynced: Option<&Unsynced>, wakeups: &mut Wakeups) -> Result<()>;

    /// Wakes those who wait for what is not synced yet, to do it.
    fn rouse(&self);
}

/// What a look at a log finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// It was used, and synced since: to be looked at again.
    Used,
    /// A sync is to come. After it, it is looked at again.
    Unsynced,
    /// The next sync covers all that is in its files.
    Unused,
}

/// Syncs one log.
#[derive(Debug)]
pub(crate) struct Syncer {
    log: Weak<dyn SyncSource>,
    identity: LogIdentity,
    times: Arc<SyncTimes>,
    /// What a dropped log left. A lock of its own: leaving something does not wait for a sync.
    left: Mutex<Option<Unsynced>>,
    /// Held during a sync: that it failed is known before the next one begins. A failed sync is final for its
    /// file: the system may have dropped the bytes and report success the next time.
    fault: Mutex<Option<String>>,
    /// Why records were lost that nobody asked for; for the next flush.
    unheard: Mutex<Option<Error>>,
}

/// The right to sync. When it ends, however it does, those who wait hear of it, and one of those who came
/// meanwhile goes on.
struct Turn<'a> {
    syncer: &'a Syncer,
    known_fault: Option<MutexGuard<'a, Option<String>>>,
    wakeups: Wakeups,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.known_fault = None;
        drop(std::mem::take(&mut self.wakeups));
        if let Some(log) = self.syncer.log.upgrade() {
            log.rouse();
        }
    }
}

impl Syncer {
    pub(super) fn new(log: Weak<dyn SyncSource>, identity: LogIdentity, times: Arc<SyncTimes>) -> Self {
        let (left, fault, unheard) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { log, identity, times, left, fault, unheard }
    }

    pub(super) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// Makes everything appended so far survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.sync_and_pass_on(self.fault.lock())
    }

    /// As [`sync`](Self::sync), for the flusher. The log says itself then how far it is synced.
    pub(crate) fn sync_as_asked(&self) -> Result<()> {
        if let Some(log) = self.log.upgrade() {
            log.sync_begins();
        }
        self.sync()?;
        if let Some(log) = self.log.upgrade() {
            log.write_mark();
        }
        Ok(())
    }

    /// Whether the flusher, which has just synced the log, is to look later if it is still in use.
    pub(crate) fn is_to_be_looked_at(&self) -> bool {
        self.log.upgrade().is_some_and(|log| log.is_to_be_looked_at())
    }

    /// The flusher looks: a log that was not used for a while goes to rest. Whether it is to look again.
    pub(crate) fn look_as_asked(&self) -> Result<bool> {
        match self.log.upgrade().map(|log| log.usage()) {
            Some(Usage::Unused) => {}
            usage => return Ok(usage == Some(Usage::Used)),
        }
        self.sync()?;
        if let Some(log) = self.log.upgrade() {
            log.rest();
        }
        Ok(false)
    }

    /// Writes what is staged, and syncs it if somebody waits for that; for the flusher.
    pub(crate) fn write_as_asked(&self) -> Result<()> {
        let Some(log) = self.log.upgrade() else { return self.sync() };
        log.write_begins();
        let written = log.write_staged(&mut Wakeups::default());
        let is_awaited = log.is_sync_awaited();
        drop(log);
        // What was written before a write that failed is awaited all the same.
        if is_awaited {
            self.sync()?;
        }
        written
    }

    /// Writes, and syncs if that is promised, until the outcome is there. Of many who wait, one works for
    /// all; the others sleep, and leave as soon as their own records are safe, while the next one works
    /// already.
    pub(super) fn work_for(&self, completion: &Completion) {
        while !completion.is_complete() {
            if let Some(log) = self.log.upgrade() {
                // How it goes is told through the completion.
                drop(log.write_staged(&mut Wakeups::default()));
            }
            // Registered before looking: whoever works now passes on when it has finished.
            let listener = completion.listen();
            if completion.is_complete() {
                return;
            }
            if let Some(known_fault) = self.fault.try_lock() {
                drop(self.sync_and_pass_on(known_fault));
                if completion.is_complete() {
                    return;
                }
                // The log is being dropped by somebody else: what it leaves is the flusher's.
            }
            listener.wait();
        }
    }

    fn sync_and_pass_on(&self, known_fault: MutexGuard<'_, Option<String>>) -> Result<()> {
        let mut turn = Turn { syncer: self, known_fault: Some(known_fault), wakeups: Wakeups::default() };
        let Turn { known_fault, wakeups, .. } = &mut turn;
        known_fault.as_deref_mut().map_or(Ok(()), |known_fault| self.sync_holding(known_fault, wakeups))
    }

    /// The work on the log ended in a panic: nobody is to wait for what it was about to do.
    pub(crate) fn give_up(&self, fault: &str) {
        let mut wakeups = Wakeups::default();
        let mut known_fault = self.fault.lock();
        let fault = known_fault.get_or_insert_with(|| fault.to_owned());
        if let Some(log) = self.log.upgrade() {
            // It is tried again when the next sync is due; those who wait are told.
            drop(log.write_again(fault, None, &mut wakeups));
        }
    }

    fn sync_holding(&self, known_fault: &mut Option<String>, wakeups: &mut Wakeups) -> Result<()> {
        let unsynced = match self.log.upgrade() {
            Some(log) => {
                let broken = || log.is_broken().then(|| "a write failed, and could not be undone".to_owned());
                if let Some(fault) = known_fault.clone().or_else(broken) {
                    return self.write_again(log.as_ref(), &fault, None, known_fault, wakeups);
                }
                // What cannot be written is not there to be synced; who sent it is told.
                drop(log.write_staged(wakeups));
                log.take_unsynced()
            }
            None => None,
        };
        let Some(unsynced) = unsynced.or_else(|| self.left.lock().take()) else { return Ok(()) };
        let outcome = match known_fault {
            // The log was dropped before it could write it again.
            Some(fault) => Err(Unfinished::Failed(fault.clone())),
            None => self.timed(|| unsynced.sync()),
        };
        // Not held during the sync: it does not keep the log, and with it the directory, in use.
        match (outcome, self.log.upgrade()) {
            (Ok(()), log) => {
                log.inspect(|log| log.synced(&unsynced, wakeups));
                unsynced.decide(&Ok(()), wakeups);
                Ok(())
            }
            (Err(Unfinished::NotTried(error)), log) => {
                let unknown = AppendFault::Unknown(error.to_string());
                unsynced.decide(&Err(unknown), wakeups);
                match log {
                    Some(log) => log.not_synced(&unsynced),
                    None => self.leave(unsynced),
                }
                Err(error)
            }
            (Err(Unfinished::Failed(fault)), Some(log)) => {
                self.write_again(log.as_ref(), &fault, Some(&unsynced), known_fault, wakeups)
            }
            (Err(Unfinished::Failed(fault)), None) => {
                unsynced.decide(&Err(AppendFault::Unknown(fault.clone())), wakeups);
                self.tell(&fault, true, false, wakeups);
                Err(self.failed(known_fault.insert(fault)))
            }
        }
    }

    fn timed(&self, sync: impl FnOnce() -> Result<(), Unfinished>) -> Result<(), Unfinished> {
        let begun = Instant::now();
        let outcome = sync();
        self.times.note(Instant::now().saturating_duration_since(begun), outcome.is_ok());
        outcome
    }

    /// Has the log write again what may be lost. Whoever waited for it is told how that went.
    #[cold]
    fn write_again(
        &self,
        log: &dyn SyncSource,
        fault: &str,
        unsynced: Option<&Unsynced>,
        known_fault: &mut Option<String>,
        wakeups: &mut Wakeups,
    ) -> Result<()> {
        let written = log.write_again(fault, unsynced, wakeups);
        self.tell(fault, known_fault.is_none(), written.is_ok(), wakeups);
        match &written {
            Ok(()) => *known_fault = None,
            Err(_) => *known_fault = Some(fault.to_owned()),
        }
        if let Some(unsynced) = unsynced {
            let outcome = written.as_ref().copied().map_err(|error| {
                AppendFault::Unknown(format!("{fault}; and it cannot be written again: {error}"))
            });
            unsynced.decide(&outcome, wakeups);
        }
        written
    }

    /// Tells subscribers of a fault once, and of its end, but of no try between them.
    fn tell(&self, fault: &str, is_new: bool, is_written_again: bool, wakeups: &mut Wakeups) {
        let identity = self.identity.clone();
        if is_new {
            let fault = fault.to_owned();
            wakeups.tell(move || {
                trace::sync_failed(&identity.topic, identity.partition, &fault, is_written_again);
            });
        } else if is_written_again {
            wakeups.tell(move || trace::written_again(&identity.topic, identity.partition));
        }
    }

    /// Takes what a log that is being dropped has not synced.
    pub(super) fn leave(&self, unsynced: Unsynced) {
        *self.left.lock() = Some(unsynced);
    }

    /// Keeps for the next flush what became of batches that nobody will ask for, if they were lost.
    pub(super) fn note_unheard(&self, completion: &Completion) {
        if let Some(fault) = completion.unheard() {
            let error = match fault {
                AppendFault::NotAppended(error) => error.duplicate(),
                AppendFault::Unknown(fault) => self.failed(fault),
            };
            self.unheard.lock().get_or_insert(error);
        }
    }

    /// What nobody has been told yet.
    pub(super) fn take_unheard(&self) -> Result<()> {
        self.unheard.lock().take().map_or(Ok(()), Err)
    }

    fn failed(&self, fault: &str) -> Error {
        Error::PartitionFailed { partition: self.identity.topic_partition(), fault: fault.to_owned() }
    }
}
