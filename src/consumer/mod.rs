//! Reading: a consumer knows which partitions it reads and where it is in each, and polls them in turn.

mod builder;
mod pace;
mod policy;
mod records;
mod subscription;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

pub use builder::ConsumerBuilder;
pub use policy::{OutOfRange, Start};
pub use records::{OwnedRecord, Record, Records, RecordsIter};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::group::{Coordinator, Membership};
use crate::ids::TopicPartition;
use crate::record::codec::Codec;
use crate::sync::Arc;
use crate::sync::signal::Signal;
use pace::Pace;
use records::PartitionRun;
use subscription::{Assigned, Subscription};

/// Reads records from topics, or from partitions assigned by hand. Made by
/// [`Broker::consumer`](crate::Broker::consumer).
///
/// A consumer can be moved to another thread, but only one can use it at a time: what reads takes `&mut
/// self`.
///
/// # Position and commit
/// The **position** of a partition is the next offset to be polled. It begins where the consumer's group
/// committed, or at [`Start`], and a poll moves it behind what it returns. The **committed offset** of a
/// group is where its next consumer begins. Only [`commit`](Self::commit) and
/// [`commit_through`](Self::commit_through) move it: a consumer that dies before it commits is given the
/// same records again (at least once).
///
/// # Falling behind
/// When the records at the position are gone, a poll answers [`Error::OffsetOutOfRange`] until you seek,
/// unless [`on_out_of_range`](ConsumerBuilder::on_out_of_range) says otherwise. Records that a poll
/// returned stay valid for as long as you keep them.
///
/// # Order
/// The records of one partition come in the order of their offsets. Partitions are polled in turn, so that
/// none starves.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
///
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
/// let records = consumer.poll(Duration::from_millis(100))?;
/// for record in &records {
///     assert_eq!((record.key()?, record.value()?), ("alice", 200));
/// }
/// consumer.commit(&records)?;
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Consumer<K, V> {
    subscription: Subscription,
    on_out_of_range: OutOfRange,
    pace: Pace,
    signal: Arc<Signal>,
    coordinator: Arc<Coordinator>,
    group: Option<String>,
    /// Keeps others out of the group; none for partitions assigned by hand.
    _membership: Option<Membership>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// The next records, from all partitions that have some. Returns at once if there are any; otherwise
    /// waits for an append, for up to `timeout`, and then returns none. `poll(Duration::ZERO)` never waits:
    /// that it returns nothing means that this consumer has caught up.
    ///
    /// Records whose key or value does not decode are returned too; see [`Record::value`].
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`], [`Error::Corrupt`], [`Error::Io`], [`Error::TopicDeleted`],
    /// [`Error::Closed`]. No record is skipped: positions stay where they were, and records of other
    /// partitions come with the next poll.
    pub fn poll(&mut self, timeout: Duration) -> Result<Records<K, V>> {
        if timeout.is_zero() {
            return Ok(Records::new(self.subscription.fetch(self.on_out_of_range)?));
        }
        self.pace.before_first_look();
        let mut runs = self.subscription.fetch(self.on_out_of_range)?;
        self.pace.after_first_look(&runs);
        if runs.is_empty() {
            runs = self.wait(timeout)?;
        }
        Ok(Records::new(runs))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Vec<PartitionRun>> {
        // A deadline too far to be represented is none.
        let deadline = Instant::now().checked_add(timeout);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        for _ in 0..pace::LOOKS_BEFORE_SLEEP {
            pace::pause_between_looks();
            let runs = self.subscription.fetch(self.on_out_of_range)?;
            if !runs.is_empty() || is_over() {
                return Ok(runs);
            }
        }
        loop {
            let runs = self.sleep(deadline)?;
            if !runs.is_empty() || is_over() {
                return Ok(runs);
            }
        }
    }

    /// Sleeps until a partition has news, and looks.
    fn sleep(&mut self, deadline: Option<Instant>) -> Result<Vec<PartitionRun>> {
        let policy = self.on_out_of_range;
        let logs = self.subscription.logs();
        let waiters = logs.iter().map(|log| log.waiters());
        let subscription = &mut self.subscription;
        let found = self.signal.sleep_unless(waiters, deadline, || match subscription.fetch(policy) {
            Ok(runs) if runs.is_empty() => None,
            news => Some(news),
        });
        found.unwrap_or_else(|| self.subscription.fetch(policy))
    }

    /// Commits the positions after `records`: the next consumer of the group begins behind them, even if
    /// your loop over them broke off. When it returns, the commit survives what the broker's
    /// [`Durability`](crate::Durability) says.
    ///
    /// # Errors
    /// [`Error::NoGroup`], [`Error::NotAssigned`], [`Error::StorageFull`], [`Error::Io`],
    /// [`Error::Closed`]. After an error nothing was committed.
    pub fn commit(&self, records: &Records<K, V>) -> Result<()> {
        self.commit_all(records.runs().iter().map(|run| (run, run.end_offset())))
    }

    /// Commits the position after one record: the next consumer of the group begins behind it in its
    /// partition.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_through(&self, record: &Record<'_, K, V>) -> Result<()> {
        self.commit_all(std::iter::once((record.run(), record.offset() + 1)))
    }

    fn commit_all<'a>(&self, offsets: impl Iterator<Item = (&'a PartitionRun, u64)>) -> Result<()> {
        let group = self.group.as_deref().ok_or(Error::NoGroup)?;
        let commits = offsets.map(|(run, offset)| {
            self.subscription.check_committable(run)?;
            Ok(run.commit(offset))
        });
        self.coordinator.committed().commit(group, &commits.collect::<Result<Vec<_>>>()?)
    }

    /// What the group has committed for a partition of this consumer; `None` if nothing.
    ///
    /// # Errors
    /// [`Error::NoGroup`], [`Error::NotAssigned`].
    pub fn committed(&self, topic: &str, partition: u32) -> Result<Option<u64>> {
        let group = self.group.as_deref().ok_or(Error::NoGroup)?;
        let topic_id = self.subscription.get(topic, partition)?.topic_id();
        Ok(self.coordinator.committed().offset(group, topic_id, partition))
    }

    /// The partitions that this consumer reads.
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

    /// Goes on from `offset` in one partition. Whether it is in range is seen by the next poll.
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn seek(&mut self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        self.subscription.get_mut(topic, partition)?.seek(offset);
        Ok(())
    }

    /// Goes on from the first record of every partition.
    pub fn seek_to_beginning(&mut self) {
        self.subscription.iter_mut().for_each(|assigned| assigned.seek(assigned.log().start_offset()));
    }

    /// Goes on behind the last record of every partition: only what is sent from now on will be polled.
    pub fn seek_to_end(&mut self) {
        self.subscription.iter_mut().for_each(|assigned| assigned.seek(assigned.log().end_offset()));
    }

    /// Goes on, in every partition, from the first record whose timestamp is `timestamp` or later; from the
    /// end where there is none. In a partition whose timestamps do not rise, earlier ones may follow.
    ///
    /// To begin with what is sent from now on, use [`Timestamp::now`], which is the clock of the sends; a
    /// [`SystemTime`](std::time::SystemTime) may be ahead of it by a few milliseconds.
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
    /// where there is none.
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
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.subscription.iter().map(Assigned::lag).sum()
    }

    fn offsets(&self, offset: impl Fn(&Assigned) -> u64) -> BTreeMap<TopicPartition, u64> {
        let all = self.subscription.iter();
        all.map(|assigned| (assigned.topic_partition(), offset(assigned))).collect()
    }
}

impl<K, V> Drop for Consumer<K, V> {
    fn drop(&mut self) {
        for assigned in self.subscription.iter() {
            assigned.log().waiters().unregister(&self.signal);
        }
    }
}

impl<K, V> fmt::Debug for Consumer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("partitions", &self.subscription.iter().count())
            .finish_non_exhaustive()
    }
}
