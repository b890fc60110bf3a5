//! The only door to the file system: whatever Ottla reads or writes on disk passes through [`Storage`].
//! [`Disk`] is the real one; [`MemoryStorage`] keeps files in memory, for tests; a test can wrap either
//! to make operations fail.

mod data_dir;
mod disk;
mod memory;
mod one_process;

use std::fmt;
use std::io;
use std::path::Path;

pub(crate) use data_dir::DataDir;
pub use disk::Disk;
pub use memory::MemoryStorage;

/// How [`Storage::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Make the file, or empty the one that is there; for reading and writing.
    CreateOrEmpty,
    /// The file must exist; for reading and writing.
    Existing,
}

/// A file system, as far as Ottla needs one. Every method may be called from several threads.
///
/// Errors are those of [`std::io`]: the kinds `NotFound`, `AlreadyExists`, `StorageFull`, `QuotaExceeded`
/// and `Interrupted` are told apart by the callers.
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
}

/// An open file. Every method may be called from several threads; positions are given, never kept.
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
pub trait DirLock: Send + Sync + fmt::Debug {}

/// What [`Storage::lock`] found.
#[derive(Debug)]
pub enum LockOutcome {
    /// The lock was free and is now the caller's.
    Acquired(Box<dyn DirLock>),
    /// Somebody else has it, who wrote this into it.
    HeldBy(String),
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
        storage.sync_dir(dir)
    };
    publish().map_err(ReplaceError::Unknown)
}

/// The whole content of a file.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenMode::Existing)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; len];
    read_exact_at(file.as_ref(), &mut bytes, 0)?;
    Ok(bytes)
}
