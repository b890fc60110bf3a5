//! What a broker holds when it has been opened, and whether it says that it is well.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ottla::storage::{OpenMode, Storage};
use ottla::{Broker, Raw, TornTail};

use super::ledger::{Found, Place, TOPICS, within};
use super::log_ledger::FoundLog;
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::sim::disk::SimDisk;

pub(crate) const DIR: &str = "/data";
pub(crate) const GROUP: &str = "audit";

/// Everything that a broker holds.
pub(crate) fn read(broker: &Broker) -> Result<Found, Failure> {
    let listed = broker.list_topics();
    let mut found = Found::default();
    for (number, topic) in TOPICS.into_iter().enumerate() {
        if listed.iter().any(|name| name == topic) {
            let described = broker.describe_topic(topic).map_err(unexpected("describe a topic"))?;
            let mut logs: Vec<FoundLog> = Vec::new();
            for partition in &described.partitions {
                let (start, end) = (partition.start_offset as usize, partition.end_offset as usize);
                logs.push(FoundLog { start, end, records: Vec::new() });
            }
            read_topic(broker, topic, &mut logs)?;
            found.topics[number] = Some((described.durability, logs));
        }
    }
    found.committed = committed(broker)?;
    Ok(found)
}

fn committed(broker: &Broker) -> Result<BTreeMap<Place, u64>, Failure> {
    let mut committed = BTreeMap::new();
    for (place, offset) in broker.committed_offsets(GROUP) {
        let Some(topic) = TOPICS.iter().position(|topic| *topic == place.topic) else {
            return Err(Failure::new(Finding::Invented, format!("a commit in {place}")));
        };
        committed.insert((topic, place.partition), offset.offset);
    }
    Ok(committed)
}

fn read_topic(broker: &Broker, topic: &str, logs: &mut [FoundLog]) -> Result<(), Failure> {
    let failed = |error: ottla::Error| unexpected(&format!("read {topic}"))(error);
    let partitions = 0..logs.len() as u32;
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, partitions).build().map_err(failed)?;
    loop {
        let records = consumer.poll(Duration::ZERO).map_err(failed)?;
        if records.is_empty() {
            return Ok(());
        }
        for record in &records {
            let (partition, offset) = (record.partition(), record.offset());
            let log = &mut logs[partition as usize];
            let next = log.start + log.records.len();
            if offset != next as u64 {
                let what = format!("{topic}-{partition} has {offset} where {next} belongs");
                return Err(Failure::new(Finding::Hole, what));
            }
            let name = name_of(record.value_bytes().unwrap_or_default());
            let name =
                name.map_err(|failure| within(failure, &format!("{topic}-{partition} at {offset}")))?;
            log.records.push(name);
        }
    }
}

pub(crate) fn name_of(value: &[u8]) -> Result<Name, Failure> {
    Name::of_value(value).map_err(|wrong| Failure::new(Finding::WrongBytes, wrong))
}

/// Nothing is damaged, whatever was torn; and what was cut off is kept.
pub(crate) fn check_well(broker: &Broker, disk: &SimDisk) -> Result<(), Failure> {
    let (report, health) = (broker.recovery_report(), broker.health());
    if let Some(damage) = report.damaged.first() {
        return Err(Failure::new(Finding::Fenced, format!("nothing was damaged, and yet: {damage:?}")));
    }
    if let Some(fault) = health.partitions.first() {
        let what = format!("{} takes no records: {}", fault.partition, fault.error);
        return Err(Failure::new(Finding::Fenced, what));
    }
    let checkpoint = report.damaged_checkpoint.as_ref().or(report.unwritten_checkpoint.as_ref());
    if checkpoint.is_some() || !report.unremoved_topics.is_empty() || !health.ended_threads.is_empty() {
        return Err(Failure::new(Finding::WrongReport, format!("{report:?} {health:?}")));
    }
    // Commits that are lowered are written behind what was cut off.
    let has_grown =
        |tail: &TornTail| !report.lowered_commits.is_empty() && tail.partition.topic.starts_with("__");
    report.torn_tails.iter().try_for_each(|tail| check_kept(tail, has_grown(tail), disk))
}

/// The report of a torn tail says what was done.
fn check_kept(tail: &TornTail, has_grown: bool, disk: &SimDisk) -> Result<(), Failure> {
    let len = |path: &Path| disk.open(path, OpenMode::ReadOnly).and_then(|file| file.len()).unwrap_or(0);
    let kept = tail.kept_in.iter().chain(&tail.set_aside).map(|path| len(path)).sum::<u64>();
    // Zeros are not kept, nor is a file that has no header yet.
    let is_right = if tail.kept_in.is_some() { kept <= tail.bytes && kept > 0 } else { true };
    let is_cut = tail.position == 0 || has_grown || len(&tail.path) == tail.position;
    if is_right && is_cut {
        return Ok(());
    }
    let what = format!("{kept} bytes are kept, the file has {}: {tail:?}", len(&tail.path));
    Err(Failure::new(Finding::WrongReport, what))
}
