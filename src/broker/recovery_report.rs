//! What opening a directory found and mended.

use crate::ids::TopicPartition;
use crate::log::{Damage, DamageAction, TornTail};
use crate::topic::catalog::Opened;
use crate::trace;

/// What opening a directory found and mended, from
/// [`Broker::recovery_report`](crate::Broker::recovery_report).
///
/// A clean report does not say that nothing was lost: of what a power loss took whole records of, nothing is
/// left to be found.
///
/// ```
/// use ottla::Broker;
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// let broker = Broker::open(dir.path())?;
/// let report = broker.recovery_report();
/// for tail in &report.torn_tails {
///     println!("{}: cut {} bytes, goes on at {}", tail.partition, tail.bytes, tail.end_offset);
/// }
/// for commit in &report.lowered_commits {
///     println!("group {} begins again at {} of {}", commit.group, commit.lowered_to, commit.partition);
/// }
/// assert!(report.is_clean());
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Logs that ended with bytes that were no whole record, and were cut there.
    pub torn_tails: Vec<TornTail>,
    /// Bytes and files of logs that are not what was synced, and what was done about it. What was not read,
    /// because it is known to have been synced, may be damaged all the same: see
    /// [`verify_on_open`](crate::BrokerBuilder::verify_on_open).
    pub damaged: Vec<Damage>,
    /// Groups that had committed more than their partition now holds.
    pub lowered_commits: Vec<LoweredCommit>,
    /// Topics that were deleted, or never finished, or that were to get partitions, of which files could not
    /// be removed. It is tried again when the name is used, and at the next open.
    pub unremoved_topics: Vec<String>,
    /// Why the checkpoint, which says what is known to have been synced, could not be used; nothing is lost
    /// with it. `None` if it could, or if there is none.
    pub damaged_checkpoint: Option<String>,
    /// Why a new checkpoint could not be written. Nothing is lost with it: the next open reads more.
    pub unwritten_checkpoint: Option<String>,
    /// How many partitions were opened.
    pub partitions: usize,
    /// How many bytes of their logs were read and verified.
    pub scanned_bytes: u64,
}

impl RecoveryReport {
    pub(super) fn of(opened: Opened) -> Self {
        let mut report = Self {
            unremoved_topics: opened.left,
            damaged_checkpoint: opened.checkpoint_fault,
            partitions: opened.logs.len(),
            ..Self::default()
        };
        for log in opened.logs {
            report.torn_tails.extend(log.torn_tail);
            report.damaged.extend(log.damaged);
            report.scanned_bytes += log.scanned_bytes;
        }
        report
    }

    /// Tells subscribers.
    pub(super) fn trace(&self, topics: usize) {
        for tail in &self.torn_tails {
            trace::torn_tail(&tail.partition, tail.bytes, tail.end_offset);
        }
        for damage in &self.damaged {
            let is_fenced = damage.action == DamageAction::Fenced;
            trace::damaged(&damage.partition, damage.first_offset, &damage.detail, is_fenced);
        }
        for commit in &self.lowered_commits {
            trace::commit_lowered(&commit.group, &commit.partition, commit.committed, commit.lowered_to);
        }
        trace::opened(topics, self.partitions, self.scanned_bytes);
    }

    /// Whether nothing had to be mended, and nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.torn_tails.is_empty()
            && self.damaged.is_empty()
            && self.lowered_commits.is_empty()
            && self.unremoved_topics.is_empty()
            && self.damaged_checkpoint.is_none()
            && self.unwritten_checkpoint.is_none()
    }
}

/// A committed offset beyond the end of its partition, which was lowered to that end: the records were lost
/// in a power loss, or lived in memory.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Durability, TopicConfig};
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let dir = dir.path();
/// let broker = Broker::open(dir)?;
/// broker.open_topic("alarms", TopicConfig::new().durability(Durability::Memory))?;
/// broker.producer::<String, u64>("alarms")?.send("cellar", 41)?;
/// let mut consumer = broker.consumer::<String, u64>().topic("alarms").group("siren").build()?;
/// let records = consumer.poll(Duration::ZERO)?;
/// consumer.commit(&records)?;
/// broker.close()?;
///
/// let broker = Broker::open(dir)?; // the record is gone
/// let lowered = &broker.recovery_report().lowered_commits[0];
/// assert_eq!((&*lowered.group, lowered.committed, lowered.lowered_to), ("siren", 1, 0));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoweredCommit {
    /// The group.
    pub group: String,
    /// The partition.
    pub partition: TopicPartition,
    /// What it had committed.
    pub committed: u64,
    /// What counts now.
    pub lowered_to: u64,
}
