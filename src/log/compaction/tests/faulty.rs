//! Compaction on a disk that refuses things now and then.

use std::io;

use super::*;
use crate::storage::{LockOutcome, OpenMode, StorageFile};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Fails a sync of a directory once, after a rename, or all writes; keeps what was there at a rename.
#[derive(Debug, Default)]
struct Flaky {
    files: MemoryStorage,
    fails_sync: AtomicBool,
    renamed: AtomicBool,
    events: Mutex<Vec<String>>,
    image: Mutex<Option<MemoryStorage>>,
    snap_at: Mutex<Option<String>>,
    flaky_writes: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FlakyFile(Box<dyn StorageFile>, Arc<AtomicBool>);

impl StorageFile for FlakyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buf, position)
    }
    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(buf, position)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn bytes_of(files: &MemoryStorage, path: &Path) -> Vec<u8> {
    let file = files.open(path, OpenMode::Existing).expect("there");
    let mut bytes = vec![0; file.len().expect("in memory") as usize];
    crate::storage::read_exact_at(file.as_ref(), &mut bytes, 0).expect("in memory");
    bytes
}

fn put(files: &MemoryStorage, path: &Path, bytes: &[u8]) {
    let file = files.open(path, OpenMode::CreateOrEmpty).expect("in memory");
    crate::storage::write_all_at(file.as_ref(), bytes, 0).expect("in memory");
}

fn copy(files: &MemoryStorage) -> MemoryStorage {
    let (image, dir) = (MemoryStorage::default(), Path::new("/data/t-0"));
    image.create_dir_all(dir).expect("in memory");
    for name in files.list(dir).expect("there") {
        put(&image, &dir.join(&name), &bytes_of(files, &dir.join(&name)));
    }
    image
}

impl Storage for Flaky {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(FlakyFile(self.files.open(path, mode)?, Arc::clone(&self.flaky_writes))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)?;
        self.renamed.store(true, Ordering::SeqCst);
        let name = to.file_name().expect("a file").to_string_lossy().into_owned();
        self.events.lock().push(format!("rename {name}"));
        if self.snap_at.lock().as_ref() == Some(&name) {
            *self.image.lock() = Some(copy(&self.files));
        }
        Ok(())
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.events.lock().push(format!("remove {}", path.display()));
        self.files.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.renamed.load(Ordering::SeqCst) && self.fails_sync.swap(false, Ordering::SeqCst) {
            self.events.lock().push("sync_dir fails".to_owned());
            return Err(io::Error::other("EIO"));
        }
        self.events.lock().push("sync_dir".to_owned());
        self.files.sync_dir(dir)
    }
    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        self.files.lock(path, owner)
    }
    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.files.lock_shared(path)
    }
}

fn append(log: &PartitionLog, key: &str, value: Option<&[u8]>) -> u64 {
    let record = NewRecord { key: Some(key.as_bytes()), value, headers: &[], timestamp: 0 };
    log.append(&[record]).expect("open")
}

/// Appends records of about a kilobyte, each with a key of its own.
fn fill(log: &PartitionLog, name: char, count: u64) {
    for number in 0..count {
        append(log, &format!("{name}{number}"), Some(&[7; 990]));
    }
}

fn keys(log: &PartitionLog) -> Vec<(u64, String, bool)> {
    let (mut seen, mut cursor) = (Vec::new(), Cursor::new(0));
    while let Some(run) = log.fetch(&mut cursor, &Files::Here).expect("sound") {
        seen.extend(run.frames().filter(|frame| frame.is_record()).map(|frame| {
            let key = String::from_utf8_lossy(frame.key().expect("a key")).into_owned();
            (frame.offset(), key, frame.value().is_none())
        }));
    }
    seen
}

fn how() -> Compaction {
    Compaction::by_key().min_dirty_percent(0).delete_retention(Duration::from_millis(DELETE_RETENTION))
}

fn now(clock: &ManualClock) -> Timestamp {
    crate::clock::Clock::now(clock)
}

/// A sync of the directory fails once behind a rename; then the power is lost behind the next rename.
#[test]
fn a_failed_sync_of_the_directory_brings_nothing_back() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let storage = Arc::new(Flaky::default());
    let (log, _asked) = open(&(Arc::clone(&storage) as _), &clock, true);
    let value = [7; 990];
    append(&log, "key", Some(&value));
    fill(&log, 'a', 3);
    let tombstone = append(&log, "key", None);
    fill(&log, 'b', 12);
    log.sync().expect("no fault");
    let bases: Vec<u64> = log.view().read().segments().iter().map(|s| s.base_offset()).collect();
    assert!(bases[1] <= tombstone && bases[0] == 0 && bases.len() > 2, "{bases:?}");
    let first = Path::new("/data/t-0").join("00000000000000000000.log");
    let before = bytes_of(&storage.files, &first);

    storage.fails_sync.store(true, Ordering::SeqCst);
    log.compact(&how(), now(&clock)).expect_err("the directory cannot be synced");
    storage.events.lock().clear();
    let second = format!("{:020}.log", bases[1]);
    *storage.snap_at.lock() = Some(second.clone());
    log.compact(&how(), now(&clock)).expect("no fault");
    let events = storage.events.lock().clone();
    let at = events.iter().position(|event| *event == format!("rename {second}")).expect("it is renamed");
    let image = storage.image.lock().take().expect("taken");
    if !events[..at].iter().any(|event| event == "sync_dir") {
        // Nothing has made the first rename survive: the second one may, and the first not.
        put(&image, &first, &before);
    }
    let (log, _asked) = open(&(Arc::new(image) as _), &clock, true);
    clock.advance(Duration::from_millis(DELETE_RETENTION));
    fill(&log, 'c', 12);
    log.sync().expect("no fault");
    log.compact(&how(), now(&clock)).expect("no fault");
    let seen: Vec<_> = keys(&log).into_iter().filter(|(_, key, _)| key == "key").collect();
    let last_is_tombstone = seen.last().is_none_or(|(_, _, is_tombstone)| *is_tombstone);
    assert!(last_is_tombstone, "it is back: {seen:?}; {events:?}");
}

/// Nothing is appended to a compacted segment that has become the last one, after a failed write either.
#[test]
fn a_failed_write_does_not_lead_into_a_compacted_segment() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let storage = Arc::new(Flaky::default());
    let (log, asked) = open(&(Arc::clone(&storage) as _), &clock, true);
    let value = [7; 900];
    (0..40).for_each(|number| {
        append(&log, &format!("{}", number % 3), Some(&value));
    });
    log.sync().expect("no fault");
    log.compact(&how(), crate::clock::Clock::now(&*clock)).expect("no fault");
    let end = log.view().read().last_segment().expect("there").base_offset();
    log.close().expect("no fault");
    drop((log, asked));
    storage
        .files
        .remove_file(&Path::new("/data/t-0").join(crate::log::segment_header::segment_file_name(end)))
        .expect("it is there");
    let (log, _asked) = open(&(Arc::clone(&storage) as _), &clock, true);
    assert_eq!(log.end_offset(), end);
    storage.flaky_writes.store(true, Ordering::SeqCst);
    let record = NewRecord { key: Some(b"x"), value: Some(b"y"), headers: &[], timestamp: 0 };
    log.append(&[record]).expect_err("the disk is full");
    storage.flaky_writes.store(false, Ordering::SeqCst);
    append(&log, "x", Some(b"y"));
    let bases: Vec<u64> = log.view().read().segments().iter().map(|s| s.base_offset()).collect();
    assert_eq!(bases.last(), Some(&end), "{bases:?}: it lies in a compacted segment");
}
