//! Watching a table: nothing of the end is missed, however slow a watcher is, and whatever ends the topic ends
//! the wait.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::thread;

use futures_core::Stream;
use ottla::{Broker, Changes, Error, Producer, Table};

use crate::faulty::Faulty;
use crate::support::*;

fn with_table(broker: &Broker, count: u32) -> (Producer<String, u64>, Table<String, u64>) {
    broker.create_topic("t", partitions(count)).expect("a free name");
    (broker.producer("t").expect("it exists"), broker.table("t").expect("readable"))
}

/// What a watcher is told without waiting: keys with their values, `None` if the key is gone.
fn told(changes: &mut Changes<String, u64>) -> Vec<(String, Option<u64>)> {
    let mut told = Vec::new();
    while let Some(change) = changes.next(NOW).expect("readable") {
        assert_eq!(change.row().is_none(), change.is_removal());
        told.push((change.key().expect("text").to_owned(), change.value().expect("a number")));
    }
    told
}

fn listed(changes: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    changes.iter().map(|&(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn a_watcher_is_told_the_latest_state_of_what_changed_in_the_order_of_the_last_changes() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 1);
        producer.send_batch([("a", 1), ("b", 2)]).expect("sends");
        let mut changes = table.changes().expect("open");
        assert_eq!(told(&mut changes), [], "of what was there before it is not told");
        producer.send_batch([("a", 3), ("c", 4), ("a", 5), ("d", 6)]).expect("sends");
        producer.tombstone("b").send().expect("sends");
        producer.send("c", 4).expect("sends");
        assert_eq!(table.len().expect("readable"), 3, "who asks in between takes nothing from a watcher");
        let expected = [("a", Some(5)), ("d", Some(6)), ("b", None), ("c", Some(4))];
        assert_eq!(told(&mut changes), listed(&expected), "a record that says the same is a change too");
        assert_eq!(told(&mut changes), [], "each once");

        producer.send("e", 1).expect("sends");
        producer.tombstone("e").send().expect("sends");
        producer.tombstone("never there").send().expect("sends");
        assert_eq!(told(&mut changes), listed(&[("e", None)]));
    });
}

#[test]
fn each_of_several_watchers_is_told_of_everything_since_it_began() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 1);
        let mut first = table.changes().expect("open");
        producer.send("a", 1).expect("sends");
        let mut second = table.clone().changes().expect("open");
        producer.send("b", 2).expect("sends");
        assert_eq!(told(&mut second), listed(&[("b", Some(2))]));
        drop(second);
        drop(table);
        producer.send("c", 3).expect("sends");
        assert_eq!(told(&mut first), listed(&[("a", Some(1)), ("b", Some(2)), ("c", Some(3))]));
    });
}

#[test]
fn deleted_records_and_later_partitions_are_changes_too() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 1);
        producer.send_batch([("a", 1), ("b", 2), ("a", 3)]).expect("sends");
        let mut changes = table.changes().expect("open");
        broker.delete_records("t", 0, 1).expect("within the log");
        assert_eq!(told(&mut changes), [], "that record was replaced before");
        broker.delete_records("t", 0, 2).expect("within the log");
        assert_eq!(told(&mut changes), listed(&[("b", None)]));
        broker.increase_partitions("t", 2).expect("more");
        producer.record(4).key("c").partition(1).send().expect("sends");
        assert_eq!(told(&mut changes), listed(&[("c", Some(4))]));
    });
}

/// What a watcher that sleeps is told after `cause`.
fn woken_by(broker: &Broker, cause: impl FnOnce(&Producer<String, u64>)) -> Result<Option<u64>, Error> {
    let (producer, table) = with_table(broker, 1);
    producer.send("a", 1).expect("sends");
    let mut changes = table.changes().expect("open");
    drop(table);
    let watcher = watched("a watcher that sleeps", move || {
        let change = changes.next(FOREVER)?.expect("it waits for one");
        Ok(change.value()?)
    });
    let_it_sleep();
    cause(&producer);
    watcher.wait()
}

#[test]
fn a_sleeping_watcher_is_woken_by_whatever_changes_the_table_or_ends_it() {
    let dir = temp_dir();
    for number in 0..10 {
        let broker = match number % 2 {
            0 => Broker::in_memory(),
            _ => Broker::open(dir.path().join(number.to_string())).expect("a fresh directory"),
        };
        match number / 2 {
            0 => {
                let woken = woken_by(&broker, |producer| {
                    producer.send("a", 7).expect("sends");
                });
                assert_eq!(woken.expect("a change"), Some(7));
            }
            1 => {
                let woken = woken_by(&broker, |_| {
                    broker.delete_records("t", 0, 1).expect("within the log");
                });
                assert_eq!(woken.expect("a change"), None);
            }
            2 => {
                let woken = woken_by(&broker, |producer| {
                    broker.increase_partitions("t", 2).expect("more");
                    let_it_sleep();
                    producer.record(8).key("b").partition(1).send().expect("sends");
                });
                assert_eq!(woken.expect("a change"), Some(8));
            }
            3 => {
                let woken = woken_by(&broker, |_| broker.delete_topic("t").expect("it exists"));
                assert_fails!(woken, Error::TopicDeleted { .. });
            }
            _ => assert_fails!(woken_by(&broker, |_| broker.close().expect("all is well")), Error::Closed),
        }
    }
}

#[test]
fn a_watcher_waits_no_longer_than_its_timeout() {
    let broker = Broker::in_memory();
    let (producer, table) = with_table(&broker, 2);
    let mut changes = table.changes().expect("open");
    assert!(changes.next(SOON).expect("readable").is_none());
    producer.send("a", 1).expect("sends");
    assert!(changes.next(SOON).expect("readable").is_some());
}

#[test]
fn what_changed_before_the_end_is_told_before_the_error() {
    let broker = Broker::in_memory();
    let (producer, table) = with_table(&broker, 1);
    let mut changes = table.changes().expect("open");
    producer.send("a", 1).expect("sends");
    assert_eq!(table.len().expect("readable"), 1);
    broker.close().expect("all is well");
    assert!(changes.next(FOREVER).expect("it was taken in").is_some());
    assert_fails!(changes.next(FOREVER), Error::Closed);
    assert_fails!(table.changes(), Error::Closed);
}

#[test]
fn watchers_that_are_slow_or_sleep_all_arrive_at_the_last_state() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 3);
        thread::scope(|scope| {
            for pause in 0..3 {
                let mut changes = table.changes().expect("open");
                scope.spawn(move || {
                    let mut seen = [None; 8];
                    while seen != [Some(2_000); 8] {
                        let change = changes.next(FOREVER).expect("readable").expect("it waits");
                        let value = change.value().expect("a number").expect("nothing is removed");
                        let key: usize = change.key().expect("text").parse().expect("a number");
                        assert!(seen[key] < Some(value), "{key}: {value} after {:?}", seen[key]);
                        seen[key] = Some(value);
                        if pause > 0 && value % 100 == pause {
                            thread::sleep(SOON);
                        }
                    }
                });
            }
            // And somebody who asks.
            scope.spawn(|| while table.get("7").expect("readable").is_none() {});
            for round in 0..=2_000 {
                for key in 0..8 {
                    producer.send(&key.to_string(), round).expect("sends");
                }
            }
        });
    });
}

#[test]
fn no_wake_up_of_a_watcher_is_lost_in_a_thousand_round_trips() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 2);
        let play = |mine: &'static str, others: &'static str, begins: bool| {
            let (producer, mut changes) = (producer.clone(), table.changes().expect("open"));
            watched("a watcher that answers", move || {
                if begins {
                    producer.send(mine, 0).expect("sends");
                }
                let mut answered = 0;
                while answered < 1_000 {
                    let change = changes.next(FOREVER).expect("readable").expect("it waits");
                    if change.key().expect("text") == others {
                        answered = change.value().expect("a number").expect("not removed") + 1;
                        producer.send(mine, answered).expect("sends");
                    }
                }
            })
        };
        // Who answers watches before the other begins.
        let players = [play("pong", "ping", false), play("ping", "pong", true)];
        players.into_iter().for_each(Watched::wait);
    });
}

// ---- async ----

#[test]
fn a_future_is_ready_with_a_change_and_takes_nothing_if_it_is_dropped() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 2);
        let mut changes = table.changes().expect("open");
        {
            let mut given_up = pin!(changes.next_async());
            assert!(once(|cx| given_up.as_mut().poll(cx)).is_pending());
            assert!(once(|cx| given_up.as_mut().poll(cx)).is_pending());
            producer.send("a", 1).expect("sends");
        }
        let change = block_on(changes.next_async()).expect("a change");
        assert_eq!((change.key().expect("text"), change.value().expect("a number")), ("a", Some(1)));
        assert!(once(|cx| pin!(changes.next_async()).poll(cx)).is_pending());
    });
}

#[test]
fn a_task_is_woken_by_a_change_and_its_stream_ends_with_the_broker() {
    on_both(|broker| {
        let (producer, table) = with_table(broker, 1);
        let mut changes = table.changes().expect("open");
        let task = watched("a task that watches", move || {
            block_on(async move {
                let mut stream = changes.stream();
                let mut told = Vec::new();
                while let Some(change) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
                    told.push(change.and_then(|change| Ok(change.value()?)));
                }
                told
            })
        });
        for value in 0..3 {
            let_it_sleep();
            producer.send("a", value).expect("sends");
        }
        let_it_sleep();
        broker.close().expect("all is well");
        let mut told = task.wait();
        assert_fails!(told.pop().expect("the end"), Error::Closed);
        assert_eq!(told.last().map(|last| last.as_ref().ok()), Some(Some(&Some(2))));
    });
}

#[test]
fn a_task_reads_no_file_itself() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let (producer, table) = with_table(&broker, 1);
    let mut changes = table.changes().expect("open");
    let keys: Vec<String> = (0..4_000).map(|number| format!("{number:0100}")).collect();
    producer.send_batch(keys.iter().map(|key| (key.as_str(), 1))).expect("sends");
    storage.wait_until_closed("t-0");
    storage.forget_workers();
    let task = watched("a task that reads files", move || {
        let mut told = Vec::new();
        block_on(async {
            while told.len() < 4_000 {
                let change = changes.next_async().await.expect("readable");
                told.push(change.key().expect("text").to_owned());
            }
        });
        (told, storage.was_used_by(thread::current().id()))
    });
    let (told, used) = task.wait();
    assert_eq!(told, keys);
    assert!(!used, "the task's thread has used the storage");
}

#[test]
fn tasks_and_threads_that_read_the_same_files_all_arrive() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let (producer, table) = with_table(&broker, 2);
    let mut watchers: Vec<_> = (0..3).map(|_| table.changes().expect("open")).collect();
    let keys: Vec<String> = (0..4_000).map(|number| format!("{number:0100}")).collect();
    producer.send_batch(keys.iter().map(|key| (key.as_str(), 1))).expect("sends");
    storage.wait_until_closed("t-");
    let mut blocked = watchers.pop().expect("three");
    let tasks = watchers.into_iter().map(|mut changes| {
        watched("a task that reads files", move || {
            block_on(async {
                for _ in 0..4_000 {
                    changes.next_async().await.expect("readable");
                }
            });
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let thread = watched("a thread that reads files", move || {
        (0..4_000).for_each(|_| drop(blocked.next(FOREVER).expect("readable").expect("it waits")));
    });
    assert_eq!(table.iter().expect("readable").len(), 4_000, "and somebody asks");
    tasks.into_iter().chain([thread]).for_each(Watched::wait);
}
