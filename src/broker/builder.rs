//! Opening a broker: its settings, and the order in which its parts come to life.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::flusher;
use super::housekeeper::{DEFAULT_INTERVAL, Housekeeper};
use super::recovery_report::{LoweredCommit, RecoveryReport};
use super::stats::Samples;
use super::{Broker, Disk, Inner};
use crate::clock::{Clock, SystemClock};
use crate::config::{Durability, RecoveryPolicy, TopicDefaults, checked_sync_interval};
use crate::error::{Error, Result};
use crate::group::{Commit, CommittedOffsets, Coordinator, DEFAULT_RETENTION};
use crate::ids::TopicPartition;
use crate::log::{FileReads, FlushQueue, Keeper, Upkeep};
use crate::storage::{self, DataDir, Storage};
use crate::sync::{Arc, AtomicBool, Mutex};
use crate::topic::Topic;
use crate::topic::catalog::{Catalog, CatalogHome, Opening};
use crate::trace;

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
    recovery_policy: RecoveryPolicy,
    verify_on_open: bool,
    read_only: bool,
    offsets_retention: Duration,
    housekeeping_interval: Duration,
    clock: Arc<dyn Clock>,
    storage: Arc<dyn Storage>,
}

impl BrokerBuilder {
    pub(super) fn new() -> Self {
        Self {
            data_dir: None,
            durability: None,
            sync_interval: None,
            recovery_policy: RecoveryPolicy::Strict,
            verify_on_open: false,
            read_only: false,
            offsets_retention: DEFAULT_RETENTION,
            housekeeping_interval: DEFAULT_INTERVAL,
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

    /// What becomes of a partition that is found damaged. Default: [`RecoveryPolicy::Strict`], which changes
    /// nothing of it, and takes no records for it. Of no effect without a directory.
    pub fn recovery_policy(mut self, policy: RecoveryPolicy) -> Self {
        self.recovery_policy = policy;
        self
    }

    /// Whether opening reads and verifies every record, also those that are known to have been synced: then
    /// all damage is in the [report](Broker::recovery_report). Default: `false`; those are verified when they
    /// are read. Of no effect without a directory.
    pub fn verify_on_open(mut self, verify: bool) -> Self {
        self.verify_on_open = verify;
        self
    }

    /// Whether to open the directory without changing anything in it, and without the right to: to read what
    /// it holds, of which a torn tail is left out. Whatever would change something, a commit too, is answered
    /// with [`Error::ReadOnly`]. Several brokers may read a directory at a time, but none while another one
    /// owns it. Starts no thread until a future reads. Default: `false`. Of no effect without a directory.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::{Broker, Error, TopicConfig};
    ///
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let dir = dir.path();
    /// let broker = Broker::open(dir)?;
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// broker.close()?;
    ///
    /// let reader = Broker::builder().data_dir(dir).read_only(true).open()?;
    /// let mut consumer = reader.consumer::<String, u64>().topic("payments").build()?;
    /// assert_eq!(consumer.poll(Duration::ZERO)?.len(), 1);
    /// let refused = reader.producer::<String, u64>("payments")?.send("bob", 50);
    /// assert!(matches!(refused, Err(Error::ReadOnly { .. })));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How long the committed offsets of a group are kept after its last member has gone, or after its last
    /// commit by hand: 1 ms or more; [`Duration::MAX`] for ever. Then the group begins anew. While it has
    /// members they are kept, however long it does not commit. Default: 7 days. It goes by the broker's
    /// [`clock`](Self::clock). If the process was killed while the group had members, it counts from the next
    /// opening.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use ottla::{Broker, ManualClock, ResetTo, Timestamp, TopicConfig};
    ///
    /// let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let broker = Broker::builder().clock(Arc::clone(&clock)).offsets_retention(day).open()?;
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.reset_group("ledger", "payments", ResetTo::Latest)?;
    /// assert_eq!(broker.committed_offsets("ledger").len(), 1);
    /// clock.advance(day);
    /// assert!(broker.committed_offsets("ledger").is_empty());
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn offsets_retention(mut self, retention: Duration) -> Self {
        self.offsets_retention = retention;
        self
    }

    /// How often a background thread looks for records that topics do not keep any more, and for what is to
    /// be compacted: 1 ms or more. Default: 1 second. It also looks when a segment is full, and it is not
    /// there unless a topic has a [`Retention`](crate::Retention) or a [`Compaction`](crate::Compaction), or
    /// so many offsets are committed that they are worth compacting.
    ///
    /// [`Duration::MAX`] switches it off. Then it is done when
    /// [`run_housekeeping`](Broker::run_housekeeping) is called, and not otherwise.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use ottla::{Broker, ManualClock, Retention, Timestamp, TopicConfig};
    ///
    /// let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    /// let builder = Broker::builder().clock(Arc::clone(&clock)).housekeeping_interval(Duration::MAX);
    /// let broker = builder.open()?;
    /// broker.open_topic("payments", TopicConfig::new().retention(Retention::days(7)))?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// clock.advance(Duration::from_secs(8 * 86_400));
    /// assert_eq!(broker.run_housekeeping()?.deleted_records, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn housekeeping_interval(mut self, interval: Duration) -> Self {
        self.housekeeping_interval = interval;
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

    /// Opens the broker. In a directory: takes its lock, reads the catalog, and verifies the records that are
    /// not known to have been synced.
    ///
    /// # Errors
    /// As [`Broker::open`](crate::Broker::open); [`Error::InvalidConfig`] for a durability that a broker
    /// without a directory cannot keep, or a `sync_interval` out of range.
    pub fn open(self) -> Result<Broker> {
        self.sync_interval.map_or(Ok(Duration::ZERO), checked_sync_interval)?;
        for (setting, value) in [
            ("offsets_retention", self.offsets_retention),
            ("housekeeping_interval", self.housekeeping_interval),
        ] {
            if value < Duration::from_millis(1) {
                let (value, allowed) = (format!("{value:?}"), "1 ms or more".to_owned());
                return Err(Error::InvalidConfig { setting, value, allowed });
            }
        }
        match &self.data_dir {
            Some(dir) => self.open_on_disk(dir),
            None if self.durability.is_some_and(|level| level > Durability::Memory) => {
                Err(Error::InvalidConfig {
                    setting: "durability",
                    value: format!("{:?}", self.durability.unwrap_or(Durability::Memory)),
                    allowed: "Memory, unless there is a data_dir".to_owned(),
                })
            }
            None => Ok(in_memory(self.clock, self.offsets_retention, self.housekeeping_interval)),
        }
    }

    fn open_on_disk(&self, dir: &Path) -> Result<Broker> {
        // The directory stays the same if the process changes its working directory.
        let dir = &std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
        let _span = trace::opening(dir);
        let own = if self.read_only { DataDir::read } else { DataDir::own };
        let data_dir = Arc::new(own(Arc::clone(&self.storage), dir)?);
        let (flush, requests) = FlushQueue::new();
        let reads = Arc::new(FileReads::default());
        let upkeep = Arc::new(Upkeep::new(Arc::clone(&self.clock), self.offsets_retention));
        let home = CatalogHome {
            data_dir: Arc::clone(&data_dir),
            clock: Arc::clone(&self.clock),
            flush: flush.clone(),
            reads: Arc::clone(&reads),
            upkeep: Arc::clone(&upkeep),
            read_only: self.read_only,
        };
        let opening = Opening { policy: self.recovery_policy, everything: self.verify_on_open };
        let (catalog, opened) = Catalog::open(home, self.topic_defaults()?, opening)?;
        let mut report = RecoveryReport::of(opened);
        let committed = self.committed_offsets(&catalog)?;
        let flusher = if self.read_only {
            None
        } else {
            if let Err(error) = catalog.write_checkpoint() {
                report.unwritten_checkpoint = Some(error.to_string());
            }
            report.lowered_commits = lower_commits(&catalog, &committed)?;
            Some(flusher::start(requests).map_err(Error::io("start the flusher of", dir))?)
        };
        report.trace(catalog.topics().len());
        let disk = Some(Disk { data_dir, flush, reads, flusher: Mutex::new(flusher) });
        let (clock, interval) = (Arc::clone(&self.clock), self.housekeeping_interval);
        let mut inner = assemble(catalog, committed, &upkeep, clock, interval);
        (inner.recovery_report, inner.disk) = (report, disk);
        Ok(Broker { inner: Arc::new(inner) })
    }

    fn topic_defaults(&self) -> Result<TopicDefaults> {
        let mut defaults = TopicDefaults::on_disk();
        defaults.durability = self.durability.unwrap_or(defaults.durability);
        defaults.sync_interval =
            self.sync_interval.map_or(Ok(defaults.sync_interval), checked_sync_interval)?;
        Ok(defaults)
    }

    fn committed_offsets(&self, catalog: &Catalog) -> Result<CommittedOffsets> {
        let (clock, retention) = (Arc::clone(&self.clock), self.offsets_retention);
        let log = catalog.committed_offsets_topic().and_then(|topic| topic.partition(0).cloned());
        match log {
            // Nothing was ever committed, or it was before there was anything to commit to.
            Err(Error::TopicNotFound { .. }) if self.read_only => {
                CommittedOffsets::read_only(None, clock, retention)
            }
            log if self.read_only => CommittedOffsets::read_only(Some(log?), clock, retention),
            log => CommittedOffsets::open(log?, clock, retention),
        }
    }
}

pub(super) fn in_memory(clock: Arc<dyn Clock>, offsets_retention: Duration, interval: Duration) -> Broker {
    let committed = CommittedOffsets::in_memory(Arc::clone(&clock), offsets_retention);
    let upkeep = Arc::new(Upkeep::new(Arc::clone(&clock), offsets_retention));
    let catalog = Catalog::in_memory(Arc::clone(&upkeep));
    Broker { inner: Arc::new(assemble(catalog, committed, &upkeep, clock, interval)) }
}

/// A broker in memory of these parts, with a housekeeper that looks after them.
fn assemble(
    catalog: Catalog,
    committed: CommittedOffsets,
    upkeep: &Arc<Upkeep>,
    clock: Arc<dyn Clock>,
    interval: Duration,
) -> Inner {
    let committed = committed.make_room_in(upkeep);
    let (catalog, coordinator) = (Arc::new(catalog), Arc::new(Coordinator::new(committed)));
    let housekeeper = Housekeeper::new(interval);
    upkeep.set_keeper(Arc::clone(&housekeeper) as Arc<dyn Keeper>);
    housekeeper.begin(&catalog, &coordinator);
    Inner {
        catalog,
        coordinator,
        housekeeper,
        clock,
        recovery_report: RecoveryReport::default(),
        samples: Mutex::new(Samples::new()),
        closed: AtomicBool::new(false),
        closing: Mutex::default(),
        disk: None,
    }
}

pub(super) fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A commit beyond the end of its partition (the records were lost, or lived in memory) would make a group
/// miss records that are yet to be sent: it is lowered to the end.
///
/// If that cannot be written, because the log of commits is fenced, no commit can be: the group begins beyond
/// the end, and is told.
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
        match committed.commit(&group, &corrected) {
            Err(Error::PartitionFenced { .. }) => continue,
            outcome => outcome?,
        }
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
            .field("recovery_policy", &self.recovery_policy)
            .field("verify_on_open", &self.verify_on_open)
            .field("read_only", &self.read_only)
            .field("offsets_retention", &self.offsets_retention)
            .field("housekeeping_interval", &self.housekeeping_interval)
            .field("clock", &self.clock)
            .field("storage", &self.storage)
            .finish()
    }
}
