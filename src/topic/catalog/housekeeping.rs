//! A round of the housekeeper through all logs: what their topics' retention gives up is deleted, in one
//! change of the catalog file, and what is to be compacted is. A log that fails does not keep the others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Catalog, Entries, Topic, TopicEntry};
use crate::error::{Error, Result};
use crate::ids::{COMMITTED_OFFSETS_TOPIC, TopicPartition};
use crate::log::{Care, Compacted, LogIdentity, PartitionLog, Trimmed};
use crate::sync::Arc;
use crate::trace::{self, Later};

/// What a round did.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) deleted_records: u64,
    pub(crate) deleted_bytes: u64,
    pub(crate) deleted_segments: u64,
    pub(crate) compacted: Compacted,
    /// What could not be done.
    pub(crate) faults: Vec<(TopicPartition, Error)>,
}

/// A log that may begin later.
struct Due {
    topic: Arc<Topic>,
    log: Arc<PartitionLog>,
    start_offset: u64,
}

impl Round {
    fn note<T>(&mut self, log: &PartitionLog, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            // It has ended meanwhile.
            Err(Error::TopicDeleted { .. } | Error::Closed) => None,
            Err(error) => {
                self.faults.push((log.identity().topic_partition(), error));
                None
            }
        }
    }

    fn count(&mut self, trimmed: &Trimmed) {
        self.deleted_records += trimmed.records;
        self.deleted_bytes += trimmed.bytes;
        self.deleted_segments += trimmed.segments.len() as u64;
    }
}

impl Catalog {
    /// Whether anything is to be done in the background, some time.
    pub(crate) fn needs_housekeeping(&self) -> bool {
        if self.check_changeable("delete records").is_err() {
            return false;
        }
        let needs_it = |topic: &Arc<Topic>| {
            let care = topic.partition(0).ok().and_then(|log| log.settings().care());
            // Of commits, there are rarely so many.
            care.is_some() && (&**topic.name() != COMMITTED_OFFSETS_TOPIC || topic.has_sealed_segment())
        };
        self.all_topics().iter().any(needs_it)
    }

    /// Goes through all logs once, unless `is_ending` says that it is to stop.
    pub(crate) fn keep_house(&self, is_ending: &dyn Fn() -> bool) -> Round {
        let mut round = Round::default();
        if self.check_changeable("delete records").is_err() {
            return round;
        }
        let now = self.upkeep.now();
        let mut due = Vec::new();
        self.for_each_log(is_ending, |topic, log, care| {
            let start_offset = guarded(log, || log.give_up_by(care, now));
            if let Some(start_offset) = round.note(log, start_offset).flatten() {
                due.push(Due { topic: Arc::clone(topic), log: Arc::clone(log), start_offset });
            }
        });
        self.give_up(due, &mut round);
        self.for_each_log(is_ending, |_, log, care| {
            let Some(compaction) = &care.compaction else { return };
            let compacted = guarded(log, || log.compact(compaction, self.upkeep.now_as_timestamp()));
            if let Some(done @ Compacted { records, tombstones, bytes }) = round.note(log, compacted) {
                if done != Compacted::default() {
                    let LogIdentity { topic, partition, .. } = log.identity();
                    trace::compaction(topic, *partition, records, bytes, tombstones);
                }
                round.compacted.records += records;
                round.compacted.tombstones += tombstones;
                round.compacted.bytes += bytes;
                if bytes > 0 {
                    self.upkeep.notify_room();
                }
            }
        });
        round
    }

    fn for_each_log(
        &self,
        is_ending: &dyn Fn() -> bool,
        mut work: impl FnMut(&Arc<Topic>, &Arc<PartitionLog>, &Care),
    ) {
        for topic in self.all_topics() {
            for log in topic.partitions() {
                if is_ending() {
                    return;
                }
                if let Some(care) = log.settings().care().filter(|_| log.may_be_changed()) {
                    work(&topic, log, &care);
                }
            }
        }
    }

    /// Deletes the fronts of logs. What a power loss must not undo is synced before, and written down, all of
    /// it together, before any file is removed.
    fn give_up(&self, mut due: Vec<Due>, round: &mut Round) {
        if due.is_empty() {
            return self.remove_what_is_left(round);
        }
        if due.iter().any(Due::goes_by_commits)
            && let Err(error) = self.sync_commits()
        {
            let blocked;
            (blocked, due) = due.into_iter().partition(Due::goes_by_commits);
            let blocked: Vec<Due> = blocked;
            let logs = blocked.iter().map(|due| due.log.identity().topic_partition());
            round.faults.extend(logs.map(|log| (log, error.duplicate())));
        }
        due.retain(|Due { log, start_offset, .. }| {
            round.note(log, guarded(log, || log.sync_beyond(*start_offset))).is_some()
        });
        let mut told = Later::default();
        // Held to the end: the directory of a topic that is deleted and made anew has files of the same
        // names.
        let mut entries = self.entries.lock();
        if entries.closed {
            return;
        }
        due.retain(|Due { log, start_offset, .. }| {
            round.note(log, log.check_trim(*start_offset)).unwrap_or(false)
        });
        if let Err(error) = self.write_down(&mut entries, &due) {
            due.retain(|due| {
                let is_on_disk = due.log.dir().is_some();
                if is_on_disk {
                    round.faults.push((due.log.identity().topic_partition(), error.duplicate()));
                }
                !is_on_disk
            });
        }
        for Due { log, start_offset, .. } in due {
            let trimmed = log.give_up(start_offset);
            round.count(&trimmed);
            let (records, bytes, identity) = (trimmed.records, trimmed.bytes, log.identity().clone());
            told.tell(move || {
                trace::retention(&identity.topic, identity.partition, start_offset, records, bytes);
            });
            round.note(&log, guarded(&log, || log.remove_files(&trimmed.segments)));
        }
        drop(entries);
        drop(told);
        self.remove_what_is_left(round);
    }

    /// Writes down where logs on disk begin.
    fn write_down(&self, entries: &mut Entries, due: &[Due]) -> Result<()> {
        let on_disk = || due.iter().filter(|due| due.log.dir().is_some());
        if on_disk().next().is_none() {
            return Ok(());
        }
        self.change_list_or_keep(entries, |list: &mut Vec<TopicEntry>| {
            for Due { topic, log, start_offset } in on_disk() {
                let entry = list.iter_mut().find(|entry| entry.id == topic.id());
                let partition = log.identity().partition as usize;
                if let Some(partition) = entry.and_then(|entry| entry.partitions.get_mut(partition)) {
                    partition.start_offset = partition.start_offset.max(*start_offset);
                }
            }
        })
    }

    /// Tries again to remove files that could not be removed.
    fn remove_what_is_left(&self, round: &mut Round) {
        for topic in self.all_topics() {
            for log in topic.partitions().filter(|log| log.has_unremoved_files() && log.may_be_changed()) {
                let _entries = self.entries.lock();
                if log.check_readable().is_ok() {
                    round.note(log, guarded(log, || log.remove_files(&[])));
                }
            }
        }
    }

    /// Makes what groups have committed survive a power loss.
    fn sync_commits(&self) -> Result<()> {
        match self.topic(COMMITTED_OFFSETS_TOPIC) {
            Ok(topic) => topic.partitions().try_for_each(|log| guarded(log, || log.sync())),
            Err(_) => Ok(()),
        }
    }
}

impl Due {
    /// Whether it may depend on commits that a power loss could take.
    fn goes_by_commits(&self) -> bool {
        let care = self.log.settings().care();
        self.log.dir().is_some() && care.is_some_and(|care| !care.retention.read_by.is_empty())
    }
}

/// A storage that panics has failed.
fn guarded<T>(log: &PartitionLog, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let partition = log.identity().topic_partition();
        Err(Error::PartitionFailed { partition, fault: "the storage panicked".to_owned() })
    })
}
