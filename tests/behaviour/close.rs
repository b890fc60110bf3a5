//! Closing a broker ends it for all handles and frees its directory; dropping one without closing loses
//! nothing.

use std::thread;

use ottla::{Broker, Error, Raw, Timestamp, TopicConfig};

use crate::support::*;

fn with_topic(broker: &Broker) {
    broker.create_topic("payments", partitions(2)).expect("a free name");
    send_numbered(broker, "payments", 3);
}

#[test]
fn a_closed_broker_refuses_every_call() {
    on_both(|broker| {
        with_topic(broker);
        let clone = broker.clone();
        clone.close().expect("closes");
        assert_fails!(broker.create_topic("t", TopicConfig::new()), Error::Closed);
        assert_fails!(broker.open_topic("t", TopicConfig::new()), Error::Closed);
        assert_fails!(broker.open_topic("payments", TopicConfig::new()), Error::Closed);
        assert_fails!(broker.delete_topic("payments"), Error::Closed);
        assert_fails!(broker.producer::<Raw, Raw>("payments"), Error::Closed);
        assert_fails!(broker.consumer::<Raw, Raw>().topic("payments").build(), Error::Closed);
        assert_fails!(broker.consumer::<Raw, Raw>().assign("payments", [1]).build(), Error::Closed);
        assert_fails!(broker.consumer::<Raw, Raw>().topic("payments").group("g").build(), Error::Closed);
    });
}

#[test]
fn producers_of_a_closed_broker_say_so() {
    on_both(|broker| {
        with_topic(broker);
        let producer = broker.producer::<String, String>("payments").expect("it exists");
        broker.close().expect("closes");
        assert_fails!(producer.send("k", "v"), Error::Closed);
        assert_fails!(producer.clone().send("k", "v"), Error::Closed);
        assert_fails!(producer.send_batch([("k", "v")]), Error::Closed);
        assert_fails!(producer.record("v").send(), Error::Closed);
        assert_fails!(producer.tombstone("k").send(), Error::Closed);
        assert_fails!(producer.flush(), Error::Closed);
    });
}

#[test]
fn consumers_of_a_closed_broker_say_so() {
    on_both(|broker| {
        with_topic(broker);
        let mut consumer = reader(broker, "payments");
        broker.close().expect("closes");
        assert_fails!(consumer.poll(NOW), Error::Closed);
        assert_fails!(consumer.poll(FOREVER), Error::Closed);
        assert_fails!(consumer.seek_to_timestamp(Timestamp::from_millis(0)), Error::Closed);
        assert_fails!(consumer.offsets_for_timestamp(Timestamp::from_millis(0)), Error::Closed);
    });
}

#[test]
fn nothing_is_committed_after_a_close() {
    on_both(|broker| {
        with_topic(broker);
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("records");
        broker.close().expect("closes");
        assert_fails!(consumer.commit(&records), Error::Closed);
        let first = records.iter().next().expect("a record");
        assert_fails!(consumer.commit_through(&first), Error::Closed);
        assert!(broker.committed_offsets("g").is_empty());
    });
}

#[test]
fn closing_again_does_nothing() {
    on_both(|broker| {
        with_topic(broker);
        broker.close().expect("closes");
        broker.close().expect("is closed");
        broker.clone().close().expect("is closed");
    });
}

#[test]
fn a_close_wakes_every_sleeping_poll() {
    on_both(|broker| {
        with_topic(broker);
        broker.create_topic("orders", TopicConfig::new()).expect("a free name");
        let polls: Vec<_> = [vec!["payments"], vec!["orders"], vec!["orders", "payments"]]
            .into_iter()
            .map(|topics| {
                let mut consumer =
                    broker.consumer::<(), String>().topics(topics).build().expect("they exist");
                drain(&mut consumer);
                watched("a poll of a closed broker", move || {
                    consumer.poll(FOREVER).map(|records| records.len())
                })
            })
            .collect();
        let_it_sleep();
        broker.close().expect("closes");
        for poll in polls {
            assert_fails!(poll.wait(), Error::Closed);
        }
    });
}

#[test]
fn polled_records_stay_valid_after_a_close() {
    on_both(|broker| {
        with_topic(broker);
        let mut consumer = broker.consumer::<(), String>().topic("payments").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        broker.close().expect("closes");
        drop(consumer);
        assert_eq!(polled(&records), numbered(0..3));
    });
}

#[test]
fn a_close_frees_the_directory_while_handles_live() {
    on_kept(|kept| {
        let broker = kept.open();
        with_topic(&broker);
        let producer = broker.producer::<String, String>("payments").expect("it exists");
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("records");
        broker.close().expect("closes");

        let next = kept.open();
        assert!(next.recovery_report().is_clean());
        send_numbered(&next, "payments", 1);
        assert_fails!(producer.send("k", "v"), Error::Closed);
        assert_fails!(producer.flush(), Error::Closed);
        assert_fails!(consumer.poll(NOW), Error::Closed);
        assert_fails!(consumer.commit(&records), Error::Closed);
        assert_fails!(broker.create_topic("orders", TopicConfig::new()), Error::Closed);
        assert_eq!(held(&next, "payments"), 4);
        assert!(next.committed_offsets("g").is_empty());
        drop((broker, producer, consumer, records));
        // What the old handles did when they were dropped is no business of the new owner.
        send_numbered(&next, "payments", 1);
        assert_fails!(kept.builder().open(), Error::DirectoryInUse { .. });
    });
}

#[test]
fn a_send_is_either_refused_by_a_close_or_found_after_it() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("payments", TopicConfig::new().segment_bytes(4096)).expect("a free name");
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let producer = broker.producer::<(), String>("payments").expect("it exists");
                thread::spawn(move || {
                    let mut sent = 0;
                    loop {
                        match producer.send((), "v") {
                            Ok(_) => sent += 1,
                            Err(Error::Closed) => return sent,
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        while held(&broker, "payments") < 100 {
            assert!(senders.iter().all(|sender| !sender.is_finished()), "a sender met another error");
            thread::yield_now();
        }
        broker.close().expect("closes");
        let sent: u64 = senders.into_iter().map(|sender| sender.join().expect("no other error")).sum();
        assert_eq!(held(&kept.open(), "payments"), sent);
    });
}

#[test]
fn dropping_without_a_close_loses_nothing() {
    on_kept(|kept| {
        let broker = kept.open();
        with_topic(&broker);
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("records");
        consumer.commit(&records).expect("commits");
        drop((consumer, records, broker));
        let broker = kept.open();
        assert!(broker.recovery_report().is_clean());
        assert_eq!(texts(&all_of(&broker, "payments")), numbered(0..3));
        assert_eq!(committed(&broker, "g").into_values().collect::<Vec<_>>(), [3]);
    });
}

#[test]
fn handles_go_on_after_their_broker_is_dropped() {
    let broker = Broker::in_memory();
    with_topic(&broker);
    let producer = broker.producer::<(), String>("payments").expect("it exists");
    let mut consumer = broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
    drop(broker);
    producer.record("last").partition(0).send().expect("the engine lives");
    let records = consumer.poll(NOW).expect("the engine lives");
    assert_eq!(polled(&records).last(), Some(&"last"));
    consumer.commit(&records).expect("the engine lives");
    assert_eq!(committed_at(&consumer, "payments", 0), Some(4));
}
