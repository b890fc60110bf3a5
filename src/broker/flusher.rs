//! The background thread of a broker on disk: soon after a log says that it has unsynced records, it syncs
//! them, so that a power loss takes no more than the last moments.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::log::{FlushRequest, Syncable};
use crate::sync::Weak;

/// How long records wait for others before they are synced together.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// Starts the thread. It ends when told to, or when no log is left that could ask for anything.
pub(super) fn start(requests: Receiver<FlushRequest>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("ottla-flusher".to_owned()).spawn(move || run(&requests))
}

fn run(requests: &Receiver<FlushRequest>) {
    while let Ok(FlushRequest::Sync(first)) = requests.recv() {
        let (logs, stopped) = gather(requests, first);
        for log in logs {
            if let Some(log) = log.upgrade() {
                // A failed sync is not lost: the log keeps it, refuses appends with it, and `close` returns
                // it.
                drop(log.sync());
            }
        }
        if stopped {
            return;
        }
    }
}

/// The logs that ask for a sync within one interval, and whether the flusher was told to stop.
fn gather(requests: &Receiver<FlushRequest>, first: Weak<dyn Syncable>) -> (Vec<Weak<dyn Syncable>>, bool) {
    let mut logs = vec![first];
    let deadline = Instant::now() + SYNC_INTERVAL;
    loop {
        match requests.recv_deadline(deadline) {
            Ok(FlushRequest::Sync(log)) => logs.push(log),
            Ok(FlushRequest::Stop) => return (logs, true),
            // The interval is over, or nobody is left; the next `recv` tells which.
            Err(_) => return (logs, false),
        }
    }
}
