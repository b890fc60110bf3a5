//! What a consumer reads and where it begins: subscribed topics, partitions assigned by hand, start
//! positions, and the errors of both.

use ottla::{Broker, ConsumerBuilder, Error, Raw, Start, Timestamp, TopicConfig, TopicPartition};

use crate::support::*;

fn with_topics(broker: &Broker) {
    broker.create_topic("a", partitions(2)).expect("a free name");
    broker.create_topic("b", partitions(3)).expect("a free name");
}

fn shown(assignment: &[TopicPartition]) -> Vec<String> {
    assignment.iter().map(ToString::to_string).collect()
}

fn consumer(broker: &Broker) -> ConsumerBuilder<Raw, Raw> {
    broker.consumer()
}

#[test]
fn a_subscription_is_all_partitions_of_its_topics() {
    on_both(|broker| {
        with_topics(broker);
        let one = consumer(broker).topic("b").build().expect("it exists");
        assert_eq!(shown(&one.assignment()), ["b-0", "b-1", "b-2"]);
        let both = consumer(broker).topics(["b", "a"]).build().expect("both exist");
        assert_eq!(shown(&both.assignment()), ["a-0", "a-1", "b-0", "b-1", "b-2"]);
    });
}

#[test]
fn partitions_can_be_assigned_by_hand() {
    on_both(|broker| {
        with_topics(broker);
        let build = consumer(broker).assign("b", [2, 0]).assign("a", [1]).assign("b", [0]);
        let mut by_hand = build.build().expect("they exist");
        assert_eq!(shown(&by_hand.assignment()), ["a-1", "b-0", "b-2"]);
        for topic in ["a", "b"] {
            let producer = broker.producer::<(), String>(topic).expect("it exists");
            for partition in 0..2 {
                producer.record(&format!("{topic}-{partition}")).partition(partition).send().expect("sends");
            }
        }
        assert_eq!(texts(&drain(&mut by_hand)), ["a-1", "b-0"]);
    });
}

#[test]
fn a_consumer_needs_something_to_read() {
    on_both(|broker| {
        with_topics(broker);
        let none: [&str; 0] = [];
        assert_fails!(consumer(broker).build(), Error::InvalidSubscription { found: "neither" });
        assert_fails!(consumer(broker).topics(none).build(), Error::InvalidSubscription { .. });
        assert_fails!(consumer(broker).assign("a", []).build(), Error::InvalidSubscription { .. });
    });
}

#[test]
fn subscribing_and_assigning_exclude_each_other() {
    on_both(|broker| {
        with_topics(broker);
        let both = consumer(broker).topic("a").assign("b", [0]).build();
        assert_fails!(both, Error::InvalidSubscription { found: "both" });
    });
}

#[test]
fn what_does_not_exist_cannot_be_read() {
    on_both(|broker| {
        with_topics(broker);
        let build = consumer(broker).topics(["a", "c"]).build();
        assert_fails!(build, Error::TopicNotFound { topic } if topic == "c");
        let build = consumer(broker).assign("c", [0]).build();
        assert_fails!(build, Error::TopicNotFound { topic } if topic == "c");
        let build = consumer(broker).assign("b", [1, 3]).build();
        assert_fails!(build, Error::InvalidPartition { topic, partition: 3, partitions: 3 } if topic == "b");
        // A group whose consumer was not built is free.
        assert_fails!(consumer(broker).topics(["a", "c"]).group("g").build(), Error::TopicNotFound { .. });
        consumer(broker).topic("a").group("g").build().expect("nobody is in the group");
    });
}

#[test]
fn calls_about_a_partition_need_its_assignment() {
    on_both(|broker| {
        with_topics(broker);
        let mut consumer = consumer(broker).assign("a", [1]).group("g").build().expect("it exists");
        for (topic, partition) in [("a", 0), ("a", 2), ("b", 1), ("c", 0)] {
            let wanted = TopicPartition::new(topic, partition);
            let position = consumer.position(topic, partition);
            assert_fails!(position, Error::NotAssigned { partition } if partition == wanted);
            let sought = consumer.seek(topic, partition, 0);
            assert_fails!(sought, Error::NotAssigned { partition } if partition == wanted);
            let committed = consumer.committed(topic, partition);
            assert_fails!(committed, Error::NotAssigned { partition } if partition == wanted);
        }
        assert_eq!(consumer.position("a", 1).expect("assigned"), 0);
    });
}

// ---- where it begins ----

#[test]
fn a_consumer_begins_at_the_earliest_record_by_default() {
    on_both(|broker| {
        with_topics(broker);
        send_numbered(broker, "a", 3);
        for start in [Start::default(), Start::Earliest] {
            let mut found = consumer(broker).topic("a").start(start).build().expect("it exists");
            assert_eq!(found.position("a", 0).expect("assigned"), 0);
            assert_eq!(texts(&drain(&mut found)), numbered(0..3));
        }
    });
}

#[test]
fn latest_begins_with_what_is_sent_after_the_consumer_was_built() {
    on_both(|broker| {
        with_topics(broker);
        send_numbered(broker, "a", 3);
        let mut found = consumer(broker).topic("a").start(Start::Latest).build().expect("it exists");
        assert_eq!(found.position("a", 0).expect("assigned"), 3);
        send_numbered(broker, "a", 2);
        assert_eq!(offsets(&drain(&mut found)), [3, 4], "though it had not been polled");
    });
}

#[test]
fn a_consumer_begins_at_a_time() {
    on_both(|broker| {
        with_topics(broker);
        let producer = broker.producer::<(), String>("b").expect("it exists");
        for (partition, times) in [(0, vec![100, 200, 300]), (1, vec![250]), (2, vec![])] {
            for millis in times {
                let record = producer.record("v").partition(partition);
                record.timestamp(Timestamp::from_millis(millis)).send().expect("sends");
            }
        }
        for (since, positions) in [(0, [0, 0, 0]), (200, [1, 0, 0]), (201, [2, 0, 0]), (301, [3, 1, 0])] {
            let start = Start::Timestamp(Timestamp::from_millis(since));
            let found = consumer(broker).topic("b").start(start).build().expect("it exists");
            let begun = [0, 1, 2].map(|partition| found.position("b", partition).expect("assigned"));
            assert_eq!(begun, positions, "since {since}");
        }
    });
}

#[test]
fn committed_only_begins_nowhere_without_a_commit() {
    on_both(|broker| {
        with_topics(broker);
        send_numbered(broker, "a", 3);
        let build = |assigned: &[u32]| {
            let by_hand = consumer(broker).assign("a", assigned.iter().copied());
            by_hand.group("g").start(Start::Committed).build()
        };
        let missing = TopicPartition::new("a", 0);
        assert_fails!(build(&[0]), Error::NoCommittedOffset { group, partition }
            if group == "g" && partition == missing);
        let mut first = consumer(broker).topic("a").group("g").build().expect("the failed one is not in it");
        let records = first.poll(NOW).expect("records");
        first.commit(&records).expect("commits");
        let again = build(&[0]).expect("there is a commit now");
        assert_eq!(again.position("a", 0).expect("assigned"), 3);
        assert_fails!(build(&[0, 1]), Error::NoCommittedOffset { partition, .. } if partition.partition == 1);
        let without_group = consumer(broker).topic("a").start(Start::Committed).build();
        assert_fails!(without_group, Error::NoCommittedOffset { .. });
    });
}

#[test]
fn a_commit_counts_more_than_any_start() {
    on_both(|broker| {
        with_topics(broker);
        send_numbered(broker, "a", 5);
        let mut first = consumer(broker).topic("a").group("g").build().expect("builds");
        let records = first.poll(NOW).expect("records");
        first.commit_through(&records.iter().nth(1).expect("five records")).expect("commits");
        drop(first);
        let time = Start::Timestamp(Timestamp::from_millis(0));
        for start in [Start::Earliest, Start::Latest, Start::Committed, time] {
            // Partition 1 has no commit, so only partition 0 can be asked for with `Committed`.
            let next = consumer(broker).assign("a", [0]).group("g").start(start).build().expect("builds");
            assert_eq!(next.position("a", 0).expect("assigned"), 2, "{start:?}");
        }
    });
}

#[test]
fn a_topic_made_later_can_be_read_by_a_new_consumer() {
    on_both(|broker| {
        assert_fails!(consumer(broker).topic("late").build(), Error::TopicNotFound { .. });
        broker.create_topic("late", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "late", 1);
        let mut late = consumer(broker).topic("late").build().expect("it exists");
        assert_eq!(texts(&drain(&mut late)), ["value-0"]);
    });
}
