//! What happens when the file system refuses: sends say so and go on when they can, nothing that was
//! acknowledged is lost, and what should be synced is.

use std::io;
use std::thread;
use std::time::Duration;

use ottla::{Error, Raw, RecordMetadata, Timestamp, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

// ---- writes ----

#[test]
fn short_reads_and_writes_are_continued() {
    let storage = Faulty::default();
    let (broker, _) = storage.broker(1);
    send_numbered(&broker, "t", 500);
    drop(broker);
    assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..500));
}

#[test]
fn a_full_disk_is_an_error_and_sends_work_again_without_a_restart() {
    for operation in [Operation::Write, Operation::WriteHalf] {
        let storage = Faulty::default();
        let (broker, producer) = storage.broker(1);
        send_numbered(&broker, "t", 10);
        storage.refuse(operation, "/t-0/", io::ErrorKind::StorageFull);
        for _ in 0..3 {
            let error = producer.send((), "refused").expect_err("the disk is full");
            assert!(error.is_retriable());
            assert!(error.to_string().contains("/data/t-0/"), "{error}");
            assert_fails!(Err::<(), _>(error), Error::StorageFull { operation: "write", .. });
            assert_fails!(producer.send_batch([((), "refused"); 3]), Error::StorageFull { .. });
        }
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..10), "what was acknowledged stays readable");
        storage.allow_all();
        assert_eq!(producer.send((), "value-10").expect("there is room").offset, 10);
        drop((producer, broker));
        let broker = storage.open_broker();
        assert!(broker.recovery_report().is_clean());
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..11));
    }
}

#[test]
fn a_disk_that_is_full_when_the_log_rolls_is_an_error_until_it_has_room() {
    for operation in [Operation::Open, Operation::Write, Operation::WriteHalf] {
        for next_bytes in [3_000, 500] {
            let storage = Faulty::default();
            let (broker, producer) = storage.broker(1);
            let (large, next) = ("x".repeat(3_000), "y".repeat(next_bytes));
            producer.send((), &large).expect("sends");
            storage.refuse(operation, "/t-0/", io::ErrorKind::StorageFull);
            for _ in 0..2 {
                assert_fails!(producer.send((), &large), Error::StorageFull { .. });
            }
            storage.allow_all();
            // A smaller record still fits into the segment that the log could not leave.
            for _ in 0..3 {
                producer.send((), &next).expect("there is room");
            }
            let expected = [&large, &next, &next, &next];
            assert!(texts(&all_of(&broker, "t")).iter().eq(expected));
            drop((producer, broker));
            let broker = storage.open_broker();
            assert!(broker.recovery_report().is_clean());
            assert!(texts(&all_of(&broker, "t")).iter().eq(expected));
        }
    }
}

#[test]
fn a_write_that_cannot_be_undone_ends_the_partition_and_nothing_else() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(2);
    send_numbered(&broker, "t", 10);
    storage.refuse(Operation::WriteHalf, "/t-0/", io::ErrorKind::Other);
    storage.refuse(Operation::Cut, "/t-0/", io::ErrorKind::Other);
    let send = |partition| producer.record("v").partition(partition).send();
    for _ in 0..2 {
        let outcome = send(0);
        assert_fails!(outcome, Error::PartitionFailed { partition, .. } if partition.partition == 0);
    }
    send(1).expect("another partition");
    assert_eq!(all_of(&broker, "t").len(), 11, "reading still works");
    assert_eq!(broker.health().partitions.len(), 1);
    drop((producer, broker));
    storage.allow_all();
    let broker = storage.open_broker();
    assert_eq!(broker.recovery_report().torn_tails.len(), 1, "what was half written");
    assert_eq!(by_partition(&all_of(&broker, "t"))[&0].len(), 10);
    send_numbered(&broker, "t", 1);
}

#[test]
fn a_batch_that_one_of_its_partitions_refuses_says_what_was_appended() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    broker.create_topic("t", partitions(2)).expect("a free name");
    let producer = broker.producer::<u32, String>("t").expect("it exists");
    storage.refuse(Operation::Write, "/t-1/", io::ErrorKind::StorageFull);
    let Err(error) = producer.send_batch((0..20).map(|key| (key, "v"))) else {
        panic!("one partition is full")
    };
    assert!(!error.is_retriable(), "the same call would append some records twice");
    let Error::PartlyAppended { appended, source } = error else { panic!("{error}") };
    assert!(source.is_retriable());
    assert!(matches!(*source, Error::StorageFull { .. }), "{source}");
    assert_eq!(appended.len(), 20);
    let done: Vec<RecordMetadata> = appended.iter().flatten().copied().collect();
    assert!(
        done.iter().enumerate().all(|(number, place)| (place.partition, place.offset) == (0, number as u64))
    );
    assert_eq!(held(&broker, "t"), done.len() as u64);

    // Sending only the missing ones again completes the batch.
    storage.allow_all();
    let missing = (0..20).zip(&appended).filter(|(_, place)| place.is_none()).map(|(key, _)| (key, "v"));
    producer.send_batch(missing).expect("there is room");
    let mut keys: Vec<_> = all_of(&broker, "t").into_iter().map(|record| record.key).collect();
    keys.sort();
    assert!(keys.iter().zip(0u32..20).all(|(key, number)| key.as_deref() == Some(&number.to_be_bytes())));
}

#[test]
fn a_commit_that_cannot_be_written_is_none() {
    let storage = Faulty::default();
    let (broker, _) = storage.broker(1);
    send_numbered(&broker, "t", 3);
    let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("builds");
    let records = consumer.poll(NOW).expect("records");
    storage.refuse(Operation::Write, "__consumer_offsets", io::ErrorKind::StorageFull);
    assert_fails!(consumer.commit(&records), Error::StorageFull { .. });
    assert_eq!(committed_at(&consumer, "t", 0), None);
    storage.allow_all();
    consumer.commit(&records).expect("there is room");
    drop((consumer, records, broker));
    assert_eq!(committed(&storage.open_broker(), "g").into_values().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_topic_that_cannot_be_created_does_not_exist() {
    for part in ["/t-1/", "catalog"] {
        let storage = Faulty::default();
        let broker = storage.open_broker();
        storage.refuse(Operation::Write, part, io::ErrorKind::StorageFull);
        assert_fails!(broker.create_topic("t", partitions(2)), Error::StorageFull { .. });
        assert!(broker.list_topics().is_empty());
        assert_fails!(broker.producer::<(), String>("t"), Error::TopicNotFound { .. });
        storage.allow_all();
        broker.create_topic("t", partitions(3)).expect("there is room");
        send_numbered(&broker, "t", 1);
        drop(broker);
        assert_eq!(texts(&all_of(&storage.open_broker(), "t")), ["value-0"]);
    }
}

#[test]
fn a_topic_whose_files_cannot_be_removed_is_gone_all_the_same() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(2);
    send_numbered(&broker, "t", 3);
    storage.refuse(Operation::Remove, "/t-1/", io::ErrorKind::PermissionDenied);
    let error = broker.delete_topic("t").expect_err("a file cannot be removed");
    assert!(error.to_string().contains("/data/t-1/"), "{error}");
    assert!(broker.list_topics().is_empty());
    assert_fails!(producer.send((), "v"), Error::TopicDeleted { .. });
    assert!(broker.create_topic("t", TopicConfig::new()).is_err(), "its files are in the way");
    storage.allow_all();
    broker.create_topic("t", partitions(2)).expect("the name is free");
    assert_eq!(held(&broker, "t"), 0);
    drop((broker, producer));
    let broker = storage.open_broker();
    assert_eq!((broker.list_topics().len(), held(&broker, "t")), (1, 0));
}

#[test]
fn a_deletion_that_fails_forgets_the_commits_all_the_same() {
    let storage = Faulty::default();
    let (broker, _) = storage.broker(1);
    send_numbered(&broker, "t", 3);
    let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("builds");
    let records = consumer.poll(NOW).expect("records");
    consumer.commit(&records).expect("commits");
    storage.refuse(Operation::Remove, "/t-0/", io::ErrorKind::PermissionDenied);
    assert!(broker.delete_topic("t").is_err());
    storage.allow_all();
    broker.create_topic("t", TopicConfig::new()).expect("the name is free");
    assert!(broker.committed_offsets("g").is_empty());
}

// ---- syncs ----

#[test]
fn a_failed_flush_ends_the_partition_for_sends_until_what_may_be_lost_is_written_again() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    storage.refuse(Operation::Sync, "/t-0/", io::ErrorKind::Other);
    producer.send((), "value-0").expect("it is not synced yet");
    assert_fails!(producer.flush(), Error::PartitionFailed { .. });
    assert_fails!(producer.send((), "v"), Error::PartitionFailed { .. });
    assert_eq!(texts(&all_of(&broker, "t")), ["value-0"]);
    // The next sync of the same file may report success for bytes that are lost: only others are synced.
    storage.allow_all();
    storage.refuse(Operation::Sync, "0.log$", io::ErrorKind::Other);
    producer.flush().expect("it is in a new file");
    producer.send((), "value-1").expect("it works again");
    broker.close().expect("the new file can be synced");
    drop((producer, broker));
    assert_eq!(texts(&all_of(&storage.open_broker(), "t")), ["value-0", "value-1"]);
}

#[test]
fn a_failed_sync_in_the_background_is_not_kept_secret() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    storage.refuse(Operation::Sync, "/t-0/", io::ErrorKind::Other);
    let sender = watched("a sender to a failing disk", move || {
        loop {
            match producer.send((), "v") {
                Ok(_) => thread::yield_now(),
                Err(error) => return error,
            }
        }
    });
    assert_fails!(Err::<(), _>(sender.wait()), Error::PartitionFailed { .. });
    assert_fails!(broker.close(), Error::PartitionFailed { .. });
}

#[test]
fn what_is_sent_is_synced_without_being_asked_for() {
    let storage = Faulty::default();
    let (broker, _producer) = storage.broker(2);
    for _ in 0..3 {
        send_numbered(&broker, "t", 100);
        wait_for_sync(&storage);
    }
}

fn wait_for_sync(storage: &Faulty) {
    let storage = storage.clone();
    let flusher = watched("the background sync", move || {
        while !storage.unsynced("/t-").is_empty() {
            thread::yield_now();
        }
    });
    flusher.wait();
}

#[test]
fn flush_and_close_return_when_everything_is_synced() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(2);
    send_numbered(&broker, "t", 200);
    producer.flush().expect("syncs");
    assert!(storage.unsynced("/t-").is_empty(), "{:?}", storage.unsynced("/t-"));
    send_numbered(&broker, "t", 200);
    broker.close().expect("syncs");
    assert!(storage.unsynced("/t-").is_empty(), "{:?}", storage.unsynced("/t-"));
}

#[test]
fn what_is_sent_before_everything_is_dropped_is_synced_too() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(2);
    send_numbered(&broker, "t", 200);
    drop((broker, producer));
    wait_for_sync(&storage);
}

#[test]
fn a_chunk_that_stayed_empty_before_a_roll_does_not_mislead_readers() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    broker.create_topic("t", TopicConfig::new().segment_bytes(30 << 10)).expect("a free name");
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    producer.send((), &[1; 4_000]).expect("it fills the first chunk");
    // Asks for another chunk, and is not written.
    storage.refuse(Operation::Write, "/t-", io::ErrorKind::StorageFull);
    assert_fails!(producer.send((), &[2; 100]), Error::StorageFull { .. });
    storage.allow_all();
    // Too large for the segment: its own begins with the same offset as the empty chunk.
    let late = Timestamp::from_millis(i64::MAX);
    producer.record(&[3; 28_000]).timestamp(late).send().expect("there is room");
    let consumer = broker.consumer::<(), Raw>().topic("t").build().expect("it exists");
    // The sizes are such that the empty chunk leaves the view while the one behind it stays.
    for _ in 0..500 {
        producer.send((), &[4; 1_000]).expect("there is room");
        let found = consumer.offsets_for_timestamp(late).expect("the log is sound");
        assert!(found.values().all(|offset| *offset == Some(1)));
    }
}

#[test]
fn what_cannot_be_removed_does_not_keep_the_broker_from_opening() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    send_numbered(&broker, "t", 10);
    broker.create_topic("other", TopicConfig::new()).expect("a free name");
    send_numbered(&broker, "other", 3);
    storage.refuse(Operation::Remove, "/t-0/", io::ErrorKind::PermissionDenied);
    assert_fails!(broker.delete_topic("t"), Error::Io { .. });
    assert_eq!(broker.list_topics(), ["other"]);
    drop((producer, broker));
    let broker = storage.open_broker();
    assert_eq!(broker.recovery_report().unremoved_topics, ["t"]);
    assert_eq!(all_of(&broker, "other").len(), 3);
    assert_fails!(broker.create_topic("t", TopicConfig::new()), Error::Io { .. });
    storage.allow_all();
    broker.create_topic("t", TopicConfig::new()).expect("now it can be removed");
    assert!(all_of(&broker, "t").is_empty());
}

#[test]
fn a_lowered_commit_is_synced_before_the_broker_is_open() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    send_numbered(&broker, "t", 3);
    let mut consumer = broker.consumer::<Raw, Raw>().topic("t").group("g").build().expect("it exists");
    let records = consumer.poll(NOW).expect("three records");
    consumer.commit(&records).expect("a group");
    drop((records, consumer, producer, broker));
    // The segment ends where its records began, as a power loss may leave it.
    storage.cut("/data/t-0/00000000000000000000.log", 64);
    let broker = storage.open_broker();
    assert_eq!(broker.recovery_report().lowered_commits.len(), 1);
    let unsynced = storage.unsynced("__consumer_offsets");
    assert!(unsynced.is_empty(), "{unsynced:?}");
}

#[test]
fn a_sync_under_way_does_not_keep_a_dropped_directory_from_being_opened() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    storage.slow_down(Duration::from_secs(1));
    send_numbered(&broker, "t", 10);
    let seen = storage.clone();
    let flusher = watched("the background sync", move || {
        while !seen.is_syncing() {
            thread::yield_now();
        }
    });
    flusher.wait();
    drop((broker, producer));
    assert_eq!(texts(&all_of(&storage.open_broker(), "t")), numbered(0..10));
}
