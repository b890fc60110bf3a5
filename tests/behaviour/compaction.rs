//! A topic that is compacted by key, as its users see it. Time is the test's own, and nothing is done in the
//! background unless a test says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ottla::{Broker, Compaction, Error, OwnedRecord, Raw, Retention, Start, TopicConfig};

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);
/// As small as segments can be; in memory, the first chunk.
const SEGMENT: u64 = 4_096;

fn eager() -> Compaction {
    Compaction::by_key().min_dirty_percent(0)
}

fn create(broker: &Broker, how: Compaction) {
    let config = TopicConfig::new().segment_bytes(SEGMENT).compaction(how);
    broker.create_topic("prices", config).expect("a free name");
}

/// So much that what came before it is not in the piece that is written to.
fn fill(broker: &Broker) {
    let producer = broker.producer::<String, Raw>("prices").expect("it exists");
    for _ in 0..40 {
        producer.send("filler", &[7; 450]).expect("sends");
    }
}

fn send(broker: &Broker, key: &str, value: Option<&str>) -> u64 {
    let producer = broker.producer::<String, Option<String>>("prices").expect("it exists");
    producer.send(key, value).expect("sends").offset
}

fn all(broker: &Broker) -> Vec<OwnedRecord> {
    all_of(broker, "prices")
}

/// Those records that are no fillers, by offset.
fn kept(broker: &Broker) -> BTreeMap<u64, (String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let records = all(broker).into_iter().filter(|record| record.key.as_deref() != Some(b"filler"));
    records
        .map(|record| {
            let key = text(record.key.as_deref().expect("it has one"));
            (record.offset, (key, record.value.as_deref().map(text)))
        })
        .collect()
}

#[test]
fn the_latest_of_each_key_is_kept_with_its_offset() {
    on_each(|broker, _| {
        create(broker, eager());
        for round in 0..3 {
            for key in ["apple", "pear", "plum"] {
                send(broker, key, Some(&format!("{key} {round}")));
            }
        }
        fill(broker);
        let before = all(broker);
        let done = broker.run_housekeeping().expect("no fault");
        assert!(done.compacted_records >= 6, "{done:?}");
        let expected = [(6, "apple"), (7, "pear"), (8, "plum")];
        let expected = expected.map(|(offset, key)| (offset, (key.to_owned(), Some(format!("{key} 2")))));
        assert_eq!(kept(broker), expected.into());
        let end = broker.describe_topic("prices").expect("it exists").partitions[0].end_offset;
        assert_eq!(end, before.len() as u64);
        // What is left is as it was, timestamps and all.
        for record in all(broker) {
            assert_eq!(record, before[record.offset as usize]);
        }
        assert_eq!(broker.run_housekeeping().expect("no fault").compacted_records, 0);
    });
}

#[test]
fn readers_go_on_from_any_place_across_a_compaction() {
    on_each(|broker, _| {
        create(broker, eager());
        for number in 0..200 {
            send(broker, &format!("key {}", number % 7), Some(&"x".repeat(100)));
        }
        let sleeping = || {
            let mut consumer = reader(broker, "prices");
            let seen = consumer.poll(NOW).expect("readable");
            (consumer, seen)
        };
        let (mut consumer, seen) = sleeping();
        let texts: Vec<Vec<u8>> =
            seen.iter().map(|record| record.value_bytes().unwrap_or_default().to_vec()).collect();
        fill(broker);
        broker.run_housekeeping().expect("no fault");
        assert!(seen.iter().zip(&texts).all(|(record, text)| record.value_bytes() == Some(text)));
        let after = seen.iter().last().expect("it polled").offset() + 1;
        let rest: Vec<u64> = offsets(&drain(&mut consumer));
        let all = offsets(&all(broker));
        assert!(rest.ends_with(&all.iter().copied().filter(|offset| *offset >= after).collect::<Vec<_>>()));
        // An offset that is gone is a good position: reading goes on with the next one.
        for offset in 0..=*all.last().expect("there are records") {
            let mut consumer = reader(broker, "prices");
            consumer.seek("prices", 0, offset).expect("in range");
            let first = consumer.poll(NOW).expect("readable").iter().next().expect("there is one").offset();
            let next = all.iter().copied().find(|there| *there >= offset);
            assert_eq!(Some(first), next);
        }
    });
}

#[test]
fn a_poll_of_few_records_counts_records_and_not_offsets() {
    on_each(|broker, _| {
        create(broker, eager());
        for number in 0..120 {
            send(broker, &format!("key {}", number % 50), Some("value"));
        }
        fill(broker);
        broker.run_housekeeping().expect("no fault");
        let expected = offsets(&all(broker));
        let mut consumer = broker
            .consumer::<Raw, Raw>()
            .topic("prices")
            .group("g")
            .max_records(7)
            .build()
            .expect("it exists");
        let mut seen = Vec::new();
        loop {
            let records = consumer.poll(NOW).expect("readable");
            if records.is_empty() {
                break;
            }
            assert!(records.len() <= 7 && records.iter().count() == records.len());
            seen.extend(records.iter().map(|record| record.offset()));
            consumer.commit(&records).expect("commits");
            // One that takes over goes on there.
            drop(consumer);
            consumer = broker
                .consumer::<Raw, Raw>()
                .topic("prices")
                .group("g")
                .max_records(7)
                .start(Start::Latest)
                .build()
                .expect("it exists");
        }
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_tombstone_goes_when_it_was_met_long_enough_ago_and_not_before() {
    on_each(|broker, clock| {
        create(broker, eager().delete_retention(10 * SECOND));
        send(broker, "apple", Some("3"));
        let tombstone = send(broker, "apple", None);
        fill(broker);
        // It is old, but nobody has met it.
        clock.advance(100 * SECOND);
        broker.run_housekeeping().expect("no fault");
        assert_eq!(kept(broker), [(tombstone, ("apple".to_owned(), None))].into());
        clock.advance(10 * SECOND - Duration::from_millis(1));
        broker.run_housekeeping().expect("no fault");
        assert_eq!(kept(broker).len(), 1);
        clock.advance(Duration::from_millis(1));
        let done = broker.run_housekeeping().expect("no fault");
        assert_eq!((done.removed_tombstones, kept(broker).len()), (1, 0));
    });
}

#[test]
fn what_is_younger_than_the_least_lag_is_left_alone() {
    on_each(|broker, clock| {
        create(broker, eager().min_lag(10 * SECOND));
        send(broker, "apple", Some("3"));
        send(broker, "apple", Some("4"));
        fill(broker);
        clock.advance(9 * SECOND);
        assert_eq!(broker.run_housekeeping().expect("no fault").compacted_records, 0);
        clock.advance(SECOND);
        fill(broker);
        broker.run_housekeeping().expect("no fault");
        assert_eq!(kept(broker).len(), 1);
    });
}

#[test]
fn with_a_greatest_lag_little_is_compacted_too() {
    on_each(|broker, clock| {
        create(broker, Compaction::by_key().min_dirty_percent(100).max_lag(10 * SECOND));
        fill(broker);
        broker.run_housekeeping().expect("no fault");
        send(broker, "apple", Some("3"));
        send(broker, "apple", Some("4"));
        fill(broker);
        clock.advance(9 * SECOND);
        broker.run_housekeeping().expect("no fault");
        assert_eq!(kept(broker).len(), 2, "it is a small part, and not old");
        clock.advance(2 * SECOND);
        broker.run_housekeeping().expect("no fault");
        assert_eq!(kept(broker).len(), 1);
    });
}

#[test]
fn a_record_needs_a_key_and_those_from_before_go() {
    on_each(|broker, _| {
        broker.create_topic("prices", TopicConfig::new().segment_bytes(SEGMENT)).expect("a free name");
        let producer = broker.producer::<Option<String>, String>("prices").expect("it exists");
        producer.send(None, "nobody's").expect("it is not compacted yet");
        broker.alter_topic("prices", TopicConfig::new().compaction(eager())).expect("it may change");
        let refused = [producer.send(None, "x").err(), producer.enqueue(None, "x").err()];
        for error in refused {
            assert!(
                matches!(error, Some(Error::KeyRequired { ref topic }) if topic == "prices"),
                "{error:?}"
            );
        }
        assert_fails!(producer.send_batch([(Some("a"), "x"), (None, "y")]), Error::KeyRequired { .. });
        fill(broker);
        broker.run_housekeeping().expect("no fault");
        assert_eq!(all(broker).iter().filter(|record| record.key.is_none()).count(), 0);
    });
}

#[test]
fn a_topic_may_be_given_up_and_compacted_at_the_same_time() {
    on_each(|broker, clock| {
        let both = TopicConfig::new().segment_bytes(SEGMENT).compaction(eager());
        let both = both.retention(Retention::forever().max_age(100 * SECOND));
        broker.create_topic("prices", both).expect("a free name");
        let old = send(broker, "apple", Some("3"));
        fill(broker);
        clock.advance(60 * SECOND);
        broker.run_housekeeping().expect("no fault");
        assert!(kept(broker).contains_key(&old));
        fill(broker);
        clock.advance(60 * SECOND);
        send(broker, "pear", Some("4"));
        broker.run_housekeeping().expect("no fault");
        let left: Vec<String> = kept(broker).into_values().map(|(key, _)| key).collect();
        assert_eq!(left, ["pear"], "the latest of a key goes too when it is too old");
    });
}

#[test]
fn what_was_compacted_is_so_after_the_next_opening_and_verifies() {
    let (dir, clock) = (temp_dir(), clock());
    let open = || by_hand(Broker::builder().data_dir(dir.path()), &clock);
    create(&open(), eager());
    for round in 0..4 {
        let broker = open();
        for number in 0..100 {
            send(&broker, &format!("key {}", number % 11), Some(&format!("{round} {number}")));
        }
        fill(&broker);
        broker.run_housekeeping().expect("no fault");
        let expected = all(&broker);
        broker.close().expect("no fault");
        let report = Broker::verify(dir.path()).expect("readable");
        let found = report.partitions.iter().find(|found| found.partition.topic == "prices").expect("there");
        assert_eq!((found.records, found.damage.len()), (expected.len() as u64, 0));
        assert_eq!(all(&open()), expected);
    }
}

#[test]
fn compaction_in_the_background_disturbs_nobody() {
    on_both(|broker| {
        let config = TopicConfig::new().partitions(2).segment_bytes(SEGMENT).compaction(eager());
        broker.create_topic("prices", config).expect("a free name");
        let done = AtomicBool::new(false);
        let latest = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
                    let mut consumer = reader(broker, "prices");
                    while !done.load(Ordering::Acquire) {
                        for record in &consumer.poll(SECOND / 100).expect("readable") {
                            let before = last.insert(record.partition(), record.offset());
                            assert!(before.is_none_or(|before| before < record.offset()));
                        }
                        if last.values().sum::<u64>() % 3 == 0 {
                            consumer.seek_to_beginning();
                            last.clear();
                        }
                    }
                });
            }
            let producer = broker.producer::<u64, u64>("prices").expect("it exists");
            let mut latest = BTreeMap::new();
            for number in 0..20_000 {
                producer.send(number % 97, number).expect("sends");
                latest.insert(number % 97, number);
            }
            let held = || all(broker).len() < 10_000;
            until("most of it is removed", held);
            done.store(true, Ordering::Release);
            latest
        });
        let mut seen = BTreeMap::new();
        for record in all(broker) {
            let number =
                |bytes: Option<&[u8]>| u64::from_be_bytes(bytes.expect("there").try_into().expect("eight"));
            seen.insert(number(record.key.as_deref()), number(record.value.as_deref()));
        }
        assert_eq!(seen, latest);
        assert!(broker.health().is_good(), "{:?}", broker.health());
    });
}

#[test]
fn the_log_of_commits_stays_small() {
    let (dir, clock) = (temp_dir(), clock());
    let open = || by_hand(Broker::builder().data_dir(dir.path()), &clock);
    let broker = open();
    broker.create_topic("t", partitions(1)).expect("a free name");
    send_numbered(&broker, "t", 10);
    let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("it exists");
    let records = consumer.poll(NOW).expect("readable");
    let size = || {
        let files = files_in(&dir.path().join("__consumer_offsets-0"));
        let len = |name: &String| std::fs::metadata(dir.path().join("__consumer_offsets-0").join(name));
        files.iter().map(|name| len(name).expect("there").len()).sum::<u64>()
    };
    let metadata = "m".repeat(4_000);
    for _ in 0..4_000 {
        consumer.commit_with_metadata(&records, &metadata).expect("commits");
    }
    let before = size();
    broker.run_housekeeping().expect("no fault");
    assert!(before > 15 << 20 && size() < 9 << 20, "{before} bytes, then {}", size());
    broker.close().expect("no fault");
    let broker = open();
    assert_eq!(committed(&broker, "g").into_values().collect::<Vec<_>>(), [10]);
}

/// Whatever is superseded makes room, however little it is.
#[test]
fn a_full_compacted_topic_in_memory_makes_room_of_what_is_superseded() {
    let broker = Broker::builder().housekeeping_interval(Duration::MAX).open().expect("in memory");
    let config = TopicConfig::new().memory_limit(256 << 10).compaction(Compaction::by_key());
    broker.create_topic("prices", config).expect("valid");
    let prices = broker.producer::<u64, String>("prices").expect("there");
    // 100 keys of 1.5 KiB: 150 KiB of 256 KiB.
    for number in 0..10_000_u64 {
        let outcome = prices.send(number % 100, &"7".repeat(1500));
        assert!(outcome.is_ok(), "record {number}: {outcome:?}");
    }
}
