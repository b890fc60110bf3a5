//! Whose log it is, and where it lives.

use std::path::PathBuf;

use super::file_reads::FileReads;
use super::flush::FlushQueue;
use crate::clock::Clock;
use crate::ids::TopicPartition;
use crate::storage::DataDir;
use crate::sync::Arc;

/// Whose log it is.
#[derive(Clone, Debug)]
pub(crate) struct LogIdentity {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    /// Random; seeds the CRCs.
    pub(crate) id: u64,
}

impl LogIdentity {
    pub(crate) fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.partition)
    }
}

/// Where a log on disk lives.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    /// The broker's directory: whoever holds a log keeps it locked.
    pub(crate) data_dir: Arc<DataDir>,
    /// The partition's own directory in it.
    pub(crate) dir: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flush: FlushQueue,
    pub(crate) reads: Arc<FileReads>,
}
