//! Tables: they hold what a table made anew would hold, at every moment and for every thread.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{
    Broker, Clock, Compaction, Durability, Error, ManualClock, Producer, Raw, RecordPart, Table, Timestamp,
    TopicConfig,
};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

fn with_table(broker: &Broker, count: u32) -> (Producer<String, u64>, Table<String, u64>) {
    broker.create_topic("t", partitions(count)).expect("a free name");
    (broker.producer("t").expect("it exists"), broker.table("t").expect("readable"))
}

/// The value of a key.
fn value(table: &Table<String, u64>, key: &str) -> Option<u64> {
    table.get(key).expect("readable").map(|row| row.value().expect("a number"))
}

/// Everything in the table.
fn held_by(table: &Table<String, u64>) -> BTreeMap<String, u64> {
    let rows = table.iter().expect("readable");
    rows.map(|row| (row.key().expect("text").to_owned(), row.value().expect("a number"))).collect()
}

fn map(rows: &[(&str, u64)]) -> BTreeMap<String, u64> {
    rows.iter().map(|&(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn the_latest_value_of_a_key_is_found_until_its_tombstone() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 3);
        assert!(table.is_empty().expect("readable"));
        producer.send_batch([("a", 1), ("b", 2), ("a", 3)]).expect("sends");
        assert_eq!(held_by(&table), map(&[("a", 3), ("b", 2)]));
        let sent = producer.record(4).key("b").timestamp(Timestamp::from_millis(77)).send().expect("sends");
        let row = table.get("b").expect("readable").expect("it is there");
        assert_eq!((row.key().expect("text"), row.value().expect("a number")), ("b", 4));
        assert_eq!((row.key_bytes(), row.value_bytes()), (&b"b"[..], &4_u64.to_be_bytes()[..]));
        assert_eq!((row.partition(), row.offset()), (sent.partition, sent.offset));
        assert_eq!(row.timestamp(), Timestamp::from_millis(77));

        producer.tombstone("b").send().expect("sends");
        assert!(!table.contains_key("b").expect("readable") && table.contains_key("a").expect("readable"));
        assert_eq!((table.len().expect("readable"), value(&table, "b")), (1, None));
        assert_eq!(row.value().expect("a number"), 4, "what was given out stays");
        producer.tombstone("never sent").send().expect("sends");
        producer.send("b", 5).expect("sends");
        assert_eq!(held_by(&table), map(&[("a", 3), ("b", 5)]));
        assert_eq!(held_by(&table.clone()), held_by(&broker.table("t").expect("readable")));
    });
}

#[test]
fn records_without_a_key_are_passed_over_and_have_no_row() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<Option<String>, u64>("t").expect("it exists");
        let table = broker.table::<Option<String>, u64>("t").expect("readable");
        producer.send(None, 1).expect("sends");
        producer.send(Some(""), 2).expect("sends");
        producer.send(None, 3).expect("sends");
        assert_eq!(table.len().expect("readable"), 1);
        assert!(table.get(None).expect("readable").is_none());
        let row = table.get(Some("")).expect("readable").expect("an empty key is one");
        assert_eq!((row.key().expect("text"), row.value().expect("a number")), (Some(""), 2));
    });
}

#[test]
fn every_thread_reads_its_own_writes() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 3);
        thread::scope(|scope| {
            for number in 0..6 {
                let (producer, table) = (&producer, table.clone());
                scope.spawn(move || {
                    let key = format!("key-{number}");
                    for round in 0..504 {
                        producer.send(&key, round).expect("sends");
                        assert_eq!(value(&table, &key), Some(round));
                        if round % 7 == number {
                            producer.tombstone(&key).send().expect("sends");
                            assert_eq!(value(&table, &key), None);
                        }
                    }
                });
            }
        });
        assert_eq!(table.len().expect("readable"), 6);
    });
}

#[test]
fn what_one_thread_has_read_no_other_thread_reads_an_earlier_state_of() {
    let broker = Broker::in_memory();
    let (producer, table) = with_table(&broker, 1);
    producer.send("a", 0).expect("sends");
    let (highest, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let before = highest.load(Ordering::SeqCst);
                    let read = value(&table, "a").expect("it is never removed");
                    assert!(read >= before, "{read} after {before}");
                    highest.fetch_max(read, Ordering::SeqCst);
                }
            });
        }
        for round in 1..20_000 {
            producer.send("a", round).expect("sends");
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

/// All that was sent, and what a table is to hold.
struct Model {
    /// How seldom records are deleted.
    deletes_one_in: usize,
    /// By partition: keys and values by offset, `None` for a tombstone.
    sent: BTreeMap<u32, BTreeMap<u64, (String, Option<u64>)>>,
}

impl Model {
    fn new(deletes_one_in: usize) -> Self {
        Self { deletes_one_in, sent: BTreeMap::new() }
    }

    fn expected(&self) -> BTreeMap<String, u64> {
        let mut rows = BTreeMap::new();
        for (key, value) in self.sent.values().flat_map(BTreeMap::values) {
            match value {
                Some(value) => rows.insert(key.clone(), *value),
                None => rows.remove(key),
            };
        }
        rows
    }

    /// One step by chance.
    fn step(&mut self, broker: &Broker, rng: &mut Rng) {
        let producer = broker.producer::<String, u64>("t").expect("it exists");
        let key = format!("key-{}", rng.below(30));
        match rng.below(12) {
            0 if rng.one_in(self.deletes_one_in) => {
                let partition = rng.below(self.sent.len().max(1)) as u32;
                let Some(records) = self.sent.get_mut(&partition) else { return };
                let last = records.last_key_value().map_or(0, |(offset, _)| *offset);
                let before = last.saturating_sub(rng.below(20) as u64);
                broker.delete_records("t", partition, before).expect("within the log");
                *records = records.split_off(&before);
            }
            1 | 2 => {
                let at = producer.tombstone(&key).send().expect("sends");
                self.sent.entry(at.partition).or_default().insert(at.offset, (key, None));
            }
            3 => {
                let records: Vec<_> =
                    (0..rng.below(9)).map(|_| (format!("key-{}", rng.below(30)), rng.next())).collect();
                let batch = records.iter().map(|(key, value)| (key.as_str(), *value));
                let places = producer.send_batch(batch).expect("sends");
                for (at, (key, value)) in places.into_iter().zip(records) {
                    self.sent.entry(at.partition).or_default().insert(at.offset, (key, Some(value)));
                }
            }
            _ => {
                let value = rng.next();
                let at = producer.send(&key, value).expect("sends");
                self.sent.entry(at.partition).or_default().insert(at.offset, (key, Some(value)));
            }
        }
    }
}

/// Follows a table by its changes alone.
fn follow(changes: &mut ottla::Changes<String, u64>, rows: &mut BTreeMap<String, u64>) {
    while let Some(change) = changes.next(NOW).expect("readable") {
        let key = change.key().expect("text").to_owned();
        match change.value().expect("a number") {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

#[test]
fn a_table_and_what_its_watchers_are_told_are_what_the_log_says_whatever_was_sent_and_deleted() {
    with_seeds(|rng| {
        on_both(|broker| {
            let rng = &mut Rng(rng.0);
            let (_, table) = with_table(broker, 3);
            let mut model = Model::new(1);
            let (mut eager, mut lazy) = (table.changes().expect("open"), table.changes().expect("open"));
            let (mut told_eager, mut told_lazy) = (BTreeMap::new(), BTreeMap::new());
            for _ in 0..400 {
                model.step(broker, rng);
                if rng.one_in(3) {
                    assert_eq!(held_by(&table), model.expected());
                }
                if rng.one_in(4) {
                    follow(&mut eager, &mut told_eager);
                    assert_eq!(told_eager, model.expected());
                }
            }
            follow(&mut lazy, &mut told_lazy);
            assert_eq!(told_lazy, model.expected());
            assert_eq!(held_by(&broker.table("t").expect("readable")), model.expected());
        });
    });
}

#[test]
fn a_table_is_found_again_in_the_next_life_of_a_directory() {
    with_seeds(|rng| {
        let kept = Kept::Files(MemoryStorage::default());
        let mut broker = kept.open();
        broker.create_topic("t", partitions(3).segment_bytes(4_096)).expect("a free name");
        let mut model = Model::new(1);
        for _ in 0..5 {
            for _ in 0..100 {
                model.step(&broker, rng);
            }
            let table = broker.table::<String, u64>("t").expect("readable");
            assert_eq!(held_by(&table), model.expected());
            broker = kept.open_after(&broker);
            assert_fails!(table.len(), Error::Closed);
            assert_eq!(held_by(&broker.table("t").expect("readable")), model.expected());
        }
        broker.close().expect("all is well");
        let read_only = kept.builder().read_only(true).open().expect("whole");
        assert_eq!(held_by(&read_only.table("t").expect("readable")), model.expected());
    });
}

#[test]
fn partitions_that_come_later_are_followed() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 1);
        producer.send("a", 1).expect("sends");
        assert_eq!(table.len().expect("readable"), 1);
        broker.increase_partitions("t", 3).expect("more");
        for partition in 0..3 {
            producer.record(7).key(&format!("in-{partition}")).partition(partition).send().expect("sends");
        }
        assert_eq!(held_by(&table), map(&[("a", 1), ("in-0", 7), ("in-1", 7), ("in-2", 7)]));
    });
}

#[test]
fn rows_whose_records_were_deleted_or_dropped_for_room_go_too() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 1);
        for (number, key) in ["a", "b", "c", "a", "d"].iter().enumerate() {
            producer.send(key, number as u64).expect("sends");
        }
        assert_eq!(table.len().expect("readable"), 4);
        broker.delete_records("t", 0, 3).expect("within the log");
        assert_eq!(held_by(&table), map(&[("a", 3), ("d", 4)]));
        broker.delete_records("t", 0, 5).expect("within the log");
        assert!(table.is_empty().expect("readable"));
    });
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().memory_limit(1 << 20)).expect("in range");
    let producer = broker.producer::<u32, Raw>("t").expect("it exists");
    let table = broker.table::<u32, Raw>("t").expect("readable");
    for key in 0..3_000 {
        producer.send(key, &[7; 1_000]).expect("sends");
        if key % 100 == 0 {
            assert_eq!(table.len().expect("readable") as u64, held(&broker, "t"));
        }
    }
    assert_eq!(table.len().expect("readable") as u64, held(&broker, "t"));
    assert!(table.len().expect("readable") < 3_000, "the limit was reached");
}

#[test]
fn rows_own_their_bytes_and_keep_no_piece_of_the_log() {
    let broker = Broker::in_memory();
    let (producer, table) = with_table(&broker, 1);
    producer.send("a", 1).expect("sends");
    let row = table.get("a").expect("readable").expect("it is there");
    broker.delete_topic("t").expect("it exists");
    drop(broker);
    assert_eq!(row.clone().value().expect("a number"), 1);
}

#[test]
fn what_does_not_decode_is_the_error_of_its_row_only() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let bytes = broker.producer::<Raw, Raw>("t").expect("it exists");
        bytes.send(b"good", &7_u64.to_be_bytes()).expect("sends");
        bytes.send(b"short", b"7").expect("sends");
        bytes.send(b"\xff", &8_u64.to_be_bytes()).expect("sends");
        let table = broker.table::<String, u64>("t").expect("readable");
        assert_eq!(value(&table, "good"), Some(7));
        let short = table.get("short").expect("readable").expect("it is there");
        let error = short.value().expect_err("too short");
        assert_eq!(
            (error.offset, error.part, error.partition.to_string()),
            (1, RecordPart::Value, "t-0".into())
        );
        assert_eq!(short.value_bytes(), b"7");
        let rows: Vec<_> = table.iter().expect("readable").collect();
        let error = rows[2].key().expect_err("not text");
        assert_eq!((error.offset, error.part), (2, RecordPart::Key));
        assert_eq!((rows.len(), rows[2].value().expect("a number")), (3, 8));
    });
}

#[test]
fn only_topics_of_users_that_are_there_have_tables() {
    on_both(|broker| {
        assert_fails!(broker.table::<String, u64>("t"), Error::TopicNotFound { topic } if topic == "t");
        let (_, table) = with_table(broker, 2);
        assert_eq!(table.topic(), "t");
        drop(broker.consumer::<(), ()>().topic("t").group("g").build().expect("builds"));
        assert_fails!(broker.table::<Raw, Raw>("__consumer_offsets"), Error::InvalidTopicName { .. });
        broker.delete_topic("t").expect("it exists");
        assert_fails!(table.get("a"), Error::TopicDeleted { topic } if topic == "t");
        broker.create_topic("t", partitions(2)).expect("free again");
        assert_fails!(table.iter(), Error::TopicDeleted { .. });
        broker.close().expect("all is well");
        assert_fails!(broker.table::<String, u64>("t"), Error::Closed);
    });
}

#[test]
fn an_iterator_sees_batches_whole_while_others_send() {
    on_both(|broker| {
        // Each batch moves something from one account to the other.
        let (producer, table) = with_table(broker, 1);
        producer.send_batch([("a", 5_000), ("b", 5_000)]).expect("sends");
        let is_over = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..2 {
                let (table, is_over) = (table.clone(), Arc::clone(&is_over));
                scope.spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        assert_eq!(held_by(&table).values().sum::<u64>(), 10_000);
                    }
                });
            }
            for round in 0..3_000 {
                producer.send_batch([("a", round), ("b", 10_000 - round)]).expect("sends");
            }
            is_over.store(true, Ordering::SeqCst);
        });
    });
}

#[test]
fn a_batch_that_is_read_from_files_is_taken_in_whole() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let (producer, table) = with_table(&broker, 1);
    let keys: Vec<String> = (0..4_000).map(|number| format!("{number:0100}")).collect();
    for round in 0..3 {
        producer.send_batch(keys.iter().map(|key| (key.as_str(), round))).expect("sends");
        storage.wait_until_closed("t-0");
        let values: Vec<u64> = held_by(&table).into_values().collect();
        assert_eq!(values, [round; 4_000]);
        assert_eq!(storage.open_files("t-0"), 0, "a table that has read it all holds no file");
    }
}

#[test]
fn a_table_of_a_topic_in_memory_of_a_broker_on_disk_works_too() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).expect("a free name");
    let table = broker.table::<String, u64>("t").expect("readable");
    broker.producer::<String, u64>("t").expect("it exists").send("a", 1).expect("sends");
    assert_eq!(held_by(&table), map(&[("a", 1)]));
}

#[test]
fn a_file_that_cannot_be_read_is_the_error_of_each_call_until_it_can() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let (producer, table) = with_table(&broker, 2);
    let mut changes = table.changes().expect("open");
    for (partition, key) in [(0, "a"), (1, "b")] {
        producer.record(1).key(key).partition(partition).send().expect("sends");
    }
    storage.wait_until_closed("t-");
    storage.refuse(Operation::Read, "t-0", ErrorKind::Other);
    for _ in 0..2 {
        assert_fails!(table.get("a"), Error::Io { .. });
        assert_fails!(table.get("b"), Error::Io { .. });
        assert_fails!(broker.table::<String, u64>("t"), Error::Io { .. });
    }
    let change = changes.next(NOW).expect("told before the error").expect("of the other partition");
    assert_eq!(change.key().expect("text"), "b");
    assert_fails!(changes.next(FOREVER), Error::Io { .. });
    assert_fails!(block_on(changes.next_async()), Error::Io { .. });
    storage.allow_all();
    assert_eq!(held_by(&table), map(&[("a", 1), ("b", 1)]));
    let change = changes.next(FOREVER).expect("readable").expect("it was read");
    assert_eq!(change.key().expect("text"), "a");
}

#[test]
fn tables_that_are_used_often_or_seldom_survive_compaction_and_the_end_of_tombstones() {
    let steps = |kept: Option<&Kept>, rng: &mut Rng| {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        let builder = kept.map_or_else(Broker::builder, Kept::builder);
        let broker = builder.clock(Arc::clone(&clock) as Arc<dyn Clock>).open().expect("nothing is there");
        let compaction = Compaction::by_key().min_dirty_percent(0).delete_retention(Duration::from_millis(5));
        let config = partitions(2).segment_bytes(4_096).compaction(compaction);
        broker.create_topic("t", config).expect("in range");
        let (often, seldom) = (broker.table("t").expect("readable"), broker.table("t").expect("readable"));
        let mut changes = seldom.changes().expect("open");
        let mut told = BTreeMap::new();
        let mut model = Model::new(100);
        let mut removed = 0;
        for _ in 0..4_000 {
            model.step(&broker, rng);
            if rng.one_in(5) {
                assert_eq!(held_by(&often), model.expected());
            }
            if rng.one_in(100) {
                clock.advance(Duration::from_millis(rng.below(10) as u64));
                removed += broker.run_housekeeping().expect("no fault").removed_tombstones;
            }
            if rng.one_in(700) {
                assert_eq!(held_by(&seldom), model.expected());
                follow(&mut changes, &mut told);
                assert_eq!(told, model.expected());
            }
        }
        follow(&mut changes, &mut told);
        assert_eq!(told, model.expected());
        assert_eq!(held_by(&broker.table("t").expect("readable")), model.expected());
        assert!(removed > 0, "tombstones have gone");
    };
    with_seeds(|rng| {
        steps(None, &mut Rng(rng.0));
        steps(Some(&Kept::Files(MemoryStorage::default())), rng);
    });
}
