//! Groups of several members, whose topics and partitions become more and less; and where they begin.

use ottla::{Error, Start, TopicPartition};

use crate::support::*;

// ---- topics and partitions that come and go ----

#[test]
fn later_partitions_are_divided_and_read_from_their_first_record() {
    on_both(|broker| {
        make(broker, "t", 1);
        let latest = || builder(broker).start(Start::Latest).build().expect("builds");
        let (mut a, mut b) = (latest(), latest());
        settle(broker, &mut [&mut a, &mut b]);
        broker.increase_partitions("t", 4).expect("more");
        send_to_each(broker);
        let mut all: Vec<String> = [&mut a, &mut b, &mut latest()].into_iter().flat_map(work_off).collect();
        all.extend(work_off(&mut a));
        all.sort();
        assert_eq!(all, ["p0", "p1", "p2", "p3"]);
    });
}

#[test]
fn topics_that_a_predicate_chooses_later_are_divided() {
    on_both(|broker| {
        let build = || {
            let builder = broker.consumer::<(), String>().topics_matching(|name| name.starts_with("pay."));
            builder.group("g").build().expect("builds")
        };
        let (mut a, mut b) = (build(), build());
        for topic in ["pay.eu", "pay.us", "other"] {
            make(broker, topic, 1);
        }
        settle(broker, &mut [&mut a, &mut b]);
        let mut all = [assigned(&a), assigned(&b)];
        all.sort();
        assert_eq!(all, [["pay.eu-0"], ["pay.us-0"]]);
        broker.delete_topic("pay.eu").expect("it exists");
        let mut told = 0;
        for member in [&mut a, &mut b, &mut { build() }] {
            for _ in 0..3 {
                match member.poll(NOW) {
                    Ok(_) => {}
                    Err(Error::TopicDeleted { topic }) if topic == "pay.eu" => told += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!(told, 1, "whoever had it is told once");
    });
}

#[test]
fn members_may_subscribe_to_different_topics() {
    on_both(|broker| {
        make(broker, "t", 3);
        make(broker, "u", 2);
        let mut both = broker.consumer().topics(["t", "u"]).group("g").build().expect("builds");
        let mut one = member(broker);
        settle(broker, &mut [&mut both, &mut one]);
        assert_eq!((assigned(&one).len(), assigned(&both).len()), (2, 3), "no more moved than had to");
        assert!(assigned(&one).iter().all(|partition| partition.starts_with("t-")));
        drop(both);
        settle(broker, &mut [&mut one]);
        assert_eq!(broker.describe_group("g").expect("it has a member").partitions.len(), 3);
    });
}

#[test]
fn a_topic_that_is_made_anew_is_read_by_those_who_joined_since() {
    on_both(|broker| {
        make(broker, "t", 1);
        let mut old = member(broker);
        broker.delete_topic("t").expect("it exists");
        make(broker, "t", 2);
        send_to_each(broker);
        let mut new = member(broker);
        for _ in 0..3 {
            assert_fails!(old.poll(NOW), Error::TopicDeleted { topic } if topic == "t");
        }
        assert_eq!(work_off(&mut new).len(), 2);
    });
}

// ---- where reading begins ----

#[test]
fn what_was_sent_before_anything_was_committed_is_not_missed_when_a_partition_moves() {
    on_both(|broker| {
        make(broker, "t", 2);
        send_to_each(broker);
        let latest = || builder(broker).start(Start::Latest).build().expect("builds");
        let mut first = latest();
        send_to_each(broker);
        let mut second = latest();
        assert!(first.poll(NOW).expect("of one partition").len() <= 1);
        send_to_each(broker);
        let moved = work_off(&mut second);
        assert_eq!(moved.len(), 2, "from where the group began, not from the end: {moved:?}");
    });
}

#[test]
fn who_cannot_begin_is_told_by_every_poll_until_it_can() {
    on_both(|broker| {
        make(broker, "t", 2);
        let mut lenient = member(broker);
        let strict = builder(broker).start(Start::Committed).build();
        let mut strict = strict.expect("nothing is free for it yet");
        drop(lenient.poll(NOW).expect("gives up one"));
        for _ in 0..2 {
            assert_fails!(strict.poll(NOW), Error::NoCommittedOffset { .. });
        }
        let given_up = if assigned(&lenient) == ["t-0"] { 1 } else { 0 };
        let by_hand = broker.consumer::<(), String>().assign("t", [given_up]).group("g").build();
        let at = TopicPartition::new("t", given_up);
        by_hand.expect("by hand").commit_offsets([(at, 0)]).expect("nobody reads it");
        drop(strict.poll(NOW).expect("there is a commit now"));
        assert_eq!(assigned(&strict), [format!("t-{given_up}")]);
    });
}

#[test]
fn a_partition_that_cannot_begin_does_not_hold_up_the_others() {
    on_both(|broker| {
        make(broker, "t", 2);
        let offsets = [0, 1].map(|partition| (TopicPartition::new("t", partition), 0));
        broker.commit_offsets("g", offsets).expect("nobody is in the group");
        let mut strict = builder(broker).start(Start::Committed).build().expect("all is committed");
        broker.increase_partitions("t", 3).expect("more");
        send_to_each(broker);
        let (mut told, mut read) = (0, 0);
        for _ in 0..6 {
            match strict.poll(NOW) {
                Ok(records) => read += records.len(),
                Err(Error::NoCommittedOffset { partition, .. }) if partition.partition == 2 => told += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(read == 2 && told >= 3, "{read} read, told {told} times");
    });
}

#[test]
fn every_member_that_named_a_topic_is_told_that_it_was_deleted() {
    on_both(|broker| {
        make(broker, "t", 1);
        let (mut owner, mut other) = (member(broker), member(broker));
        settle(broker, &mut [&mut owner, &mut other]);
        broker.delete_topic("t").expect("it exists");
        for _ in 0..3 {
            for member in [&mut owner, &mut other] {
                assert_fails!(member.poll(NOW), Error::TopicDeleted { topic } if topic == "t");
            }
        }
    });
}

/// Whoever polls first, and whether it has been there all the time.
#[test]
fn a_topic_that_came_while_nobody_polled_is_read_from_its_first_record() {
    on_both(|broker| {
        let latest = || {
            let builder = broker.consumer::<(), String>().topics_matching(|_| true);
            builder.group("g").start(Start::Latest).build().expect("builds")
        };
        let mut first = latest();
        make(broker, "t", 2);
        send_to_each(broker);
        let mut second = latest();
        let mut all = [work_off(&mut first), work_off(&mut second), work_off(&mut first)].concat();
        all.sort();
        assert_eq!(all, ["p0", "p1"]);
    });
}

#[test]
fn a_topic_that_came_while_an_instance_was_away_is_read_from_its_first_record() {
    on_both(|broker| {
        let build = || {
            let builder = broker.consumer::<(), String>().topics_matching(|_| true).group("g");
            builder.start(Start::Latest).instance_id("i").build().expect("builds")
        };
        drop(build());
        make(broker, "t", 2);
        send_to_each(broker);
        assert_eq!(work_off(&mut build()).len(), 2);
    });
}

#[test]
fn who_begins_at_the_end_takes_over_where_one_was_who_began_at_the_beginning() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_to_each(broker);
        let first = member(broker);
        assert_eq!(assigned(&first), ["t-0"]);
        let mut second = builder(broker).start(Start::Latest).build().expect("builds");
        drop(first);
        assert_eq!(work_off(&mut second).len(), 1, "the group began at the beginning");
    });
}
