//! `Durability::PowerLoss`: acknowledged and visible only after a sync, which many senders share.

use std::io::ErrorKind;
use std::time::Duration;

use ottla::{Broker, Durability, Error, Producer, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

fn broker_and_topic(storage: &Faulty) -> (Broker, Producer<(), String>) {
    let broker = storage.open_broker();
    let config = TopicConfig::new().segment_bytes(4096).durability(Durability::PowerLoss);
    broker.create_topic("t", config).expect("a free name");
    let producer = broker.producer("t").expect("it exists");
    (broker, producer)
}

#[test]
fn an_acknowledged_record_is_synced() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    for number in 0..100 {
        producer.send((), &format!("value-{number}")).expect("kept");
        assert!(storage.unsynced("t-0").is_empty(), "after {number}");
    }
    let batch = numbered(100..200);
    producer.send_batch(batch.iter().map(|value| ((), value.as_str()))).expect("kept");
    assert!(storage.unsynced("t-0").is_empty());
    assert_eq!(texts(&all_of(&broker, "t")), numbered(0..200));
}

#[test]
fn a_record_is_visible_only_once_it_is_synced() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    producer.send((), "value-0").expect("kept");
    storage.hold_syncs();
    let sending = watched("the send", move || producer.send((), "value-1"));
    storage.wait_for_sync();
    let mut consumer = reader(&broker, "t");
    assert_eq!(texts(&drain(&mut consumer)), numbered(0..1));
    assert_eq!(consumer.end_offsets().into_values().collect::<Vec<_>>(), [1]);
    assert_eq!(broker.describe_topic("t").expect("it exists").partitions[0].end_offset, 1);
    storage.release_syncs();
    assert_eq!(sending.wait().expect("kept").offset, 1);
    assert_eq!(texts(&drain(&mut consumer)), numbered(1..2));
}

#[test]
fn a_sleeping_poll_is_woken_by_the_sync() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    let mut consumer = reader(&broker, "t");
    let polling = watched("the poll", move || consumer.poll(FOREVER).map(|records| records.len()));
    let_it_sleep();
    producer.send((), "value-0").expect("kept");
    assert_eq!(polling.wait().expect("a record"), 1);
}

#[test]
fn senders_that_wait_share_one_sync() {
    let storage = Faulty::default();
    let (_broker, producer) = broker_and_topic(&storage);
    storage.hold_syncs();
    let send = |number: usize| {
        let producer = producer.clone();
        watched("a send", move || producer.send((), &format!("value-{number}")))
    };
    let first = send(0);
    storage.wait_for_sync();
    let others: Vec<_> = (1..16).map(send).collect();
    let_it_sleep();
    let before = storage.syncs();
    storage.release_syncs();
    first.wait().expect("kept");
    for other in others {
        other.wait().expect("kept");
    }
    // All who had staged their record by then; a thread that came late may need one of its own.
    assert!(storage.syncs() - before < 8, "{} syncs for 15 sends", storage.syncs() - before);
}

#[test]
fn appends_go_on_during_a_sync_and_across_segments() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    storage.slow_down(Duration::from_millis(2));
    let values = numbered(0..500);
    let deliveries: Vec<_> = values.iter().map(|value| producer.enqueue((), value).expect("room")).collect();
    let mut consumer = reader(&broker, "t");
    let mut seen = Vec::new();
    while seen.len() < values.len() {
        seen.extend(consumer.poll(FOREVER).expect("readable").iter().map(|record| record.offset()));
    }
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    for delivery in deliveries {
        delivery.wait().expect("kept");
    }
    drop((broker, producer, consumer));
    assert_eq!(texts(&all_of(&storage.open_broker(), "t")), values);
}

#[test]
fn while_nothing_can_be_synced_the_outcome_is_unknown_and_nobody_sees_the_record() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    producer.send((), "value-0").expect("kept");
    storage.refuse(Operation::Sync, "t-0", ErrorKind::Other);
    assert_fails!(producer.send((), "perhaps"), Error::OutcomeUnknown { offset: 1, .. });
    assert_fails!(producer.send((), "late"), Error::PartitionFailed { .. });
    assert_fails!(producer.enqueue((), "late"), Error::PartitionFailed { .. });
    assert_fails!(producer.flush(), Error::PartitionFailed { .. });
    assert_eq!(broker.health().partitions.len(), 1);
    assert_eq!(texts(&all_of(&broker, "t")), numbered(0..1));
    assert_fails!(broker.close(), Error::PartitionFailed { .. });
}

#[test]
fn after_a_failed_sync_the_partition_goes_on_in_a_new_file() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    producer.send((), "value-0").expect("kept");
    storage.refuse(Operation::Sync, "0.log$", ErrorKind::Other);
    // What the sync may have lost is written and synced again: it is not in doubt.
    producer.send((), "value-1").expect("kept elsewhere");
    producer.send((), "value-2").expect("the new file can be synced");
    assert!(broker.health().is_good());
    broker.close().expect("nothing is left to be synced in the old file");
    assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..3));
}

#[test]
fn what_could_not_be_synced_is_there_when_the_disk_works_again_without_a_restart() {
    let storage = Faulty::default();
    let (broker, producer) = broker_and_topic(&storage);
    producer.send((), "value-0").expect("kept");
    storage.refuse(Operation::Sync, "t-0", ErrorKind::Other);
    assert_fails!(producer.send((), "value-1"), Error::OutcomeUnknown { offset: 1, .. });
    storage.allow_all();
    // As the flusher does by itself after some time.
    producer.flush().expect("what may have been lost is written again");
    assert!(broker.health().is_good());
    assert_eq!(producer.send((), "value-2").expect("it works again").offset, 2);
    assert_eq!(texts(&all_of(&broker, "t")), numbered(0..3));
    broker.close().expect("all is well");
    assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..3));
}

#[test]
fn deliveries_are_told_of_a_failed_sync() {
    let storage = Faulty::default();
    let (_broker, producer) = broker_and_topic(&storage);
    storage.hold_syncs();
    let deliveries: Vec<_> = (0..10).map(|_| producer.enqueue((), "perhaps").expect("room")).collect();
    storage.refuse(Operation::Sync, "t-0", ErrorKind::Other);
    storage.release_syncs();
    for delivery in deliveries {
        let outcome = watched("a delivery", move || block_on(delivery)).wait();
        match outcome {
            // The sync that was held had begun before it was refused.
            Ok(_) | Err(Error::OutcomeUnknown { .. } | Error::PartitionFailed { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn flush_and_close_leave_nothing_unsynced_at_any_level() {
    for level in [Durability::ProcessCrash, Durability::PowerLoss] {
        let storage = Faulty::default();
        let broker = storage.open_broker();
        let config = TopicConfig::new().segment_bytes(4096).durability(level);
        broker.create_topic("t", config).expect("a free name");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        send_numbered(&broker, "t", 100);
        producer.enqueue((), "one more").expect("room").detach();
        producer.flush().expect("synced");
        assert!(storage.unsynced("t-0").is_empty(), "after flush at {level:?}");
        producer.enqueue((), "and another").expect("room").detach();
        broker.close().expect("synced");
        assert!(storage.unsynced("").is_empty(), "after close at {level:?}");
    }
}

#[test]
fn a_broker_for_power_loss_syncs_records_and_commits_of_its_topics() {
    let storage = Faulty::default();
    let open = |level| {
        Broker::builder().data_dir("/data").storage(storage.clone()).durability(level).open().expect("opens")
    };
    // Made at another level: the commits follow the broker, the topic keeps what it was given.
    open(Durability::ProcessCrash).close().expect("nothing went wrong");
    let broker = open(Durability::PowerLoss);
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    assert_eq!(broker.describe_topic("t").expect("it exists").durability, Durability::PowerLoss);
    send_numbered(&broker, "t", 10);
    assert!(storage.unsynced("t-0").is_empty());
    let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("it exists");
    let records = consumer.poll(NOW).expect("readable");
    consumer.commit(&records).expect("kept");
    assert!(storage.unsynced("__consumer_offsets").is_empty());
}

#[test]
fn a_longer_sync_interval_leaves_records_unsynced_for_longer() {
    let storage = Faulty::default();
    let builder = Broker::builder().data_dir("/data").storage(storage.clone());
    let broker = builder.sync_interval(Duration::from_secs(3_600)).open().expect("opens");
    broker.create_topic("slow", TopicConfig::new()).expect("a free name");
    let soon = TopicConfig::new().sync_interval(Duration::from_millis(1));
    broker.create_topic("soon", soon).expect("a free name");
    send_numbered(&broker, "slow", 1);
    send_numbered(&broker, "soon", 1);
    let synced = storage.clone();
    watched("the sync", move || while !synced.unsynced("soon-0").is_empty() {}).wait();
    assert!(!storage.unsynced("slow-0").is_empty());
    broker.close().expect("synced");
    assert!(storage.unsynced("slow-0").is_empty());
}

#[test]
fn a_topic_that_promises_less_than_is_asked_for_is_not_opened() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    let safe = TopicConfig::new().durability(Durability::PowerLoss);
    assert_fails!(
        broker.open_topic("t", safe.clone()),
        Error::TopicConfigMismatch { setting: "durability", .. }
    );
    broker.alter_topic("t", safe.clone()).expect("it exists");
    broker.open_topic("t", safe).expect("it agrees");
}

#[test]
fn a_sync_interval_out_of_range_is_named() {
    for interval in [Duration::ZERO, Duration::from_secs(3_601)] {
        let error = Broker::builder().sync_interval(interval).open().expect_err("out of range");
        assert!(error.to_string().contains("sync_interval"), "{error}");
    }
}
