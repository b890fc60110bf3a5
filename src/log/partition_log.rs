//! The log of one partition, and its lock: the append path from offset to publication.
//!
//! Locks, in the order in which they are taken: the syncer's, then `appender`, then `view` or a segment's
//! index. None is held while a codec runs; readers take only `view`, briefly, and not at every fetch.

use std::path::PathBuf;

use super::chunk::ChunkWriter;
use super::chunk_supply::ChunkSupply;
use super::disk_tail::DiskTail;
use super::health::{Health, Status};
use super::identity::{LogIdentity, LogPlace};
use super::recovery::{self, TornTail};
use super::segment::{Segment, SegmentHeader, WriteError};
use super::syncer::{SyncSource, Syncer, Unsynced};
use super::view::View;
use crate::config::TopicSettings;
use crate::error::{Error, Result};
use crate::record::frame::{self, NewRecord, Stamp};
use crate::sync::signal::Waiters;
use crate::sync::{Arc, CachePadded, Mutex, RwLock, Weak};

/// How much of the end of a log on disk is kept in memory, where readers that keep up find it.
const DISK_TAIL_BYTES: u64 = 1 << 20;

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    identity: LogIdentity,
    max_record_bytes: usize,
    max_batch_bytes: usize,
    /// Apart from what readers touch.
    appender: CachePadded<Mutex<Appender>>,
    view: CachePadded<RwLock<View>>,
    waiters: CachePadded<Waiters>,
    health: Health,
    /// `None` in memory.
    disk: Option<Home>,
}

/// What a log on disk has beside its appender.
#[derive(Debug)]
struct Home {
    place: LogPlace,
    syncer: Arc<Syncer>,
}

/// A log on disk that can be opened.
#[derive(Debug)]
pub(crate) struct ExaminedLog {
    identity: LogIdentity,
    place: LogPlace,
    examined: recovery::Examined,
}

/// What only the holder of the partition's lock touches.
#[derive(Debug)]
struct Appender {
    next_offset: u64,
    /// The chunk being filled; none before the first append.
    writer: Option<ChunkWriter>,
    chunks: ChunkSupply,
    /// `None` in memory.
    disk: Option<DiskTail>,
    /// The flusher was told of unsynced records.
    flush_requested: bool,
}

impl PartitionLog {
    /// An empty log that lives in memory and drops its oldest records beyond `limit` bytes.
    pub(crate) fn in_memory(identity: LogIdentity, settings: &TopicSettings) -> Arc<Self> {
        let limit = settings.memory_limit / u64::from(settings.partitions);
        Self::assemble(identity, settings, None, View::new(0, 0, Vec::new()), limit, None)
    }

    /// Makes the first segment of a log in the directory of `place`, which must exist.
    pub(crate) fn create(identity: &LogIdentity, place: &LogPlace) -> Result<()> {
        let header = SegmentHeader {
            partition_id: identity.id,
            base_offset: 0,
            recovery_point: 0,
            created: place.clock.now().as_millis(),
        };
        let segment = Segment::create(place.data_dir.storage(), &place.dir, &header)?;
        segment.sync(place.data_dir.storage())
    }

    /// Reads a log on disk and verifies its frames. Changes nothing.
    pub(crate) fn examine(identity: LogIdentity, place: LogPlace) -> Result<ExaminedLog> {
        let examined = recovery::examine(place.data_dir.storage(), &place.dir, &identity)?;
        Ok(ExaminedLog { identity, place, examined })
    }

    /// Opens a log that was examined: cuts off its torn tail, if it has one.
    pub(crate) fn open(log: ExaminedLog, settings: &TopicSettings) -> Result<(Arc<Self>, Option<TornTail>)> {
        let ExaminedLog { identity, place, examined } = log;
        let recovered = examined.mend(place.data_dir.storage(), &identity)?;
        let Some(disk) = DiskTail::after(&recovered, identity.id, settings.segment_bytes) else {
            let detail = "its directory holds no segment".to_owned();
            return Err(Error::Corrupt { path: place.dir, position: 0, detail });
        };
        let view = View::new(recovered.start_offset, recovered.end_offset, recovered.segments);
        let log = Self::assemble(identity, settings, Some(disk), view, DISK_TAIL_BYTES, Some(place));
        Ok((log, recovered.torn_tail))
    }

    fn assemble(
        identity: LogIdentity,
        settings: &TopicSettings,
        disk: Option<DiskTail>,
        view: View,
        chunk_bytes_limit: u64,
        place: Option<LogPlace>,
    ) -> Arc<Self> {
        let appender = Appender {
            next_offset: view.end_offset(),
            writer: None,
            chunks: ChunkSupply::new(chunk_bytes_limit),
            disk,
            flush_requested: false,
        };
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            disk: place.map(|place| {
                let storage = place.data_dir.shared_storage();
                let syncer = Syncer::new(this.clone(), identity.clone(), storage);
                Home { place, syncer: Arc::new(syncer) }
            }),
            identity,
            max_record_bytes: settings.max_record_bytes as usize,
            max_batch_bytes: settings.max_batch_bytes as usize,
            appender: CachePadded::new(Mutex::new(appender)),
            view: CachePadded::new(RwLock::new(view)),
            waiters: CachePadded::new(Waiters::default()),
            health: Health::default(),
        })
    }

    pub(crate) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// Where the log is kept; `None` in memory.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        self.disk.as_ref().map(|home| home.place.dir.clone())
    }

    pub(crate) fn waiters(&self) -> &Waiters {
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
        let size = record.payload_bytes();
        if size > self.max_record_bytes {
            let topic = self.identity.topic.to_string();
            return Err(Error::RecordTooLarge { topic, size, max: self.max_record_bytes });
        }
        Ok(())
    }

    /// Whether several records together are within the topic's bound.
    pub(crate) fn check_batch(&self, batch: &[NewRecord<'_>]) -> Result<()> {
        let size = batch.iter().map(NewRecord::frame_bytes).sum();
        if size > self.max_batch_bytes && batch.len() > 1 {
            let topic = self.identity.topic.to_string();
            return Err(Error::BatchTooLarge { topic, size, max: self.max_batch_bytes });
        }
        Ok(())
    }

    /// Appends `batch`, whole or not at all, and makes it visible. Returns the offset of its first record;
    /// the others follow. The batch must have passed [`PartitionLog::check_record`] and
    /// [`PartitionLog::check_batch`].
    pub(crate) fn append(&self, batch: &[NewRecord<'_>]) -> Result<u64> {
        let bytes = batch.iter().map(NewRecord::frame_bytes).sum();
        let base_offset = {
            let mut appender = self.appender.lock();
            self.health.check_appendable(&self.identity)?;
            self.make_room(&mut appender, bytes)?;
            self.append_to_chunk(&mut appender, batch)?
        };
        self.waiters.notify();
        Ok(base_offset)
    }

    fn append_to_chunk(&self, appender: &mut Appender, batch: &[NewRecord<'_>]) -> Result<u64> {
        let Appender { next_offset, writer: Some(writer), disk, .. } = appender else {
            unreachable!("make_room leaves a chunk to write to");
        };
        // What a panic of the storage may have left.
        writer.discard();
        let base_offset = *next_offset;
        let crc_seed = disk.as_ref().map(DiskTail::crc_seed);
        let mut max_timestamp = i64::MIN;
        for (number, record) in batch.iter().enumerate() {
            let batch_continues = number + 1 < batch.len();
            let stamp = Stamp { offset: base_offset + number as u64, batch_continues, crc_seed };
            frame::encode(record, &stamp, writer.append(record.frame_bytes()));
            max_timestamp = max_timestamp.max(record.timestamp);
        }
        if let Some(disk) = disk
            && let Err(error) = disk.write(writer.unpublished(), base_offset, max_timestamp)
        {
            writer.discard();
            return Err(self.write_failed(error));
        }
        writer.publish(batch.len() as u64, max_timestamp);
        *next_offset += batch.len() as u64;
        self.request_flush(appender);
        Ok(base_offset)
    }

    #[cold]
    fn write_failed(&self, error: WriteError) -> Error {
        match error {
            WriteError::Undone(error) => error,
            WriteError::NotUndone(fault) => self.fail(fault),
        }
    }

    #[inline]
    fn request_flush(&self, appender: &mut Appender) {
        if let Some(home) = &self.disk
            && !appender.flush_requested
        {
            appender.flush_requested = home.place.flush.request(&home.syncer);
        }
    }

    /// Leaves a chunk, and on disk a segment, with room for a batch of `bytes`.
    #[inline]
    fn make_room(&self, appender: &mut Appender, bytes: usize) -> Result<()> {
        if let Some(disk) = &appender.disk
            && disk.is_full_for(bytes)
        {
            self.roll(appender)?;
            self.next_chunk(appender, bytes);
        } else if appender.writer.as_ref().is_none_or(|writer| writer.remaining() < bytes) {
            self.next_chunk(appender, bytes);
        }
        Ok(())
    }

    /// Goes on in a new segment.
    #[cold]
    fn roll(&self, appender: &mut Appender) -> Result<()> {
        if let (Some(disk), Some(home)) = (&mut appender.disk, &self.disk) {
            let rolled = disk.roll(&home.place, appender.next_offset);
            let segment = rolled.map_err(|error| self.write_failed(error))?;
            self.view.write().push_segment(segment);
        }
        Ok(())
    }

    /// Goes on in a new chunk: readers find it in the view before the old one is closed.
    #[cold]
    fn next_chunk(&self, appender: &mut Appender, bytes: usize) {
        let memory = appender.chunks.next(bytes);
        let position = appender.disk.as_ref().map_or(0, DiskTail::position);
        let writer = ChunkWriter::new(memory, appender.next_offset, position);
        {
            let mut view = self.view.write();
            view.push_chunk(Arc::clone(writer.chunk()));
            while appender.chunks.is_over_limit() {
                let Some(oldest) = view.pop_chunk() else { break };
                appender.chunks.retire(oldest);
            }
        }
        if let Some(full) = appender.writer.replace(writer) {
            drop(full.close());
        }
    }

    /// Makes everything appended so far survive a power loss. Nothing to do in memory.
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk.as_ref().map_or(Ok(()), |home| home.syncer.sync())
    }

    /// Ends appends and fetches, for good, and makes everything durable.
    pub(crate) fn close(&self) -> Result<()> {
        self.end(Status::Closed);
        self.sync()?;
        self.health.check_not_failed(&self.identity)
    }

    /// Ends appends and fetches: the topic is gone.
    pub(crate) fn delete(&self) {
        self.end(Status::Deleted);
    }

    fn end(&self, status: Status) {
        {
            let _no_append_under_way = self.appender.lock();
            self.health.end(status);
        }
        self.waiters.notify_all();
    }

    /// Whether records can be read.
    #[inline]
    pub(crate) fn check_readable(&self) -> Result<()> {
        self.health.check_readable(&self.identity)
    }

    fn fail(&self, fault: String) -> Error {
        self.health.fail(fault, &self.identity)
    }
}

impl SyncSource for PartitionLog {
    fn take_unsynced(&self) -> Option<Unsynced> {
        self.appender.lock().take_unsynced()
    }

    fn synced(&self, done: &Unsynced) {
        if let Some(disk) = &mut self.appender.lock().disk {
            disk.synced(&done.segments, done.end_offset);
        }
    }

    fn fail(&self, fault: String) {
        self.health.fail(fault, &self.identity);
    }
}

impl Drop for PartitionLog {
    /// Dropping does not block: what is not synced yet is left to the flusher, which outlives the log. By
    /// then another broker may own the directory; syncing its files does no harm.
    fn drop(&mut self) {
        let Some(home) = &self.disk else { return };
        if self.health.check_readable(&self.identity).is_err() {
            return;
        }
        if let Some(unsynced) = self.appender.get_mut().take_unsynced() {
            home.syncer.leave(unsynced);
            home.place.flush.request(&home.syncer);
        }
    }
}

impl Appender {
    fn take_unsynced(&mut self) -> Option<Unsynced> {
        self.flush_requested = false;
        let segments = self.disk.as_ref()?.unsynced(self.next_offset)?;
        Some(Unsynced { segments, end_offset: self.next_offset })
    }
}
