//! Settings: plain builders for users, checked once and then passed on as [`TopicSettings`]; and Kafka's
//! names for them, in [`kafka`].

mod compaction;
pub(crate) mod kafka;
mod retention;

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

pub use compaction::Compaction;
pub use retention::{Retention, WhenFull};

use crate::error::{Error, Result};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const PARTITIONS: RangeInclusive<u32> = 1..=10_000;
const MAX_RECORD_BYTES: RangeInclusive<u64> = 1..=256 * MIB;
const MAX_BATCH_BYTES: RangeInclusive<u64> = KIB..=512 * MIB;
const SEGMENT_BYTES: RangeInclusive<u64> = least(4 * KIB)..=GIB;
const MEMORY_LIMIT: RangeInclusive<u64> = least(64 * KIB)..=1 << 40;
const SYNC_INTERVAL_MS: RangeInclusive<u64> = 1..=3_600_000;
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 86_400);

/// When a segment that is being written to ends, however small it is; Kafka's `segment.ms`.
pub(crate) const DEFAULT_SEGMENT_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Under a model checker a few records are as many as there are.
const fn least(bytes: u64) -> u64 {
    if cfg!(shuttle) { 1 } else { bytes }
}

/// How long what [`Durability::ProcessCrash`] acknowledged may stay unsynced, unless a broker or topic says
/// otherwise.
pub(crate) const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// What an acknowledged record survives. A broker has a level, and a topic may have another.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Durability, TopicConfig, storage::MemoryStorage};
///
/// let builder = Broker::builder().data_dir("/data").storage(MemoryStorage::default());
/// let broker = builder.durability(Durability::PowerLoss).open()?;
/// broker.create_topic("payments", TopicConfig::new())?;
/// assert_eq!(broker.describe_topic("payments")?.durability, Durability::PowerLoss);
///
/// let faster = TopicConfig::new().durability(Durability::ProcessCrash);
/// broker.create_topic("clicks", faster.sync_interval(Duration::from_millis(200)))?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: the records are kept in memory only, up to the topic's
    /// [`memory_limit`](TopicConfig::memory_limit). The only level of a broker without a directory; in one
    /// with a directory, the topic itself is remembered and starts empty.
    Memory,
    /// The end of this process by any means, `kill -9` included: the bytes are with the operating system
    /// when `send` returns. Default in a directory. A power loss or a crash of the operating
    /// system may take the end of each log: what was not synced yet. A background thread syncs what was sent
    /// a [`sync_interval`](TopicConfig::sync_interval) ago, one log after the other; what a process that
    /// ended without [`close`](crate::Broker::close) had not synced is written by the operating system when
    /// it sees fit.
    ProcessCrash,
    /// Also a crash of the operating system or a power loss: a record is acknowledged, and visible to
    /// consumers, only after `fdatasync`. That takes as long as the device takes, and many senders share one
    /// sync. Only in a broker with a directory.
    PowerLoss,
}

/// What opening a directory does with a partition of which bytes are damaged that had been on stable storage,
/// or of which files are missing. (A torn tail is none of that: see [`TornTail`](crate::TornTail).) Set with
/// [`BrokerBuilder::recovery_policy`](crate::BrokerBuilder::recovery_policy).
///
/// Whatever the policy, the broker opens, other partitions are not touched, and each
/// [`Damage`](crate::Damage) is in the [`RecoveryReport`](crate::RecoveryReport).
///
/// ```
/// use ottla::{Broker, RecoveryPolicy, storage::MemoryStorage};
///
/// let builder = Broker::builder().data_dir("/data").storage(MemoryStorage::default());
/// let broker = builder.recovery_policy(RecoveryPolicy::Skip).open()?;
/// for damage in &broker.recovery_report().damaged {
///     println!("{}: {} to {:?} are lost", damage.partition, damage.first_offset, damage.next_offset);
/// }
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPolicy {
    /// The partition is **fenced**: no byte of it is changed, it takes no records
    /// ([`Error::PartitionFenced`](crate::Error::PartitionFenced)), and all its good records are served. A
    /// consumer that comes to the damage is told ([`Error::RecordsDamaged`](crate::Error::RecordsDamaged)),
    /// and may seek beyond it. What was not read at opening, because it was known to have been synced, is
    /// verified when it is read; [`verify_on_open`](crate::BrokerBuilder::verify_on_open) reads everything.
    #[default]
    Strict,
    /// The log is cut off before the first damage, and takes records again from there on. What was behind it,
    /// good records too, lies beside it, in files that end in `.torn`. Everything is read at opening. Where
    /// nothing would be left to cut, the partition is fenced.
    Truncate,
    /// The damage is left as it is, consumers pass over it, and the log takes records behind it; no offset is
    /// given twice. Everything is read at opening.
    Skip,
}

/// The settings of a topic, for [`Broker::create_topic`](crate::Broker::create_topic),
/// [`Broker::open_topic`](crate::Broker::open_topic) and
/// [`Broker::alter_topic`](crate::Broker::alter_topic).
///
/// A value outside its range is answered with [`Error::InvalidConfig`] when the topic is created or altered.
///
/// ```
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// let config = TopicConfig::new()
///     .partitions(4)
///     .max_record_bytes(64 * 1024)
///     .max_batch_bytes(4 << 20)
///     .memory_limit(64 << 20);
/// broker.create_topic("payments", config)?;
/// # Ok::<(), ottla::Error>(())
/// ```
///
/// On disk:
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Durability, TopicConfig};
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let dir = dir.path();
/// let broker = Broker::open(dir)?;
/// broker.open_topic("payments", TopicConfig::new().durability(Durability::PowerLoss))?;
/// let clicks = TopicConfig::new().segment_bytes(16 << 20).sync_interval(Duration::from_secs(1));
/// broker.open_topic("clicks", clicks)?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    partitions: Option<u32>,
    durability: Option<Durability>,
    max_record_bytes: Option<u64>,
    max_batch_bytes: Option<u64>,
    segment_bytes: Option<u64>,
    memory_limit: Option<u64>,
    sync_interval: Option<Duration>,
    retention: Option<Retention>,
    /// Instead of what the retention says, as Kafka means it.
    retention_bytes_per_partition: Option<u64>,
    compaction: Option<Option<Compaction>>,
    when_full: Option<WhenFull>,
    segment_age: Option<Duration>,
}

impl TopicConfig {
    /// The defaults, which stand at each method.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Into how many partitions the topic is divided: 1 to 10,000. Default: 1 for a new topic, and
    /// whatever it has for one that exists; [`increase_partitions`](crate::Broker::increase_partitions)
    /// changes that.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// What an acknowledged record survives. Default: the broker's, as it is when the topic is made.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The most bytes that key, value and headers of one record may have together: 1 to 256 MiB. Default: 1
    /// MiB.
    #[must_use]
    pub fn max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = Some(bytes);
        self
    }

    /// The most bytes that the records of one call may take in one partition's log: 1 KiB to 512 MiB.
    /// Default: 16 MiB, or what one record of `max_record_bytes` takes, if that is more.
    /// A record on its own is bound by `max_record_bytes` alone.
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.max_batch_bytes = Some(bytes);
        self
    }

    /// The size at which a partition's log goes on in a new file: 4 KiB to 1 GiB. Default: 128 MiB. A batch
    /// larger than that gets a segment of its own. Of no effect in memory.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// How many bytes a topic in memory may hold: 64 KiB to 1 TiB. Default: 256 MiB. Each partition has an
    /// equal share, and beyond that does as [`when_full`](Self::when_full) says; it always keeps the piece
    /// that it is writing, of 4 KiB to 256 KiB or one batch. 1 TiB is no limit. Of no effect on disk.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// How long what [`Durability::ProcessCrash`] acknowledged may wait for a sync: 1 ms to 1 hour, in whole
    /// milliseconds. Default: the broker's when the topic is made, which is 50 ms. A power loss takes at most
    /// what was sent in that time and in the round of syncs that follows it. Of no effect at the other
    /// levels.
    #[must_use]
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = Some(interval);
        self
    }

    /// How long records are kept. Default: for ever, or in memory as long as there is room.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        (self.retention, self.retention_bytes_per_partition) = (Some(retention), None);
        self
    }

    /// Whether of the records of a key only the latest is kept: `Compaction::by_key()`, or `None`. Default:
    /// `None`. May be together with [`retention`](Self::retention): both apply.
    #[must_use]
    pub fn compaction(mut self, compaction: impl Into<Option<Compaction>>) -> Self {
        self.compaction = Some(compaction.into());
        self
    }

    /// What a topic in memory does when it has no room. Default: it drops its oldest records; or refuses new
    /// ones, if it is compacted, for the oldest may be the latest of their key. Of no effect on disk.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = Some(when_full);
        self
    }

    /// When a partition's log goes on in a new file, however small the one before is: 1 ms to 100 years, in
    /// whole milliseconds. Default: 7 days. Only whole files are given up and compacted. Counts for topics
    /// that have a [`retention`](Self::retention) by age or a [`compaction`](Self::compaction). Of no effect
    /// in memory.
    #[must_use]
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.segment_age = Some(age);
        self
    }

    /// The first setting named here that an existing topic has otherwise: its name, what the topic has, and
    /// what is named.
    pub(crate) fn disagreement(&self, of: &TopicSettings) -> Option<(&'static str, String, String)> {
        fn differs<T: PartialEq + Debug>(
            setting: &'static str,
            existing: &T,
            named: Option<&T>,
        ) -> Option<(&'static str, String, String)> {
            let named = named.filter(|named| *named != existing)?;
            Some((setting, format!("{existing:?}"), format!("{named:?}")))
        }
        // What only counts in memory is not looked at on disk: one config may be for both.
        let in_memory = (of.durability == Durability::Memory).then_some(self);
        // As a topic keeps it. One out of range agrees with none, and was refused before.
        let sync_interval =
            self.sync_interval.map(|interval| checked_sync_interval(interval).unwrap_or(interval));
        differs("partitions", &of.partitions, self.partitions.as_ref())
            .or_else(|| differs("durability", &of.durability, self.durability.as_ref()))
            .or_else(|| differs("max_record_bytes", &of.max_record_bytes, self.max_record_bytes.as_ref()))
            .or_else(|| differs("max_batch_bytes", &of.max_batch_bytes, self.max_batch_bytes.as_ref()))
            .or_else(|| differs("segment_bytes", &of.segment_bytes, self.segment_bytes.as_ref()))
            .or_else(|| differs("memory_limit", &of.memory_limit, in_memory?.memory_limit.as_ref()))
            .or_else(|| differs("sync_interval", &of.sync_interval, sync_interval.as_ref()))
            .or_else(|| {
                let named = self.named_retention(of.partitions);
                differs("retention", &of.retention, named.as_ref())
            })
            .or_else(|| differs("compaction", &of.compaction, self.compaction.as_ref()))
            .or_else(|| differs("when_full", &of.when_full, in_memory?.when_full.as_ref()))
            .or_else(|| differs("segment_age", &of.segment_age, self.segment_age.as_ref()))
    }

    /// The settings of a new topic: what is named here, and defaults for the rest.
    pub(crate) fn settings(&self, defaults: &TopicDefaults) -> Result<TopicSettings> {
        let partitions = checked_partitions(self.partitions.unwrap_or(1))?;
        if let Some(asked) = self.durability
            && asked > defaults.best
        {
            return Err(invalid_durability(
                asked,
                "Memory in a broker without a directory, which has no files",
            ));
        }
        let max_record_bytes = self.max_record_bytes.unwrap_or(MIB);
        let base = TopicSettings {
            partitions,
            durability: defaults.durability,
            max_record_bytes,
            max_batch_bytes: (16 * MIB).max(max_record_bytes.saturating_add(KIB)),
            segment_bytes: 128 * MIB,
            memory_limit: 256 * MIB,
            sync_interval: defaults.sync_interval,
            retention: Retention::forever(),
            compaction: None,
            when_full: WhenFull::DropOldest,
            segment_age: DEFAULT_SEGMENT_AGE,
        };
        self.over(&base)
    }

    /// The settings of an existing topic after a change: what is named here, and what it has for the rest.
    pub(crate) fn altered(&self, current: &TopicSettings) -> Result<TopicSettings> {
        if let Some(asked) = self.partitions
            && asked != current.partitions
        {
            return Err(Error::InvalidConfig {
                setting: "partitions",
                value: asked.to_string(),
                allowed: format!("{}, as it is: increase_partitions changes it", current.partitions),
            });
        }
        match self.durability {
            Some(asked) if asked > Durability::Memory && current.durability == Durability::Memory => {
                Err(invalid_durability(asked, "Memory, as it is: the topic was made without files"))
            }
            Some(Durability::Memory) if current.durability > Durability::Memory => {
                let allowed = "ProcessCrash or PowerLoss: the topic's records are in files";
                Err(invalid_durability(Durability::Memory, allowed))
            }
            _ => self.over(current),
        }
    }

    /// `base` with what is named here, checked.
    fn over(&self, base: &TopicSettings) -> Result<TopicSettings> {
        let record = self.max_record_bytes.unwrap_or(base.max_record_bytes);
        let batch = self.max_batch_bytes.unwrap_or(base.max_batch_bytes);
        let segment = self.segment_bytes.unwrap_or(base.segment_bytes);
        let memory = self.memory_limit.unwrap_or(base.memory_limit);
        let retention = self.named_retention(base.partitions);
        let retention = retention.as_ref().unwrap_or(&base.retention).checked()?;
        let compaction = self.compaction.as_ref().unwrap_or(&base.compaction).as_ref();
        let compaction = compaction.map(Compaction::checked).transpose()?;
        Ok(TopicSettings {
            when_full: self.checked_when_full(base, &retention, compaction.is_some())?,
            retention,
            compaction,
            segment_age: checked_duration(
                "segment_age",
                self.segment_age.unwrap_or(base.segment_age),
                Duration::from_millis(1),
            )?,
            partitions: base.partitions,
            durability: self.durability.unwrap_or(base.durability),
            max_record_bytes: in_range("max_record_bytes", record, &MAX_RECORD_BYTES)?,
            max_batch_bytes: in_range("max_batch_bytes", batch, &MAX_BATCH_BYTES)?,
            segment_bytes: in_range("segment_bytes", segment, &SEGMENT_BYTES)?,
            memory_limit: in_range("memory_limit", memory, &MEMORY_LIMIT)?,
            sync_interval: checked_sync_interval(self.sync_interval.unwrap_or(base.sync_interval))?,
        })
    }

    fn named_retention(&self, partitions: u32) -> Option<Retention> {
        let mut named = self.retention.clone()?;
        if let Some(bytes) = self.retention_bytes_per_partition {
            named.max_bytes = Some(bytes.saturating_mul(u64::from(partitions)));
        }
        Some(named)
    }

    /// What a topic does at its bound; each way has its condition.
    fn checked_when_full(
        &self,
        base: &TopicSettings,
        retention: &Retention,
        compacts: bool,
    ) -> Result<WhenFull> {
        let invalid = |value: WhenFull, allowed: &str| Error::InvalidConfig {
            setting: "when_full",
            value: format!("{value:?}"),
            allowed: allowed.to_owned(),
        };
        let asked = self.when_full.unwrap_or(match base.when_full {
            WhenFull::DropOldest if compacts => WhenFull::Refuse,
            other => other,
        });
        match asked {
            WhenFull::DropOldest if compacts => {
                Err(invalid(asked, "Block or Refuse, as the latest record of a key is to be kept"))
            }
            WhenFull::Block if retention.read_by.is_empty() && retention.max_age.is_none() => {
                Err(invalid(asked, "DropOldest or Refuse, unless the retention has read_by or max_age"))
            }
            _ => Ok(asked),
        }
    }
}

/// What a broker gives to topics that do not say otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicDefaults {
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    /// The highest level that the broker can keep.
    pub(crate) best: Durability,
}

impl TopicDefaults {
    /// Of a broker without a directory.
    pub(crate) fn in_memory() -> Self {
        Self {
            durability: Durability::Memory,
            sync_interval: DEFAULT_SYNC_INTERVAL,
            best: Durability::Memory,
        }
    }

    /// Of a broker with a directory.
    pub(crate) fn on_disk() -> Self {
        Self {
            durability: Durability::ProcessCrash,
            sync_interval: DEFAULT_SYNC_INTERVAL,
            best: Durability::PowerLoss,
        }
    }
}

/// A topic's settings, checked: every value is in its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    pub(crate) partitions: u32,
    pub(crate) durability: Durability,
    pub(crate) max_record_bytes: u64,
    pub(crate) max_batch_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) memory_limit: u64,
    /// Whole milliseconds, as all that follow.
    pub(crate) sync_interval: Duration,
    pub(crate) retention: Retention,
    pub(crate) compaction: Option<Compaction>,
    pub(crate) when_full: WhenFull,
    pub(crate) segment_age: Duration,
}

/// Checks how many partitions a topic is to have.
pub(crate) fn checked_partitions(partitions: u32) -> Result<u32> {
    in_range("partitions", partitions, &PARTITIONS)
}

/// Checks how long records may stay unsynced, and drops what is not whole milliseconds.
pub(crate) fn checked_sync_interval(interval: Duration) -> Result<Duration> {
    match u64::try_from(interval.as_millis()) {
        Ok(millis) if SYNC_INTERVAL_MS.contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err(Error::InvalidConfig {
            setting: "sync_interval",
            value: format!("{interval:?}"),
            allowed: "1 ms to 1 hour".to_owned(),
        }),
    }
}

/// Checks a duration that may be `least` to 100 years, and drops what is not whole milliseconds.
fn checked_duration(setting: &'static str, value: Duration, least: Duration) -> Result<Duration> {
    if (least..=MAX_DURATION).contains(&value) {
        return Ok(Duration::from_millis(value.as_millis() as u64));
    }
    let allowed = format!("{least:?} to 100 years");
    Err(Error::InvalidConfig { setting, value: format!("{value:?}"), allowed })
}

fn invalid_durability(asked: Durability, allowed: &str) -> Error {
    Error::InvalidConfig { setting: "durability", value: format!("{asked:?}"), allowed: allowed.to_owned() }
}

fn in_range<T: PartialOrd + Display + Copy>(
    setting: &'static str,
    value: T,
    allowed: &RangeInclusive<T>,
) -> Result<T> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(Error::InvalidConfig {
        setting,
        value: value.to_string(),
        allowed: format!("{} to {}", allowed.start(), allowed.end()),
    })
}

#[cfg(test)]
mod tests;
