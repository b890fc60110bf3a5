//! Committing from asynchronous code: the commit is staged in memory, and written by a background thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Consumer, Record, Records};
use crate::error::{Error, Result};
use crate::group::{Commit, StagedCommit};
use crate::log::WrittenBy;
use crate::record::codec::Codec;
use crate::sync::EventListener;

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// Commits as [`commit`](Self::commit) does, without blocking: the future is ready when the commit is as
    /// durable as the broker promises. The commit is on its way when the call returns; dropping the future
    /// does not take it back.
    ///
    /// ```
    /// use ottla::Broker;
    ///
    /// async fn print_one_poll(broker: &Broker) -> ottla::Result<()> {
    ///     let mut consumer = broker.consumer::<String, u64>().topic("payments").group("printer").build()?;
    ///     let records = consumer.next_records().await?;
    ///     for record in &records {
    ///         println!("{}", record.value()?);
    ///     }
    ///     consumer.commit_async(&records).await
    /// }
    /// ```
    ///
    /// # Errors
    /// From the future, as [`commit`](Self::commit); [`Error::TopicFull`] if more than 64 MiB of commits wait
    /// to be written.
    pub fn commit_async(&self, records: &Records<K, V>) -> CommitFuture {
        self.begin_commit(self.commits_of(records, ""))
    }

    /// Commits as [`commit_through`](Self::commit_through) does, without blocking.
    ///
    /// ```
    /// use ottla::Broker;
    ///
    /// async fn print_one_by_one(broker: &Broker) -> ottla::Result<()> {
    ///     let mut consumer = broker.consumer::<String, u64>().topic("payments").group("printer").build()?;
    ///     let records = consumer.next_records().await?;
    ///     for record in &records {
    ///         println!("{}", record.value()?);
    ///         consumer.commit_through_async(&record).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`commit_async`](Self::commit_async).
    pub fn commit_through_async(&self, record: &Record<'_, K, V>) -> CommitFuture {
        self.begin_commit(self.commit_of(record).map(|commit| vec![commit]))
    }

    pub(super) fn begin_commit(&self, commits: Result<Vec<Commit>>) -> CommitFuture {
        let staged = commits.and_then(|commits| self.stage(&commits, WrittenBy::Flusher));
        CommitFuture { state: State::from(staged) }
    }
}

/// A commit being written: see [`Consumer::commit_async`].
///
/// It is `'static` and `Send`, and borrows neither the consumer nor the records: read on while it is under
/// way, and await it later. It counts from the call on, unless it fails: a member that takes over one of its
/// partitions begins behind it.
///
/// ```
/// use ottla::{Broker, CommitFuture};
///
/// async fn commit_behind(broker: &Broker) -> ottla::Result<()> {
///     let mut consumer = broker.consumer::<String, u64>().topic("payments").group("printer").build()?;
///     let mut under_way: Option<CommitFuture> = None;
///     loop {
///         let records = consumer.next_records().await?;
///         // .. process them ..
///         if let Some(earlier) = under_way.replace(consumer.commit_async(&records)) {
///             earlier.await?;
///         }
///     }
/// }
/// ```
#[must_use = "the future tells whether the commit was written: await it"]
pub struct CommitFuture {
    state: State,
}

enum State {
    Staged(StagedCommit, Option<EventListener>),
    Failed(Error),
    Finished,
}

impl From<StagedCommit> for CommitFuture {
    fn from(staged: StagedCommit) -> Self {
        Self { state: State::Staged(staged, None) }
    }
}

impl From<Result<StagedCommit>> for State {
    fn from(staged: Result<StagedCommit>) -> Self {
        staged.map_or_else(Self::Failed, |staged| Self::Staged(staged, None))
    }
}

impl CommitFuture {
    /// How it went, if that is decided.
    pub(super) fn outcome(&mut self) -> Option<Result<()>> {
        let outcome = match &self.state {
            State::Staged(staged, _) => staged.outcome()?,
            State::Failed(_) | State::Finished => Ok(()),
        };
        Some(self.finish(outcome))
    }

    /// Blocks until it is decided how it went.
    pub(super) fn wait(mut self) -> Result<()> {
        let outcome = match &self.state {
            State::Staged(staged, _) => staged.wait(),
            State::Failed(_) | State::Finished => Ok(()),
        };
        self.finish(outcome)
    }

    fn finish(&mut self, outcome: Result<()>) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Failed(error) => Err(error),
            _ => outcome,
        }
    }
}

impl Future for CommitFuture {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let State::Staged(staged, listener) = &mut self.state {
            ready!(staged.poll(listener, cx));
        }
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

impl fmt::Debug for CommitFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Staged(..) => "staged",
            State::Failed(_) => "failed",
            State::Finished => "finished",
        };
        f.debug_struct("CommitFuture").field("state", &state).finish_non_exhaustive()
    }
}
