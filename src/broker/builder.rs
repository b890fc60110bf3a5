//! Opening a broker: its settings, and the order in which its parts come to life.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::flusher;
use super::report::{LoweredCommit, RecoveryReport};
use super::{Broker, Disk, Inner};
use crate::clock::{Clock, SystemClock};
use crate::config::{Durability, TopicDefaults, checked_sync_interval};
use crate::error::{Error, Result};
use crate::group::{Commit, CommittedOffsets, Coordinator};
use crate::ids::TopicPartition;
use crate::log::{FileReads, FlushQueue};
use crate::storage::{self, DataDir, Storage};
use crate::sync::{Arc, AtomicBool, Mutex};
use crate::topic::Topic;
use crate::topic::catalog::{Catalog, CatalogHome};

/// A broker in the making: see [`Broker::builder`](crate::Broker::builder).
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Durability};
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let dir = dir.path();
/// let broker = Broker::builder()
///     .data_dir(dir)
///     .durability(Durability::ProcessCrash)
///     .sync_interval(Duration::from_millis(10))
///     .open()?;
/// # broker.close()?;
/// # Ok::<(), ottla::Error>(())
/// ```
///
/// In a test, time and files can be the test's own:
///
/// ```
/// use std::sync::Arc;
/// use ottla::{Broker, ManualClock, Timestamp, TopicConfig, storage::MemoryStorage};
///
/// let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
/// let broker = Broker::builder().clock(clock).data_dir("/data").storage(MemoryStorage::default()).open()?;
/// broker.open_topic("payments", TopicConfig::new())?;
/// let at = broker.producer::<String, u64>("payments")?.send("alice", 200)?;
/// assert_eq!(at.timestamp.as_millis(), 1_000);
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a broker is opened by `open`"]
#[derive(Clone)]
pub struct BrokerBuilder {
    data_dir: Option<PathBuf>,
    durability: Option<Durability>,
    sync_interval: Option<Duration>,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage>,
}

impl BrokerBuilder {
    pub(super) fn new() -> Self {
        Self {
            data_dir: None,
            durability: None,
            sync_interval: None,
            clock: system_clock(),
            storage: Arc::new(storage::Disk),
        }
    }

    /// Keeps the topics in this directory. Default: none, everything is in memory.
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.data_dir = Some(dir.as_ref().to_path_buf());
        self
    }

    /// What acknowledged records survive, for topics that are made and do not say otherwise, and what commits
    /// survive. Topics that exist keep their level: [`alter_topic`](Broker::alter_topic) changes it.
    /// Default: [`Durability::ProcessCrash`] in a directory, [`Durability::Memory`] without. With
    /// [`Durability::Memory`] in a directory, commits are kept as with [`Durability::ProcessCrash`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// How long what [`Durability::ProcessCrash`] has acknowledged may stay unsynced, for topics that are
    /// made and do not say otherwise, and for commits: 1 ms to 1 hour, in whole milliseconds. Default: 50 ms.
    /// Of no effect without a directory.
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = Some(interval);
        self
    }

    /// Where the time is read. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The file system. Default: [`storage::Disk`]. Of no effect without a directory.
    pub fn storage(mut self, storage: impl Storage + 'static) -> Self {
        self.storage = Arc::new(storage);
        self
    }

    /// Opens the broker. In a directory: takes its lock, reads the catalog, and verifies every record.
    ///
    /// # Errors
    /// As [`Broker::open`](crate::Broker::open); [`Error::InvalidConfig`] for a durability that a broker
    /// without a directory cannot keep, or a `sync_interval` out of range.
    pub fn open(self) -> Result<Broker> {
        self.sync_interval.map_or(Ok(Duration::ZERO), checked_sync_interval)?;
        match &self.data_dir {
            Some(dir) => self.open_on_disk(dir),
            None if self.durability.is_some_and(|level| level > Durability::Memory) => {
                Err(Error::InvalidConfig {
                    setting: "durability",
                    value: format!("{:?}", self.durability.unwrap_or(Durability::Memory)),
                    allowed: "Memory, unless there is a data_dir".to_owned(),
                })
            }
            None => Ok(in_memory(self.clock)),
        }
    }

    fn open_on_disk(&self, dir: &Path) -> Result<Broker> {
        // The directory stays the same if the process changes its working directory.
        let dir = &std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
        let data_dir = Arc::new(DataDir::own(Arc::clone(&self.storage), dir)?);
        let (flush, requests) = FlushQueue::new();
        let reads = Arc::new(FileReads::default());
        let home = CatalogHome {
            data_dir: Arc::clone(&data_dir),
            clock: Arc::clone(&self.clock),
            flush: flush.clone(),
            reads: Arc::clone(&reads),
        };
        let mut defaults = TopicDefaults::on_disk();
        defaults.durability = self.durability.unwrap_or(defaults.durability);
        defaults.sync_interval =
            self.sync_interval.map_or(Ok(defaults.sync_interval), checked_sync_interval)?;
        let (catalog, opened) = Catalog::open(home, defaults)?;
        let log = Arc::clone(catalog.committed_offsets_topic()?.partition(0)?);
        let committed = CommittedOffsets::open(log, Arc::clone(&self.clock))?;
        let lowered_commits = lower_commits(&catalog, &committed)?;
        let flusher = flusher::start(requests).map_err(Error::io("start the flusher of", dir))?;
        Ok(Broker {
            inner: Arc::new(Inner {
                catalog: Arc::new(catalog),
                coordinator: Arc::new(Coordinator::new(committed)),
                clock: Arc::clone(&self.clock),
                recovery_report: RecoveryReport {
                    torn_tails: opened.torn_tails,
                    lowered_commits,
                    unremoved_topics: opened.left,
                },
                closed: AtomicBool::new(false),
                closing: Mutex::default(),
                disk: Some(Disk { data_dir, flush, reads, flusher: Mutex::new(Some(flusher)) }),
            }),
        })
    }
}

pub(super) fn in_memory(clock: Arc<dyn Clock>) -> Broker {
    let committed = CommittedOffsets::in_memory(Arc::clone(&clock));
    Broker {
        inner: Arc::new(Inner {
            catalog: Arc::new(Catalog::in_memory()),
            coordinator: Arc::new(Coordinator::new(committed)),
            clock,
            recovery_report: RecoveryReport::default(),
            closed: AtomicBool::new(false),
            closing: Mutex::default(),
            disk: None,
        }),
    }
}

pub(super) fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A commit beyond the end of its partition (the records were lost, or lived in memory) would make a group
/// miss records that are yet to be sent: it is lowered to the end.
fn lower_commits(catalog: &Catalog, committed: &CommittedOffsets) -> Result<Vec<LoweredCommit>> {
    let topics = catalog.topics();
    let mut lowered = Vec::new();
    for group in committed.groups() {
        let commits = committed.of_group(&group).into_iter();
        let beyond = commits.filter_map(|commit| {
            let topic = topics.iter().find(|topic| topic.id() == commit.topic_id)?;
            lowered_commit(&group, commit, topic)
        });
        let beyond: Vec<(Commit, LoweredCommit)> = beyond.collect();
        let corrected: Vec<Commit> = beyond.iter().map(|(corrected, _)| corrected.clone()).collect();
        committed.commit(&group, &corrected)?;
        lowered.extend(beyond.into_iter().map(|(_, report)| report));
    }
    if !lowered.is_empty() {
        // Before anything is appended: were the lowering lost later, the group would miss what comes now.
        committed.sync()?;
    }
    Ok(lowered)
}

fn lowered_commit(group: &str, commit: Commit, topic: &Topic) -> Option<(Commit, LoweredCommit)> {
    let end_offset = topic.partition(commit.partition).ok()?.end_offset();
    if commit.offset <= end_offset {
        return None;
    }
    let report = LoweredCommit {
        group: group.to_owned(),
        partition: TopicPartition::new(&**topic.name(), commit.partition),
        committed: commit.offset,
        lowered_to: end_offset,
    };
    Some((Commit { offset: end_offset, ..commit }, report))
}

impl fmt::Debug for BrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerBuilder")
            .field("data_dir", &self.data_dir)
            .field("durability", &self.durability)
            .field("sync_interval", &self.sync_interval)
            .field("clock", &self.clock)
            .field("storage", &self.storage)
            .finish()
    }
}
