//! Compaction.

use super::partition_log::PartitionLog;
use crate::clock::Timestamp;
use crate::config::Compaction;
use crate::error::Result;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Removed, tombstones among them.
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    /// By which the log became smaller.
    pub(crate) bytes: u64,
}

impl PartitionLog {
    /// Compacts what may be compacted, if it is worth it.
    pub(crate) fn compact(&self, _how: &Compaction, _now: Timestamp) -> Result<Compacted> {
        Ok(Compacted::default())
    }
}
