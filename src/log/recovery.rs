//! Opening a partition's log from its files: every frame is verified, the index is made anew, and a torn tail
//! is cut off. Anything else that is wrong is refused and left untouched.
//!
//! Appends write forward only, one batch at a time, so a process that dies leaves at most one incomplete
//! batch, at the very end. That is a **torn tail**: from the first byte that is no valid frame (or, in an
//! incomplete batch, from the batch's first frame) on, there is no valid later frame, and no later segment.
//! Its bytes are kept beside the segment and cut off it. Bytes that are no frame but are followed by valid
//! ones are **damage** to records that may have been acknowledged: [`Error::Corrupt`].
//!
//! The log begins in the last segment whose base offset is not above the start offset that the catalog says.
//! Earlier files hold deleted records only: they are not read, and removed.

use std::path::{Path, PathBuf};

use super::identity::LogIdentity;
use super::offset_index::OffsetIndex;
use super::segment::{
    BadHeader, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, base_offset_of, segment_file_name,
};
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::record::frame::{ALIGNMENT, BadFrame, CrcSeed, Frame};
use crate::storage::{OpenMode, Storage, StorageFile, is_all_zero, read_exact_at, write_all_at};
use crate::sync::Arc;

/// How much of a file is looked at in one go.
const SCAN_BYTES: u64 = 1 << 20;

/// The end of a partition's log that was no whole record, because a process or machine died while writing
/// it. It was never acknowledged; it was cut off when the broker was opened.
///
/// ```
/// use ottla::storage::{MemoryStorage, OpenMode, Storage};
/// # use ottla::{Broker, TopicConfig};
/// let storage = MemoryStorage::default();
/// let open = || Broker::builder().data_dir("/data").storage(storage.clone()).open();
/// let broker = open()?;
/// broker.create_topic("payments", TopicConfig::new())?;
/// broker.close()?;
/// // As if the process had died when it had written the first bytes of a record:
/// let log = "/data/payments-0/00000000000000000000.log".as_ref();
/// let file = storage.open(log, OpenMode::Existing).expect("it exists");
/// let end = file.len().expect("in memory");
/// file.write_at(&[1, 2, 3], end).expect("in memory");
///
/// let broker = open()?;
/// let torn = &broker.recovery_report().torn_tails[0];
/// assert_eq!((&*torn.path, torn.position, torn.bytes), (log, end, 3));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The partition.
    pub partition: TopicPartition,
    /// The file that was cut.
    pub path: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// The offset that the next record will get.
    pub end_offset: u64,
    /// The file that holds the cut bytes; `None` if they were all zero.
    pub kept_in: Option<PathBuf>,
}

/// What a partition's directory holds.
#[derive(Debug)]
pub(super) struct Recovered {
    /// By base offset; the last one is the active one.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) start_offset: u64,
    pub(super) end_offset: u64,
    /// First offset not known to be on stable storage.
    pub(super) recovery_point: u64,
    pub(super) torn_tail: Option<TornTail>,
}

/// A partition's log, read and found good but for its tail; nothing is changed yet.
#[derive(Debug)]
pub(super) struct Examined {
    /// By base offset, with what is in each.
    segments: Vec<(SegmentFile, Scan)>,
    start_offset: u64,
    end_offset: u64,
    tail: Tail,
    /// Files that hold nothing but deleted records.
    leftovers: Vec<PathBuf>,
}

/// What is behind the last whole record.
#[derive(Debug)]
enum Tail {
    Clean,
    /// The last segment ends with these bytes, which are no whole batch.
    Torn(Vec<u8>),
    /// Behind the last segment there is a file without a header yet.
    Stub(SegmentFile),
}

/// Reads the log of `identity` in `dir`, whose records below `start_offset` were deleted. Changes nothing.
pub(super) fn examine(
    storage: &dyn Storage,
    dir: &Path,
    identity: &LogIdentity,
    start_offset: u64,
) -> Result<Examined> {
    let Found { mut files, leftovers } = open_segments(storage, dir, identity, start_offset)?;
    let stub = files.pop_if(|file| file.is_stub);
    let mut end_offset = first_offset(&files, start_offset)?;
    let mut tail = stub.map_or(Tail::Clean, Tail::Stub);
    let mut segments = Vec::with_capacity(files.len());
    let last = files.len().saturating_sub(1);
    for (number, file) in files.into_iter().enumerate() {
        file.check_begins_at(end_offset)?;
        let scan = file.scan(CrcSeed::new(identity.id))?;
        if let Some(damage) = &scan.damage {
            if number != last || matches!(tail, Tail::Stub(_)) {
                return Err(file.corrupt(damage.position, damage.detail.clone()));
            }
            tail = Tail::Torn(file.read_torn_tail(identity, &scan, damage)?);
        }
        end_offset = scan.end_offset;
        segments.push((file, scan));
    }
    if let Tail::Stub(stub) = &tail {
        stub.check_begins_at(end_offset)?;
    }
    if let Some((file, scan)) = segments.last()
        && end_offset < start_offset
    {
        // What was deleted was on stable storage before.
        let detail =
            format!("its records end at offset {end_offset}, yet those up to {start_offset} were deleted");
        return Err(file.corrupt(scan.end_position, detail));
    }
    Ok(Examined { segments, start_offset, end_offset, tail, leftovers })
}

/// Where the first segment has to begin: at offset 0, or at or before what is kept.
fn first_offset(files: &[SegmentFile], start_offset: u64) -> Result<u64> {
    let Some(first) = files.first() else { return Ok(0) };
    let base_offset = first.header.base_offset;
    if base_offset > start_offset {
        first.check_begins_at(start_offset)?;
    }
    Ok(base_offset)
}

impl Examined {
    /// Cuts off the torn tail, if there is one, and removes the files of deleted records.
    pub(super) fn mend(self, storage: &dyn Storage, identity: &LogIdentity) -> Result<Recovered> {
        if let Some((first, _)) = self.segments.first()
            && !self.leftovers.is_empty()
        {
            // The process may have been killed before it synced the file that is to stand in for them.
            first.sync(storage)?;
        }
        for path in &self.leftovers {
            // One that cannot be removed does no harm: it is tried again at the next open.
            drop(storage.remove_file(path));
        }
        let torn_tail = match (self.tail, self.segments.last()) {
            (Tail::Torn(tail), Some((file, scan))) => Some(file.cut(storage, identity, scan, &tail)?),
            (Tail::Stub(stub), _) => Some(stub.remove(storage, identity)?),
            _ => None,
        };
        let recovery_point = self.segments.last().map_or(0, |(file, _)| file.header.recovery_point);
        let segments = self.segments.into_iter().map(|(file, scan)| {
            let SegmentFile { header, path, file, .. } = file;
            Arc::new(Segment::new(&header, path, file, scan.end_position, scan.index))
        });
        Ok(Recovered {
            segments: segments.collect(),
            start_offset: self.start_offset,
            end_offset: self.end_offset,
            recovery_point,
            torn_tail,
        })
    }
}

/// A file of the log whose header is known.
#[derive(Debug)]
struct SegmentFile {
    header: SegmentHeader,
    path: PathBuf,
    file: Box<dyn StorageFile>,
    len: u64,
    /// The process died while making it: there is no header yet, hence no record.
    is_stub: bool,
}

/// The files in a partition's directory.
struct Found {
    /// Those that hold the log, by base offset.
    files: Vec<SegmentFile>,
    /// Those before them.
    leftovers: Vec<PathBuf>,
}

/// Opens the segments from the one that holds `start_offset` on, and checks their headers, before anything is
/// changed.
fn open_segments(
    storage: &dyn Storage,
    dir: &Path,
    identity: &LogIdentity,
    start_offset: u64,
) -> Result<Found> {
    let names = storage.list(dir).map_err(Error::io("list", dir))?;
    let mut base_offsets: Vec<u64> = names.iter().filter_map(|name| base_offset_of(name)).collect();
    base_offsets.sort_unstable();
    let open = |base_offset: u64, may_be_stub: bool| {
        SegmentFile::open(
            storage,
            dir.join(segment_file_name(base_offset)),
            base_offset,
            identity,
            may_be_stub,
        )
    };
    let last = base_offsets.len().saturating_sub(1);
    let mut first = base_offsets.partition_point(|base| *base <= start_offset).saturating_sub(1);
    let kept = base_offsets.iter().enumerate().skip(first);
    // The first segment was synced before the partition was first used, so it cannot be a stub.
    let files = kept.map(|(number, &base_offset)| open(base_offset, number == last && number > 0));
    let mut files = files.collect::<Result<Vec<_>>>()?;
    if let [stub] = &files[..]
        && stub.is_stub
    {
        // The log ends where it begins, and the segment that says so is the one before the stub.
        first -= 1;
        files.insert(0, open(base_offsets[first], false)?);
    }
    let leftovers = base_offsets[..first].iter().map(|&base| dir.join(segment_file_name(base)));
    Ok(Found { files, leftovers: leftovers.collect() })
}

impl SegmentFile {
    fn open(
        storage: &dyn Storage,
        path: PathBuf,
        base_offset: u64,
        identity: &LogIdentity,
        may_be_stub: bool,
    ) -> Result<Self> {
        let file = storage.open(&path, OpenMode::Existing).map_err(Error::io("open", &path))?;
        let len = file.len().map_err(Error::io("measure", &path))?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let present = len.min(SEGMENT_HEADER_BYTES) as usize;
        read_exact_at(file.as_ref(), &mut bytes[..present], 0).map_err(Error::io("read", &path))?;
        let is_zero = || is_all_zero(file.as_ref(), len).map_err(Error::io("read", &path));
        let is_stub = may_be_stub && (len < SEGMENT_HEADER_BYTES || is_zero()?);
        let header = if is_stub {
            SegmentHeader { partition_id: identity.id, base_offset, recovery_point: base_offset, created: 0 }
        } else {
            SegmentHeader::decode(&bytes).map_err(|bad| bad_header(&path, bad))?
        };
        let found = Self { header, path, file, len, is_stub };
        if header.partition_id != identity.id || header.base_offset != base_offset {
            let detail = format!(
                "it says partition id {:016x} and base offset {}, expected {:016x} and {base_offset}",
                header.partition_id, header.base_offset, identity.id
            );
            return Err(found.corrupt(0, detail));
        }
        Ok(found)
    }

    /// Whether the records before this segment are there, and no more.
    fn check_begins_at(&self, offset: u64) -> Result<()> {
        if self.header.base_offset == offset {
            return Ok(());
        }
        Err(self.corrupt(0, format!("the records before it end at offset {offset}")))
    }

    /// Removes a file that has no header yet.
    fn remove(self, storage: &dyn Storage, identity: &LogIdentity) -> Result<TornTail> {
        storage.remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
        self.sync_name(storage)?;
        Ok(TornTail {
            partition: identity.topic_partition(),
            position: 0,
            bytes: self.len,
            end_offset: self.header.base_offset,
            kept_in: None,
            path: self.path,
        })
    }

    /// Reads all frames in order, up to the first byte that is none.
    fn scan(&self, seed: CrcSeed) -> Result<Scan> {
        let mut scanner = Scanner::new(self.header.base_offset);
        let mut buffer = Vec::new();
        let mut wanted = SCAN_BYTES;
        while scanner.position < self.len {
            let rest = self.len - scanner.position;
            self.read(&mut buffer, scanner.position, rest.min(wanted))?;
            match scanner.take_frames(&buffer, seed) {
                None => wanted = SCAN_BYTES,
                Some(BadFrame::Incomplete { needed }) if needed as u64 <= rest => {
                    wanted = SCAN_BYTES.max(needed as u64);
                }
                Some(bad) => {
                    let position = scanner.position;
                    return Ok(scanner.finish(Some(Damage { position, detail: bad.to_string() })));
                }
            }
        }
        Ok(scanner.finish(None))
    }

    /// What `scan` could not read, if it is a torn tail.
    fn read_torn_tail(&self, identity: &LogIdentity, scan: &Scan, damage: &Damage) -> Result<Vec<u8>> {
        let mut tail = Vec::new();
        self.read(&mut tail, scan.end_position, self.len - scan.end_position)?;
        let unread = &tail[(damage.position - scan.end_position) as usize..];
        if let Some(offset) = later_frame(unread, CrcSeed::new(identity.id), scan.end_offset) {
            let detail = format!("{}, yet a valid record with offset {offset} follows", damage.detail);
            return Err(self.corrupt(damage.position, detail));
        }
        Ok(tail)
    }

    /// Cuts `tail` off the end of the file.
    fn cut(
        &self,
        storage: &dyn Storage,
        identity: &LogIdentity,
        scan: &Scan,
        tail: &[u8],
    ) -> Result<TornTail> {
        let kept_in = if tail.iter().all(|&byte| byte == 0) {
            None
        } else {
            Some(self.keep(storage, scan.end_position, tail)?)
        };
        self.file.set_len(scan.end_position).map_err(Error::io("cut off the torn tail of", &self.path))?;
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        Ok(TornTail {
            partition: identity.topic_partition(),
            path: self.path.clone(),
            position: scan.end_position,
            bytes: tail.len() as u64,
            end_offset: scan.end_offset,
            kept_in,
        })
    }

    /// Saves the bytes that are about to be cut off, beside the segment.
    fn keep(&self, storage: &dyn Storage, position: u64, tail: &[u8]) -> Result<PathBuf> {
        let path = self.unused_name(storage, position)?;
        let file = storage.open(&path, OpenMode::CreateOrEmpty).map_err(Error::io("create", &path))?;
        write_all_at(file.as_ref(), tail, 0).map_err(Error::io("write", &path))?;
        file.sync_data().map_err(Error::io("sync", &path))?;
        self.sync_name(storage)?;
        Ok(path)
    }

    /// A name for cut bytes; a log may have been cut at the same position before.
    fn unused_name(&self, storage: &dyn Storage, position: u64) -> Result<PathBuf> {
        let mut earlier = 0;
        loop {
            let suffix = if earlier == 0 { String::new() } else { format!(".{earlier}") };
            let path = self.path.with_extension(format!("log.{position}{suffix}.torn"));
            match storage.open(&path, OpenMode::Existing) {
                Ok(_) => earlier += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(path),
                Err(error) => return Err(Error::io("open", &path)(error)),
            }
        }
    }

    /// Makes the file's content and its name survive a power loss.
    fn sync(&self, storage: &dyn Storage) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        self.sync_name(storage)
    }

    /// Makes what was created or removed beside the segment survive a power loss.
    fn sync_name(&self, storage: &dyn Storage) -> Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        storage.sync_dir(dir).map_err(Error::io("sync directory", dir))
    }

    fn read(&self, buffer: &mut Vec<u8>, position: u64, len: u64) -> Result<()> {
        buffer.resize(len as usize, 0);
        read_exact_at(self.file.as_ref(), buffer, position).map_err(Error::io("read", &self.path))
    }

    fn corrupt(&self, position: u64, detail: String) -> Error {
        Error::Corrupt { path: self.path.clone(), position, detail }
    }
}

fn bad_header(path: &Path, bad: BadHeader) -> Error {
    let path = path.to_path_buf();
    match bad {
        BadHeader::Unsupported { version } => {
            Error::UnsupportedFormat { path, found: version, supported: SegmentHeader::SUPPORTED_VERSION }
        }
        BadHeader::Damaged => {
            Error::Corrupt { path, position: 0, detail: "it does not begin with a segment header".to_owned() }
        }
    }
}

/// The offset of a valid frame in `bytes`, at any 8-byte step, that comes after `end_offset`.
fn later_frame(bytes: &[u8], seed: CrcSeed, end_offset: u64) -> Option<u64> {
    let starts = (0..bytes.len()).step_by(ALIGNMENT);
    let mut frames = starts.filter_map(|start| Frame::verified(&bytes[start..], seed).ok());
    frames.find(|frame| frame.is_record() && frame.offset() >= end_offset).map(Frame::offset)
}

/// What a scan of a segment found.
#[derive(Debug)]
struct Scan {
    /// Where the last whole batch ends.
    end_position: u64,
    end_offset: u64,
    index: OffsetIndex,
    damage: Option<Damage>,
}

/// The first byte that is no frame.
#[derive(Debug)]
struct Damage {
    position: u64,
    detail: String,
}

/// Walks through a segment's frames, batch by batch.
#[derive(Debug)]
struct Scanner {
    /// Where the next frame begins.
    position: u64,
    next_offset: u64,
    index: OffsetIndex,
    /// The batch under way.
    batch: Batch,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    position: u64,
    offset: u64,
    max_timestamp: i64,
}

impl Scanner {
    fn new(base_offset: u64) -> Self {
        let batch = Batch { position: SEGMENT_HEADER_BYTES, offset: base_offset, max_timestamp: i64::MIN };
        Self { position: batch.position, next_offset: base_offset, index: OffsetIndex::default(), batch }
    }

    /// Takes the frames at the front of `bytes`; what stopped it, if not their end.
    fn take_frames(&mut self, bytes: &[u8], seed: CrcSeed) -> Option<BadFrame> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match Frame::verified(rest, seed) {
                Ok(frame) if !frame.is_record() || frame.offset() == self.next_offset => {
                    rest = &rest[frame.len()..];
                    self.take(frame);
                }
                Ok(_) => return Some(BadFrame::Malformed),
                // A read ends anywhere; the next one begins with this frame.
                Err(BadFrame::Incomplete { .. }) if rest.len() < bytes.len() => return None,
                Err(bad) => return Some(bad),
            }
        }
        None
    }

    fn take(&mut self, frame: Frame<'_>) {
        self.position += frame.len() as u64;
        if frame.is_record() {
            self.next_offset = frame.offset() + 1;
            self.batch.max_timestamp = self.batch.max_timestamp.max(frame.timestamp());
        }
        if !frame.batch_continues() {
            if self.next_offset > self.batch.offset {
                self.index.add(self.batch.offset, self.batch.position, self.batch.max_timestamp);
            }
            self.batch = Batch { position: self.position, offset: self.next_offset, max_timestamp: i64::MIN };
        }
    }

    fn finish(self, damage: Option<Damage>) -> Scan {
        let incomplete_batch = self.position > self.batch.position;
        let damage = damage.or_else(|| {
            let detail = "the rest of a batch is missing".to_owned();
            incomplete_batch.then_some(Damage { position: self.position, detail })
        });
        Scan { end_position: self.batch.position, end_offset: self.batch.offset, index: self.index, damage }
    }
}
