//! What is done while operations fail: all that a broker can be asked for, step after step, each of which may be
//! refused. Takes down what was acknowledged, and looks whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::storage::{OpenMode, Storage};
use ottla::{Broker, Durability, Error, Raw, TopicConfig, TopicPartition};

use super::failing::{Failing, Fault};
use super::tended::Tended;
use crate::common::outcome::{Failure, Finding};

const DIR: &str = "/data";
const GROUP: &str = "readers";
/// Topics, their partitions at first, and their levels.
const TOPICS: [(&str, u32, Durability); 2] =
    [("quick", 2, Durability::ProcessCrash), ("safe", 1, Durability::PowerLoss)];
/// How often a partition is asked to go on when nothing fails any more.
const TRIES: usize = 3;

pub(super) type Outcome = Result<(), Failure>;

/// A run of the script.
pub(super) struct Script<'a> {
    storage: &'a Failing,
    fault: Fault,
    broker: Option<Broker>,
    /// What was acknowledged, by its place.
    acknowledged: BTreeMap<(String, u32, u64), u64>,
    /// What may be there: nobody knows.
    unknown: BTreeSet<u64>,
    /// What was deleted, or may have been: records below.
    trimmed: BTreeMap<(String, u32), u64>,
    committed: BTreeMap<TopicPartition, u64>,
    /// What a commit that failed was about to say.
    committing: BTreeMap<TopicPartition, BTreeSet<u64>>,
    next: u64,
    tended: Tended,
    /// How many errors there were.
    pub(super) errors: u64,
}

pub(super) fn wrong(finding: Finding, detail: impl Into<String>) -> Failure {
    Failure::new(finding, detail)
}

pub(super) fn value(number: u64, len: usize) -> Vec<u8> {
    number.to_be_bytes().iter().copied().cycle().take(len.max(8)).collect()
}

fn number(value: &[u8]) -> Option<u64> {
    let (first, _) = value.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*first);
    (value == value_of_len(number, value.len())).then_some(number)
}

fn value_of_len(number: u64, len: usize) -> Vec<u8> {
    value(number, len)
}

impl<'a> Script<'a> {
    pub(super) fn new(storage: &'a Failing, fault: Fault) -> Self {
        Self {
            storage,
            fault,
            broker: None,
            acknowledged: BTreeMap::new(),
            unknown: BTreeSet::new(),
            trimmed: BTreeMap::new(),
            committed: BTreeMap::new(),
            committing: BTreeMap::new(),
            next: 1,
            tended: Tended::default(),
            errors: 0,
        }
    }

    /// Everything, from an empty directory to the second life of the broker.
    pub(super) fn run(&mut self) -> Outcome {
        self.open()?;
        self.make_topics()?;
        for round in 0..6 {
            self.work(round)?;
        }
        self.change()?;
        self.work(6)?;
        self.close()?;
        self.tear()?;
        self.open()?;
        self.make_topics()?;
        for round in 7..10 {
            self.work(round)?;
        }
        Ok(())
    }

    fn broker(&self) -> Option<Broker> {
        self.broker.clone()
    }

    fn open(&mut self) -> Outcome {
        let builder = Broker::builder().storage(self.storage.clone()).data_dir(DIR);
        let builder = builder.sync_interval(Duration::from_secs(3_600));
        match builder.housekeeping_interval(Duration::MAX).open() {
            Ok(broker) => {
                let damaged = &broker.recovery_report().damaged;
                if !damaged.is_empty() {
                    return Err(wrong(Finding::Fenced, format!("{damaged:?}")));
                }
                self.broker = Some(broker);
                Ok(())
            }
            Err(error) => self.refused("open", &error),
        }
    }

    fn make_topics(&mut self) -> Outcome {
        let Some(broker) = self.broker() else { return Ok(()) };
        let plain = TOPICS.map(|(topic, partitions, level)| {
            (topic, TopicConfig::new().partitions(partitions).segment_bytes(4096).durability(level))
        });
        for (topic, config) in plain.into_iter().chain(Tended::topics()) {
            if !broker.list_topics().iter().any(|listed| listed == topic)
                && let Err(error) = broker.create_topic(topic, config)
            {
                self.refused("create_topic", &error)?;
            }
        }
        Ok(())
    }

    /// Sends to all partitions, so that some roll, and commits.
    fn work(&mut self, round: usize) -> Outcome {
        let Some(broker) = self.broker() else { return Ok(()) };
        for topic in plain_topics(&broker) {
            for partition in 0..broker.describe_topic(&topic).map_or(0, |found| found.partitions.len() as u32)
            {
                for len in [20, 1_700, 40] {
                    self.send(&broker, &topic, partition, len + round)?;
                }
                self.batch(&broker, &topic, partition)?;
            }
            if round.is_multiple_of(2)
                && let Ok(producer) = broker.producer::<Raw, Raw>(&topic)
                && let Err(error) = producer.flush()
            {
                self.refused("flush", &error)?;
            }
        }
        for (what, error) in self.tended.work(&broker)? {
            self.refused(what, &error)?;
        }
        self.commit(&broker)
    }

    fn send(&mut self, broker: &Broker, topic: &str, partition: u32, len: usize) -> Outcome {
        let number = self.next;
        self.next += 1;
        let producer = broker
            .producer::<Raw, Raw>(topic)
            .map_err(|error| wrong(Finding::WrongError, error.to_string()))?;
        match producer.record(&value(number, len)).partition(partition).send() {
            Ok(at) => self.acknowledge(topic, partition, at.offset, number),
            Err(error) => {
                if matches!(error, Error::OutcomeUnknown { .. }) {
                    self.unknown.insert(number);
                }
                self.refused("send", &error)
            }
        }
    }

    fn batch(&mut self, broker: &Broker, topic: &str, partition: u32) -> Outcome {
        let first = self.next;
        self.next += 3;
        let producer = broker
            .producer::<Raw, Raw>(topic)
            .map_err(|error| wrong(Finding::WrongError, error.to_string()))?;
        let values: Vec<Vec<u8>> = (first..first + 3).map(|number| value(number, 60)).collect();
        match producer.send_batch(values.iter().map(|value| producer.record(value).partition(partition))) {
            Ok(places) => places
                .iter()
                .zip(first..)
                .try_for_each(|(at, number)| self.acknowledge(topic, partition, at.offset, number)),
            Err(error) => {
                if matches!(error, Error::OutcomeUnknown { .. }) {
                    self.unknown.extend(first..first + 3);
                }
                self.refused("send_batch", &error)
            }
        }
    }

    fn acknowledge(&mut self, topic: &str, partition: u32, offset: u64, number: u64) -> Outcome {
        let earlier = self.acknowledged.insert((topic.to_owned(), partition, offset), number);
        match earlier {
            None => Ok(()),
            Some(_) => {
                Err(wrong(Finding::Duplicated, format!("offset {offset} of {topic}-{partition} twice")))
            }
        }
    }

    fn commit(&mut self, broker: &Broker) -> Outcome {
        let topics = plain_topics(broker);
        if topics.is_empty() {
            return Ok(());
        }
        let consumer = broker.consumer::<Raw, Raw>().topics(topics).group(GROUP).build();
        let mut consumer = match consumer {
            Ok(consumer) => consumer,
            Err(error) => return self.refused("build a consumer", &error),
        };
        let records = match consumer.poll(Duration::ZERO) {
            Ok(records) => records,
            Err(error) => return self.refused("poll", &error),
        };
        let mut offsets = BTreeMap::new();
        for record in &records {
            offsets.insert(TopicPartition::new(record.topic(), record.partition()), record.offset() + 1);
        }
        match consumer.commit(&records) {
            Ok(()) => {
                self.committed.extend(offsets);
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::OutcomeUnknown { .. }) {
                    for (place, offset) in offsets {
                        self.committing.entry(place).or_default().insert(offset);
                    }
                }
                self.refused("commit", &error)
            }
        }
    }

    /// More partitions, another level, fewer records, and a topic that comes and goes.
    fn change(&mut self) -> Outcome {
        let Some(broker) = self.broker() else { return Ok(()) };
        let trim = ("quick".to_owned(), 0);
        self.trimmed.insert(trim, 5);
        let outcomes = [
            broker.increase_partitions("quick", 3),
            broker.alter_topic("quick", TopicConfig::new().max_record_bytes(100_000)),
            broker.delete_records("quick", 0, 5).map(drop),
            broker.create_topic("brief", TopicConfig::new()),
            broker.delete_topic("brief"),
        ];
        for outcome in outcomes {
            match outcome {
                // What an earlier failure keeps from being there.
                Ok(()) | Err(Error::TopicNotFound { .. } | Error::OffsetOutOfRange { .. }) => {}
                Err(error) => self.refused("change", &error)?,
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Outcome {
        let Some(broker) = self.broker.take() else { return Ok(()) };
        broker.close().or_else(|error| self.refused("close", &error))
    }

    /// As if a process had died in the middle of a write.
    fn tear(&mut self) -> Outcome {
        let files = self.storage.files();
        let dir = format!("{DIR}/quick-1");
        let Ok(names) = files.list(dir.as_ref()) else { return Ok(()) };
        let Some(last) = names.iter().filter(|name| name.ends_with(".log")).max() else { return Ok(()) };
        let path = format!("{dir}/{last}");
        let file = files.open(path.as_ref(), OpenMode::Existing);
        let torn = file.and_then(|file| file.write_at(&[1, 2, 3], file.len()?));
        torn.map(drop).map_err(|error| Failure::harness("tear a log", error))
    }

    /// An error has to be one that the fault explains.
    fn refused(&mut self, what: &str, error: &Error) -> Outcome {
        self.errors += 1;
        let is_full = self.fault.is_full();
        let fits = match error {
            Error::StorageFull { operation, path, .. } => {
                is_full && !operation.is_empty() && !path.as_os_str().is_empty()
            }
            Error::Io { operation, path, .. } => {
                !is_full && !operation.is_empty() && !path.as_os_str().is_empty()
            }
            Error::PartitionFailed { fault, .. } | Error::OutcomeUnknown { fault, .. } => !fault.is_empty(),
            Error::PartlyAppended { .. } => false,
            _ => false,
        };
        let fits = fits && self.storage.has_failed();
        if fits { Ok(()) } else { Err(wrong(Finding::WrongError, format!("{what} answered {error:?}"))) }
    }

    /// When nothing fails any more, everything works, without a restart; and again after one.
    pub(super) fn check_recovered(&mut self) -> Outcome {
        self.storage.heal();
        if self.broker.is_none() {
            self.open()?;
        }
        self.make_topics()?;
        let Some(broker) = self.broker() else {
            return Err(wrong(Finding::NotResumed, "the broker does not open"));
        };
        self.check_sends(&broker)?;
        self.tended.check_resumed(&broker)?;
        self.check_contents(&broker)?;
        if self.storage.has_retried_sync() {
            return Err(wrong(Finding::FalseAck, "a file was synced after a sync of it had failed"));
        }
        drop(broker);
        self.broker = None;
        for _ in 0..2 {
            self.open()?;
            let Some(broker) = self.broker.take() else {
                return Err(wrong(Finding::NotResumed, "the broker does not open again"));
            };
            self.check_contents(&broker)?;
        }
        Ok(())
    }

    fn check_sends(&mut self, broker: &Broker) -> Outcome {
        for topic in broker.list_topics() {
            let producer = broker.producer::<Raw, Raw>(&topic);
            let producer = producer.map_err(|error| wrong(Finding::NotResumed, error.to_string()))?;
            // As the flusher does by itself after a time.
            let flushed = (0..TRIES).map(|_| producer.flush()).find(Result::is_ok);
            if flushed.is_none() {
                let health = broker.health();
                return Err(wrong(Finding::NotResumed, format!("{topic}: {health:?}")));
            }
            let partitions = broker.describe_topic(&topic).map_or(0, |found| found.partitions.len() as u32);
            if is_tended(&topic) {
                continue;
            }
            for partition in 0..partitions {
                let errors = self.errors;
                self.send(broker, &topic, partition, 2_000)?;
                if self.errors > errors {
                    return Err(wrong(Finding::NotResumed, format!("{topic}-{partition} takes no record")));
                }
            }
        }
        Ok(())
    }

    /// Every acknowledged record at its place, and nothing that was refused.
    fn check_contents(&self, broker: &Broker) -> Outcome {
        let acknowledged: BTreeSet<u64> = self.acknowledged.values().copied().collect();
        let listed = broker.list_topics();
        for (topic, ..) in TOPICS {
            let expected = self.acknowledged.keys().any(|(of, ..)| of == topic);
            if !listed.iter().any(|listed| listed == topic) {
                if expected {
                    return Err(wrong(Finding::Lost, format!("topic {topic} is gone")));
                }
                continue;
            }
            let partitions = broker.describe_topic(topic).map_or(0, |found| found.partitions.len() as u32);
            for partition in 0..partitions {
                self.check_partition(broker, topic, partition, &acknowledged)?;
            }
        }
        self.tended.check(broker)?;
        let committed = broker.committed_offsets(GROUP);
        for (place, &offset) in &self.committed {
            let found = committed.get(place).map_or(0, |committed| committed.offset);
            let may_be = self.committing.get(place).is_some_and(|tried| tried.contains(&found));
            if found != offset && !may_be {
                return Err(wrong(Finding::Lost, format!("{place}: {found} is committed, not {offset}")));
            }
        }
        Ok(())
    }

    fn check_partition(
        &self,
        broker: &Broker,
        topic: &str,
        partition: u32,
        acknowledged: &BTreeSet<u64>,
    ) -> Outcome {
        let found = contents(broker, topic, partition)?;
        let place = (topic.to_owned(), partition);
        let trimmed = self.trimmed.get(&place).copied().unwrap_or(0);
        let from = (topic.to_owned(), partition, trimmed);
        let to = (topic.to_owned(), partition, u64::MAX);
        for ((.., offset), number) in self.acknowledged.range(from..=to) {
            if found.get(offset) != Some(number) {
                let detail = format!("record {number} at {offset} of {topic}-{partition} is not there");
                return Err(wrong(Finding::Lost, detail));
            }
        }
        let invented = |number: &&u64| !acknowledged.contains(number) && !self.unknown.contains(number);
        match found.values().find(invented) {
            None => Ok(()),
            Some(number) => Err(wrong(Finding::Invented, format!("record {number} was refused"))),
        }
    }
}

fn is_tended(topic: &str) -> bool {
    Tended::topics().iter().any(|(tended, _)| *tended == topic)
}

/// Those that there are of the topics whose records stay.
fn plain_topics(broker: &Broker) -> Vec<String> {
    broker.list_topics().into_iter().filter(|topic| !is_tended(topic)).collect()
}

/// The numbers of a partition's records, by their offsets.
fn contents(broker: &Broker, topic: &str, partition: u32) -> Result<BTreeMap<u64, u64>, Failure> {
    let failed = |error: Error| wrong(Finding::Lost, format!("{topic}-{partition}: {error}"));
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).build().map_err(failed)?;
    let mut found = BTreeMap::new();
    loop {
        let records = consumer.poll(Duration::ZERO).map_err(failed)?;
        if records.is_empty() {
            return Ok(found);
        }
        for record in &records {
            let Some(number) = number(record.value_bytes().unwrap_or_default()) else {
                return Err(wrong(Finding::WrongBytes, format!("at {} of {topic}", record.offset())));
            };
            found.insert(record.offset(), number);
        }
    }
}
