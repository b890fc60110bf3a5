//! One partition of a consumer, and the consumer's place in it.

use super::policy::OutOfRange;
use super::records::PartitionRun;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::group::{Epoch, Place};
use crate::ids::TopicPartition;
use crate::log::{Cursor, Files, PartitionLog, Portion, Run};
use crate::sync::Arc;
use crate::topic::Topic;

/// A partition that a consumer reads.
#[derive(Debug)]
pub(super) struct Assigned {
    topic: Arc<Topic>,
    log: Arc<PartitionLog>,
    cursor: Cursor,
    /// Where the beginning was when it was sought. As long as the cursor is there, or back there, the
    /// position is the first record that is there at the next fetch.
    beginning: Option<u64>,
    paused: bool,
    /// By which assignment a member of a group has it.
    epoch: Epoch,
    /// The group has taken it away, because its topic was deleted; it is here to say so.
    is_lost: bool,
}

impl Assigned {
    pub(super) fn new(topic: Arc<Topic>, log: Arc<PartitionLog>) -> Self {
        Self { topic, log, cursor: Cursor::new(0), beginning: None, paused: false, epoch: 0, is_lost: false }
    }

    /// The next run. A paused partition has none, but says if it has ended.
    #[inline]
    pub(super) fn fetch(&mut self, policy: OutOfRange, files: &Files) -> Result<Option<PartitionRun>> {
        if self.paused {
            return self.log.check_readable().map(|()| None);
        }
        loop {
            // A sender may push the earliest record out between the seek and the next fetch.
            let start = self.cursor.offset();
            let (earliest, latest) = match self.log.fetch(&mut self.cursor, files) {
                Ok(Some(run)) => return Ok(Some(self.named(start, run))),
                Ok(None) => {
                    self.leave_empty_beginning();
                    return Ok(None);
                }
                Err(Error::OffsetOutOfRange { earliest, latest, .. }) => (earliest, latest),
                Err(error) => return Err(error),
            };
            match policy {
                _ if self.is_at_beginning() => self.seek_to_beginning(),
                OutOfRange::Earliest => self.cursor.seek(earliest),
                OutOfRange::Latest => self.cursor.seek(latest),
                OutOfRange::Error => {
                    let (partition, requested) = (self.topic_partition(), self.position());
                    return Err(Error::OffsetOutOfRange { partition, requested, earliest, latest });
                }
            }
        }
    }

    /// A consumer that was told that there is nothing yet is to miss nothing of what comes.
    fn leave_empty_beginning(&mut self) {
        if self.is_at_beginning() && self.cursor.offset() == self.log.end_offset() {
            self.beginning = None;
        }
    }

    fn is_at_beginning(&self) -> bool {
        self.beginning == Some(self.cursor.offset())
    }

    /// Leaves of a run that was just fetched what `portion` allows; the rest comes with the next fetch.
    /// Whether anything was cut off.
    pub(super) fn cut(&mut self, run: &mut PartitionRun, portion: &Portion) -> bool {
        self.cursor.cut(run.run_mut(), portion)
    }

    /// Undoes the fetch of a run.
    pub(super) fn go_back(&mut self, run: &PartitionRun) {
        self.cursor.go_back(run.run());
    }

    /// A poll returns this run.
    #[inline]
    pub(super) fn note_fetched(&self, run: &PartitionRun) {
        self.log.note_fetched(run.run());
    }

    fn named(&self, start: u64, run: Run) -> PartitionRun {
        let place = self.place();
        PartitionRun::new(Arc::clone(self.topic.name()), place, self.epoch, start, run)
    }

    pub(super) fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    pub(super) fn topic_name(&self) -> &str {
        self.topic.name()
    }

    pub(super) fn shared_topic_name(&self) -> Arc<str> {
        Arc::clone(self.topic.name())
    }

    pub(super) fn topic_id(&self) -> u64 {
        self.topic.id()
    }

    pub(super) fn partition(&self) -> u32 {
        self.log.identity().partition
    }

    pub(super) fn topic_partition(&self) -> TopicPartition {
        self.log.identity().topic_partition()
    }

    pub(super) fn is(&self, topic: &str, partition: u32) -> bool {
        self.topic_name() == topic && self.partition() == partition
    }

    /// The partition by the id of its topic, which no later topic of the same name has.
    pub(super) fn place(&self) -> Place {
        (self.topic_id(), self.partition())
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(super) fn set_lost(&mut self) {
        self.is_lost = true;
    }

    /// Whether its topic is being deleted, or gone: its other partitions may still answer.
    pub(super) fn is_deleted(&self) -> bool {
        self.topic.is_deleted()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn position(&self) -> u64 {
        if self.is_at_beginning() { self.log.start_offset() } else { self.cursor.offset() }
    }

    pub(super) fn seek(&mut self, offset: u64) {
        self.cursor.seek(offset);
        self.beginning = None;
    }

    /// Goes to the first record that will be there at the next fetch.
    pub(super) fn seek_to_beginning(&mut self) {
        self.seek(self.log.start_offset());
        self.beginning = Some(self.cursor.offset());
    }

    pub(super) fn check_not_beyond_end(&self, offset: u64) -> Result<()> {
        let latest = self.log.end_offset();
        if offset <= latest {
            return Ok(());
        }
        let (partition, earliest) = (self.topic_partition(), self.log.start_offset());
        Err(Error::OffsetOutOfRange { partition, requested: offset, earliest, latest })
    }

    pub(super) fn lag(&self) -> u64 {
        self.log.end_offset().saturating_sub(self.position())
    }

    /// The offset of the first record since `timestamp`, or the end.
    pub(super) fn offset_since(&self, timestamp: Timestamp) -> Result<u64> {
        self.log.offset_since(timestamp.as_millis())
    }
}
