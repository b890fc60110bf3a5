//! Sinks in trouble: what is gone, made anew, refused, or out of reach. Nothing is passed over in silence, and
//! nothing stands still that could go on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla::storage::MemoryStorage;
use ottla::{Broker, Durability, Error, OutOfRange, Records, Sink, Start, TopicConfig, TopicPartition};

use super::database::{Database, Failed, Fault, Transaction};
use super::{TestSink, insert, land, land_all, sink};
use crate::support::*;

fn offsets_in(database: &Database) -> Vec<u64> {
    database.landed().iter().map(|landed| landed.2).collect()
}

#[test]
fn a_policy_that_goes_to_the_end_loses_nothing_that_comes_then() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_numbered(broker, "t", 3);
        let database = Database::default();
        land_all(&mut sink(broker, &database));
        send_numbered(broker, "t", 4);
        broker.delete_records("t", 0, 5).expect("they are there");
        let consumer = builder(broker).on_out_of_range(OutOfRange::Latest).build().expect("builds");
        let mut lenient = Sink::new(consumer, database.connect()).expect("it has a group");
        assert_eq!(land(&mut lenient).expect("it moves to the end"), 0);
        for _ in 0..2 {
            send_to(broker, 0, "after the move");
            land_all(&mut lenient);
        }
        assert_eq!(offsets_in(&database), [0, 1, 2, 7, 8]);
    });
}

#[test]
fn the_group_follows_though_the_answer_of_the_database_was_lost() {
    on_both(|broker| {
        make(broker, "t", 1);
        let database = Database::default();
        let mut sink = sink(broker, &database);
        send_numbered(broker, "t", 5);
        sink.store_mut().fail(Fault::AnswerToCommit);
        assert_fails!(land(&mut sink), Failed::Database(Fault::AnswerToCommit));
        land_all(&mut sink);
        assert_eq!(committed(broker, "g")[&TopicPartition::new("t", 0)], 5);
        assert_eq!(database.values(), numbered(0..5));
    });
}

#[test]
fn where_it_began_is_known_to_the_next_run_though_nothing_was_landed() {
    on_both(|broker| {
        make(broker, "t", 2);
        let database = Database::default();
        let open = || {
            let consumer = builder(broker).start(Start::Latest).build().expect("builds");
            Sink::new(consumer, database.connect()).expect("it has a group")
        };
        send_to(broker, 1, "before");
        let mut first = open();
        assert_eq!(land(&mut first).expect("nothing is new"), 0);
        send_to(broker, 0, "one");
        land_all(&mut first);
        drop(first);
        send_to(broker, 1, "while it was down");
        land_all(&mut open());
        assert_eq!(database.values(), ["one", "while it was down"]);
    });
}

#[test]
fn a_store_that_refuses_without_a_reason_is_told_of() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 1);
    let mut sink = sink(&broker, &Database::default());
    assert_eq!(sink.land(NOW, insert).expect("no fault"), 1);
    send_numbered(&broker, "t", 1);
    sink.store_mut().refuse();
    assert_fails!(
        sink.land(FOREVER, insert),
        Failed::Ottla(Error::ProgressRefused { partition }) if partition == TopicPartition::new("t", 0)
    );
}

#[test]
fn a_topic_in_memory_is_another_one_after_a_restart() {
    let kept = Kept::Files(MemoryStorage::default());
    let mut broker = kept.open();
    let in_memory = TopicConfig::new().durability(Durability::Memory);
    broker.create_topic("t", in_memory).expect("a free name");
    let database = Database::default();
    send_numbered(&broker, "t", 5);
    land_all(&mut sink(&broker, &database));
    broker = kept.open_after(&broker);
    send_numbered(&broker, "t", 7);
    assert_fails!(land(&mut sink(&broker, &database)), Failed::Ottla(Error::OtherLog { .. }));
    assert_eq!(database.landed().len(), 5);
}

#[test]
fn after_a_panic_the_same_records_come_again() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 3);
    let database = Database::default();
    let mut sink = sink(&broker, &database);
    let panics =
        |_: &mut Transaction<'_>, _: &Records<(), String>| -> Result<(), Failed> { panic!("as planned") };
    drop(catch_unwind(AssertUnwindSafe(|| sink.land(NOW, panics))).expect_err("it panics"));
    assert_eq!(database.landed(), []);
    land_all(&mut sink);
    assert_eq!(database.values(), numbered(0..3));
}

#[test]
fn a_topic_that_cannot_be_landed_and_is_deleted_is_in_the_way_no_more() {
    on_both(|broker| {
        make(broker, "good", 1);
        make(broker, "t", 1);
        let database = Database::default();
        let open = || -> TestSink {
            let consumer = broker.consumer().topics_matching(|_| true).group("g").build().expect("builds");
            Sink::new(consumer, database.connect()).expect("it has a group")
        };
        send_numbered(broker, "t", 2);
        land_all(&mut open());
        broker.delete_topic("t").expect("it exists");
        make(broker, "t", 1);
        let mut sink = open();
        assert_fails!(land(&mut sink), Failed::Ottla(Error::OtherLog { .. }));
        broker.delete_topic("t").expect("it exists");
        send_numbered(broker, "good", 1);
        let mut landed = 0;
        for _ in 0..3 {
            match land(&mut sink) {
                Ok(records) => landed += records,
                Err(Failed::Ottla(Error::TopicDeleted { topic })) => assert_eq!(topic, "t"),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(landed, 1);
    });
}

#[test]
fn a_sink_whose_database_is_out_of_reach_gives_others_their_share() {
    on_both(|broker| {
        make(broker, "t", 2);
        send_to_each(broker);
        let mut down = sink(broker, &Database::default());
        let mut other = member(broker);
        let mut polled = 0;
        for _ in 0..6 {
            down.store_mut().fail(Fault::Begin);
            assert_fails!(land(&mut down), Failed::Database(Fault::Begin));
            polled += other.poll(NOW).expect("no fault").len();
        }
        assert_eq!(polled, 1);
    });
}

#[test]
fn what_went_before_it_was_landed_is_told_of_whatever_partitions_come() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_numbered(broker, "t", 3);
        let database = Database::default();
        let mut strict = sink(broker, &database);
        strict.store_mut().fail(Fault::Store);
        assert_fails!(land(&mut strict), Failed::Database(Fault::Store));
        land_all(&mut strict);
        send_numbered(broker, "t", 3);
        strict.store_mut().fail(Fault::Commit);
        assert_fails!(land(&mut strict), Failed::Database(Fault::Commit));
        broker.delete_records("t", 0, 5).expect("they are there");
        broker.increase_partitions("t", 2).expect("more");
        send_to(broker, 1, "in the new one");
        let (mut told, mut landed) = (0, 0);
        for _ in 0..6 {
            match land(&mut strict) {
                Ok(records) => landed += records,
                Err(Failed::Ottla(Error::OffsetOutOfRange { requested: 3, earliest: 5, .. })) => told += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(told >= 2, "again and again");
        assert_eq!(landed, 1, "of the new partition, and nothing behind the gap");
        assert_eq!(database.next_offset("t", 0), Some(3));
    });
}
