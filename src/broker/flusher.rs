//! The background thread of a broker on disk. It writes the batches that nobody waits for, at once; and it
//! syncs what was acknowledged before it was synced, soon, so that a power loss takes no more than the last
//! moments. A log that was not used for a while it sends to rest; when nothing is to be done, it sleeps.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

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

/// How long a log is not used before it gives up its file and its memory, or twice as long at most.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What is to be done, by the time at which it is due and the order in which it was asked for.
#[derive(Default)]
struct Flusher {
    due: BTreeMap<(Instant, u64), (Task, Arc<Syncer>)>,
    asked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Sync,
    /// To look whether a log is still in use, which goes to rest if not.
    Look,
}

impl Flusher {
    fn run(mut self, requests: &Receiver<FlushRequest>) {
        loop {
            let received = match self.due.first_key_value() {
                Some((&(due, _), _)) => requests.recv_deadline(due),
                None => requests.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(FlushRequest::Write(log)) => drop(work(&log, Syncer::write_as_asked)),
                Ok(FlushRequest::SyncWithin(interval, log)) => self.plan(interval, Task::Sync, log),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(FlushRequest::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.sync_all();
                }
            }
            self.work_on_due();
        }
    }

    fn plan(&mut self, within: Duration, task: Task, log: Arc<Syncer>) {
        self.asked += 1;
        self.due.insert((Instant::now() + within, self.asked), (task, log));
    }

    /// Does what is due, oldest request first. No log goes to rest while another one waits to be written.
    fn work_on_due(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            match first.remove() {
                (Task::Sync, log) => {
                    let is_synced = work(&log, Syncer::sync_as_asked).is_some();
                    if is_synced && log.is_to_be_looked_at() {
                        self.plan(REST_AFTER, Task::Look, log);
                    }
                }
                (Task::Look, log) => {
                    if work(&log, Syncer::look_as_asked) == Some(true) {
                        self.plan(REST_AFTER, Task::Look, log);
                    }
                    return;
                }
            }
        }
    }

    /// Nothing more will come.
    fn sync_all(self) {
        let to_sync = self.due.into_values().filter(|(task, _)| *task == Task::Sync);
        to_sync.for_each(|(_, log)| {
            work(&log, Syncer::sync_as_asked);
        });
    }
}

/// What came of it. Failures are not lost: a log tells those who wait, refuses appends after a failed sync,
/// and `close` returns it. If the log is gone, nobody is left to be told. A panic of the storage ends one
/// log, not all.
fn work<T>(log: &Syncer, work: impl FnOnce(&Syncer) -> Result<T>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(|| work(log))) {
        Ok(outcome) => outcome.ok(),
        Err(_) => {
            log.give_up("the storage panicked");
            None
        }
    }
}
