//! How a log asks for a sync in the background: it sends its syncer to the flusher, once, when it has records
//! that a power loss could take. The thread that does it belongs to the broker.

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::syncer::Syncer;
use crate::sync::Arc;

/// What the flusher is told.
#[derive(Debug)]
pub(crate) enum FlushRequest {
    /// A log has unsynced records, or left some when it was dropped.
    Sync(Arc<Syncer>),
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

    /// Asks for a sync; whether anybody listens.
    pub(crate) fn request(&self, syncer: &Arc<Syncer>) -> bool {
        self.requests.send(FlushRequest::Sync(Arc::clone(syncer))).is_ok()
    }

    /// Tells the flusher to end.
    pub(crate) fn stop(&self) {
        // If nobody listens, it has ended already.
        drop(self.requests.send(FlushRequest::Stop));
    }
}
