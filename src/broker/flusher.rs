//! The background thread of a broker on disk. It writes the batches that nobody waits for, at once; and it
//! syncs what was acknowledged before it was synced, soon, so that a power loss takes no more than the last
//! moments.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Result;
use crate::log::{FlushRequest, Syncer};
use crate::sync::channel::{Receiver, RecvTimeoutError};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Instant};

pub(super) const THREAD_NAME: &str = "ottla-flusher";

/// Starts the thread. It ends when told to, or when no log is left that could ask for anything.
pub(super) fn start(requests: Receiver<FlushRequest>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || Flusher::default().run(&requests))
}

/// The logs to be synced, by the time at which they are due and the order in which they asked.
#[derive(Default)]
struct Flusher {
    due: BTreeMap<(Instant, u64), Arc<Syncer>>,
    asked: u64,
}

impl Flusher {
    fn run(mut self, requests: &Receiver<FlushRequest>) {
        loop {
            let received = match self.due.first_key_value() {
                Some((&(due, _), _)) => requests.recv_deadline(due),
                None => requests.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(FlushRequest::Write(log)) => work(&log, Syncer::write_as_asked),
                Ok(FlushRequest::SyncWithin(interval, log)) => {
                    self.asked += 1;
                    self.due.insert((Instant::now() + interval, self.asked), log);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(FlushRequest::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.sync(|_| true);
                }
            }
            let now = Instant::now();
            self.sync(|due| due <= now);
        }
    }

    /// Syncs the logs that are due, oldest request first.
    fn sync(&mut self, is_due: impl Fn(Instant) -> bool) {
        while let Some(first) = self.due.first_entry()
            && is_due(first.key().0)
        {
            work(&first.remove(), Syncer::sync_as_asked);
        }
    }
}

/// Failures are not lost: a log tells those who wait, refuses appends after a failed sync, and `close`
/// returns it. If the log is gone, nobody is left to be told. A panic of the storage ends one log, not all.
fn work(log: &Syncer, work: impl FnOnce(&Syncer) -> Result<()>) {
    if catch_unwind(AssertUnwindSafe(|| drop(work(log)))).is_err() {
        log.give_up("the storage panicked");
    }
}
