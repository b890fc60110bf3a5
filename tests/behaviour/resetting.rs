//! Putting a group to another place: where to, when it is refused, and that it is all or nothing.

use ottla::{Broker, Error, ResetTo, Timestamp};

use crate::support::*;

/// Partition 0 has records of the times 100, 200 and 300, partition 1 of 250 only.
fn with_records(broker: &Broker) {
    broker.create_topic("t", partitions(2)).expect("a free name");
    let producer = broker.producer::<(), String>("t").expect("it exists");
    for (partition, millis) in [(0, 100), (0, 200), (0, 300), (1, 250)] {
        let record = producer.record("v").partition(partition);
        record.timestamp(Timestamp::from_millis(millis)).send().expect("sends");
    }
}

fn offsets_of(broker: &Broker) -> Vec<u64> {
    committed(broker, "g").into_values().collect()
}

#[test]
fn a_group_is_put_to_a_place_in_every_partition_and_goes_on_from_there() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker);
        let time = |millis| ResetTo::Timestamp(Timestamp::from_millis(millis));
        for (to, expected) in [
            (ResetTo::Latest, [3, 1]),
            (ResetTo::Earliest, [0, 0]),
            (ResetTo::Offset(1), [1, 1]),
            (time(201), [2, 0]),
            (time(251), [2, 1]),
        ] {
            let reset = broker.reset_group("g", "t", to).expect("nobody is in the group");
            assert_eq!(reset, broker.committed_offsets("g"), "{to:?}");
            assert_eq!(offsets_of(&broker), expected, "{to:?}");
        }
        drop(broker);
        let broker = kept.open();
        let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("it exists");
        assert_eq!(offsets(&drain(&mut consumer)), [2]);
    });
}

#[test]
fn a_group_with_a_member_is_not_reset() {
    on_both(|broker| {
        with_records(broker);
        let member = broker.consumer::<(), String>().topic("t").group("g").build().expect("it exists");
        assert_fails!(broker.reset_group("g", "t", ResetTo::Latest), Error::GroupInUse { group } if group == "g");
        assert!(offsets_of(broker).is_empty());
        drop(member);
        let by_hand = broker.consumer::<(), String>().assign("t", [0]).group("g").build().expect("it exists");
        broker.reset_group("g", "t", ResetTo::Latest).expect("by hand is no member");
        assert_eq!(by_hand.position("t", 0).expect("assigned"), 0, "it stays where it is");
        broker.consumer::<(), String>().topic("t").group("g").build().expect("a reset leaves the group");
    });
}

#[test]
fn an_offset_that_a_partition_does_not_have_changes_nothing() {
    on_both(|broker| {
        with_records(broker);
        broker.reset_group("g", "t", ResetTo::Offset(1)).expect("both have it");
        let outcome = broker.reset_group("g", "t", ResetTo::Offset(2));
        assert_fails!(outcome, Error::OffsetOutOfRange { partition, requested: 2, earliest: 0, latest: 1 }
            if partition.partition == 1);
        assert_eq!(offsets_of(broker), [1, 1]);
    });
}

#[test]
fn a_reset_needs_a_group_a_topic_and_an_open_broker() {
    on_both(|broker| {
        with_records(broker);
        assert_fails!(
            broker.reset_group("", "t", ResetTo::Latest),
            Error::InvalidConfig { setting: "group", .. }
        );
        assert_fails!(broker.reset_group("g", "u", ResetTo::Latest), Error::TopicNotFound { .. });
        let internal = broker.reset_group("g", "__consumer_offsets", ResetTo::Latest);
        assert_fails!(internal, Error::InvalidTopicName { .. });
        broker.close().expect("closes");
        assert_fails!(broker.reset_group("g", "t", ResetTo::Latest), Error::Closed);
    });
}

#[test]
fn other_topics_and_groups_stay_where_they_are() {
    on_both(|broker| {
        with_records(broker);
        broker.create_topic("u", partitions(1)).expect("a free name");
        send_numbered(broker, "u", 4);
        broker.reset_group("g", "u", ResetTo::Offset(3)).expect("it has it");
        broker.reset_group("h", "t", ResetTo::Offset(1)).expect("it has it");
        broker.reset_group("g", "t", ResetTo::Latest).expect("resets");
        assert_eq!(offsets_of(broker), [3, 1, 3]);
        assert_eq!(committed(broker, "h").into_values().collect::<Vec<_>>(), [1, 1]);
    });
}
