//! Syncing a log: one sync at a time, and none after one that failed. Lives apart from the log, so that the
//! flusher, in the middle of a sync, keeps neither the log nor its directory in use.

use super::identity::LogIdentity;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::sync::{Arc, Mutex, Weak};

/// What a sync has to do.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// Oldest first; the last one is the active one.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The end of the log: what is safe when all of them are synced.
    pub(super) end_offset: u64,
}

/// A log, as far as syncing needs it.
pub(super) trait SyncSource: Send + Sync + std::fmt::Debug {
    /// What is not synced yet.
    fn take_unsynced(&self) -> Option<Unsynced>;

    /// Takes note of a sync that succeeded.
    fn synced(&self, done: &Unsynced);

    /// From now on the log takes no records.
    fn fail(&self, fault: String);
}

/// Syncs one log.
#[derive(Debug)]
pub(crate) struct Syncer {
    log: Weak<dyn SyncSource>,
    identity: LogIdentity,
    storage: Arc<dyn Storage>,
    /// What a dropped log left. A lock of its own: leaving something does not wait for a sync.
    left: Mutex<Option<Unsynced>>,
    /// Held during a sync: that it failed is known before the next one begins. A failed sync is final: the
    /// system may have dropped the bytes and report success the next time.
    fault: Mutex<Option<String>>,
}

impl Syncer {
    pub(super) fn new(log: Weak<dyn SyncSource>, identity: LogIdentity, storage: Arc<dyn Storage>) -> Self {
        Self { log, identity, storage, left: Mutex::default(), fault: Mutex::default() }
    }

    /// Makes everything appended so far survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut known_fault = self.fault.lock();
        if let Some(fault) = &*known_fault {
            return Err(self.failed(fault));
        }
        let unsynced = self.log.upgrade().and_then(|log| log.take_unsynced());
        let Some(unsynced) = unsynced.or_else(|| self.left.lock().take()) else { return Ok(()) };
        let outcome = unsynced.segments.iter().try_for_each(|segment| segment.sync(self.storage.as_ref()));
        match (outcome, self.log.upgrade()) {
            (Ok(()), Some(log)) => log.synced(&unsynced),
            (Ok(()), None) => {}
            (Err(error), log) => {
                let fault = known_fault.insert(error.to_string());
                if let Some(log) = log {
                    log.fail(fault.clone());
                }
                return Err(self.failed(fault));
            }
        }
        Ok(())
    }

    /// Takes what a log that is being dropped has not synced.
    pub(super) fn leave(&self, unsynced: Unsynced) {
        *self.left.lock() = Some(unsynced);
    }

    fn failed(&self, fault: &str) -> Error {
        Error::PartitionFailed { partition: self.identity.topic_partition(), fault: fault.to_owned() }
    }
}
