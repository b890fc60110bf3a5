//! Files in memory, of which it is known what a power loss would leave, and whose syncs and writes can be
//! made to fail.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Broker;
use crate::broker::BrokerBuilder;
use crate::clock::{ManualClock, Timestamp};
use crate::error::Error;
use crate::storage::{LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};
use crate::sync::{Arc, AtomicBool, AtomicU64, FOREVER, Mutex, Ordering};

/// What a broker is opened on, and what is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    files: MemoryStorage,
    state: Arc<State>,
    /// Which broker uses it, by number.
    user: u64,
}

#[derive(Debug, Default)]
struct State {
    users: AtomicU64,
    /// This user and those before it have come to an end, and changed so much after that.
    ended: AtomicU64,
    changes_after_the_end: AtomicU64,
    /// What a power loss leaves: of each file what was written before its last sync. A file that is renamed
    /// takes it along.
    synced: Mutex<BTreeMap<PathBuf, Arc<Mutex<Synced>>>>,
    next_sync_fails: AtomicBool,
    next_write_fails: AtomicBool,
    /// How many files of topics are open.
    open: AtomicU64,
    /// How often one was closed that had been written to and not synced.
    closed_unsynced: AtomicU64,
}

#[derive(Debug, Default)]
struct Synced {
    /// `None`: it was never synced.
    bytes: Option<Vec<u8>>,
    /// A sync of the file failed: the system may have dropped what was to be written, and will not say so
    /// again.
    is_doubtful: bool,
    /// Written to since.
    is_dirty: bool,
    /// How often it is open.
    open: usize,
}

impl Files {
    pub(super) fn open(&self) -> Broker {
        self.builder().open().expect("free, and whole")
    }

    /// With a flusher that syncs what it is asked to sync, and no more until it ends: it is not to help out
    /// those who should be woken by others.
    pub(super) fn builder(&self) -> BrokerBuilder {
        let clock = ManualClock::new(Timestamp::from_millis(0));
        let storage = Self { user: 1 + self.state.users.fetch_add(1, Ordering::SeqCst), ..self.clone() };
        Broker::builder().data_dir("/data").storage(storage).clock(clock).sync_interval(FOREVER)
    }

    /// Opens a broker as soon as the directory is free: a flusher may be busy for handles that were dropped.
    pub(super) fn open_when_free(&self) -> Broker {
        loop {
            match self.builder().open() {
                Err(Error::DirectoryInUse { .. }) => shuttle::thread::yield_now(),
                outcome => return outcome.expect("whole"),
            }
        }
    }

    /// The next sync of a topic's file fails.
    pub(super) fn fail_next_sync(&self) {
        self.state.next_sync_fails.store(true, Ordering::SeqCst);
    }

    /// The next write to a topic's file finds the disk full.
    pub(super) fn fail_next_write(&self) {
        self.state.next_write_fails.store(true, Ordering::SeqCst);
    }

    /// What was to fail and did not will not.
    pub(super) fn heal(&self) {
        self.state.next_sync_fails.store(false, Ordering::SeqCst);
        self.state.next_write_fails.store(false, Ordering::SeqCst);
    }

    /// The broker that was opened last, and those before it, have come to an end.
    pub(super) fn seal(&self) {
        self.state.ended.store(self.state.users.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How often one that had come to an end has changed a file.
    pub(super) fn changes_after_the_end(&self) -> u64 {
        self.state.changes_after_the_end.load(Ordering::SeqCst)
    }

    /// How many files of topics are open.
    pub(super) fn open_files(&self) -> u64 {
        self.state.open.load(Ordering::SeqCst)
    }

    /// How often a file of a topic was closed that had been written to and not synced.
    pub(super) fn closed_unsynced(&self) -> u64 {
        self.state.closed_unsynced.load(Ordering::SeqCst)
    }

    /// Whether a record with this number would be there after a power loss.
    pub(super) fn is_synced(&self, number: u64) -> bool {
        let synced = self.state.synced.lock();
        let holds = |bytes: &Vec<u8>| bytes.chunks(8).any(|word| word == number.to_be_bytes());
        synced.values().any(|file| file.lock().bytes.as_ref().is_some_and(holds))
    }

    /// What a power loss would leave now.
    pub(super) fn after_power_loss(&self) -> Self {
        let left = Self::default();
        for (path, file) in &*self.state.synced.lock() {
            let file = file.lock();
            let Some(bytes) = &file.bytes else { continue };
            left.files.create_dir_all(path.parent().expect("a directory")).expect("in memory");
            let copy = left.files.open(path, OpenMode::CreateOrEmpty).expect("in memory");
            assert_eq!(copy.write_at(bytes, 0).expect("in memory"), bytes.len());
        }
        left
    }
}

/// Whether it is a file of a topic that users made.
fn is_of_topic(path: &Path) -> bool {
    let dir = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    dir.is_some_and(|name| name.contains('-') && !name.starts_with("__"))
}

impl Storage for Files {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let file = self.files.open(path, mode)?;
        let synced = Arc::clone(self.state.synced.lock().entry(path.to_path_buf()).or_default());
        synced.lock().open += 1;
        if is_of_topic(path) {
            self.state.open.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Box::new(File {
            file,
            path: path.to_path_buf(),
            synced,
            user: self.user,
            state: Arc::clone(&self.state),
        }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.note_change(self.user);
        self.files.rename(from, to)?;
        let mut synced = self.state.synced.lock();
        if let Some(file) = synced.remove(from) {
            synced.insert(to.to_path_buf(), file);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files.remove_file(path)?;
        self.state.synced.lock().remove(path);
        Ok(())
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

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.files.lock_shared(path)
    }
}

#[derive(Debug)]
struct File {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    synced: Arc<Mutex<Synced>>,
    user: u64,
    state: Arc<State>,
}

impl State {
    fn note_change(&self, user: u64) {
        if user <= self.ended.load(Ordering::SeqCst) {
            self.changes_after_the_end.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let mut synced = self.synced.lock();
        synced.open -= 1;
        if is_of_topic(&self.path) {
            self.state.open.fetch_sub(1, Ordering::SeqCst);
            let is_left_dirty = synced.open == 0 && std::mem::take(&mut synced.is_dirty);
            self.state.closed_unsynced.fetch_add(is_left_dirty.into(), Ordering::SeqCst);
        }
    }
}

impl StorageFile for File {
    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.state.note_change(self.user);
        if is_of_topic(&self.path) && self.state.next_write_fails.swap(false, Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.synced.lock().is_dirty = true;
        self.file.write_at(buf, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = vec![0; self.file.len()? as usize];
        self.synced.lock().is_dirty = false;
        let read = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let fails = is_of_topic(&self.path) && self.state.next_sync_fails.swap(false, Ordering::SeqCst);
        self.file.sync_data()?;
        let mut synced = self.synced.lock();
        synced.is_doubtful |= fails;
        if !synced.is_doubtful {
            synced.bytes = Some(bytes);
        }
        if fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
