//! Reading a segment's file from front to back: [`walk`] takes whole batches as long as all is well,
//! [`salvage`] finds what is good behind bytes that are not. Neither changes anything, or decides what it
//! means.

use std::path::Path;

use super::offset_index::{FrameStart, OffsetIndex};
use crate::error::{Error, Result};
use crate::ids::MAX_OFFSET;
use crate::record::frame::{ALIGNMENT, BadFrame, CrcSeed, Frame, HEADER_BYTES};
use crate::storage::{StorageFile, read_exact_at};

/// How much of a file is looked at in one go, unless a frame is larger.
const READ_BYTES: u64 = 1 << 20;

/// No frame is larger: `max_record_bytes` goes up to 256 MiB.
const MAX_FRAME_BYTES: u64 = (256 << 20) + 4096;

/// Runs that are out of order are weighed against each other up to this number; beyond it, the first ones
/// count.
const MAX_WEIGHED_RUNS: usize = 2_000;

/// The frames in a file, up to its end or to a place that counts as its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a dyn StorageFile,
    pub(super) path: &'a Path,
    pub(super) seed: CrcSeed,
    pub(super) len: u64,
    /// The next segment begins with this offset: from there on, nothing here counts. `u64::MAX`: there is
    /// none.
    pub(super) end_offset: u64,
    /// Records below this offset were deleted: of those, none counts as removed by compaction.
    pub(super) kept_from: u64,
}

impl Source<'_> {
    /// How many of the records that are kept a frame says to be gone.
    fn removed_by(&self, frame: Frame<'_>) -> u64 {
        let start = frame.offset().max(self.kept_from);
        frame.gap_end().map_or(0, |end| end.saturating_sub(start))
    }
}

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walk {
    /// Behind the last whole batch.
    pub(super) end: FrameStart,
    pub(super) index: OffsetIndex,
    /// What the sync marks on the way say: all records below this offset are on stable storage.
    pub(super) synced: u64,
    /// How many records compaction has removed on the way.
    pub(super) removed: u64,
    /// Where it met bytes that are no frame of the log, if it did.
    pub(super) bad: Option<Bad>,
}

/// The first bytes that are no frame, or not the one that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) position: u64,
    /// Where it would end if it were a frame, as far as that can be said.
    pub(super) end: u64,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The file ends within a frame.
    FrameCutOff,
    /// The file ends within a batch.
    BatchCutOff,
    NoFrame(BadFrame),
    /// A good frame with another offset than the next one.
    OtherOffset(u64),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FrameCutOff => f.write_str("the file ends within a record"),
            Self::BatchCutOff => f.write_str("the rest of a batch is missing"),
            Self::NoFrame(bad) => bad.fmt(f),
            Self::OtherOffset(offset) => write!(f, "the record of offset {offset} is not the next one"),
        }
    }
}

/// Good frames that lie together and whose offsets follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoodRun {
    pub(super) start: FrameStart,
    pub(super) end: FrameStart,
    /// How many of its offsets are of records that compaction has removed.
    pub(super) removed: u64,
}

impl GoodRun {
    pub(super) fn records(&self) -> u64 {
        self.records_from(0)
    }

    /// How many records it has from this offset on, as far as that can be told; exact for one at which what
    /// is kept begins.
    pub(super) fn records_from(&self, offset: u64) -> u64 {
        let offsets = self.end.offset.saturating_sub(self.start.offset.max(offset));
        offsets.saturating_sub(self.removed)
    }
}

/// What is good behind bytes that are not.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    /// In order, by position and by offset.
    pub(super) runs: Vec<GoodRun>,
    /// What sync marks say, wherever they lie.
    pub(super) synced: u64,
}

/// A part of the file in memory.
struct Window<'a> {
    source: &'a Source<'a>,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(source: &'a Source<'a>) -> Self {
        Self { source, start: 0, bytes: Vec::new() }
    }

    /// The bytes from `position` on: `wanted` or more, unless the file ends before.
    fn at(&mut self, position: u64, wanted: u64) -> Result<&[u8]> {
        let rest = self.source.len.saturating_sub(position);
        let end = position + wanted.min(rest);
        if position < self.start || end > self.start + self.bytes.len() as u64 {
            self.bytes.resize(wanted.max(READ_BYTES).min(rest) as usize, 0);
            self.start = position;
            read_exact_at(self.source.file, &mut self.bytes, position)
                .map_err(Error::io("read", self.source.path))?;
        }
        Ok(self.bytes.get((position - self.start) as usize..).unwrap_or_default())
    }

    /// The frame at `position`, if there is a good one. The length that it claims is believed only as far as
    /// the file goes.
    fn frame(&mut self, position: u64) -> Result<Result<Frame<'_>, BadFrame>> {
        let (seed, rest) = (self.source.seed, self.source.len.saturating_sub(position));
        let needed = match Frame::verified(self.at(position, HEADER_BYTES as u64)?, seed) {
            Err(BadFrame::Incomplete { needed }) => needed as u64,
            _ => HEADER_BYTES as u64,
        };
        if needed > rest || needed > MAX_FRAME_BYTES {
            return Ok(Err(BadFrame::Incomplete { needed: needed as usize }));
        }
        Ok(Frame::verified(self.at(position, needed)?, seed))
    }

    /// What the frame at `position` says of its length, which is known to be within the file.
    fn frame_len(&mut self, position: u64) -> Result<u64> {
        let frame = Frame::at_front(self.at(position, HEADER_BYTES as u64)?);
        Ok(match frame {
            Ok(frame) => frame.len() as u64,
            Err(BadFrame::Incomplete { needed }) => needed as u64,
            Err(_) => HEADER_BYTES as u64,
        })
    }
}

/// Takes whole batches from `from` on, which is where one begins. In a file whose frames begin with `first`.
pub(super) fn walk(source: &Source<'_>, first: FrameStart, from: FrameStart) -> Result<Walk> {
    let mut window = Window::new(source);
    let mut walker = Walker::new(first, from);
    while walker.next.position < source.len && !walker.is_at(source.end_offset) {
        let position = walker.next.position;
        let mut end = position + HEADER_BYTES as u64;
        let why = match window.frame(position)? {
            Ok(frame) => match frame.behind(walker.next.offset) {
                Some(next) => {
                    walker.take(frame, next, source.removed_by(frame));
                    continue;
                }
                None => Why::OtherOffset(frame.offset()),
            },
            Err(BadFrame::Incomplete { .. }) => Why::FrameCutOff,
            Err(bad) => Why::NoFrame(bad),
        };
        if why == Why::NoFrame(BadFrame::BadCrc) {
            // Its lengths agree with each other.
            end = position + window.frame_len(position)?;
        }
        return Ok(walker.finish(Some(Bad { position, end, why })));
    }
    Ok(walker.finish(None))
}

/// Looks for good frames behind `from`, at every place where one may begin: those of offsets from `from` on
/// that can be in one log together.
pub(super) fn salvage(source: &Source<'_>, from: FrameStart) -> Result<Salvage> {
    let mut window = Window::new(source);
    let mut found = Salvage::default();
    let mut position = from.position;
    let offsets = from.offset..source.end_offset.min(MAX_OFFSET);
    while position < source.len {
        let Ok(frame) = window.frame(position)? else {
            position += ALIGNMENT as u64;
            continue;
        };
        found.synced = found.synced.max(frame.synced().unwrap_or(0));
        let next = position + frame.len() as u64;
        if offsets.contains(&frame.offset()) {
            let start = FrameStart { offset: frame.offset(), position };
            // A control frame, which takes no offset, is a part of what it lies with too.
            let offset = frame.behind(frame.offset()).unwrap_or(frame.offset());
            found.add(start, FrameStart { offset, position: next }, source.removed_by(frame));
        } else if let Some(run) = found.runs.last_mut().filter(|run| run.end.position == position)
            && !frame.is_record()
        {
            run.end.position = next;
        }
        position = next;
    }
    // A mark is good for the records with which it lies.
    found.runs.retain(|run| run.records() > 0);
    found.runs = in_order(&found.runs);
    Ok(found)
}

impl Salvage {
    fn add(&mut self, start: FrameStart, end: FrameStart, removed: u64) {
        match self.runs.last_mut() {
            Some(run) if run.end == start => {
                run.end = end;
                run.removed += removed;
            }
            _ => self.runs.push(GoodRun { start, end, removed }),
        }
    }
}

/// Those runs whose offsets rise, so that most records are kept: a block that was written to a wrong place is
/// a run too.
fn in_order(runs: &[GoodRun]) -> Vec<GoodRun> {
    let runs = &runs[..runs.len().min(MAX_WEIGHED_RUNS)];
    // The most records that end with run n, and the run before it then.
    let mut best: Vec<(u64, Option<usize>)> = Vec::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let before = (0..number).filter(|&other| runs[other].end.offset <= run.start.offset);
        let before = before.max_by_key(|&other| best[other].0);
        best.push((before.map_or(0, |other| best[other].0) + run.records(), before));
    }
    let mut last = (0..runs.len()).max_by_key(|&number| best[number].0);
    let mut kept = Vec::new();
    while let Some(number) = last {
        kept.push(runs[number]);
        last = best[number].1;
    }
    kept.reverse();
    kept
}

/// Walks through a segment's frames, batch by batch.
#[derive(Debug)]
struct Walker {
    next: FrameStart,
    /// The batch under way.
    batch: FrameStart,
    max_timestamp: i64,
    index: OffsetIndex,
    synced: u64,
    removed: u64,
}

impl Walker {
    fn new(first: FrameStart, from: FrameStart) -> Self {
        let index = OffsetIndex::new(first);
        Self { next: from, batch: from, max_timestamp: i64::MIN, index, synced: 0, removed: 0 }
    }

    /// Whether the batch of this offset comes next.
    fn is_at(&self, offset: u64) -> bool {
        self.batch == self.next && self.next.offset >= offset
    }

    fn take(&mut self, frame: Frame<'_>, next_offset: u64, removed: u64) {
        self.next = FrameStart { offset: next_offset, position: self.next.position + frame.len() as u64 };
        self.synced = self.synced.max(frame.synced().unwrap_or(0));
        self.removed += removed;
        if frame.is_record() {
            self.max_timestamp = self.max_timestamp.max(frame.timestamp());
        }
        if !frame.batch_continues() {
            self.index.note(self.batch, self.next, self.max_timestamp);
            (self.batch, self.max_timestamp) = (self.next, i64::MIN);
        }
    }

    fn finish(self, bad: Option<Bad>) -> Walk {
        let is_cut_off = self.next != self.batch;
        let position = self.next.position;
        let cut_off = Bad { position, end: position, why: Why::BatchCutOff };
        let bad = bad.or(is_cut_off.then_some(cut_off));
        let Self { batch: end, index, synced, removed, .. } = self;
        Walk { end, index, synced, removed, bad }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(position: u64, offsets: std::ops::Range<u64>) -> GoodRun {
        let end = FrameStart { offset: offsets.end, position: position + offsets.end - offsets.start };
        GoodRun { start: FrameStart { offset: offsets.start, position }, end, removed: 0 }
    }

    #[test]
    fn of_runs_that_contradict_each_other_the_most_records_are_kept() {
        let whole = [run(0, 5..20), run(30, 25..40)];
        assert_eq!(in_order(&whole), whole);
        // A copy of later records, in front of those that belong there.
        let misplaced = [run(0, 90..95), run(10, 15..100)];
        assert_eq!(in_order(&misplaced), misplaced[1..]);
        // A copy of earlier ones behind them.
        let copied = [run(0, 5..20), run(20, 7..9), run(40, 20..30)];
        assert_eq!(in_order(&copied), [copied[0], copied[2]]);
        assert_eq!(in_order(&[]), []);
    }
}
