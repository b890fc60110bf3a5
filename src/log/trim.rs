//! Giving up the front of a log: records below an offset are deleted, and pieces that hold nothing else leave
//! the view. Readers keep what they hold; those that are below the new start look again, and are told.

use super::partition_log::PartitionLog;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::sync::{Arc, Ordering};

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

    /// Deletes the records below `offset`, which must have passed [`PartitionLog::check_trim`]. Returns the
    /// segments that are no longer part of the log, for [`PartitionLog::remove_files`].
    pub(crate) fn trim(&self, offset: u64) -> Vec<Arc<Segment>> {
        let mut stage = self.stage().lock();
        let (chunks, segments) = self.view().write().trim(offset);
        for chunk in chunks {
            stage.retire(chunk);
        }
        // A reader in the middle of a chunk or segment does not ask the view where the log begins.
        self.trimmed.fetch_max(offset, Ordering::AcqRel);
        segments
    }

    /// The end of the records that were deleted, as far as it is known without the view.
    #[inline]
    pub(super) fn trimmed(&self) -> u64 {
        self.trimmed.load(Ordering::Acquire)
    }

    /// Removes the files of segments that are no longer part of the log. One that cannot be removed holds
    /// nothing but deleted records; it is removed when the log is next opened.
    pub(crate) fn remove_files(&self, segments: &[Arc<Segment>]) {
        let Some(home) = self.home() else { return };
        // The segment in which the log begins now may be new: its header is synced before the files are gone
        // that would have to stand in for it.
        if segments.is_empty() || home.syncer.sync().is_err() {
            return;
        }
        let _no_replacement_meanwhile = self.compaction().files.lock();
        for segment in segments {
            drop(Segment::remove(home.place.data_dir.storage(), &home.place.dir, segment.base_offset()));
        }
    }
}
