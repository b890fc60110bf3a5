//! What stays and what goes: a decision on one record after the other, and how much that is of a piece.

use super::Compacted;
use super::keys::LatestOffsets;
use crate::record::frame::{Frame, GAP_BYTES, HORIZON_BYTES};
use crate::seeded_bugs::{Bug, is_planted};

/// What a pass knows, by which it decides.
#[derive(Debug)]
pub(super) struct Sieve {
    /// Of what has come since the last pass.
    pub(super) latest: LatestOffsets,
    /// Nothing is known of records from this offset on: they stay.
    pub(super) known_to: u64,
    /// Records below this offset were deleted.
    pub(super) kept_from: u64,
    /// Milliseconds since the epoch.
    pub(super) now: i64,
    /// Milliseconds.
    pub(super) delete_retention: i64,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// A tombstone stays, and when a pass met it first; `None`: none has.
    KeepTombstone(Option<i64>),
    Remove,
    /// A tombstone goes that everybody has had time to see.
    RemoveTombstone,
}

impl Sieve {
    /// On a record that lies behind a horizon, or behind none.
    pub(super) fn verdict(&self, record: Frame<'_>, horizon: Option<i64>) -> Verdict {
        let offset = record.offset();
        if offset < self.kept_from {
            return Verdict::Remove;
        }
        if offset >= self.known_to {
            let is_tombstone = record.is_tombstone();
            return if is_tombstone { Verdict::KeepTombstone(horizon) } else { Verdict::Keep };
        }
        let Some(key) = record.key() else { return Verdict::Remove };
        if self.latest.get(key).is_some_and(|latest| latest > offset) {
            return Verdict::Remove;
        }
        match (record.is_tombstone(), horizon) {
            (false, _) => Verdict::Keep,
            (true, Some(met)) if self.now.saturating_sub(met) >= self.delete_retention => {
                Verdict::RemoveTombstone
            }
            (true, None) if is_planted(Bug::TombstoneRemovedAtOnce) => Verdict::RemoveTombstone,
            (true, horizon) => Verdict::KeepTombstone(horizon.or(Some(self.now))),
        }
    }

    /// Begins to look through a piece that begins with this offset.
    pub(super) fn survey(&self, base_offset: u64) -> Survey<'_> {
        Survey { sieve: self, horizon: None, next: base_offset, is_in_gap: false, found: Found::default() }
    }
}

/// What a horizon says, if it says anything.
pub(super) fn met(horizon: i64) -> Option<i64> {
    Some(horizon).filter(|&horizon| horizon != i64::MAX)
}

/// What looking through a piece finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Bytes of the frames to be kept, with gaps and horizons; rather more than fewer.
    pub(super) kept: u64,
    pub(super) removed: Compacted,
    /// Whether anything is to be written otherwise than it is.
    pub(super) changes: bool,
    /// When the tombstone was met, of those that are kept, that is the next to go.
    pub(super) oldest_met: Option<i64>,
}

/// Looks through one piece.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    sieve: &'a Sieve,
    horizon: Option<i64>,
    next: u64,
    is_in_gap: bool,
    found: Found,
}

impl Survey<'_> {
    pub(super) fn see(&mut self, frame: Frame<'_>) {
        if let Some(horizon) = frame.horizon() {
            self.horizon = met(horizon);
            return;
        }
        let next = frame.behind(self.next).unwrap_or(self.next);
        if frame.is_record() {
            self.judge(frame);
        } else if next > self.next {
            self.gap();
        }
        self.next = next;
    }

    fn judge(&mut self, record: Frame<'_>) {
        let found = &mut self.found;
        match self.sieve.verdict(record, self.horizon) {
            Verdict::Keep => found.kept += record.len() as u64,
            Verdict::KeepTombstone(met) => {
                found.kept += (record.len() + HORIZON_BYTES) as u64;
                found.changes |= met != self.horizon;
                found.oldest_met = [found.oldest_met, met].into_iter().flatten().min();
            }
            verdict @ (Verdict::Remove | Verdict::RemoveTombstone) => {
                found.changes = true;
                found.removed.records += 1;
                found.removed.tombstones += u64::from(verdict == Verdict::RemoveTombstone);
                return self.gap();
            }
        }
        self.is_in_gap = false;
    }

    fn gap(&mut self) {
        if !self.is_in_gap {
            self.found.kept += GAP_BYTES as u64;
            self.is_in_gap = true;
        }
    }

    pub(super) fn finish(self) -> Found {
        self.found
    }
}
