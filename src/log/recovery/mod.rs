//! Opening a partition's log from its files. [`examine()`] looks through them and changes nothing; [`mend`]
//! makes a log of what it found: a torn tail is cut off, and with damage it does as the policy says.

mod examine;
mod files;
mod mend;
mod part;
mod report;

use std::path::Path;

pub(crate) use examine::Examined;
pub(super) use mend::Recovered;
pub(crate) use mend::{Mending, Verified};
pub use report::{Damage, DamageAction, TornTail};

use super::identity::LogIdentity;
use crate::error::Result;
use crate::storage::Storage;

/// How far a log is known to have been on stable storage: what a checkpoint says of it. True for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncedTo {
    /// All records below this offset.
    pub(crate) end_offset: u64,
    /// The segment in which the next record was to be, by its base offset, and its position there. Only a
    /// hint.
    pub(crate) segment: u64,
    pub(crate) position: u64,
}

impl SyncedTo {
    /// What is known, and that all records below `end_offset` were safe too, wherever they are.
    pub(crate) fn up_to(known: Option<Self>, end_offset: u64) -> Self {
        known.filter(|known| known.end_offset >= end_offset).unwrap_or(Self {
            end_offset,
            segment: u64::MAX,
            position: 0,
        })
    }
}

/// What is to be examined, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Records below this offset were deleted.
    pub(crate) start_offset: u64,
    pub(crate) known: Option<SyncedTo>,
    /// Whether the machine has not been restarted since the files were written.
    pub(crate) same_boot: bool,
    /// Whether to read also what is known to have been synced.
    pub(crate) everything: bool,
    /// Whether to sync what was read: the log is to be used.
    pub(crate) syncs: bool,
}

impl Request {
    /// Of a log that was just made.
    pub(crate) fn of_new_log() -> Self {
        Self { start_offset: 0, known: None, same_boot: false, everything: false, syncs: true }
    }
}

/// Looks through the log of `identity` in `dir`, and changes nothing. No file is left open.
pub(super) fn examine(
    storage: &dyn Storage,
    dir: &Path,
    identity: &LogIdentity,
    request: &Request,
) -> Result<Examined> {
    examine::examine(storage, dir, identity, request)
}
