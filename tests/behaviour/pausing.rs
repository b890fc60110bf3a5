//! Pausing partitions: what is paused is not polled and keeps its place.

use std::time::Duration;

use ottla::{Broker, Error, Record, TopicPartition};

use crate::support::*;

fn with_records(broker: &Broker) {
    broker.create_topic("t", partitions(3)).expect("a free name");
    let producer = broker.producer::<(), String>("t").expect("it exists");
    for partition in 0..3 {
        producer.record(&format!("in {partition}")).partition(partition).send().expect("sends");
    }
}

#[test]
fn a_paused_partition_is_not_polled_until_it_is_resumed() {
    on_both(|broker| {
        with_records(broker);
        let mut consumer = reader(broker, "t");
        consumer.pause("t", [0, 2]).expect("assigned");
        assert_eq!(consumer.paused(), [TopicPartition::new("t", 0), TopicPartition::new("t", 2)]);
        assert_eq!(texts(&drain(&mut consumer)), ["in 1"]);
        assert_eq!((consumer.position("t", 0).expect("assigned"), consumer.lag()), (0, 2));
        assert_eq!(consumer.assignment().len(), 3, "it stays assigned");
        consumer.resume("t", [2]).expect("assigned");
        assert_eq!(texts(&drain(&mut consumer)), ["in 2"]);
        consumer.resume("t", [0, 1]).expect("one that is not paused may be resumed");
        assert!(consumer.paused().is_empty());
        assert_eq!(texts(&drain(&mut consumer)), ["in 0"]);
    });
}

#[test]
fn a_paused_partition_can_be_sought() {
    on_both(|broker| {
        with_records(broker);
        let mut consumer = reader(broker, "t");
        assert_eq!(drain(&mut consumer).len(), 3);
        consumer.pause("t", [1]).expect("assigned");
        consumer.seek("t", 1, 0).expect("assigned");
        assert!(drain(&mut consumer).is_empty());
        consumer.resume("t", [1]).expect("assigned");
        assert_eq!(texts(&drain(&mut consumer)), ["in 1"]);
    });
}

#[test]
fn pausing_needs_the_assignment_of_all_partitions_named() {
    on_both(|broker| {
        with_records(broker);
        let mut consumer = broker.consumer::<(), String>().assign("t", [1]).build().expect("it exists");
        let wanted = TopicPartition::new("t", 2);
        assert_fails!(consumer.pause("t", [1, 2]), Error::NotAssigned { partition } if partition == wanted);
        assert!(consumer.paused().is_empty(), "nothing has changed");
        assert_fails!(consumer.resume("u", [1]), Error::NotAssigned { .. });
    });
}

#[test]
fn with_everything_paused_a_poll_waits_for_its_timeout_a_wake_or_an_end() {
    on_both(|broker| {
        with_records(broker);
        let paused = || {
            let mut consumer = reader(broker, "t");
            consumer.pause("t", 0..3).expect("assigned");
            consumer
        };
        let mut waits = paused();
        assert!(waits.poll(Duration::from_millis(2)).expect("no error").is_empty());
        let wake_handle = waits.wake_handle();
        let woken = watched("a woken poll", move || waits.poll(FOREVER).map(|records| records.len()));
        let mut waits = paused();
        let deleted =
            watched("a poll of a deleted topic", move || waits.poll(FOREVER).map(|records| records.len()));
        let_it_sleep();
        wake_handle.wake();
        assert_fails!(woken.wait(), Error::Woken);
        broker.delete_topic("t").expect("it exists");
        assert_fails!(deleted.wait(), Error::TopicDeleted { .. });
    });
}

#[test]
fn an_append_to_a_paused_partition_does_not_end_a_poll() {
    on_both(|broker| {
        with_records(broker);
        let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
        consumer.seek_to_end();
        consumer.pause("t", [0]).expect("assigned");
        let poll = watched("a poll", move || {
            let records = consumer.poll(FOREVER).expect("a record");
            records.iter().map(|record| Record::partition(&record)).collect::<Vec<_>>()
        });
        let_it_sleep();
        send_numbered(broker, "t", 1);
        let producer = broker.producer::<(), String>("t").expect("it exists");
        producer.record("v").partition(1).send().expect("sends");
        assert_eq!(poll.wait(), [1]);
    });
}
