//! Committing: how a consumer says how far its group has come, by hand or with each poll.

use std::collections::BTreeMap;

use super::commit_future::CommitFuture;
use super::records::{PartitionRun, Record, Records};
use super::{Consumer, not_assigned};
use crate::error::{Error, Result};
use crate::group::{Commit, CommittedOffset, StagedCommit, check_metadata};
use crate::ids::TopicPartition;
use crate::log::WrittenBy;
use crate::record::codec::Codec;

/// With auto-commit: what is on its way.
pub(super) struct Committing {
    /// The last commit; an earlier one that is still under way does not fail alone.
    future: CommitFuture,
    /// By topic id and partition, what was begun and is not known to be kept.
    commits: BTreeMap<(u64, u32), Commit>,
}

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// Commits the positions after `records`: the next consumer of the group begins behind them, even if
    /// your loop over them broke off. When it returns, the commit survives what the broker's
    /// [`Durability`](crate::Durability) says.
    ///
    /// The latest commit counts, not the highest: committing records of an earlier poll moves the group back
    /// to them.
    ///
    /// On disk it blocks for a write, and for a sync if the broker's level is
    /// [`PowerLoss`](crate::Durability::PowerLoss); topics with a level of their own do not change that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let builder = || broker.consumer::<String, u64>().topic("payments").group("ledger");
    ///
    /// let mut consumer = builder().build()?;
    /// let records = consumer.poll(Duration::ZERO)?;
    /// let total: u64 = records.iter().filter_map(|record| record.value().ok()).sum();
    /// consumer.commit(&records)?; // after the work is done
    /// drop(consumer);
    ///
    /// assert_eq!((total, builder().build()?.position("payments", 0)?), (250, 2));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoGroup`]; [`Error::CommitFenced`] for records of a partition that was taken from this member
    /// since they were polled, or that it never had; with partitions assigned by hand [`Error::NotAssigned`]
    /// for others, and [`Error::GroupInUse`] for those that members of the group read;
    /// [`Error::TopicDeleted`], [`Error::StorageFull`], [`Error::Io`], [`Error::PartitionFailed`],
    /// [`Error::Closed`]. After an error nothing was committed. [`Error::OutcomeUnknown`]: the disk failed;
    /// whether it was committed is seen at the next open.
    pub fn commit(&self, records: &Records<K, V>) -> Result<()> {
        self.commit_runs(records, "")
    }

    /// Commits as [`commit`](Self::commit) does, with a text for whoever reads the commit: which instance
    /// wrote it, or what it has derived from the records so far. At most 4,096 bytes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let mut consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    ///
    /// let records = consumer.poll(Duration::ZERO)?;
    /// consumer.commit_with_metadata(&records, "balance 200")?;
    /// let committed = consumer.committed("payments", 0)?.expect("just committed");
    /// assert_eq!((committed.offset, &*committed.metadata), (1, "balance 200"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`Error::CommitMetadataTooLarge`].
    pub fn commit_with_metadata(&self, records: &Records<K, V>, metadata: &str) -> Result<()> {
        check_metadata(metadata)?;
        self.commit_runs(records, metadata)
    }

    /// Commits the position after one record: the next consumer of the group begins behind it in its
    /// partition. As with [`commit`](Self::commit), an earlier record moves the group back.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// # let mut consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    /// for record in &consumer.poll(Duration::ZERO)? {
    ///     consumer.commit_through(&record)?;
    ///     let committed = consumer.committed("payments", 0)?.expect("just committed");
    ///     assert_eq!(committed.offset, record.offset() + 1);
    /// }
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_through(&self, record: &Record<'_, K, V>) -> Result<()> {
        let commit = self.commit_of(record)?;
        self.stage(&[commit], WrittenBy::Caller)?.wait()
    }

    /// Commits offsets of your own: for each partition the first one that the group has not processed.
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig, TopicPartition};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    ///
    /// consumer.commit_offsets([(TopicPartition::new("payments", 0), 1)])?;
    /// assert_eq!(consumer.committed("payments", 0)?.expect("just committed").offset, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`Error::OffsetOutOfRange`] for an offset beyond the end of its
    /// partition, which would make the group miss what is yet to be sent. All are committed, or none.
    pub fn commit_offsets(&self, offsets: impl IntoIterator<Item = (TopicPartition, u64)>) -> Result<()> {
        self.group()?;
        let commits = self.subscription.commits_for(offsets)?;
        self.stage(&commits, WrittenBy::Caller)?.wait()
    }

    /// What the group has committed for a partition of this consumer; `None` if nothing. See
    /// [`CommittedOffset`].
    ///
    /// # Errors
    /// [`Error::NoGroup`], [`Error::NotAssigned`].
    pub fn committed(&self, topic: &str, partition: u32) -> Result<Option<CommittedOffset>> {
        let group = self.group()?;
        let topic_id = self.subscription.get(topic, partition)?.topic_id();
        Ok(self.coordinator.committed().get(group, (topic_id, partition)))
    }

    /// Ends the consumer: with [`auto_commit`](super::ConsumerBuilder::auto_commit) it commits what the last
    /// poll returned, it tells its [`RebalanceListener`](super::RebalanceListener), and it leaves its group.
    /// Dropping a consumer only leaves the group, so that records that a panic kept from being processed come
    /// again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
    /// let builder = || broker.consumer::<String, u64>().topic("payments").group("ledger").auto_commit(true);
    /// let mut consumer = builder().build()?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 2);
    /// consumer.close()?;
    /// assert_eq!(builder().build()?.position("payments", 0)?, 2);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit), with `auto_commit`; [`Error::RebalanceListener`],
    /// [`Error::MemberEvicted`]. The consumer has ended all the same.
    pub fn close(mut self) -> Result<()> {
        if !self.closing_begins()? {
            return Ok(());
        }
        if let Some(Committing { future, commits }) = self.committing.take()
            && future.wait().is_err()
        {
            self.commit_again(commits);
        }
        let committed = self.commit_polled();
        committed.and(self.tell_closing())
    }

    pub(super) fn group(&self) -> Result<&str> {
        self.group.as_deref().ok_or(Error::NoGroup)
    }

    fn commit_runs(&self, records: &Records<K, V>, metadata: &str) -> Result<()> {
        let commits = self.commits_of(records, metadata)?;
        self.stage(&commits, WrittenBy::Caller)?.wait()
    }

    /// Begins to commit, as a member if this consumer is one. What is to be written by the caller must be
    /// waited for.
    pub(super) fn stage(&self, commits: &[Commit], by: WrittenBy) -> Result<StagedCommit> {
        let group = self.group()?;
        let Some(member) = &self.member else { return self.coordinator.stage_by_hand(group, commits, by) };
        let fenced = |place| self.fenced(self.subscription.name_of(place));
        match (member.membership(), commits.first()) {
            (Some(membership), _) => membership.stage(commits, by).map_err(fenced)?,
            (None, Some(commit)) => Err(fenced(commit.place())),
            (None, None) => self.coordinator.stage_by_hand(group, commits, by),
        }
    }

    fn fenced(&self, partition: TopicPartition) -> Error {
        Error::CommitFenced { group: self.group.clone().unwrap_or_default(), partition }
    }

    pub(super) fn commits_of(&self, records: &Records<K, V>, metadata: &str) -> Result<Vec<Commit>> {
        self.group()?;
        let commits = records.runs().iter().map(|run| {
            self.check_committable(run)?;
            Ok(run.commit(run.end_offset(), metadata))
        });
        commits.collect()
    }

    pub(super) fn commit_of(&self, record: &Record<'_, K, V>) -> Result<Commit> {
        self.group()?;
        self.check_committable(record.run())?;
        Ok(record.run().commit(record.offset() + 1, ""))
    }

    /// Whether offsets of a run can be committed: the consumer reads its partition, a member by the same
    /// assignment as when it was polled, and it is still there.
    fn check_committable(&self, run: &PartitionRun) -> Result<()> {
        let partition = || TopicPartition::new(run.topic(), run.partition());
        match self.subscription.find(run.place()) {
            Some(assigned) => assigned.log().check_readable().and(match &self.member {
                Some(_) if assigned.epoch() != run.epoch() => Err(self.fenced(partition())),
                _ => Ok(()),
            }),
            None if self.member.is_some() => Err(self.fenced(partition())),
            None => Err(not_assigned(run.topic(), run.partition())),
        }
    }

    /// With auto-commit: takes note of what a poll returns.
    #[inline]
    pub(super) fn note_polled(&mut self, runs: &[PartitionRun]) {
        if let Some(polled) = &mut self.polled {
            polled.extend(runs.iter().map(|run| run.commit(run.end_offset(), "")));
        }
    }

    /// With auto-commit: commits what earlier polls returned, but for topics that were deleted since. After
    /// an error it stays to be committed.
    #[inline]
    pub(super) fn commit_polled(&mut self) -> Result<()> {
        match &self.polled {
            Some(polled) if !polled.is_empty() => {
                let commits = self.commits_left(polled)?;
                self.stage(&commits, WrittenBy::Caller)?.wait()?;
                self.polled = Some(Vec::new());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// As [`commit_polled`](Self::commit_polled), without waiting: a later call tells if it failed, and then
    /// it stays to be committed.
    pub(super) fn begin_commit_polled(&mut self) -> Result<()> {
        self.hear_of_commit()?;
        if let Some(polled) = self.polled.as_ref().filter(|polled| !polled.is_empty()) {
            let begun = self.commits_left(polled)?;
            // If it cannot even be begun, no partition is given up. Otherwise this consumer's task goes on
            // meanwhile, and is told if the commit fails.
            let future = CommitFuture::from(self.stage(&begun, WrittenBy::Flusher)?);
            let mut commits = self.committing.take().map(|earlier| earlier.commits).unwrap_or_default();
            commits.extend(begun.into_iter().map(|commit| ((commit.topic_id, commit.partition), commit)));
            self.committing = Some(Committing { future, commits });
            self.polled = Some(Vec::new());
        }
        Ok(())
    }

    /// How the commit under way ended, if it has.
    fn hear_of_commit(&mut self) -> Result<()> {
        let Some(committing) = &mut self.committing else { return Ok(()) };
        let Some(outcome) = committing.future.outcome() else { return Ok(()) };
        let commits = std::mem::take(&mut committing.commits);
        self.committing = None;
        if outcome.is_err() {
            self.commit_again(commits);
        }
        outcome
    }

    /// What was lost on its way is to be committed, before what was polled since.
    fn commit_again(&mut self, lost: BTreeMap<(u64, u32), Commit>) {
        if let Some(polled) = &mut self.polled {
            polled.splice(0..0, lost.into_values());
        }
    }

    /// Of these commits, those for topics that are still there.
    fn commits_left(&self, polled: &[Commit]) -> Result<Vec<Commit>> {
        let mut commits = Vec::with_capacity(polled.len());
        for commit in polled {
            let found = self.subscription.find(commit.place());
            // One that is not this member's any more, or again, is its next owner's to commit.
            let found = found.filter(|found| self.member.is_none() || found.epoch() == commit.epoch);
            match found.map(|assigned| assigned.log().check_readable()) {
                Some(Ok(())) => commits.push(commit.clone()),
                Some(Err(Error::TopicDeleted { .. })) | None => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(commits)
    }
}
