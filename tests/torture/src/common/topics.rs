//! The topics that the modes with real files use, and what is read from them.

use std::time::Duration;

use ottla::{Broker, Durability, Raw, TopicConfig, TopicPartition};

use super::ledger::Contents;
use super::name::Name;
use super::outcome::{Failure, Finding};
use super::process::unexpected;
use super::shared::PARTITIONS;

/// Topics, their levels and partitions. Partitions are counted over all of them.
pub(crate) const TOPICS: [(&str, Durability, u32); 2] =
    [("orders", Durability::ProcessCrash, 2), ("ledger", Durability::PowerLoss, 2)];

pub(crate) const GROUP: &str = "audit";

/// The topic that holds a partition, and the partition's number there.
pub(crate) fn home(partition: usize) -> (&'static str, u32) {
    let per_topic = PARTITIONS / TOPICS.len();
    (TOPICS[partition / per_topic].0, (partition % per_topic) as u32)
}

/// The number of a partition over all topics.
pub(crate) fn partition_of(topic: &str, partition: u32) -> Option<usize> {
    let topic = TOPICS.iter().position(|(name, _, _)| *name == topic)?;
    Some(topic * (PARTITIONS / TOPICS.len()) + partition as usize)
}

/// Makes the topics, unless they are there.
pub(crate) fn open_topics(broker: &Broker, segment_bytes: u64) -> ottla::Result<()> {
    for (topic, level, partitions) in TOPICS {
        let config = TopicConfig::new().partitions(partitions).durability(level).segment_bytes(segment_bytes);
        broker.open_topic(topic, config.max_record_bytes(8 << 20))?;
    }
    Ok(())
}

/// In a log that nothing has damaged there are at most torn tails, and it takes records.
pub(crate) fn healthy(broker: &Broker) -> Result<(), Failure> {
    let (report, health) = (broker.recovery_report(), broker.health());
    if let Some(damage) = report.damaged.first() {
        return Err(Failure::new(Finding::Fenced, format!("nothing was damaged, and yet: {damage:?}")));
    }
    if let Some(fault) = health.partitions.first() {
        return Err(Failure::new(
            Finding::Fenced,
            format!("{} takes no records: {}", fault.partition, fault.error),
        ));
    }
    if !report.lowered_commits.is_empty() {
        let what = format!("commits were lowered: {:?}", report.lowered_commits);
        return Err(Failure::new(Finding::Lost, what));
    }
    if report.damaged_checkpoint.is_some() || !health.ended_threads.is_empty() {
        return Err(Failure::new(Finding::WrongReport, format!("{report:?} {health:?}")));
    }
    Ok(())
}

/// Everything that a broker holds, and what the group has committed. A topic that is not there has no
/// records: the process died before it was made.
pub(crate) fn read(broker: &Broker) -> Result<Contents, Failure> {
    let mut contents = Contents::default();
    let listed = broker.list_topics();
    for (partition, names) in contents.partitions.iter_mut().enumerate() {
        let (topic, number) = home(partition);
        if listed.iter().any(|name| name == topic) {
            *names = read_partition(broker, topic, number)?;
        }
    }
    for (place, committed) in broker.committed_offsets(GROUP) {
        match partition_of(&place.topic, place.partition) {
            Some(partition) => contents.committed[partition] = Some(committed.offset),
            None => return Err(Failure::new(Finding::Invented, format!("a commit in {place}"))),
        }
    }
    Ok(contents)
}

fn read_partition(broker: &Broker, topic: &str, number: u32) -> Result<Vec<Name>, Failure> {
    let place = TopicPartition::new(topic, number);
    let failed = unexpected("reading a partition");
    let consumer = broker.consumer::<Raw, Raw>().assign(topic, [number]).build();
    let mut consumer = consumer.map_err(&failed)?;
    let mut names = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO).map_err(&failed)?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            let offset = record.offset();
            if offset != names.len() as u64 {
                let what = format!("offset {offset} of {place} comes after {} records", names.len());
                return Err(Failure::new(Finding::Hole, what));
            }
            let name = Name::of_value(record.value_bytes().unwrap_or_default()).map_err(|wrong| {
                Failure::new(Finding::WrongBytes, format!("offset {offset} of {place}: {wrong}"))
            })?;
            names.push(name);
        }
    }
    let end = consumer.end_offsets().get(&place).copied().unwrap_or(0);
    if end != names.len() as u64 {
        let what = format!("{place} ends at {end}, and has {} records to read", names.len());
        return Err(Failure::new(Finding::Lost, what));
    }
    Ok(names)
}
