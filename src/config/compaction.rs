//! Whether and how a topic is compacted.

use std::time::Duration;

use super::{checked_duration, in_range};
use crate::error::Result;

const MIN_DIRTY_PERCENT: std::ops::RangeInclusive<u32> = 0..=100;
const DAY: Duration = Duration::from_secs(86_400);

/// Keeps of each key at least the latest record, and removes earlier ones in the background.
///
/// What is kept stays in order and keeps its offset, so offsets may have gaps. The segment that is being
/// written to is never touched, nor what is younger than [`min_lag`](Self::min_lag): a consumer that keeps up
/// sees every record. One that begins with the first record sees at least the latest of each key, and every
/// **tombstone** (a record with a key and a null value, which removes the key) if it gets to the end within
/// [`delete_retention`](Self::delete_retention).
///
/// Records need a key: [`Error::KeyRequired`](crate::Error::KeyRequired). Those without one that a topic had
/// before it was compacted are removed.
///
/// The terms and the defaults are those of Kafka's `cleanup.policy=compact`.
///
/// ```
/// use ottla::{Broker, Compaction, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.create_topic("prices", TopicConfig::new().compaction(Compaction::by_key()))?;
/// let prices = broker.producer::<String, u64>("prices")?;
/// prices.send("apple", 3)?;
/// prices.send("apple", 4)?; // the 3 goes some time
/// prices.tombstone("apple").send()?; // and so does the 4
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// How much of a log, in percent of its bytes, is to have come since it was last compacted.
    pub min_dirty_percent: u32,
    /// For how long tombstones are kept after the compaction that met them first.
    pub delete_retention: Duration,
    /// How old a record is before it is compacted.
    pub min_lag: Duration,
    /// How old a record gets before it is compacted, however little has come; `None`: no bound.
    pub max_lag: Option<Duration>,
}

impl Compaction {
    /// The latest record of each key is kept, with the defaults that stand at each method.
    #[must_use]
    pub fn by_key() -> Self {
        Self { min_dirty_percent: 50, delete_retention: DAY, min_lag: Duration::ZERO, max_lag: None }
    }

    /// A log is compacted when this much of it, in percent of the bytes that may be compacted, has come since
    /// the last time: 0 to 100. Default: 50. Less keeps the log smaller, and writes more.
    #[must_use]
    pub fn min_dirty_percent(mut self, percent: u32) -> Self {
        self.min_dirty_percent = percent;
        self
    }

    /// For how long a tombstone is kept after the compaction that met it first: up to 100 years, in whole
    /// milliseconds. Default: a day. A reader that takes longer from the first record to the end may miss it.
    #[must_use]
    pub fn delete_retention(mut self, retention: Duration) -> Self {
        self.delete_retention = retention;
        self
    }

    /// Records are left alone until they are so old: up to 100 years, in whole milliseconds. Default: zero.
    #[must_use]
    pub fn min_lag(mut self, lag: Duration) -> Self {
        self.min_lag = lag;
        self
    }

    /// Records are compacted when they are so old, however few have come: 1 ms to 100 years, in whole
    /// milliseconds. Default: no bound. A segment that is being written to ends then; in memory, the last
    /// piece of a log is left alone all the same.
    #[must_use]
    pub fn max_lag(mut self, lag: Duration) -> Self {
        self.max_lag = Some(lag);
        self
    }

    pub(super) fn checked(&self) -> Result<Self> {
        let max_lag =
            self.max_lag.map(|lag| checked_duration("compaction max_lag", lag, Duration::from_millis(1)));
        Ok(Self {
            min_dirty_percent: in_range(
                "compaction min_dirty_percent",
                self.min_dirty_percent,
                &MIN_DIRTY_PERCENT,
            )?,
            delete_retention: checked_duration(
                "compaction delete_retention",
                self.delete_retention,
                Duration::ZERO,
            )?,
            min_lag: checked_duration("compaction min_lag", self.min_lag, Duration::ZERO)?,
            max_lag: max_lag.transpose()?,
        })
    }
}

impl Default for Compaction {
    fn default() -> Self {
        Self::by_key()
    }
}
