//! What recovery says of one partition, for users.

use std::path::PathBuf;

use crate::ids::TopicPartition;

/// The end of a partition's log that was no whole record, because a process or machine died while writing it,
/// and of which nothing is known to have been on stable storage. It was cut off when the broker was opened.
///
/// What was cut was not acknowledged, or it was at [`ProcessCrash`](crate::Durability::ProcessCrash) and a
/// power loss took the rest of it. Damage to the last records that were synced looks the same, if it happens
/// before the log says that they were: within [`sync_interval`](crate::TopicConfig::sync_interval) of their
/// sync.
///
/// ```
/// use ottla::storage::{MemoryStorage, OpenMode, Storage};
/// # use ottla::{Broker, TopicConfig};
/// let storage = MemoryStorage::default();
/// let open = || Broker::builder().data_dir("/data").storage(storage.clone()).open();
/// let broker = open()?;
/// broker.create_topic("payments", TopicConfig::new())?;
/// broker.close()?;
/// // As if the process had died when it had written the first bytes of a record:
/// let log = "/data/payments-0/00000000000000000000.log".as_ref();
/// let file = storage.open(log, OpenMode::Existing).expect("it exists");
/// let end = file.len().expect("in memory");
/// file.write_at(&[1, 2, 3], end).expect("in memory");
///
/// let broker = open()?;
/// let torn = &broker.recovery_report().torn_tails[0];
/// assert_eq!((&*torn.path, torn.position, torn.bytes), (log, end, 3));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The partition.
    pub partition: TopicPartition,
    /// The file that was cut.
    pub path: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// How many bytes were cut off, those of later files among them.
    pub bytes: u64,
    /// The offset that the next record will get.
    pub end_offset: u64,
    /// The file that holds the cut bytes; `None` if they were all zero, or were not cut because the directory
    /// was opened read-only.
    pub kept_in: Option<PathBuf>,
    /// Later segments, which were set aside under these names: without what was cut off, their records would
    /// leave a gap.
    pub set_aside: Vec<PathBuf>,
}

/// Bytes of a partition's log that are not what was written, or files that are missing, although the records
/// in them were on stable storage.
///
/// From [`Broker::recovery_report`](crate::Broker::recovery_report) and
/// [`Broker::verify`](crate::Broker::verify).
///
/// ```
/// use ottla::storage::{MemoryStorage, OpenMode, Storage};
/// # use ottla::{Broker, DamageAction, Error, TopicConfig};
/// let storage = MemoryStorage::default();
/// let open = || Broker::builder().data_dir("/data").storage(storage.clone()).verify_on_open(true).open();
/// let broker = open()?;
/// broker.create_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, u64>("payments")?;
/// producer.send("alice", 200)?;
/// producer.send("bob", 50)?;
/// broker.close()?;
/// // As if a bit had been flipped in the first record:
/// let log = "/data/payments-0/00000000000000000000.log".as_ref();
/// let file = storage.open(log, OpenMode::Existing).expect("it exists");
/// file.write_at(&[1], 110).expect("in memory");
///
/// let broker = open()?;
/// let damage = &broker.recovery_report().damaged[0];
/// assert_eq!((&*damage.path, damage.first_offset, damage.next_offset), (log, 0, Some(1)));
/// assert_eq!(damage.action, DamageAction::Fenced);
/// let refused = broker.producer::<String, u64>("payments")?.send("carol", 10);
/// assert!(matches!(refused, Err(Error::PartitionFenced { .. })));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The partition.
    pub partition: TopicPartition,
    /// The file that is damaged, or missing.
    pub path: PathBuf,
    /// The first damaged byte in it.
    pub position: u64,
    /// The offset of the first record that is lost.
    pub first_offset: u64,
    /// The offset of the next good record; `None` if there is none behind it. The same as `first_offset` if
    /// no record is lost.
    pub next_offset: Option<u64>,
    /// How many good records lie behind it.
    pub records_behind: u64,
    /// What is wrong, and how it is known that these bytes were safe.
    pub detail: String,
    /// What was done about it.
    pub action: DamageAction,
}

/// What was done about a [`Damage`]: as the [`RecoveryPolicy`](crate::RecoveryPolicy) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageAction {
    /// Nothing: the directory was only looked at.
    Found,
    /// The partition takes no records; all good ones are served. No byte was changed.
    Fenced,
    /// The log was cut off before the damage; what was behind it lies beside it, in files that end in
    /// `.torn`.
    Truncated,
    /// It was left as it is; consumers pass over it, and the log goes on behind it.
    Skipped,
}
