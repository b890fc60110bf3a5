//! Readers: one follows the end of a topic, another begins at its front again and again. Both look at every
//! byte, and at the order.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::{Broker, Consumer, Error, OutOfRange, Raw, Records};

use crate::counts::{Counts, add};
use crate::keeper::Keep;
use crate::payload::{self, Origin};
use crate::random::Random;
use crate::round::IsOver;
use crate::senders::block_on;

pub(crate) type Reader = Consumer<(), Raw>;

/// A reader of a topic from its front, which goes on behind what is dropped or deleted.
pub(crate) fn reader(broker: &Broker, topic: &str) -> ottla::Result<Reader> {
    broker.consumer().topic(topic).on_out_of_range(OutOfRange::Earliest).build()
}

/// How far a reader has come, and the order that it relies on.
#[derive(Debug, Default)]
pub(crate) struct Order {
    offsets: BTreeMap<u32, u64>,
    numbers: BTreeMap<(u32, u32), u32>,
}

impl Order {
    /// Looks at all records of a poll; what they are, by partition and offset.
    pub(crate) fn check<'a>(
        &'a mut self,
        records: &'a Records<(), Raw>,
    ) -> impl Iterator<Item = ((u32, u64), Origin)> + 'a {
        records.iter().map(|record| {
            let (partition, offset) = (record.partition(), record.offset());
            let origin = payload::origin(record.value().expect("bytes"));
            let before = self.offsets.insert(partition, offset);
            assert!(before < Some(offset), "{offset} of {partition} comes after {before:?}");
            let before = self.numbers.insert((partition, origin.sender), origin.number);
            assert!(before < Some(origin.number), "{origin:?} of {partition} comes after {before:?}");
            ((partition, offset), origin)
        })
    }
}

/// Follows the end of a topic until it is woken or the broker closed, as a thread or as a task. Some of the records go to
/// the keeper, and some polls are kept for a while.
pub(crate) fn follow(mut reader: Reader, as_task: bool, keep: &Keep, seed: u64, counts: &Counts) {
    let (mut order, mut random) = (Order::default(), Random::new(seed));
    let mut held: Vec<(Records<(), Raw>, Vec<Origin>)> = Vec::new();
    loop {
        let polled = match as_task {
            true => block_on(reader.next_records()),
            false => reader.poll(Duration::from_millis(random.below(20))),
        };
        let records = match polled {
            Ok(records) => records,
            Err(Error::Closed | Error::Woken) => break,
            Err(error) => panic!("{error}"),
        };
        let origins: Vec<Origin> = order.check(&records).map(|(_, origin)| origin).collect();
        add(&counts.read, origins.len());
        for record in &records {
            if random.below(16) == 0 {
                keep.send(record.share()).expect("the keeper outlives the readers");
            }
        }
        if random.below(4) == 0 {
            held.push((records, origins));
        }
        if held.len() > 40 {
            held.drain(..20).for_each(|(records, origins)| assert_unchanged(&records, &origins));
        }
    }
    held.iter().for_each(|(records, origins)| assert_unchanged(records, origins));
}

fn assert_unchanged(records: &Records<(), Raw>, origins: &[Origin]) {
    let again = records.iter().map(|record| payload::origin(record.value().expect("bytes")));
    assert!(again.eq(origins.iter().copied()), "it has changed");
}

/// Begins at the front, again and again, until it is over: reads from files.
pub(crate) fn begin_again(broker: &Broker, topic: &str, is_over: &IsOver, counts: &Counts) {
    while !is_over.get() {
        let mut reader = match reader(broker, topic) {
            Ok(reader) => reader,
            Err(Error::Closed) => return,
            Err(error) => panic!("{error}"),
        };
        let mut order = Order::default();
        for _ in 0..20 {
            match reader.poll(Duration::ZERO) {
                Ok(records) => add(&counts.files_read, order.check(&records).count()),
                Err(Error::Closed) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Everything that a topic holds.
pub(crate) fn all_of(broker: &Broker, topic: &str) -> BTreeMap<(u32, u64), Origin> {
    let mut reader = reader(broker, topic).expect("the topic is there");
    let (mut order, mut all) = (Order::default(), BTreeMap::new());
    loop {
        let records = reader.poll(Duration::ZERO).expect("readable");
        if records.is_empty() {
            return all;
        }
        all.extend(order.check(&records));
    }
}
