//! What a broker tells about groups, and putting one to another place.

use std::collections::BTreeMap;

use super::Broker;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::group::{Commit, CommittedOffset, check_group_name};
use crate::ids::TopicPartition;
use crate::log::PartitionLog;
use crate::topic::Topic;

/// Where [`Broker::reset_group`] puts a group, in every partition of a topic.
///
/// ```
/// use ottla::{Broker, ResetTo, Timestamp, TopicConfig, TopicPartition};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("readings", TopicConfig::new())?;
/// let sensor = broker.producer::<String, u32>("readings")?;
/// for millis in [1_000, 2_000, 3_000] {
///     sensor.record(21).key("cellar").timestamp(Timestamp::from_millis(millis)).send()?;
/// }
/// for (to, offset) in [
///     (ResetTo::Earliest, 0),
///     (ResetTo::Latest, 3),
///     (ResetTo::Timestamp(Timestamp::from_millis(1_500)), 1),
///     (ResetTo::Offset(2), 2),
/// ] {
///     let committed = broker.reset_group("alarm", "readings", to)?;
///     assert_eq!(committed[&TopicPartition::new("readings", 0)].offset, offset);
/// }
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetTo {
    /// To the first record that is there: everything is read again.
    Earliest,
    /// Behind the last record: everything is left out.
    Latest,
    /// To the first record whose timestamp is this or later; behind the last one if there is none.
    Timestamp(Timestamp),
    /// To this offset, which every partition must hold, or have as its end.
    Offset(u64),
}

impl Broker {
    /// How far a group has come: what it has committed, for every partition for which it has. Empty for a
    /// group that nobody knows.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig, TopicPartition};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let mut ledger = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    /// let records = ledger.poll(Duration::ZERO)?;
    /// ledger.commit(&records)?;
    /// let committed = broker.committed_offsets("ledger");
    /// assert_eq!(committed[&TopicPartition::new("payments", 0)].offset, 1);
    /// assert!(broker.committed_offsets("nobody").is_empty());
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn committed_offsets(&self, group: &str) -> BTreeMap<TopicPartition, CommittedOffset> {
        let topics = self.inner.catalog.topics();
        let commits = self.inner.coordinator.committed().of_group(group).into_iter();
        let named = commits.filter_map(|commit| {
            let topic = topics.iter().find(|topic| topic.id() == commit.topic_id)?;
            Some(named(topic, commit))
        });
        named.collect()
    }

    /// Commits other offsets for a group, in every partition of a topic: to process it again from a time, or
    /// to leave out what is there. Returns what is committed now. The group need not exist before.
    ///
    /// It is refused while the group has a member, which would go on where it is: drop or close its consumer
    /// first. Consumers with partitions assigned by hand are no members.
    ///
    /// ```
    /// use ottla::{Broker, ResetTo, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// broker.reset_group("ledger", "payments", ResetTo::Latest)?;
    ///
    /// let consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    /// assert_eq!(consumer.position("payments", 0)?, 2);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::GroupInUse`], [`Error::OffsetOutOfRange`], [`Error::TopicNotFound`],
    /// [`Error::InvalidTopicName`], [`Error::InvalidConfig`] for the group's name, [`Error::Corrupt`],
    /// [`Error::TopicDeleted`], [`Error::Closed`], and those of a commit: [`Error::Io`],
    /// [`Error::StorageFull`], [`Error::PartitionFailed`], [`Error::OutcomeUnknown`]. After an error nothing
    /// has changed, except that after the last one it is not known whether it will have at the next open.
    pub fn reset_group(
        &self,
        group: &str,
        topic: &str,
        to: ResetTo,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>> {
        check_group_name(group)?;
        let topic = self.open_catalog()?.user_topic(topic)?;
        let coordinator = &self.inner.coordinator;
        let _nobody_joins_meanwhile = coordinator.join(group)?;
        let commits = (0..topic.partition_count()).map(|partition| {
            let log = topic.partition(partition)?;
            log.check_readable()?;
            let offset = to.offset_in(log)?;
            Ok(Commit { topic_id: topic.id(), partition, offset, metadata: String::new() })
        });
        let commits: Vec<Commit> = commits.collect::<Result<_>>()?;
        coordinator.committed().commit(group, &commits)?;
        Ok(commits.into_iter().map(|commit| named(&topic, commit)).collect())
    }
}

fn named(topic: &Topic, commit: Commit) -> (TopicPartition, CommittedOffset) {
    let partition = TopicPartition::new(&**topic.name(), commit.partition);
    (partition, CommittedOffset { offset: commit.offset, metadata: commit.metadata })
}

impl ResetTo {
    fn offset_in(self, log: &PartitionLog) -> Result<u64> {
        let (earliest, latest) = (log.start_offset(), log.end_offset());
        match self {
            Self::Earliest => Ok(earliest),
            Self::Latest => Ok(latest),
            Self::Timestamp(timestamp) => log.offset_since(timestamp.as_millis()),
            Self::Offset(offset) if (earliest..=latest).contains(&offset) => Ok(offset),
            Self::Offset(requested) => {
                let partition = log.identity().topic_partition();
                Err(Error::OffsetOutOfRange { partition, requested, earliest, latest })
            }
        }
    }
}
