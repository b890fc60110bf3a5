//! What may still be done with a log, and the fault that ended appends, if one did.

use super::identity::LogIdentity;
use crate::error::{Error, Result};
use crate::sync::{AtomicU8, OnceLock, Ordering};

/// A log goes from each of these only to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Open = 0,
    /// A fault ended appends; records can be read.
    Failed = 1,
    Deleted = 2,
    Closed = 3,
}

/// The status of a log. Changed by the holder of the appender's lock, or by a failed sync; read by anybody.
#[derive(Debug)]
pub(super) struct Health {
    status: AtomicU8,
    fault: OnceLock<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { status: AtomicU8::new(Status::Open as u8), fault: OnceLock::new() }
    }
}

impl Health {
    #[inline]
    fn status(&self) -> Status {
        match self.status.load(Ordering::Acquire) {
            0 => Status::Open,
            1 => Status::Failed,
            2 => Status::Deleted,
            _ => Status::Closed,
        }
    }

    pub(super) fn end(&self, status: Status) {
        self.status.fetch_max(status as u8, Ordering::AcqRel);
    }

    /// From now on the log takes no records. The first fault is the one to tell of.
    pub(super) fn fail(&self, fault: String, log: &LogIdentity) -> Error {
        let fault = self.fault.get_or_init(|| fault);
        self.end(Status::Failed);
        failed(fault, log)
    }

    /// Whether records can be read.
    #[inline]
    pub(super) fn check_readable(&self, log: &LogIdentity) -> Result<()> {
        match self.status() {
            Status::Open | Status::Failed => Ok(()),
            Status::Deleted => Err(Error::TopicDeleted { topic: log.topic.to_string() }),
            Status::Closed => Err(Error::Closed),
        }
    }

    /// Whether records can be appended.
    #[inline]
    pub(super) fn check_appendable(&self, log: &LogIdentity) -> Result<()> {
        if self.status() == Status::Open {
            return Ok(());
        }
        self.check_readable(log)?;
        self.check_not_failed(log)
    }

    /// Whether no fault has happened.
    pub(super) fn check_not_failed(&self, log: &LogIdentity) -> Result<()> {
        self.fault.get().map_or(Ok(()), |fault| Err(failed(fault, log)))
    }
}

fn failed(fault: &str, log: &LogIdentity) -> Error {
    Error::PartitionFailed { partition: log.topic_partition(), fault: fault.to_owned() }
}
