//! What a partition costs that nobody uses: memory, counted by the allocator, and open files. For a thousand
//! of them at a time, new ones, ones that were used, and ones that were opened again.

#[path = "scale/counting.rs"]
mod counting;

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use counting::Usage;
use ottla::storage::{Disk, LockOutcome, OpenMode, Storage, StorageFile};
use ottla::{Broker, Raw, TopicConfig};

const PARTITIONS: u32 = 1_000;

/// What a partition may take, in bytes.
const MOST_BYTES: i64 = 4096;

/// Files that are open whatever there is: the lock of the directory, and what a test's threads may need.
const SOME_FILES: usize = 8;

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// The count is the whole process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn assert_small(before: Usage, what: &str) {
    let (bytes, files) = Usage::since(before, PARTITIONS);
    eprintln!("{what}: {bytes} bytes a partition, {files} open files more");
    assert!(bytes < MOST_BYTES, "{what}: {bytes} bytes a partition");
    assert!(files <= SOME_FILES, "{what}: {files} open files");
}

/// The same, as soon as it is so.
fn assert_gets_small(before: Usage, what: &str) {
    let give_up = Instant::now() + PATIENCE;
    let is_small = || {
        let (bytes, files) = Usage::since(before, PARTITIONS);
        bytes < MOST_BYTES && files <= SOME_FILES
    };
    while !is_small() && Instant::now() < give_up {
        thread::sleep(Duration::from_millis(10));
    }
    // Not the first moment at which the threshold is passed.
    let mut last = Usage::now();
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = Usage::now();
        if (now.bytes - last.bytes).abs() < 100 && now.files == last.files || Instant::now() > give_up {
            break;
        }
        last = now;
    }
    assert_small(before, what);
}

// ---- what is measured ----

/// Files on a disk that says it has synced: a thousand syncs take long, and are not what is measured.
#[derive(Clone, Copy, Debug)]
struct QuickDisk;

#[derive(Debug)]
struct QuickFile(Box<dyn StorageFile>);

impl Storage for QuickDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(QuickFile(Disk.open(path, mode)?)))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        Disk.lock(path, owner)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        Disk.lock_shared(path)
    }
}

impl StorageFile for QuickFile {
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.0.write_at(buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

fn open(dir: &Path) -> Broker {
    Broker::builder().data_dir(dir).storage(QuickDisk).open().expect("whole")
}

/// How often each thread of the broker on disk has gone to sleep; empty where it cannot be known.
fn sleeps() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let dirs = tasks.map(|task| task.expect("it can be listed").path());
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let of_brokers = dirs.filter(|dir| text(dir.join("comm")).starts_with("ottla-"));
    let lines = of_brokers.map(|dir| text(dir.join("status")));
    lines
        .filter_map(|status| status.lines().find(|line| line.starts_with("voluntary")).map(str::to_owned))
        .collect()
}

/// Soon no thread of a broker that nobody uses wakes up any more.
fn assert_falls_asleep() {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let before = sleeps();
        // Whatever is done again and again is done within this time.
        thread::sleep(Duration::from_millis(2_500));
        if sleeps() == before {
            return;
        }
        assert!(Instant::now() < give_up, "it wakes up again and again: {before:?}, {:?}", sleeps());
    }
}

fn create(broker: &Broker) {
    broker.create_topic("t", TopicConfig::new().partitions(PARTITIONS)).expect("a free name");
}

/// Some records to each partition, more than one of the smallest chunks holds.
fn use_all(broker: &Broker, rounds: usize) {
    let producer = broker.producer::<Raw, Raw>("t").expect("it exists");
    for round in 0..rounds {
        for partition in 0..PARTITIONS {
            let value = [round as u8; 500];
            producer.record(&value).partition(partition).send().expect("room");
        }
    }
}

#[test]
fn partitions_in_memory_that_hold_nothing_are_small() {
    let _alone = alone();
    let broker = Broker::in_memory();
    let before = Usage::now();
    create(&broker);
    assert_small(before, "in memory, new");
}

#[test]
fn partitions_on_disk_that_are_not_used_are_small_and_have_no_open_file() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let broker = open(dir.path());
    let before = Usage::now();
    create(&broker);
    assert_small(before, "on disk, new");
    use_all(&broker, 20);
    assert_gets_small(before, "on disk, used and at rest");
    let (bytes, _) = Usage::since(before, PARTITIONS);
    use_all(&broker, 20);
    assert_gets_small(before, "on disk, used again and at rest");
    let (again, _) = Usage::since(before, PARTITIONS);
    assert!(again - bytes < 200, "{bytes} bytes a partition became {again}");
    assert_falls_asleep();
    drop(broker);
    let reopened = open(dir.path());
    assert_small(before, "on disk, opened again without a close");
    reopened.close().expect("no fault");
    drop(reopened);
    let before = Usage::now();
    let reopened = open(dir.path());
    assert_small(before, "on disk, opened again after a close");
    let mut consumer = reopened.consumer::<Raw, Raw>().topic("t").build().expect("it exists");
    let mut read = 0;
    while read < 40 * PARTITIONS as usize {
        let records = consumer.poll(Duration::from_secs(10)).expect("readable");
        assert!(!records.is_empty(), "{read} records are there");
        read += records.len();
    }
    assert!(consumer.poll(Duration::ZERO).expect("readable").is_empty());
    drop(consumer);
    assert_small(before, "on disk, read whole");
}
