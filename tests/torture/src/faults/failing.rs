//! A storage around files in memory whose n-th operation fails, and those after it if wanted. Counts the operations
//! of one thread, so that the n-th is the same one each time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use ottla::storage::{LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Eio,
    Enospc,
    Edquot,
    /// A write takes half, and then there is no room.
    Short,
    Eintr,
    Emfile,
    Eacces,
    Erofs,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::Eio,
        Self::Enospc,
        Self::Edquot,
        Self::Short,
        Self::Eintr,
        Self::Emfile,
        Self::Eacces,
        Self::Erofs,
    ];

    /// Whether it says that there is no room.
    pub(super) fn is_full(self) -> bool {
        matches!(self, Self::Enospc | Self::Edquot | Self::Short)
    }

    /// As the system says it.
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Eio => libc::EIO,
            Self::Enospc | Self::Short => libc::ENOSPC,
            Self::Edquot => libc::EDQUOT,
            Self::Eintr => libc::EINTR,
            Self::Emfile => libc::EMFILE,
            Self::Eacces => libc::EACCES,
            Self::Erofs => libc::EROFS,
        })
    }
}

/// So often in a row at most is a call interrupted.
const INTERRUPTIONS: u64 = 3;

#[derive(Clone, Debug)]
pub(super) struct Failing {
    files: MemoryStorage,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug)]
struct Plan {
    thread: ThreadId,
    operations: u64,
    /// From which operation on, and up to which, they fail.
    first: u64,
    end: u64,
    fault: Fault,
    failed: u64,
    /// Files whose sync failed, by number, and whether one was synced with success later.
    unsynced: Vec<u64>,
    retried: bool,
    opened: u64,
}

impl Failing {
    pub(super) fn new(site: u64, fault: Fault, for_good: bool) -> Self {
        let end = match (for_good, fault) {
            (true, Fault::Eintr) => site + INTERRUPTIONS,
            (true, _) => u64::MAX,
            (false, _) => site + 1,
        };
        let plan = Plan {
            thread: thread::current().id(),
            operations: 0,
            first: site,
            end,
            fault,
            failed: 0,
            unsynced: Vec::new(),
            retried: false,
            opened: 0,
        };
        Self { files: MemoryStorage::default(), plan: Arc::new(Mutex::new(plan)) }
    }

    /// The files, without faults.
    pub(super) fn files(&self) -> &MemoryStorage {
        &self.files
    }

    /// From now on nothing fails. How many operations did.
    pub(super) fn heal(&self) -> u64 {
        let mut plan = self.plan();
        plan.end = 0;
        plan.failed
    }

    pub(super) fn operations(&self) -> u64 {
        self.plan().operations
    }

    /// Whether anything has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        self.plan().failed > 0
    }

    /// Whether a file was synced with success after a sync of it had failed.
    pub(super) fn has_retried_sync(&self) -> bool {
        self.plan().retried
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation; how it fails, if it does.
    fn count(&self) -> Option<Fault> {
        let mut plan = self.plan();
        if thread::current().id() != plan.thread {
            return None;
        }
        let number = plan.operations;
        plan.operations += 1;
        if !(plan.first..plan.end).contains(&number) {
            return None;
        }
        plan.failed += 1;
        Some(plan.fault)
    }

    fn run<T>(&self, operation: impl FnOnce(&MemoryStorage) -> io::Result<T>) -> io::Result<T> {
        self.count().map_or_else(|| operation(&self.files), |fault| Err(fault.error()))
    }
}

impl Storage for Failing {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.run(|files| files.create_dir_all(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.run(|files| files.list(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let file = self.run(|files| files.open(path, mode))?;
        let mut plan = self.plan();
        plan.opened += 1;
        let number = plan.opened;
        Ok(Box::new(FailingFile { file, number, path: path.to_path_buf(), storage: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(|files| files.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(|files| files.remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.run(|files| files.remove_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.run(|files| files.sync_dir(dir))
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        self.run(|files| files.lock(path, owner))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.run(|files| files.lock_shared(path))
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        self.files.boot_id()
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn StorageFile>,
    number: u64,
    path: PathBuf,
    storage: Failing,
}

impl FailingFile {
    fn run<T>(&self, operation: impl FnOnce(&dyn StorageFile) -> io::Result<T>) -> io::Result<T> {
        self.storage.count().map_or_else(|| operation(self.file.as_ref()), |fault| Err(fault.error()))
    }
}

impl StorageFile for FailingFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.run(|file| file.read_at(buf, position))
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        match self.storage.count() {
            None => self.file.write_at(buf, position),
            // What comes next, for good, finds no room at all.
            Some(Fault::Short) if buf.len() > 1 && self.storage.plan().failed == 1 => {
                self.file.write_at(&buf[..buf.len() / 2], position)?;
                Err(Fault::Short.error())
            }
            Some(fault) => Err(fault.error()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.run(|file| file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let outcome = self.run(|file| file.sync_data());
        let is_log = self.path.to_string_lossy().contains(".log");
        let mut plan = self.storage.plan();
        match outcome {
            Err(_) if is_log => plan.unsynced.push(self.number),
            Ok(()) if plan.unsynced.contains(&self.number) => plan.retried = true,
            _ => {}
        }
        outcome
    }
}
