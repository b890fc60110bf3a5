//! The only door to the file system: whatever Ottla reads or writes on disk passes through [`Storage`].
//! [`Disk`] is the real one; [`MemoryStorage`] keeps files in memory, for tests; a test can wrap either
//! to make operations fail. Set with [`BrokerBuilder::storage`](crate::BrokerBuilder::storage).

mod data_dir;
mod disk;
mod memory;
mod one_process;
mod read_only;

use std::fmt;
use std::io;
use std::path::Path;

use crate::seeded_bugs::{Bug, is_planted};
pub(crate) use data_dir::DataDir;
pub use disk::Disk;
pub use memory::MemoryStorage;

/// How [`Storage::open`] opens a file.
///
/// ```
/// use std::path::Path;
/// use ottla::storage::{MemoryStorage, OpenMode, Storage};
///
/// let storage = MemoryStorage::default();
/// storage.create_dir_all(Path::new("/data"))?;
/// let path = Path::new("/data/notes");
/// assert!(storage.open(path, OpenMode::Existing).is_err());
/// let file = storage.open(path, OpenMode::CreateOrEmpty)?;
/// file.write_at(b"hello", 0)?;
/// assert_eq!(storage.open(path, OpenMode::Existing)?.len()?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Make the file, or empty the one that is there; for reading and writing.
    CreateOrEmpty,
    /// The file must exist; for reading and writing.
    Existing,
    /// The file must exist; for reading only. Needs no right to change it.
    ReadOnly,
}

/// A file system, as far as Ottla needs one.
///
/// # For those who implement it
/// * Every method is called from several threads, and at the same time: senders, pollers and the broker's own
///   threads. None of them may use the broker that it belongs to.
/// * Paths are absolute, and lie in the broker's directory or are that directory.
/// * Files are opened when they are used, and closed when they were not for a while. What is written to one
///   is synced through the same [`StorageFile`]; only what a process left behind is synced by another one.
/// * Errors are those of [`std::io`]. The kinds `NotFound`, `AlreadyExists`, `StorageFull`, `QuotaExceeded`
///   and `Interrupted` are told apart by the callers. An error says that nothing was done, or that it is not
///   known what was; success is believed.
/// * What a method did is seen by every later call, on whatever thread. It survives the end of the process
///   when it returns, and a power loss only after [`sync_dir`](Self::sync_dir) or
///   [`StorageFile::sync_data`].
/// * A panic on a thread of the program unwinds through the call that met it. One on the broker's thread that
///   writes ends the partition it was working for
///   ([`Error::PartitionFailed`](crate::Error::PartitionFailed)); one on its thread that reads is the
///   reader's [`Error::Io`](crate::Error::Io). Nobody is left waiting.
///
/// ```
/// use std::io;
/// use std::path::Path;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use ottla::storage::{LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};
/// use ottla::{Broker, Error, TopicConfig};
///
/// /// Files in memory, on a disk that a test can fill.
/// #[derive(Clone, Debug, Default)]
/// struct SmallDisk {
///     files: MemoryStorage,
///     is_full: Arc<AtomicBool>,
/// }
///
/// #[derive(Debug)]
/// struct SmallFile(Box<dyn StorageFile>, Arc<AtomicBool>);
///
/// impl Storage for SmallDisk {
///     fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
///         Ok(Box::new(SmallFile(self.files.open(path, mode)?, self.is_full.clone())))
///     }
///     // The others as the files in memory do it:
///     fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
///         self.files.create_dir_all(dir)
///     }
/// #   fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
/// #       self.files.list(dir)
/// #   }
/// #   fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
/// #       self.files.rename(from, to)
/// #   }
/// #   fn remove_file(&self, path: &Path) -> io::Result<()> {
/// #       self.files.remove_file(path)
/// #   }
/// #   fn remove_dir(&self, dir: &Path) -> io::Result<()> {
/// #       self.files.remove_dir(dir)
/// #   }
/// #   fn sync_dir(&self, dir: &Path) -> io::Result<()> {
/// #       self.files.sync_dir(dir)
/// #   }
/// #   fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
/// #       self.files.lock(path, owner)
/// #   }
/// #   fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
/// #       self.files.lock_shared(path)
/// #   }
///     // ..
/// }
///
/// impl StorageFile for SmallFile {
///     fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
///         if self.1.load(Ordering::SeqCst) {
///             return Err(io::ErrorKind::StorageFull.into());
///         }
///         self.0.write_at(buf, position)
///     }
///     // The others as the file in memory does it:
///     fn sync_data(&self) -> io::Result<()> {
///         self.0.sync_data()
///     }
/// #   fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
/// #       self.0.read_at(buf, position)
/// #   }
/// #   fn len(&self) -> io::Result<u64> {
/// #       self.0.len()
/// #   }
/// #   fn set_len(&self, len: u64) -> io::Result<()> {
/// #       self.0.set_len(len)
/// #   }
///     // ..
/// }
///
/// let disk = SmallDisk::default();
/// let broker = Broker::builder().data_dir("/data").storage(disk.clone()).open()?;
/// broker.create_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, u64>("payments")?;
///
/// disk.is_full.store(true, Ordering::SeqCst);
/// assert!(matches!(producer.send("alice", 200), Err(Error::StorageFull { .. })));
/// disk.is_full.store(false, Ordering::SeqCst);
/// assert_eq!(producer.send("alice", 200)?.offset, 0);
/// # Ok::<(), Error>(())
/// ```
pub trait Storage: Send + Sync + fmt::Debug {
    /// Makes `dir` and its parents, unless they exist.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files and directories in `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens the file at `path`.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>>;

    /// Gives `from` the name `to`, in place of what was there; at once or not at all.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file at `path`.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes `dir`, which must be empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in `dir` survive a power loss: what was created, renamed or removed there.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock file at `path` and writes `owner` into it, unless somebody else has it.
    /// The lock ends when it is dropped or the process ends, however it ends.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome>;

    /// Takes the lock file at `path`, which must exist, together with others who only read; unless somebody
    /// has it for himself. Writes nothing, and needs no right to.
    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome>;

    /// Since when the machine runs, in words that no other run of it shares; `None` if that is not known.
    /// Files that were left in the same run of the machine are as they were written, synced or not: recovery
    /// knows then that no power loss is to blame for what is wrong with them.
    fn boot_id(&self) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// An open file. Positions are given, never kept.
///
/// Its methods are called from several threads, and at the same time. A range of bytes is written to by one
/// thread, and read by others only after it was written; so reads, writes behind them and syncs overlap. A
/// sync has to cover what was written before it began. After a sync that failed, the file is not synced
/// again. Dropping it must not lose what was written.
///
/// ```
/// use std::path::Path;
/// use ottla::storage::{Disk, OpenMode, Storage, StorageFile};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let file: Box<dyn StorageFile> = Disk.open(&dir.join("notes"), OpenMode::CreateOrEmpty)?;
/// assert_eq!(file.write_at(b"hello", 0)?, 5);
/// let mut bytes = [0; 4];
/// assert_eq!(file.read_at(&mut bytes, 1)?, 4);
/// assert_eq!(&bytes, b"ello");
/// file.sync_data()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes at `position`; 0 only at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes up to `buf.len()` bytes at `position`, and may write fewer.
    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file off, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file's bytes and length survive a power loss (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock on a data directory, held until dropped. Dropped by a forked child, it stays with the parent.
///
/// ```
/// use std::io;
/// use ottla::storage::DirLock;
///
/// /// A lock in a storage of one's own.
/// #[derive(Debug)]
/// struct Locked(std::path::PathBuf);
///
/// impl DirLock for Locked {}
///
/// impl Drop for Locked {
///     fn drop(&mut self) {
///         // .. ends it ..
///     }
/// }
/// # let _: Box<dyn DirLock> = Box::new(Locked("/data/LOCK".into()));
/// ```
pub trait DirLock: Send + Sync + fmt::Debug {}

/// What [`Storage::lock`] found.
///
/// ```
/// use std::path::Path;
/// use ottla::storage::{Disk, LockOutcome, Storage};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("LOCK");
/// # let path: &Path = &path;
/// let LockOutcome::Acquired(lock) = Disk.lock(path, "pid 4711")? else { panic!("it was free") };
/// match Disk.lock(path, "pid 4712")? {
///     LockOutcome::HeldBy(owner) => assert_eq!(owner, "pid 4711"),
///     LockOutcome::Acquired(_) => panic!("it is taken"),
/// }
/// drop(lock);
/// assert!(matches!(Disk.lock(path, "pid 4712")?, LockOutcome::Acquired(_)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum LockOutcome {
    /// The lock was free and is now the caller's.
    Acquired(Box<dyn DirLock>),
    /// Somebody else has it, who wrote this into it.
    HeldBy(String),
}

/// Whether nothing was done because the process, or the system, has too many files open.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    // `ENFILE` and `EMFILE`, on all systems that have them.
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Reads exactly `buf.len()` bytes at `position`; the file ending before that is `UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn StorageFile, mut buf: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buf = &mut buf[read..];
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a file of `len` bytes has only zeros from `position` on, as a power loss may leave what was never
/// synced.
pub(crate) fn is_all_zero(file: &dyn StorageFile, mut position: u64, len: u64) -> io::Result<bool> {
    const READ_BYTES: u64 = 1 << 20;
    let mut buffer = Vec::new();
    while position < len {
        buffer.resize((len - position).min(READ_BYTES) as usize, 0);
        read_exact_at(file, &mut buffer, position)?;
        if buffer.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        position += buffer.len() as u64;
    }
    Ok(true)
}

/// Writes all of `buf` at `position`. After an error, an unknown part of it is written.
pub(crate) fn write_all_at(file: &dyn StorageFile, mut buf: &[u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(buf, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                buf = &buf[written..];
                position += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How [`replace_file`] failed.
#[derive(Debug)]
pub(crate) enum ReplaceError {
    /// The old content is there.
    Unchanged(io::Error),
    /// The old content is there or the new, now or after a power loss.
    Unknown(io::Error),
}

/// Puts `bytes` into the file `dir`/`name`, so that a crash at any moment leaves the old content or the new:
/// a temporary file is written and synced, then renamed, then the directory is synced.
pub(crate) fn replace_file(
    storage: &dyn Storage,
    dir: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), ReplaceError> {
    let temporary = dir.join(format!("{name}.new"));
    let write = || {
        let file = storage.open(&temporary, OpenMode::CreateOrEmpty)?;
        write_all_at(file.as_ref(), bytes, 0)?;
        file.sync_data()
    };
    write().map_err(ReplaceError::Unchanged)?;
    let publish = || {
        storage.rename(&temporary, &dir.join(name))?;
        if is_planted(Bug::NoDirSyncAfterRename) { Ok(()) } else { storage.sync_dir(dir) }
    };
    publish().map_err(ReplaceError::Unknown)
}

/// The whole content of a file.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenMode::ReadOnly)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; len];
    read_exact_at(file.as_ref(), &mut bytes, 0)?;
    Ok(bytes)
}
