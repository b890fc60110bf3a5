//! Committed offsets and logs that lost their end, of which nothing was synced: an offset beyond the end is
//! lowered to it and reported, so that the group sees what is sent next. Where it is known that records are
//! missing, the log is fenced, and the commits stay.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ottla::storage::{MemoryStorage, OpenMode, Storage};
use ottla::{Broker, Error, Raw, TopicPartition};

use crate::hooked::{Faults, Hooked, Kind};
use crate::support::{
    DIR, TOPIC, check_all, committed, contents, ensure, files_below, open, reopen, segment, sent,
    small_segments, storage_with,
};

/// Polls as a member of `group` and commits.
fn read_and_commit(broker: &Broker, group: &str) -> Vec<(u64, Vec<u8>)> {
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group(group).build();
    let mut consumer = consumer.expect("the topic is there");
    let records = consumer.poll(Duration::ZERO).expect("it can be read");
    consumer.commit(&records).expect("it can be committed");
    records.iter().map(|r| (r.offset(), r.value_bytes().unwrap_or_default().to_vec())).collect()
}

fn at(offset: u64) -> BTreeMap<TopicPartition, u64> {
    [(TopicPartition::new(TOPIC, 0), offset)].into()
}

/// A directory in which "early" has committed 4 of 10 records, and "late" all of them; then the segment is
/// cut to `records` records and `bytes` bytes more.
fn cut_to(storage: &impl Storage, records: u64, bytes: u64) {
    let path = segment(TOPIC, 0, 0);
    let file = storage.open(&path, OpenMode::Existing).expect("it is there");
    let len = file.len().expect("it has a length");
    file.set_len(64 + (len - 64) / 10 * records + bytes).expect("it can be cut");
}

/// As a process leaves it that is killed before it has synced anything.
fn prepared() -> MemoryStorage {
    let storage = MemoryStorage::default();
    let broker = work(&storage);
    let killed = storage_with(&files_below(&storage, Path::new(DIR)));
    drop(broker);
    killed
}

fn closed() -> MemoryStorage {
    let storage = MemoryStorage::default();
    work(&storage).close().expect("it closes");
    storage
}

fn work(storage: &MemoryStorage) -> Broker {
    let builder = Broker::builder().storage(storage.clone()).data_dir(DIR);
    let broker = builder.sync_interval(Duration::from_secs(3_600)).open().expect("it is new");
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    for number in 0..10u8 {
        sent(&broker, TOPIC, 0, &[number; 16]);
        if number == 3 {
            read_and_commit(&broker, "early");
        }
    }
    assert_eq!(read_and_commit(&broker, "late").len(), 10);
    broker
}

#[test]
fn a_commit_beyond_the_end_is_lowered_reported_and_the_next_records_are_seen() {
    for (records, bytes) in [(6, 0), (6, 20), (4, 0), (0, 0), (0, 8)] {
        let storage = prepared();
        cut_to(&storage, records, bytes);
        let broker = open(&storage).expect("a torn tail is cut off");
        let report = broker.recovery_report().clone();
        assert_eq!(report.torn_tails.len(), usize::from(bytes > 0), "{records} records, {bytes} bytes");
        let lowered =
            |group: &str, from: u64| (group.to_owned(), TopicPartition::new(TOPIC, 0), from, records);
        let mut expected = vec![lowered("late", 10)];
        if records < 4 {
            expected.insert(0, lowered("early", 4));
        }
        let found = report.lowered_commits.into_iter();
        let found: Vec<_> = found.map(|l| (l.group, l.partition, l.committed, l.lowered_to)).collect();
        assert_eq!(found, expected);
        assert_eq!(committed(&broker, "early"), at(records.min(4)));
        assert_eq!(committed(&broker, "late"), at(records));

        assert_eq!(sent(&broker, TOPIC, 0, b"next"), records);
        sent(&broker, TOPIC, 0, b"and next");
        let seen = read_and_commit(&broker, "late");
        assert_eq!(seen, [(records, b"next".to_vec()), (records + 1, b"and next".to_vec())]);
    }
}

/// Even if the broker is killed before it does anything else.
#[test]
fn a_lowered_commit_stays_lowered() {
    let storage = prepared();
    cut_to(&storage, 6, 0);
    drop(open(&storage).expect("it opens"));
    let broker = reopen(&storage);
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(committed(&broker, "late"), at(6));
    // Records that are sent now fill the gap; a commit that came back would jump over them.
    for number in 0..6u8 {
        sent(&broker, TOPIC, 0, &[number]);
    }
    drop(broker);
    assert_eq!(read_and_commit(&reopen(&storage), "late").len(), 6);
}

#[test]
fn lowering_that_fails_is_made_up_for_by_the_next_opening() {
    let files = {
        let storage = prepared();
        cut_to(&storage, 6, 20);
        files_below(&storage, Path::new(DIR))
    };
    let cases = Kind::ALL
        .iter()
        .flat_map(|&kind| (0..40).map(move |call| (format!("{kind:?} at call {call}"), (call, kind))));
    check_all(cases, |&(call, kind)| {
        let storage = Hooked::new(storage_with(&files), Faults::default());
        storage.hook.arm_window(call..call + 1, kind);
        drop(open(&storage));
        storage.hook.disarm();
        let broker = open(&storage)?;
        let found = committed(&broker, "late");
        ensure(found == at(6), || format!("committed is {found:?}"))?;
        ensure(committed(&broker, "early") == at(4), || "the other group suffered".to_owned())?;
        sent(&broker, TOPIC, 0, b"next");
        let seen = read_and_commit(&broker, "late");
        ensure(seen == [(6, b"next".to_vec())], || format!("the group sees {seen:?}"))
    });
}

#[test]
fn commits_of_a_log_that_lacks_synced_records_stay() {
    let storage = closed();
    cut_to(&storage, 6, 20);
    let broker = reopen(&storage);
    let report = broker.recovery_report();
    assert!(report.lowered_commits.is_empty(), "{report:?}");
    assert_eq!(report.damaged.iter().map(|damage| damage.first_offset).collect::<Vec<_>>(), [6]);
    assert_eq!((committed(&broker, "early"), committed(&broker, "late")), (at(4), at(10)));
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("early").build();
    let mut consumer = consumer.expect("the topic is there");
    let records = consumer.poll(Duration::ZERO).expect("two are left");
    assert_eq!(records.len(), 2);
    consumer.commit(&records).expect("commits have a log of their own");
    let told = consumer.poll(Duration::ZERO);
    assert!(
        matches!(told, Err(Error::RecordsDamaged { first_offset: 6, next_offset: None, .. })),
        "{told:?}"
    );
}

#[test]
fn commits_within_the_log_are_left_alone() {
    let storage = closed();
    let before = files_below(&storage, Path::new(DIR));
    let broker = reopen(&storage);
    assert!(broker.recovery_report().is_clean());
    assert_eq!((committed(&broker, "early"), committed(&broker, "late")), (at(4), at(10)));
    drop(broker);
    assert_eq!(files_below(&storage, Path::new(DIR)), before, "nothing was written");
}

#[test]
fn a_topic_of_an_old_name_does_not_inherit_commits() {
    let storage = prepared();
    let broker = reopen(&storage);
    broker.delete_topic(TOPIC).expect("it is there");
    broker.create_topic(TOPIC, small_segments(1)).expect("the name is free");
    sent(&broker, TOPIC, 0, b"anew");
    drop(broker);
    let broker = reopen(&storage);
    assert!(broker.recovery_report().is_clean());
    assert!(committed(&broker, "late").is_empty());
    assert_eq!(read_and_commit(&broker, "late"), [(0, b"anew".to_vec())]);
}

/// The internal topic is a log like others: its own torn tail costs the commit that was not acknowledged.
#[test]
fn a_torn_commit_falls_back_to_the_one_before() {
    let storage = prepared();
    let path = segment("__consumer_offsets", 0, 0);
    let file = storage.open(&path, OpenMode::Existing).expect("it is there");
    let len = file.len().expect("it has a length");
    file.set_len(len - 3).expect("it can be cut");
    let broker = reopen(&storage);
    let torn = &broker.recovery_report().torn_tails;
    assert_eq!(torn.iter().map(|tail| tail.path.clone()).collect::<Vec<_>>(), [path]);
    assert_eq!(committed(&broker, "early"), at(4));
    assert!(committed(&broker, "late").is_empty());
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read").len(), 10);
}
