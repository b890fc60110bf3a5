//! What senders were told and what readers saw, and whether the two agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Broker;
use crate::consumer::{Consumer, OutOfRange, Records};
use crate::error::{Error, Result};
use crate::ids::RecordMetadata;
use crate::producer::{Delivery, Producer};

/// For a poll that only a wake-up can end.
pub(super) const FOREVER: Duration = Duration::MAX;
/// For a poll that takes what is there.
pub(super) const NOW: Duration = Duration::ZERO;

pub(super) type Reader = Consumer<(), u64>;

/// A record that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) partition: u32,
    pub(super) outcome: Result<RecordMetadata>,
}

impl Sent {
    /// Whether it is not known if the record is there.
    fn is_open(&self) -> bool {
        matches!(self.outcome, Err(Error::OutcomeUnknown { .. }))
    }
}

/// Sends numbers that no other sender sends, each larger than the one before.
#[derive(Debug)]
pub(super) struct Sender {
    producer: Producer<(), u64>,
    next: u64,
    pub(super) sent: Vec<Sent>,
}

impl Sender {
    pub(super) fn new(broker: &Broker, topic: &str, sender: u64) -> Self {
        let producer = broker.producer(topic).expect("the topic is there");
        // Nothing else in a file looks like it.
        Self { producer, next: 0xa5a5_5a5a_0000_0000 | sender << 16, sent: Vec::new() }
    }

    pub(super) fn producer(&self) -> &Producer<(), u64> {
        &self.producer
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends a record; whether it was acknowledged.
    pub(super) fn send(&mut self, partition: u32) -> bool {
        let number = self.number();
        let outcome = self.producer.record(number).partition(partition).send();
        let is_acknowledged = outcome.is_ok();
        self.sent.push(Sent { number, partition, outcome });
        is_acknowledged
    }

    /// Sends so many records at once.
    pub(super) fn send_batch(&mut self, partition: u32, records: usize) {
        let numbers: Vec<u64> = (0..records).map(|_| self.number()).collect();
        let batch = numbers.iter().map(|&number| self.producer.record(number).partition(partition));
        let outcome = self.producer.send_batch(batch);
        for (place, number) in numbers.into_iter().enumerate() {
            let outcome = outcome.as_ref().map(|all| all[place]).map_err(again);
            self.sent.push(Sent { number, partition, outcome });
        }
    }

    /// Enqueues a record. Goes to `wait` with the delivery and its number.
    pub(super) fn enqueue(&mut self, partition: u32) -> Option<Enqueued> {
        let number = self.number();
        match self.producer.record(number).partition(partition).enqueue() {
            Ok(delivery) => Some(Enqueued { number, partition, delivery }),
            Err(error) => {
                self.sent.push(Sent { number, partition, outcome: Err(error) });
                None
            }
        }
    }

    /// Enqueues a record and waits for what becomes of it.
    pub(super) fn enqueue_and_wait(&mut self, partition: u32) {
        if let Some(enqueued) = self.enqueue(partition) {
            self.sent.push(enqueued.wait());
        }
    }

    /// Enqueues a record of which nobody is told anything; its number.
    pub(super) fn enqueue_and_detach(&mut self, partition: u32) -> Option<u64> {
        self.enqueue(partition).map(|enqueued| {
            enqueued.delivery.detach();
            enqueued.number
        })
    }
}

/// A record on its way.
#[derive(Debug)]
pub(super) struct Enqueued {
    pub(super) number: u64,
    pub(super) partition: u32,
    pub(super) delivery: Delivery,
}

impl Enqueued {
    pub(super) fn wait(self) -> Sent {
        let Self { number, partition, delivery } = self;
        Sent { number, partition, outcome: delivery.wait() }
    }
}

/// An error that several are told.
fn again(error: &Error) -> Error {
    match error {
        Error::OutcomeUnknown { partition, offset, fault } => {
            Error::OutcomeUnknown { partition: partition.clone(), offset: *offset, fault: fault.clone() }
        }
        _ => Error::Closed,
    }
}

/// The records of a topic, by partition: offsets and numbers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    partitions: BTreeMap<u32, Vec<(u64, u64)>>,
    /// Where a partition goes on whose records in between were said to be gone.
    goes_on: BTreeMap<u32, u64>,
    /// Records may be deleted before they are seen.
    gaps: bool,
}

impl Seen {
    /// Where records may be missing at the front.
    pub(super) fn with_gaps() -> Self {
        Self { gaps: true, ..Self::default() }
    }

    /// Takes note of what a poll returned, which must go on where the last one ended.
    pub(super) fn take(&mut self, records: &Records<(), u64>) {
        for record in records {
            let seen = self.partitions.entry(record.partition()).or_default();
            let told = self.goes_on.remove(&record.partition());
            let expected = told.unwrap_or_else(|| seen.last().map_or(0, |(offset, _)| offset + 1));
            let is_next = record.offset() == expected || self.gaps && record.offset() > expected;
            assert!(is_next, "offset {} of {}, not {expected}", record.offset(), record.partition());
            seen.push((record.offset(), record.value().expect("a number")));
        }
    }

    /// The records of a partition before this offset are gone.
    pub(super) fn go_on_at(&mut self, partition: u32, offset: u64) {
        self.goes_on.insert(partition, offset);
    }

    /// Polls until so many records were seen.
    pub(super) fn poll_until(&mut self, reader: &mut Reader, records: usize) {
        while self.len() < records {
            self.take(&reader.poll(FOREVER).expect("readable"));
        }
    }

    /// Polls what is there.
    pub(super) fn poll_all(&mut self, reader: &mut Reader) {
        loop {
            let records = reader.poll(NOW).expect("readable");
            if records.is_empty() {
                return;
            }
            self.take(&records);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.partitions.values().flatten().map(|&(_, number)| number)
    }

    /// What a topic holds.
    pub(super) fn all_of(broker: &Broker, topic: &str) -> Self {
        let mut seen = Self::with_gaps();
        seen.poll_all(&mut reader(broker, topic));
        seen
    }

    /// Whether every record is at the offset at which `whole` has it.
    pub(super) fn assert_part_of(&self, whole: &Self) {
        for (partition, seen) in &self.partitions {
            let whole: BTreeMap<u64, u64> = whole.partitions[partition].iter().copied().collect();
            for (offset, number) in seen {
                assert_eq!(whole.get(offset), Some(number), "offset {offset} of {partition}");
            }
        }
    }

    /// Whether this is what `sent` was: every acknowledged record is where its sender was told, unless it
    /// lies below `start`; nothing is there twice, nothing that was not sent or not appended; and the records
    /// of each sender are in order.
    pub(super) fn assert_is_from(&self, sent: &[&[Sent]], start: u64) {
        let all: BTreeMap<u64, &Sent> =
            sent.iter().flat_map(|sent| sent.iter()).map(|sent| (sent.number, sent)).collect();
        let mut found = BTreeSet::new();
        for (&partition, seen) in &self.partitions {
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            for &(offset, number) in seen {
                assert!(found.insert(number), "{number:x} is there twice");
                let sent = all.get(&number).unwrap_or_else(|| panic!("nobody sent {number:x}"));
                let expected = match &sent.outcome {
                    Ok(at) => (at.partition, at.offset) == (partition, offset),
                    Err(_) => sent.is_open() && sent.partition == partition,
                };
                assert!(expected, "{number:x} is at {offset} of {partition}: {sent:?}");
                let before = last.insert(number >> 16, number);
                assert!(before < Some(number), "{number:x} comes after {before:x?}");
            }
        }
        for sent in all.values() {
            let is_kept = sent.outcome.as_ref().is_ok_and(|at| at.offset >= start);
            assert!(!is_kept || found.contains(&sent.number), "lost: {sent:?}");
        }
    }
}

/// A reader of all that a topic has, from the front, which goes on behind what is deleted.
pub(super) fn reader(broker: &Broker, topic: &str) -> Reader {
    let reader = broker.consumer().topic(topic).on_out_of_range(OutOfRange::Earliest);
    reader.build().expect("the topic is there")
}
