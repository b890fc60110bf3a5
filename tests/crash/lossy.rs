//! A file system in memory whose power can be cut: what was synced stays, of what was not each sector and
//! each name may survive or not. A copy of what a killed process leaves can be had as well.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use ottla::storage::{DirLock, LockOutcome, OpenMode, Storage, StorageFile};

use crate::support::Random;

/// A sector survives whole or not at all.
const SECTOR: usize = 512;

/// Clones share the files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lossy {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<File>,
    /// What the system sees, and what is safe of it.
    seen: Tree,
    safe: Tree,
    /// By directory: what was done to its names since it was synced, by the time of it.
    unsynced_names: BTreeMap<PathBuf, Vec<(u64, NameChange)>>,
    /// Changes so far.
    time: u64,
    /// Changes and syncs so far, and with which of them the power goes.
    calls: u64,
    cut_at: Option<u64>,
    is_off: bool,
    /// How often the power has come back.
    boots: u64,
}

#[derive(Clone, Debug, Default)]
struct Tree {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Dir(PathBuf),
    NoDir(PathBuf),
    File(PathBuf, usize),
    NoFile(PathBuf),
    /// At once or not at all.
    Rename(PathBuf, PathBuf, usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    safe: Vec<u8>,
    unsynced: Vec<(u64, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// What becomes of changes that were not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Kept,
    /// The first ones are kept, and sectors of the next one.
    Prefix,
    /// Each sector by itself.
    Sectors,
}

impl Fate {
    fn choose(random: &mut Random) -> Self {
        [Self::Lost, Self::Kept, Self::Prefix, Self::Prefix, Self::Sectors][random.below(5) as usize]
    }
}

impl NameChange {
    fn apply(&self, tree: &mut Tree) {
        match self.clone() {
            Self::Dir(path) => drop(tree.dirs.insert(path)),
            Self::NoDir(path) => drop(tree.dirs.remove(&path)),
            Self::File(path, file) => drop(tree.files.insert(path, file)),
            Self::NoFile(path) => drop(tree.files.remove(&path)),
            Self::Rename(from, to, file) => {
                tree.files.remove(&from);
                tree.files.insert(to, file);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Write(position, written) => {
                let end = position + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*position..end].copy_from_slice(written);
            }
        }
    }

    /// As pieces, none of which reaches into two sectors.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write(position, written) = self else { return vec![self.clone()] };
        let (mut pieces, mut position, mut rest) = (Vec::new(), *position, &written[..]);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.len().min(SECTOR - position % SECTOR));
            pieces.push(Self::Write(position, piece.to_vec()));
            position += piece.len();
            rest = left;
        }
        pieces
    }
}

/// Those of `changes` that survive.
fn survivors<T: Clone>(
    changes: &[T],
    fate: Fate,
    random: &mut Random,
    pieces: impl Fn(&T) -> Vec<T>,
) -> Vec<T> {
    let (whole, in_pieces) = match fate {
        Fate::Lost => (0, 0),
        Fate::Kept => (changes.len(), 0),
        Fate::Prefix => (random.below(changes.len() as u64 + 1) as usize, 1),
        Fate::Sectors => (0, changes.len()),
    };
    let (whole, rest) = changes.split_at(whole);
    let pieces = rest.iter().take(in_pieces).flat_map(pieces);
    whole.iter().cloned().chain(pieces.filter(|_| random.below(2) == 0)).collect()
}

impl File {
    fn change(&mut self, time: u64, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push((time, change));
    }

    /// What was done up to `time` is safe.
    fn sync(&mut self, time: u64) {
        let end = self.unsynced.partition_point(|(at, _)| *at <= time);
        for (_, change) in self.unsynced.drain(..end) {
            change.apply(&mut self.safe);
        }
    }

    fn after_power_loss(&self, fate: Fate, random: &mut Random) -> Self {
        let changes: Vec<Change> = self.unsynced.iter().map(|(_, change)| change.clone()).collect();
        let mut bytes = self.safe.clone();
        for change in survivors(&changes, fate, random, Change::sectors) {
            change.apply(&mut bytes);
        }
        // The length may have got to the disk without the bytes.
        if !changes.is_empty() && bytes.len() < self.bytes.len() && random.below(3) == 0 {
            bytes.resize(self.bytes.len(), 0);
        }
        Self { safe: bytes.clone(), bytes, unsynced: Vec::new() }
    }
}

impl Disk {
    fn check_on(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("there is no power")) } else { Ok(()) }
    }

    /// Counts a call; the power may go with it.
    fn count(&mut self) -> io::Result<()> {
        self.check_on()?;
        self.is_off = self.cut_at == Some(self.calls);
        self.calls += 1;
        self.check_on()
    }

    fn change_name(&mut self, change: NameChange, dir: &Path) {
        self.time += 1;
        change.apply(&mut self.seen);
        self.unsynced_names.entry(dir.to_path_buf()).or_default().push((self.time, change));
    }

    fn change_file(&mut self, file: usize, change: Change) -> io::Result<()> {
        self.check_on()?;
        self.time += 1;
        self.files[file].change(self.time, change);
        self.count()
    }

    fn after_power_loss(&self, random: &mut Random) -> Self {
        let of_all = Fate::choose(random);
        let one_for_all = random.below(2) == 0;
        let fate = |random: &mut Random| if one_for_all { of_all } else { Fate::choose(random) };
        let mut after = Self { seen: self.safe.clone(), boots: self.boots + 1, ..Self::default() };
        for changes in self.unsynced_names.values() {
            let changes: Vec<NameChange> = changes.iter().map(|(_, change)| change.clone()).collect();
            for change in survivors(&changes, fate(random), random, |change| vec![change.clone()]) {
                change.apply(&mut after.seen);
            }
        }
        let dirs = after.seen.dirs.clone();
        let is_there =
            |path: &Path| path.ancestors().skip(1).all(|dir| dir == Path::new("/") || dirs.contains(dir));
        after.seen.dirs.retain(|path| is_there(path));
        after.seen.files.retain(|path, _| is_there(path));
        after.files = self.files.iter().map(|file| file.after_power_loss(fate(random), random)).collect();
        after.safe = after.seen.clone();
        after
    }
}

impl Lossy {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(disk: Disk) -> Self {
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// The power goes after so many more changes and syncs, in the middle of the next one.
    pub(crate) fn cut_power_after(&self, calls: u64) {
        let mut disk = self.disk();
        disk.cut_at = Some(disk.calls + calls);
    }

    pub(crate) fn cut_power(&self) {
        self.disk().is_off = true;
    }

    pub(crate) fn is_off(&self) -> bool {
        self.disk().is_off
    }

    /// The files as they are found when the power is back.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Self {
        Self::of(self.disk().after_power_loss(random))
    }

    /// The files as they are now, for another process: what is not synced is still not.
    pub(crate) fn after_kill(&self) -> Self {
        Self::of(Disk { cut_at: None, is_off: false, ..self.disk().clone() })
    }
}

impl Storage for Lossy {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check_on()?;
        let mut new: Vec<&Path> = dir.ancestors().filter(|dir| dir.parent().is_some()).collect();
        new.retain(|dir| !disk.seen.dirs.contains(*dir));
        for dir in new.into_iter().rev() {
            disk.change_name(NameChange::Dir(dir.to_path_buf()), dir.parent().unwrap_or(dir));
            disk.count()?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        disk.check_on()?;
        if !disk.seen.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = disk.seen.files.keys().chain(&disk.seen.dirs).filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let mut disk = self.disk();
        disk.check_on()?;
        let known = disk.seen.files.get(path).copied();
        let file = match (known, mode) {
            (Some(file), OpenMode::Existing | OpenMode::ReadOnly) => file,
            (None, OpenMode::Existing | OpenMode::ReadOnly) => return Err(io::ErrorKind::NotFound.into()),
            (Some(file), OpenMode::CreateOrEmpty) => {
                disk.change_file(file, Change::SetLen(0))?;
                file
            }
            (None, OpenMode::CreateOrEmpty) => {
                let dir = path.parent().filter(|dir| disk.seen.dirs.contains(*dir));
                let dir = dir.ok_or(io::ErrorKind::NotFound)?.to_path_buf();
                let file = disk.files.len();
                disk.files.push(File::default());
                disk.change_name(NameChange::File(path.to_path_buf(), file), &dir);
                disk.count()?;
                file
            }
        };
        Ok(Box::new(LossyFile { storage: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check_on()?;
        assert_eq!(from.parent(), to.parent(), "files stay in their directory");
        let file = *disk.seen.files.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf(), file);
        disk.change_name(change, from.parent().unwrap_or(from));
        disk.count()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check_on()?;
        if !disk.seen.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::NoFile(path.to_path_buf()), path.parent().unwrap_or(path));
        disk.count()
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let mut disk = self.disk();
        disk.change_name(NameChange::NoDir(dir.to_path_buf()), dir.parent().unwrap_or(dir));
        disk.count()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let time = self.disk().time;
        // What is done during a sync is not part of it.
        thread::yield_now();
        let mut disk = self.disk();
        disk.count()?;
        let disk = &mut *disk;
        let Some(changes) = disk.unsynced_names.get_mut(dir) else { return Ok(()) };
        let end = changes.partition_point(|(at, _)| *at <= time);
        changes.drain(..end).for_each(|(_, change)| change.apply(&mut disk.safe));
        Ok(())
    }

    fn lock(&self, _path: &Path, _owner: &str) -> io::Result<LockOutcome> {
        self.disk().check_on()?;
        Ok(LockOutcome::Acquired(Box::new(Free)))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        self.lock(path, "reader")
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        Ok(Some(format!("boot-{}", self.disk().boots)))
    }
}

/// Every broker has a copy of its own.
#[derive(Debug)]
struct Free;

impl DirLock for Free {}

#[derive(Debug)]
struct LossyFile {
    storage: Lossy,
    file: usize,
}

impl StorageFile for LossyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let disk = self.storage.disk();
        disk.check_on()?;
        let rest = disk.files[self.file].bytes.get(position as usize..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let change = Change::Write(position as usize, buf.to_vec());
        self.storage.disk().change_file(self.file, change).map(|()| buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        let disk = self.storage.disk();
        disk.check_on()?;
        Ok(disk.files[self.file].bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.disk().change_file(self.file, Change::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let time = self.storage.disk().time;
        // What is written during a sync is not part of it.
        thread::yield_now();
        let mut disk = self.storage.disk();
        disk.count()?;
        disk.files[self.file].sync(time);
        Ok(())
    }
}
