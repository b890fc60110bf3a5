//! Compaction: of the records of a key, all but the latest are removed from the front of a log, and so are
//! tombstones that every reader has had time to see. What is kept stays in order and keeps its offset; where
//! records are gone, a gap says so.
//!
//! A pass over a log goes from its beginning up to the last segment that may be touched:
//!
//! 1. of what has come since the last pass, the latest offset of each key is taken down ([`keys`]);
//! 2. each segment is looked through, to know what of it is to be kept ([`sieve`]);
//! 3. segments of which something is removed are written anew ([`press`]), small neighbours together, from
//!    the oldest to the latest; each new file takes the place of the old ones, for good, before the next one
//!    is begun ([`on_disk`]).
//!
//! Step 3 is why a tombstone can go: when it was first met, by an earlier pass, everything that it removes
//! was gone from the disk before the file was written that says so.
//!
//! Nothing is locked that an append or a fetch takes, but for a moment when a segment is replaced. In memory,
//! the pieces are chunks ([`in_memory`]).

mod in_memory;
mod keys;
mod on_disk;
mod press;
mod sieve;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use self::keys::{LatestOffsets, MAX_KEYS};
use self::sieve::Sieve;
use super::partition_log::PartitionLog;
use crate::clock::Timestamp;
use crate::config::Compaction;
use crate::error::{Error, Result};
use crate::record::frame::Frame;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Removed, tombstones among them.
    pub(crate) records: u64,
    /// Removed because every reader has had time to see them.
    pub(crate) tombstones: u64,
    /// By which the log became smaller.
    pub(crate) bytes: u64,
}

impl Compacted {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.tombstones += other.tombstones;
        self.bytes += other.bytes;
    }
}

/// What is known of a log's compaction.
#[derive(Debug)]
pub(super) struct CompactionState {
    /// Held for the whole of a pass.
    pass: Mutex<Pass>,
    /// Held while segments are replaced, or their files removed. Taken behind `pass`, and held during I/O: by
    /// nobody who holds another lock of the log.
    pub(super) files: Mutex<()>,
    /// Tombstones below this offset may have been removed.
    tombstones_removed_below: AtomicU64,
}

/// What one pass leaves for the next one.
#[derive(Debug)]
struct Pass {
    /// Below this offset, no record is superseded by another one below it. `None`: to be found out.
    cleaned_to: Option<u64>,
    /// When the tombstone was met that is the next to go.
    oldest_met: Option<i64>,
    /// Files that lie within a compacted segment and could not be removed: they would come back at the next
    /// opening.
    leftovers: Vec<u64>,
    /// Whether names were changed that a power loss may change back.
    names_unsynced: bool,
    max_keys: usize,
}

impl Default for CompactionState {
    fn default() -> Self {
        let pass = Pass {
            cleaned_to: None,
            oldest_met: None,
            leftovers: Vec::new(),
            names_unsynced: false,
            max_keys: MAX_KEYS,
        };
        Self { pass: Mutex::new(pass), files: Mutex::default(), tombstones_removed_below: AtomicU64::new(0) }
    }
}

/// Why a pass ends early.
#[derive(Debug)]
enum Stop {
    /// What it worked on is not part of the log any more.
    Abandoned,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A part of a log that may be compacted, as a pass sees it.
trait Piece {
    /// How many offsets a group of them may have.
    const MOST_OFFSETS: u64;

    fn base_offset(&self) -> u64;
    /// Behind what it holds.
    fn end_offset(&self) -> u64;
    /// In bytes.
    fn size(&self) -> u64;
    /// When it was begun, in milliseconds since the epoch, if that is known.
    fn begun(&self) -> Option<i64>;
    /// Shows each frame to `see`, in order.
    fn each(
        &self,
        log: &PartitionLog,
        see: &mut dyn FnMut(Frame<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop>;
}

/// What is to become one piece: consecutive ones, and what is kept of them.
#[derive(Debug)]
struct Group<'a, P> {
    pieces: &'a [P],
    /// Bytes of the frames to be kept.
    kept: u64,
    removed: Compacted,
}

impl<P: Piece> Group<'_, P> {
    fn takes(&self, next: &P) -> bool {
        let base_offset = self.pieces.first().map_or(0, P::base_offset);
        next.end_offset() - base_offset <= P::MOST_OFFSETS
    }
}

impl PartitionLog {
    /// Compacts what may be compacted, if it is worth it. Blocks for as long as reading and writing take;
    /// what is appended and fetched meanwhile does not wait. After an error, everything that is in the log is
    /// there, and the next call goes on.
    pub(crate) fn compact(&self, how: &Compaction, now: Timestamp) -> Result<Compacted> {
        let mut pass = self.compaction().pass.lock();
        let mut done = Compacted::default();
        let outcome = match self.home() {
            Some(home) => self.compact_on_disk(home, &mut pass, how, now.as_millis(), &mut done),
            None if self.place().is_none() => {
                self.compact_in_memory(&mut pass, how, now.as_millis(), &mut done)
            }
            None => Ok(()),
        };
        let counters = self.counters();
        if done != Compacted::default() {
            counters.compactions.add(1);
        }
        counters.compacted_records.add(done.records);
        counters.compacted_bytes.add(done.bytes);
        counters.compacted_tombstones.add(done.tombstones);
        match outcome {
            Ok(()) | Err(Stop::Abandoned) => Ok(done),
            // One that was deleted or closed meanwhile has nothing to be told of.
            Err(Stop::Failed(error)) => self.check_readable().and(Err(error)),
        }
    }

    /// Tombstones below this offset may have been removed: who has read up to a smaller one only, and knows
    /// of keys from before, may know of some that are gone.
    pub(crate) fn tombstones_removed_below(&self) -> u64 {
        self.compaction().tombstones_removed_below.load(Ordering::Acquire)
    }

    /// Waits until no compaction is under way. One that is ends soon, if the log has ended.
    pub(super) fn wait_for_compaction(&self) {
        drop(self.compaction().pass.lock());
    }

    /// Knows the keys of what has come since the last pass.
    fn sieve<P: Piece>(&self, pass: &Pass, pieces: &[P], how: &Compaction, now: i64) -> Result<Sieve, Stop> {
        let cleaned_to = pass.cleaned_to.unwrap_or(0);
        let mut latest = LatestOffsets::new(pass.max_keys);
        let mut known_to = pieces.last().map_or(0, P::end_offset);
        for piece in pieces.iter().filter(|piece| piece.end_offset() > cleaned_to) {
            piece.each(self, &mut |frame| {
                let is_new = frame.is_record() && (cleaned_to..known_to).contains(&frame.offset());
                if let Some(key) = frame.key().filter(|_| is_new)
                    && !latest.note(key, frame.offset())
                {
                    known_to = frame.offset();
                }
                Ok(())
            })?;
            if known_to < piece.end_offset() {
                break;
            }
        }
        let delete_retention = i64::try_from(how.delete_retention.as_millis()).unwrap_or(i64::MAX);
        Ok(Sieve { latest, known_to, kept_from: self.start_offset(), now, delete_retention })
    }

    /// Looks through the pieces of which the sieve knows something, and puts those together that are to
    /// become one, of up to `most` bytes.
    fn groups<'a, P: Piece>(
        &self,
        pieces: &'a [P],
        sieve: &Sieve,
        most: u64,
        oldest_met: &mut Option<i64>,
    ) -> Result<Vec<Group<'a, P>>, Stop> {
        let known = pieces.partition_point(|piece| piece.base_offset() < sieve.known_to);
        let mut groups: Vec<(Group<'a, P>, bool)> = Vec::new();
        for (number, piece) in pieces[..known].iter().enumerate() {
            let mut survey = sieve.survey(piece.base_offset());
            piece.each(self, &mut |frame| {
                survey.see(frame);
                Ok(())
            })?;
            let found = survey.finish();
            *oldest_met = [*oldest_met, found.oldest_met].into_iter().flatten().min();
            match groups.last_mut() {
                Some((group, changes)) if group.kept + found.kept <= most && group.takes(piece) => {
                    let first = number - group.pieces.len();
                    group.pieces = &pieces[first..=number];
                    group.kept += found.kept;
                    group.removed.add(found.removed);
                    *changes = true;
                }
                _ => {
                    let pieces = &pieces[number..=number];
                    let group = Group { pieces, kept: found.kept, removed: found.removed };
                    groups.push((group, found.changes));
                }
            }
        }
        Ok(groups.into_iter().filter_map(|(group, changes)| changes.then_some(group)).collect())
    }

    fn note_removed_tombstones(&self, below: u64) {
        self.compaction().tombstones_removed_below.fetch_max(below, Ordering::AcqRel);
    }
}

/// Whether enough has come, or has waited long enough, or a tombstone may go.
fn is_worth_it<P: Piece>(pass: &Pass, pieces: &[P], how: &Compaction, now: i64) -> bool {
    let cleaned_to = pass.cleaned_to.unwrap_or(0);
    let age_of = |time: i64| u128::try_from(now.saturating_sub(time)).unwrap_or(0);
    let is_due = pass.oldest_met.is_some_and(|met| age_of(met) >= how.delete_retention.as_millis());
    let clean = pieces.partition_point(|piece| piece.end_offset() <= cleaned_to);
    let (clean, dirty) = pieces.split_at(clean);
    let Some(first) = dirty.first() else { return is_due && !clean.is_empty() };
    let is_late =
        how.max_lag.zip(first.begun()).is_some_and(|(max_lag, begun)| age_of(begun) >= max_lag.as_millis());
    let bytes = |pieces: &[P]| pieces.iter().map(P::size).sum::<u64>();
    let (clean, dirty) = (bytes(clean), bytes(dirty));
    let is_enough = dirty.saturating_mul(100) >= (clean + dirty) * u64::from(how.min_dirty_percent);
    is_due || is_late || is_enough
}
