//! What happens when the file system refuses: sends say so and go on when they can, nothing that was
//! acknowledged is lost, and what should be synced is. The file system is [`MemoryStorage`] behind one
//! that can be told to refuse.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ottla::storage::{LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};
use ottla::{Broker, Error, Producer, RecordMetadata, TopicConfig};

use crate::support::*;

// ---- a file system that can refuse ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Open,
    /// Writes nothing.
    Write,
    /// Writes half, then fails.
    WriteHalf,
    Cut,
    Sync,
    Remove,
}

#[derive(Clone, Debug, Default)]
struct Faulty {
    files: MemoryStorage,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Operation, part of the path, what to answer.
    refused: Vec<(Operation, &'static str, io::ErrorKind)>,
    /// Files written to since they were last synced.
    unsynced: BTreeSet<PathBuf>,
}

impl Faulty {
    fn refuse(&self, operation: Operation, path: &'static str, kind: io::ErrorKind) {
        self.state.lock().expect("no panic").refused.push((operation, path, kind));
    }

    fn allow_all(&self) {
        self.state.lock().expect("no panic").refused.clear();
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        let state = self.state.lock().expect("no panic");
        let path = path.display().to_string();
        let rule =
            state.refused.iter().find(|(refused, part, _)| *refused == operation && path.contains(part));
        rule.map_or(Ok(()), |(_, _, kind)| Err((*kind).into()))
    }

    /// Files of the topic that are not synced.
    fn unsynced(&self) -> Vec<PathBuf> {
        let state = self.state.lock().expect("no panic");
        state.unsynced.iter().filter(|path| path.display().to_string().contains("/t-")).cloned().collect()
    }

    fn open_broker(&self) -> Broker {
        Broker::builder().data_dir("/data").storage(self.clone()).open().expect("opens")
    }

    /// A broker with a topic of several partitions.
    fn broker(&self, partition_count: u32) -> (Broker, Producer<(), String>) {
        let broker = self.open_broker();
        broker.create_topic("t", partitions(partition_count).segment_bytes(4096)).expect("a free name");
        let producer = broker.producer("t").expect("it exists");
        (broker, producer)
    }
}

impl Storage for Faulty {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        self.check(Operation::Open, path)?;
        let file = self.files.open(path, mode)?;
        Ok(Box::new(FaultyFile { file, path: path.to_path_buf(), storage: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        self.files.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.sync_dir(dir)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        self.files.lock(path, owner)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    storage: Faulty,
}

impl StorageFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        // Never all at once.
        let some = buf.len().min(10_000);
        self.file.read_at(&mut buf[..some], position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.storage.check(Operation::Write, &self.path)?;
        self.storage.state.lock().expect("no panic").unsynced.insert(self.path.clone());
        if let Err(error) = self.storage.check(Operation::WriteHalf, &self.path) {
            self.file.write_at(&buf[..buf.len() / 2], position)?;
            return Err(error);
        }
        // Never all at once.
        self.file.write_at(&buf[..buf.len().min(50)], position)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.check(Operation::Cut, &self.path)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.storage.check(Operation::Sync, &self.path)?;
        self.storage.state.lock().expect("no panic").unsynced.remove(&self.path);
        self.file.sync_data()
    }
}

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
        let storage = Faulty::default();
        let (broker, producer) = storage.broker(1);
        let large = "x".repeat(3_000);
        producer.send((), &large).expect("sends");
        storage.refuse(operation, "/t-0/", io::ErrorKind::StorageFull);
        for _ in 0..2 {
            assert_fails!(producer.send((), &large), Error::StorageFull { .. });
        }
        storage.allow_all();
        for _ in 0..3 {
            producer.send((), &large).expect("there is room");
        }
        assert_eq!(offsets(&all_of(&broker, "t")), [0, 1, 2, 3]);
        drop((producer, broker));
        assert_eq!(offsets(&all_of(&storage.open_broker(), "t")), [0, 1, 2, 3]);
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
        storage.allow_all();
    }
    assert!(!send(0).expect_err("it has failed").is_retriable());
    send(1).expect("another partition");
    assert_eq!(all_of(&broker, "t").len(), 11, "reading still works");
    assert_fails!(producer.flush(), Error::PartitionFailed { .. });
    assert_fails!(broker.close(), Error::PartitionFailed { .. });
    drop((producer, broker));
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
    assert!(error.is_retriable());
    let Error::PartlyAppended { appended, source } = error else { panic!("{error}") };
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
    assert_eq!(consumer.committed("t", 0).expect("assigned"), None);
    storage.allow_all();
    consumer.commit(&records).expect("there is room");
    drop((consumer, records, broker));
    assert_eq!(storage.open_broker().committed_offsets("g").into_values().collect::<Vec<_>>(), [3]);
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
fn a_failed_flush_ends_the_partition_for_sends_only() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    storage.refuse(Operation::Sync, "/t-0/", io::ErrorKind::Other);
    producer.send((), "value-0").expect("it is not synced yet");
    assert_fails!(producer.flush(), Error::PartitionFailed { .. });
    // The next sync may report success for bytes that are lost: nothing is retried.
    storage.allow_all();
    assert_fails!(producer.flush(), Error::PartitionFailed { .. });
    assert_fails!(producer.send((), "v"), Error::PartitionFailed { .. });
    assert_eq!(texts(&all_of(&broker, "t")), ["value-0"]);
    assert_fails!(broker.close(), Error::PartitionFailed { .. });
    drop((producer, broker));
    storage.open_broker();
}

#[test]
fn a_failed_sync_in_the_background_is_not_kept_secret() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    storage.refuse(Operation::Sync, "/t-0/", io::ErrorKind::Other);
    let sender = watched("a sender to a failing disk", move || {
        loop {
            match producer.send((), "v") {
                Ok(_) => std::thread::yield_now(),
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
        assert!(!storage.unsynced().is_empty(), "a send does not wait for the disk");
        wait_for_sync(&storage);
    }
}

fn wait_for_sync(storage: &Faulty) {
    let storage = storage.clone();
    let flusher = watched("the background sync", move || {
        while !storage.unsynced().is_empty() {
            std::thread::yield_now();
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
    assert!(storage.unsynced().is_empty(), "{:?}", storage.unsynced());
    send_numbered(&broker, "t", 200);
    broker.close().expect("syncs");
    assert!(storage.unsynced().is_empty(), "{:?}", storage.unsynced());
}

#[test]
fn what_is_sent_before_everything_is_dropped_is_synced_too() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(2);
    send_numbered(&broker, "t", 200);
    drop((broker, producer));
    wait_for_sync(&storage);
}
