//! Tables and their watchers: who has sent reads it, who sleeps is woken, and all arrive at the last state,
//! whoever takes in what.

use shuttle::future::block_on;

use super::history::FOREVER;
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::error::Error;
use crate::producer::Producer;
use crate::table::{Change, Changes, Table};

const LAST: u64 = 2;

fn open(broker: &Broker, partitions: u32) -> (Producer<u32, u64>, Table<u32, u64>) {
    broker.create_topic("t", small(partitions)).expect("a free name");
    (broker.producer("t").expect("it is there"), broker.table("t").expect("readable"))
}

/// Sends the values of a key up to the last, and reads each.
fn send(producer: &Producer<u32, u64>, table: &Table<u32, u64>, key: u32) {
    for value in 0..=LAST {
        producer.record(value).key(key).partition(key).send().expect("no fault");
        let row = table.get(key).expect("readable").expect("it was sent");
        assert_eq!(row.value().expect("a number"), value);
    }
}

/// Whether a change is the last of its key; `next` must not repeat or go back.
fn is_last(change: &Change<u32, u64>, seen: &mut [Option<u64>; 2]) -> bool {
    let key = change.key().expect("a number") as usize;
    let value = change.value().expect("a number");
    assert!(value > seen[key], "{value:?} after {:?}", seen[key]);
    seen[key] = value;
    *seen == [Some(LAST); 2]
}

fn watch(mut changes: Changes<u32, u64>) {
    let mut seen = [None; 2];
    while !is_last(&changes.next(FOREVER).expect("readable").expect("it waits"), &mut seen) {}
}

async fn watch_as_task(mut changes: Changes<u32, u64>) {
    let mut seen = [None; 2];
    while !is_last(&changes.next_async().await.expect("readable"), &mut seen) {}
}

fn all_arrive(broker: &Broker) {
    let (producer, table) = open(broker, 2);
    let (first, second) = (table.changes().expect("open"), table.changes().expect("open"));
    let watchers = [spawn(move || watch(first)), spawn(move || block_on(watch_as_task(second)))];
    let sender = spawn({
        let (producer, table) = (producer.clone(), table.clone());
        move || send(&producer, &table, 1)
    });
    send(&producer, &table, 0);
    join(sender);
    watchers.into_iter().for_each(join);
    assert_eq!(table.len().expect("readable"), 2);
    broker.close().expect("no fault");
}

#[test]
fn watchers_arrive_at_the_last_state_in_memory() {
    check(|| all_arrive(&Broker::in_memory()));
}

#[test]
fn watchers_arrive_at_the_last_state_on_disk() {
    check(|| all_arrive(&Files::default().open()));
}

#[test]
fn tasks_and_threads_that_read_the_same_files_all_arrive() {
    check(|| {
        let broker = Files::default().open();
        let (producer, table) = open(&broker, 2);
        let watchers = [(); 3].map(|()| table.changes().expect("open"));
        for value in 0..=LAST {
            for key in 0..2 {
                producer.record(value).key(key).partition(key).send().expect("no fault");
            }
            // What is not synced stays in memory.
            producer.flush().expect("no fault");
        }
        let [first, second, third] = watchers;
        let watchers = [
            spawn(move || block_on(watch_as_task(first))),
            spawn(move || block_on(watch_as_task(second))),
            spawn(move || watch(third)),
        ];
        assert_eq!(table.len().expect("readable"), 2);
        watchers.into_iter().for_each(join);
        broker.close().expect("no fault");
    });
}

#[test]
fn a_watcher_hears_of_partitions_that_come_though_another_takes_them_in() {
    check(|| {
        let broker = Broker::in_memory();
        let (producer, table) = open(&broker, 1);
        let changes = table.changes().expect("open");
        let watcher = spawn(move || watch(changes));
        let asking = spawn({
            let table = table.clone();
            move || table.len().expect("readable")
        });
        broker.increase_partitions("t", 2).expect("no fault");
        send(&producer, &table, 1);
        send(&producer, &table, 0);
        join(asking);
        join(watcher);
    });
}

#[test]
fn a_watcher_hears_of_deleted_records_and_of_the_end() {
    check(|| {
        let broker = Broker::in_memory();
        let (producer, table) = open(&broker, 1);
        send(&producer, &table, 0);
        let mut changes = table.changes().expect("open");
        let watcher = spawn(move || {
            let change = changes.next(FOREVER).expect("readable").expect("it waits");
            assert!(change.is_removal());
            assert!(matches!(changes.next(FOREVER), Err(Error::TopicDeleted { .. })));
        });
        broker.delete_records("t", 0, LAST + 1).expect("no fault");
        assert!(table.is_empty().expect("readable"));
        broker.delete_topic("t").expect("no fault");
        join(watcher);
    });
}
