//! What a broker does with topics: make, list, describe, change and delete them.

use super::{Broker, TopicDescription};
use crate::config::TopicConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::topic::catalog::Deleted;

impl Broker {
    /// Makes a topic that does not exist yet.
    ///
    /// ```
    /// # use ottla::{Broker, Error, TopicConfig};
    /// let broker = Broker::in_memory();
    /// broker.create_topic("payments", TopicConfig::new().partitions(4))?;
    /// let again = broker.create_topic("payments", TopicConfig::new().partitions(4));
    /// assert!(matches!(again, Err(Error::TopicExists { .. })));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TopicExists`], [`Error::InvalidTopicName`], [`Error::InvalidConfig`], [`Error::Closed`];
    /// [`Error::Io`] and [`Error::StorageFull`], after which there is no such topic, unless taking it back
    /// failed too: then an empty one may be there at the next open. [`Error::Corrupt`] if directories of
    /// its name hold files that belong to no topic.
    #[expect(clippy::needless_pass_by_value, reason = "a config is made for this call")]
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        self.open_catalog()?.create(name, &config).map(drop)
    }

    /// Makes a topic unless it exists. An existing one must agree with every setting that `config` names;
    /// what it does not name is as it is. [`alter_topic`](Self::alter_topic) changes settings.
    ///
    /// ```
    /// # use ottla::{Broker, Error, TopicConfig};
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// broker.open_topic("payments", TopicConfig::new())?; // it is there, with 4 partitions
    /// let other = broker.open_topic("payments", TopicConfig::new().partitions(6));
    /// assert!(matches!(other, Err(Error::TopicConfigMismatch { setting: "partitions", .. })));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TopicConfigMismatch`] if it exists and disagrees; else as
    /// [`create_topic`](Self::create_topic).
    #[expect(clippy::needless_pass_by_value, reason = "a config is made for this call")]
    pub fn open_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        self.open_catalog()?.open_or_create(name, &config).map(drop)
    }

    /// The names of all topics, in the order of their bytes.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// let broker = Broker::in_memory();
    /// broker.create_topic("refunds", TopicConfig::new())?;
    /// broker.create_topic("payments", TopicConfig::new())?;
    /// assert_eq!(broker.list_topics(), ["payments", "refunds"]);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn list_topics(&self) -> Vec<String> {
        self.inner.catalog.topics().iter().map(|topic| topic.name().to_string()).collect()
    }

    /// A topic's settings, and what its partitions hold now: see [`TopicDescription`].
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::InvalidTopicName`] for `__consumer_offsets`, which is not for
    /// users: [`committed_offsets`](Self::committed_offsets) tells what it holds.
    pub fn describe_topic(&self, name: &str) -> Result<TopicDescription> {
        let topic = self.inner.catalog.user_topic(name)?;
        Ok(TopicDescription::of(&topic))
    }

    /// Deletes a topic and its records. Producers and consumers that hold it get [`Error::TopicDeleted`];
    /// records that were polled stay valid. What was enqueued and not acknowledged is not kept.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Error, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.create_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// producer.send("alice", 200)?;
    /// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    /// let records = consumer.poll(Duration::ZERO)?;
    ///
    /// broker.delete_topic("payments")?;
    /// assert!(matches!(producer.send("bob", 50), Err(Error::TopicDeleted { .. })));
    /// assert!(matches!(consumer.poll(Duration::ZERO), Err(Error::TopicDeleted { .. })));
    /// assert_eq!(records.len(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::InvalidTopicName`], [`Error::Closed`]; [`Error::Io`] and
    /// [`Error::StorageFull`]: if [`list_topics`](Self::list_topics) still has the topic, nothing was done;
    /// otherwise it is gone, and the files that are left go when the name is used again or the broker is
    /// next opened. Committed offsets in it are forgotten either way.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let Deleted { topic, files } = self.open_catalog()?.delete(name)?;
        let forgotten = self.inner.coordinator.committed().forget_topic(topic.id());
        files.and(forgotten)
    }

    /// Gives a topic more partitions, up to `to` (at most 10,000). Records that are there stay where they
    /// are; producers and consumers that hold the topic go on. With another number of partitions, **keys may
    /// go to other partitions than before**, so records of one key may from then on lie in two. Asking for as
    /// many as there are does nothing.
    ///
    /// The partitions of a topic in memory share its `memory_limit`: each may hold less from then on.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// broker.create_topic("payments", TopicConfig::new().partitions(2))?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// broker.increase_partitions("payments", 6)?;
    /// assert_eq!(producer.record(200).partition(5).send()?.offset, 0);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::FewerPartitions`] if it has more; [`Error::TopicNotFound`], [`Error::InvalidTopicName`],
    /// [`Error::InvalidConfig`], [`Error::Closed`]; [`Error::Io`] and [`Error::StorageFull`], after which it
    /// has as many as before, unless taking it back failed too: then empty ones may be there at the next
    /// open. [`Error::Corrupt`] if directories of their names hold files that belong to no topic.
    pub fn increase_partitions(&self, topic: &str, to: u32) -> Result<()> {
        self.open_catalog()?.increase_partitions(topic, to)
    }

    /// Changes those settings of a topic that `config` names; the others stay as they are. They count for
    /// everything that begins after this returns, for all handles, and are there when the broker is opened
    /// again. A topic on disk stays there, and may change between
    /// [`ProcessCrash`](crate::Durability::ProcessCrash) and [`PowerLoss`](crate::Durability::PowerLoss).
    ///
    /// ```
    /// # use ottla::{Broker, Error, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// broker.create_topic("notes", TopicConfig::new().max_record_bytes(10))?;
    /// let producer = broker.producer::<(), String>("notes")?;
    /// assert!(matches!(producer.send((), "longer than that"), Err(Error::RecordTooLarge { .. })));
    ///
    /// broker.alter_topic("notes", TopicConfig::new().max_record_bytes(100))?;
    /// producer.send((), "longer than that")?;
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a value out of its range, for another number of partitions
    /// ([`increase_partitions`](Self::increase_partitions) changes that), and for a step between memory and
    /// disk; [`Error::TopicNotFound`], [`Error::InvalidTopicName`], [`Error::Closed`]. After [`Error::Io`] or
    /// [`Error::StorageFull`] nothing is changed, unless taking it back failed too: then the change may be
    /// there at the next open.
    #[expect(clippy::needless_pass_by_value, reason = "a config is made for this call")]
    pub fn alter_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        self.open_catalog()?.alter(name, &config)
    }

    /// Deletes the records of a partition whose offsets are below `before`, for good: they do not come back
    /// after a crash or a power loss. Offsets stay as they are; the partition begins with `before` from then
    /// on. Returns the offset with which it begins, which is higher if more was deleted before.
    ///
    /// Records that were polled stay valid. A consumer whose position is below is told as its
    /// [`on_out_of_range`](crate::ConsumerBuilder::on_out_of_range) says. Space is given back in whole
    /// segments (in memory, chunks): the one that is written to, and one that also holds records that are
    /// kept, stay for now. Blocks for some syncs on disk.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.create_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// producer.send_batch([("alice", 200), ("bob", 50), ("alice", 10)])?;
    /// assert_eq!(broker.delete_records("payments", 0, 2)?, 2);
    /// assert_eq!(broker.describe_topic("payments")?.partitions[0].start_offset, 2);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] if `before` is beyond the end; [`Error::TopicNotFound`],
    /// [`Error::InvalidTopicName`], [`Error::InvalidPartition`], [`Error::TopicDeleted`], [`Error::Closed`];
    /// [`Error::PartitionFailed`] if the disk refused a sync, now or earlier. After [`Error::Io`] or
    /// [`Error::StorageFull`] the records are still there, unless taking it back failed too: then they may be
    /// gone at the next open. A file that cannot be removed is no error; it goes at the next open.
    pub fn delete_records(&self, topic: &str, partition: u32, before: u64) -> Result<u64> {
        self.open_catalog()?.delete_records(topic, partition, before)
    }
}
