//! The end of a log on disk: the active segment, and what is not synced yet. Touched by the holder of the
//! partition's lock.

use super::identity::LogPlace;
use super::recovery::Recovered;
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, WriteError};
use crate::error::{Error, Result};
use crate::record::frame::CrcSeed;
use crate::sync::Arc;

/// The end of a log on disk.
#[derive(Debug)]
pub(super) struct DiskTail {
    partition_id: u64,
    crc_seed: CrcSeed,
    segment_bytes: u64,
    active: Arc<Segment>,
    /// Where the next frame goes in the active segment.
    position: u64,
    /// Older segments that were not synced yet, oldest first.
    sealed_unsynced: Vec<Arc<Segment>>,
    /// First offset not known to be on stable storage.
    recovery_point: u64,
}

impl DiskTail {
    /// Goes on where recovery found the end; `None` if there is no segment.
    pub(super) fn after(recovered: &Recovered, partition_id: u64, segment_bytes: u64) -> Option<Self> {
        let (active, sealed) = recovered.segments.split_last()?;
        // A segment ends where the next one begins.
        let ends = recovered.segments.iter().skip(1).map(|next| next.base_offset());
        let unsynced = sealed.iter().zip(ends).filter(|(_, end)| *end > recovered.recovery_point);
        Some(Self {
            partition_id,
            crc_seed: CrcSeed::new(partition_id),
            segment_bytes,
            active: Arc::clone(active),
            position: active.readable(),
            sealed_unsynced: unsynced.map(|(segment, _)| Arc::clone(segment)).collect(),
            recovery_point: recovered.recovery_point,
        })
    }

    pub(super) fn crc_seed(&self) -> CrcSeed {
        self.crc_seed
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Writes a batch through to the active segment.
    pub(super) fn write(
        &mut self,
        frames: &[u8],
        base_offset: u64,
        max_timestamp: i64,
    ) -> Result<(), WriteError> {
        self.active.append(frames, self.position)?;
        self.active.index().write().add(base_offset, self.position, max_timestamp);
        self.position += frames.len() as u64;
        Ok(())
    }

    /// Whether the active segment would grow over its size by `bytes`; an empty one takes anything.
    #[inline]
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        self.position + bytes as u64 > self.segment_bytes && self.position > SEGMENT_HEADER_BYTES
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

    /// What a sync up to `end_offset` has to do, oldest segment first; `None` if nothing.
    pub(super) fn unsynced(&self, end_offset: u64) -> Option<Vec<Arc<Segment>>> {
        if self.recovery_point == end_offset && self.sealed_unsynced.is_empty() {
            return None;
        }
        let mut segments = self.sealed_unsynced.clone();
        segments.push(Arc::clone(&self.active));
        Some(segments)
    }

    /// Takes note that `segments` were synced, of which the last was the active one and ended at
    /// `end_offset`. It may have grown since, and even be sealed by now: it stays to be synced.
    pub(super) fn synced(&mut self, segments: &[Arc<Segment>], end_offset: u64) {
        let sealed_then = &segments[..segments.len().saturating_sub(1)];
        self.sealed_unsynced.retain(|sealed| !sealed_then.iter().any(|synced| Arc::ptr_eq(sealed, synced)));
        self.recovery_point = end_offset;
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
