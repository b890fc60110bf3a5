//! Appending: `append` blocks until a batch is as durable as its topic promises; `enqueue` does not, and
//! hands out what is needed to wait for it.

use std::task::{Context, Poll};

use super::compaction::Compacted;
use super::completion::Completion;
use super::partition_log::{Home, PartitionLog};
use super::stage::MAX_UNPUBLISHED_BYTES;
use super::syncer::Syncer;
use super::trim::Trimmed;
use super::wakeups::Wakeups;
use crate::config::WhenFull;
use crate::error::{Error, Result};
use crate::record::frame::NewRecord;
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::{Arc, AtomicBool, EventListener, Instant, Listener, Ordering};
use crate::trace;

/// A batch that was enqueued.
#[derive(Debug)]
pub(crate) struct Enqueued {
    /// The offset that its first record gets if all goes well.
    pub(crate) base_offset: u64,
    /// `None`: it is acknowledged already.
    pub(crate) pending: Option<Pending>,
}

/// Who writes a batch that was enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenBy {
    /// The flusher, at once.
    Flusher,
    /// Whoever enqueued it, by waiting for it right away.
    Caller,
}

/// The way to the outcome of a batch.
#[derive(Debug)]
pub(crate) struct Pending {
    completion: Arc<Completion>,
    /// Knows the log weakly: who keeps a delivery does not keep the directory in use.
    syncer: Arc<Syncer>,
    /// Whether anybody was told the outcome.
    heard: AtomicBool,
}

/// Whether a batch was lost, for one who does not count as told of it.
#[derive(Clone, Debug)]
pub(crate) struct Fate(Arc<Completion>);

impl Fate {
    /// Whether it was not acknowledged. Then its offsets may have been given again.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.has_failed()
    }

    /// Whether it is known by now.
    pub(crate) fn is_decided(&self) -> bool {
        self.0.is_complete()
    }
}

impl PartitionLog {
    /// Appends `batch`, whole or not at all, and returns when it is as durable as the topic promises and
    /// visible: the offset of its first record; the others follow. The batch must have passed
    /// [`PartitionLog::check_record`] and [`PartitionLog::check_batch`].
    #[inline]
    pub(crate) fn append(&self, batch: &[NewRecord<'_>]) -> Result<u64> {
        match self.home() {
            None => self.append_in_memory(batch, true),
            Some(home) => self.append_to_disk(home, batch),
        }
    }

    /// `may_wait`: for room, if the topic has its senders wait.
    fn append_in_memory(&self, batch: &[NewRecord<'_>], may_wait: bool) -> Result<u64> {
        let staged = self.try_stage(&mut self.stage().lock(), batch)?;
        let base_offset = match staged {
            Some(base_offset) => base_offset,
            None => self.stage_in_full(batch, may_wait)?,
        };
        self.waiters().notify();
        Ok(base_offset)
    }

    /// A log in memory has no room for a batch: gives up what need not be kept; if that is not enough, waits
    /// until there is room, if it is to.
    #[cold]
    fn stage_in_full(&self, batch: &[NewRecord<'_>], may_wait: bool) -> Result<u64> {
        loop {
            // Registered before looking: room that is made in between is not missed.
            let listener = self.upkeep().room().listen();
            self.make_room()?;
            // Not in the `match`: the lock would be held while this waits.
            let staged = self.try_stage(&mut self.stage().lock(), batch)?;
            match staged {
                Some(base_offset) => return Ok(base_offset),
                None if may_wait && self.waits_for_room() => listener.wait(),
                None => return Err(self.full(&self.stage().lock())),
            }
        }
    }

    /// Gives up what a log in memory need not keep by now.
    fn make_room(&self) -> Result<()> {
        let Some(care) = self.settings().care() else { return Ok(()) };
        if let Some(start_offset) = self.give_up_by(&care, self.upkeep().now())? {
            let Trimmed { records, bytes, .. } = self.give_up(start_offset);
            trace::retention(&self.identity().topic, self.identity().partition, start_offset, records, bytes);
        }
        if let Some(compaction) = &care.compaction {
            // A record that finds no room is reason enough.
            let anything = compaction.clone().min_dirty_percent(0);
            let done = self.compact(&anything, self.upkeep().now_as_timestamp())?;
            if done != Compacted::default() {
                let Compacted { records, bytes, tombstones } = done;
                trace::compaction(
                    &self.identity().topic,
                    self.identity().partition,
                    records,
                    bytes,
                    tombstones,
                );
            }
        }
        Ok(())
    }

    /// Whether one who finds no room is to wait for it.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.home().is_some() || self.settings().when_full() == WhenFull::Block
    }

    #[inline(never)]
    fn append_to_disk(&self, home: &Home, batch: &[NewRecord<'_>]) -> Result<u64> {
        let mut stage = self.stage().lock();
        let alone = stage.unpublished_bytes() == 0 && !self.publishes_when_synced();
        let base_offset = self.stage_batch(&mut stage, batch)?;
        if alone
            && let mut wakeups = Wakeups::default()
            && let Some(mut tail) = home.tail.try_lock()
            && tail.broken().is_none()
            && let Some(piece) = stage.unwritten()
        {
            // Nobody else has anything to write: no need to agree with others on who does it. Nothing is to
            // be synced before it is seen either, whatever the topic promises from now on.
            self.request_sync(home, &mut stage);
            if is_planted(Bug::AckBeforeWrite) && self.request_write(home, &mut stage) {
                return Ok(base_offset);
            }
            drop(stage);
            return self.write_piece(home, &mut tail, &piece, false, &mut wakeups).map(|()| base_offset);
        }
        let completion = stage.completion();
        self.request_sync(home, &mut stage);
        drop(stage);
        self.write_for(home, &completion);
        Pending::new(completion, home).wait(base_offset)?;
        Ok(base_offset)
    }

    /// Writes what is staged, unless somebody who had the lock before has done it.
    fn write_for(&self, home: &Home, completion: &Completion) {
        let mut wakeups = Wakeups::default();
        let mut tail = home.tail.lock();
        if !completion.is_complete() {
            // How it goes is told through the completion.
            drop(self.write_all(home, &mut tail, &mut wakeups));
        }
    }

    /// Appends `batch`, whole or not at all, without waiting and without I/O: the flusher writes it, and
    /// syncs it if that is promised; or else the caller does, who waits for it.
    pub(crate) fn enqueue(&self, batch: &[NewRecord<'_>], by: WrittenBy) -> Result<Enqueued> {
        let Some(home) = self.home() else {
            return self
                .append_in_memory(batch, false)
                .map(|base_offset| Enqueued { base_offset, pending: None });
        };
        let mut stage = self.stage().lock();
        // First: a log that has ended will never have room.
        self.check_appendable()?;
        // Callers who wait make room themselves.
        if stage.is_full() && by == WrittenBy::Flusher {
            let (partition, pending_bytes) = (self.identity().topic_partition(), stage.unpublished_bytes());
            return Err(Error::TopicFull { partition, pending_bytes, max: MAX_UNPUBLISHED_BYTES });
        }
        let base_offset = self.stage_batch(&mut stage, batch)?;
        let completion = stage.completion();
        let is_asked = by == WrittenBy::Caller || self.request_write(home, &mut stage);
        self.request_sync(home, &mut stage);
        drop(stage);
        if !is_asked {
            // Nobody else will.
            home.syncer.work_for(&completion);
        }
        Ok(Enqueued { base_offset, pending: Some(Pending::new(completion, home)) })
    }

    /// Notified when something that was enqueued is acknowledged or given up; in memory, when there may be
    /// room.
    pub(crate) fn listen_for_room(&self) -> EventListener {
        match self.home() {
            Some(home) => home.room.listen(),
            None => self.upkeep().room().listen(),
        }
    }
}

impl Pending {
    fn new(completion: Arc<Completion>, home: &Home) -> Self {
        Self { completion, syncer: Arc::clone(&home.syncer), heard: AtomicBool::new(false) }
    }

    /// What became of the record at `offset`; `None` while that is open.
    pub(crate) fn outcome(&self, offset: u64) -> Option<Result<()>> {
        let outcome = self.completion.outcome(&|| self.syncer.identity().topic_partition(), offset)?;
        self.heard.store(true, Ordering::Relaxed);
        Some(outcome)
    }

    pub(crate) fn fate(&self) -> Fate {
        Fate(Arc::clone(&self.completion))
    }

    pub(crate) fn is_decided(&self) -> bool {
        self.completion.is_complete()
    }

    /// Nobody is to be told what becomes of it: if it is lost, it is made up for.
    pub(crate) fn tell_nobody(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Blocks until it is decided. Writes and syncs on this thread rather than wait for the flusher.
    pub(crate) fn wait(&self, offset: u64) -> Result<()> {
        loop {
            if let Some(outcome) = self.outcome(offset) {
                return outcome;
            }
            self.syncer.work_for(&self.completion);
            // Still open if the log is being dropped: what it leaves is the flusher's.
            self.completion.wait();
        }
    }

    /// Blocks until it is decided or the time has come.
    pub(crate) fn wait_until(&self, deadline: Instant) {
        self.completion.wait_until(deadline);
    }

    /// Ready when it is decided.
    pub(crate) fn poll(&self, listener: &mut Option<EventListener>, context: &mut Context<'_>) -> Poll<()> {
        self.completion.poll(listener, context)
    }
}

impl Drop for Pending {
    /// If the record is lost that nobody asked for, the next flush says so.
    fn drop(&mut self) {
        if !self.heard.load(Ordering::Relaxed) {
            self.completion.detach();
            self.syncer.note_unheard(&self.completion);
        }
    }
}
