//! What a partition's files hold by `docs/format.md`, found out without the library.

use std::collections::BTreeSet;

use crate::format::{Frame, GAP, OFFSETS_END, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::recipe::Files;

/// Every record that lies in one of the files with a good CRC, wherever it begins.
#[must_use]
pub fn all_records(files: &Files, partition_id: u64) -> BTreeSet<Frame> {
    let starts = files.values().flat_map(|bytes| (0..bytes.len()).step_by(8).map(move |at| &bytes[at..]));
    let frames = starts.filter_map(|bytes| Frame::good(bytes, partition_id));
    frames.map(|(frame, _)| frame.as_served()).filter(Frame::is_record).collect()
}

/// Whether any good frame in any file is a gap.
#[must_use]
pub fn has_gaps(files: &Files, partition_id: u64) -> bool {
    let mut starts = files.values().flat_map(|bytes| (0..bytes.len()).step_by(8).map(move |at| &bytes[at..]));
    starts.any(|bytes| Frame::good(bytes, partition_id).is_some_and(|(frame, _)| frame.kind == GAP))
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the record that lies there, or would.
    pub offset: u64,
    /// The base offset of the segment.
    pub segment: u64,
    /// In its file.
    pub position: usize,
}

/// The beginning of a log: everything up to the first byte that is no whole batch of good frames.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// What a reader gets of it.
    pub records: Vec<Frame>,
    /// Behind each batch, and where the log begins.
    pub places: Vec<Place>,
    /// Whether it is not for this page to say what becomes of it: no broker writes what says that records were
    /// synced which come only later, or a batch that goes on beyond its segment; and what is damaged may have
    /// been deleted.
    pub is_unclear: bool,
}

/// The beginning of the log. It begins in the last segment that begins at or below `start_offset`.
#[must_use]
pub fn beginning(files: &Files, partition_id: u64, start_offset: u64) -> Beginning {
    let segments = kept_segments(files, partition_id, start_offset);
    let ends = segments.iter().skip(1).map(|segment| segment.base_offset).chain([u64::MAX]);
    let is_unclear = segments.iter().filter_map(|segment| segment.header).any(is_impossible)
        || has_gaps(files, partition_id);
    let mut found = Beginning { is_unclear, ..Beginning::default() };
    let mut next_offset = segments.first().map(|segment| segment.base_offset);
    if next_offset.is_some_and(|base_offset| base_offset > start_offset) {
        return found;
    }
    let mut before = None;
    for (segment, end_offset) in segments.iter().zip(ends) {
        let Some(header) = segment.header.filter(|_| next_offset == Some(segment.base_offset)) else { break };
        // One that says that there was another one between them, although nothing is missing.
        let is_between = |before| before < header.previous && header.previous < header.base_offset;
        found.is_unclear |= before.is_some_and(is_between);
        if !segment.walk(partition_id, header.first_position as usize, end_offset, &mut found) {
            break;
        }
        (before, next_offset) = (Some(segment.base_offset), Some(end_offset));
    }
    found.is_unclear |= found.places.last().is_some_and(|last| last.offset < start_offset);
    found.records.retain(|record| record.offset >= start_offset);
    found
}

/// No broker writes such a header.
fn is_impossible(header: SegmentHeader) -> bool {
    let has_previous = header.previous != u64::MAX;
    header.compacted.is_some()
        || header.recovery_point > header.base_offset
        || has_previous && header.previous >= header.base_offset
}

/// A file of the log.
struct Segment<'a> {
    base_offset: u64,
    bytes: &'a [u8],
    /// Its own, if it has one.
    header: Option<SegmentHeader>,
}

/// The segments that are not of deleted records only.
fn kept_segments(files: &Files, partition_id: u64, start_offset: u64) -> Vec<Segment<'_>> {
    let segments = files.iter().filter_map(|(name, bytes)| {
        let base_offset = base_offset_of(name)?;
        let header = SegmentHeader::decode(bytes)
            .filter(|header| header.partition_id == partition_id && header.base_offset == base_offset);
        Some(Segment { base_offset, bytes, header })
    });
    let mut segments: Vec<Segment<'_>> = segments.collect();
    let at_or_below = segments.partition_point(|segment| segment.base_offset <= start_offset);
    let first = at_or_below.saturating_sub(1);
    let is_last = first + 1 == segments.len();
    let has_header = segments.get(first).is_some_and(|segment| segment.header.is_some());
    segments.drain(..if is_last && !has_header { first.saturating_sub(1) } else { first });
    segments
}

impl Segment<'_> {
    /// Takes whole batches up to `end_offset`; whether it came so far.
    fn walk(&self, partition_id: u64, first_position: usize, end_offset: u64, found: &mut Beginning) -> bool {
        let mut place =
            Place { offset: self.base_offset, segment: self.base_offset, position: first_position };
        found.places.push(place);
        let (mut batch, mut continues) = (Vec::new(), false);
        while place.offset < end_offset || continues {
            let rest = self.bytes.get(place.position..).unwrap_or_default();
            let Some((frame, length)) = Frame::good(rest, partition_id) else { return false };
            continues = frame.continues();
            found.is_unclear |= frame.synced().is_some_and(|synced| synced > place.offset);
            let Some(next_offset) = frame.behind(place.offset) else { return false };
            place.offset = next_offset;
            if frame.is_record() {
                batch.push(frame.as_served());
            }
            place.position += length;
            if !continues {
                found.is_unclear |= place.offset > end_offset;
                // What the next segment has counts there.
                found.records.extend(batch.drain(..).filter(|record| record.offset < end_offset));
                found.places.push(place);
            }
        }
        true
    }
}

/// Whether a file that counts was written by a later version, by what it says of itself.
#[must_use]
pub fn is_of_later_version(files: &Files) -> bool {
    let is_later = |bytes: &Vec<u8>| {
        bytes.len() >= SEGMENT_HEADER_BYTES && ![[1, 0], [2, 0]].contains(&[bytes[8], bytes[9]])
    };
    files.iter().any(|(name, bytes)| base_offset_of(name).is_some() && is_later(bytes))
}

/// The base offset in a segment's name.
#[must_use]
pub fn base_offset_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|base_offset| is_number && *base_offset < OFFSETS_END)
}
