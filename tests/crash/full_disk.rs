//! A disk that is full for a while: sends and commits say so, what was acknowledged is read as before, and
//! everything works again without a restart.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{Durability, Error, Raw};

use crate::hooked::{Action, Hook, Hooked, Op};
use crate::lossy::Lossy;
use crate::support::{
    Random, TOPIC, check_all, committed, contents, ensure, open, reopen, send, small_segments, value,
};

/// Room for so many calls that write or make a file.
#[derive(Debug)]
struct Room {
    left: AtomicI64,
}

const PLENTY: i64 = i64::MAX;

impl Room {
    fn set(&self, calls: i64) {
        self.left.store(calls, Ordering::SeqCst);
    }
}

impl Hook for Room {
    fn before(&self, op: Op, _path: &Path, _file: Option<u64>) -> Action {
        let takes_room = matches!(op, Op::Write | Op::Create | Op::CreateDir);
        if takes_room && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Action::Half(std::io::ErrorKind::StorageFull.into());
        }
        Action::Go
    }
}

fn storage() -> Hooked<MemoryStorage, Room> {
    Hooked::new(MemoryStorage::default(), Room { left: AtomicI64::new(PLENTY) })
}

fn assert_full<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    match outcome {
        Err(error @ Error::StorageFull { .. }) => assert!(error.is_retriable()),
        other => panic!("not an error that says that the disk is full: {other:?}"),
    }
}

#[test]
fn sends_are_refused_while_the_disk_is_full_and_work_again_without_a_restart() {
    let storage = storage();
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    let mut acknowledged = Vec::new();
    for round in 0..30 {
        // The room ends at another call each time: in the middle of a roll, or of a send.
        storage.hook.set(round % 5);
        for number in 0..8 {
            // Large records need a new segment, small ones after them may not.
            let record = value(round as usize * 100 + number, if number % 3 == 2 { 20 } else { 1_700 });
            match send(&broker, TOPIC, 0, &record) {
                Ok(offset) => {
                    assert_eq!(offset, acknowledged.len() as u64);
                    acknowledged.push(record);
                }
                refused => assert_full(refused),
            }
        }
        assert_eq!(contents(&broker, TOPIC, 0).expect("reading works"), acknowledged);
        storage.hook.set(PLENTY);
        let record = value(round as usize * 100 + 99, 20);
        assert_eq!(send(&broker, TOPIC, 0, &record).expect("there is room"), acknowledged.len() as u64);
        acknowledged.push(record);
    }
    drop(broker);
    let broker = open(&storage).expect("it opens after all that");
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), acknowledged);
}

/// A roll that failed leaves a file behind, which must not end up between two others.
#[test]
fn a_roll_that_failed_does_not_keep_the_directory_from_opening() {
    for room in 0..2 {
        let storage = storage();
        let broker = reopen(&storage);
        broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
        let mut acknowledged = vec![value(0, 3_000)];
        send(&broker, TOPIC, 0, &acknowledged[0]).expect("there is room");
        storage.hook.set(room);
        assert_full(send(&broker, TOPIC, 0, &value(1, 3_000)));
        storage.hook.set(PLENTY);
        for (number, len) in [(2, 100), (3, 100), (4, 3_000), (5, 3_000)] {
            acknowledged.push(value(number, len));
            send(&broker, TOPIC, 0, &value(number, len)).expect("there is room again");
        }
        drop(broker);
        let broker = open(&storage).unwrap_or_else(|error| panic!("room for {room} calls: {error}"));
        assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), acknowledged);
        assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    }
}

/// As above, but the process ends before the next roll.
#[test]
fn a_roll_that_failed_is_no_torn_tail() {
    for room in 0..2 {
        let storage = storage();
        let broker = reopen(&storage);
        broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
        send(&broker, TOPIC, 0, &value(0, 3_000)).expect("there is room");
        storage.hook.set(room);
        assert_full(send(&broker, TOPIC, 0, &value(1, 3_000)));
        storage.hook.set(PLENTY);
        send(&broker, TOPIC, 0, &value(2, 100)).expect("there is room again");
        drop(broker);
        let broker = reopen(&storage);
        let seen = contents(&broker, TOPIC, 0).expect("it can be read");
        assert_eq!(seen, [value(0, 3_000), value(2, 100)]);
        for tail in &broker.recovery_report().torn_tails {
            assert_eq!(tail.end_offset, 2, "where the log really ends: {tail:?}");
        }
    }
}

/// The file that a failed roll left was removed. It must not come back with a power loss, and lie across what was
/// sent since.
#[test]
fn a_roll_that_failed_leaves_nothing_that_a_power_loss_can_bring_back() {
    check_all((0..120).map(|seed| (format!("{seed}"), seed)), |&seed| {
        let storage = Hooked::new(Lossy::default(), Room { left: AtomicI64::new(PLENTY) });
        let broker = reopen(&storage);
        broker.create_topic(TOPIC, small_segments(1).durability(Durability::PowerLoss))?;
        send(&broker, TOPIC, 0, &value(0, 3_000))?;
        storage.hook.set(1);
        assert_full(send(&broker, TOPIC, 0, &value(1, 3_000)));
        storage.hook.set(PLENTY);
        send(&broker, TOPIC, 0, &value(2, 100))?;
        storage.plain().cut_power();
        drop(broker);
        let found = storage.plain().after_power_loss(&mut Random(seed));
        let broker = open(&found)?;
        ensure(broker.recovery_report().damaged.is_empty(), || format!("{:?}", broker.recovery_report()))?;
        ensure(contents(&broker, TOPIC, 0)? == [value(0, 3_000), value(2, 100)], || {
            "a record is lost".to_owned()
        })
    });
}

#[test]
fn commits_are_refused_while_the_disk_is_full_and_count_afterwards() {
    let storage = storage();
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build();
    let mut consumer = consumer.expect("the topic is there");
    for number in 0..5u64 {
        send(&broker, TOPIC, 0, b"record").expect("there is room");
        let records = consumer.poll(Duration::ZERO).expect("it can be read");
        storage.hook.set(0);
        assert_full(consumer.commit(&records));
        let before = number.checked_sub(1).map(|offset| offset + 1);
        let found = consumer.committed(TOPIC, 0).expect("it is assigned");
        assert_eq!(found.map(|committed| committed.offset), before);
        storage.hook.set(PLENTY);
        consumer.commit(&records).expect("there is room again");
    }
    drop((consumer, broker));
    let committed = committed(&reopen(&storage), "fraud");
    assert_eq!(committed.into_values().collect::<Vec<_>>(), [5]);
}

#[test]
fn topics_cannot_be_made_while_the_disk_is_full_and_can_afterwards() {
    let storage = storage();
    let broker = reopen(&storage);
    for room in 0.. {
        let name = format!("topic-{room}");
        storage.hook.set(room);
        let outcome = broker.create_topic(&name, small_segments(2));
        storage.hook.set(PLENTY);
        if outcome.is_ok() {
            assert!(room >= 4, "making a topic takes room");
            break;
        }
        assert_full(outcome);
        assert!(!broker.list_topics().contains(&name));
        broker.create_topic(&name, small_segments(2)).expect("there is room again");
        send(&broker, &name, 1, b"record").expect("there is room");
    }
    let listed = broker.list_topics();
    drop(broker);
    assert_eq!(reopen(&storage).list_topics(), listed);
}
