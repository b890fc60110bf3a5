//! A file system in memory, for tests that open and reopen a broker without touching the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{DirLock, LockOutcome, OpenMode, Storage, StorageFile};
use crate::sync::{Arc, Mutex};

/// Files in memory. Clones share them; a broker opened on one finds what an earlier one left.
///
/// ```
/// use ottla::{Broker, TopicConfig, storage::MemoryStorage};
///
/// let storage = MemoryStorage::default();
/// let broker = Broker::builder().storage(storage.clone()).data_dir("/data").open()?;
/// broker.create_topic("payments", TopicConfig::new())?;
/// broker.close()?;
///
/// let broker = Broker::builder().storage(storage).data_dir("/data").open()?;
/// assert_eq!(broker.list_topics(), ["payments"]);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    /// The lock files, with their owners.
    locked: BTreeMap<PathBuf, Owners>,
}

#[derive(Debug)]
enum Owners {
    One(String),
    Readers(usize),
}

impl Storage for MemoryStorage {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.tree.lock().dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.tree.lock();
        if !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = tree.files.keys().chain(&tree.dirs).filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let mut tree = self.tree.lock();
        let parent_exists = path.parent().is_some_and(|parent| tree.dirs.contains(parent));
        match mode {
            OpenMode::CreateOrEmpty if parent_exists => {
                let file = tree.files.entry(path.to_path_buf()).or_default();
                file.bytes.lock().clear();
                Ok(Box::new(Arc::clone(file)))
            }
            OpenMode::CreateOrEmpty => Err(io::ErrorKind::NotFound.into()),
            OpenMode::Existing | OpenMode::ReadOnly => {
                let file = tree.files.get(path).ok_or(io::ErrorKind::NotFound)?;
                Ok(Box::new(Arc::clone(file)))
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let file = tree.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        tree.files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.tree.lock().files.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.tree.lock().dirs.remove(dir);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        let mut tree = self.tree.lock();
        match tree.locked.get(path) {
            Some(Owners::One(holder)) => return Ok(LockOutcome::HeldBy(holder.clone())),
            Some(Owners::Readers(_)) => return Ok(LockOutcome::HeldBy("readers".to_owned())),
            None => tree.locked.insert(path.to_path_buf(), Owners::One(owner.to_owned())),
        };
        Ok(LockOutcome::Acquired(Box::new(self.memory_lock(path))))
    }

    /// It need not exist: nothing but the lock itself is kept.
    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        match self.tree.lock().locked.entry(path.to_path_buf()).or_insert(Owners::Readers(0)) {
            Owners::One(holder) => return Ok(LockOutcome::HeldBy(holder.clone())),
            Owners::Readers(count) => *count += 1,
        }
        Ok(LockOutcome::Acquired(Box::new(self.memory_lock(path))))
    }

    /// As long as the process lives, nothing is lost.
    fn boot_id(&self) -> io::Result<Option<String>> {
        Ok(Some("memory".to_owned()))
    }
}

impl MemoryStorage {
    fn memory_lock(&self, path: &Path) -> MemoryLock {
        MemoryLock { tree: Arc::clone(&self.tree), path: path.to_path_buf() }
    }
}

#[derive(Debug)]
struct MemoryLock {
    tree: Arc<Mutex<Tree>>,
    path: PathBuf,
}

impl DirLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut tree = self.tree.lock();
        if let Some(Owners::Readers(count)) = tree.locked.get_mut(&self.path)
            && *count > 1
        {
            *count -= 1;
            return;
        }
        tree.locked.remove(&self.path);
    }
}

#[derive(Default)]
struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
}

impl fmt::Debug for MemoryFile {
    /// Without what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("len", &self.bytes.lock().len()).finish_non_exhaustive()
    }
}

impl StorageFile for Arc<MemoryFile> {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let rest = bytes.get(as_index(position)?..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let mut bytes = self.bytes.lock();
        let start = as_index(position)?;
        let end = start + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(buf);
        Ok(buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().resize(as_index(len)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

fn as_index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput.into())
}
