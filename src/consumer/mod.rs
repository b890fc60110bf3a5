//! Reading: a consumer knows which partitions it reads and where it is in each, and polls them in turn.

mod assigned;
mod beginning;
mod builder;
mod commit_future;
mod commits;
mod following;
mod kafka;
mod limits;
mod member;
mod member_settings;
mod next_records;
mod pace;
mod policy;
mod positions;
mod rebalance;
mod records;
mod spans;
mod subscription;
mod wake;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use builder::ConsumerBuilder;
pub use commit_future::CommitFuture;
pub use next_records::{NextRecords, RecordsStream};
pub use policy::{OutOfRange, Start};
pub use rebalance::{BoxError, Rebalance, RebalanceListener};
pub use records::{OwnedRecord, Record, Records, RecordsIter};
pub(crate) use spans::Span;
pub use wake::WakeHandle;

use crate::error::{Error, Result};
use crate::group::{Commit, Coordinator};
use crate::log::Files;
use crate::record::codec::Codec;
use crate::sync::signal::{Signal, Sleep};
use crate::sync::{Arc, Instant};
use commits::Committing;
use following::Following;
use member::Member;
use pace::Pace;
use records::PartitionRun;
use subscription::{Subscription, not_assigned};

/// Reads records from topics, or from partitions assigned by hand. Made by
/// [`Broker::consumer`](crate::Broker::consumer).
///
/// A consumer can be moved to another thread, but only one can use it at a time: what reads takes `&mut
/// self`. To read on several threads, give each a consumer of its own, in one
/// [`group`](ConsumerBuilder::group). Dropping it leaves the group and commits nothing
/// (a static member stays for a while: [`instance_id`](ConsumerBuilder::instance_id)).
///
/// # Position and commit
/// The **position** of a partition is the next offset to be polled. It begins where the consumer's group
/// committed, or at [`Start`], and a poll moves it behind what it returns. The **committed offset** of a
/// group is where its next consumer begins. Only commits move it, [`commit`](Self::commit) and those beside
/// it: a consumer that dies before it commits is given the same records again (at least once). With
/// [`auto_commit`](ConsumerBuilder::auto_commit) each poll commits what the one before it returned.
///
/// # Groups
/// The members of a group divide the partitions of their topics among them. Partitions come and go inside
/// polls (and [`build`](ConsumerBuilder::build)), and nowhere else: a poll says that this member is done with
/// what the one before returned, so it is then that partitions are given up that are meant for others. Who
/// takes one over begins behind what was committed. So commit what you have processed before you poll again;
/// then nothing is processed twice unless a member dies, or is evicted, with records in its hands. What was
/// polled before a partition was taken away can no longer be committed: [`Error::CommitFenced`].
///
/// # Topics and partitions that come later
/// A consumer that subscribes reads the partitions that its topics get later, and with
/// [`topics_matching`](ConsumerBuilder::topics_matching) the topics that are made later. They join its
/// assignment during a poll, which they wake. In these partitions it begins where its group committed, or
/// with the very first record, whatever [`Start`] says: nothing that was sent to them is missed. With
/// [`Start::Committed`], polls answer [`Error::NoCommittedOffset`] until there is a commit. A topic that is
/// deleted is told of by [`Error::TopicDeleted`]: in every poll if it was named, once if a predicate chose
/// it, and then it leaves the assignment. Partitions assigned by hand do not change.
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
    /// `None` for partitions assigned by hand.
    following: Option<Following>,
    start: Start,
    pace: Pace,
    signal: Arc<Signal>,
    coordinator: Arc<Coordinator>,
    group: Option<String>,
    /// With auto-commit: what the last poll returned, to be committed by the next one.
    polled: Option<Vec<Commit>>,
    /// What futures of this consumer commit by themselves.
    committing: Option<Committing>,
    /// `None` without a group, and for partitions assigned by hand.
    member: Option<Member>,
    /// The look before said why partitions cannot be taken in.
    told_of_trouble: bool,
    /// Of a sink: for which revision of the subscription it has seen to where each partition goes on. A poll
    /// does not wait with another one.
    placed: Option<u64>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// The next records, from all partitions that have some. Returns at once if there are any; otherwise
    /// waits for an append, for up to `timeout`, and then returns none. `poll(Duration::ZERO)` never waits:
    /// that it returns nothing means that this consumer has caught up. `poll(Duration::MAX)` waits for as
    /// long as it takes. The builder's limits, beginning with [`max_records`](ConsumerBuilder::max_records),
    /// say how much is returned at most and waited for. Older records of a topic on disk are read from files
    /// here, on this thread.
    ///
    /// Records whose key or value does not decode are returned too; see [`Record::value`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("readings", TopicConfig::new())?;
    /// let sensor = broker.producer::<String, u32>("readings")?;
    /// let mut consumer = broker.consumer::<String, u32>().topic("readings").build()?;
    ///
    /// let sending = std::thread::spawn(move || sensor.send("cellar", 21));
    /// let records = consumer.poll(Duration::from_secs(60))?; // woken by the send
    /// assert_eq!(records.iter().next().expect("one was sent").value()?, 21);
    /// assert!(consumer.poll(Duration::ZERO)?.is_empty());
    /// # sending.join().expect("no panic")?;
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`], [`Error::RecordsDamaged`], [`Error::Io`], [`Error::TopicDeleted`],
    /// [`Error::Closed`], [`Error::Woken`], [`Error::NoCommittedOffset`]; as a member of a group
    /// [`Error::MemberEvicted`], [`Error::InvalidAssignment`], [`Error::RebalanceListener`], and to join anew
    /// those of [`build`](ConsumerBuilder::build); with auto-commit those of [`commit`](Self::commit). No
    /// record is skipped: positions stay where they were, and records of other partitions come with the next
    /// poll.
    pub fn poll(&mut self, timeout: Duration) -> Result<Records<K, V>> {
        self.poll_begins()?;
        let outcome = self.poll_here(timeout);
        self.poll_ends();
        outcome
    }

    #[inline]
    fn poll_here(&mut self, timeout: Duration) -> Result<Records<K, V>> {
        self.subscription.read_files(Files::Here);
        if timeout.is_zero() {
            return Ok(Records::new(self.look(None)?));
        }
        self.pace.before_first_look();
        let mut runs = self.look(self.subscription.limits().min_bytes)?;
        self.pace.after_first_look(&runs);
        if runs.is_empty() {
            runs = self.wait(timeout)?;
        }
        Ok(Records::new(runs))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Vec<PartitionRun>> {
        let min_bytes = self.subscription.limits().min_bytes;
        // A deadline too far to be represented is none.
        let deadline = Instant::now().checked_add(timeout);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        for _ in 0..pace::LOOKS_BEFORE_SLEEP {
            if self.is_misplaced() {
                return Ok(Vec::new());
            }
            pace::pause_between_looks();
            if is_over() {
                return self.look(None);
            }
            let runs = self.look(min_bytes)?;
            if !runs.is_empty() {
                return Ok(runs);
            }
        }
        loop {
            match self.fall_asleep(min_bytes)? {
                FallingAsleep::Found(runs) => return Ok(runs),
                FallingAsleep::Asleep(sleep) => sleep.wait(deadline),
            }
            if is_over() {
                return self.look(None);
            }
            let runs = self.look(min_bytes)?;
            if !runs.is_empty() {
                return Ok(runs);
            }
        }
    }

    /// Announces this consumer as a sleeper, and looks once more.
    fn fall_asleep(&mut self, min_bytes: Option<usize>) -> Result<FallingAsleep> {
        loop {
            let revision = self.subscription.revision();
            let waiters = self.subscription.waiters().chain(self.following.as_ref().map(Following::waiters));
            let sleep = self.signal.announce(waiters.cloned().collect());
            let runs = self.look(min_bytes)?;
            if !runs.is_empty() || self.is_misplaced() {
                return Ok(FallingAsleep::Found(runs));
            }
            // Partitions that came with the look do not know of the sleep.
            if self.subscription.revision() == revision {
                return Ok(FallingAsleep::Asleep(sleep));
            }
        }
    }

    /// One look at what there is; with `min_bytes`, nothing less than that.
    fn look(&mut self, min_bytes: Option<usize>) -> Result<Vec<PartitionRun>> {
        if self.signal.take_interruption() {
            return Err(Error::Woken);
        }
        if self.subscription.reads_here() {
            self.commit_polled()?;
        } else {
            self.begin_commit_polled()?;
        }
        if let Err(error) = self.follow() {
            // Told with every other look: what can be read is not to wait for what cannot be begun.
            self.told_of_trouble = !self.told_of_trouble;
            if !self.told_of_trouble
                && let runs = self.fetch(min_bytes)?
                && !runs.is_empty()
            {
                return Ok(runs);
            }
            return Err(error);
        }
        self.fetch(min_bytes)
    }

    #[inline]
    fn fetch(&mut self, min_bytes: Option<usize>) -> Result<Vec<PartitionRun>> {
        if self.subscription.is_empty() {
            self.coordinator.check_open()?;
        }
        let outcome = self.subscription.fetch(min_bytes);
        match &outcome {
            Ok(runs) if runs.is_empty() => self.check_named_topics()?,
            Ok(runs) => self.note_polled(runs),
            Err(Error::TopicDeleted { topic }) => self.leave_deleted(topic),
            Err(_) => {}
        }
        outcome
    }

    /// What ends a poll of this consumer from another thread: see [`WakeHandle`].
    #[must_use]
    pub fn wake_handle(&self) -> WakeHandle {
        WakeHandle::new(&self.signal)
    }
}

/// What came of the last look before a sleep.
enum FallingAsleep {
    Found(Vec<PartitionRun>),
    Asleep(Sleep),
}

impl<K, V> Drop for Consumer<K, V> {
    fn drop(&mut self) {
        for assigned in self.subscription.iter() {
            assigned.log().waiters().unregister(&self.signal);
        }
        if let Some(following) = &self.following {
            following.waiters().unregister(&self.signal);
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
