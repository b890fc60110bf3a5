//! Whose log it is, and where it lives.

use std::path::{Path, PathBuf};

use super::file_reads::FileReads;
use super::flush::FlushQueue;
use super::segment_header::segment_file_name;
use super::upkeep::Upkeep;
use crate::clock::Clock;
use crate::ids::TopicPartition;
use crate::storage::{DataDir, Storage};
use crate::sync::Arc;

/// Whose log it is.
#[derive(Clone, Debug)]
pub(crate) struct LogIdentity {
    pub(crate) topic: Arc<str>,
    /// Of the topic; by it groups know what they have committed.
    pub(crate) topic_id: u64,
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
    pub(crate) dir: Arc<Path>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flush: FlushQueue,
    pub(crate) reads: Arc<FileReads>,
    pub(crate) upkeep: Arc<Upkeep>,
}

impl LogPlace {
    /// What its segments need to open their files.
    pub(crate) fn files(&self) -> LogDir {
        LogDir { storage: self.data_dir.shared_storage(), path: Arc::clone(&self.dir) }
    }
}

/// The directory of a log, for those who open files in it. Does not keep the broker's directory locked.
#[derive(Clone, Debug)]
pub(crate) struct LogDir {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) path: Arc<Path>,
}

impl LogDir {
    /// The file of a segment.
    pub(crate) fn segment(&self, base_offset: u64) -> PathBuf {
        self.path.join(segment_file_name(base_offset))
    }
}
