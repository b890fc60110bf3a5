//! The log of one partition, and its lock: the append path from offset to publication.
//!
//! Locks, in the order in which they are taken: `syncing`, then `appender`, then `view`. None is held while
//! code of the user runs; readers take only `view`, briefly, and not at every fetch.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::chunk::{Chunk, ChunkWriter, Memory};
use super::flush::FlushQueue;
use super::recovery::{self, TornTail};
use super::segment::{AppendError, SEGMENT_HEADER_BYTES, Segment, SegmentHeader};
use super::view::View;
use crate::clock::Clock;
use crate::config::TopicSettings;
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::record::frame::{self, CrcSeed, NewRecord, Stamp};
use crate::storage::DataDir;
use crate::sync::signal::Waiters;
use crate::sync::{Arc, AtomicU8, CachePadded, Mutex, OnceLock, Ordering, RwLock, Weak};

/// A chunk starts small, so that an idle partition costs little, and doubles with use up to a size at which
/// its handling no longer counts.
const FIRST_CHUNK_BYTES: usize = 4 << 10;
const LARGEST_CHUNK_BYTES: usize = 256 << 10;

/// How much of the end of a log on disk is kept in memory, where readers that keep up find it.
const DISK_TAIL_BYTES: u64 = 1 << 20;

/// How many chunks that left the view are kept for their memory to be used again.
const RETIRED_CHUNKS: usize = 4;

/// Whose log it is.
#[derive(Clone, Debug)]
pub(crate) struct LogIdentity {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    /// Random; seeds the CRCs.
    pub(crate) id: u64,
}

impl LogIdentity {
    pub(crate) fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.partition)
    }
}

/// Where a log on disk lives.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    /// The broker's directory: whoever holds a log keeps it locked.
    pub(crate) data_dir: Arc<DataDir>,
    /// The partition's own directory in it.
    pub(crate) dir: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flush: FlushQueue,
}

/// What may still be done with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LogStatus {
    Open = 0,
    /// A fault ended appends; records can be read.
    Failed = 1,
    Deleted = 2,
    Closed = 3,
}

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    identity: LogIdentity,
    max_record_bytes: usize,
    max_batch_bytes: usize,
    /// Apart from what readers touch.
    appender: CachePadded<Mutex<Appender>>,
    view: RwLock<View>,
    waiters: CachePadded<Waiters>,
    /// Changed under the appender's lock, so that no append begins after a change; read by anybody.
    status: AtomicU8,
    fault: OnceLock<String>,
    /// Held during a sync: a failure is known to the next one before it begins.
    syncing: Mutex<()>,
    place: Option<LogPlace>,
    /// This log, for the flusher.
    this: Weak<PartitionLog>,
}

/// What only the holder of the partition's lock touches.
#[derive(Debug)]
struct Appender {
    next_offset: u64,
    /// The chunk being filled; none before the first append.
    writer: Option<ChunkWriter>,
    next_chunk_bytes: usize,
    /// Bytes of the chunks in the view, and how many there may be.
    chunk_bytes: u64,
    chunk_bytes_limit: u64,
    /// Chunks that left the view; readers may still hold them.
    retired: VecDeque<Arc<Chunk>>,
    /// `None` in memory.
    disk: Option<DiskTail>,
}

/// The end of a log on disk.
#[derive(Debug)]
struct DiskTail {
    crc_seed: CrcSeed,
    segment_bytes: u64,
    active: Arc<Segment>,
    /// Where the next frame goes in the active segment.
    position: u64,
    /// Older segments that were not synced yet, oldest first.
    sealed_unsynced: Vec<Arc<Segment>>,
    /// First offset not known to be on stable storage.
    recovery_point: u64,
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

    /// Opens a log on disk: verifies its frames, and cuts off a torn tail.
    pub(crate) fn recover(
        identity: LogIdentity,
        settings: &TopicSettings,
        place: LogPlace,
    ) -> Result<(Arc<Self>, Option<TornTail>)> {
        let recovered = recovery::recover(place.data_dir.storage(), &place.dir, &identity)?;
        let end_offset = recovered.end_offset;
        let view = View::new(recovered.start_offset, end_offset, recovered.segments.clone());
        let mut segments = recovered.segments;
        let Some(active) = segments.pop() else {
            let detail = "its directory holds no segment".to_owned();
            return Err(Error::Corrupt { path: place.dir, position: 0, detail });
        };
        let disk = DiskTail {
            crc_seed: CrcSeed::new(identity.id),
            segment_bytes: settings.segment_bytes,
            position: active.readable(),
            active,
            sealed_unsynced: segments,
            recovery_point: recovered.recovery_point,
            flush_requested: false,
        };
        let log = Self::assemble(identity, settings, Some(disk), view, DISK_TAIL_BYTES, Some(place));
        log.appender.lock().next_offset = end_offset;
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
            next_offset: 0,
            writer: None,
            next_chunk_bytes: FIRST_CHUNK_BYTES,
            chunk_bytes: 0,
            chunk_bytes_limit,
            retired: VecDeque::new(),
            disk,
        };
        Arc::new_cyclic(|this| Self {
            identity,
            max_record_bytes: settings.max_record_bytes as usize,
            max_batch_bytes: settings.max_batch_bytes as usize,
            appender: CachePadded::new(Mutex::new(appender)),
            view: RwLock::new(view),
            waiters: CachePadded::new(Waiters::default()),
            status: AtomicU8::new(LogStatus::Open as u8),
            fault: OnceLock::new(),
            syncing: Mutex::new(()),
            place,
            this: this.clone(),
        })
    }

    pub(crate) fn identity(&self) -> &LogIdentity {
        &self.identity
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
            self.check_appendable()?;
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
        let base_offset = *next_offset;
        let crc_seed = disk.as_ref().map(|disk| disk.crc_seed);
        let mut max_timestamp = i64::MIN;
        for (number, record) in batch.iter().enumerate() {
            let batch_continues = number + 1 < batch.len();
            let stamp = Stamp { offset: base_offset + number as u64, batch_continues, crc_seed };
            frame::encode(record, &stamp, writer.append(record.frame_bytes()));
            max_timestamp = max_timestamp.max(record.timestamp);
        }
        if let Some(disk) = disk {
            if let Err(error) = disk.write(writer.unpublished(), base_offset, max_timestamp) {
                writer.discard();
                return Err(self.append_failed(error));
            }
            self.request_flush(disk);
        }
        writer.publish(batch.len() as u64, max_timestamp);
        *next_offset += batch.len() as u64;
        Ok(base_offset)
    }

    fn append_failed(&self, error: AppendError) -> Error {
        match error {
            AppendError::Undone(error) => error,
            AppendError::NotUndone(fault) => self.fail(fault),
        }
    }

    fn request_flush(&self, disk: &mut DiskTail) {
        if let Some(place) = &self.place
            && !disk.flush_requested
        {
            disk.flush_requested = place.flush.request(&self.this);
        }
    }

    /// Leaves a chunk, and on disk a segment, with room for a batch of `bytes`.
    #[inline]
    fn make_room(&self, appender: &mut Appender, bytes: usize) -> Result<()> {
        let rolled = self.roll_if_full(appender, bytes)?;
        match &mut appender.writer {
            Some(writer) if !rolled && writer.remaining() >= bytes => {}
            _ => self.next_chunk(appender, bytes),
        }
        Ok(())
    }

    /// Goes on in a new segment if the active one would grow over its size, unless it is empty.
    #[inline]
    fn roll_if_full(&self, appender: &mut Appender, bytes: usize) -> Result<bool> {
        let (Some(disk), Some(place)) = (&mut appender.disk, &self.place) else { return Ok(false) };
        if disk.position + bytes as u64 <= disk.segment_bytes || disk.position == SEGMENT_HEADER_BYTES {
            return Ok(false);
        }
        let header = SegmentHeader {
            partition_id: self.identity.id,
            base_offset: appender.next_offset,
            recovery_point: disk.recovery_point,
            created: place.clock.now().as_millis(),
        };
        let storage = place.data_dir.storage();
        let segment = match Segment::create(storage, &place.dir, &header) {
            Ok(segment) => Arc::new(segment),
            Err(error) => return Err(self.roll_failed(error, place, header.base_offset)),
        };
        self.view.write().push_segment(Arc::clone(&segment));
        let sealed = std::mem::replace(&mut disk.active, segment);
        disk.sealed_unsynced.push(sealed);
        disk.position = SEGMENT_HEADER_BYTES;
        Ok(true)
    }

    /// Removes what a failed roll left. A smaller record may still fit into the active segment, and then a
    /// file of this base offset would lie across it.
    #[cold]
    fn roll_failed(&self, error: Error, place: &LogPlace, base_offset: u64) -> Error {
        match Segment::remove(place.data_dir.storage(), &place.dir, base_offset) {
            Ok(()) => error,
            Err(left) => self.fail(format!("{error}; and the new segment cannot be removed: {left}")),
        }
    }

    /// Goes on in a new chunk: readers find it in the view before the old one is closed.
    #[cold]
    fn next_chunk(&self, appender: &mut Appender, bytes: usize) {
        let memory = appender.memory_for_chunk(bytes);
        appender.chunk_bytes += memory.capacity() as u64;
        let position = appender.disk.as_ref().map_or(0, |disk| disk.position);
        let writer = ChunkWriter::new(memory, appender.next_offset, position);
        let full = appender.writer.replace(writer);
        {
            let mut view = self.view.write();
            view.push_chunk(Arc::clone(appender.writer.as_ref().expect("just set").chunk()));
            while appender.chunk_bytes > appender.chunk_bytes_limit {
                let Some(oldest) = view.pop_chunk() else { break };
                appender.retire(oldest);
            }
        }
        if let Some(full) = full {
            drop(full.close());
        }
    }

    /// Makes everything appended so far survive a power loss. Nothing to do in memory.
    pub(crate) fn sync(&self) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let _one_at_a_time = self.syncing.lock();
        self.check_not_failed()?;
        let Some((segments, end_offset)) = self.appender.lock().take_unsynced() else { return Ok(()) };
        for segment in &segments {
            // A failed sync is final for the file: the system may have dropped the bytes and report
            // success the next time.
            segment.sync(place.data_dir.storage()).map_err(|error| self.fail(error.to_string()))?;
        }
        if let Some(disk) = &mut self.appender.lock().disk {
            disk.recovery_point = end_offset;
            disk.sealed_unsynced.retain(|sealed| !segments.iter().any(|synced| Arc::ptr_eq(sealed, synced)));
        }
        Ok(())
    }

    /// Ends appends and fetches, for good, and makes everything durable.
    pub(crate) fn close(&self) -> Result<()> {
        self.end(LogStatus::Closed);
        if self.fault.get().is_some() {
            return Err(self.failed());
        }
        self.sync()
    }

    /// Ends appends and fetches: the topic is gone.
    pub(crate) fn delete(&self) {
        self.end(LogStatus::Deleted);
    }

    fn end(&self, status: LogStatus) {
        {
            let _no_append_under_way = self.appender.lock();
            self.status.fetch_max(status as u8, Ordering::AcqRel);
        }
        self.waiters.notify_all();
    }

    #[inline]
    pub(crate) fn status(&self) -> LogStatus {
        match self.status.load(Ordering::Acquire) {
            0 => LogStatus::Open,
            1 => LogStatus::Failed,
            2 => LogStatus::Deleted,
            _ => LogStatus::Closed,
        }
    }

    /// Whether records can be read.
    #[inline]
    pub(crate) fn check_readable(&self) -> Result<()> {
        match self.status() {
            LogStatus::Open | LogStatus::Failed => Ok(()),
            LogStatus::Deleted => Err(Error::TopicDeleted { topic: self.identity.topic.to_string() }),
            LogStatus::Closed => Err(Error::Closed),
        }
    }

    #[inline]
    fn check_appendable(&self) -> Result<()> {
        if self.status() == LogStatus::Open {
            return Ok(());
        }
        self.check_readable()?;
        Err(self.failed())
    }

    fn check_not_failed(&self) -> Result<()> {
        if self.fault.get().is_some() { Err(self.failed()) } else { Ok(()) }
    }

    /// From now on the log takes no records.
    fn fail(&self, fault: String) -> Error {
        // The first fault is the one to tell of.
        self.fault.get_or_init(|| fault);
        self.status.fetch_max(LogStatus::Failed as u8, Ordering::AcqRel);
        self.failed()
    }

    fn failed(&self) -> Error {
        let fault = self.fault.get().cloned().unwrap_or_default();
        Error::PartitionFailed { partition: self.identity.topic_partition(), fault }
    }
}

impl Appender {
    fn memory_for_chunk(&mut self, bytes: usize) -> Memory {
        let largest =
            (self.chunk_bytes_limit / 4).clamp(FIRST_CHUNK_BYTES as u64, LARGEST_CHUNK_BYTES as u64);
        let wanted = self.next_chunk_bytes.max(bytes);
        self.next_chunk_bytes = (self.next_chunk_bytes * 2).min(largest as usize);
        self.reuse_memory(wanted).unwrap_or_else(|| Memory::zeroed(wanted))
    }

    /// Memory of a chunk that nobody reads any more. Fresh memory costs more than all the rest of an append.
    fn reuse_memory(&mut self, wanted: usize) -> Option<Memory> {
        for _ in 0..self.retired.len() {
            let chunk = self.retired.pop_front()?;
            if chunk.capacity() != wanted {
                continue;
            }
            match chunk.into_memory() {
                Ok(memory) => return Some(memory),
                Err(held) => self.retired.push_back(held),
            }
        }
        None
    }

    fn retire(&mut self, chunk: Arc<Chunk>) {
        self.chunk_bytes -= chunk.capacity() as u64;
        if self.retired.len() == RETIRED_CHUNKS {
            self.retired.pop_front();
        }
        self.retired.push_back(chunk);
    }

    /// What a sync has to do, oldest segment first, and the offset that is safe after it.
    fn take_unsynced(&mut self) -> Option<(Vec<Arc<Segment>>, u64)> {
        let disk = self.disk.as_mut()?;
        disk.flush_requested = false;
        if disk.recovery_point == self.next_offset && disk.sealed_unsynced.is_empty() {
            return None;
        }
        let mut segments = disk.sealed_unsynced.clone();
        segments.push(Arc::clone(&disk.active));
        Some((segments, self.next_offset))
    }
}

impl DiskTail {
    /// Writes a batch through to the active segment.
    fn write(&mut self, frames: &[u8], base_offset: u64, max_timestamp: i64) -> Result<(), AppendError> {
        self.active.append(frames, self.position)?;
        self.active.index().write().add(base_offset, self.position, max_timestamp);
        self.position += frames.len() as u64;
        Ok(())
    }
}
