//! The append path when several things happen at once: faults, panics of the storage, changed settings, and
//! handles that are dropped in the middle of it. Nobody waits for ever, and everybody is told the truth.

use std::io::ErrorKind::{Other, StorageFull};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use ottla::{Broker, Delivery, Durability, Error, Producer, Raw, RecordMetadata, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// A topic whose records nobody syncs unless asked to.
fn slow_topic(broker: &Broker, durability: Durability) -> Producer<(), String> {
    let config = TopicConfig::new().segment_bytes(4096).sync_interval(HOUR).durability(durability);
    broker.create_topic("t", config).expect("a free name");
    broker.producer("t").expect("it exists")
}

/// Keeps the background thread in a sync, of another topic, until syncs are released.
fn busy_flusher(storage: &Faulty, broker: &Broker) {
    let config = TopicConfig::new().durability(Durability::PowerLoss);
    broker.create_topic("busy", config).expect("a free name");
    storage.hold_syncs();
    broker.producer::<(), String>("busy").expect("it exists").enqueue((), "v").expect("room").detach();
    storage.wait_for_sync();
}

fn wait(delivery: Delivery) -> ottla::Result<RecordMetadata> {
    watched("a delivery", move || delivery.wait()).wait()
}

fn await_it(delivery: Delivery) -> ottla::Result<RecordMetadata> {
    watched("the executor", move || block_on(delivery)).wait()
}

#[test]
fn what_was_written_before_a_write_that_failed_is_synced_at_once() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::PowerLoss);
    busy_flusher(&storage, &broker);
    let large = "x".repeat(3_000);
    let kept = producer.enqueue((), &large).expect("room");
    let refused = producer.enqueue((), &large).expect("room, in a segment of its own");
    storage.refuse(Operation::Open, "t-0/00000000000000000001.log", StorageFull);
    storage.release_syncs();
    assert_fails!(await_it(refused), Error::StorageFull { .. });
    assert_eq!(await_it(kept).expect("it was written before").offset, 0);
}

/// A topic with more than there is room for, all of it written and none of it synced; and a send that waits
/// for room.
fn full_and_unsynced(
    storage: &Faulty,
    broker: &Broker,
) -> (Vec<Delivery>, Watched<ottla::Result<RecordMetadata>>) {
    let config = TopicConfig::new().durability(Durability::PowerLoss).max_record_bytes(4 << 20);
    broker.create_topic("t", config).expect("a free name");
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    storage.write_whole();
    let payload = vec![7; 4 << 20];
    // Not part of what is counted below: the sync of it is under way already.
    storage.hold_syncs_of("t-0");
    producer.enqueue((), b"first").expect("room").detach();
    storage.wait_for_sync();
    let mut deliveries: Vec<_> = (0..16).map(|_| producer.enqueue((), &payload).expect("room")).collect();
    let last = deliveries.pop().expect("there are some");
    thread::spawn(move || drop(last.wait()));
    let written = storage.clone();
    watched("the write", move || while written.len("/data/t-0/00000000000000000000.log") < 16 << 22 {})
        .wait();
    let sending = producer.send_async((), &payload);
    let waiting = watched("the send that waits for room", move || block_on(sending));
    let_it_sleep();
    (deliveries, waiting)
}

#[test]
fn a_send_that_waits_for_room_hears_that_the_topic_was_deleted() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let (_deliveries, waiting) = full_and_unsynced(&storage, &broker);
    let topics = broker.clone();
    let deleting = watched("the deletion", move || topics.delete_topic("t"));
    assert_fails!(waiting.wait(), Error::TopicDeleted { .. });
    storage.release_syncs();
    deleting.wait().expect("it exists");
}

#[test]
fn a_send_that_waits_for_room_hears_that_a_sync_failed() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let (_deliveries, waiting) = full_and_unsynced(&storage, &broker);
    storage.refuse(Operation::Sync, "t-0", Other);
    storage.release_syncs();
    assert_fails!(waiting.wait(), Error::PartitionFailed { .. });
}

#[test]
fn a_delivery_that_outlives_its_broker_hears_of_a_failed_sync() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::PowerLoss);
    storage.hold_syncs();
    let first = producer.enqueue((), "value-0").expect("room");
    storage.wait_for_sync();
    let second = producer.enqueue((), "value-1").expect("room");
    drop((broker, producer));
    storage.refuse(Operation::Sync, "t-0", Other);
    storage.release_syncs();
    assert_fails!(await_it(first), Error::OutcomeUnknown { offset: 0, .. });
    assert_fails!(await_it(second), Error::OutcomeUnknown { offset: 1, .. });
}

#[test]
fn a_delivery_hears_of_a_storage_that_panics_when_the_last_handle_is_dropped() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    busy_flusher(&storage, &broker);
    storage.refuse(Operation::PanicOnWrite, "t-0", Other);
    let delivery = producer.enqueue((), "value-0").expect("room");
    let dropped = watched("the drop", move || catch_unwind(AssertUnwindSafe(|| drop((broker, producer)))));
    assert!(dropped.wait().is_err(), "the panic is passed on");
    storage.release_syncs();
    assert_fails!(await_it(delivery), Error::OutcomeUnknown { offset: 0, .. });
}

#[test]
fn a_detached_record_that_is_lost_is_told_of_even_if_others_are_waited_for() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    busy_flusher(&storage, &broker);
    storage.refuse(Operation::Write, "t-0", StorageFull);
    producer.enqueue((), "lost").expect("room").detach();
    let held = producer.enqueue((), "lost too").expect("room");
    storage.release_syncs();
    assert_fails!(wait(held), Error::StorageFull { .. });
    assert_fails!(producer.flush(), Error::StorageFull { .. });
    storage.allow_all();
    producer.flush().expect("it was told once");
}

#[test]
fn a_record_that_is_detached_after_it_was_lost_is_told_of() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    storage.refuse(Operation::Write, "t-0", StorageFull);
    let lost = producer.enqueue((), "lost").expect("room");
    assert!(lost.wait_timeout(Duration::from_secs(20)).is_some_and(|outcome| outcome.is_err()));
    lost.detach();
    producer.flush().expect("it was told already");
    let lost = producer.enqueue((), "lost").expect("room");
    producer.flush().expect("somebody has the delivery");
    lost.detach();
    assert_fails!(producer.flush(), Error::StorageFull { .. });
    producer.flush().expect("it was told once");
}

#[test]
fn deleting_records_does_not_answer_for_detached_ones() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    producer.send((), "value-0").expect("room");
    storage.refuse(Operation::Write, "t-0", StorageFull);
    producer.enqueue((), "lost").expect("room").detach();
    assert_eq!(broker.delete_records("t", 0, 1).expect("it is there"), 1);
    assert_fails!(producer.flush(), Error::StorageFull { .. });
}

#[test]
fn after_a_panic_in_a_write_nobody_is_told_that_a_written_record_is_not_in_the_log() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    storage.refuse(Operation::PanicAfterWrite, "t-0", Other);
    let delivery = producer.enqueue((), "value-0").expect("room");
    let outcome = await_it(delivery);
    drop((broker, producer));
    storage.allow_all();
    assert_eq!(held(&storage.open_broker(), "t"), 1);
    assert_fails!(outcome, Error::OutcomeUnknown { offset: 0, .. });
}

#[test]
fn of_many_records_in_a_write_that_cannot_be_undone_it_is_not_known_which_are_kept() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    busy_flusher(&storage, &broker);
    let deliveries: Vec<_> =
        numbered(0..10).iter().map(|value| producer.enqueue((), value).expect("room")).collect();
    storage.refuse(Operation::WriteHalf, "t-0", Other);
    storage.refuse(Operation::Cut, "t-0", Other);
    storage.release_syncs();
    let outcomes: Vec<_> = deliveries.into_iter().map(await_it).collect();
    drop((broker, producer));
    storage.allow_all();
    let kept = held(&storage.open_broker(), "t");
    assert!(kept > 0, "half of them were written whole");
    for outcome in outcomes {
        assert_fails!(outcome, Error::OutcomeUnknown { .. });
    }
}

#[test]
fn a_record_sent_while_the_durability_is_raised_is_visible_when_it_is_acknowledged() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    let topics = broker.clone();
    storage.during_next_write("t-0", move || {
        let raised = TopicConfig::new().durability(Durability::PowerLoss);
        topics.alter_topic("t", raised).expect("on disk");
    });
    producer.send((), "value-0").expect("kept");
    assert_eq!(texts(&all_of(&broker, "t")), numbered(0..1));
}

#[test]
fn what_was_sent_for_power_loss_is_not_shown_early_when_the_durability_is_lowered() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::PowerLoss);
    storage.hold_syncs_of("t-0");
    let first = producer.enqueue((), "value-0").expect("room");
    storage.wait_for_sync();
    broker.alter_topic("t", TopicConfig::new().durability(Durability::ProcessCrash)).expect("on disk");
    let second = producer.enqueue((), "value-1").expect("room");
    let sending = watched("the send", move || producer.send((), "value-2"));
    let_it_sleep();
    assert!(!first.is_decided());
    assert_eq!(held(&broker, "t"), 0, "the first one is not synced yet");
    storage.release_syncs();
    assert_eq!(wait(first).expect("kept").offset, 0);
    assert_eq!(wait(second).expect("kept").offset, 1);
    assert_eq!(sending.wait().expect("kept").offset, 2);
    assert_eq!(texts(&all_of(&broker, "t")), numbered(0..3));
}

#[test]
fn a_panic_in_a_sync_is_final_and_told_to_all_who_wait() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::PowerLoss);
    storage.hold_syncs();
    let send = |value| {
        let producer = producer.clone();
        watched("a send", move || catch_unwind(AssertUnwindSafe(|| producer.send((), value))))
    };
    let first = send("value-0");
    storage.wait_for_sync();
    let others = [send("value-1"), send("value-2")];
    let_it_sleep();
    storage.refuse(Operation::PanicOnSync, "t-0", Other);
    storage.release_syncs();
    for outcome in others.into_iter().chain([first]).map(Watched::wait) {
        assert!(!matches!(outcome, Ok(Ok(_))), "it was not synced");
    }
    storage.allow_all();
    // Like any failed sync: the next one may succeed though bytes are missing.
    assert_fails!(producer.send((), "late"), Error::PartitionFailed { .. });
    assert_eq!(held(&broker, "t"), 0);
}

#[test]
fn what_a_broker_finds_for_power_loss_is_synced_before_it_is_seen() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::PowerLoss);
    producer.send((), "value-0").expect("kept");
    storage.refuse(Operation::Sync, "t-0", Other);
    assert_fails!(producer.send((), "perhaps"), Error::OutcomeUnknown { offset: 1, .. });
    drop((broker, producer));
    storage.allow_all();
    assert!(!storage.unsynced("t-0").is_empty());
    let broker = storage.open_broker();
    assert_eq!(held(&broker, "t"), 2);
    assert!(storage.unsynced("t-0").is_empty(), "visible, so synced");
}

#[test]
fn what_is_enqueued_later_is_written_at_once_too() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    for number in 0..3 {
        let delivery = producer.enqueue((), "v").expect("room");
        assert_eq!(await_it(delivery).expect("kept").offset, number);
    }
}

#[test]
fn segments_that_end_during_a_sync_are_synced_by_the_next_one() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    let large = "x".repeat(3_000);
    producer.send((), &large).expect("kept");
    storage.hold_syncs_of("t-0");
    let flushing = producer.clone();
    let flushing = watched("the flush", move || flushing.flush());
    storage.wait_for_sync();
    for _ in 0..3 {
        producer.send((), &large).expect("kept");
    }
    storage.release_syncs();
    flushing.wait().expect("synced");
    producer.flush().expect("synced");
    assert!(storage.unsynced("t-0").is_empty());
}

#[test]
fn a_segment_begun_by_a_write_that_panicked_is_used_by_the_next_one() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::ProcessCrash);
    let large = "x".repeat(3_000);
    producer.send((), &large).expect("kept");
    // The header of the next segment is written, the record is not.
    storage.write_whole();
    let records = storage.clone();
    let panic = || panic!("the storage panics, as this test wants");
    storage.during_next_write("t-0", move || records.during_next_write("t-0", panic));
    let panicking = producer.clone();
    let outcome = watched("the send", move || {
        catch_unwind(AssertUnwindSafe(|| panicking.send((), &"y".repeat(3_000)).map(drop)))
    });
    assert!(outcome.wait().is_err());
    assert_eq!(producer.send((), "z").expect("kept").offset, 2);
    assert_eq!(offsets(&all_of(&broker, "t")), [0, 1, 2]);
    // The segment is one, not two of the same name: deleting what is before it leaves its file.
    assert_eq!(broker.delete_records("t", 0, 2).expect("it is there"), 2);
    drop((broker, producer));
    assert_eq!(offsets(&all_of(&storage.open_broker(), "t")), [2]);
}

#[test]
fn a_delivery_that_waits_for_a_sync_hears_that_the_topic_was_deleted() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = slow_topic(&broker, Durability::PowerLoss);
    storage.hold_syncs_of("t-0");
    producer.enqueue((), "value-0").expect("room").detach();
    storage.wait_for_sync();
    // Written by one who waits, and not part of the sync under way.
    let second = producer.enqueue((), "value-1").expect("room");
    let sending = watched("the send", move || producer.send((), "value-2"));
    let_it_sleep();
    broker.delete_topic("t").expect("it exists");
    assert_fails!(await_it(second), Error::TopicDeleted { .. });
    assert_fails!(sending.wait(), Error::TopicDeleted { .. });
    storage.release_syncs();
}
