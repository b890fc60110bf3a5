//! Settings: plain builders for users, checked once and then passed on as [`TopicSettings`].

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const PARTITIONS: RangeInclusive<u32> = 1..=10_000;
const MAX_RECORD_BYTES: RangeInclusive<u64> = 1..=256 * MIB;
const MAX_BATCH_BYTES: RangeInclusive<u64> = KIB..=512 * MIB;
const SEGMENT_BYTES: RangeInclusive<u64> = 4 * KIB..=GIB;
const MEMORY_LIMIT: RangeInclusive<u64> = 64 * KIB..=1 << 40;

/// What an acknowledged record survives.
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
    /// 50 ms ago, one log after the other; what a process that ended without
    /// [`close`](crate::Broker::close) had not synced is written by the operating system when it sees fit.
    ProcessCrash,
    /// A crash of the operating system or a power loss too: a record is acknowledged, and visible to
    /// consumers, only after `fdatasync`. Many senders share one sync.
    PowerLoss,
}

/// The settings of a topic, for [`Broker::create_topic`](crate::Broker::create_topic) and
/// [`Broker::open_topic`](crate::Broker::open_topic).
///
/// A value outside its range is answered with [`Error::InvalidConfig`] when the topic is created.
///
/// ```
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.create_topic("payments", TopicConfig::new().partitions(4).max_record_bytes(64 * 1024))?;
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
}

impl TopicConfig {
    /// The defaults, which stand at each method.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Into how many partitions the topic is divided: 1 to 10,000. Default: 1 for a new topic, and
    /// whatever it has for one that exists.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// What an acknowledged record survives. Default: the broker's.
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
    /// equal share and drops its oldest records beyond that; it always keeps the piece that it is writing,
    /// of 4 KiB to 256 KiB or one batch. Of no effect on disk.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// The number of partitions that was asked for, if any.
    pub(crate) fn requested_partitions(&self) -> Option<u32> {
        self.partitions
    }

    /// Checks every setting and fills in the defaults. `default` is the broker's durability and `best`
    /// the highest it can keep.
    pub(crate) fn settings(&self, default: Durability, best: Durability) -> Result<TopicSettings> {
        let partitions = in_range("partitions", self.partitions.unwrap_or(1), &PARTITIONS)?;
        let durability = self.durability.unwrap_or(default);
        if durability > best {
            return Err(Error::InvalidConfig {
                setting: "durability",
                value: format!("{durability:?}"),
                allowed: "Memory in a broker without a directory".to_owned(),
            });
        }
        let record = self.max_record_bytes.unwrap_or(MIB);
        let max_record_bytes = in_range("max_record_bytes", record, &MAX_RECORD_BYTES)?;
        let batch = self.max_batch_bytes.unwrap_or_else(|| (16 * MIB).max(max_record_bytes + KIB));
        let max_batch_bytes = in_range("max_batch_bytes", batch, &MAX_BATCH_BYTES)?;
        let segment = self.segment_bytes.unwrap_or(128 * MIB);
        let memory = self.memory_limit.unwrap_or(256 * MIB);
        Ok(TopicSettings {
            partitions,
            durability,
            max_record_bytes,
            max_batch_bytes,
            segment_bytes: in_range("segment_bytes", segment, &SEGMENT_BYTES)?,
            memory_limit: in_range("memory_limit", memory, &MEMORY_LIMIT)?,
        })
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
mod tests {
    use super::*;

    fn settings(config: &TopicConfig) -> Result<TopicSettings> {
        config.settings(Durability::ProcessCrash, Durability::ProcessCrash)
    }

    #[test]
    fn every_setting_refuses_what_is_outside_its_range_and_names_it() {
        let new = TopicConfig::new;
        for (setting, config) in [
            ("partitions", new().partitions(0)),
            ("partitions", new().partitions(10_001)),
            ("max_record_bytes", new().max_record_bytes(0)),
            ("max_batch_bytes", new().max_batch_bytes(GIB)),
            ("segment_bytes", new().segment_bytes(10)),
            ("segment_bytes", new().segment_bytes(2 * GIB)),
            ("memory_limit", new().memory_limit(0)),
        ] {
            let error = settings(&config).expect_err(setting).to_string();
            assert!(error.contains(setting) && error.contains(" to "), "{error}");
        }
    }

    #[test]
    fn a_memory_broker_cannot_promise_more_than_memory() {
        let config = TopicConfig::new().durability(Durability::ProcessCrash);
        assert!(config.settings(Durability::Memory, Durability::Memory).is_err());
    }

    #[test]
    fn the_default_batch_always_holds_the_largest_record() {
        let found = settings(&TopicConfig::new().max_record_bytes(200 * MIB)).expect("in range");
        assert!(found.max_batch_bytes > found.max_record_bytes);
    }
}
