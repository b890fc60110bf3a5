//! What was taken out of a log since it was opened, and by what. Counted by whoever does it, read by anybody;
//! no order between them.

use crate::sync::{AtomicU64, Ordering};

/// Of one log, since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Records that a retention has removed.
    pub(crate) retained_out_records: Count,
    pub(crate) retained_out_bytes: Count,
    /// Records that were dropped for want of memory.
    pub(crate) dropped_records: Count,
    pub(crate) dropped_bytes: Count,
    /// How often it was compacted.
    pub(crate) compactions: Count,
    /// Records that compaction has removed, tombstones among them.
    pub(crate) compacted_records: Count,
    pub(crate) compacted_bytes: Count,
    pub(crate) compacted_tombstones: Count,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
