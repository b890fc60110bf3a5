//! What is chosen for a directory: the topic's settings, and the records that are sent to it.

use std::path::Path;
use std::time::Duration;

use ottla::storage::Storage;
use ottla::{Broker, Compaction, Durability, Raw, Record, TopicConfig};

use super::model::{Found, Model, Rules};
use crate::common::log_files::{self, LogFiles};
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;
use crate::common::sent::Sent;

pub(crate) const TOPIC: &str = "latest";
const MOST_PARTITIONS: u64 = 3;
const MOST_IN_A_BATCH: u64 = 6;

/// The settings of a topic, and who its keys are.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) partitions: u32,
    level: Durability,
    segment_bytes: u64,
    compaction: Compaction,
    keys: u64,
    /// How often the smaller half of the keys is chosen.
    skew: u64,
    tombstone_percent: u64,
    most_bytes: u64,
}

impl Choice {
    /// With times of these lengths, in milliseconds; without `lags`, there are none.
    pub(crate) fn new(random: &mut Random, retentions: &[u64], lags: &[u64]) -> Self {
        let millis = |random: &mut Random, of: &[u64]| Duration::from_millis(random.pick(of));
        let mut compaction = Compaction::by_key()
            .min_dirty_percent(random.below(51) as u32)
            .delete_retention(millis(random, retentions));
        if !lags.is_empty() && random.one_in(3) {
            compaction = compaction.min_lag(millis(random, lags));
        }
        if !lags.is_empty() && random.one_in(3) {
            compaction = compaction.max_lag(millis(random, lags).max(Duration::from_millis(1)));
        }
        Self {
            partitions: 1 + random.below(MOST_PARTITIONS) as u32,
            level: random.pick(&[Durability::ProcessCrash, Durability::PowerLoss]),
            segment_bytes: random.range(4 << 10..(16 << 10) + 1),
            compaction,
            keys: random.pick(&[1, 2, 5, 12, 40, 200]),
            skew: random.below(4),
            tombstone_percent: random.pick(&[5, 20, 50]),
            most_bytes: random.pick(&[60, 300, 1_500]),
        }
    }

    pub(crate) fn syncs_each(&self) -> bool {
        self.level == Durability::PowerLoss
    }

    pub(crate) fn rules(&self) -> Rules {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let Compaction { delete_retention, min_lag, .. } = self.compaction;
        Rules { delete_retention: millis(delete_retention), min_lag: millis(min_lag) }
    }

    pub(crate) fn models(&self) -> Vec<Model> {
        (0..self.partitions).map(|_| Model::new(self.rules())).collect()
    }

    pub(crate) fn config(&self) -> TopicConfig {
        let config = TopicConfig::new().partitions(self.partitions).segment_bytes(self.segment_bytes);
        config.durability(self.level).compaction(self.compaction.clone())
    }

    /// The records of one call, which follow from the random numbers and how many records were sent before:
    /// that is what their timestamps say, so no two have the same.
    pub(crate) fn records(&self, random: &mut Random, partition: u32, serial: &mut u64) -> Vec<Sent> {
        let is_batch = random.one_in(3);
        let count = if is_batch { 2 + random.below(MOST_IN_A_BATCH - 1) } else { 1 };
        let (unit, of) = (*serial, count as u32);
        let record = |number| {
            let key = self.key(random);
            let len = Name::BYTES as u32 + random.up_to_any_size(self.most_bytes) as u32;
            let name = Name { sender: 0, partition, unit, number, of, len };
            let is_tombstone = random.below(100) < self.tombstone_percent;
            let value = match random.below(100) {
                _ if is_tombstone => None,
                // Empty, and no tombstone.
                0 => Some(Vec::new()),
                _ => Some(name.value()),
            };
            let headers = (0..random.below(12).saturating_sub(9)).map(|number| {
                (format!("h{number}"), (!random.one_in(4)).then(|| vec![number as u8; number as usize]))
            });
            let headers = headers.collect();
            *serial += 1;
            Sent { key: Some(key), value, headers, timestamp: serial.cast_signed() }
        };
        (0..of).map(record).collect()
    }

    /// One of them is empty, and no null.
    fn key(&self, random: &mut Random) -> Vec<u8> {
        let mut end = self.keys;
        for _ in 0..self.skew {
            if random.one_in(2) {
                end = end.div_ceil(2);
            }
        }
        match random.below(end) {
            0 => Vec::new(),
            number => format!("key {number}").into_bytes(),
        }
    }
}

/// The topic's partitions as their files say; none if there is no such topic yet.
pub(crate) fn read_files(storage: &dyn Storage, dir: &Path, topic: &str) -> Result<Vec<LogFiles>, Failure> {
    let wrong = |what| Failure::new(Finding::WrongBytes, format!("by the format's page: {what}"));
    log_files::read_topic(storage, dir, topic).map_err(wrong)
}

pub(crate) fn found_of(log: &LogFiles) -> Found {
    Found { end: log.end, head: log.head, records: log.records.clone() }
}

/// From which offset on nothing of a partition was compacted, as its files say by now.
pub(crate) fn head_of(
    storage: &dyn Storage,
    dir: &Path,
    topic: &str,
    partition: u32,
) -> std::io::Result<u64> {
    log_files::head(storage, &dir.join(format!("{topic}-{partition}")))
}

/// What a consumer is given of a partition, from this offset on.
pub(crate) fn read(
    broker: &Broker,
    topic: &str,
    partition: u32,
    from: u64,
) -> ottla::Result<Vec<(u64, Sent)>> {
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).build()?;
    consumer.seek(topic, partition, from)?;
    let mut found = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(found);
        }
        found.extend(records.iter().map(|record: Record<'_, Raw, Raw>| (record.offset(), Sent::of(&record))));
    }
}

/// A consumer that begins with the first record, and one that begins in the middle, are given what the files
/// hold.
pub(crate) fn check_served(
    broker: &Broker,
    topic: &str,
    partition: u32,
    log: &LogFiles,
    random: &mut Random,
) -> Result<(), Failure> {
    for from in [log.start, random.range(log.start..log.end + 1)] {
        let served = read(broker, topic, partition, from).map_err(unexpected("read what was compacted"))?;
        let held = log.records.range(from..).map(|(offset, sent)| (*offset, sent));
        if !served.iter().map(|(offset, sent)| (*offset, sent)).eq(held) {
            let what = format!("{topic}-{partition}: from {from} on, not what its files hold is served");
            return Err(Failure::new(Finding::Inconsistent, what));
        }
    }
    Ok(())
}
