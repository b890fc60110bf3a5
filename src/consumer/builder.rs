//! What a consumer is to read, in which group, and where it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use super::Consumer;
use super::beginning::Beginning;
use super::following::{Following, Predicate};
use super::limits::Limits;
use super::pace::Pace;
use super::policy::{OutOfRange, Start};
use super::subscription::Subscription;
use crate::error::{Error, Result};
use crate::group::{Commit, Coordinator, check_group_name};
use crate::record::codec::Codec;
use crate::sync::Arc;
use crate::sync::signal::Signal;
use crate::topic::Topic;
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

    /// Remembers under this name how far it has come. A group whose consumer reads topics has one member at a
    /// time; consumers with partitions assigned by hand may share a name. A group needs no
    /// creation; its name has 1 to 249 bytes.
    ///
    /// ```
    /// # use ottla::{Broker, Error, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// let ledger = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    /// let second = broker.consumer::<String, u64>().topic("payments").group("ledger").build();
    /// assert!(matches!(second, Err(Error::GroupInUse { .. })));
    /// drop(ledger); // leaves the group
    /// broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
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

    /// The consumer, at its first position in every partition.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`] without topics and partitions, or with both; [`Error::TopicNotFound`],
    /// [`Error::InvalidTopicName`] for `__consumer_offsets`, [`Error::InvalidPartition`],
    /// [`Error::InvalidConfig`] for a limit or the group's name, [`Error::NoGroup`] for `auto_commit` without
    /// one, [`Error::GroupInUse`], [`Error::NoCommittedOffset`], [`Error::TopicDeleted`], [`Error::Closed`];
    /// [`Error::Io`] or [`Error::Corrupt`] when looking for a timestamp.
    pub fn build(mut self) -> Result<Consumer<K, V>> {
        self.group.as_deref().map_or(Ok(()), check_group_name)?;
        self.limits.check()?;
        if self.auto_commit && self.group.is_none() {
            return Err(Error::NoGroup);
        }
        self.coordinator.check_open()?;
        let following = self.following()?;
        let partitions = match &following {
            Some(following) => following.missing(&BTreeMap::new()),
            None => self.assigned_partitions()?,
        };
        let membership = match (&self.group, &following) {
            (Some(group), Some(_)) => Some(self.coordinator.join(group)?),
            _ => None,
        };
        let beginning = Beginning {
            committed: self.coordinator.committed(),
            group: self.group.as_deref(),
            start: self.start,
        };
        let mut assigned = Vec::with_capacity(partitions.len());
        for (topic, number) in partitions {
            let is_chosen = following.as_ref().is_some_and(|following| !following.is_named(topic.name()));
            match beginning.at_build(topic, number) {
                // Deleted meanwhile: nothing of it was ever ours.
                Err(Error::TopicDeleted { .. }) if is_chosen => {}
                outcome => assigned.push(outcome?),
            }
        }
        let subscription = Subscription::new(assigned, self.on_out_of_range, self.limits);
        let signal = Arc::new(Signal::default());
        let waiters = subscription.waiters().chain(following.as_ref().map(Following::waiters));
        waiters.for_each(|waiters| waiters.register(&signal));
        Ok(Consumer {
            subscription,
            following,
            start: self.start,
            pace: Pace::default(),
            signal,
            coordinator: self.coordinator,
            group: self.group,
            polled: self.auto_commit.then(Vec::<Commit>::new),
            committing: None,
            _membership: membership,
            codecs: PhantomData,
        })
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

    fn assigned_partitions(&self) -> Result<Vec<(Arc<Topic>, u32)>> {
        let partitions = self.assigned.iter();
        partitions.map(|(name, number)| Ok((self.catalog.user_topic(name)?, *number))).collect()
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
