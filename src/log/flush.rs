//! How a log asks for work in the background: it sends its syncer to the flusher. The thread that does it
//! belongs to the broker.

use std::time::Duration;

use super::sync_times::SyncTimes;
use super::syncer::Syncer;
use crate::sync::Arc;
use crate::sync::channel::{Receiver, Sender, unbounded};

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

/// The way to the flusher, and how long syncs took. When the last clone is gone, the flusher ends.
#[derive(Clone, Debug)]
pub(crate) struct FlushQueue {
    requests: Sender<FlushRequest>,
    times: Arc<SyncTimes>,
}

impl FlushQueue {
    pub(crate) fn new() -> (Self, Receiver<FlushRequest>) {
        let (requests, receiver) = unbounded();
        (Self { requests, times: Arc::default() }, receiver)
    }

    /// How long the syncs of the broker took.
    pub(crate) fn times(&self) -> &Arc<SyncTimes> {
        &self.times
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

#[cfg(all(test, not(any(loom, shuttle))))]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::{Durability, RecoveryPolicy, TopicConfig, TopicDefaults};
    use crate::error::Error;
    use crate::log::{LogIdentity, LogPlace, PartitionLog, Request, WrittenBy};
    use crate::record::frame::NewRecord;
    use crate::storage::{DataDir, MemoryStorage};

    /// A new log in memory storage.
    pub(in crate::log) fn log(config: &TopicConfig, flush: FlushQueue) -> Arc<PartitionLog> {
        let storage = Arc::new(MemoryStorage::default());
        let place = LogPlace {
            data_dir: Arc::new(DataDir::own(storage, Path::new("/data")).expect("free")),
            dir: Path::new("/data").into(),
            clock: Arc::new(SystemClock),
            flush,
            reads: Arc::default(),
            upkeep: Arc::default(),
        };
        let identity = LogIdentity { topic: "payments".into(), topic_id: 1, partition: 0, id: 7 };
        PartitionLog::create(&identity, &place).expect("in memory");
        let request = Request::of_new_log();
        let found = PartitionLog::examine(identity, place, &request).expect("readable");
        let settings = config.settings(&TopicDefaults::on_disk()).expect("in range");
        PartitionLog::open(found, &settings, RecoveryPolicy::Strict).expect("no damage").0
    }

    pub(in crate::log) const RECORD: NewRecord<'static> =
        NewRecord { key: None, value: None, headers: &[], timestamp: 0 };

    #[test]
    fn a_flusher_that_is_busy_is_not_asked_again_and_again() {
        for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
            let (flush, requests) = FlushQueue::new();
            let log = log(&TopicConfig::new().durability(durability), flush);
            for _ in 0..100 {
                log.enqueue(&[RECORD], WrittenBy::Flusher).expect("room");
                log.append(&[RECORD]).expect("no fault");
                log.sync().expect("no fault");
            }
            assert!(requests.len() <= 2, "{} requests at {durability:?}", requests.len());
        }
    }

    #[test]
    fn a_log_whose_flusher_has_ended_takes_no_records_and_leaves_nobody_waiting() {
        let (flush, requests) = FlushQueue::new();
        let log = log(&TopicConfig::new().durability(Durability::PowerLoss), flush);
        drop(requests);
        let pending =
            log.enqueue(&[RECORD], WrittenBy::Flusher).expect("it is taken").pending.expect("on disk");
        assert!(pending.outcome(0).expect("decided").is_ok(), "what was taken is written and synced");
        assert!(matches!(log.enqueue(&[RECORD], WrittenBy::Flusher), Err(Error::PartitionFailed { .. })));
        assert!(matches!(log.append(&[RECORD]), Err(Error::PartitionFailed { .. })));
        assert!(log.fault().is_some());
    }

    #[test]
    fn a_shorter_sync_interval_counts_for_the_next_record() {
        let (flush, requests) = FlushQueue::new();
        let config = |seconds| TopicConfig::new().sync_interval(Duration::from_secs(seconds));
        let log = log(&config(3_600), flush);
        log.append(&[RECORD]).expect("no fault");
        log.apply_settings(&config(1).settings(&TopicDefaults::on_disk()).expect("in range"));
        log.append(&[RECORD]).expect("no fault");
        log.append(&[RECORD]).expect("no fault");
        let asked: Vec<u64> = requests
            .try_iter()
            .filter_map(|request| match request {
                FlushRequest::SyncWithin(interval, _) => Some(interval.as_secs()),
                _ => None,
            })
            .collect();
        assert_eq!(asked, [3_600, 1]);
    }
}
