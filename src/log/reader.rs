//! The fetch path: from a reader's place to the next run of records, without a lock and without walking
//! frames.

mod at_end;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::chunk::Chunk;
use super::file_reads::{Files, Reading};
use super::offset_index::FrameStart;
use super::partition_log::PartitionLog;
use super::segment::{Fetched, Hole, OPEN_END, OpenFile, Segment};
use super::view::Location;
use crate::error::{Error, Result};
use crate::record::frame::{Frame, Frames};
use crate::sync::{Arc, TrackedArc};

/// Where a reader of one partition is.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The next offset to be returned.
    offset: u64,
    place: Place,
}

/// The bytes at the cursor's offset.
#[derive(Debug)]
enum Place {
    /// To be looked up.
    Unknown,
    Chunk {
        chunk: TrackedArc<Chunk>,
        position: usize,
        /// Where to go on behind the chunk, if the cursor was there before it went back.
        then: Option<Box<Place>>,
    },
    Segment {
        segment: Arc<Segment>,
        next: FrameStart,
        /// Open from the first read on.
        file: Option<OpenFile>,
        /// The read from `next` on, if it was left to another thread.
        reading: Option<Reading>,
    },
}

impl Cursor {
    pub(crate) fn new(offset: u64) -> Self {
        Self { offset, place: Place::Unknown }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn seek(&mut self, offset: u64) {
        *self = Self::new(offset);
    }

    /// Goes back to the beginning of a run that was fetched with this cursor.
    pub(crate) fn go_back(&mut self, run: &Run) {
        self.return_to(run, run.start_offset, run.bytes.start);
    }

    /// Goes back to a place in `run`. What was read from files behind it, or is being read, is kept: going
    /// back each time that a read has been waited for would otherwise ask for the same reads for ever.
    fn return_to(&mut self, run: &Run, offset: u64, position: usize) {
        let is_adjacent = self.offset == run.end_offset;
        let then = match std::mem::replace(&mut self.place, Place::Unknown) {
            Place::Chunk { chunk, then, .. } if TrackedArc::ptr_eq(&chunk, &run.chunk) => then,
            Place::Unknown => None,
            left => is_adjacent.then(|| Box::new(left)),
        };
        self.offset = offset;
        self.place = Place::Chunk { chunk: TrackedArc::clone(&run.chunk), position, then };
    }

    /// Leaves of `run`, the last that was fetched with this cursor, what `portion` allows, and goes back to
    /// where it ends then. Whether anything was cut off; if not, no frame was looked at.
    pub(crate) fn cut(&mut self, run: &mut Run, portion: &Portion) -> bool {
        if portion.allows(run.records, run.bytes()) {
            return false;
        }
        let (mut records, mut bytes, mut end_offset) = (0, 0, run.start_offset);
        for frame in run.frames() {
            let records_with_it = records + usize::from(frame.is_record());
            let is_taken_anyway = portion.at_least_one && records == 0;
            if !is_taken_anyway && !portion.allows(records_with_it, bytes + frame.len()) {
                break;
            }
            if frame.is_record() {
                end_offset = frame.offset() + 1;
            }
            (records, bytes) = (records_with_it, bytes + frame.len());
        }
        let end = run.bytes.start + bytes;
        let is_cut = end < run.bytes.end;
        if is_cut {
            self.return_to(run, end_offset, end);
            (run.bytes.end, run.end_offset, run.records) = (end, end_offset, records);
        }
        is_cut
    }
}

/// How much is to be taken of a run; `None` is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Portion {
    pub(crate) records: Option<usize>,
    /// Of whole frames.
    pub(crate) bytes: Option<usize>,
    /// The first record is taken whatever the bounds say.
    pub(crate) at_least_one: bool,
}

impl Portion {
    fn allows(&self, records: usize, bytes: usize) -> bool {
        self.records.is_none_or(|most| records <= most) && self.bytes.is_none_or(|most| bytes <= most)
    }
}

/// Consecutive records of one partition, as they lie in the log. Holds its memory alive.
#[derive(Clone)]
pub(crate) struct Run {
    chunk: TrackedArc<Chunk>,
    bytes: Range<usize>,
    /// Where the cursor was.
    start_offset: u64,
    end_offset: u64,
    records: usize,
}

impl Run {
    /// The offset after the last record.
    pub(crate) fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Bytes of the frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.end - self.bytes.start
    }

    /// The frames, control frames among them.
    #[inline]
    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames::new(self.chunk.bytes(self.bytes.clone()))
    }

    /// `part`, which must lie in this run, as bytes that keep the run's memory alive by themselves.
    pub(crate) fn share(&self, part: &[u8]) -> bytes::Bytes {
        let all = bytes::Bytes::from_owner(SharedRun(self.clone()));
        all.slice_ref(part)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("end_offset", &self.end_offset).field("records", &self.records).finish()
    }
}

struct SharedRun(Run);

impl AsRef<[u8]> for SharedRun {
    fn as_ref(&self) -> &[u8] {
        self.0.chunk.bytes(self.0.bytes.clone())
    }
}

impl PartitionLog {
    /// The records at the cursor, as many as lie together, and moves the cursor behind them. `None` at the
    /// end of the log, and while they are read elsewhere.
    pub(crate) fn fetch(&self, cursor: &mut Cursor, files: &Files) -> Result<Option<Run>> {
        self.check_readable()?;
        if cursor.offset < self.trimmed() {
            // What it holds was deleted: the view says where the log begins.
            cursor.place = Place::Unknown;
        }
        loop {
            let found = match &mut cursor.place {
                Place::Chunk { chunk, position, then } => {
                    let visible = chunk.visible();
                    if visible.bytes == *position {
                        if !visible.closed {
                            return Ok(None);
                        }
                        // Of the last offsets, the records may be gone.
                        cursor.offset = cursor.offset.max(chunk.base_offset() + visible.offsets);
                        cursor.place = then.take().map_or(Place::Unknown, |then| *then);
                        continue;
                    }
                    let end_offset = chunk.base_offset() + visible.offsets;
                    let bytes = std::mem::replace(position, visible.bytes)..visible.bytes;
                    run_of(TrackedArc::clone(chunk), bytes, cursor.offset, end_offset)
                }
                Place::Segment { segment, next, file, reading } => {
                    let fetched = match self.read(segment, *next, file, reading, files) {
                        Err(error) => {
                            let is_replaced = segment.is_replaced();
                            self.check_still_there(cursor, error, is_replaced)?;
                            continue;
                        }
                        Ok(fetched) => fetched,
                    };
                    match fetched {
                        Some(Fetched::Block(block)) => {
                            *next = block.next;
                            run_from(block.chunk, cursor.offset)
                        }
                        None => return Ok(None),
                        Some(Fetched::Damaged(hole)) => {
                            let (segment, file) = (Arc::clone(segment), file.take());
                            self.pass_over(cursor, &segment, file, &hole)?;
                            continue;
                        }
                        Some(Fetched::End) => {
                            let location =
                                self.view().read().after_segment(segment, next.position, cursor.offset);
                            let reread =
                                matches!(&location, Location::Segment(next) if Arc::ptr_eq(next, segment));
                            if !reread && !self.go_to(cursor, location)? {
                                return Ok(None);
                            }
                            continue;
                        }
                    }
                }
                Place::Unknown => {
                    let location = self.view().read().locate(cursor.offset);
                    if !self.go_to(cursor, location)? {
                        return Ok(None);
                    }
                    continue;
                }
            };
            cursor.offset = found.end_offset.max(cursor.offset);
            if found.records > 0 {
                return Ok(Some(found));
            }
        }
    }

    /// Reads from a segment, here or elsewhere.
    fn read(
        &self,
        segment: &Arc<Segment>,
        start: FrameStart,
        file: &mut Option<OpenFile>,
        reading: &mut Option<Reading>,
        files: &Files,
    ) -> Result<Option<Fetched>> {
        let end = segment.readable();
        match (reading.as_ref().and_then(Reading::outcome), files, self.place()) {
            (Some((opened, outcome)), ..) => {
                (*file, *reading) = (opened, None);
                outcome.map(Some)
            }
            (None, Files::Elsewhere(signal), Some(place)) if start.position < end => {
                if reading.is_none() {
                    *reading = Some(place.reads.begin(segment, file.clone(), start, end, signal)?);
                }
                Ok(None)
            }
            _ => {
                *reading = None;
                segment.read(file, start, end).map(Some)
            }
        }
    }

    /// A segment cannot be read. If that is because it was deleted or replaced meanwhile, the cursor looks
    /// again, or is told; otherwise the error is what it is.
    #[cold]
    fn check_still_there(&self, cursor: &mut Cursor, error: Error, is_replaced: bool) -> Result<()> {
        self.check_readable()?;
        if cursor.offset >= self.trimmed() && !is_replaced {
            return Err(error);
        }
        cursor.place = Place::Unknown;
        Ok(())
    }

    /// Leads the cursor over damaged bytes, if no record is lost with them or the log is to pass over damage;
    /// otherwise an error says what is lost.
    #[cold]
    fn pass_over(
        &self,
        cursor: &mut Cursor,
        segment: &Arc<Segment>,
        file: Option<OpenFile>,
        hole: &Hole,
    ) -> Result<()> {
        let next_offset = hole.next.map(|next| next.offset).or_else(|| self.behind(segment, cursor.offset));
        match next_offset {
            Some(next) if self.skips_damage || next <= cursor.offset => {
                cursor.offset = cursor.offset.max(next);
                cursor.place = match hole.next {
                    Some(next) => Place::Segment { segment: Arc::clone(segment), next, file, reading: None },
                    None => Place::Unknown,
                };
                Ok(())
            }
            _ => Err(self.damaged(&segment.path(), hole.start, next_offset, &hole.detail)),
        }
    }

    /// Where the log goes on behind a segment of which nothing good is left; `None` if it does not, and
    /// records are missing at its end.
    #[cold]
    fn behind(&self, segment: &Segment, offset: u64) -> Option<u64> {
        if segment.end_offset() != OPEN_END {
            return Some(segment.end_offset());
        }
        let view = self.view().read();
        let (next, end) = (view.next_record(offset), view.end_offset());
        next.or((end <= offset).then_some(end))
    }

    #[cold]
    pub(super) fn damaged(
        &self,
        path: &Path,
        start: FrameStart,
        next_offset: Option<u64>,
        detail: &str,
    ) -> Error {
        Error::RecordsDamaged {
            partition: self.identity().topic_partition(),
            path: path.to_path_buf(),
            position: start.position,
            first_offset: start.offset,
            next_offset,
            detail: detail.to_owned(),
        }
    }

    /// The piece that comes next begins behind the cursor: what belongs between them is missing.
    #[cold]
    fn pass_over_gap(&self, cursor: &mut Cursor, base_offset: u64) -> Result<()> {
        if self.skips_damage {
            cursor.seek(base_offset);
            return Ok(());
        }
        let view = self.view().read();
        let Some(before) = view.segment_of(cursor.offset).or_else(|| view.first_segment()) else {
            return Ok(());
        };
        let start = FrameStart { offset: cursor.offset, position: before.readable() };
        Err(self.damaged(&before.path(), start, Some(base_offset), "the records behind it are missing"))
    }

    /// Puts the cursor where its offset is; whether there is such a place yet.
    fn go_to(&self, cursor: &mut Cursor, location: Location) -> Result<bool> {
        if let Some(base_offset) = location.base_offset().filter(|&base| base > cursor.offset) {
            return self.pass_over_gap(cursor, base_offset).map(|()| true);
        }
        cursor.place = match location {
            Location::Chunk(chunk) => {
                let position = position_in_chunk(&chunk, cursor.offset);
                Place::Chunk { chunk, position, then: None }
            }
            Location::Segment(segment) => {
                let known = segment.index().read().before_offset(cursor.offset);
                let next = known.unwrap_or_else(|| segment.first_frame());
                Place::Segment { segment, next, file: None, reading: None }
            }
            Location::End => {
                cursor.place = Place::Unknown;
                return Ok(false);
            }
            Location::Missing => return Err(self.missing_at_end(cursor.offset)),
            Location::OutOfRange { earliest, latest } => {
                let partition = self.identity().topic_partition();
                return Err(Error::OffsetOutOfRange {
                    partition,
                    requested: cursor.offset,
                    earliest,
                    latest,
                });
            }
        };
        Ok(true)
    }

    /// The records from `offset` to the end are not there, in a log that nothing is added to.
    #[cold]
    fn missing_at_end(&self, offset: u64) -> Error {
        match self.view().read().last_segment() {
            Some(last) => {
                let start = FrameStart { offset, position: last.readable() };
                self.damaged(&last.path(), start, None, "the records behind it are missing")
            }
            None => {
                let start = FrameStart { offset, position: 0 };
                let dir = self.dir().unwrap_or_default();
                self.damaged(&dir, start, None, "the directory holds no segment")
            }
        }
    }
}

/// The records of a block from `offset` on. A read begins at an index entry, so it may bring in earlier ones.
fn run_from(chunk: TrackedArc<Chunk>, offset: u64) -> Run {
    let end_offset = chunk.end_offset();
    let bytes = position_in_chunk(&chunk, offset)..chunk.visible().bytes;
    let start_offset = offset.max(chunk.base_offset());
    run_of(chunk, bytes, start_offset, end_offset)
}

/// The records in these bytes of a chunk. They are counted by their offsets, but where some are gone.
#[inline]
fn run_of(chunk: TrackedArc<Chunk>, bytes: Range<usize>, start_offset: u64, end_offset: u64) -> Run {
    let records = if chunk.is_sparse() {
        Frames::new(chunk.bytes(bytes.clone())).filter(|frame| frame.is_record()).count()
    } else {
        end_offset.saturating_sub(start_offset) as usize
    };
    Run { chunk, bytes, start_offset, end_offset, records }
}

/// Where the first record of `offset` or more begins; the end of the visible bytes if there is none.
fn position_in_chunk(chunk: &Chunk, offset: u64) -> usize {
    let visible = chunk.visible();
    if offset <= chunk.base_offset() {
        return 0;
    }
    if offset >= chunk.base_offset() + visible.offsets {
        return visible.bytes;
    }
    let before = Frames::new(chunk.bytes(0..visible.bytes))
        .take_while(|frame| !frame.is_record() || frame.offset() < offset);
    before.map(Frame::len).sum()
}
