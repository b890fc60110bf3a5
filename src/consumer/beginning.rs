//! Where a consumer begins in a partition: where its group is, or else where it was told to begin.

use super::assigned::Assigned;
use super::policy::Start;
use crate::error::{Error, Result};
use crate::group::CommittedOffsets;
use crate::sync::Arc;
use crate::topic::Topic;

/// What decides on the first position.
pub(super) struct Beginning<'a> {
    pub(super) committed: &'a CommittedOffsets,
    pub(super) group: Option<&'a str>,
    pub(super) start: Start,
}

impl Beginning<'_> {
    /// A partition that is there when the consumer is built.
    pub(super) fn at_build(&self, topic: Arc<Topic>, number: u32) -> Result<Assigned> {
        self.begin(topic, number, |assigned| match self.start {
            Start::Latest => Ok(assigned.log().end_offset()),
            Start::Timestamp(timestamp) => assigned.offset_since(timestamp),
            Start::Earliest | Start::Committed => Ok(assigned.log().start_offset()),
        })
    }

    /// A partition that came later: nothing that was sent to it may be missed, so it begins with its very
    /// first record.
    pub(super) fn later(&self, topic: Arc<Topic>, number: u32) -> Result<Assigned> {
        self.begin(topic, number, |_| Ok(0))
    }

    fn begin(
        &self,
        topic: Arc<Topic>,
        number: u32,
        without_commit: impl FnOnce(&Assigned) -> Result<u64>,
    ) -> Result<Assigned> {
        let log = Arc::clone(topic.partition(number)?);
        log.check_readable()?;
        let committed = self.group.and_then(|group| self.committed.get(group, topic.id(), number));
        let mut assigned = Assigned::new(topic, log);
        let position = match committed {
            Some(committed) => committed.offset,
            None if self.start == Start::Committed => {
                let group = self.group.unwrap_or_default().to_owned();
                return Err(Error::NoCommittedOffset { group, partition: assigned.topic_partition() });
            }
            None => without_commit(&assigned)?,
        };
        assigned.seek(position);
        Ok(assigned)
    }
}
