//! A file system in memory that can be told to refuse, to be slow, and to say what is not synced.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ottla::storage::{LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};
use ottla::{Broker, Producer};

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Open,
    /// Writes nothing.
    Write,
    /// Writes half, then fails.
    WriteHalf,
    Cut,
    Sync,
    Remove,
    Read,
    /// Panics when it is to write.
    PanicOnWrite,
    /// Writes all, then panics.
    PanicAfterWrite,
    /// Panics when it is to sync.
    PanicOnSync,
    /// Panics when it is to read.
    PanicOnRead,
}

/// What is to happen once, in the middle of an operation on a file that has this in its path.
type Interruption = Option<(&'static str, Hidden<Box<dyn FnOnce() + Send>>)>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty {
    files: MemoryStorage,
    state: Arc<Mutex<State>>,
    released: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct State {
    /// Operation, part of the path, what to answer.
    refused: Vec<(Operation, &'static str, io::ErrorKind)>,
    /// Files written to since they were last synced.
    unsynced: BTreeSet<PathBuf>,
    /// How long a sync takes.
    sync_time: Duration,
    /// A sync has begun since this was asked for.
    syncing: bool,
    /// Syncs of files wait that have this in their path.
    held: Option<&'static str>,
    /// How many syncs of files have begun.
    syncs: usize,
    /// Who has read, written or synced.
    workers: HashSet<ThreadId>,
    /// One write or creation of a file in so many is refused, at random; none if 0.
    refuse_one_in: usize,
    random: Option<Rng>,
    refused_at_random: usize,
    /// Writes take all at once.
    writes_whole: bool,
    during_write: Interruption,
    before_open: Interruption,
    /// The same, and those to which a sync mark was written.
    dirty: BTreeSet<PathBuf>,
    /// How often each file is open.
    open: BTreeMap<PathBuf, usize>,
    /// Files that were closed before they were synced.
    closed_unsynced: Vec<PathBuf>,
}

/// What cannot be shown.
struct Hidden<T>(T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Faulty {
    /// Fails this operation from now on, on every path that has this in it, or ends with it, if it ends in `$`. A
    /// file keeps the path with which it was opened.
    pub(crate) fn refuse(&self, operation: Operation, path: &'static str, kind: io::ErrorKind) {
        self.state().refused.push((operation, path, kind));
    }

    pub(crate) fn allow_all(&self) {
        self.state().refused.clear();
    }

    /// From now on a sync takes this long.
    pub(crate) fn slow_down(&self, sync_time: Duration) {
        let mut state = self.state();
        (state.sync_time, state.syncing) = (sync_time, false);
    }

    /// From now on syncs wait until [`Faulty::release_syncs`].
    pub(crate) fn hold_syncs(&self) {
        self.hold_syncs_of("");
    }

    /// The same, for files that have this in their path.
    pub(crate) fn hold_syncs_of(&self, path: &'static str) {
        let mut state = self.state();
        (state.held, state.syncing) = (Some(path), false);
    }

    pub(crate) fn release_syncs(&self) {
        self.state().held = None;
        self.released.notify_all();
    }

    /// Waits until somebody syncs.
    pub(crate) fn wait_for_sync(&self) {
        watched("a sync", {
            let storage = self.clone();
            move || {
                while !storage.is_syncing() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        })
        .wait();
    }

    /// From now on a write takes all at once: else large ones take long.
    pub(crate) fn write_whole(&self) {
        self.state().writes_whole = true;
    }

    /// Calls this once, in the middle of the next write to a file that has this in its path.
    pub(crate) fn during_next_write(&self, path: &'static str, call: impl FnOnce() + Send + 'static) {
        self.state().during_write = Some((path, Hidden(Box::new(call))));
    }

    /// Calls this once, before the next opening of a file that has this in its path.
    pub(crate) fn before_next_open(&self, path: &'static str, call: impl FnOnce() + Send + 'static) {
        self.state().before_open = Some((path, Hidden(Box::new(call))));
    }

    fn interrupt(&self, path: &Path, at: fn(&mut State) -> &mut Interruption) {
        let path = path.display().to_string();
        let taken = at(&mut self.state()).take_if(|(part, _)| path.contains(*part));
        if let Some((_, Hidden(call))) = taken {
            call();
        }
    }

    /// How many files are open that have this in their path.
    pub(crate) fn open_files(&self, part: &str) -> usize {
        let is_there = |path: &Path| path.display().to_string().contains(part);
        self.state().open.iter().filter(|(path, _)| is_there(path)).map(|(_, count)| count).sum()
    }

    /// Waits until none is open that has this in its path.
    pub(crate) fn wait_until_closed(&self, part: &'static str) {
        let storage = self.clone();
        watched("a log that goes to rest", move || {
            while storage.open_files(part) > 0 {
                thread::sleep(Duration::from_millis(5));
            }
        })
        .wait();
    }

    /// Files that were closed when they had been written to and not synced.
    pub(crate) fn closed_unsynced(&self) -> Vec<PathBuf> {
        self.state().closed_unsynced.clone()
    }

    /// How many syncs of files have begun.
    pub(crate) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// Whether this thread has read, written or synced.
    pub(crate) fn was_used_by(&self, thread: ThreadId) -> bool {
        self.state().workers.contains(&thread)
    }

    /// Forgets who has used it.
    pub(crate) fn forget_workers(&self) {
        self.state().workers.clear();
    }

    /// Whether a sync has begun since it was slowed down or held.
    pub(crate) fn is_syncing(&self) -> bool {
        self.state().syncing
    }

    /// Refuses one write or creation in so many, at random; none if 0.
    pub(crate) fn refuse_one_in(&self, times: usize, rng: &mut Rng) {
        let mut state = self.state();
        (state.refuse_one_in, state.random) = (times, Some(Rng(rng.next())));
    }

    /// How often that has happened.
    pub(crate) fn refused_at_random(&self) -> usize {
        self.state().refused_at_random
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        let path = path.display().to_string();
        if let Some(random) = &mut state.random
            && matches!(operation, Operation::Write | Operation::WriteHalf | Operation::Open)
            && state.refuse_one_in > 0
            && random.one_in(state.refuse_one_in)
        {
            state.refused_at_random += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let is_at = |part: &str| match part.strip_suffix('$') {
            Some(end) => path.ends_with(end),
            None => path.contains(part),
        };
        let rule = state.refused.iter().find(|(refused, part, _)| *refused == operation && is_at(part));
        rule.map_or(Ok(()), |(_, _, kind)| Err((*kind).into()))
    }

    /// Files that are not synced, of those that have this in their path.
    pub(crate) fn unsynced(&self, part: &str) -> Vec<PathBuf> {
        let state = self.state();
        state.unsynced.iter().filter(|path| path.display().to_string().contains(part)).cloned().collect()
    }

    /// Cuts a file off, as a power loss may.
    pub(crate) fn cut(&self, path: &str, len: u64) {
        let file = self.files.open(Path::new(path), OpenMode::Existing).expect("it is there");
        file.set_len(len).expect("in memory");
    }

    /// The files as they are now, for a broker that comes after a crash.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        let root = Path::new("/data");
        for dir in self.names("/data").iter().map(|name| root.join(name)).chain([root.to_path_buf()]) {
            // What cannot be listed is a file.
            let names = self.files.list(&dir).unwrap_or_default();
            for path in names.iter().map(|name| dir.join(name)) {
                let Ok(file) = self.files.open(&path, OpenMode::ReadOnly) else { continue };
                copy.files.create_dir_all(&dir).expect("in memory");
                let mut bytes = vec![0; file.len().expect("in memory") as usize];
                let read = file.read_at(&mut bytes, 0).expect("in memory");
                let file = copy.files.open(&path, OpenMode::CreateOrEmpty).expect("in memory");
                file.write_at(&bytes[..read], 0).expect("in memory");
            }
        }
        copy
    }

    pub(crate) fn len(&self, path: &str) -> u64 {
        let file = self.files.open(Path::new(path), OpenMode::Existing).expect("it is there");
        file.len().expect("in memory")
    }

    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        self.files.list(Path::new(dir)).expect("it is there")
    }

    pub(crate) fn open_broker(&self) -> Broker {
        Broker::builder().data_dir("/data").storage(self.clone()).open().expect("opens")
    }

    /// A broker with a topic of several partitions.
    pub(crate) fn broker(&self, partition_count: u32) -> (Broker, Producer<(), String>) {
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
        self.interrupt(path, |state| &mut state.before_open);
        self.check(Operation::Open, path)?;
        let file = self.files.open(path, mode)?;
        *self.state().open.entry(path.to_path_buf()).or_default() += 1;
        Ok(Box::new(FaultyFile { file, path: path.to_path_buf(), storage: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        self.state().unsynced.remove(path);
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

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.files.lock_shared(path)
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        self.files.boot_id()
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    storage: Faulty,
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        let mut state = self.storage.state();
        let count = state.open.entry(self.path.clone()).or_default();
        *count -= 1;
        if *count == 0 && state.dirty.contains(&self.path) {
            state.closed_unsynced.push(self.path.clone());
        }
    }
}

impl StorageFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.storage.check(Operation::Read, &self.path)?;
        if self.storage.check(Operation::PanicOnRead, &self.path).is_err() {
            panic!("the storage panics, as this test wants");
        }
        self.storage.state().workers.insert(thread::current().id());
        // Never all at once.
        let some = buf.len().min(10_000);
        self.file.read_at(&mut buf[..some], position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.storage.interrupt(&self.path, |state| &mut state.during_write);
        self.storage.check(Operation::Write, &self.path)?;
        if self.storage.check(Operation::PanicOnWrite, &self.path).is_err() {
            panic!("the storage panics, as this test wants");
        }
        if self.storage.check(Operation::PanicAfterWrite, &self.path).is_err() {
            self.file.write_at(buf, position)?;
            panic!("the storage panics, as this test wants");
        }
        let mut state = self.storage.state();
        // A sync mark, by its length and kind, is not worth a sync of its own.
        let is_mark = buf.len() == 48 && buf[38] == 1;
        state.dirty.insert(self.path.clone());
        if !is_mark {
            state.unsynced.insert(self.path.clone());
        }
        state.workers.insert(thread::current().id());
        drop(state);
        if let Err(error) = self.storage.check(Operation::WriteHalf, &self.path) {
            self.file.write_at(&buf[..buf.len() / 2], position)?;
            return Err(error);
        }
        // Never all at once.
        let some = if self.storage.state().writes_whole { buf.len() } else { buf.len().min(50) };
        self.file.write_at(&buf[..some], position)
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
        let sync_time = {
            let mut state = self.storage.state();
            state.syncing = true;
            state.syncs += 1;
            state.workers.insert(thread::current().id());
            state.sync_time
        };
        let path = self.path.display().to_string();
        let is_held = |state: &mut State| state.held.is_some_and(|part| path.contains(part));
        drop(self.storage.released.wait_while(self.storage.state(), is_held));
        // It may have been told to meanwhile.
        self.storage.check(Operation::Sync, &self.path)?;
        if self.storage.check(Operation::PanicOnSync, &self.path).is_err() {
            panic!("the storage panics, as this test wants");
        }
        thread::sleep(sync_time);
        let mut state = self.storage.state();
        state.unsynced.remove(&self.path);
        state.dirty.remove(&self.path);
        drop(state);
        self.file.sync_data()
    }
}
