//! Committing from a task: on its way at once, written by another thread, and counted when it is kept.

use std::future::Future;
use std::io::ErrorKind::StorageFull;
use std::pin::Pin;
use std::thread;

use ottla::{Broker, Consumer, Durability, Error, Records, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

fn consumer(broker: &Broker) -> Consumer<(), String> {
    broker.consumer().topic("t").group("g").build().expect("it exists")
}

fn with_records(broker: &Broker, count: usize) -> Consumer<(), String> {
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    send_numbered(broker, "t", count);
    consumer(broker)
}

fn committed(broker: &Broker) -> Option<u64> {
    broker.committed_offsets("g").values().next().map(|committed| committed.offset)
}

#[test]
fn an_awaited_commit_is_where_the_next_consumer_begins() {
    on_kept(|kept| {
        let broker = kept.open();
        let mut reader = with_records(&broker, 10);
        let records = reader.poll(NOW).expect("readable");
        let fourth = records.iter().nth(3).expect("ten records");
        block_on(reader.commit_through_async(&fourth)).expect("kept");
        assert_eq!(committed(&broker), Some(4));
        block_on(reader.commit_async(&records)).expect("kept");
        drop((reader, broker, records));
        let broker = kept.open();
        assert_eq!(committed(&broker), Some(10));
        assert_eq!(consumer(&broker).position("t", 0).expect("assigned"), 10);
    });
}

#[test]
fn in_memory_too() {
    let broker = Broker::in_memory();
    let mut reader = with_records(&broker, 3);
    let records = reader.poll(NOW).expect("readable");
    block_on(reader.commit_async(&records)).expect("kept");
    assert_eq!(committed(&broker), Some(3));
}

#[test]
fn a_commit_whose_future_is_dropped_is_kept_all_the_same() {
    on_kept(|kept| {
        let broker = kept.open();
        let mut reader = with_records(&broker, 5);
        let records = reader.poll(NOW).expect("readable");
        drop(reader.commit_async(&records));
        assert_eq!(committed(&broker), Some(5));
        broker.close().expect("nothing went wrong");
        assert_eq!(committed(&kept.open()), Some(5));
    });
}

#[test]
fn a_task_that_commits_does_not_write_or_sync() {
    for level in [Durability::ProcessCrash, Durability::PowerLoss] {
        let storage = Faulty::default();
        let builder = Broker::builder().data_dir("/data").storage(storage.clone());
        let broker = builder.durability(level).open().expect("opens");
        let mut by_hand = with_records(&broker, 5);
        let by_itself = broker.consumer::<(), String>().topic("t").group("auto").auto_commit(true).build();
        let mut by_itself = by_itself.expect("it exists");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        storage.forget_workers();
        let task = watched("a task", move || {
            block_on(async {
                let records = by_hand.next_records().await.expect("readable");
                by_hand.commit_async(&records).await.expect("kept");
                drop(by_itself.next_records().await.expect("readable"));
                producer.send_async((), "value-5").await.expect("kept");
                drop(by_itself.next_records().await.expect("readable"));
            });
            storage.was_used_by(thread::current().id())
        });
        assert!(!task.wait(), "at {level:?}");
        let auto = broker.committed_offsets("auto");
        // What the last poll returned is not committed yet; what the one before did may be on its way.
        assert!(auto.values().all(|committed| committed.offset == 5), "{auto:?}");
    }
}

#[test]
fn a_commit_that_cannot_be_written_does_not_count() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let mut reader = with_records(&broker, 5);
    let records = reader.poll(NOW).expect("readable");
    storage.refuse(Operation::Write, "__consumer_offsets", StorageFull);
    assert_fails!(block_on(reader.commit_async(&records)), Error::StorageFull { .. });
    assert_fails!(reader.commit(&records), Error::StorageFull { .. });
    assert_eq!(committed(&broker), None);
    storage.allow_all();
    block_on(reader.commit_async(&records)).expect("room again");
    assert_eq!(committed(&broker), Some(5));
}

/// The log of commits gives the offsets of what it lost again.
#[test]
fn a_commit_after_some_that_were_lost_counts() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let mut reader = with_records(&broker, 5);
    let records = reader.poll(NOW).expect("readable");
    storage.refuse(Operation::Write, "__consumer_offsets", StorageFull);
    let lost: Vec<_> = records.iter().map(|record| reader.commit_through_async(&record)).collect();
    for commit in lost {
        drop(commit);
    }
    assert_fails!(reader.commit(&records), Error::StorageFull { .. });
    storage.allow_all();
    let second = records.iter().nth(1).expect("five records");
    reader.commit_through(&second).expect("room again");
    assert_eq!(committed(&broker), Some(2));
    drop((reader, broker, records));
    assert_eq!(committed(&storage.open_broker()), Some(2));
}

#[test]
fn a_commit_without_a_group_or_after_the_end_is_refused() {
    let broker = Broker::in_memory();
    let mut with_group = with_records(&broker, 1);
    let mut without = broker.consumer::<(), String>().topic("t").build().expect("it exists");
    let records = without.poll(NOW).expect("readable");
    assert_fails!(block_on(without.commit_async(&records)), Error::NoGroup);
    let records = with_group.poll(NOW).expect("readable");
    broker.close().expect("nothing went wrong");
    assert_fails!(block_on(with_group.commit_async(&records)), Error::Closed);
}

#[test]
fn close_waits_for_what_a_task_committed_by_itself() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    drop(with_records(&broker, 5));
    let reader = broker.consumer::<(), String>().topic("t").group("g").auto_commit(true).max_records(2);
    let mut reader = reader.build().expect("it exists");
    for _ in 0..2 {
        drop(block_on(reader.next_records()).expect("readable"));
    }
    reader.close().expect("kept");
    assert_eq!(committed(&broker), Some(4));
}

#[test]
fn what_a_task_committed_by_itself_and_was_lost_stays_to_be_committed() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    drop(with_records(&broker, 5));
    let reader = broker.consumer::<(), String>().topic("t").group("g").auto_commit(true);
    let mut reader = reader.build().expect("it exists");
    drop(block_on(reader.next_records()).expect("readable"));
    storage.refuse(Operation::Write, "__consumer_offsets", StorageFull);
    // Nothing more comes: what ends the waiting is the commit.
    while once(|cx| Pin::new(&mut reader.next_records()).poll(cx)).map(told_of_full_storage).is_pending() {}
    storage.allow_all();
    reader.close().expect("room again");
    drop(broker);
    assert_eq!(committed(&storage.open_broker()), Some(5));
}

fn told_of_full_storage(outcome: ottla::Result<Records<(), String>>) {
    assert_fails!(outcome, Error::StorageFull { .. });
}

/// Whatever the order in which threads hear that their commit was written, the last one in the log counts:
/// the same before and after a crash.
#[test]
fn of_many_commits_at_once_the_same_one_counts_before_and_after_opening_again() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    drop(with_records(&broker, 100));
    thread::scope(|scope| {
        for number in 0..4 {
            let broker = &broker;
            scope.spawn(move || {
                let consumer = broker.consumer::<(), String>().assign("t", [0]).group("g");
                let mut consumer = consumer.max_records(1).build().expect("it exists");
                for step in 0..25 {
                    consumer.seek("t", 0, number * 25 + step).expect("assigned");
                    let records = consumer.poll(NOW).expect("readable");
                    if step % 2 == 0 {
                        consumer.commit(&records).expect("kept");
                    } else {
                        block_on(consumer.commit_async(&records)).expect("kept");
                    }
                }
            });
        }
    });
    let before = committed(&broker);
    drop(broker);
    assert_eq!(committed(&storage.open_broker()), before);
}
