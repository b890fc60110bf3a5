//! What is taken out of the stage: to be written, or because it could not be.

use super::chunk::StagedBytes;
use super::completion::Promise;

/// Consecutive staged batches of one chunk, to be written.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: StagedBytes,
    /// The offset of the first record.
    pub(super) base_offset: u64,
    /// Whether a new segment begins with it.
    pub(super) starts_segment: bool,
    /// Whether it is more than a sync mark.
    pub(super) has_records: bool,
}

/// Those who waited for what was taken back, by whether somebody had begun to write it.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    pub(super) attempted: Vec<Promise>,
    pub(super) untouched: Vec<Promise>,
}
