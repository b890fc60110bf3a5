//! What a consumer reads and where it is: its partitions, a cursor in each, and whose turn it is.

use super::policy::OutOfRange;
use super::records::PartitionRun;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::log::{Cursor, PartitionLog, Run};
use crate::sync::Arc;
use crate::topic::Topic;

/// A poll stops asking further partitions when it has this much.
const POLL_BYTES: usize = 4 << 20;

/// The partitions of a consumer.
#[derive(Debug)]
pub(super) struct Subscription {
    partitions: Vec<Assigned>,
    /// Which partition is asked first by the next fetch.
    first: usize,
}

/// One partition and the consumer's place in it.
#[derive(Debug)]
pub(super) struct Assigned {
    topic: Arc<Topic>,
    log: Arc<PartitionLog>,
    cursor: Cursor,
}

impl Subscription {
    pub(super) fn new(partitions: Vec<Assigned>) -> Self {
        Self { partitions, first: 0 }
    }

    /// What there is to read, from each partition as much as lies together, beginning with another one each
    /// time. An error is returned only when there is nothing before it; otherwise it waits for the next
    /// fetch.
    pub(super) fn fetch(&mut self, policy: OutOfRange) -> Result<Vec<PartitionRun>> {
        let mut runs = Vec::new();
        let mut bytes = 0;
        let count = self.partitions.len();
        for step in 0..count {
            let number = (self.first + step) % count;
            match self.partitions[number].fetch(policy) {
                Ok(None) => {}
                Ok(Some(run)) => {
                    bytes += run.bytes();
                    runs.push(self.partitions[number].named(run));
                }
                Err(error) if runs.is_empty() => {
                    self.first = (number + 1) % count;
                    return Err(error);
                }
                Err(_) => {
                    // Nothing was taken from it: it is asked first next time, and answers the same.
                    self.first = number;
                    return Ok(runs);
                }
            }
            if bytes >= POLL_BYTES {
                self.first = (number + 1) % count;
                return Ok(runs);
            }
        }
        if !runs.is_empty() {
            self.first = (self.first + 1) % count;
        }
        Ok(runs)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Assigned> {
        self.partitions.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Assigned> {
        self.partitions.iter_mut()
    }

    pub(super) fn logs(&self) -> Vec<Arc<PartitionLog>> {
        self.iter().map(|assigned| Arc::clone(&assigned.log)).collect()
    }

    pub(super) fn get(&self, topic: &str, partition: u32) -> Result<&Assigned> {
        let found = self.iter().find(|assigned| assigned.is(topic, partition));
        found.ok_or_else(|| not_assigned(topic, partition))
    }

    pub(super) fn get_mut(&mut self, topic: &str, partition: u32) -> Result<&mut Assigned> {
        let found = self.iter_mut().find(|assigned| assigned.is(topic, partition));
        found.ok_or_else(|| not_assigned(topic, partition))
    }

    /// Whether offsets of the partition can be committed: the consumer reads it, and it is still there.
    pub(super) fn check_committable(&self, run: &PartitionRun) -> Result<()> {
        let place = (run.topic_id(), run.partition());
        match self.iter().find(|assigned| (assigned.topic_id(), assigned.partition()) == place) {
            Some(assigned) => assigned.log.check_readable(),
            None => Err(not_assigned(run.topic(), run.partition())),
        }
    }
}

fn not_assigned(topic: &str, partition: u32) -> Error {
    Error::NotAssigned { partition: TopicPartition::new(topic, partition) }
}

impl Assigned {
    pub(super) fn new(topic: Arc<Topic>, log: Arc<PartitionLog>, position: u64) -> Self {
        Self { topic, log, cursor: Cursor::new(position) }
    }

    fn fetch(&mut self, policy: OutOfRange) -> Result<Option<Run>> {
        loop {
            // A sender may push the earliest record out between the seek and the next fetch.
            let (earliest, latest) = match self.log.fetch(&mut self.cursor) {
                Err(Error::OffsetOutOfRange { earliest, latest, .. }) => (earliest, latest),
                outcome => return outcome,
            };
            match policy {
                OutOfRange::Earliest => self.seek(earliest),
                OutOfRange::Latest => self.seek(latest),
                OutOfRange::Error => {
                    let (partition, requested) = (self.topic_partition(), self.position());
                    return Err(Error::OffsetOutOfRange { partition, requested, earliest, latest });
                }
            }
        }
    }

    pub(super) fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    fn named(&self, run: Run) -> PartitionRun {
        PartitionRun::new(Arc::clone(self.topic.name()), self.topic_id(), self.partition(), run)
    }

    fn partition(&self) -> u32 {
        self.log.identity().partition
    }

    pub(super) fn topic_id(&self) -> u64 {
        self.topic.id()
    }

    pub(super) fn topic_partition(&self) -> TopicPartition {
        self.log.identity().topic_partition()
    }

    pub(super) fn position(&self) -> u64 {
        self.cursor.offset()
    }

    pub(super) fn seek(&mut self, offset: u64) {
        self.cursor.seek(offset);
    }

    pub(super) fn lag(&self) -> u64 {
        self.log.end_offset().saturating_sub(self.position())
    }

    /// The offset of the first record since `timestamp`, or the end.
    pub(super) fn offset_since(&self, timestamp: Timestamp) -> Result<u64> {
        // The end is read first: what is appended meanwhile comes after it.
        let end_offset = self.log.end_offset();
        let found = self.log.find_timestamp(timestamp.as_millis())?;
        Ok(found.map_or(end_offset, |(offset, _)| offset))
    }

    fn is(&self, topic: &str, partition: u32) -> bool {
        &**self.topic.name() == topic && self.partition() == partition
    }
}
