//! What a broker does with groups: tells what they have committed, and changes it.

use std::collections::BTreeMap;

use super::{Broker, GroupDescription};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::group::{Commit, CommittedOffset, CommittedOffsets, Place, check_group_name};
use crate::ids::TopicPartition;
use crate::log::{PartitionLog, WrittenBy};
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
    /// It is refused while the group has members, which would go on where they are: drop or close its
    /// consumers first. Consumers with partitions assigned by hand are no members.
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
        let commits = (0..topic.partition_count()).map(|partition| {
            let log = topic.partition(partition)?;
            log.check_readable()?;
            let offset = to.offset_in(log)?;
            Ok(Commit { topic_id: topic.id(), partition, offset, metadata: String::new(), epoch: 0 })
        });
        let commits: Vec<Commit> = commits.collect::<Result<_>>()?;
        self.commit_in_empty_group(group, &commits)?;
        Ok(commits.into_iter().map(|commit| named(&topic, commit)).collect())
    }

    /// Commits offsets for a group that has no members: for each partition the first one that the group has
    /// not processed, as another system knows it, say. All are committed, or none. The group need not exist
    /// before. To put a whole topic to another place, use [`reset_group`](Self::reset_group).
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig, TopicPartition};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// broker.commit_offsets("ledger", [(TopicPartition::new("payments", 0), 1)])?;
    ///
    /// let consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    /// assert_eq!(consumer.position("payments", 0)?, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`reset_group`](Self::reset_group), and [`Error::InvalidPartition`]. [`Error::OffsetOutOfRange`] is
    /// for an offset beyond the end of its partition.
    pub fn commit_offsets(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (TopicPartition, u64)>,
    ) -> Result<()> {
        check_group_name(group)?;
        let catalog = self.open_catalog()?;
        let commits = offsets.into_iter().map(|(at, offset)| {
            let topic = catalog.user_topic(&at.topic)?;
            let log = topic.partition(at.partition)?;
            log.check_readable()?;
            let (earliest, latest) = (log.start_offset(), log.end_offset());
            if offset > latest {
                return Err(Error::OffsetOutOfRange { partition: at, requested: offset, earliest, latest });
            }
            let (topic_id, partition) = (topic.id(), at.partition);
            Ok(Commit { topic_id, partition, offset, metadata: String::new(), epoch: 0 })
        });
        let commits: Vec<Commit> = commits.collect::<Result<_>>()?;
        self.commit_in_empty_group(group, &commits)
    }

    fn commit_in_empty_group(&self, group: &str, commits: &[Commit]) -> Result<()> {
        let stage = |committed: &CommittedOffsets| committed.stage(group, commits, WrittenBy::Caller);
        self.inner.coordinator.in_empty_group(group, stage)?.wait()
    }

    /// Forgets what a group has committed for some partitions: there it begins where
    /// [`Start`](crate::Start) says. What it has not committed is passed over.
    ///
    /// It is refused while the group has members.
    ///
    /// ```
    /// # use ottla::{Broker, ResetTo, TopicConfig, TopicPartition};
    /// # let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new().partitions(2))?;
    /// broker.reset_group("ledger", "payments", ResetTo::Latest)?;
    /// broker.delete_committed_offsets("ledger", [TopicPartition::new("payments", 0)])?;
    /// let left: Vec<TopicPartition> = broker.committed_offsets("ledger").into_keys().collect();
    /// assert_eq!(left, [TopicPartition::new("payments", 1)]);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::GroupInUse`], [`Error::TopicNotFound`], [`Error::InvalidTopicName`], [`Error::Closed`], and
    /// those of a commit. After an error nothing is forgotten, except as after a commit.
    pub fn delete_committed_offsets(
        &self,
        group: &str,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<()> {
        let catalog = self.open_catalog()?;
        let places = partitions.into_iter().map(|at| Ok((catalog.user_topic(&at.topic)?.id(), at.partition)));
        let places: Vec<Place> = places.collect::<Result<_>>()?;
        let stage = |committed: &CommittedOffsets| committed.stage_removal(group, &places);
        self.inner.coordinator.in_empty_group(group, stage)?.wait()
    }

    /// Forgets a group that has no members, with all that it has committed. Who joins one of this name later
    /// begins where [`Start`](crate::Start) says.
    ///
    /// ```
    /// # use ottla::{Broker, Error, ResetTo, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// broker.reset_group("ledger", "payments", ResetTo::Latest)?;
    /// broker.delete_group("ledger")?;
    /// assert!(broker.groups().is_empty());
    /// assert!(matches!(broker.delete_group("ledger"), Err(Error::GroupNotFound { .. })));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::GroupInUse`] while it has members; [`Error::GroupNotFound`]; [`Error::Closed`], and those of
    /// a commit.
    pub fn delete_group(&self, group: &str) -> Result<()> {
        self.open_catalog()?;
        let stage = |committed: &CommittedOffsets| {
            let places: Vec<Place> = committed.of_group(group).iter().map(Commit::place).collect();
            if places.is_empty() {
                return Err(Error::GroupNotFound { group: group.to_owned() });
            }
            committed.stage_removal(group, &places)
        };
        self.inner.coordinator.in_empty_group(group, stage)?.wait()
    }

    /// Waits no longer for a static member whose consumer is gone: its partitions go to the other members
    /// now, and not only after its [`instance_timeout`](crate::ConsumerBuilder::instance_timeout). Whether
    /// there was one.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("pulse", TopicConfig::new())?;
    /// let builder = broker.consumer::<String, u64>().topic("pulse").group("alarm");
    /// drop(builder.instance_id("east").build()?);
    /// assert_eq!(broker.describe_group("alarm")?.members.len(), 1);
    /// assert!(broker.remove_instance("alarm", "east")?);
    /// assert!(broker.describe_group("alarm").is_err()); // it has no members, and has committed nothing
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InstanceInUse`] if its consumer exists; [`Error::Closed`].
    pub fn remove_instance(&self, group: &str, instance_id: &str) -> Result<bool> {
        self.open_catalog()?;
        self.inner.coordinator.remove_instance(group, instance_id)
    }

    /// All groups that have members or have committed something, by name: see [`GroupDescription`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let builder = broker.consumer::<String, u64>().topic("payments").group("ledger");
    /// let mut consumer = builder.max_records(1).build()?;
    /// let records = consumer.poll(Duration::ZERO)?;
    /// consumer.commit(&records)?;
    ///
    /// for group in broker.groups() {
    ///     println!("{} has {} members and is {} behind", group.name, group.members.len(), group.lag());
    /// #   assert_eq!((&*group.name, group.members.len(), group.lag()), ("ledger", 1, 1));
    /// }
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn groups(&self) -> Vec<GroupDescription> {
        let coordinator = &self.inner.coordinator;
        let mut names = coordinator.active_groups();
        names.extend(coordinator.committed().groups());
        names.sort_unstable();
        names.dedup();
        let topics = self.inner.catalog.topics();
        names.iter().filter_map(|name| GroupDescription::of(name, coordinator, &topics)).collect()
    }

    /// How many records of a topic a group has not processed: from what it has committed, or from the first
    /// record that is there, to the end. All of them for a group that has committed nothing, also if nobody
    /// has heard of it yet.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig, TopicPartition};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// assert_eq!(broker.lag("ledger", "payments")?, 2);
    /// broker.commit_offsets("ledger", [(TopicPartition::new("payments", 0), 1)])?;
    /// assert_eq!(broker.lag("ledger", "payments")?, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::InvalidTopicName`].
    pub fn lag(&self, group: &str, topic: &str) -> Result<u64> {
        let topic = self.inner.catalog.user_topic(topic)?;
        let committed = self.inner.coordinator.committed();
        let lags = topic.partitions().map(|log| {
            let committed = committed.get(group, (topic.id(), log.identity().partition));
            let next = committed.map_or(0, |committed| committed.offset).max(log.start_offset());
            log.end_offset().saturating_sub(next)
        });
        Ok(lags.sum())
    }

    /// The members of a group, what they read, and how far they have come: see [`GroupDescription`].
    ///
    /// # Errors
    /// [`Error::GroupNotFound`] if it has no members and has committed nothing.
    pub fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        let topics = self.inner.catalog.topics();
        let found = GroupDescription::of(group, &self.inner.coordinator, &topics);
        found.ok_or_else(|| Error::GroupNotFound { group: group.to_owned() })
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
