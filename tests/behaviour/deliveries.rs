//! `enqueue`, `send_async` and what becomes of their records: order, failures, closing, dropping.

use std::io::ErrorKind::StorageFull;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use ottla::{Broker, Delivery, Durability, Error, Producer, Raw, RecordMetadata, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

const LEVELS: [Durability; 2] = [Durability::ProcessCrash, Durability::PowerLoss];

fn topic(broker: &Broker, durability: Durability) -> Producer<(), String> {
    let config = TopicConfig::new().segment_bytes(4096).durability(durability);
    broker.create_topic("t", config).expect("a free name");
    broker.producer("t").expect("it exists")
}

/// Runs a test at each durability, on a file system that can be told to refuse.
fn at_each_level(test: impl Fn(Faulty, Broker, Producer<(), String>)) {
    for level in LEVELS {
        let _pass = Pass(format!("at {level:?}"));
        let storage = Faulty::default();
        let broker = storage.open_broker();
        let producer = topic(&broker, level);
        test(storage, broker, producer);
    }
}

fn enqueue(producer: &Producer<(), String>, count: usize) -> Vec<Delivery> {
    let values = numbered(0..count);
    values.iter().map(|value| producer.enqueue((), value).expect("room")).collect()
}

fn wait(delivery: Delivery) -> ottla::Result<RecordMetadata> {
    watched("a delivery", move || delivery.wait()).wait()
}

#[test]
fn in_memory_a_delivery_is_decided_at_once() {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    let producer = broker.producer::<(), u64>("t").expect("it exists");
    let delivery = producer.enqueue((), 1).expect("room");
    assert!(delivery.is_decided());
    assert_eq!(delivery.wait().expect("in memory").offset, 0);
    assert_eq!(held(&broker, "t"), 1);
}

#[test]
fn what_is_waited_for_is_visible_and_in_the_order_of_the_calls() {
    at_each_level(|_, broker, producer| {
        let mut deliveries = Vec::new();
        for number in 0..300 {
            let value = format!("value-{number}");
            if number % 7 == 0 {
                assert_eq!(producer.send((), &value).expect("sent").offset, number);
            } else {
                deliveries.push((number, producer.enqueue((), &value).expect("room")));
            }
        }
        for (number, delivery) in deliveries {
            assert_eq!(wait(delivery).expect("kept").offset, number);
        }
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..300));
    });
}

#[test]
fn a_detached_delivery_on_an_idle_broker_becomes_visible_by_itself() {
    for level in LEVELS {
        let dir = temp_dir();
        let broker = Broker::open(dir.path()).expect("a fresh directory");
        let producer = topic(&broker, level);
        let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
        let polling = watched("the poll", move || consumer.poll(FOREVER).map(|records| records.len()));
        let_it_sleep();
        producer.enqueue((), "alone").expect("room").detach();
        assert_eq!(polling.wait().expect("a record"), 1, "at {level:?}");
    }
}

#[test]
fn a_delivery_can_be_awaited() {
    at_each_level(|_, broker, producer| {
        let deliveries = enqueue(&producer, 100);
        let offsets = watched("the executor", move || {
            block_on(async move {
                let mut offsets = Vec::new();
                for delivery in deliveries {
                    offsets.push(delivery.await.expect("kept").offset);
                }
                offsets.push(producer.send_async((), "value-100").await.expect("kept").offset);
                offsets
            })
        });
        assert_eq!(offsets.wait(), (0..101).collect::<Vec<_>>());
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..101));
    });
}

#[test]
fn enqueuing_and_awaiting_neither_write_nor_sync_on_this_thread() {
    at_each_level(|storage, _broker, producer| {
        storage.forget_workers();
        let used = watched("the executor", move || {
            block_on(async {
                for delivery in enqueue(&producer, 200) {
                    delivery.await.expect("kept");
                }
                producer.send_async((), "one more").await.expect("kept");
                let record = producer.record("and another").header("trace", b"42");
                record.send_async().await.expect("kept");
            });
            storage.was_used_by(thread::current().id())
        });
        assert!(!used.wait());
    });
}

#[test]
fn a_thousand_deliveries_in_flight_are_decided_and_kept_by_close() {
    at_each_level(|storage, broker, producer| {
        let deliveries = enqueue(&producer, 1_000);
        watched("close", move || broker.close()).wait().expect("nothing went wrong");
        for (number, delivery) in deliveries.into_iter().enumerate() {
            assert!(delivery.is_decided());
            assert_eq!(delivery.wait().expect("kept").offset, number as u64);
        }
        assert_fails!(producer.enqueue((), "late"), Error::Closed);
        assert_fails!(block_on(producer.send_async((), "late")), Error::Closed);
        assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..1_000));
    });
}

#[test]
fn a_broker_closed_in_the_middle_of_enqueuing_keeps_what_it_took() {
    at_each_level(|storage, broker, producer| {
        let enqueuing = watched("the sender", move || {
            let mut deliveries = Vec::new();
            loop {
                match producer.enqueue((), &format!("value-{}", deliveries.len())) {
                    Ok(delivery) => deliveries.push(delivery),
                    Err(Error::Closed) => return deliveries,
                    Err(Error::TopicFull { .. }) => thread::yield_now(),
                    Err(other) => panic!("{other}"),
                }
            }
        });
        let_it_sleep();
        broker.close().expect("nothing went wrong");
        let deliveries = enqueuing.wait();
        let count = deliveries.len();
        for delivery in deliveries {
            wait(delivery).expect("it was taken before the end");
        }
        assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..count));
    });
}

#[test]
fn what_was_enqueued_is_kept_when_all_handles_are_dropped() {
    at_each_level(|storage, broker, producer| {
        let deliveries = enqueue(&producer, 500);
        drop((broker, producer));
        // A delivery that is kept does not keep the directory in use.
        assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..500));
        for (number, delivery) in deliveries.into_iter().enumerate() {
            assert_eq!(wait(delivery).expect("kept").offset, number as u64);
        }
    });
}

#[test]
fn what_cannot_be_written_is_told_and_is_not_in_the_log() {
    at_each_level(|storage, broker, producer| {
        producer.send((), "value-0").expect("room");
        storage.refuse(Operation::Write, "t-0", StorageFull);
        let mut refused = Vec::new();
        for number in 0..50 {
            refused.push(producer.enqueue((), &format!("lost-{number}")).expect("staged"));
        }
        for delivery in refused {
            assert_fails!(wait(delivery), Error::StorageFull { .. });
        }
        storage.allow_all();
        assert_eq!(producer.send((), "value-1").expect("room again").offset, 1);
        assert_eq!(wait(producer.enqueue((), "value-2").expect("room")).expect("kept").offset, 2);
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..3));
        drop((broker, producer));
        assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..3));
    });
}

#[test]
fn the_next_flush_answers_for_detached_records_that_could_not_be_written() {
    at_each_level(|storage, _broker, producer| {
        storage.refuse(Operation::Write, "t-0", StorageFull);
        producer.enqueue((), "lost").expect("staged").detach();
        assert_fails!(producer.flush(), Error::StorageFull { .. });
        storage.allow_all();
        producer.flush().expect("it was told once");
    });
}

#[test]
fn close_answers_for_detached_records_that_could_not_be_written() {
    at_each_level(|storage, broker, producer| {
        storage.refuse(Operation::Write, "t-0", StorageFull);
        producer.enqueue((), "lost").expect("staged").detach();
        assert_fails!(broker.close(), Error::StorageFull { .. });
    });
}

#[test]
fn deliveries_of_a_deleted_topic_are_told_so_or_were_kept_before() {
    at_each_level(|storage, broker, producer| {
        storage.slow_down(Duration::from_millis(5));
        let deliveries = enqueue(&producer, 100);
        broker.delete_topic("t").expect("it exists");
        for delivery in deliveries {
            match wait(delivery) {
                Ok(_) | Err(Error::TopicDeleted { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_fails!(producer.enqueue((), "late"), Error::TopicDeleted { .. });
    });
}

#[test]
fn a_storage_that_panics_leaves_nobody_waiting() {
    at_each_level(|storage, _broker, producer| {
        storage.refuse(Operation::PanicOnWrite, "t-0", StorageFull);
        let delivery = producer.enqueue((), "lost").expect("staged");
        let outcome = watched("the executor", move || block_on(delivery));
        assert_fails!(outcome.wait(), Error::OutcomeUnknown { offset: 0, .. });
        storage.allow_all();
        assert_fails!(producer.send((), "late"), Error::PartitionFailed { .. });
    });
}

#[test]
fn at_the_bound_enqueue_refuses_and_send_async_waits_for_room() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let config = TopicConfig::new().durability(Durability::PowerLoss).max_record_bytes(1 << 20);
    broker.create_topic("t", config).expect("a free name");
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    storage.hold_syncs();
    let payload = vec![7; 1 << 20];
    let mut deliveries = Vec::new();
    let refused = loop {
        match producer.enqueue((), &payload) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
        assert!(deliveries.len() < 100, "there is a bound");
    };
    assert!(matches!(refused, Error::TopicFull { .. }) && refused.is_retriable(), "{refused}");
    assert!(deliveries.len() >= 64);

    let sending = producer.send_async((), &payload);
    let dropped = producer.send_async((), &payload);
    let waiting = watched("the executor", move || block_on(sending));
    let_it_sleep();
    drop(dropped);
    storage.release_syncs();
    let at = waiting.wait().expect("kept");
    assert_eq!(at.offset, deliveries.len() as u64);
    for delivery in deliveries {
        wait(delivery).expect("kept");
    }
    assert_eq!(held(&broker, "t"), at.offset + 1, "the one that was dropped is not there");
}

#[test]
fn a_wait_with_a_timeout_can_be_repeated() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = topic(&broker, Durability::PowerLoss);
    storage.hold_syncs();
    let delivery = producer.enqueue((), "slow").expect("room");
    assert!(delivery.wait_timeout(Duration::ZERO).is_none());
    assert!(delivery.wait_timeout(Duration::from_millis(5)).is_none());
    assert!(!delivery.is_decided());
    storage.release_syncs();
    for _ in 0..2 {
        let outcome = delivery.wait_timeout(Duration::from_secs(20)).expect("the background syncs");
        assert_eq!(outcome.expect("kept").offset, 0);
    }
}

/// Several threads send and enqueue to one partition, and many a write fails.
#[test]
fn whatever_fails_the_log_holds_exactly_what_was_acknowledged() {
    with_seeds(|rng| {
        let level = LEVELS[rng.below(2)];
        let storage = Faulty::default();
        let broker = storage.open_broker();
        let producer = topic(&broker, level);
        storage.refuse_one_in(5, rng);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (producer, mut rng) = (producer.clone(), Rng(rng.next()));
                watched("a sender", move || send_at_random(&producer, sender, &mut rng))
            })
            .collect();
        let mut acknowledged: Vec<(u64, String)> = senders.into_iter().flat_map(Watched::wait).collect();
        acknowledged.sort();
        storage.refuse_one_in(0, rng);
        assert!(storage.refused_at_random() > 0 && !acknowledged.is_empty());
        let found = |broker: &Broker| -> Vec<(u64, String)> {
            all_of(broker, "t").iter().map(|record| (record.offset, text(record))).collect()
        };
        assert_eq!(found(&broker), acknowledged);
        drop((broker, producer));
        assert_eq!(found(&storage.open_broker()), acknowledged);
    });
}

/// Sends and enqueues; what was acknowledged, and where.
fn send_at_random(producer: &Producer<(), String>, sender: usize, rng: &mut Rng) -> Vec<(u64, String)> {
    let mut acknowledged = Vec::new();
    let mut pending = Vec::new();
    for number in 0..400 {
        let value = format!("{sender}-{number}-{}", "x".repeat(rng.below(200)));
        if rng.one_in(3) {
            if let Ok(at) = producer.send((), &value) {
                acknowledged.push((at.offset, value));
            }
        } else if let Ok(delivery) = producer.enqueue((), &value) {
            pending.push((delivery, value));
        }
        if rng.one_in(10) {
            for (delivery, value) in pending.drain(..) {
                if let Ok(at) = delivery.wait() {
                    acknowledged.push((at.offset, value));
                }
            }
        }
    }
    for (delivery, value) in pending {
        if let Ok(at) = delivery.wait() {
            acknowledged.push((at.offset, value));
        }
    }
    acknowledged
}

/// Sends when it is woken, on the thread that wakes it.
struct SendsWhenWoken(Producer<(), String>);

impl Wake for SendsWhenWoken {
    fn wake(self: Arc<Self>) {
        self.0.send((), "woken").expect("kept");
    }
}

#[test]
fn the_waker_of_a_delivery_may_use_its_topic() {
    at_each_level(|storage, broker, producer| {
        let waker = Waker::from(Arc::new(SendsWhenWoken(producer.clone())));
        storage.slow_down(Duration::from_millis(20));
        // The flusher is busy with the first one, so that the second is awaited.
        producer.enqueue((), "first").expect("room").detach();
        let mut delivery = producer.enqueue((), "awaited").expect("room");
        let polled = Pin::new(&mut delivery).poll(&mut Context::from_waker(&waker));
        let expected = if polled.is_ready() { 2 } else { 3 };
        let topic = broker.clone();
        watched("the wake-up", move || while held(&topic, "t") < expected {}).wait();
        broker.close().expect("nothing went wrong");
    });
}
