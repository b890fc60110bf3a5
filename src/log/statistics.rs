//! What a log tells of itself in numbers. Whoever asks takes the view and the stage for a moment each, and
//! waits for no disk.

use super::partition_log::PartitionLog;
use super::reader::Run;
use super::stage::Stage;
use super::view::View;
use crate::sync::{Instant, Ordering, UnmodelledU64};

/// What consumers were given of a log since it was opened. Written by them only: appends do not touch it.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    records: UnmodelledU64,
    bytes: UnmodelledU64,
}

/// Records, and the bytes they take in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// A log in numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogStats {
    pub(crate) start_offset: u64,
    pub(crate) end_offset: u64,
    /// What readers could see of it that was appended since it was opened.
    pub(crate) appended: Amount,
    /// What polls returned since it was opened.
    pub(crate) fetched: Amount,
    /// Of its files, or of its chunks if it is in memory.
    pub(crate) log_bytes: u64,
    /// Of the chunks that hold records.
    pub(crate) memory_bytes: u64,
    /// None in memory.
    pub(crate) segments: usize,
    /// Since when a record waits for a sync.
    pub(crate) unsynced_since: Option<Instant>,
}

impl PartitionLog {
    /// A poll returns this run.
    #[inline]
    pub(crate) fn note_fetched(&self, run: &Run) {
        self.fetched.records.fetch_add(run.records() as u64, Ordering::Relaxed);
        self.fetched.bytes.fetch_add(run.bytes() as u64, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> LogStats {
        let stage = self.stage().lock();
        let (appended_bytes, memory_bytes) = (stage.published_bytes, stage.chunk_bytes());
        let unsynced_since = stage.unsynced_since();
        let view = self.view().read();
        // Both were held at one moment, so the numbers agree; what is left to be added up needs only the
        // view.
        drop(stage);
        let fetched = Amount {
            records: self.fetched.records.load(Ordering::Relaxed),
            bytes: self.fetched.bytes.load(Ordering::Relaxed),
        };
        let (start_offset, end_offset) = (view.start_offset(), view.end_offset());
        LogStats {
            start_offset,
            end_offset,
            appended: Amount { records: end_offset.saturating_sub(self.opened_at), bytes: appended_bytes },
            fetched,
            log_bytes: if self.place().is_some() { view.file_bytes() } else { memory_bytes },
            memory_bytes,
            segments: view.segments().len(),
            unsynced_since,
        }
    }
}

impl Stage {
    /// Since when the oldest record waits that is not known to be synced. Never in memory.
    fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced.oldest().filter(|_| !self.is_synced())
    }
}

impl View {
    /// How long the files of its segments are, as far as readers see them.
    fn file_bytes(&self) -> u64 {
        let mut chunks = self.chunks().peekable();
        let ends = self.segments().iter().map(|segment| {
            let mut end = segment.readable();
            // What is in chunks too is counted by them: it is read from the file only when they are gone.
            while let Some(chunk) = chunks.next_if(|chunk| chunk.base_offset() < segment.end_offset()) {
                let visible = chunk.visible().bytes as u64;
                // One that stayed empty may have been made for a position in another segment.
                if visible > 0 && chunk.base_offset() >= segment.base_offset() {
                    end = end.max(chunk.base_position() + visible);
                }
            }
            end
        });
        ends.sum()
    }
}

/// Since when records wait for a sync. A record that comes while one is under way waits for the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsynced {
    /// The first record that no sync under way covers.
    since: Option<Instant>,
    /// The first one that it covers.
    syncing_since: Option<Instant>,
}

impl Unsynced {
    /// A batch was staged.
    #[inline]
    pub(super) fn staged(&mut self) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// A sync begins; whether it covers all that is staged. It may be one that follows a sync that failed.
    pub(super) fn sync_begins(&mut self, covers_all: bool) {
        self.syncing_since = self.syncing_since.or(self.since);
        self.since = if covers_all { None } else { Some(Instant::now()) };
    }

    /// It has succeeded; whether nothing is left to be synced.
    pub(super) fn synced(&mut self, is_all: bool) {
        self.syncing_since = None;
        if is_all {
            self.since = None;
        }
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.syncing_since.or(self.since)
    }
}
