//! Topics: a name, settings and partitions; and the [`catalog`] that knows them all.

pub(crate) mod catalog;
mod catalog_file;
mod checked_text;
mod checkpoint;

#[cfg(fuzzing)]
pub(crate) use catalog_file::{decode as decode_catalog, encode as encode_catalog};
#[cfg(fuzzing)]
pub(crate) use checkpoint::{decode as decode_checkpoint, encode as encode_checkpoint};

use crate::config::TopicSettings;
use crate::error::{Error, Result};
use crate::log::PartitionLog;
use crate::sync::grow_list::GrowList;
use crate::sync::{Arc, RwLock};

/// A topic. Producers and consumers hold it, never the broker; it may get further partitions and other
/// settings while they do.
#[derive(Debug)]
pub(crate) struct Topic {
    name: Arc<str>,
    /// Random: tells this topic from an earlier one of the same name.
    id: u64,
    /// The first version of the catalog that has it; 0 if it was there when the broker was opened.
    made_at: u64,
    /// For those who ask; the logs have what they need of it.
    settings: RwLock<TopicSettings>,
    partitions: GrowList<Arc<PartitionLog>>,
}

impl Topic {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The first version of the catalog that has it; 0 if it was there when the broker was opened.
    pub(crate) fn made_at(&self) -> u64 {
        self.made_at
    }

    pub(crate) fn settings(&self) -> TopicSettings {
        self.settings.read().clone()
    }

    /// The logs, by partition number.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Arc<PartitionLog>> {
        self.partitions.iter()
    }

    /// How many partitions there are. It may rise at any moment, and never falls.
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

    /// Takes over settings, and partitions that come after those it has. The catalog calls it, one call at a
    /// time.
    fn apply(&self, settings: TopicSettings, added: Vec<Arc<PartitionLog>>) {
        for log in self.partitions() {
            log.apply_settings(&settings);
        }
        *self.settings.write() = settings;
        added.into_iter().for_each(|log| self.partitions.push(log));
    }

    /// Whether a log of it has more than the segment that is written to.
    pub(crate) fn has_sealed_segment(&self) -> bool {
        self.partitions().any(|log| log.has_sealed_segment())
    }

    /// Whether it was deleted, or is being deleted: that begins with the first partition.
    pub(crate) fn is_deleted(&self) -> bool {
        let first = self.partitions.get(0).map(|log| log.check_readable());
        matches!(first, Some(Err(Error::TopicDeleted { .. })))
    }

    /// Whether the topic is neither deleted nor closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.partitions().try_for_each(|log| log.check_readable())
    }

    /// Makes everything sent so far survive a power loss; the first error of those that its logs gave.
    pub(crate) fn flush(&self) -> Result<()> {
        self.on_all(PartitionLog::flush)
    }

    /// Ends the topic for all handles; the first error of those that its logs gave.
    pub(crate) fn close(&self) -> Result<()> {
        self.on_all(PartitionLog::close)
    }

    fn on_all(&self, call: impl Fn(&PartitionLog) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        for log in self.partitions() {
            outcome = outcome.and(call(log));
        }
        outcome
    }
}
