//! Deleting the oldest records of a partition: what is gone, what stays, and what readers notice.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::thread;

use ottla::{Broker, Durability, Error, OutOfRange, Raw, Timestamp, TopicConfig, TopicPartition};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

/// Records of 1,000 bytes, four to a segment, that are told by their number.
fn send_large(broker: &Broker, count: usize) {
    let producer = broker.producer::<(), String>("t").expect("it exists");
    for number in 0..count {
        producer.record(&format!("{number:01000}")).partition(0).send().expect("a valid record");
    }
}

fn small_segments() -> TopicConfig {
    TopicConfig::new().segment_bytes(4300)
}

fn range(broker: &Broker) -> (u64, u64) {
    let partition = broker.describe_topic("t").expect("it exists").partitions[0];
    (partition.start_offset, partition.end_offset)
}

fn segments(dir: &Path) -> Vec<String> {
    files_in(dir)
        .iter()
        .map(|name| name.trim_start_matches('0').trim_end_matches(".log").to_owned())
        .collect()
}

#[test]
fn records_below_the_offset_are_gone_and_the_others_keep_their_offsets() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        send_numbered(broker, "t", 10);
        for (before, start) in [(0, 0), (3, 3), (3, 3), (1, 3), (9, 9), (0, 9), (10, 10)] {
            assert_eq!(broker.delete_records("t", 0, before).expect("within the log"), start);
            assert_eq!(range(broker), (start, 10));
            let left = all_of(broker, "t");
            assert_eq!(offsets(&left), (start..10).collect::<Vec<_>>());
            assert_eq!(texts(&left), numbered(start as usize..10));
        }
        send_numbered(broker, "t", 1);
        assert_eq!(offsets(&all_of(broker, "t")), [10]);
        assert_eq!(broker.delete_records("t", 1, 0).expect("the other is empty"), 0);
    });
}

#[test]
fn an_offset_beyond_the_end_is_refused_with_the_range() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 5);
        broker.delete_records("t", 0, 2).expect("within the log");
        for beyond in [6, u64::MAX] {
            assert_fails!(
                broker.delete_records("t", 0, beyond),
                Error::OffsetOutOfRange { partition, requested, earliest: 2, latest: 5 }
                    if partition == TopicPartition::new("t", 0) && requested == beyond
            );
        }
        assert_fails!(broker.delete_records("t", 1, 0), Error::InvalidPartition { partitions: 1, .. });
        assert_eq!(range(broker), (2, 5));
    });
}

#[test]
fn a_reader_that_is_below_is_told_even_in_the_middle_of_a_chunk() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 3);
        let policies = [OutOfRange::Error, OutOfRange::Earliest, OutOfRange::Latest];
        let mut consumers = policies.map(|policy| {
            let mut consumer =
                broker.consumer::<Raw, Raw>().topic("t").on_out_of_range(policy).build().expect("it exists");
            assert_eq!(drain(&mut consumer).len(), 3);
            consumer
        });
        send_numbered(broker, "t", 7);
        broker.delete_records("t", 0, 8).expect("within the log");
        let [strict, earliest, latest] = &mut consumers;
        for _ in 0..2 {
            let refused = strict.poll(NOW);
            assert_fails!(refused, Error::OffsetOutOfRange { requested: 3, earliest: 8, latest: 10, .. });
        }
        assert_eq!(offsets(&drain(earliest)), [8, 9]);
        assert!(drain(latest).is_empty());
        assert_eq!(latest.position("t", 0).expect("assigned"), 10);
        strict.seek_to_beginning();
        assert_eq!(offsets(&drain(strict)), [8, 9]);
    });
}

#[test]
fn a_reader_that_is_beyond_notices_nothing() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 6);
        let mut consumer = reader(broker, "t");
        assert_eq!(drain(&mut consumer).len(), 6);
        broker.delete_records("t", 0, 6).expect("within the log");
        assert!(drain(&mut consumer).is_empty());
        send_numbered(broker, "t", 2);
        broker.delete_records("t", 0, 6).expect("nothing more");
        assert_eq!(offsets(&drain(&mut consumer)), [6, 7]);
    });
}

#[test]
fn what_was_polled_stays_valid() {
    on_both(|broker| {
        broker.create_topic("t", small_segments()).expect("a free name");
        send_large(broker, 3_000);
        // From memory and, on disk, from files.
        let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
        let early = consumer.poll(NOW).expect("records");
        consumer.seek("t", 0, 2_990).expect("assigned");
        let late = consumer.poll(NOW).expect("records");
        broker.delete_records("t", 0, 3_000).expect("within the log");
        send_large(broker, 3_000);
        for records in [early, late] {
            assert!(!records.is_empty());
            for record in &records {
                let number: u64 = record.value().expect("text").parse().expect("a number");
                assert_eq!(number, record.offset());
            }
        }
    });
}

#[test]
fn seeking_by_time_finds_no_deleted_record() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        for millis in [100, 200, 300, 200] {
            producer.record("x").timestamp(Timestamp::from_millis(millis)).send().expect("sends");
        }
        broker.delete_records("t", 0, 2).expect("within the log");
        let mut consumer = reader(broker, "t");
        for (millis, offset) in [(0, 2), (100, 2), (200, 2), (300, 2), (301, 4)] {
            consumer.seek_to_timestamp(Timestamp::from_millis(millis)).expect("readable");
            assert_eq!(consumer.position("t", 0).expect("assigned"), offset, "since {millis}");
        }
    });
}

#[test]
fn deleted_records_do_not_come_back_when_the_broker_is_opened_again() {
    on_kept(|kept| {
        let mut broker = kept.open();
        broker.create_topic("t", small_segments().partitions(2)).expect("a free name");
        send_large(&broker, 22);
        for (end, before) in (22..).zip([1, 3, 4, 5, 12, 21, 22]) {
            broker.delete_records("t", 0, before).expect("within the log");
            broker = kept.open_after(&broker);
            assert_eq!(range(&broker), (before, end));
            assert!(broker.recovery_report().is_clean());
            assert_eq!(offsets(&all_of(&broker, "t")), (before..end).collect::<Vec<_>>());
            send_large(&broker, 1);
        }
    });
}

#[test]
fn the_files_of_deleted_records_are_removed() {
    let dir = temp_dir();
    let partition = dir.path().join("t-0");
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    // No sync mark in between moves the place at which a segment ends.
    let config = small_segments().sync_interval(std::time::Duration::from_secs(3_600));
    broker.create_topic("t", config).expect("a free name");
    send_large(&broker, 14);
    assert_eq!(segments(&partition), ["", "4", "8", "12"]);
    for (before, left) in [
        (3, vec!["", "4", "8", "12"]),
        (4, vec!["4", "8", "12"]),
        (11, vec!["8", "12"]),
        (12, vec!["12"]),
        (14, vec!["12"]),
    ] {
        broker.delete_records("t", 0, before).expect("within the log");
        assert_eq!(segments(&partition), left, "below {before}");
    }
    drop(broker);
    let broker = Broker::open(dir.path()).expect("nothing is damaged");
    assert_eq!(range(&broker), (14, 14));
    send_large(&broker, 4);
    broker.delete_records("t", 0, 16).expect("within the log");
    assert_eq!(segments(&partition), ["16"]);
    assert_eq!(offsets(&all_of(&broker, "t")), [16, 17]);
}

#[test]
fn a_reader_in_the_middle_of_a_file_that_is_removed_is_told_and_goes_on() {
    let dir = temp_dir();
    let open = || Broker::open(dir.path()).expect("nothing is damaged");
    let broker = open();
    broker.create_topic("t", small_segments()).expect("a free name");
    send_large(&broker, 20);
    drop(broker);
    // Everything is read from files now.
    let broker = open();
    let mut consumers = [OutOfRange::Error, OutOfRange::Earliest].map(|policy| {
        let consumer = broker.consumer::<Raw, Raw>().topic("t").on_out_of_range(policy).build();
        let mut consumer = consumer.expect("it exists");
        assert_eq!(consumer.poll(NOW).expect("the first segment").len(), 4);
        consumer
    });
    broker.delete_records("t", 0, 13).expect("within the log");
    assert_fails!(consumers[0].poll(NOW), Error::OffsetOutOfRange { requested: 4, earliest: 13, .. });
    assert_eq!(offsets(&drain(&mut consumers[1])), (13..20).collect::<Vec<_>>());
}

#[test]
fn a_file_that_cannot_be_removed_goes_at_the_next_open() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    broker.create_topic("t", small_segments()).expect("a free name");
    send_large(&broker, 14);
    storage.refuse(Operation::Remove, "/t-0/", std::io::ErrorKind::PermissionDenied);
    assert_eq!(broker.delete_records("t", 0, 9).expect("the records are gone"), 9);
    assert_eq!(offsets(&all_of(&broker, "t")), (9..14).collect::<Vec<_>>());
    drop(broker);
    assert_eq!(storage.names("/data/t-0").len(), 4);
    for round in ["refused again", "allowed"] {
        let broker = storage.open_broker();
        assert_eq!(offsets(&all_of(&broker, "t")), (9..14).collect::<Vec<_>>(), "{round}");
        drop(broker);
        storage.allow_all();
    }
    assert_eq!(storage.names("/data/t-0").len(), 2);
}

#[test]
fn a_topic_in_memory_begins_anew_in_a_broker_on_disk() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", partitions(1).durability(Durability::Memory)).expect("a free name");
        send_numbered(&broker, "t", 5);
        assert_eq!(broker.delete_records("t", 0, 4).expect("within the log"), 4);
        assert_eq!(range(&broker), (4, 5));
        drop(broker);
        assert_eq!(range(&kept.open()), (0, 0));
    });
}

#[test]
fn the_bound_of_a_topic_in_memory_goes_on_counting() {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(1).memory_limit(64 << 10)).expect("a free name");
    send_large(&broker, 50);
    broker.delete_records("t", 0, 45).expect("within the log");
    send_large(&broker, 20);
    let (start, end) = range(&broker);
    assert_eq!(end, 70);
    assert!((45..60).contains(&start), "it begins at {start}");
    send_large(&broker, 1_000);
    let (start, end) = range(&broker);
    assert!(end == 1_070 && start > 1_000 && start < 1_050, "{start} to {end}");
    assert_eq!(broker.delete_records("t", 0, 100).expect("they are gone already"), start);
}

#[test]
fn deleting_sending_and_reading_at_the_same_time_lose_nothing_that_is_kept() {
    on_both(|broker| {
        const COUNT: u64 = 4_000;
        broker.create_topic("t", small_segments().memory_limit(1 << 30)).expect("a free name");
        thread::scope(|scope| {
            scope.spawn(|| send_large(broker, COUNT as usize));
            scope.spawn(|| {
                while range(broker).1 < COUNT {
                    let (start, end) = range(broker);
                    let before = start + (end - start) / 2;
                    assert!(broker.delete_records("t", 0, before).expect("within the log") >= before);
                }
            });
            let consumer = broker.consumer::<(), String>().topic("t").on_out_of_range(OutOfRange::Earliest);
            let mut consumer = consumer.build().expect("it exists");
            let mut next = 0;
            while next < COUNT {
                for record in &consumer.poll(FOREVER).expect("readable") {
                    assert!(record.offset() >= next, "{} came after {next}", record.offset());
                    next = record.offset() + 1;
                    let number: u64 = record.value().expect("text").parse().expect("a number");
                    assert_eq!(number, record.offset());
                }
            }
        });
        let (start, end) = range(broker);
        assert_eq!(offsets(&all_of(broker, "t")), (start..end).collect::<Vec<_>>());
    });
}

#[test]
fn a_group_whose_commits_were_deleted_is_told() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(&broker, "t", 2);
        let build =
            |broker: &Broker| broker.consumer::<Raw, Raw>().topic("t").group("g").build().expect("it exists");
        let mut consumer = build(&broker);
        let records = consumer.poll(NOW).expect("two records");
        consumer.commit(&records).expect("commits");
        drop(consumer);
        send_numbered(&broker, "t", 5);
        broker.delete_records("t", 0, 6).expect("within the log");
        let broker = kept.open_after(&broker);
        let refused = build(&broker).poll(NOW);
        assert_fails!(refused, Error::OffsetOutOfRange { requested: 2, earliest: 6, latest: 7, .. });
    });
}

#[test]
fn the_beginning_is_sought_until_a_poll_has_returned_records_of_it() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 5);
        let builder = broker.consumer::<Raw, Raw>().topic("t");
        let mut consumer = builder.min_bytes(1_000_000).build().expect("it exists");
        consumer.seek_to_beginning();
        // It has found less than the minimum, and returns nothing.
        assert!(once(|cx| Pin::new(&mut consumer.next_records()).poll(cx)).is_pending());
        broker.delete_records("t", 0, 2).expect("in range");
        assert_eq!(consumer.position("t", 0).expect("assigned"), 2);
        assert_eq!(texts(&drain(&mut consumer)), numbered(2..5));
        broker.delete_records("t", 0, 5).expect("in range");
        consumer.seek_to_beginning();
        assert!(consumer.poll(NOW).expect("readable").is_empty());
        // From here on, nothing is left out unnoticed.
        send_numbered(broker, "t", 1);
        broker.delete_records("t", 0, 6).expect("in range");
        assert_fails!(consumer.poll(NOW), Error::OffsetOutOfRange { requested: 5, earliest: 6, .. });
    });
}
