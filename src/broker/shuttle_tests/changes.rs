//! Topics that change under those who use them: more partitions, deleted records, another durability, new
//! topics.

use std::time::Duration;

use super::history::{FOREVER, NOW, Seen, Sender, reader};
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::config::{Durability, TopicConfig};
use crate::consumer::OutOfRange;
use crate::error::Error;

/// A sleeping reader of a topic that gets another partition, and a sender who was there before.
fn a_partition_is_added(broker: &Broker, config: TopicConfig) {
    broker.create_topic("t", config).expect("a free name");
    let reading = spawn({
        let mut reader = broker.consumer().topic("t").build().expect("it is there");
        move || {
            let mut seen = Seen::default();
            seen.poll_until(&mut reader, 4);
            seen
        }
    });
    let mut early = Sender::new(broker, "t", 1);
    let sending = spawn(move || {
        early.send(0);
        while !early.send(1) {
            let refusal = early.sent.pop().expect("a send").outcome;
            assert!(matches!(refusal, Err(Error::InvalidPartition { .. })), "{refusal:?}");
            shuttle::thread::yield_now();
        }
        early.sent
    });
    broker.increase_partitions("t", 2).expect("no fault");
    let mut late = Sender::new(broker, "t", 2);
    late.send_batch(1, 2);
    let sent = join(sending);
    join(reading).assert_is_from(&[&sent, &late.sent], 0);
    broker.close().expect("no fault");
}

#[test]
fn a_sleeping_reader_reads_a_partition_that_is_added() {
    check(|| a_partition_is_added(&Files::default().open(), small(1)));
}

#[test]
fn a_sleeping_reader_reads_a_partition_that_is_added_in_memory() {
    check(|| a_partition_is_added(&Broker::in_memory(), TopicConfig::new()));
}

#[test]
fn a_sleeping_reader_reads_a_topic_that_is_made_and_leaves_one_that_is_deleted() {
    check(|| {
        let broker = Files::default().open();
        broker.create_topic("t1", small(1)).expect("a free name");
        let reader = broker.consumer::<(), u64>().topics_matching(|name| name.starts_with('t'));
        let mut reader = reader.build().expect("one is there");
        let reading = spawn(move || {
            let (mut numbers, mut is_told) = (Vec::new(), false);
            while numbers.len() < 2 || !is_told {
                match reader.poll(FOREVER) {
                    Ok(records) => {
                        let found = records.iter().filter(|record| record.topic() == "t2");
                        numbers.extend(found.map(|record| record.value().expect("a number")));
                    }
                    Err(Error::TopicDeleted { .. }) => {
                        assert!(!is_told, "told once");
                        is_told = true;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(reader.poll(NOW).expect("told once").is_empty());
            numbers
        });
        let deleting = spawn({
            let broker = broker.clone();
            move || {
                Sender::new(&broker, "t1", 1).send(0);
                broker.delete_topic("t1").expect("no fault");
            }
        });
        broker.create_topic("t2", small(1)).expect("a free name");
        let mut sender = Sender::new(&broker, "t2", 2);
        assert!(sender.send(0) && sender.send(0));
        join(deleting);
        let sent: Vec<u64> = sender.sent.iter().map(|sent| sent.number).collect();
        assert_eq!(join(reading), sent);
        broker.close().expect("no fault");
    });
}

/// Records go at the front while others come at the end, and a reader follows.
fn records_are_deleted(files: &Files, config: TopicConfig) {
    let broker = files.open();
    broker.create_topic("t", config).expect("a free name");
    let mut sender = Sender::new(&broker, "t", 1);
    sender.send_batch(0, 2);
    let mut following = broker.consumer::<(), u64>().topic("t").build().expect("it is there");
    let reading = spawn(move || {
        let mut seen = Seen::default();
        // The last record is never deleted.
        while !seen.numbers().any(|number| number & 0xffff == 6) {
            match following.poll(FOREVER) {
                Ok(records) => seen.take(&records),
                // A gap is never silent.
                Err(Error::OffsetOutOfRange { earliest, .. }) => {
                    following.seek("t", 0, earliest).expect("assigned");
                    seen.go_on_at(0, earliest);
                }
                Err(error) => panic!("{error}"),
            }
        }
        seen
    });
    // In the middle of the first chunk.
    let behind = broker.consumer::<(), u64>().topic("t").on_out_of_range(OutOfRange::Earliest);
    let mut behind = behind.max_records(1).build().expect("it is there");
    assert_eq!(behind.poll(NOW).expect("readable").len(), 1);
    let sending = spawn(move || {
        (0..4).for_each(|_| assert!(sender.send(0)));
        sender.sent
    });
    let mut start = 0;
    for before in [1, 2, 4] {
        match broker.delete_records("t", 0, before) {
            Ok(begins) => start = begins,
            Err(Error::OffsetOutOfRange { latest, .. }) => assert!(latest < before),
            Err(error) => panic!("{error}"),
        }
    }
    let next = behind.poll(NOW).expect("readable").iter().next().map(|record| record.offset());
    assert!(next.is_none_or(|offset| offset >= start), "{next:?} was deleted");
    let sent = join(sending);
    join(reading).assert_is_from(&[&sent], u64::MAX);
    let found = Seen::all_of(&broker, "t");
    found.assert_is_from(&[&sent], start);
    assert_eq!(found.len() as u64, 6 - start, "what was deleted is not there");
    broker.close().expect("no fault");
    for files in [files.after_power_loss(), files.clone()] {
        let found = Seen::all_of(&files.open(), "t");
        found.assert_is_from(&[&sent], start);
        assert_eq!(found.len() as u64, 6 - start, "what was deleted does not come back");
    }
}

#[test]
fn a_reader_follows_while_records_are_deleted_in_front_of_it() {
    check(|| records_are_deleted(&Files::default(), small(1)));
}

#[test]
fn a_reader_follows_while_durable_records_are_deleted_in_front_of_it() {
    check(|| records_are_deleted(&Files::default(), small(1).durability(Durability::PowerLoss)));
}

#[test]
fn a_reader_follows_while_files_are_closed_and_deleted_in_front_of_it() {
    check(|| {
        let config = small(1).sync_interval(Duration::from_millis(50));
        records_are_deleted(&Files::default(), config);
    });
}

#[test]
fn a_topic_whose_durability_changes_keeps_what_it_promises_when_a_send_begins() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", small(1)).expect("a free name");
        let altering = spawn({
            let broker = broker.clone();
            move || {
                let level = |level| broker.alter_topic("t", TopicConfig::new().durability(level));
                level(Durability::PowerLoss).expect("no fault");
                let mut sender = Sender::new(&broker, "t", 1);
                sender.send(0);
                let safe = sender.sent[0].number;
                level(Durability::ProcessCrash).expect("no fault");
                sender.send(0);
                (sender.sent, safe)
            }
        });
        let mut sender = Sender::new(&broker, "t", 2);
        let enqueued = sender.enqueue(0).expect("room");
        sender.send(0);
        let sending = spawn(move || {
            sender.send(0);
            sender.sent
        });
        let (sent, safe) = join(altering);
        assert!(files.is_synced(safe), "acknowledged, so synced");
        let mut others = join(sending);
        others.push(enqueued.wait());
        let mut seen = Seen::default();
        seen.poll_until(&mut reader(&broker, "t"), 5);
        seen.assert_is_from(&[&sent, &others], 0);
        broker.close().expect("no fault");
        Seen::all_of(&files.after_power_loss().open(), "t").assert_is_from(&[&sent, &others], 0);
    });
}
