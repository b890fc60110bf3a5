//! The real file system, through the standard library.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{DirLock, LockOutcome, OpenMode, Storage, StorageFile};

/// Files on disk. The default.
///
/// ```
/// use ottla::{Broker, storage::Disk};
///
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let dir = dir.path();
/// let broker = Broker::builder().data_dir(dir).storage(Disk).open()?; // as Broker::open(dir)
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::CreateOrEmpty => options.write(true).create(true).truncate(true),
            OpenMode::Existing => options.write(true),
            OpenMode::ReadOnly => &mut options,
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if let Some(holder) = held_by(&mut file, File::try_lock)? {
            return Ok(LockOutcome::HeldBy(holder));
        }
        file.set_len(0)?;
        file.write_all(owner.as_bytes())?;
        Ok(LockOutcome::Acquired(Box::new(FileLock { file, owner: std::process::id() })))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        let mut file = File::open(path)?;
        if let Some(holder) = held_by(&mut file, File::try_lock_shared)? {
            return Ok(LockOutcome::HeldBy(holder));
        }
        Ok(LockOutcome::Acquired(Box::new(FileLock { file, owner: std::process::id() })))
    }

    /// Known on Linux.
    fn boot_id(&self) -> io::Result<Option<String>> {
        match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(id) => Ok(Some(id.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Tries to lock a file; who has it, if that fails. The lock belongs to the open file, not to its content:
/// the system ends it with its holder.
fn held_by(file: &mut File, lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<String>> {
    match lock(file) {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            Ok(Some(holder))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A locked file. Closing it would not be enough: the lock is the open file's, and a forked child has that
/// too.
#[derive(Debug)]
struct FileLock {
    file: File,
    owner: u32,
}

impl DirLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The child's copy is not the one to end what its parent holds.
        if std::process::id() == self.owner {
            // If it fails, closing the file is what is left.
            drop(self.file.unlock());
        }
    }
}

impl StorageFile for File {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        FileExt::write_at(self, buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
