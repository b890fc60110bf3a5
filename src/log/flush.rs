//! How a log asks for work in the background: it sends its syncer to the flusher. The thread that does it
//! belongs to the broker.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::syncer::Syncer;
use crate::sync::Arc;

/// What the flusher is told.
#[derive(Debug)]
pub(crate) enum FlushRequest {
    /// A log has batches that nobody else writes: to be done at once.
    Write(Arc<Syncer>),
    /// A log has records that a power loss could take, or left some when it was dropped: to be synced after
    /// at most this time.
    SyncWithin(Duration, Arc<Syncer>),
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

    /// Asks for staged batches to be written; whether anybody listens.
    pub(super) fn write(&self, syncer: &Arc<Syncer>) -> bool {
        self.requests.send(FlushRequest::Write(Arc::clone(syncer))).is_ok()
    }

    /// Asks for a sync within `interval`; whether anybody listens.
    pub(super) fn sync_within(&self, interval: Duration, syncer: &Arc<Syncer>) -> bool {
        self.requests.send(FlushRequest::SyncWithin(interval, Arc::clone(syncer))).is_ok()
    }

    /// Tells the flusher to end.
    pub(crate) fn stop(&self) {
        // If nobody listens, it has ended already.
        drop(self.requests.send(FlushRequest::Stop));
    }
}
