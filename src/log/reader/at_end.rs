//! Whether a reader has everything, asked without reading: a few loads while records come into a chunk that
//! the reader knows.

use super::{Cursor, Place};
use crate::log::PartitionLog;

impl PartitionLog {
    /// Whether a reader at `cursor`, which knows that the log begins with `start_offset`, has something to
    /// learn: records, a later start, or why nothing can be read any more.
    #[inline]
    pub(crate) fn has_news(&self, cursor: &Cursor, start_offset: u64) -> bool {
        if self.check_readable().is_err() || self.trimmed() > start_offset {
            return true;
        }
        match &cursor.place {
            Place::Chunk { chunk, position, .. } => {
                let visible = chunk.visible();
                visible.closed || visible.bytes != *position
            }
            Place::Segment { .. } => true,
            Place::Unknown => self.end_offset() != cursor.offset,
        }
    }
}

impl Cursor {
    /// Whether it lies between two batches, once it has been read with: what comes out of a chunk is whole
    /// batches, what comes out of a file ends wherever a read did.
    pub(crate) fn is_between_batches(&self) -> bool {
        !matches!(self.place, Place::Segment { .. })
    }
}
