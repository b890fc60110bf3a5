//! Auto-commit: each poll commits what the one before it returned, and closing commits the rest.

use ottla::{Broker, Consumer, Error};

use crate::support::*;

fn member(broker: &Broker) -> Consumer<(), String> {
    let build = broker.consumer().topic("t").group("g").auto_commit(true).max_records(2);
    build.build().expect("nobody is in the group")
}

fn with_records(broker: &Broker, count: usize) {
    broker.create_topic("t", partitions(2)).expect("a free name");
    send_numbered(broker, "t", count);
}

fn offset(broker: &Broker) -> Option<u64> {
    committed(broker, "g").into_values().next()
}

#[test]
fn a_poll_commits_what_the_one_before_it_returned_and_never_its_own() {
    on_both(|broker| {
        with_records(broker, 5);
        let mut consumer = member(broker);
        for (expected, before) in
            [(0..2, None), (2..4, Some(2)), (4..5, Some(4)), (5..5, Some(5)), (5..5, Some(5))]
        {
            assert_eq!(polled(&consumer.poll(NOW).expect("records")), numbered(expected));
            assert_eq!(offset(broker), before);
        }
    });
}

#[test]
fn closing_commits_what_the_last_poll_returned_and_leaves_the_group() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker, 5);
        let mut consumer = member(&broker);
        for _ in 0..2 {
            consumer.poll(NOW).expect("records");
        }
        consumer.close().expect("commits");
        assert_eq!(offset(&broker), Some(4));
        drop(broker);
        let broker = kept.open();
        let mut next = member(&broker);
        assert_eq!(polled(&next.poll(NOW).expect("records")), numbered(4..5));
    });
}

#[test]
fn dropping_commits_nothing_more() {
    on_both(|broker| {
        with_records(broker, 5);
        let mut consumer = member(broker);
        for _ in 0..2 {
            consumer.poll(NOW).expect("records");
        }
        drop(consumer);
        assert_eq!(polled(&member(broker).poll(NOW).expect("records")), numbered(2..4), "once more");
    });
}

#[test]
fn without_auto_commit_closing_commits_nothing() {
    on_both(|broker| {
        with_records(broker, 5);
        let build = || broker.consumer::<(), String>().topic("t").group("g").build();
        let mut consumer = build().expect("nobody is in the group");
        consumer.poll(NOW).expect("records");
        consumer.close().expect("nothing to do");
        assert_eq!(offset(broker), None);
        build().expect("the group is free");
    });
}

#[test]
fn auto_commit_needs_a_group() {
    on_both(|broker| {
        with_records(broker, 1);
        let build = broker.consumer::<(), String>().topic("t").auto_commit(true).build();
        assert_fails!(build, Error::NoGroup);
    });
}

#[test]
fn partitions_assigned_by_hand_are_committed_too() {
    on_both(|broker| {
        with_records(broker, 3);
        let build = broker.consumer::<(), String>().assign("t", [0]).group("g").auto_commit(true);
        let mut consumer = build.build().expect("it exists");
        assert_eq!(consumer.poll(NOW).expect("records").len(), 3);
        consumer.close().expect("commits");
        assert_eq!(offset(broker), Some(3));
    });
}

#[test]
fn a_deleted_topic_does_not_keep_the_others_from_being_committed() {
    on_both(|broker| {
        with_records(broker, 1);
        broker.create_topic("u", partitions(1)).expect("a free name");
        send_numbered(broker, "u", 1);
        let build = broker.consumer::<(), String>().topics(["t", "u"]).group("g").auto_commit(true);
        let mut consumer = build.build().expect("both exist");
        assert_eq!(consumer.poll(NOW).expect("records").len(), 2);
        broker.delete_topic("t").expect("it exists");
        consumer.close().expect("commits what is left");
        let shown: Vec<_> =
            committed(broker, "g").into_iter().map(|(place, at)| (place.to_string(), at)).collect();
        assert_eq!(shown, [("u-0".to_owned(), 1)]);
    });
}

#[test]
fn a_closed_broker_is_an_error_of_closing() {
    on_both(|broker| {
        with_records(broker, 1);
        let mut consumer = member(broker);
        assert_eq!(consumer.poll(NOW).expect("a record").len(), 1);
        broker.close().expect("closes");
        assert_fails!(consumer.close(), Error::Closed);
    });
}
