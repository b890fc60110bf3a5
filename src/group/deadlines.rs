//! The thread that takes partitions from members that do not poll, and does not wait for ever for those that
//! are to come back. It runs only while a group has such a limit.

use std::path::Path;

use super::coordinator::{Coordinator, NextLook};
use crate::error::{Error, Result};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Event, Instant, Listener, Mutex, Weak};

const THREAD_NAME: &str = "ottla-groups";

/// Looks after the time limits of groups.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Notified when a limit may have come nearer, and when the thread is to end.
    event: Event,
    thread: Mutex<Thread>,
}

#[derive(Debug, Default)]
struct Thread {
    running: Option<JoinHandle<()>>,
    /// How often somebody wanted the thread to run.
    asked: u64,
    ended: bool,
}

impl Deadlines {
    /// Lets the thread run from now on, until there is nothing to look after.
    pub(super) fn watch(self: &Arc<Self>, coordinator: &Arc<Coordinator>) -> Result<()> {
        let mut thread = self.thread.lock();
        thread.asked += 1;
        if thread.running.is_none() && !thread.ended {
            let (deadlines, coordinator) = (Arc::clone(self), Arc::downgrade(coordinator));
            let started = thread::Builder::new()
                .name(THREAD_NAME.to_owned())
                .spawn(move || deadlines.run(&coordinator));
            let start = Error::io("start the thread", Path::new(THREAD_NAME));
            thread.running = Some(started.map_err(start)?);
        }
        drop(thread);
        self.look_again();
        Ok(())
    }

    /// A limit may have come nearer.
    pub(super) fn look_again(&self) {
        self.event.notify(usize::MAX);
    }

    /// Ends the thread, and waits for that; for good.
    pub(super) fn end(&self) {
        let running = {
            let mut thread = self.thread.lock();
            thread.ended = true;
            thread.running.take()
        };
        self.look_again();
        if let Some(running) = running {
            // A panic has said so on its way out.
            drop(running.join());
        }
    }

    fn run(&self, coordinator: &Weak<Coordinator>) {
        loop {
            // Registered before looking: what changes from now on is not missed.
            let listener = self.event.listen();
            let asked = self.thread.lock().asked;
            let Some(alive) = coordinator.upgrade() else { return };
            let next = alive.evict_late(Instant::now());
            drop(alive);
            {
                let mut thread = self.thread.lock();
                if thread.ended {
                    return;
                }
                if next.is_none() && thread.asked == asked {
                    // Dropped, not joined: it ends now.
                    thread.running = None;
                    return;
                }
            }
            match next {
                Some(NextLook::At(due)) => drop(listener.wait_deadline(due)),
                Some(NextLook::Whenever) => listener.wait(),
                // Somebody has joined meanwhile.
                None => {}
            }
        }
    }
}
