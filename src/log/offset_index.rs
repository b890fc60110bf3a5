//! A sparse index of one segment: where a frame about every 4 KiB begins. Kept in memory, made from frames
//! that were verified as they passed by, and only a hint of where to begin walking; never evidence about the
//! log.
//!
//! Of a segment that was not read when its log was opened, it knows what has been read since.

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
    /// No frame before this one in the segment has a larger timestamp. `i64::MAX` if they are not all known.
    max_timestamp_before: i64,
}

/// Offsets and times to positions, for one segment.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    /// By position.
    entries: Vec<Entry>,
    /// All frames before this place have been seen.
    known: FrameStart,
    /// The largest timestamp of those.
    max_timestamp: i64,
}

impl OffsetIndex {
    /// For a segment whose frames begin with `first`.
    pub(crate) fn new(first: FrameStart) -> Self {
        Self { entries: Vec::new(), known: first, max_timestamp: i64::MIN }
    }

    /// Takes note of the good frames from `start` to `end`, whose largest timestamp this is.
    pub(crate) fn note(&mut self, start: FrameStart, end: FrameStart, max_timestamp: i64) {
        let is_next = start.position == self.known.position;
        let max_timestamp_before = if is_next { self.max_timestamp } else { i64::MAX };
        let after = match self.entries.last() {
            Some(last) if last.start.position > start.position => {
                self.entries.partition_point(|entry| entry.start.position <= start.position)
            }
            _ => self.entries.len(),
        };
        let before = after.checked_sub(1).map(|before| self.entries[before].start.position);
        if before.is_none_or(|before| start.position - before >= INTERVAL_BYTES) {
            self.entries.insert(after, Entry { start, max_timestamp_before });
        }
        if is_next {
            self.max_timestamp = self.max_timestamp.max(max_timestamp);
            // Of those behind the first, too much is said: a search begins a little early.
            for entry in &mut self.entries[after.saturating_sub(1)..] {
                if (start.position..end.position).contains(&entry.start.position) {
                    let is_first = entry.start.position == start.position;
                    entry.max_timestamp_before =
                        if is_first { max_timestamp_before } else { self.max_timestamp };
                }
            }
            self.known = end;
        }
    }

    /// Gives up what it has put by for entries that may come.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Keeps at most so many entries: what is sought is found by walking further.
    pub(crate) fn thin(&mut self, most: usize) {
        let step = self.entries.len().div_ceil(most.max(1));
        let mut number = 0;
        self.entries.retain(|_| {
            number += 1;
            step < 2 || number % step == 1
        });
        self.shrink();
    }

    /// Where to begin walking to find `offset`: at or before it. `None`: at the beginning.
    pub(crate) fn before_offset(&self, offset: u64) -> Option<FrameStart> {
        let after = self.entries.partition_point(|entry| entry.start.offset <= offset);
        Some(self.entries.get(after.checked_sub(1)?)?.start)
    }

    /// Where to begin walking, in a segment that ends at `end`, to find the first frame with a timestamp of
    /// `timestamp` or more: at or before it. `None` if the segment has no such frame.
    pub(crate) fn before_timestamp(&self, timestamp: i64, end: u64) -> Option<FrameStart> {
        if self.max_timestamp < timestamp || self.entries.is_empty() {
            return (self.known.position < end).then_some(self.known);
        }
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp);
        Some(self.entries.get(after.saturating_sub(1))?.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> FrameStart {
        FrameStart { offset: number, position: 64 + number * 1024 }
    }

    fn note(index: &mut OffsetIndex, numbers: std::ops::Range<u64>) {
        let max_timestamp = (numbers.end - 1) as i64 * 10;
        index.note(frame(numbers.start), frame(numbers.end), max_timestamp);
    }

    /// 100 frames of 1 KiB, timestamps 10 * offset.
    fn index() -> OffsetIndex {
        let mut index = OffsetIndex::new(frame(0));
        (0..100).for_each(|number| note(&mut index, number..number + 1));
        index
    }

    #[test]
    fn a_thin_one_points_further_before() {
        for most in [1, 7, 25, 100] {
            let mut index = index();
            index.thin(most);
            assert!(index.entries.len() <= most);
            for offset in 0..100 {
                let start = index.before_offset(offset).expect("the first one is kept");
                assert!(start.offset <= offset && offset - start.offset < 4 * 25_u64.div_ceil(most as u64));
                let start = index.before_timestamp(offset as i64 * 10, u64::MAX).expect("it is there");
                assert!(start.offset <= offset);
            }
            note(&mut index, 100..104);
            assert_eq!(index.before_offset(103).expect("not empty").offset, 100);
        }
    }

    #[test]
    fn it_is_sparse_and_points_at_or_before_every_offset() {
        let index = index();
        assert_eq!(index.entries.len(), 25);
        for offset in 0..100 {
            let start = index.before_offset(offset).expect("not empty");
            assert!(start.offset <= offset && offset - start.offset < 4);
            assert_eq!(start.position, 64 + start.offset * 1024);
        }
    }

    #[test]
    fn it_points_at_or_before_the_first_frame_of_a_time() {
        let index = index();
        let end = frame(100).position;
        for timestamp in 0..=990 {
            let start = index.before_timestamp(timestamp, end).expect("in range");
            let first = (timestamp as u64).div_ceil(10);
            assert!(start.offset <= first && first - start.offset <= 4, "{timestamp}");
        }
        assert_eq!(index.before_timestamp(991, end), None);
        let empty = OffsetIndex::new(frame(0));
        assert_eq!(empty.before_timestamp(i64::MIN, 64), None);
        assert_eq!(empty.before_timestamp(i64::MIN, 65), Some(frame(0)), "it was not read yet");
    }

    #[test]
    fn timestamps_may_go_back() {
        let mut index = OffsetIndex::new(frame(0));
        for (number, timestamp) in [(0, 100), (4, 500), (8, 50), (12, 60)] {
            index.note(frame(number), frame(number + 4), timestamp);
        }
        let end = frame(16).position;
        assert_eq!(index.before_timestamp(60, end), Some(frame(0)));
        assert_eq!(index.before_timestamp(101, end), Some(frame(4)));
        assert_eq!(index.before_timestamp(501, end), None);
    }

    #[test]
    fn of_what_was_not_seen_it_says_nothing_wrong() {
        let mut index = OffsetIndex::new(frame(0));
        note(&mut index, 50..60);
        note(&mut index, 80..81);
        let end = frame(100).position;
        assert_eq!(index.before_offset(49), None);
        assert_eq!(index.before_offset(55), Some(frame(50)));
        assert_eq!(index.before_offset(99), Some(frame(80)));
        assert_eq!(index.before_timestamp(990, end), Some(frame(0)));
        // When the rest has been read, it is as if it had been in order.
        note(&mut index, 0..30);
        assert_eq!(index.before_timestamp(990, end), Some(frame(30)));
        note(&mut index, 30..100);
        for timestamp in 0..=990 {
            let first = (timestamp as u64).div_ceil(10);
            assert!(index.before_timestamp(timestamp, end).expect("in range").offset <= first);
        }
        assert_eq!(index.before_timestamp(991, end), None);
    }
}
