//! A topic in memory at its bound: it drops its oldest records, or refuses, or has its senders wait. And
//! topics that take no record without a key.

use std::sync::Arc;
use std::time::Duration;

use ottla::{
    Broker, Compaction, Durability, Error, ManualClock, Raw, Retention, Timestamp, TopicConfig,
    TopicPartition, WhenFull,
};

use crate::support::*;

const LIMIT: u64 = 64 << 10;
const VALUE: [u8; 450] = [7; 450];

fn config(when_full: WhenFull) -> TopicConfig {
    let config = TopicConfig::new().durability(Durability::Memory).memory_limit(LIMIT);
    config.retention(Retention::until_read_by(["readers"])).when_full(when_full)
}

fn create(broker: &Broker, when_full: WhenFull) {
    broker.create_topic("t", config(when_full)).expect("a free name");
}

fn try_send(broker: &Broker) -> ottla::Result<u64> {
    broker.producer::<(), Raw>("t")?.send((), &VALUE).map(|at| at.offset)
}

/// Sends until there is no room; how many found room.
fn fill(broker: &Broker) -> u64 {
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    let mut sent = 0;
    loop {
        match producer.enqueue((), &VALUE) {
            Ok(delivery) => drop(delivery.wait().expect("it is in memory")),
            Err(Error::TopicFull { partition, pending_bytes, max }) => {
                assert_eq!((partition, max as u64), (TopicPartition::new("t", 0), LIMIT));
                assert!(pending_bytes as u64 <= LIMIT);
                return sent;
            }
            Err(error) => panic!("{error}"),
        }
        sent += 1;
    }
}

fn commit(broker: &Broker, offset: u64) {
    let commits = [(TopicPartition::new("t", 0), offset)];
    broker.commit_offsets("readers", commits).expect("in range");
}

fn range(broker: &Broker) -> (u64, u64) {
    let partition = broker.describe_topic("t").expect("it exists").partitions[0];
    (partition.start_offset, partition.end_offset)
}

/// A thread that sends one record, and waits for room first.
fn blocked(broker: &Broker) -> Watched<ottla::Result<u64>> {
    let sender = broker.clone();
    let blocked = watched("a send that waits for room", move || try_send(&sender));
    let_it_sleep();
    blocked
}

#[test]
fn one_that_refuses_takes_what_there_is_room_for_and_no_more() {
    on_both(|broker| {
        create(broker, WhenFull::Refuse);
        let sent = fill(broker);
        assert!((LIMIT / 600..=LIMIT / 450).contains(&sent), "{sent} records");
        for _ in 0..3 {
            let error = try_send(broker).expect_err("it is full");
            assert!(matches!(error, Error::TopicFull { .. }) && error.is_retriable(), "{error}");
        }
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        assert_fails!(producer.send_batch([((), &VALUE[..]), ((), &VALUE[..])]), Error::TopicFull { .. });
        assert_fails!(block_on(producer.send_async((), &VALUE)), Error::TopicFull { .. });
        assert_eq!(range(broker), (0, sent), "nothing is dropped, and nothing added");
        assert_eq!(all_of(broker, "t").len() as u64, sent);
    });
}

#[test]
fn what_is_dropped_and_given_up_is_counted_to_the_last_record() {
    on_both(|broker| {
        create(broker, WhenFull::DropOldest);
        for _ in 0..1_000 {
            try_send(broker).expect("the oldest go");
        }
        let upkeep = || broker.stats().upkeep;
        let (start, end) = range(broker);
        assert_eq!((upkeep().dropped_records, upkeep().retained_out_records), (start, 0));
        assert!(start > 500 && upkeep().dropped_bytes >= start * 450);
        commit(broker, end);
        broker.run_housekeeping().expect("no fault");
        let (kept_from, _) = range(broker);
        assert!(kept_from > start);
        assert_eq!((upkeep().dropped_records, upkeep().retained_out_records), (start, kept_from - start));
        broker.delete_records("t", 0, end).expect("in range");
        assert_eq!(upkeep().dropped_records + upkeep().retained_out_records, kept_from, "that was asked for");
    });
}

#[test]
fn what_was_read_makes_room_at_once() {
    on_both(|broker| {
        create(broker, WhenFull::Refuse);
        let sent = fill(broker);
        commit(broker, sent);
        assert_eq!(try_send(broker).expect("there is room"), sent);
        let more = fill(broker);
        assert!(more > sent / 2, "{more} after {sent}");
        assert!(range(broker).0 <= sent);
    });
}

#[test]
fn what_is_too_old_makes_room_at_once() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let builder = Broker::builder().clock(Arc::clone(&clock)).housekeeping_interval(Duration::MAX);
    let broker = builder.open().expect("nothing to go wrong");
    let hour = Duration::from_secs(3_600);
    let config = config(WhenFull::Refuse).retention(Retention::forever().max_age(hour));
    broker.create_topic("t", config).expect("a free name");
    let sent = fill(&broker);
    clock.advance(hour);
    assert_fails!(try_send(&broker), Error::TopicFull { .. });
    clock.advance(Duration::from_millis(1));
    assert_eq!(try_send(&broker).expect("there is room"), sent);
    assert_eq!(range(&broker), (sent, sent + 1));
}

#[test]
fn a_sender_waits_until_a_group_has_read() {
    on_both(|broker| {
        create(broker, WhenFull::Block);
        let sent = fill(broker);
        let sender = blocked(broker);
        assert_eq!(range(broker), (0, sent), "it waits");
        commit(broker, sent);
        assert_eq!(sender.wait().expect("there is room"), sent);
    });
}

#[test]
fn a_sender_waits_until_records_are_deleted() {
    on_both(|broker| {
        create(broker, WhenFull::Block);
        let sent = fill(broker);
        let sender = blocked(broker);
        broker.delete_records("t", 0, sent).expect("in range");
        assert_eq!(sender.wait().expect("there is room"), sent);
        assert_eq!(range(broker), (sent, sent + 1));
    });
}

#[test]
fn a_sender_that_waits_hears_that_the_topic_is_deleted_or_the_broker_closed() {
    on_both(|broker| {
        create(broker, WhenFull::Block);
        fill(broker);
        let sender = blocked(broker);
        broker.delete_topic("t").expect("it is there");
        assert_fails!(sender.wait(), Error::TopicDeleted { .. });
        create(broker, WhenFull::Block);
        fill(broker);
        let sender = blocked(broker);
        broker.close().expect("no fault");
        assert_fails!(sender.wait(), Error::Closed);
    });
}

#[test]
fn a_sender_that_waits_goes_by_other_settings() {
    on_both(|broker| {
        create(broker, WhenFull::Block);
        let sent = fill(broker);
        let sender = blocked(broker);
        broker.alter_topic("t", TopicConfig::new().memory_limit(2 * LIMIT)).expect("a change");
        assert_eq!(sender.wait().expect("there is room"), sent);
        fill_up(broker);
        let sender = blocked(broker);
        broker.alter_topic("t", TopicConfig::new().when_full(WhenFull::Refuse)).expect("a change");
        assert_fails!(sender.wait(), Error::TopicFull { .. });
        broker.alter_topic("t", TopicConfig::new().when_full(WhenFull::DropOldest)).expect("a change");
        try_send(broker).expect("the oldest go");
        assert!(range(broker).0 > 0);
    });
}

/// As [`fill`], whatever the bound.
fn fill_up(broker: &Broker) {
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    while producer.enqueue((), &VALUE).map(ottla::Delivery::detach).is_ok() {}
}

#[test]
fn a_future_waits_for_room() {
    on_both(|broker| {
        create(broker, WhenFull::Block);
        let sent = fill(broker);
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let mut sending = Box::pin(producer.send_async((), &VALUE));
        assert!(once(|cx| sending.as_mut().poll(cx)).is_pending());
        let sending = watched("a future that waits for room", move || block_on(sending));
        let_it_sleep();
        commit(broker, sent);
        assert_eq!(sending.wait().expect("there is room").offset, sent);
    });
}

#[test]
fn a_record_that_is_larger_than_the_bound_is_taken_when_nothing_else_is_there() {
    on_both(|broker| {
        broker.create_topic("t", config(WhenFull::Block).max_record_bytes(1 << 20)).expect("a free name");
        let large = vec![7; 2 * LIMIT as usize];
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        producer.send((), &large).expect("an empty log takes it");
        assert_fails!(producer.enqueue((), &large), Error::TopicFull { .. });
        commit(broker, 1);
        producer.send((), &large).expect("the other one is read");
        assert_eq!(range(broker), (1, 2));
    });
}

#[test]
fn producer_and_consumer_get_through_a_topic_that_is_much_smaller() {
    on_both(|broker| {
        create(broker, WhenFull::Block);
        let mut consumer =
            broker.consumer::<(), Raw>().topic("t").group("readers").build().expect("it exists");
        let sender = broker.clone();
        let sending = watched("sending", move || (0..2_000).try_for_each(|_| try_send(&sender).map(drop)));
        let mut next = 0;
        while next < 2_000 {
            let records = consumer.poll(FOREVER).expect("nothing is lost");
            for record in &records {
                assert_eq!(record.offset(), next);
                next += 1;
            }
            consumer.commit(&records).expect("commits");
        }
        sending.wait().expect("all are sent");
    });
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    on_both(|broker| {
        let config = TopicConfig::new().compaction(Compaction::by_key()).segment_bytes(4096);
        broker.create_topic("t", config).expect("a free name");
        let producer = broker.producer::<Option<String>, Raw>("t").expect("it exists");
        producer.send(Some("key"), b"1").expect("it has a key");
        assert_fails!(producer.send(None, b"1"), Error::KeyRequired { topic } if topic == "t");
        assert_fails!(producer.enqueue(None, b"1"), Error::KeyRequired { .. });
        assert_fails!(block_on(producer.send_async(None, b"1")), Error::KeyRequired { .. });
        assert_fails!(
            producer.send_batch([(Some("key"), &b"2"[..]), (None, b"1")]),
            Error::KeyRequired { .. }
        );
        assert_eq!(range(broker), (0, 1), "of a batch too, nothing is there");
    });
}

#[test]
fn a_topic_that_is_compacted_from_now_on_wants_keys_from_now_on() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<Option<String>, Raw>("t").expect("it exists");
        producer.send(None, b"1").expect("no key is needed");
        broker.alter_topic("t", TopicConfig::new().compaction(Compaction::by_key())).expect("a change");
        assert_fails!(producer.send(None, b"1"), Error::KeyRequired { .. });
        broker.alter_topic("t", TopicConfig::new().compaction(None)).expect("a change");
        producer.send(None, b"1").expect("no key is needed");
        assert_eq!(range(broker), (0, 2));
    });
}
