//! What a topic's logs give up, and when; and what a topic in memory does at its bound.

use std::time::Duration;

use super::{checked_duration, in_range};
use crate::error::{Error, Result};

const MAX_BYTES: std::ops::RangeInclusive<u64> = 1..=1 << 60;

/// How long a topic's records are kept. Without it, as [`Retention::forever`]: on disk for ever, in memory as
/// far as [`memory_limit`](crate::TopicConfig::memory_limit) allows.
///
/// A record goes when it is older than `max_age`, **or** more than `max_bytes` have come after it, **or** all
/// groups named with [`read_by`](Self::read_by) have read it and it is older than `min_age`. The oldest go
/// first, and never one that has an older neighbour. Age is counted from the moment at which a record was
/// appended, by the broker's clock; its timestamp does not matter. (A clock that was far ahead for a while
/// makes what came then, and what follows it, seem younger until that time; `max_bytes` counts all the same.)
///
/// A log is given up in pieces: whole segments on disk, chunks in memory, so records stay a little longer
/// than they have to. A consumer that is behind is told, as its
/// [`on_out_of_range`](crate::ConsumerBuilder::on_out_of_range) says; what it has polled stays valid. It is
/// done in the background: see [`housekeeping_interval`](crate::BrokerBuilder::housekeeping_interval).
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Retention, TopicConfig};
///
/// let broker = Broker::in_memory();
/// let week = Retention::days(7).max_bytes(10 << 30);
/// broker.create_topic("payments", TopicConfig::new().retention(week))?;
///
/// // As soon as both have read it, but an hour at least, to look at it again; and a day at most.
/// let queue = Retention::until_read_by(["billing", "audit"])
///     .min_age(Duration::from_secs(3_600))
///     .max_age(Duration::from_secs(86_400));
/// broker.create_topic("jobs", TopicConfig::new().retention(queue))?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Records older than this go.
    pub max_age: Option<Duration>,
    /// Records go before which the topic has this many bytes.
    pub max_bytes: Option<u64>,
    /// Records go that all of these groups have read. Empty: whether they were read does not matter.
    pub read_by: Vec<String>,
    /// For how long records that were read are kept all the same.
    pub min_age: Duration,
}

impl Retention {
    /// Nothing is given up.
    #[must_use]
    pub fn forever() -> Self {
        Self::default()
    }

    /// Records older than so many days go.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self::forever().max_age(Duration::from_secs(u64::from(days) * 86_400))
    }

    /// Records go that all of these groups have read: see [`read_by`](Self::read_by).
    #[must_use]
    pub fn until_read_by(groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::forever().read_by(groups)
    }

    /// Records older than this go, read or not: 1 ms to 100 years, in whole milliseconds.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// The oldest records go, read or not, as long as the topic has this many bytes without them: 1 or more.
    /// Each partition has an equal share. A partition on disk takes up to one segment more than that.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Records go that all of these groups have read, which is to say: committed an offset behind them.
    ///
    /// A group that has neither members nor committed offsets, because it never came or was away for the
    /// broker's [`offsets_retention`](crate::BrokerBuilder::offsets_retention), does not hold records for
    /// ever: only those that are younger than that time.
    #[must_use]
    pub fn read_by(mut self, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.read_by = groups.into_iter().map(Into::into).collect();
        self.read_by.sort_unstable();
        self.read_by.dedup();
        self
    }

    /// For how long records that were read are kept all the same: up to 100 years, in whole milliseconds.
    /// Default: not at all. Of no effect without [`read_by`](Self::read_by).
    #[must_use]
    pub fn min_age(mut self, age: Duration) -> Self {
        self.min_age = age;
        self
    }

    /// Whether anything is ever given up.
    pub(crate) fn is_forever(&self) -> bool {
        self.max_age.is_none() && self.max_bytes.is_none() && self.read_by.is_empty()
    }

    pub(super) fn checked(&self) -> Result<Self> {
        let max_age =
            self.max_age.map(|age| checked_duration("retention max_age", age, Duration::from_millis(1)));
        let max_bytes = self.max_bytes.map(|bytes| in_range("retention max_bytes", bytes, &MAX_BYTES));
        if let Some(name) = self.read_by.iter().find(|name| name.is_empty()) {
            return Err(Error::InvalidConfig {
                setting: "retention read_by",
                value: format!("{name:?}"),
                allowed: "names of groups".to_owned(),
            });
        }
        Ok(Self {
            max_age: max_age.transpose()?,
            max_bytes: max_bytes.transpose()?,
            min_age: checked_duration("retention min_age", self.min_age, Duration::ZERO)?,
            read_by: self.read_by.clone(),
        })
    }
}

/// What a topic in memory does with a record for which it has no room: see
/// [`TopicConfig::when_full`](crate::TopicConfig::when_full).
///
/// ```
/// use ottla::{Broker, Error, Raw, TopicConfig, WhenFull};
///
/// let broker = Broker::in_memory();
/// let config = TopicConfig::new().memory_limit(64 << 10).when_full(WhenFull::Refuse);
/// broker.create_topic("jobs", config)?;
/// let producer = broker.producer::<(), Raw>("jobs")?;
/// let error = (0..100).find_map(|_| producer.send((), &[7; 1024]).err()).expect("64 KiB are full");
/// assert!(matches!(error, Error::TopicFull { .. }) && error.is_retriable());
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// It drops the oldest records. They are counted, and a consumer that is behind is told.
    #[default]
    DropOldest,
    /// The sender waits until there is room, because groups have read or records are too old: see
    /// [`Retention`], of which a topic that blocks needs `read_by` or `max_age`. What never blocks,
    /// [`enqueue`](crate::Producer::enqueue), answers [`Error::TopicFull`](crate::Error::TopicFull).
    Block,
    /// The sender is answered [`Error::TopicFull`](crate::Error::TopicFull).
    Refuse,
}
