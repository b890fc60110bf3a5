//! Topics: a name, settings and partitions; and the [`catalog`] that knows them all.

pub(crate) mod catalog;
mod catalog_file;

use crate::config::TopicSettings;
use crate::error::{Error, Result};
use crate::log::PartitionLog;
use crate::sync::Arc;

/// A topic. Producers and consumers hold it, never the broker.
#[derive(Debug)]
pub(crate) struct Topic {
    name: Arc<str>,
    /// Random: tells this topic from an earlier one of the same name.
    id: u64,
    settings: TopicSettings,
    partitions: Vec<Arc<PartitionLog>>,
}

impl Topic {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn settings(&self) -> &TopicSettings {
        &self.settings
    }

    /// The logs, by partition number.
    #[inline]
    pub(crate) fn partitions(&self) -> &[Arc<PartitionLog>] {
        &self.partitions
    }

    /// How many partitions there are.
    #[inline]
    pub(crate) fn partition_count(&self) -> u32 {
        self.partitions.len() as u32
    }

    #[inline]
    pub(crate) fn partition(&self, partition: u32) -> Result<&Arc<PartitionLog>> {
        self.partitions.get(partition as usize).ok_or_else(|| self.no_such_partition(partition))
    }

    #[cold]
    fn no_such_partition(&self, partition: u32) -> Error {
        Error::InvalidPartition {
            topic: self.name.to_string(),
            partition,
            partitions: self.partition_count(),
        }
    }

    /// Whether the topic is neither deleted nor closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.partitions.iter().try_for_each(|log| log.check_readable())
    }

    /// Makes everything sent so far survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.partitions.iter().try_for_each(|log| log.sync())
    }

    /// Ends the topic for all handles; the first error of those that its logs gave.
    pub(crate) fn close(&self) -> Result<()> {
        let mut outcome = Ok(());
        for log in &self.partitions {
            outcome = outcome.and(log.close());
        }
        outcome
    }
}
