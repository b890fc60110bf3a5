//! A broker that is open while syncs fail, with those who send to it; and what its errors mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ottla::storage::Storage;
use ottla::{Broker, Durability, Error, Raw, TopicConfig};

use super::faults::{EMFILE, Faults};
use super::ledger::{Fate, Found, Ledger, PARTITIONS, PLACES, topic_of};
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;
use crate::power::found::name_of;
use crate::power::ledger::within;
use crate::sim::disk::SimDisk;

/// One that syncs each record, and one that does not.
pub(crate) const TOPICS: [(&str, Durability); 2] =
    [("safe", Durability::PowerLoss), ("quick", Durability::ProcessCrash)];
/// One that has no files.
pub(crate) const IN_MEMORY: &str = "brief";
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

/// How brokers are opened in a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) commit_level: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) segment_bytes: u64,
}

impl Habits {
    pub(crate) fn choose(random: &mut Random) -> Self {
        let milliseconds = random.pick(&[1, 1, 3]);
        let syncs_itself = !random.one_in(3);
        Self {
            commit_level: random.pick(&[Durability::ProcessCrash, Durability::PowerLoss]),
            sync_interval: if syncs_itself { Duration::from_millis(milliseconds) } else { NEVER },
            segment_bytes: 4096,
        }
    }
}

/// What all who work with a broker share.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) broker: Broker,
    pub(crate) habits: Habits,
    pub(crate) ledger: &'a Mutex<Ledger>,
    pub(crate) faults: &'a Faults,
    /// If the power can go.
    pub(crate) sim: Option<SimDisk>,
    /// Who has it may hold up a sync.
    pub(crate) gate: Mutex<()>,
}

pub(crate) fn group(number: u64) -> String {
    format!("audit-{number}")
}

/// Opens a directory, and makes what is not there yet.
pub(crate) fn open(
    storage: impl Storage + 'static,
    dir: impl AsRef<Path>,
    habits: &Habits,
) -> Result<Broker, Failure> {
    let broker = Broker::builder().storage(storage).data_dir(dir).durability(habits.commit_level);
    let broker = broker.sync_interval(habits.sync_interval).open().map_err(unexpected("open"))?;
    for (topic, level) in TOPICS {
        let config = TopicConfig::new().partitions(PARTITIONS).durability(level);
        let config = config.segment_bytes(habits.segment_bytes);
        broker.open_topic(topic, config).map_err(unexpected("open a topic"))?;
    }
    let config = TopicConfig::new().durability(Durability::Memory);
    broker.open_topic(IN_MEMORY, config).map_err(unexpected("open a topic"))?;
    Ok(broker)
}

/// All that a broker holds.
pub(crate) fn read(broker: &Broker, groups: &[u64]) -> Result<Found, Failure> {
    let mut found = Found::default();
    for (number, (topic, _)) in TOPICS.into_iter().enumerate() {
        read_topic(broker, topic, &mut found.logs[number * PARTITIONS as usize..])?;
    }
    for number in groups {
        for (at, committed) in broker.committed_offsets(&group(*number)) {
            found.committed.insert((*number, place_of(&at.topic, at.partition)), committed.offset);
        }
    }
    Ok(found)
}

fn read_topic(
    broker: &Broker,
    topic: &str,
    logs: &mut [Vec<crate::common::name::Name>],
) -> Result<(), Failure> {
    let failed = unexpected("read a topic");
    let consumer = broker.consumer::<Raw, Raw>().assign(topic, 0..PARTITIONS).build();
    let mut consumer = consumer.map_err(&failed)?;
    loop {
        let records = consumer.poll(Duration::ZERO).map_err(&failed)?;
        if records.is_empty() {
            return Ok(());
        }
        for record in &records {
            let (log, offset) = (&mut logs[record.partition() as usize], record.offset());
            let place = format!("{topic}-{} at {offset}", record.partition());
            if offset != log.len() as u64 {
                return Err(Failure::new(Finding::Hole, format!("{place} comes after {}", log.len())));
            }
            let name = name_of(record.value_bytes().unwrap_or_default());
            log.push(name.map_err(|failure| within(failure, &place))?);
        }
    }
}

/// The number of a partition over all topics.
pub(crate) fn place_of(topic: &str, partition: u32) -> u32 {
    u32::from(topic != TOPICS[0].0) * PARTITIONS + partition
}

/// The directories of all partitions.
pub(crate) fn dirs() -> Vec<String> {
    let name = |place: u32| format!("{}-{}", TOPICS[topic_of(place)].0, place % PARTITIONS);
    (0..PLACES as u32).map(name).collect()
}

impl Scene<'_> {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_off(&self) -> bool {
        self.sim.as_ref().is_some_and(SimDisk::is_off)
    }

    /// What an error says of the records of a call. One that no fault is to blame for is a failure.
    pub(crate) fn judge(&self, what: &str, error: &Error) -> Result<Fate, Failure> {
        let fate = match error {
            Error::OutcomeUnknown { .. } => Fate::Unknown,
            Error::PartitionFailed { .. } | Error::StorageFull { .. } => Fate::Refused,
            // A directory that cannot be opened to be synced: a sync that was not tried, which has not failed.
            Error::Io { operation: "sync directory", source, .. }
                if source.raw_os_error() == Some(EMFILE) =>
            {
                Fate::Unknown
            }
            _ if self.is_off() => Fate::Unknown,
            other => return Err(Failure::new(Finding::WrongError, format!("{what}: {other}"))),
        };
        if !self.is_off() && !self.faults.failed().any() {
            return Err(Failure::new(Finding::NotResumed, format!("{what}, when nothing fails: {error}")));
        }
        Ok(fate)
    }

    /// The consumers' side works whatever fails.
    pub(crate) fn check_reads(&self) -> Result<(), Failure> {
        let found = read(&self.broker, &[])?;
        let mut ledger = self.ledger();
        for (place, names) in found.logs.into_iter().enumerate() {
            for (offset, name) in names.into_iter().enumerate() {
                ledger.see(place as u32, offset as u64, name)?;
            }
        }
        Ok(())
    }

    /// Offsets by the numbers of their partitions, for a commit.
    pub(crate) fn named(offsets: &BTreeMap<u32, u64>) -> Vec<(ottla::TopicPartition, u64)> {
        let name = |place: u32| ottla::TopicPartition::new(TOPICS[topic_of(place)].0, place % PARTITIONS);
        offsets.iter().map(|(place, offset)| (name(*place), *offset)).collect()
    }
}
