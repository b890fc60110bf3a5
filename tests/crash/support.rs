//! What all crash tests use: opening a broker on files in memory, sending and reading back, copying and
//! comparing all files through the public `Storage` trait, and running many cases before complaining.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla::storage::{MemoryStorage, OpenMode, Storage};
use ottla::{Broker, Error, Raw, Result, TopicConfig, TopicPartition};

/// The data directory of brokers in memory.
pub(crate) const DIR: &str = "/data";
/// The topic that most tests use.
pub(crate) const TOPIC: &str = "orders";
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// All files below a directory, by their full path.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Nothing is deleted or compacted but when a test says so.
pub(crate) fn open(storage: &(impl Storage + Clone + 'static)) -> Result<Broker> {
    let builder = Broker::builder().storage(storage.clone()).data_dir(DIR);
    builder.housekeeping_interval(Duration::MAX).open()
}

/// Opens a broker that must open.
pub(crate) fn reopen(storage: &(impl Storage + Clone + 'static)) -> Broker {
    open(storage).expect("the directory opens")
}

/// A way of opening a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Default,
    /// Everything is read.
    Verifying,
    ReadOnly,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Default, Self::Verifying, Self::ReadOnly];

    pub(crate) fn open(self, storage: &(impl Storage + Clone + 'static)) -> Result<Broker> {
        let builder = Broker::builder().storage(storage.clone()).data_dir(DIR);
        builder.verify_on_open(self == Self::Verifying).read_only(self == Self::ReadOnly).open()
    }
}

/// The smallest segments there are.
pub(crate) fn small_segments(partitions: u32) -> TopicConfig {
    TopicConfig::new().partitions(partitions).segment_bytes(4096)
}

/// The offsets that a group has committed.
pub(crate) fn committed(broker: &Broker, group: &str) -> BTreeMap<TopicPartition, u64> {
    let all = broker.committed_offsets(group).into_iter();
    all.map(|(partition, committed)| (partition, committed.offset)).collect()
}

pub(crate) fn partition_dir(topic: &str, partition: u32) -> PathBuf {
    Path::new(DIR).join(format!("{topic}-{partition}"))
}

pub(crate) fn segment(topic: &str, partition: u32, base_offset: usize) -> PathBuf {
    partition_dir(topic, partition).join(format!("{base_offset:020}.log"))
}

/// Bytes that are different for every number, `len` of them (at least 8).
pub(crate) fn value(number: usize, len: usize) -> Vec<u8> {
    let mut value = format!("{number:07}:").into_bytes();
    Random(number as u64).fill(&mut value, len.max(8));
    value
}

/// Sends one record and returns its offset.
pub(crate) fn send(broker: &Broker, topic: &str, partition: u32, value: &[u8]) -> Result<u64> {
    let producer = broker.producer::<Raw, Raw>(topic)?;
    Ok(producer.record(value).partition(partition).send()?.offset)
}

/// Sends one record that must be taken.
pub(crate) fn sent(broker: &Broker, topic: &str, partition: u32, value: &[u8]) -> u64 {
    send(broker, topic, partition, value).expect("the record is taken")
}

/// Sends records one by one, all of which must be taken.
pub(crate) fn sent_all(
    broker: &Broker,
    topic: &str,
    partition: u32,
    values: impl IntoIterator<Item = Vec<u8>>,
) {
    for value in values {
        sent(broker, topic, partition, &value);
    }
}

/// Sends a batch with one key, which must be taken.
pub(crate) fn send_batch(broker: &Broker, key: &[u8], values: &[Vec<u8>]) {
    let producer = broker.producer::<Raw, Raw>(TOPIC).expect("the topic is there");
    producer.send_batch(values.iter().map(|value| (key, value.as_slice()))).expect("the batch is taken");
}

/// A key that leads to this one of so many partitions.
pub(crate) fn key_of(partition: u32, partitions: u32) -> Vec<u8> {
    let broker = Broker::in_memory();
    broker.create_topic("keys", TopicConfig::new().partitions(partitions)).expect("it is new");
    let producer = broker.producer::<Raw, Raw>("keys").expect("it is there");
    let mut keys = (0..=u8::MAX).map(|byte| vec![b'k', byte]);
    let found = keys.find(|key| producer.send(key, b"").is_ok_and(|at| at.partition == partition));
    found.expect("every partition has keys")
}

/// The values of a partition, whose offsets must run from 0 without a gap.
pub(crate) fn contents(broker: &Broker, topic: &str, partition: u32) -> Result<Vec<Vec<u8>>> {
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).build()?;
    let mut values = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(values);
        }
        for record in &records {
            assert_eq!(record.offset(), values.len() as u64, "the next offset of {topic}-{partition}");
            values.push(record.value_bytes().unwrap_or_default().to_vec());
        }
    }
}

/// What a reader gets who goes on behind each damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    /// First offset that is lost, next one that is not.
    pub(crate) lost: Vec<(u64, Option<u64>)>,
}

/// Reads a partition to its end.
pub(crate) fn read_through(broker: &Broker, topic: &str, partition: u32) -> Result<Reading> {
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).build()?;
    let mut reading = Reading::default();
    loop {
        match consumer.poll(Duration::ZERO) {
            Ok(records) if records.is_empty() => return Ok(reading),
            Ok(records) => {
                let copied =
                    records.iter().map(|r| (r.offset(), r.value_bytes().unwrap_or_default().to_vec()));
                reading.records.extend(copied);
            }
            Err(Error::RecordsDamaged { first_offset, next_offset, .. }) => {
                reading.lost.push((first_offset, next_offset));
                let position = consumer.position(topic, partition)?;
                match next_offset {
                    Some(next) if next > position => consumer.seek(topic, partition, next)?,
                    Some(next) => panic!("a reader at {position} is led to {next}"),
                    None => return Ok(reading),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// All files below `dir`, but for the lock.
pub(crate) fn files_below(storage: &dyn Storage, dir: &Path) -> Files {
    let mut files = Files::new();
    for name in storage.list(dir).expect("the directory is there") {
        let path = dir.join(&name);
        if storage.list(&path).is_ok() {
            files.extend(files_below(storage, &path));
        } else if name != "LOCK" {
            files.insert(path.clone(), read_file(storage, &path));
        }
    }
    files
}

pub(crate) fn read_file(storage: &dyn Storage, path: &Path) -> Vec<u8> {
    let file = storage.open(path, OpenMode::Existing).expect("the file is there");
    let mut bytes = vec![0; file.len().expect("it has a length") as usize];
    let read = if bytes.is_empty() { 0 } else { file.read_at(&mut bytes, 0).expect("it can be read") };
    assert_eq!(read, bytes.len(), "the whole of {}", path.display());
    bytes
}

/// Puts `bytes` in place of what the file holds.
pub(crate) fn write_file(storage: &dyn Storage, path: &Path, bytes: &[u8]) {
    storage.create_dir_all(path.parent().expect("a full path")).expect("the directory can be made");
    let file = storage.open(path, OpenMode::CreateOrEmpty).expect("the file can be made");
    if !bytes.is_empty() {
        assert_eq!(file.write_at(bytes, 0).expect("it can be written"), bytes.len());
    }
}

/// A file system in memory that holds just these files.
pub(crate) fn storage_with(files: &Files) -> MemoryStorage {
    let storage = MemoryStorage::default();
    files.iter().for_each(|(path, bytes)| write_file(&storage, path, bytes));
    storage
}

pub(crate) fn checkpoint_path() -> PathBuf {
    Path::new(DIR).join("checkpoint")
}

/// The same files, found when the machine has been started again.
pub(crate) fn in_other_boot(files: &Files) -> Files {
    let mut files = files.clone();
    let checkpoint = files.get_mut(&checkpoint_path()).expect("a broker was opened there");
    let text = String::from_utf8(checkpoint.clone()).expect("it is a text");
    let (lines, _) = text.rsplit_once("crc32").expect("it ends so");
    let lines = lines.replacen("boot memory\n", "boot earlier\n", 1);
    *checkpoint = format!("{lines}crc32 {:08x}\n", crc32fast::hash(lines.as_bytes())).into_bytes();
    files
}

pub(crate) fn without_checkpoint(files: &Files) -> Files {
    let mut files = files.clone();
    files.remove(&checkpoint_path());
    files
}

/// Those of `files` that lie in `dir` itself.
pub(crate) fn files_in(files: &Files, dir: &Path) -> Files {
    files
        .iter()
        .filter(|(path, _)| path.parent() == Some(dir))
        .map(|(path, b)| (path.clone(), b.clone()))
        .collect()
}

/// Says which files of a partition differ.
pub(crate) fn check_partition_unchanged(
    storage: &dyn Storage,
    before: &Files,
    topic: &str,
    partition: u32,
) -> Checked {
    let dir = partition_dir(topic, partition);
    check_same(&files_in(&files_below(storage, Path::new(DIR)), &dir), &files_in(before, &dir))
}

/// Says which files differ.
pub(crate) fn check_unchanged(storage: &dyn Storage, before: &Files) -> Checked {
    check_same(&files_below(storage, Path::new(DIR)), before)
}

/// As [`check_unchanged`], but for the checkpoint, which every opening writes.
pub(crate) fn check_logs_unchanged(storage: &dyn Storage, before: &Files) -> Checked {
    check_same(&without_checkpoint(&files_below(storage, Path::new(DIR))), &without_checkpoint(before))
}

fn check_same(after: &Files, before: &Files) -> Checked {
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    if changed.is_empty() { Ok(()) } else { Err(Finding(format!("these files were changed: {changed:?}"))) }
}

/// What is wrong in one case of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding(pub(crate) String);

/// The outcome of checking one case.
pub(crate) type Checked<T = ()> = Result<T, Finding>;

impl<E: std::error::Error> From<E> for Finding {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Finding(otherwise())) }
}

/// Runs `check` on every case, then fails with those that did not pass or panicked. Returns how many there
/// were. When it is clear that something is wrong, the other cases are left out.
pub(crate) fn check_all<C>(
    cases: impl IntoIterator<Item = (String, C)>,
    check: impl Fn(&C) -> Checked,
) -> usize {
    const SHOWN: usize = 12;
    let mut findings = Vec::new();
    let mut count = 0;
    for (name, case) in cases {
        count += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case)));
        if let Err(finding) = outcome.unwrap_or_else(|_| Err(Finding("it panicked".to_owned()))) {
            findings.push(format!("{name}: {finding}"));
        }
        if findings.len() == SHOWN {
            break;
        }
    }
    let shown = findings.join("\n  ");
    assert!(findings.is_empty(), "{} of {count} cases failed, such as\n  {shown}", findings.len());
    count
}

/// A small generator of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Makes `bytes` longer, up to `len`.
    pub(crate) fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) {
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
