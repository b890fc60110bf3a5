//! Topics of which the broker gives up records, on request, while operations fail: one is compacted, of the
//! other one only the last part is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::{Broker, Compaction, Durability, Error, Raw, Retention, Timestamp, TopicConfig};

use super::script::{Outcome, value, wrong};
use crate::common::outcome::{Failure, Finding};

const LATEST: &str = "latest";
const RECENT: &str = "recent";
const RECENT_BYTES: u64 = 4_096;
const KEYS: u64 = 3;

/// An error, and what answered it.
pub(super) type Refusal = (&'static str, Error);

/// What was sent. Records have numbers, which are their timestamps, and follow from them.
#[derive(Debug, Default)]
pub(super) struct Tended {
    next: u64,
    /// What was acknowledged in each topic: numbers by offset.
    latest: BTreeMap<u64, u64>,
    recent: BTreeMap<u64, u64>,
    /// What may be there: nobody knows.
    unknown: BTreeSet<u64>,
}

fn key(number: u64) -> [u8; 1] {
    [(number % KEYS) as u8]
}

/// The value of a record of the compacted topic; `None`: it is a tombstone.
fn value_of(number: u64) -> Option<Vec<u8>> {
    (number % 5 != 4).then(|| value(number, 300))
}

impl Tended {
    /// The topics that the script is to make.
    pub(super) fn topics() -> [(&'static str, TopicConfig); 2] {
        let config = || TopicConfig::new().segment_bytes(4_096);
        let compaction = Compaction::by_key().min_dirty_percent(0).delete_retention(Duration::ZERO);
        let retention = Retention::forever().max_bytes(RECENT_BYTES);
        [
            (LATEST, config().durability(Durability::ProcessCrash).compaction(compaction)),
            (RECENT, config().durability(Durability::PowerLoss).retention(retention)),
        ]
    }

    /// Sends to both topics, so that they have segments to give up, and has that done.
    pub(super) fn work(&mut self, broker: &Broker) -> Result<Vec<Refusal>, Failure> {
        let mut refusals = Vec::new();
        for topic in [LATEST, RECENT] {
            if broker.list_topics().iter().any(|listed| listed == topic) {
                for _ in 0..8 {
                    refusals.extend(self.send(broker, topic)?.map(|error| ("send", error)));
                }
                let producer = broker.producer::<Raw, Raw>(topic);
                let flushed = producer.and_then(|producer| producer.flush());
                refusals.extend(flushed.err().map(|error| ("flush", error)));
            }
        }
        refusals.extend(broker.run_housekeeping().err().map(|error| ("housekeeping", error)));
        Ok(refusals)
    }

    fn send(&mut self, broker: &Broker, topic: &str) -> Result<Option<Error>, Failure> {
        let number = self.next;
        self.next += 1;
        let failed = |error: Error| wrong(Finding::WrongError, error.to_string());
        let producer = broker.producer::<Raw, Raw>(topic).map_err(failed)?;
        let (key, value) = (key(number), value_of(number));
        let record = match &value {
            Some(value) => producer.record(value).key(&key),
            None => producer.tombstone(&key),
        };
        let sent = record.timestamp(Timestamp::from_millis(number.cast_signed())).send();
        let of_topic = if topic == LATEST { &mut self.latest } else { &mut self.recent };
        match sent {
            Ok(at) => match of_topic.insert(at.offset, number) {
                None => Ok(None),
                Some(_) => Err(wrong(Finding::Duplicated, format!("offset {} of {topic} twice", at.offset))),
            },
            Err(error) => {
                if matches!(error, Error::OutcomeUnknown { .. }) {
                    self.unknown.insert(number);
                }
                Ok(Some(error))
            }
        }
    }

    /// When nothing fails any more: both topics are looked after, and take records.
    pub(super) fn check_resumed(&mut self, broker: &Broker) -> Outcome {
        for _ in 0..2 {
            if let Some((what, error)) = self.work(broker)?.pop() {
                return Err(wrong(Finding::NotResumed, format!("{what} answers {error:?}")));
            }
        }
        Ok(())
    }

    pub(super) fn check(&self, broker: &Broker) -> Outcome {
        for (topic, sent) in [(LATEST, &self.latest), (RECENT, &self.recent)] {
            if !broker.list_topics().iter().any(|listed| listed == topic) {
                if sent.is_empty() {
                    continue;
                }
                return Err(wrong(Finding::Lost, format!("topic {topic} is gone")));
            }
            let found = read(broker, topic)?;
            let numbers: BTreeSet<u64> = sent.values().copied().collect();
            let invented = |number: &&u64| !numbers.contains(number) && !self.unknown.contains(number);
            if let Some(number) = found.values().find(invented) {
                return Err(wrong(Finding::Invented, format!("record {number} was refused")));
            }
            let moved =
                |(offset, number): &(&u64, &u64)| sent.get(offset).is_some_and(|sent| sent != *number);
            if let Some((offset, number)) = found.iter().find(moved) {
                return Err(wrong(
                    Finding::OffsetChanged,
                    format!("record {number} is at {offset} of {topic}"),
                ));
            }
            if topic == LATEST { self.check_latest(&found)? } else { self.check_recent(broker, &found)? }
        }
        Ok(())
    }

    /// The latest record of each key is there, or a tombstone has taken the key with it.
    fn check_latest(&self, found: &BTreeMap<u64, u64>) -> Outcome {
        let latest: BTreeMap<_, _> =
            self.latest.iter().map(|(offset, number)| (key(*number), (*offset, *number))).collect();
        for (key_, (offset, number)) in latest {
            let of_key = found.iter().filter(|(_, number)| key(**number) == key_).map(|(offset, _)| *offset);
            let last = of_key.max();
            let is_gone = value_of(number).is_none() && last.is_none();
            if !is_gone && last.is_none_or(|last| last < offset) {
                let what =
                    format!("record {number} at {offset} of {LATEST}; what is left of the key: {last:?}");
                return Err(wrong(Finding::Lost, what));
            }
        }
        Ok(())
    }

    /// From where the log begins everything is there, and no less than is to be kept.
    fn check_recent(&self, broker: &Broker, found: &BTreeMap<u64, u64>) -> Outcome {
        let described = broker.describe_topic(RECENT);
        let described = described.map_err(|error| wrong(Finding::WrongError, error.to_string()))?;
        let start = described.partitions[0].start_offset;
        for (offset, number) in self.recent.range(start..) {
            if found.get(offset) != Some(number) {
                return Err(wrong(Finding::Lost, format!("record {number} at {offset} of {RECENT}")));
            }
        }
        // Less than that a record takes at most, in a log that syncs each.
        let most_bytes: u64 = found.len() as u64 * 400;
        if start > 0 && most_bytes < RECENT_BYTES {
            return Err(wrong(Finding::Lost, format!("of {RECENT} too much is gone: it begins at {start}")));
        }
        Ok(())
    }
}

/// The numbers of a topic's records, by their offsets.
fn read(broker: &Broker, topic: &str) -> Result<BTreeMap<u64, u64>, Failure> {
    let failed = |error: Error| wrong(Finding::Lost, format!("{topic}: {error}"));
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [0]).build().map_err(failed)?;
    let mut found = BTreeMap::new();
    loop {
        let records = consumer.poll(Duration::ZERO).map_err(failed)?;
        if records.is_empty() {
            return Ok(found);
        }
        for record in &records {
            let number = record.timestamp().as_millis().unsigned_abs();
            let is_right = record.key_bytes() == Some(&key(number)[..])
                && record.value_bytes() == value_of(number).as_deref();
            if !is_right || found.keys().next_back().is_some_and(|last| *last >= record.offset()) {
                return Err(wrong(Finding::WrongBytes, format!("at {} of {topic}", record.offset())));
            }
            found.insert(record.offset(), number);
        }
    }
}
