//! A sparse index of one segment: where a frame about every 4 KiB begins. Kept in memory, derived from the
//! frames, and only a hint of where to begin walking; never evidence about the log.

/// Bytes between two entries; Kafka's `index.interval.bytes`.
const INTERVAL_BYTES: u64 = 4096;

/// Where a frame begins, and the offset of the record in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameStart {
    pub(crate) offset: u64,
    pub(crate) position: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: FrameStart,
    /// The largest timestamp of all frames before this one in the segment.
    max_timestamp_before: i64,
}

/// Offsets and times to positions, for one segment.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    entries: Vec<Entry>,
    max_timestamp: i64,
}

impl Default for OffsetIndex {
    fn default() -> Self {
        Self { entries: Vec::new(), max_timestamp: i64::MIN }
    }
}

impl OffsetIndex {
    /// Takes note of a frame, or a batch of frames, in the order in which they lie in the segment.
    pub(crate) fn add(&mut self, offset: u64, position: u64, max_timestamp: i64) {
        let due = self.entries.last().is_none_or(|last| position - last.start.position >= INTERVAL_BYTES);
        if due {
            self.entries.push(Entry {
                start: FrameStart { offset, position },
                max_timestamp_before: self.max_timestamp,
            });
        }
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }

    /// Where to begin walking to find `offset`: at or before it. `None` in an empty segment.
    pub(crate) fn before_offset(&self, offset: u64) -> Option<FrameStart> {
        let after = self.entries.partition_point(|entry| entry.start.offset <= offset);
        Some(self.entries.get(after.saturating_sub(1))?.start)
    }

    /// Where to begin walking to find the first frame with a timestamp of `timestamp` or more: at or
    /// before it. `None` if the segment has no such frame.
    pub(crate) fn before_timestamp(&self, timestamp: i64) -> Option<FrameStart> {
        if self.max_timestamp < timestamp {
            return None;
        }
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp);
        Some(self.entries.get(after.saturating_sub(1))?.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 frames of 1 KiB, timestamps 10 * offset.
    fn index() -> OffsetIndex {
        let mut index = OffsetIndex::default();
        for offset in 0..100 {
            index.add(offset, 64 + offset * 1024, offset as i64 * 10);
        }
        index
    }

    #[test]
    fn it_is_sparse_and_points_at_or_before_every_offset() {
        let index = index();
        assert_eq!(index.entries.len(), 25);
        for offset in 0..100 {
            let position = index.before_offset(offset).expect("not empty").position;
            let wanted = 64 + offset * 1024;
            assert!(position <= wanted && wanted - position < 4096, "offset {offset}");
        }
    }

    #[test]
    fn it_points_at_or_before_the_first_frame_of_a_time() {
        let index = index();
        for timestamp in 0..=990i64 {
            let position = index.before_timestamp(timestamp).expect("in range").position;
            let wanted = 64 + (timestamp as u64).div_ceil(10) * 1024;
            assert!(position <= wanted && wanted - position <= 4096, "time {timestamp}");
        }
        assert_eq!(index.before_timestamp(991), None);
        assert_eq!(OffsetIndex::default().before_timestamp(0), None);
    }

    #[test]
    fn a_late_timestamp_does_not_hide_an_early_one() {
        let mut index = OffsetIndex::default();
        for (offset, timestamp) in [500, 100, 200, 600].into_iter().enumerate() {
            index.add(offset as u64, 64 + offset as u64 * 4096, timestamp);
        }
        assert_eq!(index.before_timestamp(150).expect("in range").position, 64);
        assert_eq!(index.before_timestamp(501).expect("in range").position, 64 + 3 * 4096);
    }
}
