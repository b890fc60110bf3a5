//! What happens in a broker, in numbers: a snapshot of them, and how it is gathered. What it looks like as
//! text and for a monitoring system is in [`table`], [`openmetrics`] and [`recorder`].

mod figures;
mod openmetrics;
mod rates;
#[cfg(feature = "metrics")]
mod recorder;
mod table;

use std::time::Duration;

use super::{Broker, GroupDescription, RecoveryReport};
use crate::config::Durability;
use crate::ids::COMMITTED_OFFSETS_TOPIC;
use crate::log::{Amount, Counters, LogStats, PartitionLog, SyncTimesSeen};
use crate::sync::{Arc, Instant};
use crate::topic::Topic;

pub(super) use rates::Samples;

/// What happens in a broker, at one moment: from [`Broker::stats`].
///
/// Printed, it is a table to read in a terminal. [`to_openmetrics`](Self::to_openmetrics) makes the text of
/// it that monitoring systems scrape. With the feature `metrics`, `record` hands it to the recorder of the
/// crate of that name.
///
/// Numbers of records and bytes count from when the broker was opened, and of one partition they are
/// consistent; those of another are from a moment later. Bytes are those that records take in the log, so
/// with key, value, headers and the overhead of each; on disk also with the marks, 48 bytes for each sync,
/// that say how far it is synced.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").max_records(1).build()?;
/// consumer.poll(Duration::ZERO)?;
///
/// let stats = broker.stats();
/// let partition = &stats.topics[0].partitions[0];
/// assert_eq!((partition.appended.records, partition.fetched.records), (2, 1));
/// println!("{stats}");
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// How long ago the broker was opened.
    pub uptime: Duration,
    /// The time over which all rates are averages: that since an earlier snapshot of this broker which is a
    /// second old or more, as a rule the latest one; since the broker was opened if there is none.
    pub rate_window: Duration,
    /// The topics that users made, by name.
    pub topics: Vec<TopicStats>,
    /// The groups that have members or have committed something, by name.
    pub groups: Vec<GroupDescription>,
    /// The syncs of all files of logs.
    pub syncs: SyncStats,
    /// How long the oldest record or commit that is not synced has waited for a sync, over everything that is
    /// on disk; `None` if all is synced. What a power loss could take is not older than this.
    pub oldest_unsynced: Option<Duration>,
    /// What opening the directory found and mended.
    pub recovery: RecoveryStats,
    /// What was removed from all these topics.
    pub upkeep: UpkeepStats,
}

/// A topic in numbers, as part of [`Stats`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopicStats {
    /// The name.
    pub name: String,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// The partitions, by number.
    pub partitions: Vec<PartitionStats>,
}

/// A partition in numbers, as part of [`TopicStats`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartitionStats {
    /// The number, from 0.
    pub partition: u32,
    /// The first offset that is kept.
    pub start_offset: u64,
    /// The offset behind the last readable record.
    pub end_offset: u64,
    /// What was appended since the broker was opened, as far as it can be read.
    pub appended: Traffic,
    /// What polls of all consumers returned since the broker was opened. A record counts as often as it is
    /// polled. What tables read is not in it.
    pub fetched: Traffic,
    /// What the log takes: of a topic on disk the bytes of its files, of one in memory those of the memory
    /// that it has taken for records, part of which is still free.
    pub log_bytes: u64,
    /// The memory that holds records. Of a topic on disk it is the end of the log, where readers that keep up
    /// find it; nothing when it was not written to for two seconds.
    pub memory_bytes: u64,
    /// How many files the log consists of; 0 in memory.
    pub segments: usize,
    /// How long the oldest record that is not synced has waited for a sync; `None` if all is synced, and in
    /// memory.
    pub oldest_unsynced: Option<Duration>,
    /// Why it takes no records, for now or until the broker is opened again; `None` if it does. It is the
    /// error of [`Broker::health`].
    pub fault: Option<String>,
    /// What was removed from it.
    pub upkeep: UpkeepStats,
}

/// Records and bytes that went one way, as part of [`PartitionStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Traffic {
    /// Records since the broker was opened.
    pub records: u64,
    /// Their bytes in the log.
    pub bytes: u64,
    /// Average over [`Stats::rate_window`].
    pub records_per_second: f64,
    /// Average over [`Stats::rate_window`].
    pub bytes_per_second: f64,
}

/// What was removed by itself since the broker was opened, as part of [`Stats`] and [`PartitionStats`].
/// Records that [`Broker::delete_records`] removes are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpkeepStats {
    /// Records that were removed by their topic's [`Retention`](crate::Retention).
    pub retained_out_records: u64,
    /// Their bytes.
    pub retained_out_bytes: u64,
    /// Records of a topic in memory that were dropped at its `memory_limit`.
    pub dropped_records: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// How often logs were compacted.
    pub compactions: u64,
    /// Records that [`Compaction`](crate::Compaction) removed, tombstones among them.
    pub compacted_records: u64,
    /// Their bytes.
    pub compacted_bytes: u64,
    /// The tombstones among them.
    pub compacted_tombstones: u64,
}

/// The syncs of a broker since it was opened, as part of [`Stats`]. Nothing in memory.
///
/// One sync makes a log's files safe, however many records wait for it, and however many files those are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncStats {
    /// How many there were, those that failed among them.
    pub count: u64,
    /// How many failed. What such a sync may have lost is written again.
    pub failures: u64,
    /// How long all of them took together.
    pub total: Duration,
    /// How long the longest one took.
    pub max: Duration,
    /// Half of them took no longer. Times are counted by powers of two of a microsecond, so it may be up to
    /// twice as long as it has to be, or a microsecond.
    pub p50: Duration,
    /// Of a hundred syncs 99 took no longer; as exact as `p50`.
    pub p99: Duration,
}

/// What opening a directory found and mended, as part of [`Stats`]: the numbers of
/// [`Broker::recovery_report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryStats {
    /// How many partitions were opened.
    pub partitions: u64,
    /// How many bytes of their logs were read and verified.
    pub scanned_bytes: u64,
    /// How many logs ended with bytes that were no whole record, and were cut there.
    pub torn_tails: u64,
    /// How many bytes were cut off with them.
    pub torn_bytes: u64,
    /// How many places of logs are damaged.
    pub damaged: u64,
    /// How many commits were beyond the end of their partition, and were lowered to it.
    pub lowered_commits: u64,
}

impl Broker {
    /// What happens in this broker, in numbers: see [`Stats`]. It costs about a microsecond for each
    /// partition, does no I/O and waits for none; each partition is locked for a moment, one after the other.
    /// To be asked as often as a person or a monitoring system looks, every second, say.
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new().partitions(2))?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let stats = broker.stats();
    /// let sent: u64 = stats.topics[0].partitions.iter().map(|each| each.appended.records).sum();
    /// assert_eq!((sent, stats.groups.len(), stats.oldest_unsynced), (1, 0, None));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &*self.inner;
        let all = inner.catalog.all_topics();
        let seen: Vec<(Arc<Topic>, Vec<LogStats>)> = all
            .into_iter()
            .map(|topic| {
                let logs = topic.partitions().map(|log| log.stats()).collect();
                (topic, logs)
            })
            .collect();
        let now = Instant::now();
        let since = seen.iter().flat_map(|(_, logs)| logs).filter_map(|log| log.unsynced_since).min();
        let mut topics: Vec<(u64, TopicStats)> = seen
            .iter()
            .filter(|(topic, _)| &**topic.name() != COMMITTED_OFFSETS_TOPIC)
            .map(|(topic, logs)| (topic.id(), TopicStats::of(topic, logs, now)))
            .collect();
        let window = inner.samples.lock().rate(now, &mut topics);
        let topics: Vec<TopicStats> = topics.into_iter().map(|(_, topic)| topic).collect();
        let mut upkeep = UpkeepStats::default();
        topics.iter().flat_map(|topic| &topic.partitions).for_each(|each| upkeep.add(&each.upkeep));
        let syncs = inner.disk.as_ref().map(|disk| SyncStats::of(&disk.flush.times().seen()));
        Stats {
            uptime: window.uptime,
            rate_window: window.rate_window,
            groups: self.groups(),
            syncs: syncs.unwrap_or_default(),
            oldest_unsynced: since.map(|since| now.saturating_duration_since(since)),
            recovery: RecoveryStats::of(&inner.recovery_report),
            upkeep,
            topics,
        }
    }
}

impl TopicStats {
    fn of(topic: &Topic, logs: &[LogStats], now: Instant) -> Self {
        let partitions = topic.partitions().zip(logs).map(|(log, seen)| PartitionStats::of(log, seen, now));
        Self {
            name: topic.name().to_string(),
            durability: topic.settings().durability,
            partitions: partitions.collect(),
        }
    }
}

impl PartitionStats {
    /// Without rates.
    fn of(log: &PartitionLog, seen: &LogStats, now: Instant) -> Self {
        Self {
            partition: log.identity().partition,
            start_offset: seen.start_offset,
            end_offset: seen.end_offset,
            appended: Traffic::of(seen.appended),
            fetched: Traffic::of(seen.fetched),
            log_bytes: seen.log_bytes,
            memory_bytes: seen.memory_bytes,
            segments: seen.segments,
            oldest_unsynced: seen.unsynced_since.map(|since| now.saturating_duration_since(since)),
            fault: log.fault().map(|fault| fault.to_string()),
            upkeep: UpkeepStats::of(log.counters()),
        }
    }
}

impl Traffic {
    fn of(amount: Amount) -> Self {
        Self { records: amount.records, bytes: amount.bytes, ..Self::default() }
    }
}

impl UpkeepStats {
    fn of(counters: &Counters) -> Self {
        Self {
            retained_out_records: counters.retained_out_records.get(),
            retained_out_bytes: counters.retained_out_bytes.get(),
            dropped_records: counters.dropped_records.get(),
            dropped_bytes: counters.dropped_bytes.get(),
            compactions: counters.compactions.get(),
            compacted_records: counters.compacted_records.get(),
            compacted_bytes: counters.compacted_bytes.get(),
            compacted_tombstones: counters.compacted_tombstones.get(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.retained_out_records += other.retained_out_records;
        self.retained_out_bytes += other.retained_out_bytes;
        self.dropped_records += other.dropped_records;
        self.dropped_bytes += other.dropped_bytes;
        self.compactions += other.compactions;
        self.compacted_records += other.compacted_records;
        self.compacted_bytes += other.compacted_bytes;
        self.compacted_tombstones += other.compacted_tombstones;
    }
}

impl SyncStats {
    fn of(seen: &SyncTimesSeen) -> Self {
        Self {
            count: seen.count(),
            failures: seen.failures,
            total: seen.total,
            max: seen.longest,
            p50: seen.percentile(50),
            p99: seen.percentile(99),
        }
    }

    /// How long one took on average; zero if there were none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let broker = ottla::Broker::open(dir.path())?;
    /// broker.open_topic("payments", ottla::TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// producer.send("alice", 200)?;
    /// producer.flush()?;
    /// let syncs = broker.stats().syncs;
    /// assert!(syncs.count >= 1 && syncs.mean() <= syncs.max);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.total.as_nanos().checked_div(u128::from(self.count)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl RecoveryStats {
    fn of(report: &RecoveryReport) -> Self {
        Self {
            partitions: report.partitions as u64,
            scanned_bytes: report.scanned_bytes,
            torn_tails: report.torn_tails.len() as u64,
            torn_bytes: report.torn_tails.iter().map(|tail| tail.bytes).sum(),
            damaged: report.damaged.len() as u64,
            lowered_commits: report.lowered_commits.len() as u64,
        }
    }
}
