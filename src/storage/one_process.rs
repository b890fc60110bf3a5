//! A storage that only the process that opened it may change. A forked child inherits open files and memory:
//! were it to write, it would write over what its parent writes. Reading is left to it.

use std::io;
use std::path::Path;

use super::{LockOutcome, OpenMode, Storage, StorageFile};
use crate::clock::{Clock, SystemClock};
use crate::sync::{Arc, Ordering, UnmodelledI64};

/// Refuses changes by any process but the one that made it.
#[derive(Debug)]
pub(crate) struct OneProcess {
    inner: Arc<dyn Storage>,
    owner: Arc<Owner>,
}

/// A process, by its id.
#[derive(Debug)]
struct Owner {
    id: u32,
    /// When a write last asked for the id, in milliseconds since the Unix epoch.
    asked: UnmodelledI64,
}

impl Owner {
    fn check(&self) -> io::Result<()> {
        if std::process::id() == self.id {
            return Ok(());
        }
        let message = format!("the broker belongs to process {}; a forked child cannot use it", self.id);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }

    /// The check for writes. Asking the system for the id costs a send a tenth of its time, so it is asked
    /// once in every tick of its clock; no child that lives longer passes.
    fn check_write(&self) -> io::Result<()> {
        let now = SystemClock.now().as_millis();
        if self.asked.load(Ordering::Relaxed) != now {
            self.check()?;
            self.asked.store(now, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl OneProcess {
    /// Of this process.
    pub(crate) fn new(inner: Arc<dyn Storage>) -> Self {
        let owner = Owner { id: std::process::id(), asked: UnmodelledI64::new(i64::MIN) };
        Self { inner, owner: Arc::new(owner) }
    }
}

impl Storage for OneProcess {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.owner.check()?;
        self.inner.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let mode = match (mode, self.owner.check()) {
            // Another process reads what is there.
            (OpenMode::Existing, Err(_)) => OpenMode::ReadOnly,
            (OpenMode::CreateOrEmpty, checked) => checked.map(|()| mode)?,
            _ => mode,
        };
        Ok(Box::new(OneProcessFile { inner: self.inner.open(path, mode)?, owner: Arc::clone(&self.owner) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.owner.check()?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.owner.check()?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.owner.check()?;
        self.inner.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        self.owner.check()?;
        self.inner.lock(path, owner)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.inner.lock_shared(path)
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        self.inner.boot_id()
    }
}

#[derive(Debug)]
struct OneProcessFile {
    inner: Box<dyn StorageFile>,
    owner: Arc<Owner>,
}

impl StorageFile for OneProcessFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.owner.check_write()?;
        self.inner.write_at(buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.owner.check()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;

    #[test]
    fn a_forked_child_can_read_and_changes_nothing() {
        let files = MemoryStorage::default();
        let mut storage = OneProcess::new(Arc::new(files.clone()));
        let (dir, path) = (Path::new("/data"), Path::new("/data/log"));
        storage.create_dir_all(dir).expect("the owner may");
        let file = storage.open(path, OpenMode::CreateOrEmpty).expect("the owner may");
        file.write_at(b"parent", 0).expect("the owner may");

        // As it is in a child: what was opened is the same, and the process is another.
        let child = Arc::new(Owner { id: std::process::id() + 1, asked: UnmodelledI64::new(i64::MIN) });
        storage.owner = Arc::clone(&child);
        let inner = files.open(path, OpenMode::Existing).expect("it is there");
        let file = OneProcessFile { inner, owner: child };
        let refused = [
            file.write_at(b"child", 0).map(drop),
            file.write_at(b"again", 0).map(drop),
            file.set_len(0),
            storage.create_dir_all(dir),
            storage.open(path, OpenMode::CreateOrEmpty).map(drop),
            storage.rename(path, dir),
            storage.remove_file(path),
            storage.remove_dir(dir),
            storage.lock(path, "child").map(drop),
        ];
        for refusal in refused {
            assert!(refusal.expect_err("it is another process").to_string().contains("forked child"));
        }
        let opened = storage.open(path, OpenMode::Existing).expect("anybody may, to read");
        opened.write_at(b"child", 0).expect_err("it is another process");
        for file in [&file as &dyn StorageFile, opened.as_ref()] {
            let mut bytes = [0; 6];
            assert_eq!(file.read_at(&mut bytes, 0).expect("anybody may"), 6);
            assert_eq!(&bytes, b"parent");
        }
        assert_eq!(storage.list(dir).expect("anybody may"), ["log"]);
    }
}
