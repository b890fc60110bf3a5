//! What a broker should hold: a list of records for each partition, and what each group has committed.

use std::collections::BTreeMap;

use ottla::{Delivery, Producer, Raw, RecordBuilder, Timestamp, TopicPartition};

use super::PARTITIONS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) millis: i64,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What a partition should hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    /// By offset, from 0 on.
    pub(super) records: Vec<Expected>,
    /// Those below were deleted.
    pub(super) start: u64,
    /// Those below can be seen; the others are on their way.
    pub(super) visible: u64,
}

impl Partition {
    pub(super) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// The first offset with a timestamp of `millis` or more.
    pub(super) fn since(&self, millis: i64) -> Option<u64> {
        (self.start..)
            .zip(&self.records[self.start as usize..])
            .find(|(_, r)| r.millis >= millis)
            .map(|(at, _)| at)
    }
}

/// What the broker should hold.
pub(super) struct Oracle {
    pub(super) partitions: Vec<Partition>,
    pub(super) committed: BTreeMap<(usize, u32), u64>,
    pub(super) on_their_way: Vec<(TopicPartition, u64, Delivery)>,
}

impl Oracle {
    pub(super) fn new() -> Self {
        let partitions = vec![Partition::default(); PARTITIONS as usize];
        Self { partitions, committed: BTreeMap::new(), on_their_way: Vec::new() }
    }
}

/// Begins a record.
pub(super) fn builder<'a>(
    producer: &'a Producer<Option<Raw>, Option<Raw>>,
    record: &'a Expected,
) -> RecordBuilder<'a, Option<Raw>, Option<Raw>> {
    let mut builder =
        producer.record(record.value.as_deref()).timestamp(Timestamp::from_millis(record.millis));
    builder = builder.key(record.key.as_deref());
    for (name, value) in &record.headers {
        builder = match value {
            Some(value) => builder.header(name, value),
            None => builder.null_header(name),
        };
    }
    builder
}
