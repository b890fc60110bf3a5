//! Looking through a directory without opening it for use.

use std::path::Path;

use super::Broker;
use super::builder::system_clock;
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::log::{Damage, FileReads, FlushQueue, TornTail, Verified};
use crate::storage::{DataDir, Disk, Storage};
use crate::sync::Arc;
use crate::topic::catalog::{self, CatalogHome};

/// What [`Broker::verify`] found.
///
/// ```
/// use ottla::{Broker, TopicConfig};
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let dir = dir.path();
/// let broker = Broker::open(dir)?;
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
/// broker.close()?;
///
/// let report = Broker::verify(dir)?;
/// assert!(report.is_clean());
/// let mut partitions = report.partitions.iter();
/// let payments = partitions.find(|each| each.partition.topic == "payments").expect("it is there");
/// assert_eq!((payments.records, payments.end_offset, payments.synced_offset), (1, 1, 1));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// All partitions on disk; `__consumer_offsets`, which holds what groups have committed, among them.
    pub partitions: Vec<PartitionVerdict>,
}

/// What [`Broker::verify`] found of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionVerdict {
    /// The partition.
    pub partition: TopicPartition,
    /// How many files the log is in.
    pub segments: usize,
    /// How many good records it has.
    pub records: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// The first offset that is kept.
    pub start_offset: u64,
    /// The offset that the next record would get.
    pub end_offset: u64,
    /// All records below this offset are known to have been on stable storage.
    pub synced_offset: u64,
    /// What opening the directory would cut off, if anything.
    pub torn_tail: Option<TornTail>,
    /// What is damaged or missing although it had been on stable storage.
    pub damage: Vec<Damage>,
}

impl VerifyReport {
    /// Whether every byte of every log is as it was written, up to its end.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.partitions.iter().all(|each| each.torn_tail.is_none() && each.damage.is_empty())
    }
}

impl PartitionVerdict {
    fn of((partition, found): (TopicPartition, Verified)) -> Self {
        Self {
            partition,
            segments: found.segments,
            records: found.records,
            bytes: found.bytes,
            start_offset: found.start_offset,
            end_offset: found.end_offset,
            synced_offset: found.synced,
            torn_tail: found.found.torn_tail,
            damage: found.found.damaged,
        }
    }
}

impl Broker {
    /// Reads and verifies every record in the directory `dir`, and changes nothing, whatever it finds. No
    /// broker may own the directory meanwhile; others may read it. Needs no right to write.
    ///
    /// # Errors
    /// [`Error::DirectoryInUse`]; [`Error::Corrupt`] for a catalog that is damaged or missing, without which
    /// nothing is known of the rest; [`Error::UnsupportedFormat`], [`Error::Io`].
    pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport> {
        Self::verify_in(Disk, dir)
    }

    /// As [`verify`](Self::verify), on another file system.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_in(storage: impl Storage + 'static, dir: impl AsRef<Path>) -> Result<VerifyReport> {
        let dir = dir.as_ref();
        let dir = std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
        let home = CatalogHome {
            data_dir: Arc::new(DataDir::read(Arc::new(storage), &dir)?),
            clock: system_clock(),
            flush: FlushQueue::new().0,
            reads: Arc::new(FileReads::default()),
            upkeep: Arc::default(),
            read_only: true,
        };
        let partitions = catalog::verify(&home)?.into_iter().map(PartitionVerdict::of).collect();
        Ok(VerifyReport { partitions })
    }
}
