//! Giving up the front of a log: records below an offset are deleted, and pieces that hold nothing else leave
//! the view. Readers keep what they hold; those that are below the new start look again, and are told.

use super::partition_log::PartitionLog;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::sync::{Arc, Ordering};

/// What is no longer part of a log.
#[derive(Debug, Default)]
pub(crate) struct Trimmed {
    pub(crate) records: u64,
    /// Of the pieces that are gone as a whole.
    pub(crate) bytes: u64,
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl PartitionLog {
    /// Whether records below `offset` are still to be deleted. It must not lie beyond the end.
    pub(crate) fn check_trim(&self, offset: u64) -> Result<bool> {
        self.check_readable()?;
        let (earliest, latest) = {
            let view = self.view().read();
            (view.start_offset(), view.end_offset())
        };
        if offset > latest {
            let partition = self.identity().topic_partition();
            return Err(Error::OffsetOutOfRange { partition, requested: offset, earliest, latest });
        }
        Ok(offset > earliest)
    }

    /// Makes sure that no power loss takes records below `offset`: then the log cannot end before it.
    pub(crate) fn sync_beyond(&self, offset: u64) -> Result<()> {
        match self.home() {
            Some(home) if home.tail.lock().recovery_point() <= offset => home.syncer.sync(),
            _ => Ok(()),
        }
    }

    /// Deletes the records below `offset`, which must have passed [`PartitionLog::check_trim`]. The segments
    /// that are no longer part of the log are for [`PartitionLog::remove_files`].
    pub(crate) fn trim(&self, offset: u64) -> Trimmed {
        let mut stage = self.stage().lock();
        let start_offset = self.start_offset();
        let (chunks, segments) = self.view().write().trim(offset);
        let bytes = match segments.is_empty() {
            true if self.place().is_none() => chunks.iter().map(|chunk| chunk.visible().bytes as u64).sum(),
            _ => segments.iter().map(|segment| segment.sealed_bytes()).sum(),
        };
        for chunk in chunks {
            stage.retire(chunk);
        }
        // A reader in the middle of a chunk or segment does not ask the view where the log begins.
        self.trimmed.fetch_max(offset, Ordering::AcqRel);
        let freed = stage.free_if_empty(self.view());
        drop(stage);
        // Freeing needs no lock.
        drop(freed);
        if self.place().is_none() {
            self.upkeep().notify_room();
        }
        // A table has lost rows; other readers look again and find nothing.
        self.waiters().notify();
        Trimmed { records: offset.saturating_sub(start_offset), bytes, segments }
    }

    /// The end of the records that were deleted, as far as it is known without the view.
    #[inline]
    pub(super) fn trimmed(&self) -> u64 {
        self.trimmed.load(Ordering::Acquire)
    }

    /// Removes the files of segments that are no longer part of the log, and those that could not be removed
    /// before. One that cannot be removed holds nothing but deleted records; it is tried again the next time,
    /// and when the log is next opened.
    pub(crate) fn remove_files(&self, segments: &[Arc<Segment>]) -> Result<()> {
        let Some(home) = self.home() else { return Ok(()) };
        let mut left = self.unremoved.lock();
        left.extend(segments.iter().map(|segment| segment.base_offset()));
        if left.is_empty() {
            return Ok(());
        }
        // The segment in which the log begins now may be new: its header is synced before the files are gone
        // that would have to stand in for it.
        let begins = self.view().read().first_segment().map(|segment| segment.base_offset());
        self.sync_beyond(begins.unwrap_or_default())?;
        let _no_replacement_meanwhile = self.compaction().files.lock();
        let mut outcome = Ok(());
        left.retain(|base_offset| {
            let removed = Segment::remove(home.place.data_dir.storage(), &home.place.dir, *base_offset);
            let is_left = removed.is_err();
            outcome = std::mem::replace(&mut outcome, Ok(())).and(removed);
            is_left
        });
        outcome
    }

    /// Whether files are left to be removed.
    pub(crate) fn has_unremoved_files(&self) -> bool {
        !self.unremoved.lock().is_empty()
    }
}
