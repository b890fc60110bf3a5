//! Topics that come and go while a consumer subscribes: chosen by a predicate, found by a poll that is
//! running, read from their first record, and left when they are deleted.

use ottla::{Broker, Consumer, ConsumerBuilder, Error, OwnedRecord, Start, Timestamp, TopicConfig};

use crate::support::*;

fn follower(broker: &Broker) -> ConsumerBuilder<(), String> {
    broker.consumer().topics_matching(|name| name.starts_with("pay."))
}

fn make(broker: &Broker, topic: &str, records: usize) {
    broker.create_topic(topic, TopicConfig::new()).expect("a free name");
    send_numbered(broker, topic, records);
}

fn assigned(consumer: &Consumer<(), String>) -> Vec<String> {
    consumer.assignment().iter().map(ToString::to_string).collect()
}

fn places(records: &[OwnedRecord]) -> Vec<(String, u64)> {
    let mut places: Vec<_> =
        records.iter().map(|record| (record.partition.topic.clone(), record.offset)).collect();
    places.sort();
    places
}

fn all_of(topic: &str, count: u64) -> impl Iterator<Item = (String, u64)> {
    (0..count).map(move |offset| (topic.to_owned(), offset))
}

#[test]
fn a_predicate_chooses_topics_by_name() {
    on_both(|broker| {
        for topic in ["pay.a", "pay.b", "other"] {
            make(broker, topic, 2);
        }
        let mut consumer = follower(broker).build().expect("two match");
        assert_eq!(assigned(&consumer), ["pay.a-0", "pay.b-0"]);
        assert!(places(&drain(&mut consumer)).into_iter().eq(all_of("pay.a", 2).chain(all_of("pay.b", 2))));
        let all = broker.consumer::<(), String>().topics_matching(|_| true).build().expect("all match");
        assert_eq!(all.assignment().len(), 3, "internal topics are none");
    });
}

#[test]
fn predicates_and_names_add_up() {
    on_both(|broker| {
        for topic in ["pay.a", "pay.b", "other", "third"] {
            make(broker, topic, 0);
        }
        let build =
            follower(broker).topic("pay.a").topic("other").topics_matching(|name| name.ends_with('b'));
        let consumer = build.build().expect("they exist");
        let mut found = assigned(&consumer);
        found.sort();
        assert_eq!(found, ["other-0", "pay.a-0", "pay.b-0"]);
        assert_fails!(
            follower(broker).assign("other", [0]).build(),
            Error::InvalidSubscription { found: "both" }
        );
    });
}

#[test]
fn a_topic_made_later_is_read_from_its_first_record_whatever_the_start() {
    on_both(|broker| {
        make(broker, "pay.old", 3);
        let now = Start::Timestamp(Timestamp::from_millis(i64::MAX));
        for (number, start) in [Start::Earliest, Start::Latest, now].into_iter().enumerate() {
            let mut consumer = follower(broker).start(start).build().expect("it matches");
            let old = drain(&mut consumer).len();
            assert_eq!(old > 0, start == Start::Earliest);
            let late = format!("pay.late{number}");
            make(broker, &late, 2);
            make(broker, &format!("unread{number}"), 1);
            assert!(places(&drain(&mut consumer)).into_iter().eq(all_of(&late, 2)), "{start:?}");
            assert!(assigned(&consumer).contains(&format!("{late}-0")));
        }
    });
}

#[test]
fn nothing_need_match_when_the_consumer_is_built() {
    on_both(|broker| {
        let mut consumer = follower(broker).group("g").build().expect("topics may come");
        assert!(consumer.poll(NOW).expect("nothing yet").is_empty());
        assert!(consumer.assignment().is_empty());
        make(broker, "pay.first", 1);
        let records = consumer.poll(FOREVER).expect("a record");
        assert_eq!(polled(&records), numbered(0..1));
        consumer.commit(&records).expect("commits");
        assert_eq!(committed(broker, "g").len(), 1);
    });
}

#[test]
fn a_sleeping_poll_is_woken_by_a_topic_that_matches() {
    on_both(|broker| {
        make(broker, "pay.old", 0);
        for build in [follower(broker), broker.consumer().topics_matching(|name| name.starts_with("pay.new"))]
        {
            let mut consumer = build.build().expect("builds");
            let task = watched("a poll that waits for topics", move || {
                let records = consumer.poll(FOREVER).expect("a record");
                records.iter().map(|record| record.topic().to_owned()).collect::<Vec<_>>()
            });
            let_it_sleep();
            make(broker, "unread", 1);
            make(broker, "pay.new", 0);
            // It sleeps again, and now on the new topic too.
            let_it_sleep();
            send_numbered(broker, "pay.new", 1);
            assert_eq!(task.wait(), ["pay.new"]);
            for topic in ["unread", "pay.new"] {
                broker.delete_topic(topic).expect("it exists");
            }
        }
    });
}

#[test]
fn no_record_of_topics_that_come_at_any_moment_is_missed_or_waited_for() {
    on_both(|broker| {
        let mut consumer = broker.consumer::<(), String>().topics_matching(|_| true).build().expect("builds");
        let reading = watched("a poller of topics to come", move || {
            let mut seen = 0;
            while seen < 200 {
                seen += consumer.poll(FOREVER).expect("records").len();
            }
            (seen, consumer.assignment().len())
        });
        for number in 0..100 {
            make(broker, &format!("topic-{number}"), 2);
        }
        assert_eq!(reading.wait(), (200, 100));
    });
}

#[test]
fn a_chosen_topic_that_is_deleted_is_told_of_once_and_leaves() {
    on_both(|broker| {
        make(broker, "pay.a", 1);
        make(broker, "pay.b", 1);
        let mut consumer = follower(broker).build().expect("they match");
        assert_eq!(drain(&mut consumer).len(), 2);
        broker.delete_topic("pay.a").expect("it exists");
        assert_eq!(assigned(&consumer).len(), 2, "until it is told");
        assert_fails!(consumer.poll(NOW), Error::TopicDeleted { topic } if topic == "pay.a");
        assert_eq!(assigned(&consumer), ["pay.b-0"]);
        for _ in 0..3 {
            assert!(consumer.poll(NOW).expect("told already").is_empty());
        }
        // A new topic of the name is another one.
        make(broker, "pay.a", 2);
        send_numbered(broker, "pay.b", 1);
        let found = places(&drain(&mut consumer));
        assert!(found.into_iter().eq(all_of("pay.a", 2).chain([("pay.b".to_owned(), 1)])));
    });
}

#[test]
fn a_chosen_topic_that_is_deleted_and_made_again_between_polls_is_told_of_and_read() {
    on_both(|broker| {
        make(broker, "pay.a", 3);
        let mut consumer = follower(broker).build().expect("it matches");
        assert_eq!(drain(&mut consumer).len(), 3);
        broker.delete_topic("pay.a").expect("it exists");
        make(broker, "pay.a", 2);
        let (mut found, mut told) = (Vec::new(), 0);
        for _ in 0..5 {
            match consumer.poll(NOW) {
                Ok(records) => found.extend(records.iter().map(|record| record.offset())),
                Err(Error::TopicDeleted { .. }) => told += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((found, told), (vec![0, 1], 1));
        assert_eq!(assigned(&consumer), ["pay.a-0"]);
    });
}

#[test]
fn a_named_topic_that_is_deleted_is_told_of_by_every_poll() {
    on_both(|broker| {
        make(broker, "pay.a", 0);
        let mut consumer = follower(broker).topic("pay.a").build().expect("it exists");
        broker.delete_topic("pay.a").expect("it exists");
        make(broker, "pay.a", 1);
        for _ in 0..3 {
            assert_fails!(consumer.poll(NOW), Error::TopicDeleted { .. });
        }
        assert_eq!(assigned(&consumer), ["pay.a-0"]);
    });
}

#[test]
fn a_later_topic_begins_where_the_group_committed() {
    on_both(|broker| {
        let mut consumer = follower(broker).group("g").build().expect("builds");
        make(broker, "pay.a", 5);
        let by_hand =
            broker.consumer::<(), String>().assign("pay.a", [0]).group("g").build().expect("it exists");
        by_hand.commit_offsets([(ottla::TopicPartition::new("pay.a", 0), 3)]).expect("commits");
        assert_eq!(offsets(&drain(&mut consumer)), [3, 4]);
    });
}

#[test]
fn who_begins_only_at_commits_is_told_of_a_later_topic_without_one() {
    on_both(|broker| {
        let mut consumer = follower(broker).group("g").start(Start::Committed).build().expect("builds");
        make(broker, "pay.a", 5);
        for _ in 0..2 {
            assert_fails!(consumer.poll(NOW), Error::NoCommittedOffset { .. });
        }
        let by_hand =
            broker.consumer::<(), String>().assign("pay.a", [0]).group("g").build().expect("it exists");
        by_hand.commit_offsets([(ottla::TopicPartition::new("pay.a", 0), 4)]).expect("commits");
        assert_eq!(offsets(&drain(&mut consumer)), [4]);
    });
}

#[test]
fn a_consumer_without_a_topic_is_told_that_the_broker_is_closed() {
    on_both(|broker| {
        let mut consumer = follower(broker).build().expect("builds");
        let mut other = follower(broker).build().expect("builds");
        let task = watched("a poll without a topic", move || consumer.poll(FOREVER).map(drop));
        let_it_sleep();
        broker.close().expect("closes");
        assert_fails!(task.wait(), Error::Closed);
        assert_fails!(other.poll(NOW), Error::Closed);
        assert_fails!(follower(broker).build(), Error::Closed);
    });
}

#[test]
fn a_predicate_that_panics_leaves_the_consumer_as_it_was() {
    on_both(|broker| {
        make(broker, "pay.a", 2);
        let build = broker.consumer::<(), String>().topics_matching(|name| {
            assert!(name != "poison", "a predicate that panics");
            true
        });
        let mut consumer = build.build().expect("it matches");
        make(broker, "poison", 1);
        let poll = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| consumer.poll(NOW).map(drop)));
        assert!(poll.is_err());
        broker.delete_topic("poison").expect("nothing is locked");
        assert_eq!(texts(&drain(&mut consumer)), numbered(0..2));
    });
}

#[test]
fn a_topic_that_is_deleted_while_the_consumer_is_built_is_left_out() {
    on_both(|broker| {
        make(broker, "kept", 2);
        make(broker, "doomed", 2);
        let deleting = broker.clone();
        let chosen = move |name: &str| {
            if name == "kept" {
                deleting.delete_topic("doomed").expect("it exists");
            }
            true
        };
        let consumer: Consumer<(), String> =
            broker.consumer().topics_matching(chosen).build().expect("one is left");
        assert_eq!(assigned(&consumer), ["kept-0"]);
    });
}
