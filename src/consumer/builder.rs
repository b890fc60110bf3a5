//! What a consumer is to read, in which group, and where it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use super::Consumer;
use super::assigned::Assigned;
use super::beginning::Beginning;
use super::following::{Following, Predicate};
use super::limits::Limits;
use super::member_settings::MemberSettings;
use super::pace::Pace;
use super::policy::{OutOfRange, Start};
use super::subscription::Subscription;
use crate::error::{Error, Result};
use crate::group::{Commit, Coordinator, check_group_name};
use crate::record::codec::Codec;
use crate::sync::Arc;
use crate::sync::signal::Signal;
use crate::topic::catalog::Catalog;

/// A consumer in the making: see [`Broker::consumer`](crate::Broker::consumer).
///
/// ```
/// use ottla::{Broker, OutOfRange, Start, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
///
/// let all = broker.consumer::<String, String>().topic("payments").group("fraud").build()?;
/// assert_eq!(all.assignment().len(), 4);
///
/// let some = broker
///     .consumer::<String, String>()
///     .assign("payments", [0, 2])
///     .start(Start::Latest)
///     .on_out_of_range(OutOfRange::Earliest)
///     .build()?;
/// assert_eq!(some.assignment()[1].to_string(), "payments-2");
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a consumer is made by `build`"]
pub struct ConsumerBuilder<K, V> {
    catalog: Arc<Catalog>,
    coordinator: Arc<Coordinator>,
    topics: BTreeSet<String>,
    predicates: Vec<Predicate>,
    assigned: BTreeSet<(String, u32)>,
    group: Option<String>,
    start: Start,
    on_out_of_range: OutOfRange,
    limits: Limits,
    auto_commit: bool,
    /// What only members of groups have.
    pub(super) as_member: MemberSettings,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> ConsumerBuilder<K, V> {
    pub(crate) fn new(catalog: Arc<Catalog>, coordinator: Arc<Coordinator>) -> Self {
        Self {
            catalog,
            coordinator,
            topics: BTreeSet::new(),
            predicates: Vec::new(),
            assigned: BTreeSet::new(),
            group: None,
            start: Start::default(),
            on_out_of_range: OutOfRange::default(),
            limits: Limits::default(),
            auto_commit: false,
            as_member: MemberSettings::default(),
            codecs: PhantomData,
        }
    }

    /// Reads all partitions of this topic, also those that it gets later; call it again for more topics.
    pub fn topic(self, topic: &str) -> Self {
        self.topics([topic])
    }

    /// Reads all partitions of these topics, also those that they get later.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// for topic in ["payments", "refunds"] {
    ///     broker.open_topic(topic, TopicConfig::new())?;
    ///     broker.producer::<String, u64>(topic)?.send("alice", 200)?;
    /// }
    /// let mut consumer = broker.consumer::<String, u64>().topics(["payments", "refunds"]).build()?;
    /// let records = consumer.poll(Duration::ZERO)?;
    /// let mut topics: Vec<&str> = records.iter().map(|record| record.topic()).collect();
    /// topics.sort_unstable();
    /// assert_eq!(topics, ["payments", "refunds"]);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Reads all topics whose names fulfil a predicate: those that are there, of which there may be none, and
    /// those that are made later. Call it again, or [`topic`](Self::topic) beside it, for more. For patterns,
    /// use a closure with the crate `regex`; internal topics are never asked for. The predicate is called by
    /// [`build`](Self::build) and, when topics or partitions came or went, by polls.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// let broker = Broker::in_memory();
    /// let builder = broker.consumer::<String, u64>();
    /// let mut consumer = builder.topics_matching(|name| name.starts_with("payments.")).build()?;
    ///
    /// broker.open_topic("payments.eu", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments.eu")?.send("alice", 200)?;
    /// assert_eq!(consumer.poll(Duration::from_millis(100))?.len(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn topics_matching(mut self, predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.predicates.push(Box::new(predicate));
        self
    }

    /// Reads just these partitions of a topic; call it again for other topics. Instead of
    /// [`topic`](Self::topic), not beside it.
    pub fn assign(mut self, topic: &str, partitions: impl IntoIterator<Item = u32>) -> Self {
        self.assigned.extend(partitions.into_iter().map(|partition| (topic.to_owned(), partition)));
        self
    }

    /// Reads as a member of this group, which remembers under its name how far it has come. The members of a
    /// group divide the partitions of their topics among them: each partition is read by one member at a
    /// time, so that each record is processed by one of them. A group needs no creation; its name has 1 to
    /// 249 bytes. Consumers of other groups, and those without one, read the same records for themselves.
    ///
    /// A consumer with partitions assigned by hand is no member: the group's name only says where its commits
    /// are kept, and while members read a partition, only they commit it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// let builder = || broker.consumer::<String, u64>().topic("payments").group("ledger");
    /// let mut first = builder().build()?;
    /// assert_eq!(first.assignment().len(), 4);
    ///
    /// let mut second = builder().build()?;
    /// first.poll(Duration::ZERO)?; // gives up what is meant for the second
    /// second.poll(Duration::ZERO)?; // takes it
    /// assert_eq!((first.assignment().len(), second.assignment().len()), (2, 2));
    ///
    /// drop(second); // leaves the group
    /// first.poll(Duration::ZERO)?;
    /// assert_eq!(first.assignment().len(), 4);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Where to begin in partitions without a committed offset that are there when the consumer is built.
    /// Default: [`Start::Earliest`]. See [`Start`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// What to do when the position's records are gone. Default: [`OutOfRange::Error`]. See [`OutOfRange`].
    pub fn on_out_of_range(mut self, policy: OutOfRange) -> Self {
        self.on_out_of_range = policy;
        self
    }

    /// Whether each poll commits what the one before it returned, and [`Consumer::close`] what the last one
    /// did. Needs a group. Default: false, only [`Consumer::commit`] and those beside it commit.
    ///
    /// Every record is processed at least once if you are done with what a poll returned before you poll
    /// again. What the poll under way returns is never committed by it, and dropping the consumer commits
    /// nothing. On disk, each commit appends to the log of committed offsets.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let builder = broker.consumer::<String, u64>().topic("payments").group("ledger");
    /// let mut consumer = builder.auto_commit(true).build()?;
    /// for record in &consumer.poll(Duration::from_millis(100))? {
    ///     assert_eq!(record.value()?, 200);
    /// }
    /// assert!(broker.committed_offsets("ledger").is_empty());
    /// consumer.close()?;
    /// assert_eq!(broker.committed_offsets("ledger").len(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn auto_commit(mut self, auto_commit: bool) -> Self {
        self.auto_commit = auto_commit;
        self
    }

    /// The most records that a poll returns: 1 or more. Default: no limit. The others come with the next
    /// polls, and a batch may be divided. A limit costs a look at every record, which otherwise only
    /// iterating over them does.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<u32, u64>("payments")?.send_batch((0..5).map(|number| (number, 200)))?;
    /// let mut consumer = broker.consumer::<u32, u64>().topic("payments").max_records(3).build()?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 3);
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 2);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn max_records(mut self, records: usize) -> Self {
        self.limits.max_records = Some(records);
        self
    }

    /// The most bytes in the log that the records of a poll take: 1 or more. A record that is larger comes
    /// alone. Default: a poll asks no further partition when it has 4 MiB, and divides nothing that lies
    /// together (up to 256 KiB, or one batch).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Raw, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("photos", TopicConfig::new())?;
    /// let photo = vec![0; 60_000];
    /// broker.producer::<(), Raw>("photos")?.send_batch((0..3).map(|_| ((), &*photo)))?;
    /// let mut consumer = broker.consumer::<(), Raw>().topic("photos").max_bytes(150_000).build()?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 2);
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_bytes = Some(bytes);
        self
    }

    /// How many bytes in the log a poll waits for, over all partitions: 1 to `max_bytes`, or to 4 MiB without
    /// that. It returns as soon as they are there, or another limit is reached, and with what is there at its
    /// timeout. A poll that does not wait, `poll(Duration::ZERO)`, returns what is there. Default: 1, any
    /// record.
    ///
    /// In memory, a topic must be able to hold as much: see
    /// [`memory_limit`](crate::TopicConfig::memory_limit).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Raw, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("clicks", TopicConfig::new())?;
    /// let clicks = broker.producer::<(), Raw>("clicks")?;
    /// let mut consumer = broker.consumer::<(), Raw>().topic("clicks").min_bytes(1_000).build()?;
    /// clicks.send((), &[0; 600])?;
    /// let sending = std::thread::spawn(move || clicks.send((), &[0; 600]));
    /// assert_eq!(consumer.poll(Duration::from_secs(60))?.len(), 2); // the first was not enough
    /// # sending.join().expect("no panic")?;
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn min_bytes(mut self, bytes: usize) -> Self {
        self.limits.min_bytes = Some(bytes);
        self
    }

    /// The consumer, at its first position in every partition that it reads. The member of a group begins
    /// with those that are meant for it and read by nobody; others come with polls, when their owners have
    /// given them up.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`] without topics and partitions, or with both; [`Error::TopicNotFound`],
    /// [`Error::InvalidTopicName`] for `__consumer_offsets`, [`Error::InvalidPartition`],
    /// [`Error::InvalidConfig`] for a limit, a time or a name; [`Error::NoGroup`] for what needs a group,
    /// without one; [`Error::AssignorMismatch`], [`Error::InvalidAssignment`], [`Error::InstanceInUse`],
    /// [`Error::RebalanceListener`]; those of a commit, if offsets of the group that have expired cannot be
    /// removed; [`Error::NoCommittedOffset`], [`Error::TopicDeleted`],
    /// [`Error::Closed`]; [`Error::Io`] or [`Error::Corrupt`] when looking for a timestamp.
    pub fn build(mut self) -> Result<Consumer<K, V>> {
        self.check()?;
        self.coordinator.check_open()?;
        let following = self.following()?;
        let group = self.group.clone().filter(|_| following.is_some());
        let member = std::mem::take(&mut self.as_member).member(group)?;
        let partitions = match &following {
            Some(_) if member.is_some() => Vec::new(),
            Some(following) => self.begin_following(following)?,
            None => self.begin_assigned()?,
        };
        let subscription = Subscription::new(partitions, self.on_out_of_range, self.limits);
        let signal = Arc::new(Signal::default());
        let waiters = subscription.waiters().chain(following.as_ref().map(Following::waiters));
        waiters.for_each(|waiters| waiters.register(&signal));
        let mut consumer = Consumer {
            subscription,
            following,
            start: self.start,
            pace: Pace::default(),
            signal,
            coordinator: self.coordinator,
            group: self.group,
            polled: self.auto_commit.then(Vec::<Commit>::new),
            committing: None,
            member,
            told_of_trouble: false,
            placed: None,
            codecs: PhantomData,
        };
        consumer.join()?;
        Ok(consumer)
    }

    fn check(&self) -> Result<()> {
        self.group.as_deref().map_or(Ok(()), check_group_name)?;
        self.limits.check()?;
        self.as_member.check()?;
        if self.group.is_none() && (self.auto_commit || self.as_member.given().is_some()) {
            return Err(Error::NoGroup);
        }
        Ok(())
    }

    fn beginning(&self) -> Beginning<'_> {
        let (committed, group) = (self.coordinator.committed(), self.group.as_deref());
        Beginning { committed, group, start: self.start }
    }

    fn begin_following(&self, following: &Following) -> Result<Vec<Assigned>> {
        let mut assigned = Vec::new();
        for (topic, number) in following.missing(&BTreeMap::new()) {
            let is_chosen = !following.is_named(topic.name());
            match self.beginning().at_build(topic, number) {
                // Deleted meanwhile: nothing of it was ever ours.
                Err(Error::TopicDeleted { .. }) if is_chosen => {}
                outcome => assigned.push(outcome?),
            }
        }
        Ok(assigned)
    }

    fn begin_assigned(&self) -> Result<Vec<Assigned>> {
        let partitions = self.assigned.iter();
        let assigned = partitions.map(|(name, number)| {
            let topic = self.catalog.user_topic(name)?;
            self.beginning().at_build(topic, *number)
        });
        assigned.collect()
    }

    /// What is followed in the catalog: nothing with partitions assigned by hand.
    fn following(&mut self) -> Result<Option<Following>> {
        let subscribes = !self.topics.is_empty() || !self.predicates.is_empty();
        match (subscribes, !self.assigned.is_empty()) {
            (false, false) => Err(Error::InvalidSubscription { found: "neither" }),
            (true, true) => Err(Error::InvalidSubscription { found: "both" }),
            (true, false) => {
                let (catalog, predicates) = (Arc::clone(&self.catalog), std::mem::take(&mut self.predicates));
                Following::new(catalog, &self.topics, predicates).map(Some)
            }
            (false, true) => Ok(None),
        }
    }
}

impl<K, V> fmt::Debug for ConsumerBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("topics", &self.topics)
            .field("predicates", &self.predicates.len())
            .field("assigned", &self.assigned)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("on_out_of_range", &self.on_out_of_range)
            .field("limits", &self.limits)
            .field("auto_commit", &self.auto_commit)
            .finish_non_exhaustive()
    }
}
