//! What a partition costs that nobody uses: memory, counted by the allocator, and open files. For a thousand
//! of them at a time, new ones, ones that were used, and ones that were opened again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ottla::{Broker, Raw, TopicConfig};

const PARTITIONS: u32 = 1_000;

/// What a partition may take, in bytes.
const MOST_BYTES: i64 = 4096;

/// Files that are open whatever there is: the lock of the directory, and what a test's threads may need.
const SOME_FILES: usize = 8;

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(120);

// ---- counting ----

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

static IN_USE: AtomicI64 = AtomicI64::new(0);

fn count(allocated: usize, freed: usize) {
    IN_USE.fetch_add(allocated as i64 - freed as i64, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` as it came; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: the caller keeps to the contract of `realloc`, which is the same.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps to the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The count is the whole process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is in use at one moment.
#[derive(Clone, Copy, Debug)]
struct Usage {
    bytes: i64,
    /// 0 where it cannot be known.
    files: usize,
}

impl Usage {
    fn now() -> Self {
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self { bytes: IN_USE.load(Ordering::Relaxed), files }
    }

    /// What a thousand partitions have added to it, for each.
    fn for_each_since(before: Self) -> (i64, usize) {
        let now = Self::now();
        ((now.bytes - before.bytes) / i64::from(PARTITIONS), now.files.saturating_sub(before.files))
    }
}

fn assert_small(before: Usage, what: &str) {
    let (bytes, files) = Usage::for_each_since(before);
    eprintln!("{what}: {bytes} bytes a partition, {files} open files more");
    assert!(bytes < MOST_BYTES, "{what}: {bytes} bytes a partition");
    assert!(files <= SOME_FILES, "{what}: {files} open files");
}

/// The same, as soon as it is so.
fn assert_gets_small(before: Usage, what: &str) {
    let give_up = Instant::now() + PATIENCE;
    let is_small = || {
        let (bytes, files) = Usage::for_each_since(before);
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
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    let before = Usage::now();
    create(&broker);
    assert_small(before, "on disk, new");
    use_all(&broker, 20);
    assert_gets_small(before, "on disk, used and at rest");
    let (bytes, _) = Usage::for_each_since(before);
    use_all(&broker, 20);
    assert_gets_small(before, "on disk, used again and at rest");
    let (again, _) = Usage::for_each_since(before);
    assert!(again - bytes < 200, "{bytes} bytes a partition became {again}");
    drop(broker);
    let reopened = Broker::open(dir.path()).expect("whole");
    assert_small(before, "on disk, opened again without a close");
    reopened.close().expect("no fault");
    drop(reopened);
    let before = Usage::now();
    let reopened = Broker::open(dir.path()).expect("whole");
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
