//! Sinks: each record has its effect in the database exactly once, whatever fails, dies or is in between.

mod database;
mod trouble;

use std::collections::BTreeMap;

use ottla::{Broker, Compaction, Error, OutOfRange, Records, Sink, Start, TopicConfig, TopicPartition};

use crate::faulty::Faulty;
use crate::support::*;
use database::{Database, Failed, Fault, Transaction};

type TestSink = Sink<(), String, Database>;

fn sink(broker: &Broker, database: &Database) -> TestSink {
    Sink::new(member(broker), database.connect()).expect("it has a group")
}

fn insert(transaction: &mut Transaction<'_>, records: &Records<(), String>) -> Result<(), Failed> {
    for record in records {
        let value = record.value().expect("text").to_owned();
        transaction.insert((record.topic().to_owned(), record.partition(), record.offset(), value));
    }
    Ok(())
}

/// Lands what there is.
fn land(sink: &mut TestSink) -> Result<usize, Failed> {
    sink.land(NOW, insert)
}

fn land_all(sink: &mut TestSink) {
    while land(sink).expect("no fault") > 0 {}
}

#[test]
fn records_and_progress_are_there_together() {
    on_both(|broker| {
        make(broker, "t", 1);
        let database = Database::default();
        let mut sink = sink(broker, &database);
        assert_eq!(land(&mut sink).expect("nothing there yet"), 0);
        send_numbered(broker, "t", 5);
        assert_eq!(land(&mut sink).expect("no fault"), 5);
        assert_eq!((database.values(), database.next_offset("t", 0)), (numbered(0..5), Some(5)));
        assert_eq!(committed(broker, "g")[&TopicPartition::new("t", 0)], 5, "the group follows");
        assert_eq!(land(&mut sink).expect("no fault"), 0);
    });
}

#[test]
fn a_waiting_sink_is_woken_by_the_append() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    let mut sink = sink(&broker, &Database::default());
    let landing = watched("landing", move || sink.land(FOREVER, insert));
    let_it_sleep();
    send_numbered(&broker, "t", 1);
    assert_eq!(landing.wait().expect("no fault"), 1);
}

#[test]
fn whatever_fails_the_same_records_come_again() {
    use Fault::{AnswerToCommit, Begin, Commit, Load, Store};
    on_both(|broker| {
        make(broker, "t", 2);
        let database = Database::default();
        let mut sink = sink(broker, &database);
        let mut sent = 0;
        for fault in [Begin, Load, Store, Commit, AnswerToCommit, Begin] {
            for partition in [0, 1] {
                send_to(broker, partition, &format!("value-{sent}"));
                sent += 1;
            }
            sink.store_mut().fail(fault);
            match land(&mut sink) {
                Err(Failed::Database(failed)) => assert_eq!(failed, fault),
                other => panic!("{fault}: {other:?}"),
            }
            land_all(&mut sink);
            let mut values = database.values();
            values
                .sort_by_key(|value| value.trim_start_matches("value-").parse::<usize>().expect("a number"));
            assert_eq!(values, numbered(0..sent), "after {fault}");
        }
    });
}

#[test]
fn what_applying_refuses_comes_again() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 3);
    let database = Database::default();
    let mut sink = sink(&broker, &database);
    let refuse = |transaction: &mut Transaction<'_>, records: &Records<(), String>| {
        insert(transaction, records)?;
        Err(Failed::Applying)
    };
    assert_fails!(sink.land(NOW, refuse), Failed::Applying);
    assert_eq!(database.landed(), []);
    land_all(&mut sink);
    assert_eq!(database.values(), numbered(0..3));
}

#[test]
fn the_database_decides_where_to_go_on() {
    on_both(|broker| {
        make(broker, "t", 1);
        let database = Database::default();
        for (round, committed) in [0, 3, 6].into_iter().enumerate() {
            send_numbered(broker, "t", 4);
            if round > 0 {
                // Of a process that died before it had committed, or by somebody who moves the group.
                broker.commit_offsets("g", [(TopicPartition::new("t", 0), committed)]).expect("no members");
            }
            let mut sink = sink(broker, &database);
            assert_eq!(sink.consumer().position("t", 0).expect("assigned"), committed);
            land_all(&mut sink);
            let offsets: Vec<u64> = database.landed().iter().map(|landed| landed.2).collect();
            assert_eq!(offsets, (0..4 * (round as u64 + 1)).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_database_that_is_new_gets_everything() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_numbered(broker, "t", 3);
        land_all(&mut sink(broker, &Database::default()));
        let new = Database::default();
        land_all(&mut sink(broker, &new));
        assert_eq!(new.values(), numbered(0..3), "though nothing was sent meanwhile");
    });
}

/// A member that had read a partition without a sink, or with another database, leaves it to one that sleeps.
#[test]
fn what_the_database_lacks_of_a_partition_that_comes_is_landed_though_nothing_is_sent() {
    on_both(|broker| {
        make(broker, "t", 1);
        let database = Database::default();
        let mut other = member(broker);
        let mut waiting = sink(broker, &database);
        send_numbered(broker, "t", 3);
        assert_eq!(work_off(&mut other).len(), 3);
        let landing = watched("landing", move || waiting.land(FOREVER, insert));
        let_it_sleep();
        drop(other);
        assert_eq!(landing.wait().expect("no fault"), 3);
        assert_eq!(database.values(), numbered(0..3));
    });
}

#[test]
fn the_consumer_of_a_sink_may_be_used_by_itself_again() {
    let broker = Broker::in_memory();
    make(&broker, "t", 2);
    let mut sink = sink(&broker, &Database::default());
    send_to_each(&broker);
    land_all(&mut sink);
    let (mut consumer, _) = sink.into_parts();
    drop(member(&broker)); // joins and leaves
    let polling = watched("the poll", move || consumer.poll(FOREVER).map(|records| records.len()));
    let_it_sleep();
    send_to(&broker, 1, "news");
    assert_eq!(polling.wait().expect("no fault"), 1, "it waits, whatever came and went");
}

#[test]
fn a_topic_that_drops_what_nobody_has_landed_yet_is_begun_with_what_is_there() {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().memory_limit(64 << 10)).expect("a free name");
    let database = Database::default();
    let mut sink = sink(&broker, &database);
    assert_eq!(land(&mut sink).expect("nothing there yet"), 0);
    send_numbered(&broker, "t", 5_000);
    let start = broker.describe_topic("t").expect("it exists").partitions[0].start_offset;
    assert!(start > 0, "some are gone");
    let consumer = builder(&broker).on_out_of_range(OutOfRange::Earliest).build().expect("builds");
    drop(sink);
    let mut sink = Sink::new(consumer, database.connect()).expect("it has a group");
    land_all(&mut sink);
    assert_eq!(database.landed().first().map(|landed| landed.2), Some(start));
    assert_eq!(database.next_offset("t", 0), Some(5_000));
}

#[test]
fn a_sink_may_begin_with_what_is_sent_from_now_on() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 3);
    let database = Database::default();
    let consumer = builder(&broker).start(Start::Latest).build().expect("builds");
    let mut sink = Sink::new(consumer, database.connect()).expect("it has a group");
    send_to(&broker, 0, "news");
    sink.store_mut().fail(Fault::Commit);
    assert_fails!(land(&mut sink), Failed::Database(Fault::Commit));
    land_all(&mut sink);
    assert_eq!(database.values(), ["news"]);
}

#[test]
fn it_needs_a_group_and_its_own_commits() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    let consumer = broker.consumer::<(), String>().topic("t").build().expect("builds");
    assert_fails!(Sink::new(consumer, Database::default()), Error::NoGroup);
    let consumer = builder(&broker).auto_commit(true).build().expect("builds");
    assert_fails!(
        Sink::new(consumer, Database::default()),
        Error::InvalidConfig { setting: "auto_commit", .. }
    );
}

#[test]
fn another_log_of_the_same_name_is_not_taken_for_the_one_that_was_landed() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_numbered(broker, "t", 2);
        let database = Database::default();
        land_all(&mut sink(broker, &database));
        broker.delete_topic("t").expect("it exists");
        make(broker, "t", 1);
        send_numbered(broker, "t", 5);
        let mut sink = sink(broker, &database);
        assert_fails!(
            land(&mut sink),
            Failed::Ottla(Error::OtherLog { partition, group }) if partition.partition == 0 && group == "g"
        );
        assert_eq!(database.landed().len(), 2);
    });
}

#[test]
fn a_log_that_ends_before_what_was_landed_is_told_of() {
    let kept = Kept::Files(ottla::storage::MemoryStorage::default());
    let broker = kept.open();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 5);
    let database = Database::default();
    land_all(&mut sink(&broker, &database));
    database.advance("t", 0, 9); // somebody put back an older copy of the directory
    send_numbered(&broker, "t", 1);
    let consumer = builder(&broker).on_out_of_range(OutOfRange::Earliest).build().expect("builds");
    let mut sink = Sink::new(consumer, database.connect()).expect("it has a group");
    assert_fails!(land(&mut sink), Failed::Ottla(Error::OffsetOutOfRange { requested: 9, latest: 6, .. }));
    assert_eq!(database.landed().len(), 5);
}

#[test]
fn what_was_deleted_before_it_was_landed_is_told_of_or_passed_over() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_numbered(broker, "t", 3);
        let database = Database::default();
        land_all(&mut sink(broker, &database));
        send_numbered(broker, "t", 4);
        broker.delete_records("t", 0, 5).expect("they are there");
        // Wherever the group is.
        broker.commit_offsets("g", [(TopicPartition::new("t", 0), 6)]).expect("no members");
        let mut strict = sink(broker, &database);
        for _ in 0..2 {
            assert_fails!(
                land(&mut strict),
                Failed::Ottla(Error::OffsetOutOfRange { requested: 3, earliest: 5, .. })
            );
        }
        drop(strict);
        let consumer = builder(broker).on_out_of_range(OutOfRange::Earliest).build().expect("builds");
        let mut lenient = Sink::new(consumer, database.connect()).expect("it has a group");
        land_all(&mut lenient);
        let offsets: Vec<u64> = database.landed().iter().map(|landed| landed.2).collect();
        assert_eq!(offsets, [0, 1, 2, 5, 6]);
    });
}

#[test]
fn gaps_of_a_compacted_topic_are_no_obstacle() {
    let broker = Broker::in_memory();
    let compacted =
        TopicConfig::new().compaction(Compaction::by_key().min_dirty_percent(0)).segment_bytes(4096);
    broker.create_topic("prices", compacted).expect("a free name");
    let producer = broker.producer::<String, String>("prices").expect("it exists");
    let send = |from: usize| {
        for number in from..from + 400 {
            producer.send(["apple", "pear"][number % 2], &format!("value-{number}")).expect("kept");
        }
    };
    let open = |database: &Database| {
        let consumer = broker.consumer::<String, String>().topic("prices").group("g").max_records(7);
        Sink::new(consumer.build().expect("builds"), database.connect()).expect("it has a group")
    };
    let database = Database::default();
    let land = |sink: &mut Sink<String, String, Database>| -> usize {
        let landed = sink.land(NOW, |transaction, records| {
            for record in records {
                let value = record.value().expect("text").to_owned();
                transaction.insert((record.topic().to_owned(), 0, record.offset(), value));
            }
            Ok::<_, Failed>(())
        });
        landed.expect("no fault")
    };
    send(0);
    let mut sink = open(&database);
    for from in [400, 800, 1_200] {
        for _ in 0..5 {
            assert!(land(&mut sink) > 0);
        }
        send(from);
        broker.run_housekeeping().expect("no fault");
        sink = open(&database);
    }
    while land(&mut sink) > 0 {}
    let offsets: Vec<u64> = database.landed().iter().map(|landed| landed.2).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "each once, and in order");
    assert!(offsets.len() < 1_600, "some were removed before");
    assert_eq!(database.values().last().map(String::as_str), Some("value-1599"));
}

#[test]
fn the_database_never_knows_of_what_the_log_could_lose() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 3);
    let database = Database::default();
    storage.hold_syncs();
    let mut sink = sink(&broker, &database);
    let landing = watched("landing", move || land(&mut sink));
    storage.wait_for_sync();
    assert_eq!(database.landed(), [], "the sync is first");
    storage.release_syncs();
    assert_eq!(landing.wait().expect("no fault"), 3);
    assert!(storage.unsynced("t-0").is_empty());
}

#[test]
fn of_two_who_land_the_same_records_one_is_rolled_back() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1);
    send_numbered(&broker, "t", 5);
    let database = Database::default();
    // Both read by hand, as if the one were taken for dead: no group stands between them.
    let by_hand = || {
        let consumer = broker.consumer().assign("t", [0]).group("g").build().expect("builds");
        Sink::new(consumer, database.connect()).expect("it has a group")
    };
    let (mut slow, mut quick) = (by_hand(), by_hand());
    let mut attempts = 0;
    let outcome = slow.land(NOW, |transaction, records| {
        attempts += 1;
        if attempts == 1 {
            land_all(&mut quick);
            send_to(&broker, 0, "value-5");
        }
        insert(transaction, records)
    });
    assert_eq!((outcome.expect("no fault"), attempts), (1, 2));
    assert_eq!(database.values(), numbered(0..6));
}

/// Members come, go and die, everything fails now and then, the group is moved about, and the broker is
/// opened again: in the end each record has been landed once, in the order of its partition.
#[test]
fn each_record_is_landed_once_whatever_happens() {
    on_kept(|kept| {
        with_seeds(|random| {
            let mut broker = kept.open();
            make(&broker, "t", 3);
            let database = Database::default();
            let mut sinks: Vec<TestSink> = Vec::new();
            let mut sent = 0;
            for _ in 0..400 {
                step(random, &broker, &database, &mut sinks, &mut sent);
                if random.below(100) == 0 {
                    sinks.clear();
                    broker = kept.open_after(&broker);
                }
            }
            sinks.clear();
            land_all(&mut sink(&broker, &database));
            check(&database, sent);
            broker.delete_topic("t").expect("it exists");
            broker.close().expect("no fault");
        });
    });
}

fn step(random: &mut Rng, broker: &Broker, database: &Database, sinks: &mut Vec<TestSink>, sent: &mut usize) {
    let one = random.below(sinks.len().max(1));
    match random.below(12) {
        0..4 => {
            send_to(broker, random.below(3) as u32, &format!("value-{sent}"));
            *sent += 1;
        }
        4 if sinks.len() < 3 => sinks.push(sink(broker, database)),
        5 if !sinks.is_empty() => drop(sinks.swap_remove(one)),
        6 if sinks.is_empty() => {
            let partition = TopicPartition::new("t", random.below(3) as u32);
            let description = broker.describe_topic("t").expect("it exists");
            let end = description.partitions[partition.partition as usize].end_offset as usize;
            broker.commit_offsets("g", [(partition, random.below(end + 1) as u64)]).expect("no members");
        }
        7 if !sinks.is_empty() => {
            use Fault::{AnswerToCommit, Begin, Commit, Load, Store};
            let fault = [Begin, Load, Store, Commit, AnswerToCommit][random.below(5)];
            sinks[one].store_mut().fail(fault);
        }
        _ if !sinks.is_empty() => match land(&mut sinks[one]) {
            Ok(_) | Err(Failed::Database(_)) => {}
            Err(other) => panic!("{other:?}"),
        },
        _ => {}
    }
}

fn check(database: &Database, sent: usize) {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let mut numbers = Vec::new();
    for (_, partition, offset, value) in database.landed() {
        let expected = next.entry(partition).or_default();
        assert_eq!(offset, *expected, "of partition {partition}");
        *expected += 1;
        numbers.push(value.trim_start_matches("value-").parse::<usize>().expect("a number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
}
