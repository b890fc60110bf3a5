//! Files in memory, on a machine of which a case can say in which run it is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ottla::storage::{LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};

/// Paths, and what is in the files.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Whether the machine was restarted since the files were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    Same,
    Another,
}

/// The file system of a case.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    files: MemoryStorage,
    boot: Boot,
}

impl Machine {
    pub(super) fn empty() -> Self {
        Self { files: MemoryStorage::default(), boot: Boot::Same }
    }

    /// One that holds just these files.
    pub(super) fn with(files: &Files, boot: Boot) -> io::Result<Self> {
        let machine = Self { files: MemoryStorage::default(), boot };
        for (path, bytes) in files {
            machine.create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            machine.put(path, OpenMode::CreateOrEmpty, bytes)?;
        }
        Ok(machine)
    }

    /// Puts other bytes into a file that is there, under whoever has it open.
    pub(super) fn change(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(path, OpenMode::Existing, bytes)
    }

    fn put(&self, path: &Path, mode: OpenMode, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.open(path, mode)?;
        file.set_len(bytes.len() as u64)?;
        file.write_at(bytes, 0).map(drop)
    }

    /// Everything below `dir`.
    pub(super) fn files(&self, dir: &Path) -> io::Result<Files> {
        let mut found = Files::new();
        for name in self.files.list(dir)? {
            let path = dir.join(name);
            let Ok(file) = self.files.open(&path, OpenMode::ReadOnly) else {
                found.append(&mut self.files(&path)?);
                continue;
            };
            let mut bytes = vec![0; file.len()? as usize];
            file.read_at(&mut bytes, 0)?;
            found.insert(path, bytes);
        }
        Ok(found)
    }
}

impl Storage for Machine {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        self.files.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
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
        Ok(Some(if self.boot == Boot::Same { "boot-1" } else { "boot-2" }.to_owned()))
    }
}
