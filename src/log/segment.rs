//! A segment: one file with consecutive frames of one partition, behind a header that says whose it is. It is
//! written to at its end, by the holder of the partition's lock, until the next segment begins; and read by
//! anybody, who verifies what is read.
//!
//! The file is open while somebody uses it, and no longer. Whoever has written to it holds it until it is
//! synced: one that is closed and opened again before may not tell that the system could not write it back.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::chunk::{Chunk, CompleteFrames, Memory};
use super::identity::LogDir;
use super::offset_index::{FrameStart, OffsetIndex};
use super::scan::{Source, salvage};
use super::segment_header::{CompactedTo, SegmentHeader, segment_file_name};
use crate::error::{Error, Result};
use crate::record::frame::{BadFrame, CrcSeed, Frame, MAX_GAP};
use crate::seeded_bugs::{Bug, is_planted};
use crate::storage::{OpenMode, Storage, StorageFile, is_out_of_files, read_exact_at, write_all_at};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, RwLock, TrackedArc, Weak};

/// How much one read from a file brings in, unless a frame is larger.
const READ_BYTES: u64 = 256 * 1024;

/// A block ends behind so many offsets: a gap may follow, and a chunk counts its offsets in 32 bits.
const MAX_BLOCK_OFFSETS: u64 = 1 << 31;
const _: () = assert!(MAX_BLOCK_OFFSETS + MAX_GAP < 1 << 32);

/// The end offset of a segment that still grows.
pub(super) const OPEN_END: u64 = u64::MAX;

/// A segment that can be read; the active one also grows, through the partition's lock holder.
#[derive(Debug)]
pub(crate) struct Segment {
    first: FrameStart,
    previous: Option<u64>,
    /// By the clock of the broker that made it, in milliseconds since the epoch; `i64::MAX` if its header is
    /// damaged. What the segments before it hold was appended by then.
    pub(super) created: i64,
    compacted: Option<CompactedTo>,
    dir: LogDir,
    /// Shared by all who have it open. A lock of its own, held while it is opened.
    file: Mutex<Option<Weak<dyn StorageFile>>>,
    crc_seed: CrcSeed,
    /// Where the bytes end that may be read from the file. What follows, if anything, is in chunks; the
    /// mark moves when such a chunk leaves the view.
    readable: AtomicU64,
    /// Where the next segment begins: what the file holds from there on does not count.
    end_offset: AtomicU64,
    /// Where the frames end in the file, once nothing is written to it any more.
    pub(super) sealed_end: AtomicU64,
    /// Added to by the holder of the partition's lock and by readers, read by anybody who seeks.
    index: RwLock<OffsetIndex>,
    /// Bytes that are damaged, as far as it is known.
    holes: RwLock<Vec<Hole>>,
    /// Whether the file's name is known to survive a power loss.
    name_synced: AtomicBool,
    /// Whether compaction has put another one in its place: its name is not that of its file any more. Set
    /// with `file` locked.
    is_replaced: AtomicBool,
}

/// A file that is open as long as one of these is there.
pub(crate) type OpenFile = Arc<dyn StorageFile>;

/// A segment and its file, for one who writes and syncs.
#[derive(Clone, Debug)]
pub(super) struct OpenSegment {
    pub(super) segment: Arc<Segment>,
    pub(super) file: OpenFile,
}

/// Bytes of a segment that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: FrameStart,
    /// The next good frame of the same segment.
    pub(crate) next: Option<FrameStart>,
    pub(crate) detail: String,
}

/// What a segment consists of when it is opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) dir: LogDir,
    pub(super) partition_id: u64,
    pub(super) first: FrameStart,
    pub(super) previous: Option<u64>,
    pub(super) created: i64,
    pub(super) compacted: Option<CompactedTo>,
    /// Where the frames end in the file.
    pub(super) end: u64,
    pub(super) end_offset: u64,
    pub(super) index: OffsetIndex,
    pub(super) holes: Vec<Hole>,
}

impl Segment {
    /// Makes the file with its header. A file of that name that is there already is left from an attempt
    /// that failed, and is emptied.
    pub(super) fn create(dir: &LogDir, header: &SegmentHeader) -> Result<OpenSegment> {
        let file = create_file(dir.storage.as_ref(), &dir.segment(header.base_offset), header)?;
        Ok(Self::empty(header, dir.clone(), file))
    }

    /// Removes the file of a segment, if it is there.
    pub(crate) fn remove(storage: &dyn Storage, dir: &Path, base_offset: u64) -> Result<()> {
        let path = dir.join(segment_file_name(base_offset));
        match storage.remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// A segment whose frames are still to come.
    pub(super) fn empty(header: &SegmentHeader, dir: LogDir, file: Box<dyn StorageFile>) -> OpenSegment {
        let first = FrameStart { offset: header.base_offset, position: header.first_position };
        let segment = Self::new(Opened {
            dir,
            partition_id: header.partition_id,
            first,
            previous: header.previous,
            created: header.created,
            compacted: header.compacted,
            end: header.first_position,
            end_offset: OPEN_END,
            index: OffsetIndex::new(first),
            holes: Vec::new(),
        });
        let file = OpenFile::from(file);
        *segment.file.lock() = Some(Arc::downgrade(&file));
        OpenSegment { segment: Arc::new(segment), file }
    }

    /// A segment that was found. Its file is not open.
    pub(super) fn new(opened: Opened) -> Self {
        Self {
            first: opened.first,
            previous: opened.previous,
            created: opened.created,
            compacted: opened.compacted,
            dir: opened.dir,
            file: Mutex::new(None),
            crc_seed: CrcSeed::new(opened.partition_id),
            readable: AtomicU64::new(opened.end),
            end_offset: AtomicU64::new(opened.end_offset),
            sealed_end: AtomicU64::new(opened.end),
            index: RwLock::new(opened.index),
            holes: RwLock::new(opened.holes),
            name_synced: AtomicBool::new(false),
            is_replaced: AtomicBool::new(false),
        }
    }

    pub(crate) fn base_offset(&self) -> u64 {
        self.first.offset
    }

    /// The base offset of the segment before it, as its header says.
    pub(super) fn previous(&self) -> Option<u64> {
        self.previous
    }

    /// When it was made, if that is known.
    pub(super) fn known_created(&self) -> Option<i64> {
        Some(self.created).filter(|created| *created < i64::MAX)
    }

    /// What the frames of a sealed segment take.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.sealed_end.load(Ordering::Acquire).max(self.readable()).saturating_sub(self.first.position)
    }

    /// How far it was compacted, if it was, and nothing was cut off it since.
    pub(super) fn compacted(&self) -> Option<CompactedTo> {
        self.compacted.filter(|compacted| compacted.end_offset == self.end_offset())
    }

    /// Whether compaction has written it, whatever became of it since.
    pub(super) fn is_of_compaction(&self) -> bool {
        self.compacted.is_some()
    }

    pub(super) fn crc_seed(&self) -> CrcSeed {
        self.crc_seed
    }

    /// Whether another segment is in its place. Whoever has its file open may read on; others look again.
    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    /// Its name is, or may soon be, that of another file; or it is not, after all. Whoever opens it has done
    /// so when this returns.
    pub(super) fn set_replaced(&self, is_replaced: bool) {
        let _nobody_opens_it = self.file.lock();
        self.is_replaced.store(is_replaced, Ordering::Release);
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.segment(self.first.offset)
    }

    /// The file: the one that somebody else has open, or opened now.
    pub(super) fn open(&self) -> Result<OpenFile> {
        let mut known = self.file.lock();
        if let Some(file) = known.as_ref().and_then(Weak::upgrade) {
            return Ok(file);
        }
        let path = self.path();
        if self.is_replaced() {
            return Err(Error::io("open", &path)(ErrorKind::NotFound.into()));
        }
        // For writing too: one who is to write may come to use what a reader has open.
        let opened = loop {
            match self.dir.storage.open(&path, OpenMode::Existing) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(Error::io("open", &path))?,
            }
        };
        let file = OpenFile::from(opened);
        *known = Some(Arc::downgrade(&file));
        Ok(file)
    }

    /// Where its first frame begins, or will.
    pub(crate) fn first_frame(&self) -> FrameStart {
        self.first
    }

    pub(crate) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// From now on, bytes up to `end` are read from the file.
    pub(crate) fn set_readable(&self, end: u64) {
        self.readable.store(end, Ordering::Release);
    }

    /// Where the next segment begins; [`OPEN_END`] if there is none.
    pub(super) fn end_offset(&self) -> u64 {
        self.end_offset.load(Ordering::Acquire)
    }

    /// The next segment begins with `offset`.
    pub(super) fn end_at(&self, offset: u64) {
        self.end_offset.store(offset, Ordering::Release);
    }

    /// The file's name is synced otherwise.
    pub(super) fn note_name_synced(&self) {
        self.name_synced.store(true, Ordering::Release);
    }

    /// Names in the segment's directory were changed that a sync is to cover.
    pub(super) fn note_names_changed(&self) {
        self.name_synced.store(false, Ordering::Release);
    }

    pub(crate) fn index(&self) -> &RwLock<OffsetIndex> {
        &self.index
    }

    /// Writes frames at `position`, the end of the file. After an error the file is cut back to `position`;
    /// failing that, the error says so, and the segment must not be written to again.
    pub(super) fn append(&self, file: &OpenFile, frames: &[u8], position: u64) -> Result<(), WriteError> {
        let Err(error) = write_all_at(file.as_ref(), frames, position) else { return Ok(()) };
        let error = Error::io("write", &self.path())(error);
        match file.set_len(position) {
            Ok(()) => Err(WriteError::Undone(error)),
            Err(cut) => Err(WriteError::NotUndone(format!("{error}; and it cannot be cut back: {cut}"))),
        }
    }

    /// Reads whole frames from `start` on, as many as one read brings in, and verifies each: its bytes, and
    /// that it is the record that belongs there. The bytes up to `end` must be readable. Opens the file, if
    /// that was not done yet.
    pub(crate) fn read(&self, file: &mut Option<OpenFile>, start: FrameStart, end: u64) -> Result<Fetched> {
        let position = start.position;
        let mut available = end.saturating_sub(position);
        if start.offset >= self.end_offset() {
            return Ok(Fetched::End);
        }
        let mut wanted = available.min(READ_BYTES);
        if wanted == 0 {
            return Ok(Fetched::End);
        }
        let file = match file {
            Some(file) => file,
            closed => closed.insert(self.open()?),
        };
        while wanted > 0 {
            let mut memory = Memory::zeroed(wanted as usize);
            let bytes = memory.bytes_mut(wanted as usize);
            match read_exact_at(file.as_ref(), bytes, position) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let len = file.len().map_err(|error| Error::io("measure", &self.path())(error))?;
                    let left = len.saturating_sub(position);
                    if left == 0 || left >= wanted {
                        return self.damaged(file, start, end, "the file is shorter than it was".to_owned());
                    }
                    // What is left of it may begin with good frames.
                    (available, wanted) = (left, left);
                    continue;
                }
                outcome => outcome.map_err(|error| Error::io("read", &self.path())(error))?,
            }
            match self.verify(bytes, start) {
                Verified::Frames(found) if found.bytes == 0 => return Ok(Fetched::End),
                Verified::Frames(found) => return Ok(Fetched::Block(self.block(&found, memory, start))),
                Verified::NeedsMore(needed) if needed <= available => wanted = needed,
                Verified::NeedsMore(needed) => {
                    let detail = format!("a record of {needed} bytes goes beyond the end of the log");
                    return self.damaged(file, start, end, detail);
                }
                Verified::Bad(detail) => return self.damaged(file, start, end, detail),
            }
        }
        Ok(Fetched::End)
    }

    /// The good frames at the front of `bytes`, up to the end of the segment. What follows them, cut off or
    /// damaged, is where the next read begins.
    fn verify(&self, bytes: &[u8], start: FrameStart) -> Verified {
        let mut found =
            FoundFrames { bytes: 0, next: start.offset, max_timestamp: i64::MIN, is_sparse: false };
        let end_offset = self.end_offset();
        let is_full = |next: u64| next >= end_offset || next - start.offset > MAX_BLOCK_OFFSETS;
        while found.bytes < bytes.len() && !is_full(found.next) {
            let frame = Frame::verified(&bytes[found.bytes..], self.crc_seed);
            match frame.map(|frame| (frame, frame.behind(found.next))) {
                Ok((frame, Some(next))) => found.add(frame, next),
                Ok((frame, None)) if found.bytes == 0 && is_planted(Bug::IndexTrusted) => {
                    found.add(frame, found.next + 1);
                }
                _ if found.bytes > 0 => break,
                Ok((frame, None)) => {
                    return Verified::Bad(format!("the record of offset {} is there", frame.offset()));
                }
                Err(BadFrame::Incomplete { needed }) => return Verified::NeedsMore(needed as u64),
                Err(bad) => return Verified::Bad(bad.to_string()),
            }
        }
        Verified::Frames(found)
    }

    fn block(&self, found: &FoundFrames, memory: Memory, start: FrameStart) -> Block {
        let next = FrameStart { offset: found.next, position: start.position + found.bytes as u64 };
        self.index.write().note(start, next, found.max_timestamp);
        let frames = CompleteFrames {
            bytes: found.bytes,
            offsets: next.offset - start.offset,
            max_timestamp: i64::MIN,
            is_sparse: found.is_sparse,
        };
        Block { chunk: Chunk::complete(memory, start.offset, &frames), next }
    }

    /// There is no good frame at `start`: looks for the next one.
    #[cold]
    fn damaged(&self, file: &OpenFile, start: FrameStart, end: u64, detail: String) -> Result<Fetched> {
        let known = self.holes.read().iter().find(|hole| hole.start == start).cloned();
        if let Some(hole) = known {
            return Ok(Fetched::Damaged(hole));
        }
        // The file may be shorter than what was written to it.
        let path = self.path();
        let len = file.len().map_err(Error::io("measure", &path))?.min(end);
        let source = Source {
            file: file.as_ref(),
            path: &path,
            seed: self.crc_seed,
            len,
            end_offset: self.end_offset(),
            kept_from: 0,
        };
        let next = salvage(&source, start)?.runs.first().map(|run| run.start);
        let hole = Hole { start, next, detail };
        if next.is_some() || self.end_offset() != OPEN_END {
            // Otherwise more may come behind it.
            self.holes.write().push(hole.clone());
        }
        if let Some(next) = next {
            self.index.write().note(next, next, i64::MIN);
        }
        Ok(Fetched::Damaged(hole))
    }
}

impl OpenSegment {
    /// Makes the file's content and its name survive a power loss.
    pub(super) fn sync(&self) -> Result<(), SyncError> {
        let synced = self.file.sync_data();
        let synced = if is_planted(Bug::FailedSyncRetried) {
            synced.or_else(|_| self.file.sync_data())
        } else {
            synced
        };
        let Segment { dir, name_synced, .. } = &*self.segment;
        synced.map_err(|error| SyncError::Failed(Error::io("sync", &self.segment.path())(error)))?;
        if !name_synced.load(Ordering::Acquire) {
            if !is_planted(Bug::NoDirSyncAfterCreate) {
                dir.storage.sync_dir(&dir.path).map_err(|error| {
                    let is_tried = !is_out_of_files(&error);
                    let error = Error::io("sync directory", &dir.path)(error);
                    if is_tried { SyncError::Failed(error) } else { SyncError::NotTried(error) }
                })?;
            }
            name_synced.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Makes a segment's file, with nothing but its header.
pub(super) fn create_file(
    storage: &dyn Storage,
    path: &Path,
    header: &SegmentHeader,
) -> Result<Box<dyn StorageFile>> {
    debug_assert!(header.first_position >= header.len());
    let file = storage.open(path, OpenMode::CreateOrEmpty).map_err(Error::io("create", path))?;
    write_all_at(file.as_ref(), &header.encode(), 0).map_err(Error::io("write", path))?;
    Ok(file)
}

/// How a change to a log's files failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The files are as before.
    Undone(Error),
    /// Something was left that is none of the log, and which would lie across it if it went on.
    NotUndone(String),
}

/// How a sync failed.
#[derive(Debug)]
pub(crate) enum SyncError {
    /// What was to be synced may be lost.
    Failed(Error),
    /// It was not begun; nothing keeps anybody from trying again.
    NotTried(Error),
}

impl SyncError {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) | Self::NotTried(error) => error,
        }
    }
}

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Fetched {
    Block(Block),
    /// Nothing is left to be read from the file.
    End,
    /// There is no good frame where one should begin.
    Damaged(Hole),
}

/// Frames that one read brought in.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) chunk: TrackedArc<Chunk>,
    /// Where the next read begins.
    pub(crate) next: FrameStart,
}

enum Verified {
    Frames(FoundFrames),
    /// The first frame takes this many bytes.
    NeedsMore(u64),
    Bad(String),
}

/// Good frames of consecutive offsets.
#[derive(Debug)]
struct FoundFrames {
    bytes: usize,
    /// The offset behind them.
    next: u64,
    max_timestamp: i64,
    is_sparse: bool,
}

impl FoundFrames {
    fn add(&mut self, frame: Frame<'_>, next: u64) {
        self.bytes += frame.len();
        self.next = next;
        self.is_sparse |= frame.gap_end().is_some();
        if frame.is_record() {
            self.max_timestamp = self.max_timestamp.max(frame.timestamp());
        }
    }
}
