//! A commit: how far a group has come in one partition.

use super::commit_record::Place;
use crate::error::{Error, Result};

/// The longest metadata of a commit, in bytes; Kafka's `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

/// How far a group has come in one partition, from [`Consumer::committed`](crate::Consumer::committed) or
/// [`Broker::committed_offsets`](crate::Broker::committed_offsets).
///
/// ```
/// use ottla::{Broker, ResetTo, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
/// broker.reset_group("ledger", "payments", ResetTo::Latest)?;
///
/// let consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
/// let committed = consumer.committed("payments", 0)?.expect("the reset committed it");
/// assert_eq!((committed.offset, &*committed.metadata), (1, ""));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The first offset that the group has not processed: where its next consumer begins.
    pub offset: u64,
    /// The text that was committed with it; empty if none was.
    pub metadata: String,
}

/// Which assignment of a partition to a member something belongs to; 0 for what no group has assigned.
pub(crate) type Epoch = u64;

/// A committed offset and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) topic_id: u64,
    pub(crate) partition: u32,
    /// The first offset that the group has not processed.
    pub(crate) offset: u64,
    pub(crate) metadata: String,
    /// The assignment under which the records were polled.
    pub(crate) epoch: Epoch,
}

/// Whether the metadata of a commit is within its bound.
pub(crate) fn check_metadata(metadata: &str) -> Result<()> {
    let size = metadata.len();
    if size <= MAX_METADATA_BYTES {
        return Ok(());
    }
    Err(Error::CommitMetadataTooLarge { size, max: MAX_METADATA_BYTES })
}

impl Commit {
    pub(crate) fn place(&self) -> Place {
        (self.topic_id, self.partition)
    }

    pub(super) fn committed(&self) -> CommittedOffset {
        CommittedOffset { offset: self.offset, metadata: self.metadata.clone() }
    }
}
