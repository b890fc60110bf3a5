//! Where the records of a partition are: which segments and chunks there are, in order. Read once at the
//! end of each chunk, not at every fetch; changed by the holder of the partition's lock.

use std::collections::VecDeque;

use super::chunk::Chunk;
use super::counters::Counters;
use super::segment::{OPEN_END, Segment};
use crate::sync::{Arc, TrackedArc};

/// The pieces of a partition. Offsets run through the segments' files up to the first chunk, then through
/// the chunks.
#[derive(Debug)]
pub(crate) struct View {
    /// The first offset that is kept: the log start offset.
    start_offset: u64,
    /// The end of the log while there is no chunk.
    idle_end_offset: u64,
    /// By base offset. Empty for a topic in memory.
    segments: Vec<Arc<Segment>>,
    /// By base offset. The last one may still grow.
    chunks: VecDeque<TrackedArc<Chunk>>,
    /// What was taken out.
    counters: Arc<Counters>,
}

/// Where to read on.
#[derive(Debug)]
pub(crate) enum Location {
    Chunk(TrackedArc<Chunk>),
    Segment(Arc<Segment>),
    /// At the end; nothing is there yet.
    End,
    /// Before the end, and nothing is there any more.
    Missing,
    /// Before the start, or beyond the end.
    OutOfRange {
        earliest: u64,
        latest: u64,
    },
}

impl Location {
    /// The first offset of the piece, if there is one.
    pub(super) fn base_offset(&self) -> Option<u64> {
        match self {
            Self::Chunk(chunk) => Some(chunk.base_offset()),
            Self::Segment(segment) => Some(segment.base_offset()),
            Self::End | Self::Missing | Self::OutOfRange { .. } => None,
        }
    }
}

/// Everything that a log holds at one moment.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// The first piece may hold earlier records, which were deleted.
    pub(crate) start_offset: u64,
    /// Each with the end of what is to be read from its file; what follows is in the chunks.
    pub(crate) segments: Vec<(Arc<Segment>, u64)>,
    pub(crate) chunks: Vec<TrackedArc<Chunk>>,
}

impl View {
    /// A log that holds `start_offset..end_offset` in `segments`.
    pub(crate) fn new(start_offset: u64, end_offset: u64, segments: Vec<Arc<Segment>>) -> Self {
        let (chunks, counters) = (VecDeque::new(), Arc::default());
        Self { start_offset, idle_end_offset: end_offset, segments, chunks, counters }
    }

    /// What was taken out of the log since it was opened.
    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn start_offset(&self) -> u64 {
        self.start_offset
    }

    /// The next offset that readers will see.
    pub(crate) fn end_offset(&self) -> u64 {
        self.chunks.back().map_or(self.idle_end_offset, |chunk| chunk.end_offset())
    }

    /// The piece that holds `offset`.
    pub(crate) fn locate(&self, offset: u64) -> Location {
        let latest = self.end_offset();
        if offset < self.start_offset || offset > latest {
            return Location::OutOfRange { earliest: self.start_offset, latest };
        }
        let after = self.chunks.partition_point(|chunk| chunk.base_offset() <= offset);
        if let Some(chunk) = after.checked_sub(1).and_then(|last| self.chunks.get(last)) {
            return Location::Chunk(TrackedArc::clone(chunk));
        }
        if offset == latest {
            return Location::End;
        }
        let after = self.segments.partition_point(|segment| segment.base_offset() <= offset);
        match after.checked_sub(1).or((!self.segments.is_empty()).then_some(0)) {
            // The first one of all may begin later, if the one before it is missing.
            Some(last) => Location::Segment(Arc::clone(&self.segments[last])),
            None => self.first_chunk(offset),
        }
    }

    /// Where to go on after `segment` was read up to `position`, where `offset` is expected. The piece may
    /// begin later, if there is none that holds the offset.
    pub(crate) fn after_segment(&self, segment: &Arc<Segment>, position: u64, offset: u64) -> Location {
        // Meanwhile segments may have been deleted: the one that is next now would leave a gap.
        if offset < self.start_offset {
            return Location::OutOfRange { earliest: self.start_offset, latest: self.end_offset() };
        }
        // Or it may have been replaced, together with those that followed it.
        if !self.segment_of(segment.base_offset()).is_some_and(|there| Arc::ptr_eq(there, segment)) {
            return self.locate(offset);
        }
        // Meanwhile a chunk may have left the view, and its bytes are to be read from the file.
        if segment.readable() > position && segment.end_offset() > offset {
            return Location::Segment(Arc::clone(segment));
        }
        let next = self.segments.iter().find(|other| other.base_offset() > segment.base_offset());
        match next {
            Some(next)
                if self.chunks.front().is_none_or(|chunk| chunk.base_offset() > next.base_offset()) =>
            {
                Location::Segment(Arc::clone(next))
            }
            _ => self.first_chunk(offset),
        }
    }

    /// Where `offset` is, which no segment holds.
    fn first_chunk(&self, offset: u64) -> Location {
        match self.chunks.front() {
            Some(chunk) => Location::Chunk(TrackedArc::clone(chunk)),
            None if offset < self.idle_end_offset => Location::Missing,
            None => Location::End,
        }
    }

    /// The first record in memory from `offset` on.
    pub(super) fn next_record(&self, offset: u64) -> Option<u64> {
        let holds = |chunk: &&TrackedArc<Chunk>| chunk.end_offset() > offset && chunk.visible().offsets > 0;
        self.chunks.iter().find(holds).map(|chunk| chunk.base_offset().max(offset))
    }

    /// All pieces, in order.
    pub(crate) fn pieces(&self) -> Pieces {
        let segments = self.segments.iter().map(|segment| (Arc::clone(segment), segment.readable()));
        Pieces {
            start_offset: self.start_offset,
            segments: segments.collect(),
            chunks: self.chunks.iter().cloned().collect(),
        }
    }

    pub(crate) fn push_segment(&mut self, segment: Arc<Segment>) {
        self.segments.push(segment);
    }

    pub(crate) fn push_chunk(&mut self, chunk: TrackedArc<Chunk>) {
        self.chunks.push_back(chunk);
    }

    /// Replaces a segment, or puts one that begins within another behind that.
    pub(super) fn put_segment(&mut self, new: Arc<Segment>) {
        let at = self.segments.partition_point(|segment| segment.base_offset() < new.base_offset());
        match self.segments.get_mut(at) {
            Some(same) if same.base_offset() == new.base_offset() => *same = new,
            next => {
                let end_offset = next.map_or(OPEN_END, |next| next.base_offset());
                new.end_at(end_offset);
                if let Some(before) = at.checked_sub(1).and_then(|before| self.segments.get(before)) {
                    before.end_at(new.base_offset());
                }
                self.segments.insert(at, new);
            }
        }
    }

    /// Puts `new` in the place of consecutive segments, which are all there; whether they were. It ends where
    /// they did, and is read to its end.
    pub(super) fn replace_segments(&mut self, old: &[Arc<Segment>], new: &Arc<Segment>) -> bool {
        let is_same = |(here, old): (&Arc<Segment>, &Arc<Segment>)| Arc::ptr_eq(here, old);
        let first =
            old.first().and_then(|first| self.segments.iter().position(|here| Arc::ptr_eq(here, first)));
        let Some(range) = first.map(|first| first..first + old.len()) else { return false };
        if !self.segments.get(range.clone()).is_some_and(|here| here.iter().zip(old).all(is_same)) {
            return false;
        }
        new.end_at(old.last().map_or(OPEN_END, |last| last.end_offset()));
        self.segments.splice(range, [Arc::clone(new)]);
        true
    }

    /// Puts `new` in the place of consecutive chunks, which are all there and not the last; whether they
    /// were.
    pub(super) fn replace_chunks(&mut self, old: &[TrackedArc<Chunk>], new: TrackedArc<Chunk>) -> bool {
        let first =
            old.first().and_then(|old| self.chunks.iter().position(|chunk| TrackedArc::ptr_eq(chunk, old)));
        let Some(first) = first.filter(|first| first + old.len() < self.chunks.len()) else { return false };
        let is_same = |(here, old): (&TrackedArc<Chunk>, &TrackedArc<Chunk>)| TrackedArc::ptr_eq(here, old);
        if !self.chunks.range(first..first + old.len()).zip(old).all(is_same) {
            return false;
        }
        drop(self.chunks.drain(first + 1..first + old.len()));
        self.chunks[first] = new;
        true
    }

    /// Takes a replacement back, which has not got its name.
    pub(super) fn restore_segments(&mut self, old: &[Arc<Segment>], new: &Arc<Segment>) {
        if let Some(at) = self.segments.iter().position(|here| Arc::ptr_eq(here, new)) {
            self.segments.splice(at..=at, old.iter().cloned());
        }
    }

    /// The offset behind the oldest chunk, unless that is the only one.
    pub(super) fn oldest_chunk_end(&self) -> Option<u64> {
        Some(self.chunks.get(1)?.base_offset())
    }

    /// All chunks, in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &TrackedArc<Chunk>> {
        self.chunks.iter()
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(super) fn first_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.first()
    }

    pub(super) fn last_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.last()
    }

    /// The segment that holds `offset`, or will.
    pub(super) fn segment_of(&self, offset: u64) -> Option<&Arc<Segment>> {
        let after = self.segments.partition_point(|segment| segment.base_offset() <= offset);
        self.segments.get(after.checked_sub(1)?)
    }

    /// Takes out the oldest chunk, unless it is the only one. Its records are read from their segment from
    /// now on; without segments, they are gone.
    pub(crate) fn pop_chunk(&mut self) -> Option<TrackedArc<Chunk>> {
        let next_base_offset = self.chunks.get(1)?.base_offset();
        let chunk = self.chunks.pop_front()?;
        self.read_from_file(&chunk);
        if self.segment_of(chunk.base_offset()).is_none() {
            self.start_offset = self.start_offset.max(next_base_offset);
        }
        Some(chunk)
    }

    /// Takes out all chunks, of which readers see everything there is. It is read from the segments from now
    /// on.
    pub(super) fn take_chunks(&mut self) -> VecDeque<TrackedArc<Chunk>> {
        self.idle_end_offset = self.end_offset();
        for chunk in &self.chunks {
            self.read_from_file(chunk);
        }
        self.segments.shrink_to_fit();
        std::mem::take(&mut self.chunks)
    }

    /// What a chunk holds is read from its segment from now on, if there is one.
    fn read_from_file(&self, chunk: &Chunk) {
        let visible = chunk.visible().bytes;
        // One that stayed empty may have been made before a roll, for a position in another segment.
        if let Some(segment) = self.segment_of(chunk.base_offset()).filter(|_| visible > 0) {
            segment.set_readable(chunk.base_position() + visible as u64);
        }
    }

    /// Begins the log with `offset`, which is not beyond its end. Takes out the chunks and the segments that
    /// lie wholly below it, but never the last of either.
    pub(crate) fn trim(&mut self, offset: u64) -> (Vec<TrackedArc<Chunk>>, Vec<Arc<Segment>>) {
        let mut chunks = Vec::new();
        // Before their segments: a reader of such a segment may still go on to the end of its file.
        while self.chunks.get(1).is_some_and(|next| next.base_offset() <= offset) {
            chunks.extend(self.pop_chunk());
        }
        let after = self.segments.partition_point(|segment| segment.base_offset() <= offset);
        let segments = self.segments.drain(..after.saturating_sub(1)).collect();
        self.start_offset = self.start_offset.max(offset);
        (chunks, segments)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::log::identity::LogDir;
    use crate::log::segment_header::SegmentHeader;
    use crate::storage::{MemoryStorage, Storage};

    fn segment(base_offset: u64) -> Arc<Segment> {
        let storage = MemoryStorage::default();
        let dir = Path::new("t-0");
        storage.create_dir_all(dir).expect("in memory");
        let header = SegmentHeader {
            partition_id: 7,
            base_offset,
            first_position: 64,
            recovery_point: 0,
            created: 0,
            previous: None,
            compacted: None,
        };
        let dir = LogDir { storage: Arc::new(storage), path: dir.into() };
        Segment::create(&dir, &header).expect("in memory").segment
    }

    #[test]
    fn a_reader_at_the_end_of_a_deleted_segment_is_not_led_over_the_gap() {
        let segments: Vec<_> = [0, 100, 200].map(segment).into();
        let first = Arc::clone(&segments[0]);
        let mut view = View::new(0, 300, segments);
        let position = first.first_frame().position;
        let next = view.after_segment(&first, position, 100);
        assert!(matches!(next, Location::Segment(next) if next.base_offset() == 100));
        view.trim(250);
        let next = view.after_segment(&first, position, 100);
        assert!(matches!(next, Location::OutOfRange { earliest: 250, latest: 300 }));
    }
}
