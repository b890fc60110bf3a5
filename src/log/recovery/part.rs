//! One segment of a log that is being recovered: what was found of it.

use super::super::identity::{LogDir, LogIdentity};
use super::super::offset_index::{FrameStart, OffsetIndex};
use super::super::scan::GoodRun;
use super::super::segment::{Hole, OPEN_END, Opened, Segment};
use super::files::SegmentFile;

/// A segment, as far as it was looked at.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: SegmentFile,
    /// Where its good frames end.
    pub(super) end: FrameStart,
    /// Where the next segment begins; [`OPEN_END`] if there is none.
    pub(super) end_offset: u64,
    pub(super) index: OffsetIndex,
    pub(super) holes: Vec<Hole>,
    /// How many records compaction has removed before each hole and, if it was looked at to its end, behind
    /// the last one.
    pub(super) removed: Vec<u64>,
    pub(super) is_scanned: bool,
}

impl Part {
    pub(super) fn unscanned(file: SegmentFile, end_offset: u64) -> Self {
        let (first, len) = (file.first(), file.len);
        // Of the last one, the end is always looked for.
        let offset = if end_offset == OPEN_END { first.offset } else { end_offset };
        let end = FrameStart { offset, position: len.max(first.position) };
        let index = OffsetIndex::new(first);
        let (holes, removed) = (Vec::new(), Vec::new());
        Self { file, end, end_offset, index, holes, removed, is_scanned: false }
    }

    /// One that was just made.
    pub(super) fn made(file: SegmentFile) -> Self {
        Self { is_scanned: true, ..Self::unscanned(file, OPEN_END) }
    }

    /// From `from` on there is nothing but these runs.
    pub(super) fn take(&mut self, from: FrameStart, runs: &[GoodRun]) {
        let mut at = from;
        let mut removed = self.removed.pop().unwrap_or(0);
        for run in runs {
            // Records may be lost without a byte between those that are left, if some have changed places.
            if run.start == at {
                removed += run.removed;
            } else {
                self.removed.push(std::mem::replace(&mut removed, run.removed));
                let detail = "it is damaged".to_owned();
                self.holes.push(Hole { start: at, next: Some(run.start), detail });
            }
            self.index.note(run.start, run.start, i64::MIN);
            at = run.end;
        }
        self.removed.push(removed);
        let is_short = at.offset < self.end_offset && self.end_offset != OPEN_END;
        let is_left = at.position < self.file.len && self.end_offset == OPEN_END;
        if is_short || is_left {
            self.holes.push(Hole { start: at, next: None, detail: "it is damaged".to_owned() });
        }
        (self.end, self.is_scanned) = (at, true);
    }

    /// Its good records from `first` on, as far as it was looked at.
    pub(super) fn runs_from(&self, first: FrameStart) -> Vec<GoodRun> {
        let mut runs = Vec::new();
        let mut start = first;
        let mut removed = self.removed.iter().copied().chain(std::iter::repeat(0));
        let mut run = |start, end| GoodRun { start, end, removed: removed.next().unwrap_or(0) };
        for hole in &self.holes {
            runs.push(run(start, hole.start));
            let Some(next) = hole.next else {
                return runs.into_iter().filter(|run| run.records() > 0).collect();
            };
            start = next;
        }
        runs.push(run(start, self.end));
        runs.into_iter().filter(|run| run.records() > 0).collect()
    }

    /// The segment that it becomes in a log.
    pub(super) fn into_segment(mut self, dir: &LogDir, identity: &LogIdentity) -> Segment {
        let header = self.file.good_header();
        let previous = header.and_then(|header| header.previous);
        let created = header.map_or(i64::MAX, |header| header.created);
        let compacted = header.and_then(|header| header.compacted);
        let first = self.file.first();
        self.index.shrink();
        Segment::new(Opened {
            first,
            previous,
            created,
            compacted,
            partition_id: identity.id,
            end: self.end.position,
            end_offset: self.end_offset,
            index: self.index,
            holes: self.holes,
            dir: dir.clone(),
        })
    }
}
