//! Known bugs that can be put back, one at a time, to see that the tests which claim to catch them do. They
//! are in builds with `--cfg ottla_seeded_bugs` only; in all others [`is_planted`] is false before the
//! program runs.

#[cfg(ottla_seeded_bugs)]
use crate::sync::{AtomicUsize, Ordering};

/// A bug that a log on disk, or a group, must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A segment that is left for the next one is not synced any more.
    NoSyncBeforeRoll,
    /// The name of a new segment is not synced.
    NoDirSyncAfterCreate,
    /// The new name of a file that replaces another one is not synced.
    NoDirSyncAfterRename,
    /// A sync mark says where the log ended after the sync, not before it.
    MarkCapturedAfterSync,
    /// A sync mark is written before the sync that it tells of.
    MarkBeforeSync,
    /// The checksum of a frame leaves out its length.
    CrcWithoutLength,
    /// The checksum of a frame leaves out its offset.
    CrcWithoutOffset,
    /// Bytes are taken as a frame's because its length field says so.
    LengthUnchecked,
    /// What lies where the index says that an offset is, is taken for the record of that offset.
    IndexTrusted,
    /// A torn tail is not cut off: the next record goes behind it.
    TailNotTruncated,
    /// A file whose sync failed is synced again, and then counts as synced.
    FailedSyncRetried,
    /// A record is acknowledged before it is written.
    AckBeforeWrite,
    /// A file that compaction has written gets its name before it is synced.
    CompactedUnsynced,
    /// Files that compaction has merged are removed before the new one's name is safe.
    MergedRemovedEarly,
    /// A tombstone is removed by the compaction that meets it first.
    TombstoneRemovedAtOnce,
    /// A member takes a partition that another one still reads.
    TakenBeforeReleased,
    /// A member commits what it polled before the partition was taken from it.
    LateCommitTaken,
    /// Who takes over a partition passes over one record.
    BegunTooLate,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::NoSyncBeforeRoll,
        Self::NoDirSyncAfterCreate,
        Self::NoDirSyncAfterRename,
        Self::MarkCapturedAfterSync,
        Self::MarkBeforeSync,
        Self::CrcWithoutLength,
        Self::CrcWithoutOffset,
        Self::LengthUnchecked,
        Self::IndexTrusted,
        Self::TailNotTruncated,
        Self::FailedSyncRetried,
        Self::AckBeforeWrite,
        Self::CompactedUnsynced,
        Self::MergedRemovedEarly,
        Self::TombstoneRemovedAtOnce,
        Self::TakenBeforeReleased,
        Self::LateCommitTaken,
        Self::BegunTooLate,
    ];

    /// What it is called on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSyncBeforeRoll => "no-sync-before-roll",
            Self::NoDirSyncAfterCreate => "no-dir-sync-after-create",
            Self::NoDirSyncAfterRename => "no-dir-sync-after-rename",
            Self::MarkCapturedAfterSync => "mark-captured-after-sync",
            Self::MarkBeforeSync => "mark-before-sync",
            Self::CrcWithoutLength => "crc-without-length",
            Self::CrcWithoutOffset => "crc-without-offset",
            Self::LengthUnchecked => "length-unchecked",
            Self::IndexTrusted => "index-trusted",
            Self::TailNotTruncated => "tail-not-truncated",
            Self::FailedSyncRetried => "failed-sync-retried",
            Self::AckBeforeWrite => "ack-before-write",
            Self::CompactedUnsynced => "compacted-unsynced",
            Self::MergedRemovedEarly => "merged-removed-early",
            Self::TombstoneRemovedAtOnce => "tombstone-removed-at-once",
            Self::TakenBeforeReleased => "taken-before-released",
            Self::LateCommitTaken => "late-commit-taken",
            Self::BegunTooLate => "begun-too-late",
        }
    }
}

#[cfg(ottla_seeded_bugs)]
static PLANTED: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Puts a bug back, for the whole process, in place of the one that was planted before.
#[cfg(ottla_seeded_bugs)]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(usize::MAX, |bug| bug as usize), Ordering::SeqCst);
}

#[cfg(ottla_seeded_bugs)]
#[inline]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as usize
}

/// Never, in a build without `--cfg ottla_seeded_bugs`.
#[cfg(not(ottla_seeded_bugs))]
#[inline(always)]
pub(crate) fn is_planted(_bug: Bug) -> bool {
    false
}
