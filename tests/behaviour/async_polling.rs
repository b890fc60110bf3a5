//! Polling as a future and as a stream, on a runtime of fifteen lines: each record arrives once, whatever is
//! dropped in between, and what ends a blocked poll ends an awaited one.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use ottla::{Broker, Consumer, Error, NextRecords, Raw, Records, RecordsStream, Result, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

fn values(records: &Records<(), String>) -> Vec<String> {
    polled(records).into_iter().map(str::to_owned).collect()
}

fn consumer(broker: &Broker) -> Consumer<(), String> {
    broker.consumer().topic("t").build().expect("it exists")
}

fn with_records(broker: &Broker, count: usize) {
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    send_numbered(broker, "t", count);
}

async fn next(stream: &mut RecordsStream<'_, (), String>) -> Option<Result<Records<(), String>>> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

#[test]
fn what_is_there_is_ready_at_once() {
    on_both(|broker| {
        with_records(broker, 3);
        let mut consumer = consumer(broker);
        let Poll::Ready(records) = once(|cx| Pin::new(&mut consumer.next_records()).poll(cx)) else {
            panic!("it waits for records that are there");
        };
        assert_eq!(values(&records.expect("records")), numbered(0..3));
    });
}

#[test]
fn an_append_wakes_the_task() {
    on_both(|broker| {
        with_records(broker, 0);
        let mut consumer = consumer(broker);
        let task = watched("a task that waits for a record", move || {
            block_on(async move { consumer.next_records().await.map(|records| values(&records)) })
        });
        let_it_sleep();
        send_numbered(broker, "t", 1);
        assert_eq!(task.wait().expect("a record"), numbered(0..1));
    });
}

#[test]
fn a_future_that_is_dropped_has_taken_nothing() {
    on_both(|broker| {
        with_records(broker, 0);
        let mut consumer = consumer(broker);
        {
            let mut given_up = consumer.next_records();
            assert!(once(|cx| Pin::new(&mut given_up).poll(cx)).is_pending());
            assert!(once(|cx| Pin::new(&mut given_up).poll(cx)).is_pending());
            send_numbered(broker, "t", 2);
        }
        assert_eq!(consumer.position("t", 0).expect("assigned"), 0);
        let records = block_on(consumer.next_records()).expect("records");
        assert_eq!(values(&records), numbered(0..2), "each once");
        assert!(once(|cx| Pin::new(&mut consumer.next_records()).poll(cx)).is_pending());
        assert!(consumer.poll(NOW).expect("no error").is_empty(), "and blocking polls go on as before");
    });
}

#[test]
fn every_record_arrives_once_though_futures_are_dropped_at_random() {
    with_seeds(|rng| {
        let broker = Broker::in_memory();
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<(), u32>("t").expect("it exists");
        let mut consumer = broker.consumer::<(), u32>().topic("t").min_bytes(200).build().expect("in range");
        let (mut sent, mut seen) = (0, Vec::new());
        while seen.len() < 500 {
            let mut future = consumer.next_records();
            for _ in 0..rng.below(4) {
                if let Poll::Ready(records) = once(|cx| Pin::new(&mut future).poll(cx)) {
                    seen.extend(
                        records.expect("records").iter().map(|record| record.value().expect("a number")),
                    );
                    break;
                }
                producer.record(sent).partition(rng.below(2) as u32).send().expect("sends");
                sent += 1;
            }
        }
        let rest = consumer.poll(NOW).expect("records");
        seen.extend(rest.iter().map(|record| record.value().expect("a number")));
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..sent));
    });
}

#[test]
fn no_wake_up_of_a_task_is_lost_in_a_thousand_round_trips() {
    on_both(|broker| {
        for topic in ["ping", "pong"] {
            broker.create_topic(topic, TopicConfig::new()).expect("a free name");
        }
        let play = |from: &str, to: &str, begins: bool| {
            let mut received = broker.consumer::<(), u32>().topic(from).build().expect("it exists");
            let answer = broker.producer::<(), u32>(to).expect("it exists");
            watched("a task that answers", move || {
                block_on(async move {
                    if begins {
                        answer.send((), 0).expect("sends");
                    }
                    for _ in 0..1_000 {
                        let records = received.next_records().await.expect("a record");
                        let number = records.iter().next().expect("a record").value().expect("a number");
                        answer.send((), number + 1).expect("sends");
                    }
                });
            })
        };
        let second = play("ping", "pong", false);
        play("pong", "ping", true).wait();
        second.wait();
    });
}

#[test]
fn a_wake_handle_ends_the_waiting_of_a_task() {
    on_both(|broker| {
        with_records(broker, 0);
        let mut consumer = consumer(broker);
        let wake_handle = consumer.wake_handle();
        let task = watched("a woken task", move || {
            block_on(async move { (consumer.next_records().await.map(drop), consumer) })
        });
        let_it_sleep();
        wake_handle.wake();
        let (outcome, mut consumer) = task.wait();
        assert_fails!(outcome, Error::Woken);
        send_numbered(broker, "t", 1);
        assert_eq!(values(&block_on(consumer.next_records()).expect("a record")), numbered(0..1));
    });
}

#[test]
fn a_task_waits_for_a_minimum_however_long_it_takes() {
    on_both(|broker| {
        with_records(broker, 2);
        let build = broker.consumer::<(), String>().topic("t").min_bytes(190);
        let mut consumer = build.build().expect("in range");
        let mut future = consumer.next_records();
        for _ in 0..2 {
            assert!(once(|cx| Pin::new(&mut future).poll(cx)).is_pending());
            send_numbered(broker, "t", 1);
        }
        assert_eq!(block_on(future).expect("records").len(), 4);
    });
}

#[test]
fn a_closed_or_deleted_topic_ends_the_waiting_of_a_task() {
    on_both(|broker| {
        with_records(broker, 0);
        broker.create_topic("u", TopicConfig::new()).expect("a free name");
        let wait = |topic: &str| {
            let mut consumer = reader(broker, topic);
            watched("a task", move || block_on(consumer.next_records()).map(drop))
        };
        let (deleted, closed) = (wait("t"), wait("u"));
        let_it_sleep();
        broker.delete_topic("t").expect("it exists");
        broker.close().expect("closes");
        assert_fails!(deleted.wait(), Error::TopicDeleted { .. });
        assert_fails!(closed.wait(), Error::Closed);
    });
}

#[test]
fn a_stream_yields_everything_and_ends_with_the_broker() {
    on_both(|broker| {
        with_records(broker, 3);
        let mut consumer = consumer(broker);
        let reading = watched("a task that reads a stream", move || {
            block_on(async move {
                let (mut seen, mut stream) = (Vec::new(), consumer.stream());
                while let Some(records) = next(&mut stream).await {
                    match records {
                        Ok(records) => seen.extend(values(&records)),
                        Err(Error::Closed) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                seen
            })
        });
        let producer = broker.producer::<(), String>("t").expect("it exists");
        let mut behind = self::consumer(broker);
        behind.seek_to_end();
        producer.send((), "value-3").expect("sends");
        assert_eq!(behind.poll(FOREVER).expect("a record").len(), 1);
        // What was sent before the end may come or not, but in order and once.
        broker.close().expect("closes");
        let seen = reading.wait();
        assert_eq!(seen, numbered(0..seen.len()));
    });
}

#[test]
fn a_stream_can_be_dropped_and_begun_again() {
    on_both(|broker| {
        with_records(broker, 5);
        let mut consumer =
            broker.consumer::<(), String>().topic("t").max_records(2).build().expect("in range");
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut stream = consumer.stream();
            let records = block_on(next(&mut stream)).expect("it has not ended").expect("records");
            seen.extend(values(&records));
        }
        assert_eq!(seen, numbered(0..5));
        assert!(once(|cx| Pin::new(&mut consumer.stream()).poll_next(cx)).is_pending());
    });
}

#[test]
fn awaiting_commits_what_was_returned_before() {
    on_both(|broker| {
        with_records(broker, 4);
        let build = broker.consumer::<(), String>().topic("t").group("g").auto_commit(true).max_records(2);
        let mut consumer = build.build().expect("nobody is in the group");
        for before in [None, Some(2)] {
            block_on(consumer.next_records()).expect("records");
            assert_eq!(committed_at(&consumer, "t", 0), before);
        }
        assert!(once(|cx| Pin::new(&mut consumer.next_records()).poll(cx)).is_pending());
        assert_eq!(committed_at(&consumer, "t", 0), Some(4), "though the future was dropped");
    });
}

#[test]
fn futures_and_streams_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<NextRecords<'_, Raw, String>>();
    is_send::<RecordsStream<'_, Raw, String>>();
    is_send::<Consumer<Raw, String>>();
    is_send::<Records<Raw, String>>();
}

/// A topic of which the first records are only in files, and a broker that has it open anew.
fn with_files(storage: &Faulty) -> Broker {
    let (broker, _) = storage.broker(1);
    send_numbered(&broker, "t", 500);
    broker.close().expect("nothing went wrong");
    storage.open_broker()
}

#[test]
fn what_is_only_in_files_is_read_by_another_thread_than_the_one_that_awaits() {
    let storage = Faulty::default();
    let broker = with_files(&storage);
    let mut consumer = consumer(&broker);
    storage.forget_workers();
    let task = watched("a task that reads files", move || {
        let mut found = Vec::new();
        block_on(async {
            while found.len() < 500 {
                found.extend(values(&consumer.next_records().await.expect("readable")));
            }
        });
        (found, storage.was_used_by(std::thread::current().id()))
    });
    let (found, used) = task.wait();
    assert_eq!(found, numbered(0..500));
    assert!(!used, "the task's thread has used the storage");
}

#[test]
fn reading_files_can_be_broken_off_and_mixed_with_blocking_polls_and_seeks() {
    with_seeds(|rng| {
        let storage = Faulty::default();
        let broker = with_files(&storage);
        let mut consumer = consumer(&broker);
        let mut found = Vec::new();
        while found.len() < 500 {
            match rng.below(4) {
                0 => drop(once(|cx| Pin::new(&mut consumer.next_records()).poll(cx)).map(|records| {
                    found.extend(values(&records.expect("readable")));
                })),
                1 => found.extend(values(&consumer.poll(NOW).expect("readable"))),
                2 => {
                    // Away and back: a read that is under way belongs to neither place.
                    consumer.seek("t", 0, 77).expect("assigned");
                    drop(once(|cx| Pin::new(&mut consumer.next_records()).poll(cx)));
                    consumer.seek("t", 0, found.len() as u64).expect("assigned");
                }
                _ => found.extend(values(&block_on(consumer.next_records()).expect("readable"))),
            }
        }
        assert_eq!(found, numbered(0..500));
    });
}

/// A topic with 100 records in files, of which one read brings in a quarter.
fn with_large_files(storage: &Faulty) -> Broker {
    let (broker, _) = storage.broker(1);
    let text = "x".repeat(10_000);
    let batch = (0..100).map(|_| ((), text.as_str()));
    broker.producer::<(), String>("t").expect("it exists").send_batch(batch).expect("sent");
    broker.close().expect("nothing went wrong");
    storage.open_broker()
}

/// A waker that panics, after it has said so.
#[derive(Default)]
struct Panicking(AtomicBool);

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_does_not_end_the_reading_of_files_for_others() {
    let storage = Faulty::default();
    let broker = with_large_files(&storage);
    let (mut consumer, mut other) = (consumer(&broker), consumer(&broker));
    let panicking = Arc::new(Panicking::default());
    let waker = Waker::from(Arc::clone(&panicking));
    let mut next = consumer.next_records();
    assert!(Pin::new(&mut next).poll(&mut Context::from_waker(&waker)).is_pending());
    while !panicking.0.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    // What is left of it is of no use.
    std::mem::forget(next);
    let task = watched("a task that reads on", move || {
        let mut found = 0;
        while found < 100 {
            found += block_on(other.next_records()).expect("readable").len();
        }
        found
    });
    assert_eq!(task.wait(), 100);
}

#[test]
fn a_minimum_that_takes_several_reads_of_files_is_reached() {
    let storage = Faulty::default();
    let broker = with_large_files(&storage);
    let mut consumer =
        broker.consumer::<(), String>().topic("t").min_bytes(900_000).build().expect("it exists");
    let task = watched("a task that waits for a minimum in files", move || {
        block_on(consumer.next_records()).map(|records| records.len())
    });
    assert!(task.wait().expect("readable") >= 89);
}

#[test]
fn a_read_that_fails_is_told_and_can_be_repeated() {
    let storage = Faulty::default();
    let broker = with_files(&storage);
    let mut consumer = consumer(&broker);
    storage.refuse(Operation::Read, "t-0", std::io::ErrorKind::Other);
    for _ in 0..2 {
        assert_fails!(block_on(consumer.next_records()), Error::Io { .. });
    }
    storage.allow_all();
    storage.refuse(Operation::PanicOnRead, "t-0", std::io::ErrorKind::Other);
    assert_fails!(block_on(consumer.next_records()), Error::Io { .. });
    storage.allow_all();
    assert_eq!(values(&block_on(consumer.next_records()).expect("readable"))[0], "value-0");
    broker.close().expect("nothing went wrong");
    assert_fails!(block_on(consumer.next_records()), Error::Closed);
}
