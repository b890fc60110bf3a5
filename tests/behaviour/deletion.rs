//! Deleting a topic: what its handles say, what stays valid, and that a new topic of the name has nothing
//! of the old one.

use ottla::{Broker, Error, Record, TopicConfig, TopicPartition};

use crate::support::*;

fn with_records(broker: &Broker, topic: &str, count: usize) {
    broker.create_topic(topic, TopicConfig::new()).expect("a free name");
    send_numbered(broker, topic, count);
}

#[test]
fn a_deleted_topic_is_gone_for_new_handles() {
    on_both(|broker| {
        with_records(broker, "payments", 1);
        with_records(broker, "orders", 1);
        broker.delete_topic("payments").expect("it exists");
        assert_eq!(broker.list_topics(), ["orders"]);
        assert_fails!(broker.describe_topic("payments"), Error::TopicNotFound { .. });
        assert_fails!(broker.producer::<(), String>("payments"), Error::TopicNotFound { .. });
        let build = broker.consumer::<(), String>().topic("payments").build();
        assert_fails!(build, Error::TopicNotFound { .. });
        assert_fails!(broker.delete_topic("payments"), Error::TopicNotFound { .. });
        assert_eq!(held(broker, "orders"), 1);
    });
}

#[test]
fn handles_of_a_deleted_topic_say_so() {
    on_both(|broker| {
        with_records(broker, "payments", 1);
        let producer = broker.producer::<String, String>("payments").expect("it exists");
        let mut consumer = reader(broker, "payments");
        broker.delete_topic("payments").expect("it exists");
        assert_fails!(producer.send("k", "v"), Error::TopicDeleted { topic } if topic == "payments");
        assert_fails!(producer.send_batch([("k", "v")]), Error::TopicDeleted { .. });
        assert_fails!(producer.record("v").key("k").send(), Error::TopicDeleted { .. });
        assert_fails!(producer.tombstone("k").send(), Error::TopicDeleted { .. });
        assert_fails!(producer.flush(), Error::TopicDeleted { .. });
        assert_fails!(consumer.poll(NOW), Error::TopicDeleted { topic } if topic == "payments");
        assert_fails!(consumer.poll(FOREVER), Error::TopicDeleted { .. });
        assert_fails!(
            consumer.offsets_for_timestamp(ottla::Timestamp::from_millis(0)),
            Error::TopicDeleted { .. }
        );
    });
}

#[test]
fn a_commit_for_a_deleted_topic_is_refused() {
    on_both(|broker| {
        with_records(broker, "payments", 2);
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("records");
        broker.delete_topic("payments").expect("it exists");
        assert_fails!(consumer.commit(&records), Error::TopicDeleted { .. });
        let first = records.iter().next().expect("a record");
        assert_fails!(consumer.commit_through(&first), Error::TopicDeleted { .. });
        assert!(broker.committed_offsets("g").is_empty());
    });
}

#[test]
fn polled_records_survive_the_deletion() {
    on_both(|broker| {
        with_records(broker, "payments", 100);
        let mut consumer = broker.consumer::<(), String>().topic("payments").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        let shared = records.iter().next().expect("a record").share();
        broker.delete_topic("payments").expect("it exists");
        with_records(broker, "payments", 200);
        assert_eq!(polled(&records), numbered(0..records.len()));
        drop((consumer, records));
        assert_eq!(text(&shared), "value-0");
    });
}

#[test]
fn a_sleeping_poll_is_woken_by_the_deletion() {
    on_both(|broker| {
        with_records(broker, "payments", 0);
        with_records(broker, "orders", 0);
        let mut consumer =
            broker.consumer::<(), String>().topics(["orders", "payments"]).build().expect("both exist");
        let poll =
            watched("a poll of a deleted topic", move || consumer.poll(FOREVER).map(|records| records.len()));
        let_it_sleep();
        broker.delete_topic("payments").expect("it exists");
        assert_fails!(poll.wait(), Error::TopicDeleted { topic } if topic == "payments");
    });
}

#[test]
fn records_of_other_topics_arrive_although_one_is_deleted() {
    on_both(|broker| {
        for topic in ["a", "b", "c"] {
            with_records(broker, topic, 3);
        }
        let mut consumer =
            broker.consumer::<(), String>().topics(["a", "b", "c"]).build().expect("all exist");
        broker.delete_topic("b").expect("it exists");
        let (mut found, mut errors) = (Vec::new(), 0);
        for _ in 0..10 {
            match consumer.poll(NOW) {
                Ok(records) => found.extend(records.iter().map(Record::to_owned_record)),
                Err(Error::TopicDeleted { topic }) if topic == "b" => errors += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(errors > 0);
        for topic in ["a", "c"] {
            let values = found.iter().filter(|record| record.partition.topic == topic).map(text);
            assert_eq!(values.collect::<Vec<_>>(), numbered(0..3));
        }
    });
}

#[test]
fn a_new_topic_of_the_same_name_starts_empty() {
    on_both(|broker| {
        with_records(broker, "payments", 5);
        let old_id = broker.describe_topic("payments").expect("it exists").id;
        let old_producer = broker.producer::<(), String>("payments").expect("it exists");
        let mut old_consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let old_records = old_consumer.poll(NOW).expect("records");
        old_consumer.commit(&old_records).expect("commits");

        broker.delete_topic("payments").expect("it exists");
        assert!(broker.committed_offsets("g").is_empty());
        broker.create_topic("payments", partitions(2)).expect("the name is free");
        let description = broker.describe_topic("payments").expect("it exists");
        assert_ne!(description.id, old_id);
        assert_eq!((description.partitions.len(), held(broker, "payments")), (2, 0));

        send_numbered(broker, "payments", 2);
        assert_fails!(old_producer.send((), "late"), Error::TopicDeleted { .. });
        assert_fails!(old_consumer.poll(NOW), Error::TopicDeleted { .. });
        drop(old_consumer);
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        assert_eq!(committed_at(&consumer, "payments", 0), None);
        assert_eq!(polled(&consumer.poll(NOW).expect("records")), numbered(0..2));
        // Records of the old topic cannot move the group in the new one.
        let outcome = consumer.commit(&old_records);
        let old = TopicPartition::new("payments", 0);
        assert_fails!(outcome, Error::CommitFenced { partition, .. } if partition == old);
        assert!(broker.committed_offsets("g").is_empty());
    });
}

#[test]
fn a_deletion_survives_a_reopen() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker, "payments", 5);
        with_records(&broker, "orders", 1);
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("records");
        consumer.commit(&records).expect("commits");
        broker.delete_topic("payments").expect("it exists");
        drop((broker, consumer, records));

        let broker = kept.open();
        assert!(broker.recovery_report().is_clean());
        assert_eq!(broker.list_topics(), ["orders"]);
        with_records(&broker, "payments", 2);
        assert!(broker.committed_offsets("g").is_empty());
        drop(broker);
        assert_eq!(texts(&all_of(&kept.open(), "payments")), numbered(0..2));
    });
}

#[test]
fn a_deletion_removes_the_files() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("opens");
    let before = files_in(dir.path());
    broker.create_topic("payments", partitions(3).segment_bytes(4096)).expect("a free name");
    send_numbered(&broker, "payments", 200);
    assert!(files_in(&dir.path().join("payments-0")).len() > 1);
    broker.delete_topic("payments").expect("it exists");
    assert_eq!(files_in(dir.path()), before);
}

#[test]
fn create_and_delete_can_be_repeated_while_others_send() {
    on_both(|broker| {
        with_records(broker, "payments", 0);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut sent = 0;
                loop {
                    let producer = match broker.producer::<(), String>("payments") {
                        Ok(producer) => producer,
                        Err(Error::TopicNotFound { .. }) => continue,
                        Err(Error::Closed) => return sent,
                        Err(other) => panic!("{other}"),
                    };
                    loop {
                        match producer.send((), "v") {
                            Ok(_) => sent += 1,
                            Err(Error::TopicDeleted { .. }) => break,
                            Err(Error::Closed) => return sent,
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            });
            let wait_until_sent_to = || {
                while held(broker, "payments") == 0 {
                    assert!(!sender.is_finished(), "the sender met another error");
                    std::thread::yield_now();
                }
            };
            for _ in 0..10 {
                wait_until_sent_to();
                broker.delete_topic("payments").expect("it exists");
                broker.create_topic("payments", TopicConfig::new().segment_bytes(4096)).expect("a free name");
            }
            wait_until_sent_to();
            broker.close().expect("closes");
            assert!(sender.join().expect("no other error") > 10);
        });
    });
}
