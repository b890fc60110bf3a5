//! The background thread that gives up what topics do not keep, and compacts what is to be compacted. It runs
//! while there is a topic that asks for either: a round after each interval, and when a segment was sealed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::group::Coordinator;
use crate::ids::TopicPartition;
use crate::log::{Keeper, Progress};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, Event, Instant, Listener, Mutex, OnceLock, Ordering, Weak, has_ended};
use crate::topic::catalog::{Catalog, Round};

pub(super) const THREAD_NAME: &str = "ottla-housekeeper";

/// How long nothing is looked at unless something happens, unless a broker says otherwise.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Looks after the logs of a broker. Knows them weakly: it ends with them.
#[derive(Debug)]
pub(super) struct Housekeeper {
    /// Of the housekeeper itself, for its thread.
    this: Weak<Self>,
    parts: OnceLock<Parts>,
    /// `None`: nothing is done in the background.
    interval: Option<Duration>,
    /// Notified when there may be something to do, and when the thread is to end.
    event: Event,
    ended: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held during a round: of two at a time, one would only be in the other's way.
    round: Mutex<()>,
    /// What the last round could not do, and why.
    faults: Mutex<Vec<(TopicPartition, Error)>>,
    /// Why there is no thread, if there is to be one.
    start_fault: Mutex<Option<Error>>,
}

#[derive(Debug)]
struct Parts {
    catalog: Weak<Catalog>,
    coordinator: Weak<Coordinator>,
}

impl Housekeeper {
    /// Does nothing in the background if `interval` is [`Duration::MAX`].
    pub(super) fn new(interval: Duration) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            parts: OnceLock::new(),
            interval: (interval < Duration::MAX).then_some(interval),
            event: Event::new(),
            ended: AtomicBool::new(false),
            thread: Mutex::default(),
            round: Mutex::default(),
            faults: Mutex::default(),
            start_fault: Mutex::default(),
        })
    }

    /// Begins to look after these.
    pub(super) fn begin(&self, catalog: &Arc<Catalog>, coordinator: &Arc<Coordinator>) {
        let (catalog_, coordinator_) = (Arc::downgrade(catalog), Arc::downgrade(coordinator));
        self.parts.get_or_init(|| Parts { catalog: catalog_, coordinator: coordinator_ });
        if catalog.needs_housekeeping() {
            self.wake();
        }
    }

    /// Does on this thread what is to be done.
    pub(super) fn run_round(&self, catalog: &Catalog) -> Round {
        let _one_at_a_time = self.round.lock();
        let mut round = catalog.keep_house(&|| self.ended.load(Ordering::Acquire));
        let faults = round.faults.iter().map(|(log, error)| (log.clone(), error.duplicate()));
        *self.faults.lock() = faults.collect();
        round.faults.reverse();
        round
    }

    /// What the last round could not do.
    pub(super) fn faults(&self) -> Vec<(TopicPartition, Error)> {
        self.faults.lock().iter().map(|(log, error)| (log.clone(), error.duplicate())).collect()
    }

    /// Whether the thread should run and does not.
    pub(super) fn has_ended(&self) -> bool {
        let is_over = self.thread.lock().as_ref().is_some_and(has_ended);
        is_over || self.start_fault.lock().is_some()
    }

    /// Has the thread end, for good.
    pub(super) fn ask_to_end(&self) {
        self.ended.store(true, Ordering::Release);
        self.event.notify(usize::MAX);
    }

    /// Ends the thread, and waits for that; for good.
    pub(super) fn end(&self) {
        self.ask_to_end();
        let running = self.thread.lock().take();
        if let Some(running) = running {
            // A panic has said so on its way out.
            drop(running.join());
        }
    }

    fn start(&self) {
        let mut thread = self.thread.lock();
        let Some(interval) = self.interval.filter(|_| thread.is_none()) else { return };
        let Some(this) = self.this.upgrade().filter(|this| !this.ended.load(Ordering::Acquire)) else {
            return;
        };
        let started = thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || this.run(interval));
        match started {
            Ok(handle) => *thread = Some(handle),
            // It is tried again when there is something to do the next time.
            Err(error) => {
                let error = Error::io("start the thread", Path::new(THREAD_NAME))(error);
                *self.start_fault.lock() = Some(error);
                return;
            }
        }
        *self.start_fault.lock() = None;
    }

    fn run(&self, interval: Duration) {
        loop {
            // Registered before looking: what comes from now on is not missed.
            let listener = self.event.listen();
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            let Some(catalog) = self.parts.get().and_then(|parts| parts.catalog.upgrade()) else { return };
            // What a panic leaves undone is tried in the next round.
            drop(catch_unwind(AssertUnwindSafe(|| self.run_round(&catalog))));
            let is_needed = catalog.needs_housekeeping();
            drop(catalog);
            match Instant::now().checked_add(interval).filter(|_| is_needed) {
                Some(next) => drop(listener.wait_deadline(next)),
                None => listener.wait(),
            }
        }
    }
}

impl Keeper for Housekeeper {
    fn progress(&self, group: &str, topic_id: u64, partition: u32, counts_staged: bool) -> Progress {
        let coordinator = self.parts.get().and_then(|parts| parts.coordinator.upgrade());
        coordinator.map_or(Progress::Unknown, |coordinator| {
            coordinator.committed().progress(group, (topic_id, partition), counts_staged)
        })
    }

    fn wake(&self) {
        self.start();
        self.event.notify(usize::MAX);
    }

    fn let_go(&self) {
        self.event.notify(usize::MAX);
    }
}

/// What [`Broker::run_housekeeping`](crate::Broker::run_housekeeping) did, over all topics.
///
/// ```
/// use ottla::Broker;
///
/// let broker = Broker::in_memory();
/// let done = broker.run_housekeeping()?;
/// assert_eq!((done.deleted_records, done.compacted_records), (0, 0));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Housekeeping {
    /// Records that a retention gave up. In a topic that is compacted too, offsets that held no record any
    /// more count as well.
    pub deleted_records: u64,
    /// What their segments or chunks took.
    pub deleted_bytes: u64,
    /// Files that are gone with them.
    pub deleted_segments: u64,
    /// Records that compaction removed, tombstones among them.
    pub compacted_records: u64,
    /// By which logs became smaller through compaction.
    pub compacted_bytes: u64,
    /// Tombstones that compaction removed.
    pub removed_tombstones: u64,
}

impl Housekeeping {
    /// What a round did, or the first of what it could not do.
    pub(super) fn of(round: Round) -> Result<Self> {
        let Round { deleted_records, deleted_bytes, deleted_segments, compacted, mut faults } = round;
        if let Some((_, error)) = faults.pop() {
            return Err(error);
        }
        Ok(Self {
            deleted_records,
            deleted_bytes,
            deleted_segments,
            compacted_records: compacted.records,
            compacted_bytes: compacted.bytes,
            removed_tombstones: compacted.tombstones,
        })
    }
}
