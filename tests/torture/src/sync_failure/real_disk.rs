//! The real file system with syncs that fail: the library goes through the same motions on real files. The
//! power cannot go there; what was acknowledged is there when it is opened again, and no file is synced again
//! after a sync of it has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla::storage::{Disk, LockOutcome, OpenMode, Storage, StorageFile};

use super::Met;
use super::faults::Faults;
use super::ledger::{Ledger, Loss};
use super::scene::{Habits, Scene, open, read};
use super::sender::Sender;
use super::trouble::{close, suffer, work};
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::sim::disk::SimCall;

/// One directory, in which syncs fail, and which is opened again.
pub(crate) fn run_case(random: &mut Random, met: &mut Met) -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(|error| Failure::harness("make a directory", error))?;
    let (storage, habits) = (FailingDisk::default(), Habits::choose(random));
    let ledger = Mutex::new(Ledger::default());
    let scene = Scene {
        broker: open(storage.clone(), dir.path(), &habits)?,
        habits,
        ledger: &ledger,
        faults: &storage.faults,
        sim: None,
        gate: Mutex::default(),
    };
    let numbers = 0..random.pick(&[1, 3]);
    let new = |number| Sender::new(&scene, number, Random::new(random.next()));
    let mut senders = numbers.map(new).collect::<Result<Vec<_>, _>>()?;
    work(&mut senders, random.below(8))?;
    suffer(&scene, &mut senders, random, met)?;
    let is_closed = close(&scene, met)?;
    senders.iter_mut().try_for_each(|sender| sender.hear_decided(true))?;
    drop(senders);
    if is_closed {
        scene.ledger().closed();
    }
    drop(scene);
    storage.faults.forget();
    let heard = storage.heard();
    met.on_disk += heard.rewritten.len() as u64;
    if let Some(path) = heard.synced_again.first() {
        let what = format!("{} was synced after a sync of it had failed", path.display());
        return Err(Failure::new(Finding::SyncRetried, what));
    }
    look(&storage, dir.path(), &habits, &mut ledger.lock().unwrap_or_else(PoisonError::into_inner), met)
}

fn look(
    storage: &FailingDisk,
    dir: &Path,
    habits: &Habits,
    ledger: &mut Ledger,
    met: &mut Met,
) -> Result<(), Failure> {
    let broker = open(storage.clone(), dir, habits)?;
    let (report, health) = (broker.recovery_report(), broker.health());
    if !report.damaged.is_empty() || !health.is_good() {
        return Err(Failure::new(Finding::Fenced, format!("{report:?} {health:?}")));
    }
    let found = read(&broker, &ledger.commits.groups())?;
    met.owed += ledger.check(&found, Loss::None)?;
    Ok(())
}

/// The real file system, as far as the faults let calls through. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailingDisk {
    pub(crate) faults: Arc<Faults>,
    known: Arc<Mutex<Known>>,
}

/// Files have numbers, which they keep when they get other names.
#[derive(Debug, Default)]
struct Known {
    files: u64,
    names: BTreeMap<PathBuf, u64>,
    failed: BTreeSet<u64>,
    heard: OnDisk,
}

/// What was noticed.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnDisk {
    /// Partitions that went on in a new file.
    pub(crate) rewritten: BTreeSet<PathBuf>,
    /// Files that were synced after a sync of them had failed.
    pub(crate) synced_again: Vec<PathBuf>,
}

impl Known {
    /// The number of the file that has this name now.
    fn number(&mut self, path: &Path) -> u64 {
        let next = self.files;
        let number = *self.names.entry(path.to_path_buf()).or_insert(next);
        self.files += u64::from(number == next);
        number
    }
}

impl FailingDisk {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heard(&self) -> OnDisk {
        self.known().heard.clone()
    }

    fn check(&self, call: SimCall, path: &Path) -> io::Result<()> {
        self.faults.decide(call, path).map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }
}

impl Storage for FailingDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        if mode == OpenMode::CreateOrEmpty {
            self.check(SimCall::Create, path)?;
        }
        let (file, number) = (Disk.open(path, mode)?, self.known().number(path));
        Ok(Box::new(FailingFile { disk: self.clone(), file, number, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(SimCall::Rename, to)?;
        Disk.rename(from, to)?;
        let mut known = self.known();
        let number = known.number(from);
        known.names.remove(from);
        known.names.insert(to.to_path_buf(), number);
        if to.extension().is_some_and(|extension| extension == "log") {
            known.heard.rewritten.extend(to.parent().map(Path::to_path_buf));
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)?;
        self.known().names.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(SimCall::SyncDir, dir)?;
        Disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<LockOutcome> {
        Disk.lock(path, owner)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome> {
        Disk.lock_shared(path)
    }

    fn boot_id(&self) -> io::Result<Option<String>> {
        Disk.boot_id()
    }
}

#[derive(Debug)]
struct FailingFile {
    disk: FailingDisk,
    file: Box<dyn StorageFile>,
    number: u64,
    path: PathBuf,
}

impl StorageFile for FailingFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let path = {
            let known = self.disk.known();
            let named = known.names.iter().find(|(_, number)| **number == self.number);
            named.map_or_else(|| self.path.clone(), |(path, _)| path.clone())
        };
        self.disk.check(SimCall::Write, &path)?;
        self.file.write_at(buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // By the name that it has now.
        let path = {
            let mut known = self.disk.known();
            let named = known.names.iter().find(|(_, number)| **number == self.number);
            let path = named.map_or_else(|| self.path.clone(), |(path, _)| path.clone());
            if known.failed.contains(&self.number) {
                known.heard.synced_again.push(path.clone());
            }
            path
        };
        self.disk.check(SimCall::Sync, &path).inspect_err(|_| {
            self.disk.known().failed.insert(self.number);
        })?;
        self.file.sync_data()
    }
}
