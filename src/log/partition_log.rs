//! The log of one partition: the append path, from offset to acknowledgement.
//!
//! A batch goes through up to four steps: **staged** (it has its offsets and lies in a chunk), **written**
//! (it is in the file), **synced**, **published** (readers see it). In memory it is published when it is
//! staged; on disk when it is written, or under `Durability::PowerLoss` when it is synced.
//!
//! Locks, in the order in which they are taken: the syncer's, `tail`, `stage`, then `view` or a segment's
//! index. `tail` is held during a write, `stage` and the others never during I/O. None is held while a
//! codec runs; readers take only `view`, briefly, and not at every fetch.

use std::path::PathBuf;

use super::chunk::StagedBytes;
use super::compaction::CompactionState;
use super::completion::AppendFault;
use super::counters::Counters;
use super::disk_tail::DiskTail;
use super::health::Health;
use super::identity::{LogIdentity, LogPlace};
use super::piece::{Piece, TakenBack};
use super::recovery::SyncedTo;
use super::segment::WriteError;
use super::settings::LogSettings;
use super::stage::Stage;
use super::statistics::Fetched;
use super::syncer::Syncer;
use super::upkeep::Upkeep;
use super::view::View;
use super::wakeups::Wakeups;
use crate::config::{Durability, TopicSettings};
use crate::error::{Error, Result};
use crate::record::frame::NewRecord;
use crate::sync::signal::Waiters;
use crate::sync::{Arc, AtomicU64, CachePadded, Event, Mutex, MutexGuard, RwLock, Weak};
use crate::trace;

/// How much of the end of a log on disk is kept in memory, where readers that keep up find it.
pub(super) const DISK_TAIL_BYTES: u64 = if cfg!(any(loom, shuttle)) { 96 } else { 1 << 20 };

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    identity: LogIdentity,
    settings: LogSettings,
    /// Apart from what readers touch.
    stage: CachePadded<Mutex<Stage>>,
    view: CachePadded<RwLock<View>>,
    waiters: Arc<Waiters>,
    counters: Arc<Counters>,
    compaction: CompactionState,
    upkeep: Arc<Upkeep>,
    /// Base offsets of segments whose files are to be removed, and could not be yet.
    pub(super) unremoved: Mutex<Vec<u64>>,
    /// On a line of its own: consumers write it.
    pub(super) fetched: CachePadded<Fetched>,
    /// Where it ended when it was opened.
    pub(super) opened_at: u64,
    pub(super) health: Health,
    /// Records below this offset were deleted; a reader that is there looks again.
    pub(super) trimmed: AtomicU64,
    /// Whether readers pass over damaged records.
    pub(super) skips_damage: bool,
    /// `None` in memory.
    place: Option<Arc<LogPlace>>,
    /// `None` in memory, and for a log that takes no records: one that is fenced, or opened read-only.
    disk: Option<Home>,
}

/// What a log on disk has beside its stage, to be written to.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) place: Arc<LogPlace>,
    pub(super) tail: Mutex<DiskTail>,
    pub(super) syncer: Arc<Syncer>,
    /// Notified when fewer bytes wait to be acknowledged.
    pub(super) room: Arc<Event>,
}

/// What makes a log one on disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) place: Option<LogPlace>,
    /// `None`: it takes no records.
    pub(super) tail: Option<DiskTail>,
    pub(super) skips_damage: bool,
    pub(super) upkeep: Arc<Upkeep>,
}

impl Disk {
    /// Of a log in memory.
    fn none(upkeep: &Arc<Upkeep>) -> Self {
        Self { place: None, tail: None, skips_damage: false, upkeep: Arc::clone(upkeep) }
    }
}

impl PartitionLog {
    /// An empty log that lives in memory and drops its oldest records beyond `limit` bytes.
    pub(crate) fn in_memory(
        identity: LogIdentity,
        settings: &TopicSettings,
        upkeep: &Arc<Upkeep>,
    ) -> Arc<Self> {
        let limit = settings.memory_limit / u64::from(settings.partitions);
        let view = View::new(0, 0, Vec::new());
        Self::assemble(identity, settings, Stage::in_memory(0, limit), view, Disk::none(upkeep))
    }

    /// An empty log in memory, of a broker that changes nothing.
    pub(crate) fn in_memory_read_only(
        identity: LogIdentity,
        settings: &TopicSettings,
        upkeep: &Arc<Upkeep>,
    ) -> Arc<Self> {
        let log = Self::in_memory(identity, settings, upkeep);
        log.health.fence(Error::ReadOnly { operation: "send records" });
        log
    }

    pub(super) fn assemble(
        identity: LogIdentity,
        settings: &TopicSettings,
        stage: Stage,
        view: View,
        disk: Disk,
    ) -> Arc<Self> {
        let Disk { place, tail, skips_damage, upkeep } = disk;
        let opened_at = view.end_offset();
        let place = place.map(Arc::new);
        let counters = Arc::clone(view.counters());
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            disk: place.clone().zip(tail).map(|(place, tail)| {
                let times = Arc::clone(place.flush.times());
                let syncer = Arc::new(Syncer::new(this.clone(), identity.clone(), times));
                Home { place, tail: Mutex::new(tail), syncer, room: Arc::new(Event::new()) }
            }),
            place,
            skips_damage,
            identity,
            settings: LogSettings::new(settings),
            stage: CachePadded::new(Mutex::new(stage)),
            view: CachePadded::new(RwLock::new(view)),
            waiters: Arc::default(),
            counters,
            compaction: CompactionState::default(),
            upkeep,
            unremoved: Mutex::default(),
            fetched: CachePadded::default(),
            opened_at,
            health: Health::default(),
            trimmed: AtomicU64::new(0),
        })
    }

    pub(crate) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// What of the topic's settings counts here.
    pub(crate) fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// Where the log is kept; `None` in memory.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        self.place.as_ref().map(|place| place.dir.to_path_buf())
    }

    pub(crate) fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    /// What was taken out of it since it was opened.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn compaction(&self) -> &CompactionState {
        &self.compaction
    }

    /// What it shares with the other logs of its broker.
    pub(super) fn upkeep(&self) -> &Arc<Upkeep> {
        &self.upkeep
    }

    /// Takes over a topic's settings.
    pub(crate) fn apply_settings(&self, settings: &TopicSettings) {
        let tracked_ages = self.settings.tracks_ages();
        self.settings.apply(settings);
        if self.settings.tracks_ages() && !tracked_ages {
            // Nobody took note of when what is there was appended.
            self.stage.lock().note_appended(self.upkeep.now());
        }
        self.upkeep.notify_room();
    }

    pub(super) fn view(&self) -> &RwLock<View> {
        &self.view
    }

    /// The first offset that is kept.
    pub(crate) fn start_offset(&self) -> u64 {
        self.view.read().start_offset()
    }

    /// The first offset that readers may not see yet.
    pub(crate) fn end_offset(&self) -> u64 {
        self.view.read().end_offset()
    }

    /// Whether one record is within the topic's bound; asked before the lock is taken.
    #[inline]
    pub(crate) fn check_record(&self, record: &NewRecord<'_>) -> Result<()> {
        if record.key.is_none() && self.settings.needs_keys() {
            return Err(Error::KeyRequired { topic: self.identity.topic.to_string() });
        }
        let (size, max) = (record.payload_bytes(), self.settings.max_record_bytes());
        if size > max {
            let topic = self.identity.topic.to_string();
            return Err(Error::RecordTooLarge { topic, size, max });
        }
        Ok(())
    }

    /// Whether several records together are within the topic's bound.
    pub(crate) fn check_batch(&self, batch: &[NewRecord<'_>]) -> Result<()> {
        let (size, max) = (batch.iter().map(NewRecord::frame_bytes).sum(), self.settings.max_batch_bytes());
        if size > max && batch.len() > 1 {
            let topic = self.identity.topic.to_string();
            return Err(Error::BatchTooLarge { topic, size, max });
        }
        Ok(())
    }

    pub(super) fn home(&self) -> Option<&Home> {
        self.disk.as_ref()
    }

    /// Where it is on disk; `None` in memory.
    pub(super) fn place(&self) -> Option<&LogPlace> {
        self.place.as_deref()
    }

    /// How far all of it is on stable storage, if it is.
    pub(crate) fn synced_to(&self) -> Option<SyncedTo> {
        self.disk.as_ref()?.tail.lock().synced_to()
    }

    /// What keeps it from taking records for now or for good, if anything does.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.health.reason()
    }

    pub(super) fn failed(&self, fault: &str) -> Error {
        Error::PartitionFailed { partition: self.identity.topic_partition(), fault: fault.to_owned() }
    }

    pub(super) fn stage(&self) -> &Mutex<Stage> {
        &self.stage
    }

    /// Gives a batch its offsets; the first of them. `None`: a log in memory has no room for it.
    // As `Stage::push`.
    #[inline(always)]
    pub(super) fn try_stage(&self, stage: &mut Stage, batch: &[NewRecord<'_>]) -> Result<Option<u64>> {
        self.health.check_appendable(&self.identity)?;
        let bytes = batch.iter().map(NewRecord::frame_bytes).sum();
        let now = if self.settings.tracks_ages() { Some(self.upkeep.now()) } else { None };
        Ok(stage.push(batch, bytes, now, &self.settings, &self.view))
    }

    /// As [`PartitionLog::try_stage`], with an error if there is no room.
    #[inline(always)]
    pub(super) fn stage_batch(&self, stage: &mut Stage, batch: &[NewRecord<'_>]) -> Result<u64> {
        self.try_stage(stage, batch)?.ok_or_else(|| self.full(stage))
    }

    /// A log in memory has no room for a batch.
    #[cold]
    pub(super) fn full(&self, stage: &Stage) -> Error {
        let pending_bytes = usize::try_from(stage.chunk_bytes()).unwrap_or(usize::MAX);
        let max = usize::try_from(self.settings.memory_limit()).unwrap_or(usize::MAX);
        Error::TopicFull { partition: self.identity.topic_partition(), pending_bytes, max }
    }

    /// Whether records can be appended.
    pub(super) fn check_appendable(&self) -> Result<()> {
        self.health.check_appendable(&self.identity)
    }

    /// Whether what is written waits for a sync before readers see it.
    #[inline]
    pub(super) fn publishes_when_synced(&self) -> bool {
        self.settings.durability() >= Durability::PowerLoss
    }

    /// Writes everything staged so far to the file. After an error nothing is staged.
    pub(super) fn write_all(&self, home: &Home, tail: &mut DiskTail, wakeups: &mut Wakeups) -> Result<()> {
        if tail.broken().is_some() {
            // It waits for what is being written again.
            return Ok(());
        }
        let end_offset = self.stage.lock().next_offset();
        loop {
            let (piece, leave_to_sync) = {
                let mut stage = self.stage.lock();
                let Some(piece) = stage.unwritten() else { break };
                // Readers see records in order: not before those that were sent when more was promised.
                let is_promised = self.publishes_when_synced() && piece.has_records;
                (piece, is_promised || !stage.is_written_published())
            };
            self.write_piece(home, tail, &piece, leave_to_sync, wakeups)?;
            if tail.end_offset() >= end_offset {
                break;
            }
        }
        Ok(())
    }

    /// Writes a piece to the file and, unless that is left to a sync, publishes it and decides what those who
    /// wait are told. After an error nothing is staged, and that is decided too.
    pub(super) fn write_piece(
        &self,
        home: &Home,
        tail: &mut DiskTail,
        piece: &Piece,
        leave_to_sync: bool,
        wakeups: &mut Wakeups,
    ) -> Result<()> {
        if let Err(error) = self.write_to_file(home, tail, piece, wakeups) {
            let (error, left) = match error {
                WriteError::Undone(error) => (error, None),
                WriteError::NotUndone(fault) => (self.break_off(home, tail, &fault), Some(fault)),
            };
            let (identity, told) = (self.identity.clone(), error.to_string());
            wakeups.tell(move || trace::write_failed(&identity.topic, identity.partition, &told));
            return Err(self.take_back(home, tail, error, left, wakeups));
        }
        let mut stage = self.stage.lock();
        let waiting = stage.wrote(&piece.bytes);
        if leave_to_sync {
            drop(stage);
            tail.leave_to_sync(&piece.bytes, waiting);
            return Ok(());
        }
        self.publish(home, stage, &piece.bytes, wakeups);
        if piece.has_records {
            wakeups.note_records(&self.waiters);
        }
        wakeups.decide(&waiting, &Ok(()));
        Ok(())
    }

    /// A change of the files has left something behind: nothing is written until that is mended. The error.
    #[cold]
    pub(super) fn break_off(&self, home: &Home, tail: &mut DiskTail, fault: &str) -> Error {
        tail.break_off(fault.to_owned());
        self.health.suspend(self.failed(fault));
        self.try_again_later(home);
        self.failed(fault)
    }

    /// Has the flusher write again what may be lost, when the next sync would be due.
    pub(super) fn try_again_later(&self, home: &Home) {
        // If nobody listens, the broker is being closed: that tries once more.
        let _is_asked = home.place.flush.sync_within(self.settings.sync_interval(), &home.syncer);
    }

    /// Shows readers what is staged up to the end of `bytes`.
    pub(super) fn publish(
        &self,
        home: &Home,
        mut stage: MutexGuard<'_, Stage>,
        bytes: &StagedBytes,
        wakeups: &mut Wakeups,
    ) {
        if stage.is_full() {
            wakeups.note_room(&home.room);
        }
        stage.publish(bytes, &self.view);
    }

    fn write_to_file(
        &self,
        home: &Home,
        tail: &mut DiskTail,
        piece: &Piece,
        wakeups: &mut Wakeups,
    ) -> Result<(), WriteError> {
        if tail.must_roll_for(piece) {
            let segment = tail.roll(&home.place, piece.base_offset)?;
            self.view.write().put_segment(segment);
            if self.settings.care().is_some() {
                wakeups.note_sealed(&self.upkeep);
            }
            let (identity, base_offset) = (self.identity.clone(), piece.base_offset);
            wakeups.tell(move || trace::rolled(&identity.topic, identity.partition, base_offset));
        }
        tail.write(piece)
    }

    /// Takes back what is staged and not written, and decides what those who wait for it are told. Returns
    /// the error. `left`: the next open may find what somebody had begun to write, for this reason.
    #[cold]
    pub(super) fn take_back(
        &self,
        home: &Home,
        tail: &DiskTail,
        error: Error,
        left: Option<String>,
        wakeups: &mut Wakeups,
    ) -> Error {
        let TakenBack { attempted, untouched } = self.drop_unwritten(tail);
        let not_appended = AppendFault::NotAppended(Arc::new(error.duplicate()));
        wakeups.decide(&attempted, &Err(left.map_or_else(|| not_appended.clone(), AppendFault::Unknown)));
        wakeups.decide(&untouched, &Err(not_appended));
        for promise in attempted.iter().chain(&untouched) {
            home.syncer.note_unheard(&promise.completion());
        }
        wakeups.note_room(&home.room);
        error
    }

    pub(super) fn drop_unwritten(&self, tail: &DiskTail) -> TakenBack {
        let mut stage = self.stage.lock();
        let taken_back = stage.drop_unwritten(tail.active().first_frame().position, tail.position());
        if tail.active().is_of_compaction() {
            // Nothing is appended to what compaction has written.
            stage.roll_next();
        }
        taken_back
    }

    /// Asks the flusher to write what is staged, once until it does; whether it is going to.
    pub(super) fn request_write(&self, home: &Home, stage: &mut Stage) -> bool {
        if !stage.write_requested {
            stage.write_requested = home.place.flush.write(&home.syncer);
            if !stage.write_requested {
                self.suspend_without_flusher();
            }
        }
        stage.write_requested
    }

    /// Asks the flusher for a sync within the topic's interval, once until it is done.
    #[inline]
    pub(super) fn request_sync(&self, home: &Home, stage: &mut Stage) {
        stage.unsynced.staged();
        let interval = self.settings.sync_interval();
        if stage.sync_requested.is_none_or(|asked| asked > interval) {
            let is_asked = home.place.flush.sync_within(interval, &home.syncer);
            stage.sync_requested = is_asked.then_some(interval);
            if !is_asked {
                self.suspend_without_flusher();
            }
        }
    }

    /// The flusher of a log that is open has ended: what it is for would not be done, and nobody would know.
    #[cold]
    fn suspend_without_flusher(&self) {
        self.health.suspend(self.failed("the thread that syncs it has ended"));
    }

    /// Makes everything appended so far survive a power loss. Nothing to do in memory.
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk.as_ref().map_or(Ok(()), |home| home.syncer.sync())
    }

    /// As [`sync`](Self::sync), and answers for records that were lost when nobody waited for them any more.
    pub(crate) fn flush(&self) -> Result<()> {
        self.sync()?;
        self.disk.as_ref().map_or(Ok(()), |home| home.syncer.take_unheard())
    }

    /// Whether records can be read.
    #[inline]
    pub(crate) fn check_readable(&self) -> Result<()> {
        self.health.check_readable(&self.identity)
    }
}
