//! A broker's directory, owned by one broker at a time.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::one_process::OneProcess;
use super::read_only::ReadOnly;
use super::{DirLock, LockOutcome, Storage};
use crate::error::{Error, Result};
use crate::sync::{Arc, Instant, Mutex, thread};

const LOCK_FILE: &str = "LOCK";

/// How long [`DataDir::own`] waits for the lock: an owner in this process whose last handle was just
/// dropped may be busy with a last sync.
const DEPARTING_OWNER: Duration = Duration::from_millis(200);

/// A directory and the lock on it. The lock is given up by [`DataDir::release`], or with the last handle of
/// the broker. What it holds is changed by the process that took the lock, and not by a forked child.
#[derive(Debug)]
pub(crate) struct DataDir {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    lock: Mutex<Option<Box<dyn DirLock>>>,
}

impl DataDir {
    /// Makes the directory unless it exists, and takes its lock.
    pub(crate) fn own(storage: Arc<dyn Storage>, path: &Path) -> Result<Self> {
        storage.create_dir_all(path).map_err(Error::io("create directory", path))?;
        let lock_path = path.join(LOCK_FILE);
        let owner = format!("pid {}", std::process::id());
        let give_up = Instant::now() + DEPARTING_OWNER;
        let lock = loop {
            match storage.lock(&lock_path, &owner).map_err(Error::io("lock", &lock_path))? {
                LockOutcome::Acquired(lock) => break lock,
                LockOutcome::HeldBy(_) if Instant::now() < give_up => {
                    thread::sleep(Duration::from_millis(1));
                }
                LockOutcome::HeldBy(owner) => {
                    return Err(Error::DirectoryInUse { dir: path.to_path_buf(), owner });
                }
            }
        };
        let storage = Arc::new(OneProcess::new(storage));
        Ok(Self { storage, path: path.to_path_buf(), lock: Mutex::new(Some(lock)) })
    }

    /// Opens the directory for reading only: nothing in it is changed, whatever is asked for. Others may read
    /// it too; where there is a lock file, nobody owns the directory meanwhile.
    pub(crate) fn read(storage: Arc<dyn Storage>, path: &Path) -> Result<Self> {
        let lock_path = path.join(LOCK_FILE);
        let lock = match storage.lock_shared(&lock_path) {
            Ok(LockOutcome::Acquired(lock)) => Some(lock),
            Ok(LockOutcome::HeldBy(owner)) => {
                return Err(Error::DirectoryInUse { dir: path.to_path_buf(), owner });
            }
            // A copy of a directory need not have one.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("lock", &lock_path)(error)),
        };
        let storage = Arc::new(ReadOnly::new(storage));
        Ok(Self { storage, path: path.to_path_buf(), lock: Mutex::new(lock) })
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// The file system, for one who is to outlive the lock.
    pub(crate) fn shared_storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names of the directory and of those above it survive a power loss: they may be new.
    pub(crate) fn sync_path(&self) -> Result<()> {
        for dir in self.path.ancestors().skip(1) {
            match self.storage.sync_dir(dir) {
                // What may not be opened, or cannot be synced, was there before us.
                Err(error)
                    if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) =>
                {
                    break;
                }
                outcome => outcome.map_err(Error::io("sync directory", dir))?,
            }
        }
        Ok(())
    }

    /// Gives up the lock. Nothing may be written afterwards.
    pub(crate) fn release(&self) {
        drop(self.lock.lock().take());
    }
}
