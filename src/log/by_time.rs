//! Finding a record by its timestamp: the first one of that time or later, in the order of offsets.

use super::chunk::Chunk;
use super::offset_index::FrameStart;
use super::partition_log::PartitionLog;
use super::segment::{Fetched, Hole, Segment};
use super::view::Pieces;
use crate::error::Result;
use crate::record::frame::Frames;

impl PartitionLog {
    /// The offset of the first record with a timestamp of `timestamp` or more; the end if there is none.
    pub(crate) fn offset_since(&self, timestamp: i64) -> Result<u64> {
        // The end is read first: what is appended meanwhile comes after it.
        let end_offset = self.end_offset();
        let found = self.find_timestamp(timestamp)?;
        Ok(found.map_or(end_offset, |(offset, _)| offset))
    }

    /// The first record with a timestamp of `timestamp` or more: its offset and its timestamp.
    pub(crate) fn find_timestamp(&self, timestamp: i64) -> Result<Option<(u64, i64)>> {
        self.check_readable()?;
        let Pieces { start_offset, segments, chunks } = self.view().read().pieces();
        for (segment, end) in segments {
            let start = segment.index().read().before_timestamp(timestamp, end);
            let Some(start) = start else { continue };
            match find_in_segment(&segment, start, end, timestamp, start_offset) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                // Compaction has put another one in its place meanwhile.
                Err(_) if segment.is_replaced() => return self.find_timestamp(timestamp),
                Err(error) => {
                    self.check_readable()?;
                    // What was deleted meanwhile is not looked for.
                    if segment.end_offset() > self.trimmed() {
                        return Err(error);
                    }
                }
            }
        }
        let late_enough = chunks.iter().filter(|chunk| chunk.max_timestamp() >= timestamp);
        Ok(late_enough.filter_map(|chunk| first_since(chunk, timestamp, start_offset)).next())
    }
}

/// The first record of that time or later in a segment, from `start` on. What is damaged is left out.
fn find_in_segment(
    segment: &Segment,
    mut start: FrameStart,
    end: u64,
    timestamp: i64,
    start_offset: u64,
) -> Result<Option<(u64, i64)>> {
    let mut file = None;
    loop {
        match segment.read(&mut file, start, end)? {
            Fetched::Block(block) => {
                if let Some(found) = first_since(&block.chunk, timestamp, start_offset) {
                    return Ok(Some(found));
                }
                start = block.next;
            }
            Fetched::Damaged(Hole { next: Some(next), .. }) => start = next,
            Fetched::Damaged(_) | Fetched::End => return Ok(None),
        }
    }
}

/// The first record of that time or later, from `start_offset` on.
fn first_since(chunk: &Chunk, timestamp: i64, start_offset: u64) -> Option<(u64, i64)> {
    let mut records = Frames::new(chunk.bytes(0..chunk.visible().bytes)).filter(|frame| frame.is_record());
    let found = records.find(|frame| frame.timestamp() >= timestamp && frame.offset() >= start_offset)?;
    Some((found.offset(), found.timestamp()))
}
