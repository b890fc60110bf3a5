//! Where a consumer is: its partitions, its position in each, and moving it.

use std::collections::BTreeMap;

use super::Consumer;
use super::assigned::Assigned;
use crate::clock::Timestamp;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::TopicPartition;
use crate::record::codec::Codec;

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// The partitions that this consumer reads.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig, TopicPartition};
    /// # let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new().partitions(2))?;
    /// let consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    /// assert_eq!(consumer.assignment()[1], TopicPartition::new("payments", 1));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.subscription.iter().map(Assigned::topic_partition).collect()
    }

    /// The next offset to be polled from a partition.
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn position(&self, topic: &str, partition: u32) -> Result<u64> {
        Ok(self.subscription.get(topic, partition)?.position())
    }

    /// Goes on from `offset` in one partition. Whether it is in range is seen by the next poll. Commits
    /// nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    /// consumer.seek("payments", 0, 1)?;
    /// assert_eq!(consumer.position("payments", 0)?, 1);
    /// assert_eq!(consumer.poll(Duration::ZERO)?.iter().next().expect("bob's").key()?, "bob");
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn seek(&mut self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        self.subscription.get_mut(topic, partition)?.seek(offset);
        Ok(())
    }

    /// Goes on from the first record of every partition: from the first that is there at the next poll, even
    /// if a sender pushes records out of a topic in memory until then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// # let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 2);
    /// consumer.seek_to_beginning();
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 2); // once more
    /// consumer.seek_to_beginning();
    /// consumer.seek_to_end();
    /// assert_eq!((consumer.poll(Duration::ZERO)?.len(), consumer.lag()), (0, 0));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn seek_to_beginning(&mut self) {
        self.subscription.iter_mut().for_each(Assigned::seek_to_beginning);
    }

    /// Goes on behind the last record of every partition: only what is sent from now on will be polled.
    pub fn seek_to_end(&mut self) {
        self.subscription.iter_mut().for_each(|assigned| assigned.seek(assigned.log().end_offset()));
    }

    /// Goes on, in every partition, from the first record whose timestamp is `timestamp` or later; from the
    /// end where there is none. In a partition whose timestamps do not rise, earlier ones may follow.
    ///
    /// To begin with what is sent from now on, use [`Timestamp::now`], which is the clock of the sends; a
    /// [`SystemTime`](std::time::SystemTime) may be ahead of it by a few milliseconds. Blocks while it reads
    /// files, if the records are only there.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Timestamp, TopicConfig, TopicPartition};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("readings", TopicConfig::new())?;
    /// let sensor = broker.producer::<String, u32>("readings")?;
    /// for millis in [1_000, 2_000, 3_000] {
    ///     sensor.record(21).key("cellar").timestamp(Timestamp::from_millis(millis)).send()?;
    /// }
    /// let mut consumer = broker.consumer::<String, u32>().topic("readings").build()?;
    /// consumer.seek_to_timestamp(Timestamp::from_millis(1_500))?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 2);
    ///
    /// let found = consumer.offsets_for_timestamp(Timestamp::from_millis(3_001))?;
    /// assert_eq!(found[&TopicPartition::new("readings", 0)], None);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`] when reading the log fails, [`Error::Closed`],
    /// [`Error::TopicDeleted`]; then no position has changed.
    pub fn seek_to_timestamp(&mut self, timestamp: impl Into<Timestamp>) -> Result<()> {
        let timestamp = timestamp.into();
        let offsets = self.subscription.iter().map(|assigned| assigned.offset_since(timestamp));
        let offsets: Vec<u64> = offsets.collect::<Result<_>>()?;
        self.subscription.iter_mut().zip(offsets).for_each(|(assigned, offset)| assigned.seek(offset));
        Ok(())
    }

    /// For every partition, the offset of the first record whose timestamp is `timestamp` or later; `None`
    /// where there is none. Moves nothing.
    ///
    /// # Errors
    /// As [`seek_to_timestamp`](Self::seek_to_timestamp).
    pub fn offsets_for_timestamp(
        &self,
        timestamp: impl Into<Timestamp>,
    ) -> Result<BTreeMap<TopicPartition, Option<u64>>> {
        let millis = timestamp.into().as_millis();
        let offsets = self.subscription.iter().map(|assigned| {
            let found = assigned.log().find_timestamp(millis)?;
            Ok((assigned.topic_partition(), found.map(|(offset, _)| offset)))
        });
        offsets.collect()
    }

    /// The first offset that each partition holds.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig, TopicPartition};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    /// let payments = TopicPartition::new("payments", 0);
    /// assert_eq!((consumer.beginning_offsets()[&payments], consumer.end_offsets()[&payments]), (0, 2));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn beginning_offsets(&self) -> BTreeMap<TopicPartition, u64> {
        self.offsets(|assigned| assigned.log().start_offset())
    }

    /// The high watermark of each partition: the offset behind its last readable record.
    #[must_use]
    pub fn end_offsets(&self) -> BTreeMap<TopicPartition, u64> {
        self.offsets(|assigned| assigned.log().end_offset())
    }

    /// How many offsets are still to be polled, over all partitions.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let mut consumer = broker.consumer::<String, u64>().topic("payments").max_records(1).build()?;
    /// consumer.poll(Duration::ZERO)?;
    /// assert_eq!(consumer.lag(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.subscription.iter().map(Assigned::lag).sum()
    }

    fn offsets(&self, offset: impl Fn(&Assigned) -> u64) -> BTreeMap<TopicPartition, u64> {
        let all = self.subscription.iter();
        all.map(|assigned| (assigned.topic_partition(), offset(assigned))).collect()
    }

    /// Polls no more records from these partitions, until [`resume`](Self::resume). They stay assigned and
    /// keep their positions, and can be sought and committed; a partition that goes to another member of the
    /// group and comes back is not paused any more. A poll with everything paused waits for its
    /// timeout or a [`WakeHandle`](super::WakeHandle); that a paused topic was deleted it says all the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    ///
    /// consumer.pause("payments", [0])?;
    /// assert_eq!(consumer.paused()[0].to_string(), "payments-0");
    /// assert!(consumer.poll(Duration::ZERO)?.is_empty());
    /// consumer.resume("payments", [0])?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotAssigned`], after which nothing has changed.
    pub fn pause(&mut self, topic: &str, partitions: impl IntoIterator<Item = u32>) -> Result<()> {
        let partitions: Vec<u32> = partitions.into_iter().collect();
        self.subscription.set_paused(topic, &partitions, true)
    }

    /// Polls records from these partitions again, from where they are. What is not paused stays as it is.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn resume(&mut self, topic: &str, partitions: impl IntoIterator<Item = u32>) -> Result<()> {
        let partitions: Vec<u32> = partitions.into_iter().collect();
        self.subscription.set_paused(topic, &partitions, false)
    }

    /// The partitions that are paused.
    #[must_use]
    pub fn paused(&self) -> Vec<TopicPartition> {
        let paused = self.subscription.iter().filter(|assigned| assigned.is_paused());
        paused.map(Assigned::topic_partition).collect()
    }
}
