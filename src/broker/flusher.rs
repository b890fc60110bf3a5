//! The background thread of a broker on disk: soon after a log says that it has unsynced records, it syncs
//! them, so that a power loss takes no more than the last moments.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::log::FlushRequest;

/// How long records wait for others before they are synced together.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// Starts the thread. It ends when told to, or when no log is left that could ask for anything.
pub(super) fn start(requests: Receiver<FlushRequest>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("ottla-flusher".to_owned()).spawn(move || run(&requests))
}

fn run(requests: &Receiver<FlushRequest>) {
    // Each round gathers the requests of one interval, beginning with the first.
    while let Ok(first) = requests.recv() {
        let deadline = Instant::now() + SYNC_INTERVAL;
        let later = std::iter::from_fn(|| requests.recv_deadline(deadline).ok());
        let mut logs = Vec::new();
        let mut stopped = false;
        for request in std::iter::once(first).chain(later) {
            match request {
                FlushRequest::Sync(log) => logs.push(log),
                FlushRequest::Stop => {
                    stopped = true;
                    break;
                }
            }
        }
        for log in logs {
            // A failed sync is not lost: the log keeps it, refuses appends with it, and `close` returns it.
            // If the log is gone, nobody is left to be told.
            drop(log.sync());
        }
        if stopped {
            return;
        }
    }
}
