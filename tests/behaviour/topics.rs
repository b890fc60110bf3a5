//! Topics: their names, their settings, and what creating, opening, describing and deleting them does.

use std::thread;

use std::time::Duration;

use ottla::{Broker, Durability, Error, Raw, TopicConfig, TopicPartition, WhenFull};

use crate::support::*;

const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

fn create_and_open(broker: &Broker, name: &str) -> (ottla::Result<()>, ottla::Result<()>) {
    (broker.create_topic(name, TopicConfig::new()), broker.open_topic(name, TopicConfig::new()))
}

// ---- names ----

#[test]
fn names_that_kafka_accepts_are_accepted() {
    on_both(|broker| {
        let long = "x".repeat(249);
        for name in ["valid_TOPIC.nAmE-0", "a", "...", "0", "-", "..x", long.as_str()] {
            broker.create_topic(name, TopicConfig::new()).expect(name);
            send_numbered(broker, name, 1);
            assert_eq!(texts(&all_of(broker, name)), ["value-0"], "{name}");
        }
    });
}

#[test]
fn names_that_kafka_refuses_are_refused_and_named() {
    on_both(|broker| {
        let long = "x".repeat(250);
        for bad in ["", "foo bar", "..", ".", "foo:bar", "foo=bar", "a/b", "../a", "ü", "a\0", "a\n", &long]
        {
            let (create, open) = create_and_open(broker, bad);
            assert_fails!(create, Error::InvalidTopicName { name, .. } if name == bad);
            assert_fails!(open, Error::InvalidTopicName { name, .. } if name == bad);
        }
        assert!(broker.list_topics().is_empty());
    });
}

#[test]
fn names_of_internal_topics_are_reserved() {
    on_both(|broker| {
        for name in INTERNAL {
            let (create, open) = create_and_open(broker, name);
            assert_fails!(create, Error::InvalidTopicName { .. });
            assert_fails!(open, Error::InvalidTopicName { .. });
            assert_fails!(broker.delete_topic(name), Error::InvalidTopicName { .. });
        }
    });
}

#[test]
fn the_topic_of_committed_offsets_is_out_of_reach() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("payments", TopicConfig::new()).expect("a free name");
        send_numbered(&broker, "payments", 1);
        let mut consumer =
            broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("a record");
        consumer.commit(&records).expect("commits");
        let name = INTERNAL[0];
        assert_eq!(broker.list_topics(), ["payments"]);
        assert_fails!(broker.producer::<Raw, Raw>(name), Error::InvalidTopicName { .. });
        let build = broker.consumer::<Raw, Raw>().topic(name).build();
        assert_fails!(build, Error::InvalidTopicName { .. });
        let build = broker.consumer::<Raw, Raw>().assign(name, [0]).build();
        assert_fails!(build, Error::InvalidTopicName { .. });
        assert!(broker.describe_topic(name).is_err());
    });
}

#[test]
fn names_that_differ_only_in_dot_and_underscore_collide() {
    on_both(|broker| {
        for (first, second) in [("a.b", "a_b"), ("c_d", "c.d"), ("e.f_g", "e_f.g")] {
            broker.create_topic(first, TopicConfig::new()).expect("a free name");
            let (create, open) = create_and_open(broker, second);
            assert_fails!(create, Error::InvalidTopicName { name, .. } if name == second);
            assert_fails!(open, Error::InvalidTopicName { name, .. } if name == second);
            broker.delete_topic(first).expect("it exists");
            broker.create_topic(second, TopicConfig::new()).expect("no longer a collision");
        }
        broker.create_topic("a-b", TopicConfig::new()).expect("a dash is no dot");
    });
}

#[test]
fn a_name_that_looks_like_a_partition_is_a_topic_of_its_own() {
    on_kept(|kept| {
        let names = ["a", "a-0", "a-1", "a-1-0", "catalog", "LOCK"];
        let broker = kept.open();
        for name in names {
            broker.create_topic(name, partitions(2)).expect(name);
            let producer = broker.producer::<(), String>(name).expect(name);
            for partition in 0..2 {
                producer.record(&format!("{name}/{partition}")).partition(partition).send().expect("sends");
            }
        }
        drop(broker);
        let broker = kept.open();
        for name in names {
            let records = by_partition(&all_of(&broker, name));
            for partition in 0..2 {
                assert_eq!(records[&partition], [(0, format!("{name}/{partition}"))]);
            }
        }
    });
}

// ---- creating and opening ----

#[test]
fn create_refuses_what_exists_and_open_accepts_it() {
    on_both(|broker| {
        broker.create_topic("payments", partitions(3)).expect("a free name");
        send_numbered(broker, "payments", 2);
        let again = broker.create_topic("payments", partitions(3));
        assert_fails!(again, Error::TopicExists { topic } if topic == "payments");
        broker.open_topic("payments", partitions(3)).expect("as many partitions");
        broker.open_topic("payments", TopicConfig::new()).expect("any number of partitions");
        assert_eq!(held(broker, "payments"), 2, "opening keeps the records");
        broker.open_topic("orders", TopicConfig::new()).expect("it is created");
        assert_eq!(broker.list_topics(), ["orders", "payments"]);
    });
}

#[test]
fn opening_with_another_partition_count_says_both_counts() {
    on_both(|broker| {
        broker.create_topic("payments", partitions(3)).expect("a free name");
        for wanted in [1, 4] {
            let outcome = broker.open_topic("payments", partitions(wanted));
            assert_fails!(outcome, Error::TopicConfigMismatch { topic, setting: "partitions", existing, requested }
                if topic == "payments" && existing == "3" && requested == wanted.to_string());
        }
        assert_eq!(broker.describe_topic("payments").expect("it exists").partitions.len(), 3);
    });
}

#[test]
fn an_existing_topic_must_agree_with_every_setting_that_is_named() {
    on_both(|broker| {
        let new = TopicConfig::new;
        broker.create_topic("payments", new().max_record_bytes(100)).expect("a free name");
        let before = broker.describe_topic("payments").expect("it exists");
        for (wanted, config) in [
            ("max_record_bytes", new().max_record_bytes(200)),
            ("max_batch_bytes", new().max_batch_bytes(2_000)),
            ("segment_bytes", new().segment_bytes(5_000)),
            ("sync_interval", new().sync_interval(Duration::from_secs(1))),
        ] {
            let outcome = broker.open_topic("payments", config);
            assert_fails!(outcome, Error::TopicConfigMismatch { setting, .. } if setting == wanted);
        }
        for (wanted, config) in
            [("memory_limit", new().memory_limit(100_000)), ("when_full", new().when_full(WhenFull::Refuse))]
        {
            match broker.open_topic("payments", config) {
                Err(Error::TopicConfigMismatch { setting, .. }) => assert_eq!(setting, wanted),
                outcome => {
                    outcome.expect("it is of no effect on disk");
                    assert_ne!(before.durability, Durability::Memory);
                }
            }
        }
        let same = new().max_record_bytes(100).durability(before.durability);
        broker.open_topic("payments", same).expect("it agrees");
        broker.open_topic("payments", new()).expect("nothing is named");
        assert_eq!(broker.describe_topic("payments").expect("it exists"), before);
    });
}

/// A topic keeps whole milliseconds.
#[test]
fn a_sync_interval_with_a_fraction_agrees_with_the_topic_it_made() {
    on_both(|broker| {
        let config = || TopicConfig::new().sync_interval(Duration::from_micros(1_500));
        broker.open_topic("payments", config()).expect("a free name");
        broker.open_topic("payments", config()).expect("it agrees");
        let other = broker.open_topic("payments", TopicConfig::new().sync_interval(Duration::from_millis(2)));
        assert_fails!(other, Error::TopicConfigMismatch { setting: "sync_interval", .. });
    });
}

#[test]
fn of_several_threads_that_create_one_topic_one_succeeds() {
    on_both(|broker| {
        for round in 0..5 {
            let name = format!("topic-{round}");
            let created = thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| broker.create_topic(&name, TopicConfig::new()).is_ok()))
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|created| *created).count()
            });
            assert_eq!(created, 1);
            send_numbered(broker, &name, 1);
        }
        assert_eq!(broker.list_topics().len(), 5);
    });
}

#[test]
fn a_setting_out_of_range_is_refused_by_its_name_value_and_range() {
    let new = TopicConfig::new;
    let cases = [
        ("partitions", "0", "1 to 10000", new().partitions(0)),
        ("partitions", "10001", "1 to 10000", new().partitions(10_001)),
        ("max_record_bytes", "0", "1 to 268435456", new().max_record_bytes(0)),
        ("max_record_bytes", "268435457", "1 to 268435456", new().max_record_bytes((256 << 20) + 1)),
        ("max_batch_bytes", "1023", "1024 to 536870912", new().max_batch_bytes(1023)),
        ("max_batch_bytes", "536870913", "1024 to 536870912", new().max_batch_bytes((512 << 20) + 1)),
        ("segment_bytes", "4095", "4096 to 1073741824", new().segment_bytes(4095)),
        ("segment_bytes", "1073741825", "4096 to 1073741824", new().segment_bytes((1 << 30) + 1)),
        ("memory_limit", "65535", "65536 to 1099511627776", new().memory_limit(65_535)),
        ("memory_limit", "1099511627777", "65536 to 1099511627776", new().memory_limit((1 << 40) + 1)),
    ];
    on_both(|broker| {
        for (name, given, range, config) in &cases {
            for outcome in [broker.create_topic("t", config.clone()), broker.open_topic("t", config.clone())]
            {
                let error = outcome.expect_err(name);
                let shown = error.to_string();
                assert_fails!(Err::<(), _>(error), Error::InvalidConfig { setting, value, .. }
                    if setting == *name && value == *given);
                assert!(shown.contains(name) && shown.contains(given) && shown.contains(range), "{shown}");
            }
        }
        assert!(broker.list_topics().is_empty(), "nothing was created");
    });
}

#[test]
fn settings_at_the_ends_of_their_ranges_are_accepted() {
    on_both(|broker| {
        let small = partitions(1).max_record_bytes(1).max_batch_bytes(1 << 10).segment_bytes(4 << 10);
        broker.create_topic("small", small.memory_limit(64 << 10)).expect("the smallest settings");
        let large = TopicConfig::new().max_record_bytes(256 << 20).max_batch_bytes(512 << 20);
        broker
            .create_topic("large", large.segment_bytes(1 << 30).memory_limit(1 << 40))
            .expect("the largest");
        send_numbered(broker, "large", 1);
        assert_eq!(held(broker, "large"), 1);
    });
    Broker::in_memory().create_topic("wide", partitions(10_000)).expect("the most partitions");
}

#[test]
fn a_broker_in_memory_promises_no_more_than_memory() {
    let config = TopicConfig::new().durability(Durability::ProcessCrash);
    let broker = Broker::in_memory();
    assert_fails!(broker.create_topic("t", config), Error::InvalidConfig { setting: "durability", .. });
    let open = Broker::builder().durability(Durability::ProcessCrash).open();
    assert_fails!(open, Error::InvalidConfig { setting: "durability", .. });
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    assert_eq!(broker.describe_topic("t").expect("it exists").durability, Durability::Memory);
}

// ---- describing ----

#[test]
fn topics_are_listed_by_name() {
    on_both(|broker| {
        assert!(broker.list_topics().is_empty());
        for name in ["shipments", "orders", "Orders", "payments"] {
            broker.create_topic(name, TopicConfig::new()).expect(name);
        }
        assert_eq!(broker.list_topics(), ["Orders", "orders", "payments", "shipments"]);
    });
}

#[test]
fn a_description_shows_the_settings_and_what_each_partition_holds() {
    on_both(|broker| {
        let config = partitions(2).max_record_bytes(1_000).max_batch_bytes(5_000);
        let config = config.segment_bytes(10_000).memory_limit(100_000);
        broker.create_topic("payments", config).expect("a free name");
        send_numbered(broker, "payments", 3);
        let found = broker.describe_topic("payments").expect("it exists");
        assert_eq!(found.name, "payments");
        assert_eq!((found.max_record_bytes, found.max_batch_bytes), (1_000, 5_000));
        assert_eq!((found.segment_bytes, found.memory_limit), (10_000, 100_000));
        let ends = found.partitions.iter().map(|p| (p.partition, p.start_offset, p.end_offset));
        assert_eq!(ends.collect::<Vec<_>>(), [(0, 0, 3), (1, 0, 0)]);
        assert_ne!(found.partitions[0].id, found.partitions[1].id);
    });
}

#[test]
fn a_topic_has_one_partition_unless_told_otherwise() {
    on_both(|broker| {
        broker.create_topic("payments", TopicConfig::new()).expect("a free name");
        assert_eq!(broker.describe_topic("payments").expect("it exists").partitions.len(), 1);
    });
}

#[test]
fn an_unknown_topic_is_named_in_the_error() {
    on_both(|broker| {
        let shown = broker.describe_topic("payments").expect_err("unknown").to_string();
        assert!(shown.contains("\"payments\"") && shown.contains("open_topic"), "{shown}");
        assert_fails!(broker.delete_topic("payments"), Error::TopicNotFound { topic } if topic == "payments");
        assert_fails!(broker.producer::<Raw, Raw>("payments"), Error::TopicNotFound { .. });
        let build = broker.consumer::<Raw, Raw>().topic("payments").build();
        assert_fails!(build, Error::TopicNotFound { .. });
    });
}

// ---- reopening ----

#[test]
fn settings_and_ids_survive_a_reopen() {
    on_kept(|kept| {
        let config = partitions(3).max_record_bytes(1_000).max_batch_bytes(5_000);
        let config = config.segment_bytes(10_000).memory_limit(100_000);
        let broker = kept.open();
        broker.create_topic("payments", config).expect("a free name");
        broker.create_topic("plain", TopicConfig::new()).expect("a free name");
        let before = ["payments", "plain"].map(|name| broker.describe_topic(name).expect("it exists"));
        broker.close().expect("closes");
        let broker = kept.open();
        assert!(broker.recovery_report().is_clean());
        let after = ["payments", "plain"].map(|name| broker.describe_topic(name).expect("it exists"));
        assert_eq!(after, before);
        let outcome = broker.open_topic("payments", partitions(2));
        assert_fails!(outcome, Error::TopicConfigMismatch { setting: "partitions", .. });
        let large = broker.producer::<(), Raw>("payments").expect("it exists").record(&[0; 1_001]).send();
        assert_fails!(large, Error::RecordTooLarge { max: 1_000, .. });
    });
}

#[test]
fn a_topic_in_memory_is_remembered_in_a_directory_and_starts_empty() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("cache", partitions(2).durability(Durability::Memory)).expect("a free name");
        send_numbered(&broker, "cache", 5);
        assert_eq!(held(&broker, "cache"), 5);
        let mut consumer = broker.consumer::<(), String>().topic("cache").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("records");
        consumer.commit(&records).expect("commits");
        drop((consumer, records));
        broker.close().expect("closes");

        let broker = kept.open();
        assert_eq!(held(&broker, "cache"), 0);
        let lowered = &broker.recovery_report().lowered_commits;
        assert_eq!((lowered.len(), lowered[0].committed, lowered[0].lowered_to), (1, 5, 0));
        assert_eq!(lowered[0].partition, TopicPartition::new("cache", 0));
        // The group misses nothing of what is sent from now on.
        send_numbered(&broker, "cache", 2);
        let mut consumer = broker.consumer::<(), String>().topic("cache").group("g").build().expect("builds");
        assert_eq!(polled(&consumer.poll(NOW).expect("records")), ["value-0", "value-1"]);
    });
}

#[test]
fn a_broker_can_keep_nothing_by_default() {
    on_kept(|kept| {
        let broker = kept.builder().durability(Durability::Memory).open().expect("opens");
        broker.create_topic("cache", TopicConfig::new()).expect("a free name");
        let config = TopicConfig::new().durability(Durability::ProcessCrash);
        broker.create_topic("kept", config).expect("a free name");
        send_numbered(&broker, "cache", 1);
        send_numbered(&broker, "kept", 1);
        broker.close().expect("closes");
        let broker = kept.open();
        assert_eq!((held(&broker, "cache"), held(&broker, "kept")), (0, 1));
    });
}

#[test]
fn a_topic_in_memory_touches_no_directory() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("an empty directory");
    let others = dir.path().join("notes-0");
    std::fs::create_dir(&others).expect("made");
    std::fs::write(others.join("diary.txt"), "mine").expect("written");
    broker.create_topic("notes", TopicConfig::new().durability(Durability::Memory)).expect("a free name");
    broker.delete_topic("notes").expect("it exists");
    assert_eq!(std::fs::read_to_string(others.join("diary.txt")).expect("still there"), "mine");
    assert_fails!(broker.create_topic("notes", TopicConfig::new()), ottla::Error::Corrupt { .. });
    assert_eq!(std::fs::read_to_string(others.join("diary.txt")).expect("still there"), "mine");
}
