//! Groups: committed offsets, who may be in a group, and that groups do not disturb each other.

use ottla::{Broker, Consumer, ConsumerBuilder, Error, TopicPartition};

use crate::support::*;

fn with_records(broker: &Broker, count: usize) {
    broker.open_topic("t", partitions(2)).expect("opens");
    send_numbered(broker, "t", count);
}

fn member(broker: &Broker, group: &str) -> Consumer<(), String> {
    broker.consumer().topic("t").group(group).build().expect("nobody is in the group")
}

fn by_hand(broker: &Broker) -> ConsumerBuilder<(), String> {
    broker.consumer().assign("t", [0])
}

fn shown(broker: &Broker, group: &str) -> Vec<(String, u64)> {
    let offsets = committed(broker, group).into_iter();
    offsets.map(|(partition, offset)| (partition.to_string(), offset)).collect()
}

fn is_at(partition: &str, offset: u64) -> (String, u64) {
    (partition.to_owned(), offset)
}

// ---- commits ----

#[test]
fn the_next_consumer_of_a_group_begins_behind_the_commit() {
    on_both(|broker| {
        with_records(broker, 10);
        let mut first = member(broker, "g");
        let records = first.poll(NOW).expect("records");
        assert_eq!(committed_at(&first, "t", 0), None);
        first.commit(&records).expect("commits");
        assert_eq!(committed_at(&first, "t", 0), Some(10));
        assert_eq!(committed_at(&first, "t", 1), None, "nothing was polled from it");
        assert_eq!(shown(broker, "g"), [is_at("t-0", 10)]);
        drop(first);
        send_numbered(broker, "t", 1);
        assert_eq!(offsets(&drain(&mut member(broker, "g"))), [10]);
    });
}

#[test]
fn a_consumer_that_dies_before_it_commits_is_given_its_records_again() {
    on_both(|broker| {
        with_records(broker, 10);
        for _ in 0..2 {
            assert_eq!(texts(&drain(&mut member(broker, "g"))), numbered(0..10));
        }
        assert!(broker.committed_offsets("g").is_empty());
    });
}

#[test]
fn a_commit_through_a_record_begins_behind_it_in_its_partition_only() {
    on_both(|broker| {
        with_records(broker, 10);
        let producer = broker.producer::<(), String>("t").expect("it exists");
        producer.record("other").partition(1).send().expect("sends");
        let mut first = member(broker, "g");
        let records = first.poll(NOW).expect("records");
        let fourth = records.iter().find(|record| record.offset() == 3).expect("ten records");
        first.commit_through(&fourth).expect("commits");
        assert_eq!(shown(broker, "g"), [is_at("t-0", 4)]);
        drop(first);
        let rest = by_partition(&drain(&mut member(broker, "g")));
        assert_eq!(rest[&0].iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
        assert_eq!(rest[&1], [(0, "other".to_owned())]);
    });
}

#[test]
fn the_latest_commit_counts_even_if_it_goes_back() {
    on_both(|broker| {
        with_records(broker, 10);
        let mut first = member(broker, "g");
        let records = first.poll(NOW).expect("records");
        first.commit(&records).expect("commits");
        let third = records.iter().nth(2).expect("ten records");
        first.commit_through(&third).expect("commits");
        assert_eq!(committed_at(&first, "t", 0), Some(3));
    });
}

#[test]
fn a_commit_is_of_the_records_given_not_of_the_position() {
    on_both(|broker| {
        with_records(broker, 3);
        let mut first = member(broker, "g");
        let earlier = first.poll(NOW).expect("records");
        send_numbered(broker, "t", 3);
        let later = first.poll(NOW).expect("records");
        first.seek("t", 0, 1).expect("assigned");
        first.commit(&earlier).expect("commits");
        assert_eq!(committed_at(&first, "t", 0), Some(3));
        first.commit(&later).expect("commits");
        assert_eq!(committed_at(&first, "t", 0), Some(6));
        assert_eq!(first.position("t", 0).expect("assigned"), 1, "a commit moves no position");
    });
}

#[test]
fn an_empty_poll_commits_nothing() {
    on_both(|broker| {
        with_records(broker, 0);
        let mut first = member(broker, "g");
        let records = first.poll(NOW).expect("nothing");
        first.commit(&records).expect("nothing to commit");
        assert!(broker.committed_offsets("g").is_empty());
    });
}

#[test]
fn one_commit_covers_all_partitions_and_topics_of_a_poll() {
    on_kept(|kept| {
        let broker = kept.open();
        for topic in ["a", "b"] {
            broker.create_topic(topic, partitions(2)).expect("a free name");
            let producer = broker.producer::<(), String>(topic).expect("it exists");
            for partition in 0..2 {
                for _ in 0..=partition {
                    producer.record("v").partition(partition).send().expect("sends");
                }
            }
        }
        let build = broker.consumer::<(), String>().topics(["a", "b"]).group("g");
        let mut consumer = build.build().expect("both exist");
        let records = consumer.poll(NOW).expect("records");
        assert_eq!(records.len(), 6);
        consumer.commit(&records).expect("commits");
        drop((consumer, records, broker));
        let expected = [is_at("a-0", 1), is_at("a-1", 2), is_at("b-0", 1), is_at("b-1", 2)];
        assert_eq!(shown(&kept.open(), "g"), expected);
    });
}

#[test]
fn commits_survive_reopening_again_and_again() {
    on_kept(|kept| {
        with_records(&kept.open(), 20);
        for round in 0..10 {
            let broker = kept.open();
            let mut consumer = member(&broker, "g");
            let records = consumer.poll(NOW).expect("records");
            let first = records.iter().next().expect("a record");
            assert_eq!(first.offset(), round);
            consumer.commit_through(&first).expect("commits");
            if round % 2 == 0 {
                broker.close().expect("closes");
            }
        }
        assert_eq!(shown(&kept.open(), "g"), [is_at("t-0", 10)]);
    });
}

#[test]
fn groups_are_independent() {
    on_both(|broker| {
        with_records(broker, 10);
        let (mut fast, mut slow) = (member(broker, "fast"), member(broker, "slow"));
        let all = fast.poll(NOW).expect("records");
        fast.commit(&all).expect("commits");
        let records = slow.poll(NOW).expect("the same records");
        assert_eq!(polled(&records), polled(&all));
        let second = records.iter().nth(1).expect("ten records");
        slow.commit_through(&second).expect("commits");
        assert_eq!(shown(broker, "fast"), [is_at("t-0", 10)]);
        assert_eq!(shown(broker, "slow"), [is_at("t-0", 2)]);
        assert!(broker.committed_offsets("unknown").is_empty());
    });
}

#[test]
fn records_of_another_consumer_can_be_committed_by_hand_if_the_partition_is_assigned() {
    on_both(|broker| {
        with_records(broker, 10);
        let mut other = by_hand(broker).build().expect("it exists");
        let records = other.poll(NOW).expect("records");
        let consumer = by_hand(broker).group("g").build().expect("it exists");
        consumer.commit(&records).expect("the partition is assigned");
        assert_eq!(shown(broker, "g"), [is_at("t-0", 10)]);
        let elsewhere =
            broker.consumer::<(), String>().assign("t", [1]).group("g").build().expect("it exists");
        let not_assigned = TopicPartition::new("t", 0);
        let outcome = elsewhere.commit(&records);
        assert_fails!(outcome, Error::NotAssigned { partition } if partition == not_assigned);
        let first = records.iter().next().expect("a record");
        let outcome = elsewhere.commit_through(&first);
        assert_fails!(outcome, Error::NotAssigned { partition } if partition == not_assigned);
        let member = member(broker, "g");
        let outcome = member.commit(&records);
        assert_fails!(outcome, Error::CommitFenced { partition, .. } if partition == not_assigned);
        assert_eq!(shown(broker, "g"), [is_at("t-0", 10)]);
    });
}

#[test]
fn committing_needs_a_group() {
    on_both(|broker| {
        with_records(broker, 1);
        let mut consumer = by_hand(broker).build().expect("it exists");
        let records = consumer.poll(NOW).expect("a record");
        assert_fails!(consumer.commit(&records), Error::NoGroup);
        let first = records.iter().next().expect("a record");
        assert_fails!(consumer.commit_through(&first), Error::NoGroup);
        assert_fails!(consumer.committed("t", 0), Error::NoGroup);
    });
}

#[test]
fn a_consumer_without_a_group_begins_anew_each_time() {
    on_both(|broker| {
        with_records(broker, 3);
        for _ in 0..2 {
            let mut consumer = by_hand(broker).build().expect("it exists");
            assert_eq!(drain(&mut consumer).len(), 3);
        }
    });
}

// ---- who is in a group ----

#[test]
fn a_member_on_another_thread_frees_its_group_when_it_is_dropped() {
    on_both(|broker| {
        with_records(broker, 5);
        let first = member(broker, "g");
        let moved = std::thread::spawn(move || {
            let mut first = first;
            let records = first.poll(NOW).expect("records");
            first.commit(&records).expect("commits");
        });
        moved.join().expect("commits");
        assert_eq!(member(broker, "g").position("t", 0).expect("assigned"), 5);
    });
}

#[test]
fn consumers_assigned_by_hand_may_share_a_group_but_not_move_what_its_members_read() {
    on_both(|broker| {
        with_records(broker, 5);
        let mut hands = [0, 1].map(|_| by_hand(broker).group("g").build().expect("by hand"));
        for hand in &mut hands {
            let records = hand.poll(NOW).expect("records");
            assert_eq!(polled(&records), numbered(0..5), "each reads for itself");
            hand.commit(&records).expect("commits");
        }
        let subscribed = member(broker, "g");
        assert_eq!(subscribed.position("t", 0).expect("assigned"), 5);
        let back = || [(TopicPartition::new("t", 0), 2)];
        assert_fails!(hands[0].commit_offsets(back()), Error::GroupInUse { group } if group == "g");
        assert_eq!(committed_at(&subscribed, "t", 0), Some(5));
        drop(subscribed);
        hands[0].commit_offsets(back()).expect("nobody reads it");
        let next = by_hand(broker).group("g").build().expect("by hand");
        assert_eq!(next.position("t", 0).expect("assigned"), 2);
    });
}

#[test]
fn a_groups_name_has_1_to_249_bytes() {
    on_both(|broker| {
        with_records(broker, 1);
        for wrong in ["".to_owned(), "g".repeat(250), "ü".repeat(125)] {
            let error =
                broker.consumer::<(), String>().topic("t").group(&wrong).build().expect_err("too long");
            let shown = error.to_string();
            assert!(shown.contains(&wrong.len().to_string()) && shown.contains("249"), "{shown}");
            assert_fails!(Err::<(), _>(error), Error::InvalidConfig { setting: "group", .. });
            assert_fails!(by_hand(broker).group(&wrong).build(), Error::InvalidConfig { .. });
        }
        for name in ["g".repeat(249), "grüße an alle".to_owned(), "a/b\n\0".to_owned()] {
            let mut consumer = member(broker, &name);
            let records = consumer.poll(NOW).expect("a record");
            consumer.commit(&records).expect("commits");
            assert_eq!(shown(broker, &name), [is_at("t-0", 1)]);
        }
    });
}

#[test]
fn groups_of_any_name_survive_a_reopen() {
    on_kept(|kept| {
        let names = ["g".repeat(249), "grüße an alle".to_owned(), "a/b\n\0".to_owned(), "-0".to_owned()];
        let broker = kept.open();
        with_records(&broker, 5);
        for (number, name) in names.iter().enumerate() {
            let mut consumer = member(&broker, name);
            let records = consumer.poll(NOW).expect("records");
            consumer.commit_through(&records.iter().nth(number).expect("five records")).expect("commits");
        }
        drop(broker);
        let broker = kept.open();
        for (number, name) in names.iter().enumerate() {
            assert_eq!(shown(&broker, name), [is_at("t-0", number as u64 + 1)]);
        }
    });
}

#[test]
fn groups_commit_at_once_from_several_threads() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker, 200);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let mut consumer = member(&broker, &format!("g{number}"));
                scope.spawn(move || {
                    for _ in 0..2 {
                        let records = consumer.poll(NOW).expect("records");
                        for record in &records {
                            consumer.commit_through(&record).expect("commits");
                        }
                    }
                });
            }
        });
        drop(broker);
        let broker = kept.open();
        for number in 0..4 {
            let mut rest = member(&broker, &format!("g{number}"));
            let committed = committed_at(&rest, "t", 0).expect("something");
            assert!(committed > 0);
            assert_eq!(drain(&mut rest).len() as u64, 200 - committed);
        }
    });
}

// ---- offsets and metadata of your own ----

#[test]
fn metadata_is_kept_with_the_commit() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker, 3);
        let mut consumer = member(&broker, "g");
        let records = consumer.poll(NOW).expect("records");
        consumer.commit_with_metadata(&records, "bis hier, gezählt: 3").expect("commits");
        drop((consumer, records, broker));
        let broker = kept.open();
        let consumer = member(&broker, "g");
        let found = consumer.committed("t", 0).expect("assigned").expect("committed");
        assert_eq!((found.offset, &*found.metadata), (3, "bis hier, gezählt: 3"));
        assert_eq!(broker.committed_offsets("g").into_values().collect::<Vec<_>>(), [found]);
        // The next commit replaces both.
        consumer.commit_offsets([(TopicPartition::new("t", 0), 1)]).expect("commits");
        let found = consumer.committed("t", 0).expect("assigned").expect("committed");
        assert_eq!((found.offset, &*found.metadata), (1, ""));
    });
}

#[test]
fn metadata_has_at_most_4096_bytes() {
    on_both(|broker| {
        with_records(broker, 1);
        let mut consumer = member(broker, "g");
        let records = consumer.poll(NOW).expect("a record");
        let outcome = consumer.commit_with_metadata(&records, &"x".repeat(4_097));
        assert_fails!(outcome, Error::CommitMetadataTooLarge { size: 4_097, max: 4_096 });
        assert!(broker.committed_offsets("g").is_empty());
        consumer.commit_with_metadata(&records, &"x".repeat(4_096)).expect("commits");
        assert_eq!(committed_at(&consumer, "t", 0), Some(1));
    });
}

#[test]
fn offsets_of_your_own_can_be_committed() {
    on_both(|broker| {
        with_records(broker, 10);
        let consumer = member(broker, "g");
        let offsets =
            |first, second| [(TopicPartition::new("t", 0), first), (TopicPartition::new("t", 1), second)];
        consumer.commit_offsets(offsets(7, 0)).expect("commits");
        assert_eq!(shown(broker, "g"), [is_at("t-0", 7), is_at("t-1", 0)]);
        consumer.commit_offsets(offsets(2, 0)).expect("going back is allowed");
        assert_eq!(committed_at(&consumer, "t", 0), Some(2));
        assert_fails!(
            consumer.commit_offsets(offsets(10, 1)),
            Error::OffsetOutOfRange { requested: 1, latest: 0, .. }
        );
        let elsewhere = [(TopicPartition::new("t", 0), 5), (TopicPartition::new("u", 0), 0)];
        assert_fails!(consumer.commit_offsets(elsewhere), Error::NotAssigned { .. });
        assert_eq!(committed_at(&consumer, "t", 0), Some(2), "all or nothing");
        let without_group = by_hand(broker).build().expect("it exists");
        assert_fails!(without_group.commit_offsets([]), Error::NoGroup);
        broker.delete_topic("t").expect("it exists");
        assert_fails!(consumer.commit_offsets(offsets(1, 0)), Error::TopicDeleted { .. });
    });
}
