//! The files of a partition: finding them, reading their headers, setting bytes and files aside.

use std::path::{Path, PathBuf};

use super::super::identity::LogIdentity;
use super::super::offset_index::FrameStart;
use super::super::scan::Source;
use super::super::segment::{OpenFile, create_file};
use super::super::segment_header::{
    BadHeader, COMPACTED_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, UNFINISHED, base_offset_of,
    segment_file_name,
};
use crate::error::{Error, Result};
use crate::record::frame::CrcSeed;
use crate::storage::{OpenMode, Storage, is_all_zero, read_exact_at, write_all_at};
use crate::sync::Arc;

/// A file of the log.
#[derive(Debug)]
pub(super) struct SegmentFile {
    /// As its name says.
    pub(super) base_offset: u64,
    pub(super) header: Header,
    pub(super) path: PathBuf,
    /// Open from one use to the next, or not.
    kept: Option<OpenFile>,
    pub(super) len: u64,
}

/// What a file begins with.
#[derive(Debug)]
pub(super) enum Header {
    Good(SegmentHeader),
    /// Not there yet: the file is shorter, or all zeros.
    Missing,
    /// Not one of this segment, for this reason.
    Damaged(String),
}

/// The files in a partition's directory.
#[derive(Debug)]
pub(super) struct Found {
    /// Those that hold the log, by base offset.
    pub(super) files: Vec<SegmentFile>,
    /// Those before them, which hold deleted records only, and those that were never finished.
    pub(super) leftovers: Vec<PathBuf>,
}

/// How many files stay open at most when their headers were read: the last ones, which are read on.
const KEPT_OPEN: usize = 2;

/// Finds the segments from the one that holds `start_offset` on, and reads their headers. Fails if one was
/// written by a later version.
pub(super) fn find(
    storage: &dyn Storage,
    dir: &Path,
    identity: &LogIdentity,
    start_offset: u64,
) -> Result<Found> {
    let names = match storage.list(dir) {
        // The directory itself may be what is missing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        outcome => outcome.map_err(Error::io("list", dir))?,
    };
    let mut base_offsets: Vec<u64> = names.iter().filter_map(|name| base_offset_of(name)).collect();
    base_offsets.sort_unstable();
    let open = |base_offset: u64| SegmentFile::open(storage, dir, base_offset, identity);
    let mut first = base_offsets.partition_point(|base| *base <= start_offset).saturating_sub(1);
    let last = base_offsets.len().saturating_sub(KEPT_OPEN);
    let numbered = base_offsets.iter().enumerate().skip(first);
    let opened = numbered.map(|(number, &base)| {
        let mut file = open(base)?;
        if number < last {
            file.close();
        }
        Ok(file)
    });
    let mut files = opened.collect::<Result<Vec<_>>>()?;
    if first > 0 && files.first().is_some_and(|file| file.good_header().is_none()) {
        // The log may not have come so far; the segment that says so is the one before.
        first -= 1;
        files.insert(0, open(base_offsets[first])?);
    }
    let before = base_offsets[..first].iter().map(|&base| segment_file_name(base));
    // What was being written to take the place of a segment, when the process ended.
    let unfinished = names.into_iter().filter(|name| {
        name.strip_suffix(UNFINISHED).is_some_and(|segment| base_offset_of(segment).is_some())
    });
    let leftovers = before.chain(unfinished).map(|name| dir.join(name)).collect();
    Ok(Found { files, leftovers })
}

/// Makes an empty segment that survives a power loss.
pub(super) fn create(storage: &dyn Storage, dir: &Path, header: &SegmentHeader) -> Result<SegmentFile> {
    let path = dir.join(segment_file_name(header.base_offset));
    let file = create_file(storage, &path, header)?;
    let (base_offset, len) = (header.base_offset, SEGMENT_HEADER_BYTES);
    let kept = Some(OpenFile::from(file));
    let made = SegmentFile { base_offset, header: Header::Good(*header), path, kept, len };
    made.sync(storage)?;
    Ok(made)
}

impl SegmentFile {
    fn open(storage: &dyn Storage, dir: &Path, base_offset: u64, identity: &LogIdentity) -> Result<Self> {
        let path = dir.join(segment_file_name(base_offset));
        let mut found = Self { base_offset, header: Header::Missing, path, kept: None, len: 0 };
        let file = found.keep_open(storage)?;
        found.len = file.len().map_err(Error::io("measure", &found.path))?;
        found.header = found.read_header(storage, &file, identity)?;
        Ok(found)
    }

    /// Opens the file unless it is open, for as long as it is not [closed](Self::close).
    pub(super) fn keep_open(&mut self, storage: &dyn Storage) -> Result<OpenFile> {
        let file = self.file(storage)?;
        self.kept = Some(Arc::clone(&file));
        Ok(file)
    }

    pub(super) fn close(&mut self) {
        self.kept = None;
    }

    /// The file, open as long as this is there.
    fn file(&self, storage: &dyn Storage) -> Result<OpenFile> {
        match &self.kept {
            Some(file) => Ok(Arc::clone(file)),
            None => {
                let opened = storage.open(&self.path, OpenMode::Existing);
                opened.map(OpenFile::from).map_err(Error::io("open", &self.path))
            }
        }
    }

    fn read_header(&self, storage: &dyn Storage, file: &OpenFile, identity: &LogIdentity) -> Result<Header> {
        let mut bytes = vec![0; self.len.min(COMPACTED_HEADER_BYTES) as usize];
        if self.len < SEGMENT_HEADER_BYTES {
            return Ok(Header::Missing);
        }
        read_exact_at(file.as_ref(), &mut bytes, 0).map_err(Error::io("read", &self.path))?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => header,
            Err(BadHeader::Unsupported { version }) => {
                let (path, supported) = (self.path.clone(), SegmentHeader::SUPPORTED_VERSION);
                return Err(Error::UnsupportedFormat { path, found: version, supported });
            }
            Err(BadHeader::Damaged) if self.is_zero_from(storage, 0)? => return Ok(Header::Missing),
            Err(BadHeader::Damaged) => {
                return Ok(Header::Damaged("it does not begin with a segment header".to_owned()));
            }
        };
        if header.partition_id != identity.id || header.base_offset != self.base_offset {
            return Ok(Header::Damaged(format!(
                "it says partition id {:016x} and base offset {}, expected {:016x} and {}",
                header.partition_id, header.base_offset, identity.id, self.base_offset
            )));
        }
        Ok(Header::Good(header))
    }

    pub(super) fn good_header(&self) -> Option<&SegmentHeader> {
        match &self.header {
            Header::Good(header) => Some(header),
            Header::Missing | Header::Damaged(_) => None,
        }
    }

    /// Where the first frame begins; without a header, where it usually does.
    pub(super) fn first(&self) -> FrameStart {
        let position = self.good_header().map_or(SEGMENT_HEADER_BYTES, |header| header.first_position);
        FrameStart { offset: self.base_offset, position }
    }

    /// Its frames, up to those that the next segment has.
    pub(super) fn source<'a>(
        &'a self,
        file: &'a OpenFile,
        seed: CrcSeed,
        end_offset: u64,
        kept_from: u64,
    ) -> Source<'a> {
        Source { file: file.as_ref(), path: &self.path, seed, len: self.len, end_offset, kept_from }
    }

    /// Whether nothing but zeros comes behind `position`.
    pub(super) fn is_zero_from(&self, storage: &dyn Storage, position: u64) -> Result<bool> {
        is_all_zero(self.file(storage)?.as_ref(), position, self.len).map_err(Error::io("read", &self.path))
    }

    /// Cuts the file off at `position`; the bytes are kept in the file whose name is returned, unless they
    /// are zeros.
    pub(super) fn cut(&self, storage: &dyn Storage, position: u64) -> Result<Option<PathBuf>> {
        let file = self.file(storage)?;
        let is_zero = self.is_zero_from(storage, position)?;
        let kept_in = if is_zero { None } else { Some(self.keep(storage, &file, position)?) };
        file.set_len(position).map_err(Error::io("cut off the torn tail of", &self.path))?;
        file.sync_data().map_err(Error::io("sync", &self.path))?;
        Ok(kept_in)
    }

    /// Saves the bytes that are about to be cut off, beside the segment.
    fn keep(&self, storage: &dyn Storage, file: &OpenFile, position: u64) -> Result<PathBuf> {
        const COPY_BYTES: u64 = 1 << 20;
        let path = self.unused_name(storage, position)?;
        let copy = storage.open(&path, OpenMode::CreateOrEmpty).map_err(Error::io("create", &path))?;
        let mut buffer = Vec::new();
        let mut at = position;
        while at < self.len {
            buffer.resize((self.len - at).min(COPY_BYTES) as usize, 0);
            read_exact_at(file.as_ref(), &mut buffer, at).map_err(Error::io("read", &self.path))?;
            write_all_at(copy.as_ref(), &buffer, at - position).map_err(Error::io("write", &path))?;
            at += buffer.len() as u64;
        }
        copy.sync_data().map_err(Error::io("sync", &path))?;
        self.sync_name(storage)?;
        Ok(path)
    }

    /// Takes the whole file out of the log; its new name, or `None` if it was removed because nothing is in
    /// it.
    pub(super) fn set_aside(&self, storage: &dyn Storage) -> Result<Option<PathBuf>> {
        if self.len < SEGMENT_HEADER_BYTES || self.is_zero_from(storage, 0)? {
            storage.remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
            return Ok(None);
        }
        let path = self.unused_name(storage, 0)?;
        storage.rename(&self.path, &path).map_err(Error::io("rename", &self.path))?;
        Ok(Some(path))
    }

    /// A name for cut bytes; a log may have been cut at the same position before.
    fn unused_name(&self, storage: &dyn Storage, position: u64) -> Result<PathBuf> {
        let mut earlier = 0;
        loop {
            let suffix = if earlier == 0 { String::new() } else { format!(".{earlier}") };
            let path = self.path.with_extension(format!("log.{position}{suffix}.torn"));
            match storage.open(&path, OpenMode::ReadOnly) {
                Ok(_) => earlier += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(path),
                Err(error) => return Err(Error::io("open", &path)(error)),
            }
        }
    }

    /// Makes the file's content and its name survive a power loss.
    pub(super) fn sync(&self, storage: &dyn Storage) -> Result<()> {
        self.sync_content(storage)?;
        self.sync_name(storage)
    }

    pub(super) fn sync_content(&self, storage: &dyn Storage) -> Result<()> {
        self.file(storage)?.sync_data().map_err(Error::io("sync", &self.path))
    }

    /// Makes what was created, renamed or removed beside the segment survive a power loss.
    pub(super) fn sync_name(&self, storage: &dyn Storage) -> Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        storage.sync_dir(dir).map_err(Error::io("sync directory", dir))
    }
}
