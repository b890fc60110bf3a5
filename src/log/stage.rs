//! The end of a log as it is in memory: batches get their offsets here and are laid into chunks, before they
//! are written to a file and shown to readers. Nothing in this file does I/O; all of it is touched only by
//! the holder of the partition's lock.

mod giving_up;

use std::time::Duration;

use super::append_times::AppendTimes;
use super::chunk::{Chunk, ChunkWriter, Mark, StagedBytes};
use super::chunk_supply::ChunkSupply;
use super::completion::{Completion, Promise};
use super::offset_index::FrameStart;
use super::piece::{Piece, TakenBack};
use super::row::Row;
use super::segment_header::SEGMENT_HEADER_BYTES;
use super::settings::LogSettings;
use super::statistics::Unsynced;
use super::view::View;
use crate::config::WhenFull;
use crate::record::frame::{self, CrcSeed, NewRecord, SYNC_MARK_BYTES, Stamp};
use crate::sync::{Arc, RwLock, TrackedArc};

/// How much of a partition may be enqueued and not yet published: what is not in the file, or not synced,
/// takes memory. Under a model checker it is full with five plain records.
pub(super) const MAX_UNPUBLISHED_BYTES: usize = if cfg!(shuttle) { 4 * 48 } else { 64 << 20 };

/// How much that is not synced is kept in memory, beyond what a log keeps anyway, to be written again if a
/// sync fails.
const MAX_UNSYNCED_BYTES: u64 = 64 << 20;

/// A model has few frames, of one size.
const WRITES_MARKS: bool = !cfg!(loom);

/// The chunks that are not finished, and where the next batch goes.
#[derive(Debug)]
pub(super) struct Stage {
    next_offset: u64,
    /// Oldest first; the last one is being filled. The first one is in the view; each of the others gets
    /// there when everything before it has been published.
    chunks: Row<StagedChunk>,
    supply: ChunkSupply,
    /// `None` in memory.
    plan: Option<Plan>,
    /// Kept up to date if ages count.
    times: AppendTimes,
    /// Bytes that readers do not see yet.
    unpublished_bytes: usize,
    /// Bytes that readers could see since the log was opened.
    pub(super) published_bytes: u64,
    /// On disk.
    pub(super) unsynced: Unsynced,
    /// The flusher was asked for a sync within this time, and has not begun with it.
    pub(super) sync_requested: Option<Duration>,
    /// The flusher was asked to write at once, and has not begun with it.
    pub(super) write_requested: bool,
}

/// Where on disk the next batch will be.
#[derive(Debug)]
struct Plan {
    crc_seed: CrcSeed,
    /// In the active segment, or in the one that will be.
    position: u64,
    /// Where the first frame is in that segment.
    first_position: u64,
    /// All records below this offset are on stable storage.
    synced: u64,
    /// What the log itself says of that, in its last sync mark or the header of its last segment.
    marked: u64,
    /// The next batch begins a segment, unless the active one is empty.
    rolls: bool,
}

#[derive(Debug)]
struct StagedChunk {
    writer: ChunkWriter,
    /// A new segment begins with it.
    starts_segment: bool,
    /// How much of it is in the file.
    written: Mark,
    /// Of the batches that nobody has begun to write.
    open: Option<Promise>,
    /// Of the batches that are being written. More than one if an attempt ended in a panic.
    writing: Vec<Promise>,
}

impl Stage {
    /// In memory.
    pub(super) fn in_memory(next_offset: u64, limit: u64) -> Self {
        Self {
            next_offset,
            chunks: Row::EMPTY,
            supply: ChunkSupply::new(limit),
            plan: None,
            times: AppendTimes::default(),
            unpublished_bytes: 0,
            published_bytes: 0,
            unsynced: Unsynced::default(),
            sync_requested: None,
            write_requested: false,
        }
    }

    /// In front of a segment whose frames begin at `first_position` and end at `end`, all of them synced.
    pub(super) fn on_disk(end: FrameStart, limit: u64, crc_seed: CrcSeed, first_position: u64) -> Self {
        let FrameStart { offset, position } = end;
        let plan = Plan { crc_seed, position, first_position, synced: offset, marked: 0, rolls: false };
        Self { plan: Some(plan), ..Self::in_memory(offset, limit) }
    }

    /// What is there was appended by now.
    pub(super) fn note_appended(&mut self, now: i64) {
        self.times.note(now);
    }

    /// By when everything below `offset` was appended; `None` if nothing ever was, as far as is known.
    pub(super) fn appended_by(&self, offset: u64) -> Option<i64> {
        self.times.by(offset)
    }

    /// What the segment takes that is written to.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.plan.as_ref().map_or(0, |plan| plan.position.saturating_sub(plan.first_position))
    }

    /// The next batch begins a segment, unless the one that is written to is empty by then.
    pub(super) fn roll_next(&mut self) {
        if let Some(plan) = &mut self.plan {
            plan.rolls = true;
        }
    }

    /// Takes back a chunk that left the view.
    pub(super) fn retire(&mut self, chunk: TrackedArc<Chunk>) {
        self.supply.retire(chunk);
    }

    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    pub(super) fn unpublished_bytes(&self) -> usize {
        self.unpublished_bytes
    }

    /// What the chunks take.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.supply.in_view()
    }

    /// Whether no record waits for a sync.
    pub(super) fn is_synced(&self) -> bool {
        self.plan.as_ref().is_none_or(|plan| plan.synced >= self.next_offset)
    }

    /// Whether nothing is to be enqueued until more is published.
    pub(super) fn is_full(&self) -> bool {
        self.unpublished_bytes > MAX_UNPUBLISHED_BYTES
    }

    /// Lays a batch behind the others; the offset of its first record. In memory it is published at once;
    /// `None` if there is no room for it. `now`: the time, if it counts when records were appended.
    // Called once for every append: as a call of its own it costs a send in memory a quarter more.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        batch: &[NewRecord<'_>],
        bytes: usize,
        now: Option<i64>,
        settings: &LogSettings,
        view: &RwLock<View>,
    ) -> Option<u64> {
        let mark = self.due_mark();
        let mut bytes = bytes + mark.map_or(0, |_| SYNC_MARK_BYTES);
        let starts_segment = self.make_room(bytes, settings, view)?;
        if let Some(now) = now {
            self.note_appended(now);
        }
        let Some(StagedChunk { writer, .. }) = self.chunks.last_mut() else {
            unreachable!("make_room leaves a chunk to write to");
        };
        // What a panic may have left.
        writer.discard();
        if let Some(synced) = mark
            && let Some(plan) = &mut self.plan
        {
            if starts_segment {
                // Its header says it, or more.
                bytes -= SYNC_MARK_BYTES;
            } else {
                let out = writer.append(SYNC_MARK_BYTES);
                frame::encode_sync_mark(synced, self.next_offset, plan.crc_seed, out);
            }
            plan.marked = synced;
        }
        let base_offset = self.next_offset;
        let crc_seed = self.plan.as_ref().map(|plan| plan.crc_seed);
        let mut max_timestamp = i64::MIN;
        for (number, record) in batch.iter().enumerate() {
            let batch_continues = number + 1 < batch.len();
            let stamp = Stamp { offset: base_offset + number as u64, batch_continues, crc_seed };
            frame::encode(record, &stamp, writer.append(record.frame_bytes()));
            max_timestamp = max_timestamp.max(record.timestamp);
        }
        writer.stage(batch.len() as u64, max_timestamp);
        self.next_offset += batch.len() as u64;
        match &mut self.plan {
            None => {
                writer.publish_staged();
                self.published_bytes += bytes as u64;
            }
            Some(plan) => {
                plan.position += bytes as u64;
                self.unpublished_bytes += bytes;
            }
        }
        Some(base_offset)
    }

    /// What a sync mark has to say before the next batch; `None` if the log says it already.
    #[inline]
    fn due_mark(&self) -> Option<u64> {
        let plan = self.plan.as_ref().filter(|plan| WRITES_MARKS && plan.synced > plan.marked)?;
        Some(plan.synced)
    }

    /// Lays a sync mark behind the batches, if one is due; whether it was.
    pub(super) fn push_mark(&mut self) -> bool {
        let Some(synced) = self.due_mark() else { return false };
        let (Some(plan), Some(StagedChunk { writer, .. })) = (&mut self.plan, self.chunks.last_mut()) else {
            return false;
        };
        // A chunk has records: by their offsets it is known which segment it belongs to. Where there is no
        // room, the mark comes with the next batch.
        if writer.remaining() < SYNC_MARK_BYTES || writer.staged().offsets == 0 {
            return false;
        }
        writer.discard();
        let out = writer.append(SYNC_MARK_BYTES);
        frame::encode_sync_mark(synced, self.next_offset, plan.crc_seed, out);
        writer.stage(0, i64::MIN);
        plan.marked = synced;
        plan.position += SYNC_MARK_BYTES as u64;
        self.unpublished_bytes += SYNC_MARK_BYTES;
        true
    }

    /// Takes note that all records below `synced` are on stable storage. Their memory is kept for readers
    /// only from now on.
    pub(super) fn note_synced(&mut self, synced: u64, view: &RwLock<View>) {
        if let Some(plan) = &mut self.plan {
            plan.synced = plan.synced.max(synced);
            if self.supply.is_over_limit() {
                release(&mut self.supply, plan.synced, &mut view.write());
            }
        }
        self.unsynced.synced(self.is_synced());
    }

    /// Everything that is in the file and has not been published whole, by chunk.
    pub(super) fn written(&self) -> impl Iterator<Item = StagedBytes> {
        self.chunks.iter().map(|chunk| chunk.writer.staged_up_to(chunk.written))
    }

    /// The file goes on in another segment, at the same position, unless a further one is planned already.
    pub(super) fn moved(&mut self, first_position: u64) {
        let is_behind = |chunk: &StagedChunk| chunk.starts_segment && chunk.written == Mark::START;
        if !self.chunks.iter().any(is_behind)
            && let Some(plan) = &mut self.plan
        {
            plan.first_position = first_position;
        }
    }

    /// Leaves a chunk with room for a batch of `bytes`; whether a new segment begins with it. `None`: there
    /// is no room, and the oldest records are to stay.
    #[inline]
    fn make_room(&mut self, bytes: usize, settings: &LogSettings, view: &RwLock<View>) -> Option<bool> {
        let mut starts_segment = false;
        if let Some(plan) = &mut self.plan {
            // An empty segment takes anything.
            starts_segment = (plan.position + bytes as u64 > settings.segment_bytes() || plan.rolls)
                && plan.position > plan.first_position;
            if starts_segment {
                plan.rolls = false;
                (plan.position, plan.first_position) = (SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
            }
        }
        if starts_segment || self.chunks.last().is_none_or(|chunk| chunk.writer.remaining() < bytes) {
            if self.plan.is_none() {
                self.supply.set_limit(settings.memory_limit());
                if settings.when_full() != WhenFull::DropOldest && self.supply.is_full_for(bytes) {
                    return None;
                }
                if settings.tracks_ages() {
                    self.times.begin_chunk(self.next_offset, view.read().start_offset());
                }
            }
            self.next_chunk(bytes, starts_segment, settings, view);
        }
        Some(starts_segment)
    }

    /// Gives up the memory of a log in memory of which all records were deleted; to be freed without a lock.
    pub(super) fn free_if_empty(&mut self, view: &RwLock<View>) -> Option<impl Sized + use<>> {
        let is_empty = self.plan.is_none() && view.read().start_offset() == self.next_offset;
        is_empty.then(|| {
            self.times.forget_chunks();
            self.rest(view)
        })
    }

    #[cold]
    fn next_chunk(
        &mut self,
        bytes: usize,
        starts_segment: bool,
        settings: &LogSettings,
        view: &RwLock<View>,
    ) {
        let position = self.plan.as_ref().map_or(0, |plan| plan.position);
        // A chunk lies in one segment.
        let most = match self.plan {
            Some(_) => settings.segment_bytes().saturating_sub(position),
            None if settings.when_full() == WhenFull::DropOldest => u64::MAX,
            None => self.supply.left(),
        };
        let writer = ChunkWriter::new(self.supply.next(bytes, most), self.next_offset, position);
        if self.chunks.is_empty() {
            self.install(TrackedArc::clone(writer.chunk()), view);
        }
        let (open, writing) = (None, Vec::new());
        self.chunks.push(StagedChunk { writer, starts_segment, written: Mark::START, open, writing });
        self.finish_published(view);
    }

    /// Closes the chunks that are published whole; what follows them is in the view first.
    fn finish_published(&mut self, view: &RwLock<View>) {
        while let mut chunks = self.chunks.iter()
            && let (Some(first), Some(next)) = (chunks.next(), chunks.next())
            && first.writer.published() == first.writer.staged()
        {
            let next = TrackedArc::clone(next.writer.chunk());
            self.install(next, view);
            drop(self.chunks.pop_first().map(|first| first.writer.close()));
        }
    }

    /// Puts a chunk into the view, and takes out of it what is too much.
    fn install(&mut self, chunk: TrackedArc<Chunk>, view: &RwLock<View>) {
        let mut view = view.write();
        view.push_chunk(chunk);
        let synced = self.plan.as_ref().map_or(u64::MAX, |plan| plan.synced);
        release(&mut self.supply, synced, &mut view);
    }

    /// Whether readers see everything that is in the file.
    pub(super) fn is_written_published(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.writer.published() == chunk.written)
    }

    /// The completion of the batch that was pushed last. It must not have been taken to be written yet.
    pub(super) fn completion(&mut self) -> Arc<Completion> {
        match self.chunks.last_mut() {
            Some(chunk) => chunk.open.get_or_insert_default().completion(),
            None => Arc::default(),
        }
    }

    /// Those who wait for what is not in the file yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Arc<Completion>> {
        let waiting = self.chunks.iter().flat_map(|chunk| chunk.writing.iter().chain(&chunk.open));
        waiting.map(Promise::completion)
    }

    /// The oldest batches that are not in the file yet, as many as lie together. Taken by one at a time, who
    /// says with [`wrote`](Self::wrote) or [`drop_unwritten`](Self::drop_unwritten) how it went.
    pub(super) fn unwritten(&mut self) -> Option<Piece> {
        let is_behind = |chunk: &&mut StagedChunk| chunk.written != chunk.writer.staged();
        let chunk = self.chunks.iter_mut().find(is_behind)?;
        chunk.writing.extend(chunk.open.take());
        let writer = &chunk.writer;
        Some(Piece {
            has_records: writer.staged().offsets > chunk.written.offsets,
            bytes: writer.staged_since(chunk.written),
            base_offset: writer.chunk().base_offset() + chunk.written.offsets,
            starts_segment: chunk.starts_segment && chunk.written == Mark::START,
        })
    }

    /// Takes note that everything up to the end of `written` is in the file. Returns who waits for that.
    pub(super) fn wrote(&mut self, written: &StagedBytes) -> Vec<Promise> {
        match self.chunk_of(written).and_then(|number| self.chunks.get_mut(number)) {
            Some(chunk) => {
                chunk.written = written.end();
                std::mem::take(&mut chunk.writing)
            }
            None => Vec::new(),
        }
    }

    /// Shows readers everything up to the end of `written`, which is in the file.
    pub(super) fn publish(&mut self, written: &StagedBytes, view: &RwLock<View>) {
        // A chunk that is not here any more is published whole.
        let Some(number) = self.chunk_of(written) else { return };
        for (other, chunk) in self.chunks.iter_mut().enumerate().take(number + 1) {
            let before = chunk.writer.published().bytes;
            let mark = if other == number { written.end() } else { chunk.writer.staged() };
            chunk.writer.publish(mark);
            let published = chunk.writer.published().bytes - before;
            self.unpublished_bytes -= published;
            self.published_bytes += published as u64;
        }
        self.finish_published(view);
    }

    fn chunk_of(&self, staged: &StagedBytes) -> Option<usize> {
        self.chunks.iter().position(|chunk| TrackedArc::ptr_eq(chunk.writer.chunk(), staged.chunk()))
    }

    /// Takes back everything that is not in the file; its offsets are given again. The active segment goes
    /// from `first_position` to `position`.
    pub(super) fn drop_unwritten(&mut self, first_position: u64, position: u64) -> TakenBack {
        let is_behind = |chunk: &StagedChunk| chunk.written != chunk.writer.staged();
        let Some(first) = self.chunks.iter().position(is_behind) else { return TakenBack::default() };
        let mut taken_back = TakenBack::default();
        for chunk in self.chunks.iter_mut().skip(first) {
            taken_back.attempted.append(&mut chunk.writing);
            taken_back.untouched.extend(chunk.open.take());
        }
        // The first chunk of all is in the view and stays, even if it is empty.
        let is_untouched = self.chunks.get_mut(first).is_some_and(|chunk| chunk.written == Mark::START);
        let keep = if is_untouched { first.max(1) } else { first + 1 };
        for chunk in self.chunks.split_off(keep) {
            self.supply.retire(chunk.writer.close());
        }
        if let Some(last) = self.chunks.last_mut() {
            // It takes nothing more: its place in the file may not be where the file goes on.
            last.writer.cut(last.written);
            self.next_offset = last.writer.chunk().base_offset() + last.written.offsets;
        }
        if let Some(plan) = &mut self.plan {
            plan.position = position;
            plan.first_position = first_position;
            // A mark may have been taken back too.
            plan.marked = 0;
            plan.rolls = false;
        }
        let unpublished = |chunk: &StagedChunk| chunk.writer.staged().bytes - chunk.writer.published().bytes;
        self.unpublished_bytes = self.chunks.iter().map(unpublished).sum();
        if self.is_synced() {
            self.unsynced.synced(true);
        }
        taken_back
    }
}

/// Takes the oldest chunks out of the view, as far as they are too much and all in them is synced, or as they
/// are far too much.
fn release(supply: &mut ChunkSupply, synced: u64, view: &mut View) {
    let mut dropped_bytes = 0;
    let start_offset = view.start_offset();
    while supply.is_over_limit()
        && let Some(end) = view.oldest_chunk_end()
        && (end <= synced || supply.is_over_limit_by(MAX_UNSYNCED_BYTES))
        && let Some(oldest) = view.pop_chunk()
    {
        dropped_bytes += oldest.visible().bytes as u64;
        supply.retire(oldest);
    }
    if view.start_offset() > start_offset {
        let counters = view.counters();
        counters.dropped_records.add(view.start_offset() - start_offset);
        counters.dropped_bytes.add(dropped_bytes);
    }
}
