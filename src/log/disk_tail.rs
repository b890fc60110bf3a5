//! The end of a log on disk: the active segment, and what is not synced yet. Its lock is held by whoever
//! writes to the log's files, one at a time; batches are staged meanwhile.

use super::chunk::StagedBytes;
use super::completion::{Completion, Promise};
use super::identity::LogPlace;
use super::recovery::Recovered;
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, WriteError};
use super::stage::Piece;
use super::syncer::Unsynced;
use crate::error::{Error, Result};
use crate::record::frame::Frames;
use crate::sync::Arc;

/// The end of a log on disk.
#[derive(Debug)]
pub(super) struct DiskTail {
    partition_id: u64,
    active: Arc<Segment>,
    /// Where the next frame goes in the active segment.
    position: u64,
    /// The offset of that frame.
    end_offset: u64,
    /// Older segments that were not synced yet, oldest first.
    sealed_unsynced: Vec<Arc<Segment>>,
    /// First offset not known to be on stable storage.
    recovery_point: u64,
    /// What was written last, if a sync is to publish it.
    unpublished: Option<StagedBytes>,
    /// Who waits for a sync.
    waiting: Vec<Promise>,
}

impl DiskTail {
    /// Goes on where recovery found the end; `None` if there is no segment.
    pub(super) fn after(recovered: &Recovered, partition_id: u64) -> Option<Self> {
        let (active, sealed) = recovered.segments.split_last()?;
        // A segment ends where the next one begins.
        let ends = recovered.segments.iter().skip(1).map(|next| next.base_offset());
        // The last of them too, though its records may be safe: that makes the first sync one of the active
        // segment, whose header may not be.
        let unsynced = sealed.iter().zip(ends).filter(|(_, end)| *end >= recovered.recovery_point);
        Some(Self {
            partition_id,
            active: Arc::clone(active),
            position: active.readable(),
            end_offset: recovered.end_offset,
            sealed_unsynced: unsynced.map(|(segment, _)| Arc::clone(segment)).collect(),
            recovery_point: recovered.recovery_point,
            unpublished: None,
            waiting: Vec::new(),
        })
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The offset behind the last record in the file.
    pub(super) fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// Whether `piece` begins a segment that is not there yet. It is there if an earlier attempt to write
    /// the piece ended in a panic.
    pub(super) fn must_roll_for(&self, piece: &Piece) -> bool {
        let is_there =
            self.active.base_offset() == piece.base_offset && self.position == SEGMENT_HEADER_BYTES;
        piece.starts_segment && !is_there
    }

    /// Writes to the active segment. After an error the segment is as before.
    pub(super) fn write(&mut self, piece: &Piece) -> Result<(), WriteError> {
        let bytes = piece.bytes.bytes();
        self.active.append(bytes, self.position)?;
        let mut index = self.active.index().write();
        for frame in Frames::new(bytes) {
            index.add(frame.offset(), self.position, frame.timestamp());
            self.position += frame.len() as u64;
            self.end_offset = frame.offset() + 1;
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
        self.unpublished.is_some()
    }

    /// Goes on in a new segment, which begins with `base_offset`.
    pub(super) fn roll(&mut self, place: &LogPlace, base_offset: u64) -> Result<Arc<Segment>, WriteError> {
        let header = SegmentHeader {
            partition_id: self.partition_id,
            base_offset,
            recovery_point: self.recovery_point,
            created: place.clock.now().as_millis(),
        };
        let storage = place.data_dir.storage();
        let segment = match Segment::create(storage, &place.dir, &header) {
            Ok(segment) => Arc::new(segment),
            Err(error) => return Err(undo_roll(error, place, base_offset)),
        };
        let sealed = std::mem::replace(&mut self.active, Arc::clone(&segment));
        self.sealed_unsynced.push(sealed);
        self.position = SEGMENT_HEADER_BYTES;
        Ok(segment)
    }

    /// What a sync has to do; `None` if nothing. Those who wait for it go with it.
    pub(super) fn take_unsynced(&mut self) -> Option<Unsynced> {
        if self.recovery_point == self.end_offset && self.sealed_unsynced.is_empty() {
            return None;
        }
        let mut segments = self.sealed_unsynced.clone();
        segments.push(Arc::clone(&self.active));
        Some(Unsynced {
            segments,
            end_offset: self.end_offset,
            unpublished: self.unpublished.take(),
            waiting: std::mem::take(&mut self.waiting),
        })
    }

    /// Takes note that a sync succeeded. The segment that was active then may have grown since, and even be
    /// sealed by now: it stays to be synced.
    pub(super) fn synced(&mut self, done: &Unsynced) {
        let sealed_then = &done.segments[..done.segments.len().saturating_sub(1)];
        self.sealed_unsynced.retain(|sealed| !sealed_then.iter().any(|synced| Arc::ptr_eq(sealed, synced)));
        self.recovery_point = done.end_offset;
    }

    /// Those who wait for a sync that will not be.
    pub(super) fn give_up_waiting(&mut self) -> Vec<Promise> {
        self.unpublished = None;
        std::mem::take(&mut self.waiting)
    }
}

/// Removes what a failed roll left. A smaller record may still fit into the active segment, and then a file
/// of this base offset would lie across it.
#[cold]
fn undo_roll(error: Error, place: &LogPlace, base_offset: u64) -> WriteError {
    match Segment::remove(place.data_dir.storage(), &place.dir, base_offset) {
        Ok(()) => WriteError::Undone(error),
        Err(left) => WriteError::NotUndone(format!("{error}; and the new segment cannot be removed: {left}")),
    }
}
