//! Topics that change while they are in use: more partitions, other settings.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use ottla::{Broker, Durability, Error, Raw, TopicConfig, TopicDescription};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

fn description(broker: &Broker, topic: &str) -> TopicDescription {
    broker.describe_topic(topic).expect("it exists")
}

fn count(broker: &Broker, topic: &str) -> usize {
    description(broker, topic).partitions.len()
}

// ---- partitions ----

#[test]
fn handles_that_hold_the_topic_go_on_when_it_grows() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<String, String>("t").expect("it exists");
        let mut consumer = broker.consumer::<String, String>().assign("t", [0]).build().expect("it exists");
        producer.record("before").partition(0).send().expect("it is there");
        assert_fails!(
            producer.record("x").partition(2).send(),
            Error::InvalidPartition { partitions: 2, .. }
        );

        broker.increase_partitions("t", 40).expect("more");

        assert_eq!(producer.record("new").partition(39).send().expect("it is there").offset, 0);
        assert_fails!(
            producer.record("x").partition(40).send(),
            Error::InvalidPartition { partitions: 40, .. }
        );
        producer.record("after").partition(0).send().expect("it is there");
        assert_eq!(texts(&drain(&mut consumer)), ["before", "after"]);
        let all: BTreeSet<String> = texts(&all_of(broker, "t")).into_iter().collect();
        assert_eq!(all, ["before", "new", "after"].map(str::to_owned).into());
    });
}

#[test]
fn keys_go_where_they_go_in_a_topic_that_was_made_with_as_many_partitions() {
    on_both(|broker| {
        broker.create_topic("grown", partitions(3)).expect("a free name");
        broker.create_topic("made", partitions(7)).expect("a free name");
        let [grown, made] =
            ["grown", "made"].map(|topic| broker.producer::<String, ()>(topic).expect("it exists"));
        broker.increase_partitions("grown", 7).expect("more");
        for key in numbered(0..100) {
            let places = [&grown, &made].map(|producer| producer.send(&key, ()).expect("sends").partition);
            assert_eq!(places[0], places[1], "{key}");
        }
    });
}

#[test]
fn partitions_never_become_fewer_and_as_many_is_no_change() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        for fewer in [0, 1, 3] {
            let refused = broker.increase_partitions("t", fewer);
            let shown = refused.as_ref().expect_err("fewer").to_string();
            assert!(shown.contains("has 4 partitions") && shown.contains(&fewer.to_string()), "{shown}");
            assert_fails!(refused, Error::FewerPartitions { existing: 4, requested, .. } if requested == fewer);
        }
        let refused = broker.increase_partitions("t", 10_001);
        assert_fails!(refused, Error::InvalidConfig { setting: "partitions", .. });
        broker.increase_partitions("t", 4).expect("as many");
        assert_eq!(count(broker, "t"), 4);
    });
}

#[test]
fn only_a_living_topic_of_a_users_own_is_changed() {
    on_both(|broker| {
        let change = |name: &str| {
            let altered = broker.alter_topic(name, TopicConfig::new().segment_bytes(8192));
            let deleted = broker.delete_records(name, 0, 0).map(drop);
            [broker.increase_partitions(name, 5), altered, deleted]
        };
        for refused in change("t") {
            assert_fails!(refused, Error::TopicNotFound { topic } if topic == "t");
        }
        for refused in change("__consumer_offsets") {
            assert_fails!(refused, Error::InvalidTopicName { .. });
        }
        broker.create_topic("t", partitions(1)).expect("a free name");
        broker.close().expect("closes");
        for refused in change("t") {
            assert_fails!(refused, Error::Closed);
        }
    });
}

#[test]
fn a_topic_that_grew_is_as_it_was_left_when_it_is_opened_again() {
    on_kept(|kept| {
        let broker = kept.open();
        for (topic, durability) in [("disk", Durability::ProcessCrash), ("memory", Durability::Memory)] {
            broker.create_topic(topic, partitions(2).durability(durability)).expect("a free name");
            send_numbered(&broker, topic, 3);
            broker.increase_partitions(topic, 3).expect("more");
            broker.increase_partitions(topic, 5).expect("more");
            broker
                .producer::<(), String>(topic)
                .expect("it exists")
                .record("last")
                .partition(4)
                .send()
                .expect("sends");
        }
        let before = description(&broker, "disk");
        drop(broker);
        let broker = kept.open();
        assert_eq!(description(&broker, "disk"), before);
        assert_eq!(before.partitions.iter().map(|p| p.end_offset).collect::<Vec<_>>(), [3, 0, 0, 0, 1]);
        assert_eq!(count(&broker, "memory"), 5);
        assert_eq!(held(&broker, "memory"), 0);
        assert!(broker.recovery_report().is_clean());
        assert_eq!(by_partition(&all_of(&broker, "disk"))[&4], [(0, "last".to_owned())]);
    });
}

#[test]
fn the_largest_number_of_partitions_can_be_reached() {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(1)).expect("a free name");
    for to in [9, 1_000, 10_000] {
        broker.increase_partitions("t", to).expect("more");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        assert_eq!(producer.record("last").partition(to - 1).send().expect("sends").partition, to - 1);
    }
    assert_eq!(held(&broker, "t"), 3);
}

#[test]
fn a_topic_can_grow_and_be_altered_while_it_is_sent_to() {
    on_both(|broker| {
        const SENDS: usize = 3_000;
        broker.create_topic("t", partitions(1)).expect("a free name");
        thread::scope(|scope| {
            for thread in 0..2 {
                let producer = broker.producer::<String, String>("t").expect("it exists");
                scope.spawn(move || {
                    for number in 0..SENDS {
                        let key = format!("{thread}-{number}");
                        producer.send(&key, &key).expect("it goes on");
                    }
                });
            }
            for to in 2..20 {
                broker.increase_partitions("t", to).expect("more");
                let config = TopicConfig::new().max_record_bytes(1_000 + u64::from(to));
                broker.alter_topic("t", config).expect("in range");
            }
        });
        let all: BTreeSet<String> = texts(&all_of(broker, "t")).into_iter().collect();
        assert_eq!(all.len(), 2 * SENDS);
        assert_eq!(description(broker, "t").max_record_bytes, 1_019);
    });
}

#[test]
fn a_directory_that_is_in_the_way_is_left_alone() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("t", partitions(2)).expect("a free name");
    let stray = dir.path().join("t-3");
    std::fs::create_dir(&stray).expect("not there yet");
    std::fs::write(stray.join("mine"), b"precious").expect("a fresh file");
    let refused = broker.increase_partitions("t", 4);
    assert_fails!(refused, Error::Corrupt { path, .. } if path == stray);
    assert_eq!(count(&broker, "t"), 2);
    assert_eq!(files_in(&stray), ["mine"]);
    broker.increase_partitions("t", 3).expect("that one is free");
    drop(broker);
    let broker = Broker::open(dir.path()).expect("nothing is damaged");
    assert_eq!(count(&broker, "t"), 3);
    assert_eq!(files_in(&stray), ["mine"]);
}

// ---- settings ----

#[test]
fn limits_that_were_altered_count_for_the_next_send_and_the_others_stay() {
    on_both(|broker| {
        broker
            .create_topic("t", partitions(2).max_record_bytes(10).segment_bytes(8192))
            .expect("a free name");
        let producer = broker.producer::<Raw, Raw>("t").expect("it exists");
        let before = description(broker, "t");
        assert_fails!(producer.send(b"key", &[0; 8]), Error::RecordTooLarge { max: 10, .. });

        broker.alter_topic("t", TopicConfig::new().max_record_bytes(2_000)).expect("in range");
        producer.send(b"key", &[0; 1_997]).expect("it fits");
        assert_fails!(producer.send(b"key", &[0; 1_998]), Error::RecordTooLarge { max: 2_000, .. });

        broker.alter_topic("t", TopicConfig::new().max_batch_bytes(1_024)).expect("in range");
        let batch = || [(&b"key"[..], &[0; 500][..]), (&b"key"[..], &[0; 500][..])];
        assert_fails!(producer.send_batch(batch()), Error::BatchTooLarge { max: 1_024, .. });
        producer.send(b"key", &[0; 1_997]).expect("one record is no batch");
        broker.alter_topic("t", TopicConfig::new().max_batch_bytes(2_048)).expect("in range");
        producer.send_batch(batch()).expect("it fits");

        let after = description(broker, "t");
        assert_eq!((after.max_record_bytes, after.max_batch_bytes), (2_000, 2_048));
        assert_eq!((after.segment_bytes, after.memory_limit), (8_192, before.memory_limit));
        assert_eq!((after.durability, after.sync_interval), (before.durability, before.sync_interval));
        assert_eq!(after.partitions.len(), 2);
    });
}

#[test]
fn what_cannot_be_altered_is_refused_with_the_reason_and_nothing_is_changed() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let before = description(broker, "t");
        let refused = |config: TopicConfig| {
            let refused = broker.alter_topic("t", config.max_record_bytes(77));
            let shown = refused.as_ref().expect_err("refused").to_string();
            assert_fails!(refused, Error::InvalidConfig { .. });
            assert_eq!(description(broker, "t"), before);
            shown
        };
        let shown = refused(partitions(3));
        assert!(shown.contains("increase_partitions"), "{shown}");
        let other = match before.durability {
            Durability::Memory => Durability::ProcessCrash,
            _ => Durability::Memory,
        };
        let shown = refused(TopicConfig::new().durability(other));
        assert!(shown.contains("durability") && shown.contains("files"), "{shown}");
        let shown = refused(TopicConfig::new().sync_interval(Duration::ZERO));
        assert!(shown.contains("sync_interval") && shown.contains("1 ms to 1 hour"), "{shown}");
        let shown = refused(TopicConfig::new().segment_bytes(1));
        assert!(shown.contains("segment_bytes"), "{shown}");
    });
}

#[test]
fn settings_are_there_when_the_broker_is_opened_again() {
    on_kept(|kept| {
        let broker = kept.open();
        let interval = Duration::from_millis(250);
        broker.create_topic("t", partitions(1).sync_interval(interval)).expect("a free name");
        assert_eq!(description(&broker, "t").sync_interval, interval);
        broker.create_topic("plain", partitions(1)).expect("a free name");
        assert_eq!(description(&broker, "plain").sync_interval, Duration::from_millis(50));
        let level = |level| TopicConfig::new().durability(level);
        broker.alter_topic("t", level(Durability::PowerLoss)).expect("it stays on disk");
        broker
            .alter_topic("t", TopicConfig::new().segment_bytes(9_000).memory_limit(1 << 20))
            .expect("in range");
        send_numbered(&broker, "t", 3);
        let before = description(&broker, "t");
        drop(broker);

        let broker = kept.open();
        assert_eq!(description(&broker, "t"), before);
        assert_eq!(before.durability, Durability::PowerLoss);
        assert_eq!((before.segment_bytes, before.memory_limit), (9_000, 1 << 20));
        assert_eq!(before.sync_interval, interval);
        broker.alter_topic("t", level(Durability::ProcessCrash)).expect("it stays on disk");
        assert_eq!(description(&broker, "t").durability, Durability::ProcessCrash);
    });
}

#[test]
fn power_loss_needs_a_directory() {
    let config = || TopicConfig::new().durability(Durability::PowerLoss);
    let refused = Broker::in_memory().create_topic("t", config());
    assert_fails!(refused, Error::InvalidConfig { setting: "durability", .. });
    let refused = Broker::builder().durability(Durability::PowerLoss).open();
    assert_fails!(refused, Error::InvalidConfig { setting: "durability", .. });
    on_kept(|kept| {
        let broker = kept.builder().durability(Durability::PowerLoss).open().expect("it has a directory");
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        assert_eq!(description(&broker, "t").durability, Durability::PowerLoss);
        send_numbered(&broker, "t", 2);
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..2));
    });
}

// ---- deleting ----

#[test]
fn a_deletion_that_leaves_files_forgets_the_commits_all_the_same() {
    let storage = Faulty::default();
    let (broker, _) = storage.broker(1);
    send_numbered(&broker, "t", 1);
    let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("it exists");
    let records = consumer.poll(NOW).expect("a record");
    consumer.commit(&records).expect("commits");
    drop(consumer);
    let commits = "/data/__consumer_offsets-0/00000000000000000000.log";
    let before = storage.len(commits);
    storage.refuse(Operation::Remove, "/t-0/", std::io::ErrorKind::PermissionDenied);
    assert_fails!(broker.delete_topic("t"), Error::Io { .. });
    assert!(broker.list_topics().is_empty());
    assert!(storage.len(commits) > before, "the removal of the commit is written down");
}
