//! How a table follows the log of one partition: what it has read, and what makes it read anew.

use super::change_log::ChangeLog;
use super::row::Row;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::log::{Cursor, Files, PartitionLog, Run};
use crate::sync::Arc;

/// A table's place in one partition.
#[derive(Debug)]
pub(super) struct Follower {
    log: Arc<PartitionLog>,
    place: Arc<TopicPartition>,
    cursor: Cursor,
    /// The log's start, as far as the table knows: it has no row below it.
    start_offset: u64,
    /// Tombstones below this offset can be gone without the table having a row that they would have removed.
    sure_below: u64,
    /// The rows of the partition while it is read anew.
    anew: Option<Rows>,
}

impl Follower {
    pub(super) fn new(log: &Arc<PartitionLog>) -> Self {
        // Before the start: what is removed from here on is noticed.
        let sure_below = log.tombstones_removed_below();
        let start_offset = log.start_offset();
        Self {
            log: Arc::clone(log),
            place: Arc::new(log.identity().topic_partition()),
            cursor: Cursor::new(start_offset),
            start_offset,
            sure_below,
            anew: None,
        }
    }

    pub(super) fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// Whether the table is not up to date with the partition.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.anew.is_some() || self.log.has_news(&self.cursor, self.start_offset)
    }

    /// Takes into `rows` what was in the log when this began; with files that are read elsewhere, perhaps
    /// only some of it.
    pub(super) fn catch_up(&mut self, rows: &mut Rows, changes: &mut ChangeLog, files: &Files) -> Result<()> {
        let mut target = Target { rows, changes };
        loop {
            if self.may_have_missed_tombstones() {
                self.begin_anew();
            }
            if !self.read_to_end(&mut target, files)? {
                break;
            }
            // They may have gone while it was read.
            if !self.may_have_missed_tombstones() {
                self.sure_below = self.sure_below.max(self.cursor.offset());
                if let Some(anew) = self.anew.take() {
                    target.replace_partition(self.place.partition, &anew);
                }
                break;
            }
        }
        self.follow_start(&mut target);
        Ok(())
    }

    fn may_have_missed_tombstones(&self) -> bool {
        self.log.tombstones_removed_below() > self.sure_below
    }

    /// Reads from the first record on, beside the rows that there are.
    #[cold]
    fn begin_anew(&mut self) {
        self.sure_below = self.log.tombstones_removed_below();
        self.cursor.seek(self.log.start_offset());
        self.anew = Some(Rows::default());
    }

    /// Whether everything that was there has been read. Batches are taken whole, but for those that are still
    /// being read elsewhere.
    fn read_to_end(&mut self, target: &mut Target<'_>, files: &Files) -> Result<bool> {
        let end_offset = self.log.end_offset();
        loop {
            match self.log.fetch(&mut self.cursor, files) {
                Ok(Some(run)) => self.take(&run, target),
                Ok(None) => {
                    let reads_here = matches!(files, Files::Here);
                    return Ok(reads_here || self.cursor.offset() >= end_offset);
                }
                // What lay there is gone, and so are all rows that it could have changed.
                Err(Error::OffsetOutOfRange { earliest, .. }) if self.cursor.offset() < earliest => {
                    self.cursor.seek(earliest);
                }
                Err(error) => return Err(error),
            }
            if self.cursor.offset() >= end_offset && self.cursor.is_between_batches() {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, run: &Run, target: &mut Target<'_>) {
        let records = run.frames().filter(|frame| frame.is_record());
        for row in records.filter_map(|frame| Row::of_record(&self.place, frame)) {
            match &mut self.anew {
                None => target.apply(row),
                Some(anew) if row.value().is_none() => drop(anew.remove(row.key())),
                Some(anew) => anew.put(Arc::new(row)),
            }
        }
    }

    /// Removes the rows whose records were deleted from the front of the log.
    fn follow_start(&mut self, target: &mut Target<'_>) {
        let start_offset = self.log.start_offset();
        if start_offset > self.start_offset {
            self.start_offset = start_offset;
            for row in target.rows.below(self.place.partition, start_offset) {
                target.apply(row.removal());
            }
        }
    }
}

/// What a table keeps.
struct Target<'a> {
    rows: &'a mut Rows,
    changes: &'a mut ChangeLog,
}

impl Target<'_> {
    /// Takes a row, or removes the one of a key that is gone.
    fn apply(&mut self, row: Row) {
        let row = Arc::new(row);
        if row.value().is_some() {
            self.rows.put(Arc::clone(&row));
        } else if self.rows.remove(row.key()).is_none() {
            return;
        }
        self.changes.note(&row);
    }

    /// Makes the rows of a partition those that were found by reading it anew.
    #[cold]
    fn replace_partition(&mut self, partition: u32, found: &Rows) {
        for row in self.rows.below(partition, u64::MAX) {
            if found.get(row.key()).is_none() {
                self.apply(row.removal());
            }
        }
        for row in found.iter() {
            let known = self.rows.get(row.key());
            if known.is_none_or(|known| known.offset() != row.offset() || known.partition() != partition) {
                self.rows.put(Arc::clone(row));
                self.changes.note(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::{Compaction, TopicConfig};
    use crate::record::frame::NewRecord;
    use crate::topic::Topic;
    use crate::topic::catalog::Catalog;

    #[derive(Default)]
    struct Fixture {
        rows: Rows,
        changes: ChangeLog,
    }

    impl Fixture {
        fn catch_up(&mut self, follower: &mut Follower) {
            follower.catch_up(&mut self.rows, &mut self.changes, &Files::Here).expect("readable");
            assert!(!follower.has_news());
        }

        fn keys(&self) -> Vec<(&[u8], u64)> {
            self.rows.iter().map(|row| (row.key(), row.offset())).collect()
        }
    }

    fn topic() -> Arc<Topic> {
        Catalog::in_memory(Arc::default()).create("t", &TopicConfig::new()).expect("a free name")
    }

    fn send(log: &PartitionLog, key: &str, value: Option<&[u8]>) {
        let record = NewRecord { key: Some(key.as_bytes()), value, headers: &[], timestamp: 0 };
        log.append(&[record]).expect("it fits");
    }

    #[test]
    fn reading_anew_removes_what_is_not_there_and_tells_only_of_what_is_different() {
        let topic = topic();
        let log = topic.partition(0).expect("it has one");
        for key in ["a", "b", "a"] {
            send(log, key, Some(b"1"));
        }
        let (mut table, mut follower) = (Fixture::default(), Follower::new(log));
        table.catch_up(&mut follower);
        let watcher = table.changes.add_watcher();
        // The row of a key of which the log has no trace, as when its tombstone has gone too.
        table.rows.put(Arc::new(Row::new(&follower.place, (0, 0), b"stale", Some(b"1"))));
        // The row of another partition is none of its business.
        let elsewhere = Arc::new(TopicPartition::new("t", 1));
        table.rows.put(Arc::new(Row::new(&elsewhere, (0, 0), b"elsewhere", Some(b"1"))));
        send(log, "c", Some(b"2"));
        send(log, "b", None);
        follower.begin_anew();
        assert!(follower.has_news());
        table.catch_up(&mut follower);
        assert_eq!(table.keys(), [(&b"a"[..], 2), (b"c", 3), (b"elsewhere", 0)]);
        let told = std::iter::from_fn(|| table.changes.take(watcher));
        let mut told: Vec<_> = told.map(|row| (row.key().to_vec(), row.value().is_some())).collect();
        told.sort();
        assert_eq!(told, [(b"b".to_vec(), false), (b"c".to_vec(), true), (b"stale".to_vec(), false)]);
    }

    #[test]
    fn a_key_whose_tombstone_was_compacted_away_before_it_was_read_is_removed_all_the_same() {
        let topic = topic();
        let log = topic.partition(0).expect("it has one");
        let compaction = Compaction::by_key().min_dirty_percent(0).delete_retention(Duration::from_millis(1));
        let fill_and_compact = |now| {
            for number in 0..200 {
                send(log, ["x", "y"][number % 2], Some(&[7; 10_000]));
            }
            log.compact(&compaction, Timestamp::from_millis(now)).expect("in memory");
        };
        let (mut table, mut follower) = (Fixture::default(), Follower::new(log));
        send(log, "gone", Some(b"1"));
        send(log, "stays", Some(b"1"));
        table.catch_up(&mut follower);
        let watcher = table.changes.add_watcher();
        send(log, "gone", None);
        fill_and_compact(0);
        fill_and_compact(10);
        assert_eq!(log.tombstones_removed_below(), 3, "there is no trace of the key in the log");
        table.catch_up(&mut follower);
        let keys: Vec<_> = table.keys().into_iter().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(keys, [&b"stays"[..], b"x", b"y"]);
        let told = std::iter::from_fn(|| table.changes.take(watcher));
        let told: Vec<_> = told.map(|row| (row.key().to_vec(), row.value().is_some())).collect();
        assert_eq!(told, [(b"gone".to_vec(), false), (b"x".to_vec(), true), (b"y".to_vec(), true)]);

        // What went after it was read is not missed.
        send(log, "stays", None);
        table.catch_up(&mut follower);
        fill_and_compact(20);
        fill_and_compact(30);
        assert!(log.tombstones_removed_below() > 3 && !follower.may_have_missed_tombstones());
    }

    #[test]
    fn there_is_news_until_it_is_read_and_when_the_log_begins_later_or_ends() {
        let topic = topic();
        let log = topic.partition(0).expect("it has one");
        let (mut table, mut follower) = (Fixture::default(), Follower::new(log));
        assert!(!follower.has_news(), "an empty log");
        send(log, "a", Some(b"1"));
        assert!(follower.has_news());
        table.catch_up(&mut follower);
        drop(log.trim(1));
        assert!(follower.has_news());
        table.catch_up(&mut follower);
        assert_eq!(table.keys(), []);
        log.close().expect("in memory");
        assert!(follower.has_news());
        let mut changes = ChangeLog::default();
        let closed = follower.catch_up(&mut table.rows, &mut changes, &Files::Here);
        assert!(matches!(closed, Err(Error::Closed)));
    }
}
