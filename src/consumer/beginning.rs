//! Where a consumer begins in a partition: where its group is, or else where it was told to begin.

use super::assigned::Assigned;
use super::policy::Start;
use crate::error::{Error, Result};
use crate::group::{CommittedOffsets, Taken};
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::Arc;
use crate::topic::Topic;

/// What decides on the first position.
pub(super) struct Beginning<'a> {
    pub(super) committed: &'a CommittedOffsets,
    pub(super) group: Option<&'a str>,
    pub(super) start: Start,
}

/// A partition at its first position.
pub(super) struct Begun {
    pub(super) assigned: Assigned,
    /// The next member that gets the partition before anything is committed is to begin there too: by its own
    /// [`Start`] it might leave something out.
    pub(super) is_to_be_noted: bool,
}

impl Beginning<'_> {
    /// A partition that is there when the consumer is built.
    pub(super) fn at_build(&self, topic: Arc<Topic>, number: u32) -> Result<Assigned> {
        Ok(self.begin(topic, number, |assigned| self.by_start(assigned))?.assigned)
    }

    /// A partition that came later: nothing that was sent to it may be missed, so it begins with its very
    /// first record.
    pub(super) fn later(&self, topic: Arc<Topic>, number: u32) -> Result<Assigned> {
        Ok(self.begin(topic, number, |_| Ok(0))?.assigned)
    }

    /// A partition that came to a member of a group.
    pub(super) fn as_member(&self, topic: Arc<Topic>, taken: &Taken) -> Result<Begun> {
        let (_, number) = taken.place;
        let mut begun = self.begin(topic, number, |assigned| match taken.begun {
            // To begin at the beginning passes over nothing.
            Some(offset) if self.start == Start::Earliest => Ok(offset.max(assigned.log().start_offset())),
            Some(offset) => Ok(offset),
            None if taken.at_first => self.by_start(assigned),
            None => Ok(0),
        })?;
        begun.assigned.set_epoch(taken.epoch);
        Ok(begun)
    }

    fn by_start(&self, assigned: &Assigned) -> Result<u64> {
        match self.start {
            Start::Latest => Ok(assigned.log().end_offset()),
            Start::Timestamp(timestamp) => assigned.offset_since(timestamp),
            Start::Earliest | Start::Committed => Ok(assigned.log().start_offset()),
        }
    }

    fn begin(
        &self,
        topic: Arc<Topic>,
        number: u32,
        without_commit: impl FnOnce(&Assigned) -> Result<u64>,
    ) -> Result<Begun> {
        let log = Arc::clone(topic.partition(number)?);
        log.check_readable()?;
        let committed = self.group.and_then(|group| self.committed.get(group, (topic.id(), number)));
        let mut assigned = Assigned::new(topic, log);
        let is_to_be_noted = committed.is_none();
        let position = match committed {
            Some(committed) => committed.offset + u64::from(is_planted(Bug::BegunTooLate)),
            None if self.start == Start::Committed => {
                let group = self.group.unwrap_or_default().to_owned();
                return Err(Error::NoCommittedOffset { group, partition: assigned.topic_partition() });
            }
            None => without_commit(&assigned)?,
        };
        assigned.seek(position);
        Ok(Begun { assigned, is_to_be_noted })
    }
}
