//! The simulated file system as the library sees it.

use std::io;
use std::path::Path;

use ottla::storage::{DirLock, LockOutcome, OpenMode, Storage, StorageFile};

use super::disk::{Lock, SimCall, SimDisk};
use super::file::Change;
use super::names::NameChange;

impl Storage for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_on()?;
        let mut new: Vec<&Path> = dir.ancestors().filter(|dir| dir.parent().is_some()).collect();
        new.retain(|dir| !state.names.seen.dirs.contains(*dir));
        for dir in new.into_iter().rev() {
            state.change_name(SimCall::Create, NameChange::Dir(dir.to_path_buf()), dir)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_on()?;
        let seen = &state.names.seen;
        if !seen.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = seen.files.keys().chain(&seen.dirs).filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let mut state = self.state();
        state.check_on()?;
        let known = state.names.seen.files.get(path).copied();
        let file = match (known, mode) {
            (Some(file), OpenMode::Existing | OpenMode::ReadOnly) => file,
            (None, OpenMode::Existing | OpenMode::ReadOnly) => return Err(io::ErrorKind::NotFound.into()),
            (Some(file), OpenMode::CreateOrEmpty) => {
                state.change_file(file, SimCall::Create, Change::SetLen(0))?;
                file
            }
            (None, OpenMode::CreateOrEmpty) => {
                if path.parent().is_none_or(|dir| !state.names.seen.dirs.contains(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let file = state.new_file(path);
                state.change_name(SimCall::Create, NameChange::File(path.to_path_buf(), file), path)?;
                file
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_on()?;
        if from.parent() != to.parent() {
            return Err(io::Error::other("files stay in their directory"));
        }
        let file = *state.names.seen.files.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf(), file);
        state.change_name(SimCall::Rename, change, to)?;
        state.renamed(file, to);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_on()?;
        if !state.names.seen.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(SimCall::Remove, NameChange::NoFile(path.to_path_buf()), path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.state().change_name(SimCall::Remove, NameChange::NoDir(dir.to_path_buf()), dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SimDisk::sync_dir(self, dir)
    }

    fn lock(&self, _path: &Path, owner: &str) -> io::Result<LockOutcome> {
        let mut state = self.state();
        state.check_on()?;
        match &state.lock {
            Lock::Free => state.lock = Lock::Owned(owner.to_owned()),
            Lock::Owned(holder) => return Ok(LockOutcome::HeldBy(holder.clone())),
            Lock::Read(_) => return Ok(LockOutcome::HeldBy("readers".to_owned())),
        }
        Ok(LockOutcome::Acquired(Box::new(Locked(self.clone()))))
    }

    fn lock_shared(&self, _path: &Path) -> io::Result<LockOutcome> {
        let mut state = self.state();
        state.check_on()?;
        state.lock = match &state.lock {
            Lock::Free => Lock::Read(1),
            Lock::Read(count) => Lock::Read(count + 1),
            Lock::Owned(holder) => return Ok(LockOutcome::HeldBy(holder.clone())),
        };
        Ok(LockOutcome::Acquired(Box::new(Locked(self.clone()))))
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        Ok(Some(format!("boot-{}", self.boot())))
    }
}

/// The lock of a broker.
#[derive(Debug)]
struct Locked(SimDisk);

impl DirLock for Locked {}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.lock = match state.lock {
            Lock::Read(count) if count > 1 => Lock::Read(count - 1),
            _ => Lock::Free,
        };
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl StorageFile for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.disk.state();
        state.check_on()?;
        let rest = state.bytes(self.file).get(position as usize..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let change = Change::Write(position as usize, buf.to_vec());
        self.disk.state().change_file(self.file, SimCall::Write, change).map(|()| buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_on()?;
        Ok(state.bytes(self.file).len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.state().change_file(self.file, SimCall::SetLen, Change::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_file(self.file)
    }
}
