//! What a consumer is to read, in which group, and where it begins.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use super::Consumer;
use super::pace::Pace;
use super::policy::{OutOfRange, Start};
use super::subscription::{Assigned, Subscription};
use crate::error::{Error, Result};
use crate::group::{Coordinator, check_group_name};
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
    assigned: BTreeSet<(String, u32)>,
    group: Option<String>,
    start: Start,
    on_out_of_range: OutOfRange,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> ConsumerBuilder<K, V> {
    pub(crate) fn new(catalog: Arc<Catalog>, coordinator: Arc<Coordinator>) -> Self {
        Self {
            catalog,
            coordinator,
            topics: BTreeSet::new(),
            assigned: BTreeSet::new(),
            group: None,
            start: Start::default(),
            on_out_of_range: OutOfRange::default(),
            codecs: PhantomData,
        }
    }

    /// Reads all partitions of this topic; call it again for more topics.
    pub fn topic(self, topic: &str) -> Self {
        self.topics([topic])
    }

    /// Reads all partitions of these topics.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
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
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Where to begin in partitions without a committed offset. Default: [`Start::Earliest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// What to do when the position's records are gone. Default: [`OutOfRange::Error`].
    pub fn on_out_of_range(mut self, policy: OutOfRange) -> Self {
        self.on_out_of_range = policy;
        self
    }

    /// The consumer, at its first position in every partition.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`] without topics and partitions, or with both;
    /// [`Error::TopicNotFound`], [`Error::InvalidPartition`], [`Error::InvalidConfig`] for the group's
    /// name, [`Error::GroupInUse`], [`Error::NoCommittedOffset`], [`Error::Closed`]; [`Error::Io`] or
    /// [`Error::Corrupt`] when looking for a timestamp.
    pub fn build(self) -> Result<Consumer<K, V>> {
        self.group.as_deref().map_or(Ok(()), check_group_name)?;
        let partitions = self.chosen_partitions()?;
        let membership = match &self.group {
            Some(group) if self.assigned.is_empty() => Some(self.coordinator.join(group)?),
            _ => None,
        };
        let partitions = partitions.into_iter().map(|(topic, number)| self.begin(topic, number));
        let subscription = Subscription::new(partitions.collect::<Result<_>>()?);
        let signal = Arc::new(Signal::default());
        for assigned in subscription.iter() {
            assigned.log().waiters().register(&signal);
        }
        Ok(Consumer {
            subscription,
            on_out_of_range: self.on_out_of_range,
            pace: Pace::default(),
            signal,
            coordinator: self.coordinator,
            group: self.group,
            _membership: membership,
            codecs: PhantomData,
        })
    }

    fn chosen_partitions(&self) -> Result<Vec<(Arc<Topic>, u32)>> {
        let mut chosen = Vec::new();
        match (self.topics.is_empty(), self.assigned.is_empty()) {
            (true, true) => return Err(Error::InvalidSubscription { found: "neither" }),
            (false, false) => return Err(Error::InvalidSubscription { found: "both" }),
            (false, true) => {
                for name in &self.topics {
                    let topic = self.catalog.user_topic(name)?;
                    chosen.extend((0..topic.partition_count()).map(|number| (Arc::clone(&topic), number)));
                }
            }
            (true, false) => {
                for (name, number) in &self.assigned {
                    chosen.push((self.catalog.user_topic(name)?, *number));
                }
            }
        }
        Ok(chosen)
    }

    /// A partition at the position where this consumer begins.
    fn begin(&self, topic: Arc<Topic>, number: u32) -> Result<Assigned> {
        let log = Arc::clone(topic.partition(number)?);
        log.check_readable()?;
        let group = self.group.as_deref();
        let committed =
            group.and_then(|group| self.coordinator.committed().offset(group, topic.id(), number));
        let mut assigned = Assigned::new(topic, log, committed.unwrap_or(0));
        if committed.is_some() {
            return Ok(assigned);
        }
        let position = match self.start {
            Start::Earliest => assigned.log().start_offset(),
            Start::Latest => assigned.log().end_offset(),
            Start::Timestamp(timestamp) => assigned.offset_since(timestamp)?,
            Start::Committed => {
                let group = group.unwrap_or_default().to_owned();
                return Err(Error::NoCommittedOffset { group, partition: assigned.topic_partition() });
            }
        };
        assigned.seek(position);
        Ok(assigned)
    }
}

impl<K, V> fmt::Debug for ConsumerBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("topics", &self.topics)
            .field("assigned", &self.assigned)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("on_out_of_range", &self.on_out_of_range)
            .finish_non_exhaustive()
    }
}
