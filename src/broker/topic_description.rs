//! What a broker tells about its topics.

use std::time::Duration;

use crate::config::{Compaction, Durability, Retention, WhenFull};
use crate::topic::Topic;

/// A topic's settings and partitions, from [`Broker::describe_topic`](crate::Broker::describe_topic).
///
/// ```
/// use ottla::{Broker, Durability, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.create_topic("payments", TopicConfig::new().partitions(2))?;
/// broker.producer::<String, u64>("payments")?.record(200).partition(1).send()?;
///
/// let payments = broker.describe_topic("payments")?;
/// assert_eq!((payments.durability, payments.max_record_bytes), (Durability::Memory, 1 << 20));
/// assert_eq!(payments.records(), 1);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// The name.
    pub name: String,
    /// Random; tells this topic from an earlier one of the same name.
    pub id: u64,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// The most bytes of key, value and headers of a record.
    pub max_record_bytes: u64,
    /// The most bytes that the records of one call may take in one partition's log.
    pub max_batch_bytes: u64,
    /// The size at which a partition's log goes on in a new file.
    pub segment_bytes: u64,
    /// How many bytes the topic may hold if it is in memory.
    pub memory_limit: u64,
    /// How long what [`Durability::ProcessCrash`] acknowledged may wait for a sync.
    pub sync_interval: Duration,
    /// How long records are kept.
    pub retention: Retention,
    /// Whether and how it is compacted.
    pub compaction: Option<Compaction>,
    /// What it does at its `memory_limit` if it is in memory.
    pub when_full: WhenFull,
    /// When a segment that is being written to ends, however small it is.
    pub segment_age: Duration,
    /// The partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition, as part of a [`TopicDescription`].
///
/// ```
/// # use ottla::{Broker, TopicConfig};
/// # let broker = Broker::in_memory();
/// # broker.create_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
/// broker.delete_records("payments", 0, 1)?;
/// let partition = broker.describe_topic("payments")?.partitions[0];
/// assert_eq!((partition.start_offset, partition.end_offset), (1, 2));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// The number, from 0.
    pub partition: u32,
    /// Random; seeds the checksums of the partition's records.
    pub id: u64,
    /// The first offset that is kept: records below it were deleted or, in memory, dropped at the bound.
    pub start_offset: u64,
    /// The offset behind the last readable record.
    pub end_offset: u64,
}

impl TopicDescription {
    /// How many records the topic holds, over all partitions: how many offsets, so that what compaction has
    /// removed between others counts too.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.end_offset - partition.start_offset).sum()
    }

    pub(super) fn of(topic: &Topic) -> Self {
        let settings = topic.settings();
        let partitions = topic.partitions().map(|log| PartitionDescription {
            partition: log.identity().partition,
            id: log.identity().id,
            start_offset: log.start_offset(),
            end_offset: log.end_offset(),
        });
        Self {
            name: topic.name().to_string(),
            id: topic.id(),
            durability: settings.durability,
            max_record_bytes: settings.max_record_bytes,
            max_batch_bytes: settings.max_batch_bytes,
            segment_bytes: settings.segment_bytes,
            memory_limit: settings.memory_limit,
            sync_interval: settings.sync_interval,
            retention: settings.retention,
            compaction: settings.compaction,
            when_full: settings.when_full,
            segment_age: settings.segment_age,
            partitions: partitions.collect(),
        }
    }
}
