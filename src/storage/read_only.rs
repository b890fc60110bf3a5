//! A storage that changes nothing: what would is refused, whoever asks.

use std::io;
use std::path::Path;

use super::{LockOutcome, OpenMode, Storage, StorageFile};
use crate::sync::Arc;

/// Reads what another storage holds.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    inner: Arc<dyn Storage>,
}

#[derive(Debug)]
struct ReadOnlyFile(Box<dyn StorageFile>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl ReadOnly {
    pub(crate) fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner }
    }
}

impl Storage for ReadOnly {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        match mode {
            OpenMode::CreateOrEmpty => refused(),
            OpenMode::Existing | OpenMode::ReadOnly => {
                Ok(Box::new(ReadOnlyFile(self.inner.open(path, OpenMode::ReadOnly)?)))
            }
        }
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_file(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _path: &Path, _owner: &str) -> io::Result<LockOutcome> {
        refused()
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.inner.lock_shared(path)
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        self.inner.boot_id()
    }
}

impl StorageFile for ReadOnlyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buf, position)
    }

    fn write_at(&self, _buf: &[u8], _position: u64) -> io::Result<usize> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;

    #[test]
    fn it_reads_and_changes_nothing() {
        let files = MemoryStorage::default();
        let (dir, path) = (Path::new("/data"), Path::new("/data/log"));
        files.create_dir_all(dir).expect("in memory");
        files.open(path, OpenMode::CreateOrEmpty).expect("new").write_at(b"bytes", 0).expect("in memory");
        let storage = ReadOnly::new(Arc::new(files.clone()));
        let file = storage.open(path, OpenMode::Existing).expect("it is there");
        let refusals = [
            file.write_at(b"other", 0).map(drop),
            file.set_len(0),
            file.sync_data(),
            storage.create_dir_all(dir),
            storage.open(path, OpenMode::CreateOrEmpty).map(drop),
            storage.rename(path, dir),
            storage.remove_file(path),
            storage.remove_dir(dir),
            storage.sync_dir(dir),
            storage.lock(path, "reader").map(drop),
        ];
        for refusal in refusals {
            assert_eq!(refusal.expect_err("refused").kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        let mut bytes = [0; 5];
        assert_eq!(file.read_at(&mut bytes, 0).expect("it can be read"), 5);
        assert_eq!((&bytes, file.len().expect("it has one")), (b"bytes", 5));
        assert_eq!(storage.list(dir).expect("it can be listed"), ["log"]);
    }
}
