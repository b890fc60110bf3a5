//! The real file system, which says in shared memory what the broker is doing with it, and may write in
//! pieces.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::storage::{Disk, LockOutcome, OpenMode, Storage, StorageFile};

use crate::common::shared::{OPENS_DIRECTORY, RECOVERY_MENDS, RECOVERY_READS, Shared, Word};

/// What takes long enough to be met in the middle.
const MUCH: usize = 128 << 10;

/// Files on disk, watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    shared: Arc<Shared>,
    /// The most that one write takes.
    piece_bytes: usize,
}

impl Watched {
    pub(crate) fn new(shared: Arc<Shared>, piece_bytes: usize) -> Self {
        Self { shared, piece_bytes }
    }

    /// What opening does to files of logs shows how far recovery is.
    fn note_recovery(&self, stage: u64) {
        if self.shared.get(Word::Opening) == OPENS_DIRECTORY {
            self.shared.word(Word::Recovering).fetch_max(stage, Ordering::AcqRel);
        }
    }

    fn note_change(&self, path: &Path) {
        if is_torn(path) || is_log(path) {
            self.note_recovery(RECOVERY_MENDS);
        }
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Bytes that were kept aside.
fn is_torn(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "torn")
}

impl Storage for Watched {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let makes_log = is_log(path) && mode == OpenMode::CreateOrEmpty;
        if is_log(path) && !makes_log {
            self.note_recovery(RECOVERY_READS);
        }
        if is_torn(path) {
            self.note_recovery(RECOVERY_MENDS);
        }
        let rolls = makes_log && self.shared.get(Word::Opening) == 0;
        if rolls {
            self.shared.add(Word::Rolling, 1);
        }
        let file = Disk.open(path, mode);
        let file = file.inspect_err(|_| {
            if rolls {
                self.shared.word(Word::Rolling).fetch_sub(1, Ordering::AcqRel);
            }
        })?;
        let rolling = AtomicBool::new(rolls);
        Ok(Box::new(WatchedFile { file, path: path.to_path_buf(), rolling, storage: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note_change(to);
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.note_change(path);
        Disk.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let _during = self.shared.during(Word::Syncing);
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
struct WatchedFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    /// Whether the log is just going on in this file: until the first record is in it.
    rolling: AtomicBool,
    storage: Watched,
}

impl WatchedFile {
    fn end_roll(&self) {
        if self.rolling.load(Ordering::Acquire) && self.rolling.swap(false, Ordering::AcqRel) {
            self.storage.shared.word(Word::Rolling).fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.end_roll();
    }
}

impl StorageFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let _much = (buf.len() >= MUCH).then(|| self.storage.shared.during(Word::WritingMuch));
        let piece = buf.len().min(self.storage.piece_bytes);
        let outcome = self.file.write_at(&buf[..piece], position);
        if position > 0 {
            self.end_roll();
        }
        outcome
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.note_change(&self.path);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let _during = self.storage.shared.during(Word::Syncing);
        self.file.sync_data()
    }
}
