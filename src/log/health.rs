//! What may still be done with a log, and what keeps it from taking records, if anything does.

use super::identity::LogIdentity;
use crate::error::{Error, Result};
use crate::sync::{AtomicU8, Mutex, Ordering};

/// A log goes from each of these only to a later one, but for a suspended one, which may be opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Open = 0,
    /// A fault ended appends for now; records can be read.
    Suspended = 1,
    /// It takes no records; those that are there can be read.
    Fenced = 2,
    Deleted = 3,
    Closed = 4,
}

/// The status of a log. Changed by the holder of the appender's lock, or by the syncer; read by anybody.
#[derive(Debug)]
pub(super) struct Health {
    status: AtomicU8,
    /// Why the log is suspended or fenced.
    reason: Mutex<Option<Box<Error>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { status: AtomicU8::new(Status::Open as u8), reason: Mutex::new(None) }
    }
}

impl Health {
    #[inline]
    pub(super) fn status(&self) -> Status {
        match self.status.load(Ordering::Acquire) {
            0 => Status::Open,
            1 => Status::Suspended,
            2 => Status::Fenced,
            3 => Status::Deleted,
            _ => Status::Closed,
        }
    }

    pub(super) fn end(&self, status: Status) {
        self.status.fetch_max(status as u8, Ordering::AcqRel);
    }

    /// From now on the log takes no records, for this reason.
    pub(super) fn suspend(&self, reason: Error) {
        *self.reason.lock() = Some(Box::new(reason));
        self.end(Status::Suspended);
    }

    /// For good.
    pub(super) fn fence(&self, reason: Error) {
        *self.reason.lock() = Some(Box::new(reason));
        self.end(Status::Fenced);
    }

    /// The fault is mended: unless the log has ended, it takes records again.
    pub(super) fn resume(&self) {
        // Whoever reads that it is open need not know of anything but that.
        let reopened = self.status.compare_exchange(
            Status::Suspended as u8,
            Status::Open as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if reopened.is_ok() {
            *self.reason.lock() = None;
        }
    }

    /// Whether records can be read.
    #[inline]
    pub(super) fn check_readable(&self, log: &LogIdentity) -> Result<()> {
        match self.status() {
            Status::Open | Status::Suspended | Status::Fenced => Ok(()),
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
        self.reason().map_or(Ok(()), Err)
    }

    /// Why it takes no records, if there is a reason.
    pub(super) fn reason(&self) -> Option<Error> {
        self.reason.lock().as_ref().map(|reason| reason.duplicate())
    }
}
