//! The end of a log on disk: the active segment, and what is not synced yet. Its lock is held by whoever
//! writes to the log's files, one at a time; batches are staged meanwhile.

use super::chunk::StagedBytes;
use super::completion::{Completion, Promise};
use super::identity::LogPlace;
use super::offset_index::FrameStart;
use super::piece::Piece;
use super::recovery::{Recovered, SyncedTo};
use super::segment::{OpenFile, OpenSegment, Segment, WriteError};
use super::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::syncer::Unsynced;
use crate::error::{Error, Result};
use crate::record::frame::Frames;
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::{Arc, Ordering};

/// The end of a log on disk.
#[derive(Debug)]
pub(super) struct DiskTail {
    partition_id: u64,
    active: Arc<Segment>,
    /// Its file, from the first write until all of it is synced and the log is at rest.
    file: Option<OpenFile>,
    /// Where the next frame goes in the active segment.
    position: u64,
    /// The offset of that frame.
    end_offset: u64,
    /// Older segments that were not synced yet, oldest first.
    sealed_unsynced: Vec<OpenSegment>,
    /// First offset not known to be on stable storage.
    recovery_point: u64,
    /// What was written last, if a sync is to publish it.
    unpublished: Option<StagedBytes>,
    /// Who waits for a sync.
    waiting: Vec<Promise>,
    /// Whether a sync mark was written since the last sync. It is not worth one, until the log ends.
    mark_unsynced: bool,
    /// The next sync is to cover marks too.
    syncs_marks: bool,
    /// Where the log ended when it was said that somebody would look if it is in use.
    seen_end: Option<u64>,
    /// Why what is not known to be synced has to be written to a new file before anything else is.
    broken: Option<String>,
    /// Whether a roll has left a file, of which nobody knows what is in it, where the log ends.
    is_roll_left: bool,
}

impl DiskTail {
    /// Goes on where recovery found the end, all of which was synced; `None` if there is no segment.
    pub(super) fn after(recovered: &Recovered, partition_id: u64) -> Option<Self> {
        let active = recovered.segments.last()?;
        Some(Self {
            partition_id,
            active: Arc::clone(active),
            file: None,
            position: active.readable(),
            end_offset: recovered.end_offset,
            sealed_unsynced: Vec::new(),
            recovery_point: recovered.end_offset,
            unpublished: None,
            waiting: Vec::new(),
            mark_unsynced: false,
            syncs_marks: false,
            seen_end: None,
            broken: None,
            is_roll_left: false,
        })
    }

    pub(super) fn partition_id(&self) -> u64 {
        self.partition_id
    }

    pub(super) fn active(&self) -> &Arc<Segment> {
        &self.active
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The offset behind the last record in the file.
    pub(super) fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// First offset not known to be on stable storage.
    pub(super) fn recovery_point(&self) -> u64 {
        self.recovery_point
    }

    /// What a checkpoint may say, if everything is synced.
    pub(super) fn synced_to(&self) -> Option<SyncedTo> {
        let is_synced = self.recovery_point == self.end_offset && self.broken.is_none();
        is_synced.then(|| SyncedTo {
            end_offset: self.end_offset,
            segment: self.active.base_offset(),
            position: self.position,
        })
    }

    /// Whether a new file must begin where the log ends: what a roll has left there would end it.
    pub(super) fn is_roll_left(&self) -> bool {
        self.is_roll_left
    }

    pub(super) fn broken(&self) -> Option<&String> {
        self.broken.as_ref()
    }

    /// Nothing may be written or synced until everything that is not known to be synced has been written
    /// again.
    pub(super) fn break_off(&mut self, fault: String) {
        self.broken.get_or_insert(fault);
    }

    /// Whether `piece` begins a segment that is not there yet. It is there if an earlier attempt to write
    /// the piece ended in a panic.
    pub(super) fn must_roll_for(&self, piece: &Piece) -> bool {
        // One that was begun in place of another file may have its first frame elsewhere.
        let begins = self.active.first_frame().position;
        let is_there = self.active.base_offset() == piece.base_offset
            && self.position == begins
            && piece.bytes.chunk().base_position() == begins;
        piece.starts_segment && !is_there
    }

    /// Writes to the active segment. After an error the segment is as before.
    pub(super) fn write(&mut self, piece: &Piece) -> Result<(), WriteError> {
        let bytes = piece.bytes.bytes();
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(self.active.open().map_err(WriteError::Undone)?),
        };
        self.active.append(file, bytes, self.position)?;
        let mut index = self.active.index().write();
        for frame in Frames::new(bytes) {
            let start = FrameStart { offset: self.end_offset, position: self.position };
            self.position += frame.len() as u64;
            if frame.is_record() {
                self.end_offset = frame.offset() + 1;
            }
            self.mark_unsynced |= !frame.is_record();
            let end = FrameStart { offset: self.end_offset, position: self.position };
            index.note(start, end, if frame.is_record() { frame.timestamp() } else { i64::MIN });
        }
        Ok(())
    }

    /// Leaves publishing what was written to the next sync, and telling those who wait.
    pub(super) fn leave_to_sync(&mut self, written: &StagedBytes, waiting: Vec<Promise>) {
        self.unpublished = Some(written.clone());
        self.waiting.extend(waiting);
    }

    /// Those who wait for a sync.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Arc<Completion>> {
        self.waiting.iter().map(Promise::completion)
    }

    /// Whether somebody waits for a sync.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty() || self.unpublished.is_some() && self.broken.is_none()
    }

    /// Goes on in a new segment, which begins with `base_offset`.
    pub(super) fn roll(&mut self, place: &LogPlace, base_offset: u64) -> Result<Arc<Segment>, WriteError> {
        let is_again = self.active.base_offset() == base_offset;
        let header = SegmentHeader {
            partition_id: self.partition_id,
            base_offset,
            first_position: SEGMENT_HEADER_BYTES,
            recovery_point: self.recovery_point,
            // Ages are told by these: a clock that went back must not make earlier records seem older.
            created: self.active.known_created().max(Some(place.clock.now().as_millis())).unwrap_or_default(),
            previous: if is_again { self.active.previous() } else { Some(self.active.base_offset()) },
            compacted: None,
        };
        let OpenSegment { segment, file } = match Segment::create(&place.files(), &header) {
            Ok(made) => made,
            Err(error) if is_again => {
                // The file that was there may be gone by now.
                self.is_roll_left = true;
                return Err(WriteError::NotUndone(format!("{error}, where a segment was begun before")));
            }
            Err(error) => return Err(self.undo_roll(error, place, base_offset)),
        };
        let sealed = std::mem::replace(&mut self.active, Arc::clone(&segment));
        let sealed_file = self.file.replace(file);
        let end = std::mem::replace(&mut self.position, SEGMENT_HEADER_BYTES);
        if is_again {
            // Nothing was in it.
            return Ok(segment);
        }
        sealed.end_at(base_offset);
        sealed.sealed_end.store(end, Ordering::Release);
        // One whose file is not open was synced when the log went to rest.
        if let Some(file) = sealed_file.filter(|_| !is_planted(Bug::NoSyncBeforeRoll)) {
            self.sealed_unsynced.push(OpenSegment { segment: sealed, file });
        }
        Ok(segment)
    }

    /// What a sync has to do; `None` if nothing. Those who wait for it go with it.
    pub(super) fn take_unsynced(&mut self) -> Option<Unsynced> {
        let is_mark_left = std::mem::take(&mut self.syncs_marks) && self.mark_unsynced;
        if self.recovery_point == self.end_offset && self.sealed_unsynced.is_empty() && !is_mark_left {
            return None;
        }
        self.mark_unsynced = false;
        let mut segments = self.sealed_unsynced.clone();
        let file = self.file.as_ref().map(Arc::clone);
        segments.extend(file.map(|file| OpenSegment { segment: Arc::clone(&self.active), file }));
        Some(Unsynced {
            segments,
            end_offset: self.end_offset,
            unpublished: self.unpublished.take(),
            waiting: std::mem::take(&mut self.waiting),
        })
    }

    /// Takes note that a sync succeeded. The segment that was active then may have grown since, and even be
    /// sealed by now: it stays to be synced. The offset below which everything is safe now.
    pub(super) fn synced(&mut self, done: &Unsynced) -> u64 {
        let sealed_then = &done.segments[..done.segments.len().saturating_sub(1)];
        let is_synced = |sealed: &OpenSegment| {
            sealed_then.iter().any(|synced| Arc::ptr_eq(&sealed.segment, &synced.segment))
        };
        self.sealed_unsynced.retain(|sealed| !is_synced(sealed));
        let is_wrong = is_planted(Bug::MarkCapturedAfterSync);
        self.recovery_point = if is_wrong { self.end_offset } else { done.end_offset };
        self.recovery_point
    }

    /// The log ends or goes to rest: what is in its files is to be synced to the last byte.
    pub(super) fn sync_marks_too(&mut self) {
        self.syncs_marks = true;
    }

    /// Somebody is to look later if the log is still in use; whether nobody was before.
    pub(super) fn is_to_be_looked_at(&mut self) -> bool {
        let is_to_be = self.seen_end.is_none();
        self.seen_end.get_or_insert(self.end_offset);
        is_to_be
    }

    /// Somebody looks: whether nothing was written since that was said.
    pub(super) fn is_unused(&mut self) -> bool {
        self.seen_end.take() == Some(self.end_offset)
    }

    /// Whether nothing in the files is left to be synced, and nobody waits.
    pub(super) fn is_at_rest(&self) -> bool {
        self.synced_to().is_some()
            && !self.mark_unsynced
            && self.sealed_unsynced.is_empty()
            && self.waiting.is_empty()
            && self.unpublished.is_none()
    }

    /// Gives up the file of the active segment, all of which is synced; the next write opens it again.
    pub(super) fn rest(&mut self) -> Option<OpenFile> {
        self.sealed_unsynced = Vec::new();
        self.waiting = Vec::new();
        self.file.take()
    }

    /// The last segment is this one now, with every frame at its position.
    pub(super) fn go_on_in(&mut self, active: OpenSegment) {
        self.active = active.segment;
        self.file = Some(active.file);
    }

    /// Whether the active segment holds anything.
    pub(super) fn has_frames(&self) -> bool {
        self.position > self.active.first_frame().position
    }

    /// The next sync covers the active segment whether or not anything was written to it.
    pub(super) fn sync_header_too(&mut self) {
        (self.mark_unsynced, self.syncs_marks) = (true, true);
    }

    /// Whether nobody has the file of the active segment open to write to it.
    pub(super) fn is_resting(&self) -> bool {
        self.file.is_none()
    }

    /// Takes note that everything which is written lies in files that were synced.
    pub(super) fn rewritten(&mut self) {
        self.sealed_unsynced.clear();
        self.recovery_point = self.end_offset;
        self.broken = None;
        self.is_roll_left = false;
    }

    /// What a sync or its substitute has to publish, and who waits for it.
    pub(super) fn take_waiting(&mut self) -> (Option<StagedBytes>, Vec<Promise>) {
        (self.unpublished.take(), std::mem::take(&mut self.waiting))
    }

    /// Puts back what a sync was to publish.
    pub(super) fn restore_unpublished(&mut self, unpublished: Option<StagedBytes>) {
        self.unpublished = self.unpublished.take().or(unpublished);
    }

    /// Takes back what a sync was to do that could not be tried, but for those who waited for it.
    pub(super) fn not_synced(&mut self, unsynced: &Unsynced) {
        self.restore_unpublished(unsynced.unpublished.clone());
        // If it was for a mark alone, the next rest comes to that.
        self.mark_unsynced = true;
    }

    /// Those who wait for a sync that will not be.
    pub(super) fn give_up_waiting(&mut self) -> Vec<Promise> {
        std::mem::take(&mut self.waiting)
    }

    /// Removes what a failed roll left. A smaller record may still fit into the active segment, and then a
    /// file of this base offset would lie across it.
    #[cold]
    fn undo_roll(&mut self, error: Error, place: &LogPlace, base_offset: u64) -> WriteError {
        match Segment::remove(place.data_dir.storage(), &place.dir, base_offset) {
            Ok(()) => {
                // The next sync makes that survive too: a power loss must not bring it back.
                self.active.note_names_changed();
                WriteError::Undone(error)
            }
            Err(left) => {
                self.is_roll_left = true;
                WriteError::NotUndone(format!("{error}; and the new segment cannot be removed: {left}"))
            }
        }
    }
}
