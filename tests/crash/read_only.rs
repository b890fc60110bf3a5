//! A directory that is opened read-only: nothing in it is changed, whatever is found and whatever is asked for;
//! what is whole is served.

use std::path::Path;
use std::time::Duration;

use ottla::storage::{Disk, MemoryStorage};
use ottla::{Broker, Durability, Error, Raw, RecoveryPolicy, ResetTo, TopicConfig, TopicPartition};

use crate::hooked::{Action, Hook, Hooked, Op};
use crate::image::Image;
use crate::power_loss::block_on;
use crate::support::{
    DIR, Files, TOPIC, Way, check_unchanged, committed, contents, files_below, open, reopen, segment, sent,
    sent_all, small_segments, storage_with, value,
};

/// Refuses every change, as a file system that is mounted read-only.
#[derive(Debug)]
struct NoChanges;

impl Hook for NoChanges {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        match op {
            Op::List | Op::Open | Op::Lock | Op::Read | Op::Len => Action::Go,
            _ => panic!("{op:?} of {}", path.display()),
        }
    }
}

/// A killed broker's directory: a torn tail, a commit, and a topic that is not on disk.
fn torn_files() -> (Files, Vec<Vec<u8>>) {
    let storage = MemoryStorage::default();
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(2)).expect("it is new");
    broker.create_topic("alarms", TopicConfig::new().durability(Durability::Memory)).expect("it is new");
    let values: Vec<Vec<u8>> = (0..7).map(|number| value(number, 900)).collect();
    sent_all(&broker, TOPIC, 0, values.clone());
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").max_records(3).build();
    let mut consumer = consumer.expect("the topic is there");
    let records = consumer.poll(Duration::ZERO).expect("it can be read");
    consumer.commit(&records).expect("it can be committed");
    let mut files = files_below(&storage, Path::new(DIR));
    files.get_mut(&segment(TOPIC, 0, 4)).expect("two segments").extend([1; 30]);
    (files, values)
}

#[test]
fn it_serves_what_is_whole_and_nothing_is_changed() {
    let (files, values) = torn_files();
    let plain = storage_with(&files);
    let storage = Hooked::new(plain.clone(), NoChanges);
    let broker = Way::ReadOnly.open(&storage).expect("it may be read");
    let [tail] = &broker.recovery_report().torn_tails[..] else { panic!("{:?}", broker.recovery_report()) };
    assert_eq!((tail.bytes, tail.end_offset, &tail.kept_in), (30, 7, &None));
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), values);
    assert_eq!(contents(&broker, TOPIC, 1).expect("it can be read"), Vec::<Vec<u8>>::new());
    assert_eq!(committed(&broker, "fraud"), [(TopicPartition::new(TOPIC, 0), 3)].into());
    assert_eq!(broker.list_topics(), ["alarms", TOPIC]);
    // A group goes on where it was.
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build();
    let mut consumer = consumer.expect("the topic is there");
    let records = block_on(consumer.next_records()).expect("it can be read");
    assert_eq!(records.iter().map(|record| record.offset()).next(), Some(3));
    drop((records, consumer));
    let verified = Broker::verify_in(storage.clone(), DIR).expect("several may read");
    assert!(!verified.is_clean());
    broker.close().expect("nothing is to be done");
    assert_eq!(check_unchanged(&plain, &files), Ok(()));
}

#[expect(clippy::needless_pass_by_value, reason = "an outcome is made for this call")]
fn assert_read_only<T: std::fmt::Debug>(what: &str, outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{what}: {outcome:?}");
}

#[test]
fn whatever_would_change_something_is_refused() {
    let (files, _) = torn_files();
    let plain = storage_with(&files);
    let broker = Way::ReadOnly.open(&Hooked::new(plain.clone(), NoChanges)).expect("it may be read");
    for topic in [TOPIC, "alarms"] {
        let producer = broker.producer::<Raw, Raw>(topic).expect("it is there");
        assert_read_only("send", producer.send(b"k", b"v"));
        assert_read_only("send_batch", producer.send_batch([(&b"k"[..], &b"v"[..])]));
        assert_read_only("enqueue", producer.enqueue(b"k", b"v"));
        assert_read_only("send_async", block_on(producer.send_async(b"k", b"v")));
        producer.flush().expect("nothing is to be done");
    }
    let config = TopicConfig::new;
    assert_read_only("create_topic", broker.create_topic("new", config()));
    assert_read_only("open_topic", broker.open_topic("new", config()));
    broker.open_topic(TOPIC, config()).expect("it is there");
    assert_read_only("delete_topic", broker.delete_topic(TOPIC));
    assert_read_only("alter_topic", broker.alter_topic(TOPIC, config().max_record_bytes(5)));
    assert_read_only("increase_partitions", broker.increase_partitions(TOPIC, 3));
    assert_read_only("delete_records", broker.delete_records(TOPIC, 0, 2));
    assert_read_only("reset_group", broker.reset_group("fraud", TOPIC, ResetTo::Earliest));
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build();
    let mut consumer = consumer.expect("it is there");
    let records = consumer.poll(Duration::ZERO).expect("it can be read");
    assert_read_only("commit", consumer.commit(&records));
    assert_read_only("commit_async", block_on(consumer.commit_async(&records)));
    drop((records, consumer, broker));
    assert_eq!(check_unchanged(&plain, &files), Ok(()));
}

/// Whatever the policy: nothing is cut off, skipped or made.
#[test]
fn policies_change_nothing_either() {
    let image = Image::of(&[&[1_000][..]; 9]);
    let files = image.with(&image.segments()[1], |bytes| bytes[100] ^= 1);
    for policy in [RecoveryPolicy::Strict, RecoveryPolicy::Truncate, RecoveryPolicy::Skip] {
        let plain = storage_with(&files);
        let builder = Broker::builder().storage(Hooked::new(plain.clone(), NoChanges)).data_dir(DIR);
        let broker = builder.read_only(true).recovery_policy(policy).open().expect("it may be read");
        assert_eq!(contents(&broker, TOPIC, 1).expect("it can be read"), image.neighbour);
        let reading = crate::support::read_through(&broker, TOPIC, 0).expect("it can be read");
        assert_eq!(reading.records.len(), 8, "{policy:?}");
        drop(broker);
        assert_eq!(check_unchanged(&plain, &files), Ok(()), "{policy:?}");
    }
}

#[test]
fn several_may_read_a_directory_and_nobody_while_another_owns_it() {
    let memory = MemoryStorage::default();
    reopen(&memory).close().expect("it closes");
    let one_reader = || Way::ReadOnly.open(&memory);
    let readers = [one_reader().expect("it is free"), one_reader().expect("readers share it")];
    let refused = open(&memory);
    assert!(matches!(refused, Err(Error::DirectoryInUse { .. })), "{refused:?}");
    Broker::verify_in(memory.clone(), DIR).expect("readers share it");
    drop(readers);
    let owner = reopen(&memory);
    for refused in [one_reader().map(drop), Broker::verify_in(memory.clone(), DIR).map(drop)] {
        assert!(matches!(refused, Err(Error::DirectoryInUse { .. })), "{refused:?}");
    }
    drop(owner);
    one_reader().expect("it is free again");
}

#[test]
fn the_same_holds_on_a_real_disk() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let open = |read_only| Broker::builder().storage(Disk).data_dir(dir.path()).read_only(read_only).open();
    let missing = Broker::builder().data_dir(dir.path().join("nothing")).read_only(true).open();
    assert!(matches!(missing, Err(Error::Io { .. })), "{missing:?}");
    let owner = open(false).expect("it is new");
    owner.create_topic(TOPIC, small_segments(1)).expect("it is new");
    sent(&owner, TOPIC, 0, b"record");
    let refused = open(true);
    assert!(matches!(refused, Err(Error::DirectoryInUse { .. })), "{refused:?}");
    owner.close().expect("it closes");
    let before = files_below(&Disk, dir.path());
    let readers = [open(true).expect("it is free"), open(true).expect("readers share it")];
    for reader in &readers {
        assert_eq!(contents(reader, TOPIC, 0).expect("it can be read"), [b"record"]);
    }
    let refused = open(false);
    assert!(matches!(refused, Err(Error::DirectoryInUse { .. })), "{refused:?}");
    drop(readers);
    assert_eq!(files_below(&Disk, dir.path()), before);
    open(false).expect("it is free again");
}
