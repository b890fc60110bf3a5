//! The figures of a snapshot by their names in monitoring systems: one table, from which the OpenMetrics text
//! and what goes to a recorder are made.

use super::{PartitionStats, Stats};
use crate::broker::{GroupDescription, GroupPartition, GroupState};

/// What a figure does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rises while the broker is open.
    Counter,
    Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Integer(u64),
    Real(f64),
}

/// A figure, with its values for all that has it.
#[derive(Clone, Debug)]
pub(super) struct Family<'a> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample<'a>>,
}

#[derive(Clone, Debug)]
pub(super) struct Sample<'a> {
    pub(super) labels: Vec<(&'static str, Label<'a>)>,
    pub(super) value: Number,
}

/// The value of a label.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label<'a> {
    Text(&'a str),
    Number(u32),
}

/// A figure of a `T`; there is none if its value is `None`.
struct Definition<T: 'static> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> Option<Number>,
}

impl Family<'_> {
    /// The name says it.
    pub(super) fn unit(&self) -> Option<&'static str> {
        ["bytes", "seconds"]
            .into_iter()
            .find(|unit| self.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
    }

    /// What its samples are called.
    pub(super) fn suffix(&self) -> &'static str {
        if self.kind == Kind::Counter { "_total" } else { "" }
    }
}

impl Stats {
    /// All figures, in the order of the tables below.
    pub(super) fn families(&self) -> Vec<Family<'_>> {
        let broker = [(Vec::new(), self)];
        let partitions: Vec<_> = self
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |each| (topic, each)))
            .map(|(topic, each)| (place(&topic.name, each.partition), each))
            .collect();
        let groups: Vec<_> = self.groups.iter().map(|group| (vec![of_group(group)], group)).collect();
        let group_partitions: Vec<_> = self
            .groups
            .iter()
            .flat_map(|group| group.partitions.iter().map(move |(at, each)| (group, at, each)))
            .map(|(group, at, each)| {
                let mut labels = place(&at.topic, at.partition);
                labels.insert(0, of_group(group));
                (labels, each)
            })
            .collect();
        let broker = BROKER.iter().map(|figure| figure.family(&broker));
        let partitions = PARTITION.iter().map(|figure| figure.family(&partitions));
        let groups = GROUP.iter().map(|figure| figure.family(&groups));
        let group_partitions = GROUP_PARTITION.iter().map(|figure| figure.family(&group_partitions));
        broker.chain(partitions).chain(groups).chain(group_partitions).collect()
    }
}

type Labels<'a> = Vec<(&'static str, Label<'a>)>;

fn place(topic: &str, partition: u32) -> Labels<'_> {
    vec![("topic", Label::Text(topic)), ("partition", Label::Number(partition))]
}

fn of_group(group: &GroupDescription) -> (&'static str, Label<'_>) {
    ("group", Label::Text(&group.name))
}

impl<T> Definition<T> {
    fn family<'a>(&self, all: &[(Labels<'a>, &'a T)]) -> Family<'a> {
        let samples = all.iter().filter_map(|(labels, of)| {
            let value = (self.value)(of)?;
            Some(Sample { labels: labels.clone(), value })
        });
        Family { name: self.name, kind: self.kind, help: self.help, samples: samples.collect() }
    }
}

const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Number>,
) -> Definition<T> {
    Definition { name, kind: Kind::Counter, help, value }
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<Number>) -> Definition<T> {
    Definition { name, kind: Kind::Gauge, help, value }
}

#[expect(clippy::unnecessary_wraps, reason = "as the tables want it")]
fn integer(number: impl Into<u64>) -> Option<Number> {
    Some(Number::Integer(number.into()))
}

#[expect(clippy::unnecessary_wraps, reason = "as the tables want it")]
fn real(number: f64) -> Option<Number> {
    Some(Number::Real(number))
}

fn seconds(time: impl Into<Option<std::time::Duration>>) -> Option<Number> {
    real(time.into().map_or(0.0, |time| time.as_secs_f64()))
}

/// Of the broker as a whole.
const BROKER: [Definition<Stats>; 15] = [
    gauge("ottla_uptime_seconds", "How long ago the broker was opened.", |all| seconds(all.uptime)),
    counter("ottla_syncs", "Syncs of logs, those that failed among them.", |all| integer(all.syncs.count)),
    counter("ottla_sync_failures", "Syncs that failed.", |all| integer(all.syncs.failures)),
    counter("ottla_sync_seconds", "How long all syncs took together.", |all| seconds(all.syncs.total)),
    gauge("ottla_sync_mean_seconds", "How long a sync took on average.", |all| seconds(all.syncs.mean())),
    gauge("ottla_sync_max_seconds", "How long the longest sync took.", |all| seconds(all.syncs.max)),
    gauge("ottla_sync_p50_seconds", "Half of the syncs took no longer.", |all| seconds(all.syncs.p50)),
    gauge("ottla_sync_p99_seconds", "Of a hundred syncs 99 took no longer.", |all| seconds(all.syncs.p99)),
    gauge(
        "ottla_oldest_unsynced_seconds",
        "How long the oldest record waits for a sync; 0 if all is synced.",
        |all| seconds(all.oldest_unsynced),
    ),
    gauge("ottla_recovery_partitions", "Partitions that were opened in the directory.", |all| {
        integer(all.recovery.partitions)
    }),
    gauge("ottla_recovery_scanned_bytes", "Bytes of logs that opening read and verified.", |all| {
        integer(all.recovery.scanned_bytes)
    }),
    gauge("ottla_recovery_torn_tails", "Logs whose end was cut off at opening.", |all| {
        integer(all.recovery.torn_tails)
    }),
    gauge("ottla_recovery_torn_bytes", "Bytes that were cut off at opening.", |all| {
        integer(all.recovery.torn_bytes)
    }),
    gauge("ottla_recovery_damaged", "Places that opening found damaged.", |all| {
        integer(all.recovery.damaged)
    }),
    gauge(
        "ottla_recovery_lowered_commits",
        "Commits that opening lowered to the end of their partition.",
        |all| integer(all.recovery.lowered_commits),
    ),
];

/// Of each partition, by topic and number.
const PARTITION: [Definition<PartitionStats>; 23] = [
    gauge("ottla_start_offset", "The first offset that is kept.", |log| integer(log.start_offset)),
    gauge("ottla_end_offset", "The offset behind the last readable record.", |log| integer(log.end_offset)),
    counter("ottla_appended_records", "Records that were appended.", |log| integer(log.appended.records)),
    counter("ottla_appended_bytes", "Bytes of the records that were appended.", |log| {
        integer(log.appended.bytes)
    }),
    gauge("ottla_appended_records_per_second", "Records appended per second.", |log| {
        real(log.appended.records_per_second)
    }),
    gauge("ottla_appended_bytes_per_second", "Bytes appended per second.", |log| {
        real(log.appended.bytes_per_second)
    }),
    counter("ottla_fetched_records", "Records that polls returned.", |log| integer(log.fetched.records)),
    counter("ottla_fetched_bytes", "Bytes of the records that polls returned.", |log| {
        integer(log.fetched.bytes)
    }),
    gauge("ottla_fetched_records_per_second", "Records returned by polls per second.", |log| {
        real(log.fetched.records_per_second)
    }),
    gauge("ottla_fetched_bytes_per_second", "Bytes returned by polls per second.", |log| {
        real(log.fetched.bytes_per_second)
    }),
    gauge("ottla_log_bytes", "Bytes of the log: of its files, or in memory.", |log| integer(log.log_bytes)),
    gauge("ottla_memory_bytes", "Memory that holds records.", |log| integer(log.memory_bytes)),
    gauge("ottla_segments", "Files of the log.", |log| integer(log.segments as u64)),
    gauge(
        "ottla_unsynced_seconds",
        "How long the oldest record waits for a sync; 0 if all is synced.",
        |log| seconds(log.oldest_unsynced),
    ),
    gauge("ottla_partition_failed", "1 if the partition takes no records, otherwise 0.", |log| {
        integer(log.fault.is_some())
    }),
    counter("ottla_retained_out_records", "Records that retention removed.", |log| {
        integer(log.upkeep.retained_out_records)
    }),
    counter("ottla_retained_out_bytes", "Bytes that retention removed.", |log| {
        integer(log.upkeep.retained_out_bytes)
    }),
    counter("ottla_dropped_records", "Records dropped at the bound of memory.", |log| {
        integer(log.upkeep.dropped_records)
    }),
    counter("ottla_dropped_bytes", "Bytes dropped at the bound of memory.", |log| {
        integer(log.upkeep.dropped_bytes)
    }),
    counter("ottla_compactions", "How often the log was compacted.", |log| integer(log.upkeep.compactions)),
    counter("ottla_compacted_records", "Records that compaction removed.", |log| {
        integer(log.upkeep.compacted_records)
    }),
    counter("ottla_compacted_bytes", "Bytes that compaction removed.", |log| {
        integer(log.upkeep.compacted_bytes)
    }),
    counter("ottla_compacted_tombstones", "Tombstones that compaction removed.", |log| {
        integer(log.upkeep.compacted_tombstones)
    }),
];

/// Of each group.
const GROUP: [Definition<GroupDescription>; 3] = [
    gauge("ottla_group_members", "Members of the group.", |group| integer(group.members.len() as u64)),
    gauge("ottla_group_rebalancing", "1 while partitions change hands, otherwise 0.", |group| {
        integer(group.state == GroupState::Rebalancing)
    }),
    gauge("ottla_group_lag", "Offsets that the group is behind, over all partitions.", |group| {
        integer(group.lag())
    }),
];

/// Of each group and each of its partitions.
const GROUP_PARTITION: [Definition<GroupPartition>; 2] = [
    gauge("ottla_group_committed_offset", "The first offset that the group has not processed.", |each| {
        each.committed.and_then(integer)
    }),
    gauge("ottla_group_partition_lag", "Offsets that the group is behind.", |each| integer(each.lag)),
];
