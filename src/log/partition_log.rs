//! The log of one partition: the append path, from offset to acknowledgement.
//!
//! A batch goes through up to four steps: **staged** (it has its offsets and lies in a chunk), **written**
//! (it is in the file), **synced**, **published** (readers see it). In memory it is published when it is
//! staged; on disk when it is written, or under `Durability::PowerLoss` when it is synced.
//!
//! Locks, in the order in which they are taken: the syncer's, `tail`, `stage`, then `view` or a segment's
//! index. `tail` is held during a write, `stage` and the others never during I/O. None is held while a
//! codec runs; readers take only `view`, briefly, and not at every fetch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::chunk::StagedBytes;
use super::completion::{AppendFault, Completion};
use super::disk_tail::DiskTail;
use super::health::{Health, Status};
use super::identity::{LogIdentity, LogPlace};
use super::offset_index::FrameStart;
use super::recovery::{self, Damage, Mending, Recovered, Request, SyncedTo, Verified};
use super::segment::{Segment, WriteError};
use super::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::settings::LogSettings;
use super::stage::{Piece, Stage, TakenBack};
use super::syncer::{SyncSource, Syncer, Unsynced};
use super::view::View;
use super::wakeups::Wakeups;
use crate::config::{Durability, RecoveryPolicy, TopicSettings};
use crate::error::{Error, Result};
use crate::record::frame::{CrcSeed, NewRecord};
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::signal::Waiters;
use crate::sync::{Arc, AtomicU64, CachePadded, Event, Mutex, MutexGuard, RwLock, Weak};

/// How much of the end of a log on disk is kept in memory, where readers that keep up find it.
const DISK_TAIL_BYTES: u64 = if cfg!(loom) { 96 } else { 1 << 20 };

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    identity: LogIdentity,
    settings: LogSettings,
    /// Apart from what readers touch.
    stage: CachePadded<Mutex<Stage>>,
    view: CachePadded<RwLock<View>>,
    waiters: Arc<Waiters>,
    health: Health,
    /// Records below this offset were deleted; a reader that is there looks again.
    pub(super) trimmed: AtomicU64,
    /// Whether readers pass over damaged records.
    pub(super) skips_damage: bool,
    /// `None` in memory.
    place: Option<LogPlace>,
    /// `None` in memory, and for a log that takes no records: one that is fenced, or opened read-only.
    disk: Option<Home>,
}

/// What a log on disk has beside its stage, to be written to.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) place: LogPlace,
    pub(super) tail: Mutex<DiskTail>,
    pub(super) syncer: Arc<Syncer>,
    /// Notified when fewer bytes wait to be acknowledged.
    pub(super) room: Arc<Event>,
}

/// What makes a log one on disk.
#[derive(Debug, Default)]
struct Disk {
    place: Option<LogPlace>,
    /// `None`: it takes no records.
    tail: Option<DiskTail>,
    skips_damage: bool,
}

/// A log on disk that can be opened.
#[derive(Debug)]
pub(crate) struct ExaminedLog {
    identity: LogIdentity,
    place: LogPlace,
    examined: recovery::Examined,
}

impl ExaminedLog {
    pub(crate) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// Whether this policy cuts off what is known to have been synced.
    pub(crate) fn is_to_be_shortened(&self, policy: RecoveryPolicy) -> bool {
        self.examined.is_to_be_shortened(policy)
    }

    /// What was found.
    pub(crate) fn verified(self) -> Verified {
        self.examined.verified(&self.identity)
    }
}

impl PartitionLog {
    /// An empty log that lives in memory and drops its oldest records beyond `limit` bytes.
    pub(crate) fn in_memory(identity: LogIdentity, settings: &TopicSettings) -> Arc<Self> {
        let limit = settings.memory_limit / u64::from(settings.partitions);
        let view = View::new(0, 0, Vec::new());
        Self::assemble(identity, settings, Stage::in_memory(0, limit), view, Disk::default())
    }

    /// Makes the first segment of a log in the directory of `place`, which must exist.
    pub(crate) fn create(identity: &LogIdentity, place: &LogPlace) -> Result<()> {
        let header = SegmentHeader {
            partition_id: identity.id,
            base_offset: 0,
            first_position: SEGMENT_HEADER_BYTES,
            recovery_point: 0,
            created: place.clock.now().as_millis(),
            previous: None,
        };
        let segment = Segment::create(place.data_dir.storage(), &place.dir, &header)?;
        segment.sync(place.data_dir.storage())
    }

    /// Looks through a log on disk. Changes nothing.
    pub(crate) fn examine(identity: LogIdentity, place: LogPlace, request: &Request) -> Result<ExaminedLog> {
        let examined = recovery::examine(place.data_dir.storage(), &place.dir, &identity, request)?;
        Ok(ExaminedLog { identity, place, examined })
    }

    /// Opens a log that was examined: cuts off its torn tail, if it has one, and does with damage what the policy
    /// says. All that is shown was synced.
    pub(crate) fn open(
        log: ExaminedLog,
        settings: &TopicSettings,
        policy: RecoveryPolicy,
    ) -> Result<(Arc<Self>, Mending)> {
        let ExaminedLog { identity, place, examined } = log;
        let now = place.clock.now().as_millis();
        let recovered = examined.mend(place.data_dir.storage(), &place.dir, &identity, policy, now)?;
        if let Some(damage) = recovered.found.fence() {
            let fence = fenced(damage);
            return Ok(Self::assemble_closed(identity, place, settings, recovered, fence));
        }
        let Some(tail) = DiskTail::after(&recovered, identity.id) else {
            let detail = "its directory holds no segment".to_owned();
            return Err(Error::Corrupt { path: place.dir, position: 0, detail });
        };
        let end = FrameStart { offset: recovered.end_offset, position: tail.position() };
        let first_position = tail.active().first_frame().position;
        let stage = Stage::on_disk(end, DISK_TAIL_BYTES, CrcSeed::new(identity.id), first_position);
        let view = View::new(recovered.start_offset, recovered.end_offset, recovered.segments);
        let disk = Disk { place: Some(place), tail: Some(tail), skips_damage: recovered.skips_damage };
        Ok((Self::assemble(identity, settings, stage, view, disk), recovered.found))
    }

    /// Opens a log that was examined for reading only.
    pub(crate) fn open_read_only(log: ExaminedLog, settings: &TopicSettings) -> (Arc<Self>, Mending) {
        let ExaminedLog { identity, place, examined } = log;
        let recovered = examined.leave(&identity);
        let reason = Error::ReadOnly { operation: "send records" };
        Self::assemble_closed(identity, place, settings, recovered, reason)
    }

    /// An empty log in memory, of a broker that changes nothing.
    pub(crate) fn in_memory_read_only(identity: LogIdentity, settings: &TopicSettings) -> Arc<Self> {
        let log = Self::in_memory(identity, settings);
        log.health.fence(Error::ReadOnly { operation: "send records" });
        log
    }

    fn assemble_closed(
        identity: LogIdentity,
        place: LogPlace,
        settings: &TopicSettings,
        recovered: Recovered,
        reason: Error,
    ) -> (Arc<Self>, Mending) {
        let view = View::new(recovered.start_offset, recovered.end_offset, recovered.segments);
        let stage = Stage::in_memory(recovered.end_offset, DISK_TAIL_BYTES);
        let disk = Disk { place: Some(place), tail: None, skips_damage: recovered.skips_damage };
        let log = Self::assemble(identity, settings, stage, view, disk);
        log.health.fence(reason);
        (log, recovered.found)
    }

    fn assemble(
        identity: LogIdentity,
        settings: &TopicSettings,
        stage: Stage,
        view: View,
        disk: Disk,
    ) -> Arc<Self> {
        let Disk { place, tail, skips_damage } = disk;
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            disk: place.clone().zip(tail).map(|(place, tail)| {
                let storage = place.data_dir.shared_storage();
                let syncer = Arc::new(Syncer::new(this.clone(), identity.clone(), storage));
                Home { place, tail: Mutex::new(tail), syncer, room: Arc::new(Event::new()) }
            }),
            place,
            skips_damage,
            identity,
            settings: LogSettings::new(settings),
            stage: CachePadded::new(Mutex::new(stage)),
            view: CachePadded::new(RwLock::new(view)),
            waiters: Arc::default(),
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
        self.place.as_ref().map(|place| place.dir.clone())
    }

    pub(crate) fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
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
        self.place.as_ref()
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

    /// Gives a batch its offsets; the first of them.
    // As `Stage::push`.
    #[inline(always)]
    pub(super) fn stage_batch(&self, stage: &mut Stage, batch: &[NewRecord<'_>]) -> Result<u64> {
        self.health.check_appendable(&self.identity)?;
        let bytes = batch.iter().map(NewRecord::frame_bytes).sum();
        Ok(stage.push(batch, bytes, &self.settings, &self.view))
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
        if let Err(error) = self.write_to_file(home, tail, piece) {
            let (error, left) = match error {
                WriteError::Undone(error) => (error, None),
                WriteError::NotUndone(fault) => {
                    tail.break_off(fault.clone());
                    self.health.suspend(self.failed(&fault));
                    self.try_again_later(home);
                    (self.failed(&fault), Some(fault))
                }
            };
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

    /// Has the flusher write again what may be lost, when the next sync would be due.
    fn try_again_later(&self, home: &Home) {
        // If nobody listens, the broker is being closed: that tries once more.
        let _is_asked = home.place.flush.sync_within(self.settings.sync_interval(), &home.syncer);
    }

    /// Shows readers what is staged up to the end of `bytes`.
    fn publish(
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

    fn write_to_file(&self, home: &Home, tail: &mut DiskTail, piece: &Piece) -> Result<(), WriteError> {
        if tail.must_roll_for(piece) {
            let segment = tail.roll(&home.place, piece.base_offset)?;
            self.view.write().push_segment(segment);
        }
        tail.write(piece)
    }

    /// Takes back what is staged and not written, and decides what those who wait for it are told. Returns
    /// the error. `left`: the next open may find what somebody had begun to write, for this reason.
    #[cold]
    fn take_back(
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

    fn drop_unwritten(&self, tail: &DiskTail) -> TakenBack {
        self.stage.lock().drop_unwritten(tail.active().first_frame().position, tail.position())
    }

    /// Asks the flusher to write what is staged, once until it does.
    pub(super) fn request_write(&self, home: &Home, stage: &mut Stage) {
        if !stage.write_requested {
            stage.write_requested = home.place.flush.write(&home.syncer);
        }
    }

    /// Asks the flusher for a sync within the topic's interval, once until it is done.
    #[inline]
    pub(super) fn request_sync(&self, home: &Home, stage: &mut Stage) {
        let interval = self.settings.sync_interval();
        if stage.sync_requested.is_none_or(|asked| asked > interval) {
            let is_asked = home.place.flush.sync_within(interval, &home.syncer);
            stage.sync_requested = is_asked.then_some(interval);
        }
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

    /// Ends appends and fetches, for good, and makes everything durable.
    pub(crate) fn close(&self) -> Result<()> {
        self.end(Status::Closed);
        if let Some(home) = &self.disk {
            home.tail.lock().sync_marks_too();
        }
        // One that is fenced has nothing that could be lost by now.
        self.flush()
    }

    /// Ends appends and fetches: the topic is gone.
    pub(crate) fn delete(&self) {
        self.end(Status::Deleted);
        if let Some(home) = &self.disk {
            let mut wakeups = Wakeups::default();
            let mut tail = home.tail.lock();
            let TakenBack { attempted, untouched } = self.drop_unwritten(&tail);
            let error = Error::TopicDeleted { topic: self.identity.topic.to_string() };
            let deleted = Err(AppendFault::NotAppended(Arc::new(error)));
            for waiting in [tail.give_up_waiting(), attempted, untouched] {
                wakeups.decide(&waiting, &deleted);
            }
            wakeups.note_room(&home.room);
        }
    }

    fn end(&self, status: Status) {
        {
            let _no_append_under_way = self.stage.lock();
            self.health.end(status);
        }
        self.waiters.notify_all();
        if let Some(home) = &self.disk {
            home.room.notify(usize::MAX);
        }
    }

    /// Whether records can be read.
    #[inline]
    pub(crate) fn check_readable(&self) -> Result<()> {
        self.health.check_readable(&self.identity)
    }
}

impl SyncSource for PartitionLog {
    fn write_begins(&self) {
        self.stage.lock().write_requested = false;
    }

    fn sync_begins(&self) {
        self.stage.lock().sync_requested = None;
    }

    fn write_staged(&self, wakeups: &mut Wakeups) -> Result<()> {
        let Some(home) = &self.disk else { return Ok(()) };
        self.write_all(home, &mut home.tail.lock(), wakeups)
    }

    fn is_sync_awaited(&self) -> bool {
        self.disk.as_ref().is_some_and(|home| home.tail.lock().is_awaited())
    }

    fn take_unsynced(&self) -> Option<Unsynced> {
        let unsynced = self.disk.as_ref()?.tail.lock().take_unsynced()?;
        if is_planted(Bug::MarkBeforeSync) {
            self.stage.lock().note_synced(unsynced.end_offset, &self.view);
            self.write_mark();
        }
        Some(unsynced)
    }

    fn synced(&self, done: &Unsynced, wakeups: &mut Wakeups) {
        let Some(home) = &self.disk else { return };
        let synced = home.tail.lock().synced(done);
        let mut stage = self.stage.lock();
        stage.note_synced(synced, &self.view);
        if let Some(end) = &done.unpublished {
            self.publish(home, stage, end, wakeups);
            wakeups.note_records(&self.waiters);
        }
    }

    fn write_mark(&self) {
        let Some(home) = &self.disk else { return };
        let mut wakeups = Wakeups::default();
        let mut tail = home.tail.lock();
        let may_write = tail.broken().is_none() && self.health.status() == Status::Open;
        if may_write && self.stage.lock().push_mark() {
            // One that cannot be written is written later. Whoever waits for something else is told.
            drop(self.write_all(home, &mut tail, &mut wakeups));
        }
    }

    fn is_broken(&self) -> bool {
        self.disk.as_ref().is_some_and(|home| home.tail.lock().broken().is_some())
    }

    fn write_again(&self, fault: &str, unsynced: Option<&Unsynced>, wakeups: &mut Wakeups) -> Result<()> {
        let Some(home) = &self.disk else { return Ok(()) };
        let mut tail = home.tail.lock();
        tail.break_off(fault.to_owned());
        tail.restore_unpublished(unsynced.and_then(|unsynced| unsynced.unpublished.clone()));
        let rewrite = || self.rewrite(&home.place, &mut tail);
        let rewritten = catch_unwind(AssertUnwindSafe(rewrite));
        match rewritten.unwrap_or_else(|_| Err(self.failed("the storage panicked"))) {
            Ok(()) => {
                self.health.resume();
                let (unpublished, waiting) = tail.take_waiting();
                let mut stage = self.stage.lock();
                stage.note_synced(tail.end_offset(), &self.view);
                if let Some(end) = &unpublished {
                    self.publish(home, stage, end, wakeups);
                    wakeups.note_records(&self.waiters);
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
                self.try_again_later(home);
                Err(error)
            }
        }
    }

    fn rouse(&self) {
        let Some(home) = &self.disk else { return };
        let mut waiting: Vec<Arc<Completion>> = home.tail.lock().waiting().collect();
        waiting.extend(self.stage.lock().waiting());
        // Wakers are others' code: no lock is held.
        waiting.iter().for_each(|completion| completion.rouse());
    }
}

/// Why a log that is damaged takes no records.
fn fenced(damage: &Damage) -> Error {
    Error::PartitionFenced {
        partition: damage.partition.clone(),
        path: damage.path.clone(),
        position: damage.position,
        first_offset: damage.first_offset,
        detail: damage.detail.clone(),
    }
}

impl Drop for PartitionLog {
    /// Dropping writes, which does not block for long, but does not sync: that is left to the flusher, which
    /// outlives the log. By then another broker may own the directory; syncing its files does no harm.
    fn drop(&mut self) {
        let Some(home) = &self.disk else { return };
        if self.health.check_readable(&self.identity).is_err() {
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
                flush.sync_within(self.settings.sync_interval(), &home.syncer)
            };
        }
    }
}
