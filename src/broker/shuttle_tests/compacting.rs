//! Compaction while others send, read, delete records and end the topic or the broker.

use super::history::{FOREVER, NOW};
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::config::{Compaction, TopicConfig};
use crate::error::Error;

const RECORDS: u64 = 6;

fn compacted(config: TopicConfig) -> TopicConfig {
    config.compaction(Compaction::by_key().min_dirty_percent(0))
}

/// Each record has its offset for a value, and one of two keys.
fn send_all(broker: &Broker) {
    let producer = broker.producer::<u64, u64>("t").expect("it is there");
    for number in 0..RECORDS {
        assert_eq!(producer.send(number % 2, number).expect("no fault").offset, number);
    }
}

/// Reads on from `offset` until the last record was seen; what was seen.
fn read_from(broker: &Broker, offset: u64) -> Vec<u64> {
    let mut reader = broker.consumer::<u64, u64>().topic("t").build().expect("it is there");
    reader.seek("t", 0, offset).expect("it is read");
    let mut seen = Vec::new();
    while seen.last() != Some(&(RECORDS - 1)) {
        for record in &reader.poll(FOREVER).expect("no fault") {
            assert_eq!(record.value().expect("a number"), record.offset());
            seen.push(record.offset());
        }
    }
    let is_latest_there = offset == RECORDS - 1 || seen.contains(&(RECORDS - 2));
    assert!(is_latest_there && seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    seen
}

fn sends_and_reads(broker: &Broker, config: TopicConfig) {
    broker.create_topic("t", compacted(config)).expect("a free name");
    let reading = spawn({
        let broker = broker.clone();
        move || read_from(&broker, 0)
    });
    let keeping = spawn({
        let broker = broker.clone();
        move || {
            for _ in 0..3 {
                broker.run_housekeeping().expect("no fault");
            }
        }
    });
    send_all(broker);
    join(reading);
    join(keeping);
    for offset in 0..RECORDS {
        read_from(broker, offset);
    }
}

#[test]
fn readers_and_senders_go_on_while_a_log_is_compacted() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        sends_and_reads(&broker, small(1));
        broker.close().expect("no fault");
        read_from(&files.after_power_loss().open(), 0);
    });
}

#[test]
fn readers_and_senders_go_on_while_a_log_in_memory_is_compacted() {
    check(|| {
        let broker = Broker::in_memory();
        sends_and_reads(&broker, TopicConfig::new());
        broker.close().expect("no fault");
    });
}

#[test]
fn a_topic_or_a_broker_may_end_and_records_be_deleted_while_a_log_is_compacted() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", compacted(small(1))).expect("a free name");
        send_all(&broker);
        let keeping = spawn({
            let broker = broker.clone();
            move || match broker.run_housekeeping() {
                Ok(_) | Err(Error::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let deleting = spawn({
            let broker = broker.clone();
            move || {
                broker.delete_records("t", 0, 3).expect("no fault");
                let mut reader = broker.consumer::<u64, u64>().topic("t").build().expect("it is there");
                let seen = reader.poll(NOW).expect("no fault");
                assert!(seen.iter().all(|record| record.offset() >= 3));
                broker.delete_topic("t").expect("no fault");
            }
        });
        join(deleting);
        broker.create_topic("t", small(1)).expect("the name is free again");
        broker.close().expect("no fault");
        join(keeping);
        let after = files.after_power_loss().open();
        assert_eq!(after.describe_topic("t").expect("it is there").partitions[0].end_offset, 0);
    });
}
