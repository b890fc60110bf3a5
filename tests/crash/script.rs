//! A broker that is put through everything while its storage may fail, and a ledger of what it
//! acknowledged: what must be there, what may be there, and what must not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use ottla::storage::MemoryStorage;
use ottla::{Broker, Error, Raw, RecordMetadata, TopicPartition};

use crate::hooked::{Faults, Hooked, Kind};
use crate::support::{
    Checked, DIR, Finding, committed, contents, ensure, key_of, open, small_segments, value,
};

pub(crate) const GROUP: &str = "fraud";

/// A broker on a storage that fails, and what it said.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) storage: Hooked<MemoryStorage, Faults>,
    pub(crate) broker: Option<Broker>,
    kind: Kind,
    topics: BTreeMap<&'static str, Ledger>,
    /// What the group last committed in the topic "orders", and what it may have committed since.
    committed: BTreeMap<TopicPartition, u64>,
    may_be_committed: Vec<BTreeMap<TopicPartition, u64>>,
    numbers: usize,
    pub(crate) errors: usize,
    findings: Vec<String>,
}

/// Whether a topic is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Existence {
    #[default]
    No,
    Yes,
    /// Creating or deleting it failed: it is there whole, or not at all.
    Unsure,
}

#[derive(Debug, Default)]
struct Ledger {
    existence: Existence,
    partitions: u32,
    acknowledged: BTreeMap<(u32, u64), Vec<u8>>,
    /// Batches that were refused by a partition whose file could not be put right.
    may_be_there: Vec<Vec<Vec<u8>>>,
}

impl Script {
    /// A script whose calls on the storage fail in `windows`.
    pub(crate) fn new(windows: &[Range<usize>], kind: Kind) -> Self {
        let storage = Hooked::new(MemoryStorage::default(), Faults::default());
        storage.hook.arm(windows, kind);
        Self {
            storage,
            broker: None,
            kind,
            topics: BTreeMap::new(),
            committed: BTreeMap::new(),
            may_be_committed: Vec::new(),
            numbers: 0,
            errors: 0,
            findings: Vec::new(),
        }
    }

    /// Everything a broker does, with rolls after failed rolls, and deletions that are gone back on.
    pub(crate) fn play(&mut self) {
        self.open();
        self.create("orders", 2);
        for len in [300, 300, 1_500, 1_900, 40, 2_000, 1_900, 100, 30] {
            self.send("orders", 0, len);
        }
        self.send("orders", 1, 10);
        self.batch("orders", &[(0, 50), (1, 60), (0, 70), (1, 3_900)]);
        self.commit();
        self.flush("orders");
        self.create("brief", 1);
        self.send("brief", 0, 2_500);
        self.send("brief", 0, 2_400);
        self.delete("brief");
        self.send("brief", 0, 20);
        self.create("brief", 1);
        self.send("brief", 0, 70);
        for len in [1_800, 1_700, 60, 1_600, 2_000, 20] {
            self.send("orders", 0, len);
        }
        self.commit();
        self.batch("orders", &[(0, 500), (0, 3_000)]);
        self.flush("orders");
        self.send("orders", 0, 50);
        self.flush("brief");
    }

    /// Opens the broker; after a failure nothing else is done until it is opened again.
    pub(crate) fn open(&mut self) {
        match open(&self.storage) {
            Ok(broker) => self.broker = Some(broker),
            Err(error) => self.check_error("open", &error),
        }
    }

    pub(crate) fn create(&mut self, topic: &'static str, partitions: u32) {
        let Some(broker) = self.broker.clone() else { return };
        let existed = is_listed(&broker, topic);
        match broker.create_topic(topic, small_segments(partitions)) {
            Ok(()) => {
                self.check(!existed, || format!("{topic} was created twice"));
                let ledger = Ledger { existence: Existence::Yes, partitions, ..Ledger::default() };
                self.topics.insert(topic, ledger);
            }
            Err(Error::TopicExists { .. }) if existed => {}
            Err(error) => {
                self.check_error("create_topic", &error);
                self.check(!is_listed(&broker, topic), || format!("{topic} is listed all the same"));
                let ledger = Ledger { existence: Existence::Unsure, partitions, ..Ledger::default() };
                self.topics.insert(topic, ledger);
            }
        }
    }

    pub(crate) fn delete(&mut self, topic: &'static str) {
        let Some(broker) = self.broker.clone() else { return };
        if !is_listed(&broker, topic) {
            return;
        }
        let outcome = broker.delete_topic(topic);
        if let Err(error) = &outcome {
            self.check_error("delete_topic", error);
        }
        let is_listed = is_listed(&broker, topic);
        self.check(outcome.is_err() || !is_listed, || format!("{topic} is listed though it was deleted"));
        let ledger = self.topics.get_mut(topic).expect("it was created");
        ledger.existence = if is_listed { Existence::Unsure } else { Existence::No };
    }

    pub(crate) fn send(&mut self, topic: &'static str, partition: u32, len: usize) {
        let Some(broker) = self.listing(topic) else { return };
        self.numbers += 1;
        let value = value(self.numbers, len);
        let producer = broker.producer::<Raw, Raw>(topic).expect("the topic is there");
        match producer.record(&value).partition(partition).send() {
            Ok(at) => self.acknowledge(topic, at, value),
            Err(error) => self.refused(topic, "send", &error, vec![value]),
        }
    }

    pub(crate) fn batch(&mut self, topic: &'static str, records: &[(u32, usize)]) {
        let Some(broker) = self.listing(topic) else { return };
        let partitions = self.topics[topic].partitions;
        let mut batch: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for &(partition, len) in records {
            self.numbers += 1;
            batch.push((key_of(partition, partitions), value(self.numbers, len)));
        }
        let producer = broker.producer::<Raw, Raw>(topic).expect("the topic is there");
        let outcome = producer.send_batch(batch.iter().map(|(key, value)| (&key[..], &value[..])));
        let values = batch.into_iter().map(|(_, value)| value);
        match outcome {
            Ok(places) => {
                places.into_iter().zip(values).for_each(|(at, value)| self.acknowledge(topic, at, value));
            }
            Err(Error::PartlyAppended { appended, source }) => {
                let (taken, left): (Vec<_>, Vec<_>) =
                    appended.into_iter().zip(values).partition(|(at, _)| at.is_some());
                for (at, value) in taken {
                    self.acknowledge(topic, at.expect("it was taken"), value);
                }
                self.refused(
                    topic,
                    "send_batch",
                    &source,
                    left.into_iter().map(|(_, value)| value).collect(),
                );
            }
            Err(error) => {
                // Only the first of the two partitions was asked.
                let first = records.iter().map(|&(partition, _)| partition).min();
                let asked = values.zip(records).filter(|(_, record)| Some(record.0) == first);
                self.refused(topic, "send_batch", &error, asked.map(|(value, _)| value).collect());
            }
        }
    }

    /// Polls what there is of "orders" and commits it.
    pub(crate) fn commit(&mut self) {
        let Some(broker) = self.listing("orders") else { return };
        let consumer = broker.consumer::<Raw, Raw>().topic("orders").group(GROUP).build();
        let mut consumer = consumer.expect("it is the only member");
        let records = consumer.poll(Duration::ZERO).expect("what was just sent is in memory");
        let mut committed = self.committed.clone();
        for record in &records {
            committed.insert(TopicPartition::new("orders", record.partition()), record.offset() + 1);
        }
        match consumer.commit(&records) {
            Ok(()) => {
                self.committed = committed;
                self.may_be_committed.clear();
            }
            Err(error) => {
                if matches!(error, Error::PartitionFailed { .. } | Error::OutcomeUnknown { .. }) {
                    self.may_be_committed.push(committed);
                }
                self.check_error("commit", &error);
            }
        }
    }

    pub(crate) fn flush(&mut self, topic: &'static str) {
        let Some(broker) = self.listing(topic) else { return };
        let producer = broker.producer::<Raw, Raw>(topic).expect("the topic is there");
        if let Err(error) = producer.flush() {
            self.check_error("flush", &error);
        }
    }

    pub(crate) fn close(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        if let Err(error) = broker.close() {
            self.check_error("close", &error);
        }
    }

    /// The broker, if it is open and has the topic.
    fn listing(&self, topic: &str) -> Option<Broker> {
        self.broker.clone().filter(|broker| is_listed(broker, topic))
    }

    fn acknowledge(&mut self, topic: &'static str, at: RecordMetadata, value: Vec<u8>) {
        let ledger = self.topics.get_mut(topic).expect("it was created");
        ledger.existence = Existence::Yes;
        let earlier = ledger.acknowledged.insert((at.partition, at.offset), value);
        self.check(earlier.is_none(), || format!("offset {} was given twice", at.offset));
    }

    fn refused(&mut self, topic: &'static str, what: &str, error: &Error, batch: Vec<Vec<u8>>) {
        if matches!(error, Error::PartitionFailed { .. } | Error::OutcomeUnknown { .. }) {
            self.topics.get_mut(topic).expect("it was created").may_be_there.push(batch);
        }
        self.check_error(what, error);
    }

    /// Every error says what was done to which file, and that the disk is full if it is.
    fn check_error(&mut self, what: &str, error: &Error) {
        self.errors += 1;
        let only_full = self.kind.is_full();
        let is_typed = match error {
            Error::StorageFull { operation, path, .. } => only_full && !operation.is_empty() && is_ours(path),
            Error::Io { operation, path, .. } => !only_full && !operation.is_empty() && is_ours(path),
            Error::PartitionFailed { fault, .. } | Error::OutcomeUnknown { fault, .. } => fault.contains(DIR),
            _ => false,
        };
        self.check(is_typed, || format!("{what} answered {error:?}"));
        let injected = self.storage.hook.hits().len();
        self.check(injected > 0, || format!("{what} failed without a fault: {error}"));
    }

    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.findings.push(otherwise());
        }
    }

    /// The running broker serves what it acknowledged, and nothing else.
    pub(crate) fn check_running(&mut self) {
        let Some(broker) = self.broker.clone() else { return };
        for (&topic, ledger) in &self.topics {
            let is_listed = is_listed(&broker, topic);
            if ledger.existence == Existence::Yes && !is_listed {
                self.findings.push(format!("{topic} is not listed"));
            }
            if is_listed && let Err(finding) = ledger.check_contents(&broker, topic, false) {
                self.findings.push(format!("the running broker: {finding}"));
            }
        }
        let committed = committed(&broker, GROUP);
        self.check(committed == self.committed, || format!("committed is {committed:?}"));
    }

    /// Without further faults everything works again, without a restart: at once after a flush. No file was synced
    /// again of which a sync had failed.
    pub(crate) fn check_works_again(&mut self) {
        self.storage.hook.disarm();
        let Some(broker) = self.broker.clone() else { return };
        for (topic, partitions) in [("orders", 2), ("brief", 1), ("fresh", 1)] {
            self.create(topic, partitions);
            self.check(is_listed(&broker, topic), || format!("{topic} cannot be created"));
            for partition in 0..partitions {
                self.send_again(&broker, topic, partition);
            }
        }
        // What nobody flushes is written again by itself: the log of commits.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !broker.health().is_good() {
            let is_late = Instant::now() > deadline;
            self.check(!is_late, || format!("this is never mended: {:?}", broker.health()));
            if is_late {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let retried = self.storage.hook.retried_syncs();
        self.check(retried.is_empty(), || format!("synced again after a failure: {retried:?}"));
    }

    fn send_again(&mut self, broker: &Broker, topic: &'static str, partition: u32) {
        if !is_listed(broker, topic) {
            return;
        }
        let flushed = broker.producer::<Raw, Raw>(topic).and_then(|producer| producer.flush());
        self.check(flushed.is_ok(), || format!("{topic} still cannot be flushed: {flushed:?}"));
        let errors = self.errors;
        for len in [20, 3_000, 1_500] {
            self.send(topic, partition, len);
        }
        let refused = self.errors - errors;
        self.check(refused == 0, || format!("{topic}-{partition} still refuses records"));
    }

    /// Leaves the broker, which is as good as a crash, and looks at what is on the disk.
    pub(crate) fn check_reopened(&mut self) -> Checked {
        self.broker = None;
        self.storage.hook.disarm();
        for round in ["first", "second"] {
            let broker = open(self.storage.plain()).map_err(|error| {
                Finding(format!("the {round} reopening failed: {error}; {:?}", self.findings))
            })?;
            let lowered = &broker.recovery_report().lowered_commits;
            if !lowered.is_empty() {
                self.findings.push(format!("{round} reopening: {lowered:?}"));
            }
            if round == "second" && !broker.recovery_report().is_clean() {
                self.findings.push(format!("the second reopening found {:?}", broker.recovery_report()));
            }
            self.check_disk(&broker, round);
        }
        let findings = std::mem::take(&mut self.findings);
        ensure(findings.is_empty(), || findings.join("; "))
    }

    fn check_disk(&mut self, broker: &Broker, round: &str) {
        let mut expected = BTreeSet::new();
        for (&topic, ledger) in &self.topics {
            match (ledger.existence, is_listed(broker, topic)) {
                (Existence::Yes, false) => {
                    self.findings.push(format!("{round} reopening: {topic} is not there"));
                }
                (Existence::No, true) => {
                    self.findings.push(format!("{round} reopening: {topic} is there again"));
                }
                (_, true) => {
                    expected.insert(topic.to_owned());
                    if let Err(finding) = ledger.check_contents(broker, topic, true) {
                        self.findings.push(format!("{round} reopening: {finding}"));
                    }
                }
                (_, false) => {}
            }
        }
        let listed: BTreeSet<String> = broker.list_topics().into_iter().collect();
        self.check(listed == expected, || format!("{round} reopening lists {listed:?}"));
        if is_listed(broker, "orders") {
            let committed = committed(broker, GROUP);
            let known = committed == self.committed || self.may_be_committed.contains(&committed);
            self.check(known, || format!("{round} reopening: committed is {committed:?}"));
        }
    }
}

impl Ledger {
    /// Every acknowledged record at its place; others only as whole batches, and only where `in_doubt`.
    fn check_contents(&self, broker: &Broker, topic: &str, in_doubt: bool) -> Checked {
        for partition in 0..self.partitions {
            let name = format!("{topic}-{partition}");
            let seen =
                contents(broker, topic, partition).map_err(|error| Finding(format!("{name}: {error}")))?;
            for ((_, offset), value) in self.acknowledged.range((partition, 0)..(partition + 1, 0)) {
                let found = seen.get(*offset as usize) == Some(value);
                ensure(found, || format!("{name} lost the record at {offset} of {}", seen.len()))?;
            }
            let mut extra =
                (0..).zip(&seen).filter(|(offset, _)| !self.acknowledged.contains_key(&(partition, *offset)));
            while let Some((offset, first)) = extra.next() {
                let batch = self.may_be_there.iter().find(|batch| batch.first() == Some(first));
                let batch = batch.filter(|_| in_doubt);
                let rest = batch.is_some_and(|batch| {
                    batch[1..].iter().all(|value| extra.next().is_some_and(|(_, seen)| seen == value))
                });
                ensure(rest, || format!("{name} shows a record at {offset} that was refused"))?;
            }
        }
        Ok(())
    }
}

/// In the directory, or one above it, whose names are synced too.
fn is_ours(path: &Path) -> bool {
    path.starts_with(DIR) || Path::new(DIR).starts_with(path)
}

fn is_listed(broker: &Broker, topic: &str) -> bool {
    broker.list_topics().iter().any(|listed| listed == topic)
}
