//! The log of one partition: an append under a lock, fetches without one, in memory or in segments on disk.
//!
//! ```text
//! append → partition_log (lock, offset, room) → chunk (copy) → segment (pwrite) → chunk (publish)
//! fetch  → reader (where was I) → chunk, or view → chunk | segment (pread)
//! ```

mod append;
mod append_times;
mod by_time;
#[expect(unsafe_code, reason = "shared memory with one writer and many readers; reasons stand in the file")]
mod chunk;
mod chunk_supply;
mod compaction;
mod completion;
mod counters;
mod disk_tail;
mod ending;
mod file_reads;
mod flush;
mod health;
mod identity;
#[cfg(all(test, loom))]
mod loom_tests;
mod offset_index;
mod opening;
mod partition_log;
mod piece;
mod reader;
mod recovery;
mod retention;
mod rewrite;
mod rolling;
mod row;
mod scan;
mod segment;
mod segment_header;
mod settings;
mod stage;
mod statistics;
mod sync_times;
mod syncer;
mod syncing;
mod trim;
mod upkeep;
mod view;
mod wakeups;

pub(crate) use append::{Fate, Pending, WrittenBy};
pub(crate) use compaction::Compacted;
pub(crate) use counters::Counters;
pub(crate) use file_reads::{FileReads, Files};
pub(crate) use flush::{FlushQueue, FlushRequest};
pub(crate) use identity::{LogIdentity, LogPlace};
pub(crate) use opening::ExaminedLog;
pub(crate) use partition_log::PartitionLog;
pub(crate) use reader::{Cursor, Portion, Run};
pub use recovery::{Damage, DamageAction, TornTail};
pub(crate) use recovery::{Mending, Request, SyncedTo, Verified};
#[cfg(fuzzing)]
pub(crate) use segment_header::{SegmentHeader, base_offset_of, segment_file_name};
pub(crate) use settings::Care;
pub(crate) use statistics::{Amount, LogStats};
pub(crate) use sync_times::SyncTimesSeen;
pub(crate) use syncer::Syncer;
pub(crate) use trim::Trimmed;
pub(crate) use upkeep::{Keeper, Progress, Upkeep};
