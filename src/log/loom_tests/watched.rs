//! Files in memory for the models of a log on disk, and the log in them.

use std::io;
use std::path::{Path, PathBuf};

use super::{FRAME_BYTES, identity, read_from, settings};
use crate::clock::{ManualClock, Timestamp};
use crate::config::{Durability, RecoveryPolicy};
use crate::log::partition_log::PartitionLog;
use crate::log::segment_header::SEGMENT_HEADER_BYTES;
use crate::log::{FlushQueue, LogPlace, Request};
use crate::storage::{DataDir, LockOutcome, MemoryStorage, OpenMode, Storage, StorageFile};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// Files in memory, of which it is known how much is synced, and whose writes can be made to fail.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    files: MemoryStorage,
    pub(super) state: Arc<State>,
}

/// Relaxed everywhere: that one thing is known to come after another must be the log's doing.
#[derive(Debug)]
pub(super) struct State {
    /// Where the bytes written to the active segment end, and those that are synced.
    written: AtomicU64,
    synced: AtomicU64,
    pub(super) next_write_fails: AtomicBool,
    pub(super) syncs_to_fail: AtomicU64,
    /// How many files are open.
    open: AtomicU64,
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn StorageFile>,
    state: Arc<State>,
}

impl Watched {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let state = State {
            written: zero(),
            synced: zero(),
            next_write_fails: AtomicBool::new(false),
            syncs_to_fail: zero(),
            open: zero(),
        };
        Self { files: MemoryStorage::default(), state: Arc::new(state) }
    }

    pub(super) fn synced_frames(&self) -> u64 {
        frames_before(&self.state.synced)
    }

    /// How many files are open.
    pub(super) fn open_files(&self) -> u64 {
        self.state.open.load(Ordering::Relaxed)
    }

    pub(super) fn written_frames(&self) -> u64 {
        frames_before(&self.state.written)
    }

    /// A log in this storage: a new one, or what was left there.
    pub(super) fn open_log(&self, durability: Durability, segment_bytes: u64) -> Arc<PartitionLog> {
        let (flush, requests) = FlushQueue::new();
        // As if a flusher listened that never comes to it.
        std::mem::forget(requests);
        self.open_log_with(durability, segment_bytes, flush)
    }

    pub(super) fn open_log_with(
        &self,
        durability: Durability,
        segment_bytes: u64,
        flush: FlushQueue,
    ) -> Arc<PartitionLog> {
        let dir = PathBuf::from("/data/payments-0");
        let is_new = !matches!(self.files.list(&dir), Ok(names) if !names.is_empty());
        self.files.create_dir_all(&dir).expect("in memory");
        let place = LogPlace {
            data_dir: Arc::new(DataDir::own(Arc::new(self.clone()), Path::new("/data")).expect("free")),
            dir: dir.into(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(0))),
            reads: Arc::default(),
            upkeep: Arc::default(),
            flush,
        };
        if is_new {
            PartitionLog::create(&identity(), &place).expect("in memory");
        }
        let request = Request::of_new_log();
        let log = PartitionLog::examine(identity(), place, &request).expect("readable");
        let settings = settings(durability, segment_bytes, 0);
        let (log, found) = PartitionLog::open(log, &settings, RecoveryPolicy::Strict).expect("no damage");
        assert!(found.torn_tail.is_none() && found.damaged.is_empty());
        log
    }

    /// What the next broker finds.
    pub(super) fn left(&self) -> Vec<u64> {
        read_from(&self.open_log(Durability::ProcessCrash, 1_000), 0)
    }
}

fn frames_before(end: &AtomicU64) -> u64 {
    end.load(Ordering::Relaxed).saturating_sub(SEGMENT_HEADER_BYTES) / FRAME_BYTES
}

impl Storage for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let file = self.files.open(path, mode)?;
        self.state.open.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(WatchedFile { file, state: Arc::clone(&self.state) }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
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
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.state.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StorageFile for WatchedFile {
    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        if self.state.next_write_fails.swap(false, Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.file.write_at(buf, position)?;
        self.state.written.store(position + written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        let left = self.state.syncs_to_fail.load(Ordering::Relaxed);
        if left > 0 {
            self.state.syncs_to_fail.store(left - 1, Ordering::Relaxed);
            return Err(io::Error::other("the disk is gone"));
        }
        let written = self.state.written.load(Ordering::Relaxed);
        self.file.sync_data()?;
        self.state.synced.store(written, Ordering::Relaxed);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
