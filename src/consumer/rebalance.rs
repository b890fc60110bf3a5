//! What the user's code is told when partitions come to a member of a group or go from it.

use std::fmt;

use super::subscription::Subscription;
use crate::error::{Error, Result};
use crate::group::{Commit, CommittedOffset, Coordinator, Membership};
use crate::ids::TopicPartition;
use crate::log::WrittenBy;

/// Any error, as a [`RebalanceListener`] returns it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Is told when partitions come to a member of a group, or go from it: to load and to store state that
/// belongs to a partition, to commit a last time, or to begin where another system says. Set by
/// [`ConsumerBuilder::rebalance_listener`](super::ConsumerBuilder::rebalance_listener).
///
/// It is called on the thread that builds, polls or closes the consumer, inside that call and never
/// otherwise, and no lock is held meanwhile. In a future it runs on the executor's thread, so it must not
/// block there. An error that it returns comes out of that call as [`Error::RebalanceListener`]; the change
/// stands. Dropping a consumer calls nothing.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
/// use ottla::{BoxError, Broker, Rebalance, RebalanceListener, TopicConfig};
///
/// /// Begins where a database says that it has everything.
/// struct FromDatabase {
///     stored: BTreeMap<u32, u64>,
/// }
///
/// impl RebalanceListener for FromDatabase {
///     fn assigned(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
///         for partition in rebalance.partitions().to_vec() {
///             let next = self.stored.get(&partition.partition).copied().unwrap_or(0);
///             rebalance.seek(&partition.topic, partition.partition, next)?;
///         }
///         Ok(())
///     }
/// }
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
/// let listener = FromDatabase { stored: BTreeMap::from([(0, 1)]) };
/// let builder = broker.consumer::<String, u64>().topic("payments").group("ledger");
/// let mut consumer = builder.rebalance_listener(listener).build()?;
/// assert_eq!(consumer.poll(Duration::ZERO)?.iter().next().expect("bob's").offset(), 1);
/// # Ok::<(), ottla::Error>(())
/// ```
pub trait RebalanceListener: Send {
    /// These partitions are about to be given up, because they are meant for another member, or the consumer
    /// is being closed. They are still this member's: commit what has to be committed. What was polled of
    /// them has been processed, if the consumer polls only when it is done with the last poll. With
    /// `auto_commit` it has been committed already.
    ///
    /// # Errors
    /// Any of yours.
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        let _ignored: &mut Rebalance<'_> = rebalance;
        Ok(())
    }

    /// These partitions came to this member, beside those that it had. Each has its position already, behind
    /// what was committed; [`Rebalance::seek`] sets another one.
    ///
    /// # Errors
    /// Any of yours.
    fn assigned(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        let _ignored: &mut Rebalance<'_> = rebalance;
        Ok(())
    }

    /// These partitions are gone already: their topic was deleted, or this member did not poll in time and
    /// others have them. Nothing can be committed of them.
    ///
    /// # Errors
    /// Any of yours.
    fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        let _ignored: &[TopicPartition] = partitions;
        Ok(())
    }
}

/// Partitions that come or go, and what may be done about it: see [`RebalanceListener`].
///
/// ```
/// use ottla::{BoxError, Rebalance, RebalanceListener};
///
/// /// Commits what it has worked off, when a partition goes.
/// struct CommitsLate;
///
/// impl RebalanceListener for CommitsLate {
///     fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
///         for partition in rebalance.partitions().to_vec() {
///             let position = rebalance.position(&partition.topic, partition.partition)?;
///             rebalance.commit_offsets([(partition, position)])?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub struct Rebalance<'a> {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) subscription: &'a mut Subscription,
    pub(super) coordinator: &'a Coordinator,
    pub(super) membership: &'a Membership,
    pub(super) group: &'a str,
}

impl Rebalance<'_> {
    /// The partitions that come or go, by topic and number.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// The next offset to be polled from one of this member's partitions.
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn position(&self, topic: &str, partition: u32) -> Result<u64> {
        Ok(self.subscription.get(topic, partition)?.position())
    }

    /// What the group has committed for one of this member's partitions; `None` if nothing.
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn committed(&self, topic: &str, partition: u32) -> Result<Option<CommittedOffset>> {
        let topic_id = self.subscription.get(topic, partition)?.topic_id();
        Ok(self.coordinator.committed().get(self.group, (topic_id, partition)))
    }

    /// Lets the member go on from `offset` in one of its partitions. Whether it is in range is seen by the
    /// next poll.
    ///
    /// # Errors
    /// [`Error::NotAssigned`].
    pub fn seek(&mut self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        self.subscription.get_mut(topic, partition)?.seek(offset);
        Ok(())
    }

    /// Commits offsets of this member's partitions: for each the first one that the group has not processed.
    /// When it returns, they are as durable as the broker promises; but in a future, which must not wait,
    /// they are only on their way.
    ///
    /// # Errors
    /// As [`Consumer::commit_offsets`](super::Consumer::commit_offsets).
    pub fn commit_offsets(&mut self, offsets: impl IntoIterator<Item = (TopicPartition, u64)>) -> Result<()> {
        let commits: Vec<Commit> = self.subscription.commits_for(offsets)?;
        let by = if self.subscription.reads_here() { WrittenBy::Caller } else { WrittenBy::Flusher };
        let staged = self.membership.stage(&commits, by).map_err(|place| {
            let partition = self.subscription.name_of(place);
            Error::CommitFenced { group: self.group.to_owned(), partition }
        })??;
        if by == WrittenBy::Caller { staged.wait() } else { Ok(()) }
    }
}

impl fmt::Debug for Rebalance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebalance").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}
