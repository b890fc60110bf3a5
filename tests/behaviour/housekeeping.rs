//! The housekeeper: when there is one, what it does in the background, what becomes of its errors, and that it
//! ends.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use ottla::{Broker, Error, ManualClock, Raw, Retention, Timestamp, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn send(broker: &Broker, count: usize) {
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    for _ in 0..count {
        producer.send((), &[7; 450]).expect("sends");
    }
}

fn start(broker: &Broker) -> u64 {
    broker.describe_topic("t").expect("it exists").partitions[0].start_offset
}

fn small(retention: Retention) -> TopicConfig {
    TopicConfig::new().segment_bytes(4_096).memory_limit(64 << 10).retention(retention)
}

#[test]
fn records_go_in_the_background() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let dir = temp_dir();
    for builder in [Broker::builder(), Broker::builder().data_dir(dir.path())] {
        let builder = builder.clock(Arc::clone(&clock)).housekeeping_interval(MILLI);
        let broker = builder.open().expect("a fresh directory");
        broker.create_topic("t", small(Retention::forever().max_age(HOUR))).expect("a free name");
        send(&broker, 40);
        clock.advance(HOUR + MILLI);
        until("everything is gone", || start(&broker) == 40);
        assert!(broker.health().is_good());
        broker.close().expect("no fault");
    }
}

#[test]
fn the_disk_stays_flat_over_hundreds_of_segments() {
    let dir = temp_dir();
    let broker = Broker::builder().data_dir(dir.path()).open().expect("a fresh directory");
    broker.create_topic("t", small(Retention::forever().max_bytes(32 << 10))).expect("a free name");
    for round in 1..=30 {
        send(&broker, 80);
        // No interval has passed: it comes to it whenever a segment is full.
        until("what is too much is gone", || start(&broker) + 40_000 / 450 + 16 >= round * 80);
    }
    until("the files are gone", || files_in(&dir.path().join("t-0")).len() <= 11);
    assert!(start(&broker) >= 2_000, "{}", start(&broker));
    let files = std::fs::read_dir(dir.path().join("t-0")).expect("it is there");
    let bytes: u64 = files.map(|file| file.expect("listed").metadata().expect("there").len()).sum();
    assert!((32 << 10..48 << 10).contains(&bytes), "{bytes} bytes on disk");
    broker.close().expect("no fault");
}

#[test]
fn a_topic_in_memory_that_nobody_reads_stays_within_its_bound() {
    let broker = Broker::builder().housekeeping_interval(MILLI).open().expect("nothing to go wrong");
    let retention = Retention::until_read_by(["nobody"]).max_age(HOUR);
    broker.create_topic("t", small(retention)).expect("a free name");
    for _ in 0..20 {
        send(&broker, 500);
        assert!(held(&broker, "t") * 450 <= 64 << 10);
    }
}

#[test]
fn nothing_is_done_in_the_background_if_it_is_switched_off() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let builder = Broker::builder().clock(Arc::clone(&clock)).housekeeping_interval(Duration::MAX);
    let broker = builder.open().expect("nothing to go wrong");
    broker.create_topic("t", small(Retention::forever().max_age(HOUR))).expect("a free name");
    send(&broker, 40);
    clock.advance(HOUR + MILLI);
    let_it_sleep();
    assert_eq!(start(&broker), 0);
    assert_eq!(broker.run_housekeeping().expect("no fault").deleted_records, 40);
}

#[test]
fn an_interval_of_no_time_is_refused() {
    let refused = Broker::builder().housekeeping_interval(Duration::ZERO).open();
    assert_fails!(refused, Error::InvalidConfig { setting: "housekeeping_interval", .. });
}

#[test]
fn it_keeps_nothing_in_use_and_ends_with_the_last_handle() {
    for _ in 0..20 {
        let dir = temp_dir();
        let broker =
            Broker::builder().data_dir(dir.path()).housekeeping_interval(HOUR).open().expect("fresh");
        broker.create_topic("t", small(Retention::forever().max_bytes(8 << 10))).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        drop(broker);
        producer.send((), &[7; 450]).expect("it goes on");
        drop(producer);
        until("the directory is free", || {
            !matches!(Broker::open(dir.path()), Err(Error::DirectoryInUse { .. }))
        });
    }
}

#[test]
fn it_goes_on_for_a_producer_whose_broker_is_gone() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("t", small(Retention::forever().max_bytes(8 << 10))).expect("a free name");
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    drop(broker);
    for _ in 0..400 {
        producer.send((), &[7; 450]).expect("sends");
    }
    until("files are gone", || files_in(&dir.path().join("t-0")).len() < 10);
}

#[test]
fn a_closed_broker_does_no_housekeeping() {
    let broker = Broker::in_memory();
    broker.create_topic("t", small(Retention::days(1))).expect("a free name");
    broker.close().expect("no fault");
    assert_fails!(broker.run_housekeeping(), Error::Closed);
}

#[test]
fn a_broker_that_is_read_only_deletes_nothing() {
    on_kept(|kept| {
        let broker = kept.builder().housekeeping_interval(Duration::MAX).open().expect("fresh");
        broker.create_topic("t", small(Retention::forever().max_bytes(8 << 10))).expect("a free name");
        send(&broker, 40);
        broker.close().expect("no fault");
        let reader = kept.builder().read_only(true).open().expect("it is free");
        assert_eq!(reader.run_housekeeping().expect("nothing to do"), ottla::Housekeeping::default());
        assert_eq!((start(&reader), all_of(&reader, "t").len()), (0, 40));
    });
}

/// A broker whose disk can be told to refuse, and 40 records in full segments of its topic `t`, of which as
/// many are to go as are not in the last 8 KiB.
fn on_faulty() -> (Faulty, Broker) {
    let disk = Faulty::default();
    let builder = Broker::builder().data_dir("/data").storage(disk.clone());
    let broker = builder.housekeeping_interval(Duration::MAX).open().expect("a fresh directory");
    broker.create_topic("t", small(Retention::forever().max_bytes(8 << 10))).expect("a free name");
    send(&broker, 40);
    (disk, broker)
}

#[test]
fn what_cannot_be_written_down_deletes_nothing_is_told_and_tried_again() {
    let (disk, broker) = on_faulty();
    disk.refuse(Operation::Write, "catalog", ErrorKind::StorageFull);
    assert_fails!(broker.run_housekeeping(), Error::StorageFull { .. });
    assert_eq!((start(&broker), all_of(&broker, "t").len()), (0, 40), "nothing is gone");
    let health = broker.health();
    assert!(!health.is_good() && health.partitions.is_empty());
    assert!(health.housekeeping.iter().any(|fault| fault.partition.topic == "t"), "{health:?}");
    send(&broker, 1);
    disk.allow_all();
    assert!(broker.run_housekeeping().expect("it works again").deleted_records >= 16);
    assert!(broker.health().is_good());
}

#[test]
fn a_file_that_cannot_be_removed_is_told_and_tried_again() {
    let (disk, broker) = on_faulty();
    let before = disk.names("/data/t-0").len();
    disk.refuse(Operation::Remove, "t-0", ErrorKind::PermissionDenied);
    assert_fails!(broker.run_housekeeping(), Error::Io { operation: "remove", .. });
    assert!(start(&broker) > 0, "its records are deleted all the same");
    assert_eq!((disk.names("/data/t-0").len(), broker.health().is_good()), (before, false));
    disk.allow_all();
    broker.run_housekeeping().expect("it works again");
    assert!(disk.names("/data/t-0").len() < before && broker.health().is_good());
}

#[test]
fn a_log_that_fails_does_not_keep_the_others() {
    let (disk, broker) = on_faulty();
    broker.create_topic("u", small(Retention::forever().max_bytes(8 << 10))).expect("a free name");
    let producer = broker.producer::<(), Raw>("u").expect("it exists");
    (0..40).for_each(|_| {
        producer.send((), &[7; 450]).expect("sends");
    });
    for operation in [Operation::Sync, Operation::PanicOnSync] {
        disk.refuse(operation, "t-0", ErrorKind::Other);
    }
    // It may be that what is to go was synced already.
    drop(broker.run_housekeeping());
    let first = broker.describe_topic("u").expect("it exists").partitions[0].start_offset;
    assert!(first > 0, "the other one is looked after");
    disk.allow_all();
}
