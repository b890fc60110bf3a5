//! What released versions wrote: a data directory of each format is kept in `tests/golden/`, byte for byte.
//! Today's code reads from it exactly what was sent; and refuses one of a later version before it changes
//! anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla::storage::{MemoryStorage, OpenMode, Storage};
use ottla::{Broker, BrokerBuilder, Error, ManualClock, OwnedRecord, RecoveryPolicy, Timestamp, TopicConfig};

use crate::support::*;

const DIR: &str = "/data";

/// Where the directory of a format version is kept.
fn golden(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/format-{version}"))
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files that are kept, by their path in the data directory.
fn kept_files(version: u16) -> Files {
    let mut files = Files::new();
    for dir in fs::read_dir(golden(version)).expect("it is kept") {
        let path = dir.expect("an entry").path();
        let found = if path.is_dir() { files_of(&path) } else { vec![path] };
        for file in found {
            let name = file.strip_prefix(golden(version)).expect("below it");
            files.insert(name.to_path_buf(), fs::read(&file).expect("a readable file"));
        }
    }
    files
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).expect("a directory").map(|file| file.expect("an entry").path()).collect()
}

fn storage_with(files: &Files) -> MemoryStorage {
    let storage = MemoryStorage::default();
    for (name, bytes) in files {
        let path = Path::new(DIR).join(name);
        storage.create_dir_all(path.parent().expect("it has one")).expect("in memory");
        let file = storage.open(&path, OpenMode::CreateOrEmpty).expect("in memory");
        assert_eq!(file.write_at(bytes, 0).expect("in memory"), bytes.len());
    }
    storage
}

/// All files of a storage but for the lock, by their path in the data directory.
fn files_in_storage(storage: &MemoryStorage) -> Files {
    let mut files = Files::new();
    for name in storage.list(Path::new(DIR)).expect("it is there") {
        let path = Path::new(DIR).join(&name);
        match storage.list(&path) {
            Ok(inside) => files.extend(inside.iter().map(|file| read(storage, &path.join(file)))),
            Err(_) if name != "LOCK" => files.extend([read(storage, &path)]),
            Err(_) => {}
        }
    }
    files
}

fn read(storage: &MemoryStorage, path: &Path) -> (PathBuf, Vec<u8>) {
    let file = storage.open(path, OpenMode::ReadOnly).expect("it is there");
    let mut bytes = vec![0; file.len().expect("in memory") as usize];
    assert_eq!(file.read_at(&mut bytes, 0).expect("in memory"), bytes.len());
    (path.strip_prefix(DIR).expect("below it").to_path_buf(), bytes)
}

fn builder(storage: &MemoryStorage) -> BrokerBuilder {
    Broker::builder().data_dir(DIR).storage(storage.clone())
}

// ---- version 1 ----

/// What [`write_format_1`] sends to partition 0 of `orders`: key, value, header `trace`, timestamp.
fn orders() -> Vec<Order> {
    let some = |text: &str| Some(text.to_owned());
    let mut orders = vec![
        (some("alice"), some("hi"), None, 1_000),
        (some("bob"), some("with a header"), some("8f2c"), 2_000),
        (None, some("no key"), None, 3_000),
        (some("alice"), None, None, 4_000),
        (some(""), some(""), None, 5_000),
    ];
    let large = |number: i64| (some("large"), Some(format!("{number:0300}")), None, 10_000 + number);
    orders.extend((0..20).map(large));
    orders
}

/// What is sent to `orders`, partition 1, as one batch; the first record is deleted.
const BATCH: [(&str, &str); 3] = [("a", "one"), ("b", "two"), ("c", "three")];

/// Writes the directory. Run it once for a new version of the format, and never again for that version: what
/// is kept was written by the code of that time.
#[test]
#[ignore = "writes tests/golden"]
fn write_format_1() {
    let storage = MemoryStorage::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_600_000_000_000)));
    let broker = builder(&storage).clock(clock).open().expect("a new directory");
    broker.create_topic("orders", TopicConfig::new().partitions(2).segment_bytes(4096)).expect("a new name");
    broker.create_topic("empty", TopicConfig::new()).expect("a new name");
    let producer = broker.producer::<Option<String>, Option<String>>("orders").expect("it is there");
    for (number, (key, value, trace, timestamp)) in orders().iter().enumerate() {
        let record = producer.record(value.as_deref()).key(key.as_deref()).partition(0);
        let record = record.timestamp(Timestamp::from_millis(*timestamp));
        let record = if let Some(trace) = trace { record.header("trace", trace) } else { record };
        record.send().expect("it is sent");
        if number == 2 {
            // What follows begins with a sync mark.
            producer.flush().expect("it is synced");
        }
    }
    let batch = broker.producer_builder::<String, String>("orders").partitioner(ToSecond).build();
    batch.expect("it is there").send_batch(BATCH).expect("it is sent");
    broker.delete_records("orders", 1, 1).expect("it is deleted");
    let consumer =
        broker.consumer::<Option<String>, Option<String>>().topic("orders").group("ledger").max_records(4);
    let mut consumer = consumer.build().expect("it is there");
    let records = consumer.poll(NOW).expect("records");
    consumer.commit_with_metadata(&records, "four").expect("it is committed");
    drop((records, consumer, producer));
    broker.close().expect("it closes");
    for (name, bytes) in files_in_storage(&storage) {
        let path = golden(1).join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        fs::write(path, bytes).expect("it can be written");
    }
}

#[derive(Debug)]
struct ToSecond;

impl ottla::Partitioner for ToSecond {
    fn partition(&self, _record: &ottla::PartitionerInput<'_>) -> u32 {
        1
    }
}

type Order = (Option<String>, Option<String>, Option<String>, i64);

fn orders_of(records: &[OwnedRecord]) -> Vec<Order> {
    let text = |bytes: &Option<bytes::Bytes>| {
        bytes.as_ref().map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
    };
    let order = |record: &OwnedRecord| {
        let trace = record.headers.iter().find(|(name, _)| name == "trace");
        let trace = trace.and_then(|(_, value)| text(value));
        (text(&record.key), text(&record.value), trace, record.timestamp.as_millis())
    };
    records.iter().map(order).collect()
}

/// Everything that [`write_format_1`] wrote, and nothing else.
fn check_format_1(broker: &Broker) {
    assert_eq!(broker.list_topics(), ["empty", "orders"]);
    assert_eq!(held(broker, "empty"), 0);
    let topic = broker.describe_topic("orders").expect("it is there");
    assert_eq!((topic.segment_bytes, topic.partitions.len()), (4096, 2));
    let records = all_of(broker, "orders");
    let (first, second): (Vec<OwnedRecord>, Vec<OwnedRecord>) =
        records.into_iter().partition(|record| record.partition.partition == 0);
    assert_eq!(orders_of(&first), orders());
    assert_eq!(offsets(&first), (0..orders().len() as u64).collect::<Vec<_>>());
    assert_eq!((texts(&second), offsets(&second)), (vec!["two".to_owned(), "three".to_owned()], vec![1, 2]));
    let committed = broker.committed_offsets("ledger");
    let (partition, committed) = committed.first_key_value().expect("it has committed");
    assert_eq!((partition.partition, committed.offset, &*committed.metadata), (0, 4, "four"));
}

#[test]
fn what_format_1_holds_is_read_as_it_was_sent() {
    let files = kept_files(1);
    let segments = files.keys().filter(|path| path.starts_with("orders-0")).count();
    assert!(segments >= 2 && files.contains_key(Path::new("checkpoint")), "what is kept: {:?}", files.keys());
    for verify in [false, true] {
        let storage = storage_with(&files);
        assert!(Broker::verify_in(storage.clone(), DIR).expect("it is readable").is_clean());
        let reader = builder(&storage).read_only(true).verify_on_open(verify).open().expect("it is readable");
        check_format_1(&reader);
        drop(reader);
        assert!(files_in_storage(&storage) == files, "reading changed something");

        let broker = builder(&storage).verify_on_open(verify).open().expect("it is readable");
        assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
        check_format_1(&broker);
    }
}

#[test]
fn a_log_of_format_1_goes_on() {
    let storage = storage_with(&kept_files(1));
    let broker = builder(&storage).open().expect("it is readable");
    let producer = broker.producer::<(), String>("orders").expect("it is there");
    for number in 0..50 {
        let sent = producer.record(&format!("{number:0200}")).partition(0).send().expect("it is sent");
        assert_eq!(sent.offset, orders().len() as u64 + number);
    }
    drop(producer);
    broker.close().expect("it closes");
    let broker = builder(&storage).verify_on_open(true).open().expect("it is readable");
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    let records = all_of(&broker, "orders");
    let first: Vec<OwnedRecord> =
        records.into_iter().filter(|record| record.partition.partition == 0).collect();
    assert_eq!(first.len(), orders().len() + 50);
    assert_eq!(orders_of(&first[..orders().len()]), orders());
}

// ---- later versions ----

/// Makes a text file one of the next version, with the checksum that goes with it.
fn next_text_version(bytes: &[u8], title: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let (lines, _) = text.split_once("crc32 ").expect("it has a checksum");
    let lines = lines.replacen(&format!("ottla {title} 1"), &format!("ottla {title} 2"), 1);
    assert!(lines.starts_with(&format!("ottla {title} 2")), "{lines}");
    format!("{lines}crc32 {:08x}\n", crc32fast::hash(lines.as_bytes())).into_bytes()
}

/// Makes a segment one of the next version.
fn next_segment_version(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[8..10].copy_from_slice(&3u16.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Makes the first record of the committed offsets one of the next version: its key begins with it.
fn next_commit_version(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let start = field(12);
    let (length, value_bytes) = (field(start + 4), field(start + 24));
    let key = start + 40 + value_bytes;
    assert_eq!((bytes[start + 38], bytes[key]), (0, 1), "a record of version 1");
    bytes[key] = 2;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[16..24]);
    crc.update(&bytes[start + 4..start + length]);
    let crc = crc.finalize();
    bytes[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

const A_COMMIT: &str = "a commit";

/// What is done to the bytes of a file.
type Change = fn(&[u8]) -> Vec<u8>;

/// The directory with something of the next version in it; what it is, and the file that it is in.
fn later_versions() -> Vec<(&'static str, PathBuf, Files)> {
    let files = kept_files(1);
    let segments = |partition: &str| -> Vec<PathBuf> {
        files.keys().filter(|path| path.starts_with(partition)).cloned().collect()
    };
    let orders = segments("orders-0");
    let commits = segments("__consumer_offsets-0").remove(0);
    let changes: [(&str, &Path, Change); 5] = [
        ("a catalog", Path::new("catalog"), |bytes| next_text_version(bytes, "catalog")),
        ("a checkpoint", Path::new("checkpoint"), |bytes| next_text_version(bytes, "checkpoint")),
        ("the first segment", &orders[0], next_segment_version),
        ("the last segment", &orders[orders.len() - 1], next_segment_version),
        (A_COMMIT, &commits, next_commit_version),
    ];
    let change = |(what, path, change): (&'static str, &Path, Change)| {
        let mut files = files.clone();
        // Something that opening would mend, and something that it would remove.
        let torn = files.get_mut(&segments("orders-1")[0]).expect("it is kept");
        torn.extend([1, 2, 3]);
        files.insert(PathBuf::from("orders-1/00000000000000000003.log.new"), vec![1; 64]);
        let changed = change(&files[path]);
        assert_ne!(changed, files[path]);
        files.insert(path.to_path_buf(), changed);
        (what, path.to_path_buf(), files)
    };
    changes.into_iter().map(change).collect()
}

/// Opens it in every way; each time it must be refused, and leave every file as it was.
fn check_refused(path: &Path, files: &Files) {
    for policy in [RecoveryPolicy::Strict, RecoveryPolicy::Truncate, RecoveryPolicy::Skip] {
        for read_only in [false, true] {
            let storage = storage_with(files);
            let open = builder(&storage).recovery_policy(policy).read_only(read_only).open();
            assert_fails!(open, Error::UnsupportedFormat { path: named, found, supported }
                if Path::new(DIR).join(path).starts_with(&named) && found == supported + 1);
            let after = files_in_storage(&storage);
            let names = files.keys().chain(after.keys());
            let changed: Vec<_> = names.filter(|name| files.get(*name) != after.get(*name)).collect();
            assert!(changed.is_empty(), "{policy:?}, read-only: {read_only}: {changed:?}");
        }
    }
}

#[test]
fn a_later_version_is_refused_before_anything_is_changed() {
    for (what, path, files) in later_versions().into_iter().filter(|(what, ..)| *what != A_COMMIT) {
        let _pass = Pass(what);
        check_refused(&path, &files);
    }
}
