//! When the records of a log were appended, as far as a retention needs to know it.

use std::collections::VecDeque;

/// By which times a log had come to which offsets; milliseconds since the epoch. Time never goes back here.
#[derive(Debug)]
pub(super) struct AppendTimes {
    /// The last record was appended by then.
    latest: i64,
    /// In memory: for each chunk that is there, when the one before it was complete, and where it begins.
    chunks: VecDeque<(i64, u64)>,
}

impl Default for AppendTimes {
    fn default() -> Self {
        Self { latest: i64::MIN, chunks: VecDeque::new() }
    }
}

impl AppendTimes {
    /// A record is appended now, or was there already.
    #[inline]
    pub(super) fn note(&mut self, now: i64) {
        self.latest = self.latest.max(now);
    }

    /// By when everything below `offset` was appended; `None` if nothing ever was, as far as is known.
    pub(super) fn by(&self, offset: u64) -> Option<i64> {
        let after = self.chunks.partition_point(|(_, begin)| *begin < offset);
        let time = self.chunks.get(after).map_or(self.latest, |(time, _)| *time);
        (time > i64::MIN).then_some(time)
    }

    /// A chunk of a log in memory begins with `offset`; what lies below `start_offset` is gone.
    pub(super) fn begin_chunk(&mut self, offset: u64, start_offset: u64) {
        while self.chunks.front().is_some_and(|(_, begin)| *begin <= start_offset) {
            self.chunks.pop_front();
        }
        if self.latest > i64::MIN {
            self.chunks.push_back((self.latest, offset));
        }
    }

    /// One chunk is in the place of those from `base_offset` to before `end_offset`.
    pub(super) fn join_chunks(&mut self, base_offset: u64, end_offset: u64) {
        self.chunks.retain(|(_, begin)| *begin <= base_offset || *begin >= end_offset);
    }

    /// There is no chunk any more.
    pub(super) fn forget_chunks(&mut self) {
        self.chunks = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_old_as_the_end_of_their_chunk_at_most() {
        let mut times = AppendTimes::default();
        assert_eq!(times.by(1), None);
        times.note(100);
        times.begin_chunk(10, 0);
        times.note(90);
        times.begin_chunk(20, 0);
        times.note(300);
        let by: Vec<_> = [1, 10, 11, 20, 21].map(|offset| times.by(offset)).into();
        assert_eq!(by, [100, 100, 100, 100, 300].map(Some));
        times.begin_chunk(30, 0);
        times.join_chunks(10, 30);
        let by: Vec<_> = [10, 20, 21, 30, 31].map(|offset| times.by(offset)).into();
        assert_eq!(by, [100, 300, 300, 300, 300].map(Some), "the time of the end of what is one now");
        times.begin_chunk(40, 30);
        assert_eq!(times.chunks, [(300, 40)]);
        times.forget_chunks();
        assert_eq!(times.by(5), Some(300), "later is safe");
    }
}
