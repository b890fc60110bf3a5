//! What a retention lets a log give up: a decision on data. A log is given up in pieces, from its front:
//! sealed segments on disk, chunks in memory; and what is being written to only when all of it may go.

use std::time::Duration;

use super::health::Status;
use super::partition_log::PartitionLog;
use super::settings::Care;
use super::stage::Stage;
use super::trim::Trimmed;
use super::upkeep::Progress;
use super::view::View;
use crate::config::Retention;
use crate::error::Result;

/// Consecutive records that are given up together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// The offset behind them.
    end_offset: u64,
    bytes: u64,
    /// When the last of them was appended, or later, in milliseconds since the epoch; `None` if unknown.
    appended_by: Option<i64>,
}

/// What a retention goes by, beside the log.
#[derive(Debug)]
struct Facts<'a> {
    retention: &'a Retention,
    /// What the groups need that are to have read the records.
    progress: &'a [Progress],
    offsets_retention: Duration,
    now: i64,
}

/// How far a log may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expired {
    /// The log may begin with this offset.
    start_offset: u64,
    /// The piece that is being written to may go too.
    is_all: bool,
    /// And that for its age.
    is_all_too_old: bool,
}

/// How far a log that begins with `start_offset` may be given up. `pieces`: oldest first; the last one is
/// being written to.
fn expired(start_offset: u64, pieces: &[Piece], facts: &Facts<'_>) -> Expired {
    let mut expired = Expired { start_offset, is_all: false, is_all_too_old: false };
    let mut kept_bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
    // No record was appended before an earlier one, whatever a clock said.
    let mut appended_by = None;
    for (number, piece) in pieces.iter().enumerate() {
        let is_last = number + 1 == pieces.len();
        let is_void = piece.end_offset <= expired.start_offset;
        appended_by = piece.appended_by.map(|time| time.max(appended_by.unwrap_or(time)));
        kept_bytes -= piece.bytes;
        let is_too_much =
            !is_last && facts.retention.max_bytes.is_some_and(|max_bytes| kept_bytes >= max_bytes);
        if !is_void && !is_too_much && !facts.is_too_old(appended_by) && !facts.is_read(piece, appended_by) {
            break;
        }
        expired.start_offset = expired.start_offset.max(piece.end_offset);
        expired.is_all = is_last && !is_void;
        expired.is_all_too_old = expired.is_all && facts.is_too_old(appended_by);
    }
    expired
}

impl Facts<'_> {
    fn is_too_old(&self, appended_by: Option<i64>) -> bool {
        self.retention.max_age.is_some_and(|max_age| self.is_older(appended_by, max_age))
    }

    /// Whether all groups that are to read it have done so, and it was kept long enough all the same.
    fn is_read(&self, piece: &Piece, appended_by: Option<i64>) -> bool {
        let min_age = self.retention.min_age;
        !self.progress.is_empty()
            && self.progress.iter().all(|progress| self.is_past(*progress, piece, appended_by))
            && (min_age.is_zero() || self.is_older(appended_by, min_age))
    }

    fn is_past(&self, progress: Progress, piece: &Piece, appended_by: Option<i64>) -> bool {
        match progress {
            Progress::From(offset) => piece.end_offset <= offset,
            Progress::Absent => self.is_older(appended_by, self.offsets_retention),
            Progress::Unknown => false,
        }
    }

    fn is_older(&self, appended_by: Option<i64>, age: Duration) -> bool {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        appended_by.is_some_and(|time| time.checked_add(age).is_some_and(|end| end < self.now))
    }
}

impl PartitionLog {
    /// The offset with which the log may begin by now, if it is a later one. What is being written to on disk
    /// is sealed first if all of it may go.
    pub(crate) fn give_up_by(&self, care: &Care, now: i64) -> Result<Option<u64>> {
        let Expired { start_offset, is_all, is_all_too_old } = self.expired(care, now);
        let is_rolled = self.roll_if_due(care, now, is_all_too_old)?;
        if is_all && self.home().is_some() && !is_rolled {
            // The segment that is written to stays, and so do the records in it.
            let base_offset = self.view().read().last_segment().map(|segment| segment.base_offset());
            return Ok(base_offset.filter(|base_offset| *base_offset > self.start_offset()));
        }
        Ok((start_offset > self.start_offset()).then_some(start_offset))
    }

    /// Deletes the records below `offset`, as [`PartitionLog::trim`]: a retention does not keep them.
    pub(crate) fn give_up(&self, offset: u64) -> Trimmed {
        let trimmed = self.trim(offset);
        self.counters().retained_out_records.add(trimmed.records);
        self.counters().retained_out_bytes.add(trimmed.bytes);
        trimmed
    }

    /// Whether what it holds may be deleted and compacted. Not if it is damaged, or open for reading only.
    pub(crate) fn may_be_changed(&self) -> bool {
        matches!(self.health.status(), Status::Open | Status::Suspended)
    }

    /// Whether it has more than the segment that is written to.
    pub(crate) fn has_sealed_segment(&self) -> bool {
        self.view().read().segments().len() > 1
    }

    fn expired(&self, care: &Care, now: i64) -> Expired {
        let retention = &care.retention;
        let identity = self.identity();
        // Before anything of the log is looked at: what is committed later is for the next time.
        let progress: Vec<Progress> = retention
            .read_by
            .iter()
            .map(|group| {
                self.upkeep().progress(group, identity.topic_id, identity.partition, self.dir().is_none())
            })
            .collect();
        let (start_offset, pieces) = {
            let stage = self.stage().lock();
            let view = self.view().read();
            let pieces = match view.segments().is_empty() {
                true => chunks(&stage, &view),
                false => segments(&stage, &view),
            };
            (view.start_offset(), pieces)
        };
        let offsets_retention = self.upkeep().offsets_retention();
        expired(start_offset, &pieces, &Facts { retention, progress: &progress, offsets_retention, now })
    }
}

/// The segments of a log on disk. Those before a segment were appended by the time it was made.
fn segments(stage: &Stage, view: &View) -> Vec<Piece> {
    let segments = view.segments();
    let mut pieces = Vec::with_capacity(segments.len());
    let mut made = None;
    for pair in segments.windows(2).rev() {
        made = pair[1].known_created().or(made);
        let (end_offset, bytes) = (pair[1].base_offset(), pair[0].sealed_bytes());
        pieces.push(Piece { end_offset, bytes, appended_by: made });
    }
    pieces.reverse();
    let (end_offset, bytes) = (view.end_offset(), stage.segment_bytes());
    pieces.push(Piece { end_offset, bytes, appended_by: stage.appended_by(stage.next_offset()) });
    pieces
}

/// The chunks of a log in memory.
fn chunks(stage: &Stage, view: &View) -> Vec<Piece> {
    let pieces = view.chunks().map(|chunk| {
        let end_offset = chunk.end_offset();
        let bytes = chunk.visible().bytes as u64;
        Piece { end_offset, bytes, appended_by: stage.appended_by(end_offset) }
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Pieces of ten records and a hundred bytes, by the times at which they were complete.
    fn pieces(times: &[i64]) -> Vec<Piece> {
        let pieces = (1..).zip(times).map(|(number, &time)| Piece {
            end_offset: number * 10,
            bytes: 100,
            appended_by: Some(time),
        });
        pieces.collect()
    }

    fn start_at(retention: &Retention, pieces: &[Piece], progress: &[Progress], now: i64) -> (u64, bool) {
        let facts = Facts { retention, progress, offsets_retention: 60 * SECOND, now };
        let Expired { start_offset, is_all, .. } = expired(0, pieces, &facts);
        (start_offset, is_all)
    }

    #[test]
    fn what_is_older_goes_and_nothing_that_is_as_old() {
        let retention = Retention::forever().max_age(SECOND);
        let pieces = pieces(&[0, 500, 900]);
        for (now, start_offset) in [(1_000, 0), (1_001, 10), (1_500, 10), (1_501, 20), (1_900, 20)] {
            assert_eq!(start_at(&retention, &pieces, &[], now), (start_offset, false), "at {now}");
        }
        assert_eq!(start_at(&retention, &pieces, &[], 1_901), (30, true));
    }

    #[test]
    fn a_piece_is_not_older_than_those_before_it() {
        let retention = Retention::forever().max_age(SECOND);
        assert_eq!(start_at(&retention, &pieces(&[900, 100, 200]), &[], 1_500), (0, false));
        assert_eq!(start_at(&retention, &pieces(&[100, 900, 200]), &[], 1_500), (10, false));
        let unknown = Piece { appended_by: None, ..pieces(&[0])[0] };
        assert_eq!(start_at(&retention, &[unknown], &[], i64::MAX), (0, false));
    }

    #[test]
    fn as_much_is_kept_as_was_asked_for_and_what_is_written_to() {
        let pieces = pieces(&[0, 0, 0]);
        for (max_bytes, start_offset) in [(1, 20), (100, 20), (101, 10), (200, 10), (201, 0), (300, 0)] {
            let retention = Retention::forever().max_bytes(max_bytes);
            assert_eq!(start_at(&retention, &pieces, &[], 0), (start_offset, false), "of {max_bytes}");
        }
    }

    #[test]
    fn what_all_have_read_goes_when_it_is_old_enough() {
        let retention = Retention::until_read_by(["a", "b"]);
        let pieces = pieces(&[0, 0, 0]);
        let read = |a, b| start_at(&retention, &pieces, &[Progress::From(a), Progress::From(b)], 0);
        assert_eq!(read(30, 9), (0, false));
        assert_eq!(read(30, 19), (10, false));
        assert_eq!(read(20, 30), (20, false));
        assert_eq!(read(30, 30), (30, true));
        let later = retention.clone().min_age(SECOND);
        let progress = [Progress::From(30), Progress::From(30)];
        assert_eq!(start_at(&later, &pieces, &progress, 1_000), (0, false));
        assert_eq!(start_at(&later, &pieces, &progress, 1_001), (30, true));
        let at_most = retention.max_age(SECOND);
        assert_eq!(start_at(&at_most, &pieces, &[Progress::From(0), Progress::From(0)], 1_001), (30, true));
    }

    #[test]
    fn a_group_that_is_gone_holds_what_is_young_and_an_unknown_one_everything() {
        let retention = Retention::until_read_by(["a", "b"]);
        let pieces = pieces(&[0, 1_000]);
        let progress = [Progress::From(20), Progress::Absent];
        assert_eq!(start_at(&retention, &pieces, &progress, 60_000), (0, false));
        assert_eq!(start_at(&retention, &pieces, &progress, 60_001), (10, false));
        let progress = [Progress::From(20), Progress::Unknown];
        assert_eq!(start_at(&retention, &pieces, &progress, i64::MAX), (0, false));
    }

    #[test]
    fn what_was_deleted_already_is_passed_over() {
        let retention = Retention::forever().max_bytes(100);
        let facts = Facts { retention: &retention, progress: &[], offsets_retention: SECOND, now: 0 };
        let nothing = |start_offset| Expired { start_offset, is_all: false, is_all_too_old: false };
        assert_eq!(expired(25, &pieces(&[0, 0, 0]), &facts), nothing(25));
        assert_eq!(expired(0, &[], &facts), nothing(0));
    }
}
