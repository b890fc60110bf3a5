//! What does not work now, of a broker that is open.

use super::{Broker, Disk, housekeeper};
use crate::error::Error;
use crate::ids::TopicPartition;

/// What does not work now, from [`Broker::health`].
///
/// ```
/// use ottla::Broker;
///
/// let broker = Broker::in_memory();
/// let health = broker.health();
/// for fault in &health.partitions {
///     println!("{} takes no records: {}", fault.partition, fault.error);
/// }
/// assert!(health.is_good());
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Health {
    /// Partitions that take no records, for now or until the broker is opened again, and why. Reading them
    /// works.
    pub partitions: Vec<PartitionFault>,
    /// Partitions of which records could not be deleted or compacted when that was last tried in the
    /// background or by [`Broker::run_housekeeping`], and why. It is tried again.
    pub housekeeping: Vec<PartitionFault>,
    /// Threads of the broker that have ended though it is open. What they were for is not done any more: open
    /// it again.
    pub ended_threads: Vec<&'static str>,
}

/// A partition with which something is wrong, as part of [`Health`].
#[derive(Debug)]
#[non_exhaustive]
pub struct PartitionFault {
    /// The partition.
    pub partition: TopicPartition,
    /// In [`Health::partitions`], what a send to it answers: [`Error::PartitionFenced`],
    /// [`Error::PartitionFailed`], [`Error::StorageFull`], or [`Error::ReadOnly`]. In
    /// [`Health::housekeeping`], what could not be done.
    pub error: Error,
}

impl Health {
    /// Whether everything works.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.partitions.is_empty() && self.housekeeping.is_empty() && self.ended_threads.is_empty()
    }
}

impl Broker {
    /// What does not work now: partitions that are fenced, or that wait for a fault to end, and background
    /// work that has ended. Does no I/O; to be asked now and then.
    #[must_use]
    pub fn health(&self) -> Health {
        let faults = self.inner.catalog.faults().into_iter();
        let partitions =
            faults.map(|(log, error)| PartitionFault { partition: log.topic_partition(), error }).collect();
        let unkept = self.inner.housekeeper.faults().into_iter();
        let housekeeping = unkept.map(|(partition, error)| PartitionFault { partition, error }).collect();
        let mut ended_threads = self.inner.disk.as_ref().map_or(Vec::new(), Disk::ended_threads);
        if self.inner.housekeeper.has_ended() {
            ended_threads.push(housekeeper::THREAD_NAME);
        }
        Health { partitions, housekeeping, ended_threads }
    }
}
