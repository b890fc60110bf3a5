//! Consumers of a topic that gets more partitions, or loses records, while they read it.

use ottla::{Broker, Consumer, Error, Start, TopicConfig, TopicPartition};

use crate::support::*;

fn consumer(broker: &Broker, start: Start) -> Consumer<(), String> {
    broker.consumer().topic("t").start(start).build().expect("it exists")
}

#[test]
fn later_partitions_of_a_subscribed_topic_are_read_from_their_first_record() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 2);
        let mut latest = consumer(broker, Start::Latest);
        let mut chosen =
            broker.consumer::<(), String>().topics_matching(|name| name == "t").build().expect("builds");
        let mut by_hand = broker.consumer::<(), String>().assign("t", [0]).build().expect("it exists");
        broker.increase_partitions("t", 3).expect("more");
        for partition in [1, 2] {
            send_to(broker, partition, "late");
        }
        assert_eq!(texts(&drain(&mut latest)), ["late"; 2]);
        assert_eq!(latest.assignment().len(), 3);
        assert_eq!(drain(&mut chosen).len(), 4);
        assert_eq!(drain(&mut by_hand).len(), 2, "assigned by hand stays as it is");
        broker.increase_partitions("t", 4).expect("more");
        send_to(broker, 3, "later");
        assert_eq!(texts(&drain(&mut latest)), ["later"]);
        let place = TopicPartition::new("t", 3);
        assert_eq!(
            chosen.poll(NOW).expect("records").iter().next().expect("one").partition(),
            place.partition
        );
    });
}

#[test]
fn a_sleeping_poll_reads_a_partition_that_comes_meanwhile() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut blocked = consumer(broker, Start::Latest);
        let mut awaited = consumer(broker, Start::Latest);
        let polls = [
            watched("a poll", move || blocked.poll(FOREVER).map(|records| records.len())),
            watched("a task", move || block_on(awaited.next_records()).map(|records| records.len())),
        ];
        let_it_sleep();
        broker.increase_partitions("t", 2).expect("more");
        let_it_sleep();
        send_to(broker, 1, "late");
        for poll in polls {
            assert_eq!(poll.wait().expect("a record"), 1);
        }
    });
}

#[test]
fn seeking_to_the_beginning_is_not_outrun_by_a_deletion_of_records() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 10);
        let mut consumer = consumer(broker, Start::Earliest);
        assert_eq!(drain(&mut consumer).len(), 10);
        consumer.seek_to_beginning();
        broker.delete_records("t", 0, 4).expect("they are there");
        assert_eq!(consumer.position("t", 0).expect("assigned"), 4);
        assert_eq!(texts(&drain(&mut consumer)), numbered(4..10));
        consumer.seek("t", 0, 0).expect("assigned");
        assert_fails!(consumer.poll(NOW), Error::OffsetOutOfRange { requested: 0, earliest: 4, .. });
    });
}
