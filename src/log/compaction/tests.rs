//! Compacting logs, checked against everything that was appended to them.

mod faulty;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::Duration;

use super::Compacted;
use crate::clock::{ManualClock, Timestamp};
use crate::config::{Compaction, Durability, RecoveryPolicy, TopicConfig, TopicDefaults, TopicSettings};
use crate::log::partition_log::PartitionLog;
use crate::log::segment_header::segment_file_name;
use crate::log::{Cursor, FileReads, Files, FlushQueue, FlushRequest, LogIdentity, LogPlace, Request};
use crate::record::frame::NewRecord;
use crate::storage::{DataDir, MemoryStorage, Storage};
use crate::sync::Arc;
use crate::sync::channel::Receiver;

const DELETE_RETENTION: u64 = 1_000;
const KEYS: u64 = 12;

/// A record: offset, key, value.
type Seen = (u64, Option<Vec<u8>>, Option<Vec<u8>>);

type Asked = Receiver<FlushRequest>;

/// The same numbers for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // Xorshift64, by Marsaglia.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A log, on a disk that outlives it or in memory, and what was appended to it.
struct Subject {
    disk: Option<MemoryStorage>,
    clock: Arc<ManualClock>,
    log: Arc<PartitionLog>,
    /// Nobody does what the flusher is asked for.
    asked: Option<Asked>,
    appended: Vec<Seen>,
    /// When a compaction could first have met a tombstone, by offset.
    met: BTreeMap<u64, i64>,
    /// One that reads on all the time, and what it saw last.
    reader: Cursor,
}

fn settings(on_disk: bool) -> TopicSettings {
    let config = TopicConfig::new().segment_bytes(4 << 10).compaction(Compaction::by_key());
    let durability = if on_disk { Durability::ProcessCrash } else { Durability::Memory };
    config.durability(durability).settings(&TopicDefaults::on_disk()).expect("valid")
}

fn identity() -> LogIdentity {
    LogIdentity { topic: "t".into(), topic_id: 1, partition: 0, id: 7 }
}

fn open(
    storage: &Arc<dyn Storage>,
    clock: &Arc<ManualClock>,
    everything: bool,
) -> (Arc<PartitionLog>, Asked) {
    let dir = Path::new("/data/t-0");
    let data_dir = DataDir::own(Arc::clone(storage), Path::new("/data")).expect("free");
    let (flush, asked) = FlushQueue::new();
    let place = LogPlace {
        data_dir: Arc::new(data_dir),
        dir: dir.into(),
        clock: Arc::clone(clock) as _,
        flush,
        reads: Arc::new(FileReads::default()),
        upkeep: Arc::default(),
    };
    if storage.list(dir).is_err() {
        storage.create_dir_all(dir).expect("in memory");
        PartitionLog::create(&identity(), &place).expect("in memory");
    }
    let request = Request { everything, ..Request::of_new_log() };
    let found = PartitionLog::examine(identity(), place, &request).expect("readable");
    let (log, found) = PartitionLog::open(found, &settings(true), RecoveryPolicy::Strict).expect("sound");
    assert!(found.damaged.is_empty() && found.torn_tail.is_none(), "{found:?}");
    (log, asked)
}

impl Subject {
    fn new(on_disk: bool) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let disk = on_disk.then(MemoryStorage::default);
        let (log, asked) = match &disk {
            Some(disk) => {
                let (log, asked) = open(&(Arc::new(disk.clone()) as _), &clock, false);
                (log, Some(asked))
            }
            None => (PartitionLog::in_memory(identity(), &settings(false), &Arc::default()), None),
        };
        let (appended, met) = (Vec::new(), BTreeMap::new());
        Self { disk, clock, log, asked, appended, met, reader: Cursor::new(0) }
    }

    fn append(&mut self, records: &[(Option<u64>, bool)], size: usize) {
        let offset = self.appended.len() as u64;
        let seen: Vec<Seen> = records
            .iter()
            .zip(offset..)
            .map(|(&(key, is_tombstone), offset)| {
                let value = (!is_tombstone).then(|| format!("{offset:0size$}").into_bytes());
                (offset, key.map(|key| format!("key {key}").into_bytes()), value)
            })
            .collect();
        let new: Vec<_> = seen
            .iter()
            .map(|(offset, key, value)| NewRecord {
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &[],
                timestamp: *offset as i64,
            })
            .collect();
        assert_eq!(self.log.append(&new).expect("open"), offset);
        self.appended.extend(seen);
    }

    fn now(&self) -> i64 {
        crate::clock::Clock::now(&*self.clock).as_millis()
    }

    fn compact(&mut self, max_keys: usize) -> Compacted {
        self.log.sync().expect("no fault");
        self.log.compaction().pass.lock().max_keys = max_keys;
        let how = Compaction::by_key()
            .min_dirty_percent(0)
            .delete_retention(Duration::from_millis(DELETE_RETENTION));
        let done = self.log.compact(&how, Timestamp::from_millis(self.now())).expect("no fault");
        let now = self.now();
        for (offset, key, value) in &self.appended {
            if key.is_some() && value.is_none() {
                self.met.entry(*offset).or_insert(now);
            }
        }
        done
    }

    fn reopen(&mut self, everything: bool) {
        if let Some(disk) = &self.disk {
            self.log.close().expect("no fault");
            self.log = PartitionLog::in_memory(identity(), &settings(false), &Arc::default());
            let (log, asked) = open(&(Arc::new(disk.clone()) as _), &self.clock, everything);
            (self.log, self.asked) = (log, Some(asked));
            self.reader.seek(self.reader.offset());
        }
    }

    fn read(&self, cursor: &mut Cursor) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(run) = self.log.fetch(cursor, &Files::Here).expect("sound") {
            let records = run.frames().filter(|frame| frame.is_record());
            let before = seen.len();
            seen.extend(records.map(|frame| {
                (frame.offset(), frame.key().map(<[u8]>::to_vec), frame.value().map(<[u8]>::to_vec))
            }));
            assert_eq!(run.records(), seen.len() - before);
        }
        seen
    }

    /// Where the part begins that is not to be touched.
    fn head(&self) -> u64 {
        let view = self.log.view().read();
        match self.disk {
            Some(_) => view.last_segment().map_or(0, |last| last.base_offset()),
            None => view.chunks().last().map_or(0, |last| last.base_offset()),
        }
    }

    /// What is true of a log at any time.
    fn check(&mut self) -> Vec<Seen> {
        let (start, head) = (self.log.start_offset(), self.head());
        let seen = self.read(&mut Cursor::new(start));
        assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        for record in &seen {
            assert_eq!(record, &self.appended[record.0 as usize], "unchanged");
        }
        let is_there = |offset: u64| seen.binary_search_by_key(&offset, |record| record.0).is_ok();
        assert!((head.max(start)..self.log.end_offset()).all(is_there), "the head is untouched");
        let latest: BTreeMap<_, _> = self
            .appended
            .iter()
            .filter_map(|(offset, key, value)| Some((key.clone()?, (*offset, value))))
            .collect();
        for (key, (offset, value)) in &latest {
            if *offset < start || is_there(*offset) {
                continue;
            }
            let met = self.met.get(offset).filter(|_| value.is_none());
            let is_over = met.is_some_and(|met| self.now() - met >= DELETE_RETENTION as i64);
            assert!(is_over, "{:?} of offset {offset} is gone", String::from_utf8_lossy(key));
            let is_back = seen.iter().any(|record| record.1.as_ref() == Some(key));
            assert!(!is_back, "what {:?} was before came back", String::from_utf8_lossy(key));
        }
        let middle = start + (self.log.end_offset() - start) / 2;
        let from_middle: Vec<_> = seen.iter().filter(|record| record.0 >= middle).cloned().collect();
        assert_eq!(self.read(&mut Cursor::new(middle)), from_middle);
        let found = self.log.find_timestamp(middle as i64).expect("sound").map(|(offset, _)| offset);
        assert_eq!(found, from_middle.first().map(|record| record.0));
        seen
    }

    /// Below the head, one record of a key at most.
    fn check_compacted(&mut self) {
        let head = self.head();
        let mut keys: Vec<_> =
            self.check().into_iter().filter(|record| record.0 < head).map(|record| record.1).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "one of a key");
        assert!(!keys.contains(&None), "none without a key");
    }
}

fn random(seed: u64, on_disk: bool) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut subject = Subject::new(on_disk);
    for _ in 0..400 {
        match chance.below(12) {
            0..=5 => {
                let records: Vec<_> = (0..1 + chance.below(8))
                    .map(|_| {
                        let key = (chance.below(20) > 0).then(|| chance.below(KEYS));
                        (key, chance.below(5) == 0)
                    })
                    .collect();
                subject.append(&records, 20 + chance.below(300) as usize);
            }
            6 => {
                subject.compact(1 + chance.below(2 * KEYS) as usize);
                subject.check();
            }
            7 => {
                // A pass with room for all keys, and one more for what was too much for those before.
                subject.compact(100);
                subject.check_compacted();
            }
            8 => subject.clock.advance(Duration::from_millis(chance.below(DELETE_RETENTION))),
            9 => {
                subject.reopen(chance.below(2) == 0);
                subject.check();
            }
            10 if chance.below(4) == 0 => {
                let (start, end) = (subject.log.start_offset(), subject.log.end_offset());
                let offset = start + chance.below(end - start + 1);
                if on_disk {
                    // Nobody writes down where the log begins but a catalog.
                    continue;
                }
                drop(subject.log.trim(offset));
                subject.check();
            }
            _ => {
                let mut reader = std::mem::replace(&mut subject.reader, Cursor::new(0));
                if reader.offset() < subject.log.start_offset() {
                    reader.seek(subject.log.start_offset());
                }
                let seen = subject.read(&mut reader);
                assert!(seen.iter().all(|record| *record == subject.appended[record.0 as usize]));
                subject.reader = reader;
            }
        }
    }
}

#[test]
fn random_logs_keep_the_latest_of_each_key() {
    for seed in 0..25 {
        for on_disk in [true, false] {
            if catch_unwind(|| random(seed, on_disk)).is_err() {
                panic!("with seed {seed}, on disk: {on_disk}");
            }
        }
    }
}

#[test]
fn small_neighbours_become_one_file_and_an_old_opening_is_whole() {
    let mut subject = Subject::new(true);
    (0..200).for_each(|number| subject.append(&[(Some(number % 3), false)], 100));
    let disk = subject.disk.clone().expect("on disk");
    let files = || disk.list(Path::new("/data/t-0")).expect("there").len();
    let before = files();
    let done = subject.compact(100);
    assert!(before > 5 && files() == 2, "{before} files, then {}", files());
    assert!(done.records > 100 && done.bytes > 10_000, "{done:?}");
    assert_eq!(subject.compact(100), Compacted::default(), "nothing is left to do");
    subject.check_compacted();
    subject.reopen(true);
    subject.check_compacted();
}

#[test]
fn a_tombstone_stays_until_it_was_there_long_enough_and_takes_the_key_with_it() {
    for on_disk in [true, false] {
        let mut subject = Subject::new(on_disk);
        let fill = |subject: &mut Subject| {
            (0..200).for_each(|number| subject.append(&[(Some(100 + number % 2), false)], 100));
        };
        subject.append(&[(Some(1), false), (Some(2), false)], 10);
        subject.append(&[(Some(1), true)], 10);
        fill(&mut subject);
        let keys = |subject: &Subject| {
            let seen = subject.read(&mut Cursor::new(0));
            seen.iter().map(|record| record.0).filter(|offset| *offset < 3).collect::<Vec<_>>()
        };
        subject.compact(100);
        assert_eq!(keys(&subject), [1, 2], "the tombstone is there, what it removes is not");
        assert_eq!(subject.log.tombstones_removed_below(), 0);
        subject.clock.advance(Duration::from_millis(DELETE_RETENTION - 1));
        fill(&mut subject);
        subject.compact(100);
        assert_eq!(keys(&subject), [1, 2], "it is not time yet");
        subject.reopen(false);
        subject.clock.advance(Duration::from_millis(1));
        fill(&mut subject);
        subject.compact(100);
        assert_eq!(keys(&subject), [1]);
        assert_eq!(subject.log.tombstones_removed_below(), 3);
        subject.check_compacted();
    }
}

/// The name of the last segment, of which nothing was synced, may be lost with the power.
#[test]
fn what_follows_a_compacted_segment_that_became_the_last_one_is_met_anew() {
    let mut subject = Subject::new(true);
    subject.append(&[(Some(1), true)], 10);
    (0..100).for_each(|number| subject.append(&[(Some(2 + number % 2), false)], 100));
    subject.compact(100);
    let end = subject.head();
    subject.log.close().expect("no fault");
    let last = Path::new("/data/t-0").join(segment_file_name(end));
    subject.disk.as_ref().expect("on disk").remove_file(&last).expect("it is there");
    subject.appended.truncate(end as usize);
    subject.reopen(true);
    assert_eq!(subject.log.end_offset(), end);
    subject.clock.advance(Duration::from_millis(2 * DELETE_RETENTION));
    subject.append(&[(Some(3), true)], 10);
    assert_eq!(subject.head(), end, "it is in a segment of its own");
    (0..100).for_each(|_| subject.append(&[(Some(4), false)], 100));
    subject.compact(100);
    let seen = subject.check();
    assert!(seen.iter().any(|record| record.0 == end), "the tombstone is there");
}

/// min_lag of zero does not depend on the clock.
#[test]
fn a_clock_that_went_back_does_not_stop_compaction_without_a_lag() {
    let mut subject = Subject::new(true);
    (0..200).for_each(|number| subject.append(&[(Some(number % 3), false)], 100));
    subject.log.sync().expect("no fault");
    let how = Compaction::by_key().min_dirty_percent(0);
    // An hour before.
    let before = subject.now() - 3_600_000;
    let done = subject.log.compact(&how, Timestamp::from_millis(before)).expect("no fault");
    assert!(done.records > 100, "{done:?}");
}

/// What is known of the ages of chunks goes with the chunks.
#[test]
fn ages_of_chunks_do_not_pile_up_in_a_compacted_log_in_memory() {
    let config = TopicConfig::new()
        .durability(Durability::Memory)
        .memory_limit(64 << 10)
        .compaction(Compaction::by_key().min_dirty_percent(0).max_lag(Duration::from_millis(1)));
    let settings = config.settings(&TopicDefaults::on_disk()).expect("valid");
    let log = PartitionLog::in_memory(identity(), &settings, &Arc::default());
    let value = [7; 900];
    for number in 0..40_000_u64 {
        let key = (number % 3).to_string();
        let record = NewRecord { key: Some(key.as_bytes()), value: Some(&value), headers: &[], timestamp: 0 };
        log.append(&[record]).expect("there is room");
    }
    let (chunks, times) = {
        let stage = log.stage().lock();
        (log.view().read().chunks().count(), format!("{stage:?}"))
    };
    let times = times.split("times: ").nth(1).expect("there").split(']').next().expect("there").to_owned();
    let entries = times.matches('(').count();
    assert!(entries < 100, "{chunks} chunks, {entries} entries");
}
