//! How a log asks for a sync in the background: it sends itself to the flusher, once, when it has records
//! that a power loss could take. The thread that does it belongs to the broker.

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::error::Result;
use crate::sync::Weak;

/// What the flusher syncs: a log.
pub(crate) trait Syncable: Send + Sync + std::fmt::Debug {
    /// Makes everything appended so far survive a power loss.
    fn sync(&self) -> Result<()>;
}

/// What the flusher is told.
#[derive(Debug)]
pub(crate) enum FlushRequest {
    /// This log has unsynced records. Weak: the flusher keeps no log, and no directory, alive.
    Sync(Weak<dyn Syncable>),
    /// What a log had not synced when its last handle was dropped.
    SyncLast(Box<dyn Syncable>),
    /// The broker is being closed.
    Stop,
}

/// The way to the flusher. When the last clone is gone, the flusher ends.
#[derive(Clone, Debug)]
pub(crate) struct FlushQueue {
    requests: Sender<FlushRequest>,
}

impl FlushQueue {
    pub(crate) fn new() -> (Self, Receiver<FlushRequest>) {
        let (requests, receiver) = unbounded();
        (Self { requests }, receiver)
    }

    /// Asks for a sync of `log`; whether anybody listens.
    pub(crate) fn request(&self, log: Weak<dyn Syncable>) -> bool {
        self.requests.send(FlushRequest::Sync(log)).is_ok()
    }

    /// Leaves the flusher what a log that is being dropped has not synced.
    pub(crate) fn leave(&self, last: Box<dyn Syncable>) {
        // If nobody listens, the broker was closed, and that has synced everything.
        drop(self.requests.send(FlushRequest::SyncLast(last)));
    }

    /// Tells the flusher to end.
    pub(crate) fn stop(&self) {
        // If nobody listens, it has ended already.
        drop(self.requests.send(FlushRequest::Stop));
    }
}
