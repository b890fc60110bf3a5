//! A segment: one file with consecutive frames of one partition. It begins with a header, which says whose it
//! is; the frames follow.
//!
//! ```text
//!        0                               8
//!   0    | magic "OTTLALOG"              | version       | header bytes  |
//!  16    | partition id                  | base offset                   |
//!  32    | recovery point                | creation time                 |
//!  48    | reserved, zero                | reserved      | crc           |
//! ```
//!
//! | at | field | type | meaning |
//! |---|---|---|---|
//! | 0 | magic | 8 bytes | `OTTLALOG` |
//! | 8 | version | u16, then 2 zero bytes | 1 |
//! | 12 | header bytes | u32 | 64; where the first frame begins |
//! | 16 | partition id | u64 | random; seeds the CRCs of the frames |
//! | 24 | base offset | u64 | offset of the first frame; also the file's name, in 20 digits |
//! | 32 | recovery point | u64 | first offset not known to be on stable storage when the file was made |
//! | 40 | creation time | i64 | milliseconds since the Unix epoch |
//! | 60 | crc | u32 | CRC-32 of bytes 0 to 59 |

use std::path::{Path, PathBuf};

use super::chunk::{Chunk, Memory};
use super::offset_index::{FrameStart, OffsetIndex};
use crate::error::{Error, Result};
use crate::record::frame::{BadFrame, CrcSeed, Frame};
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at, write_all_at};
use crate::sync::{AtomicBool, AtomicU64, Ordering, RwLock, TrackedArc};

pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"OTTLALOG";
const VERSION: u16 = 1;
const EXTENSION: &str = ".log";

/// How much one read from a file brings in, unless a frame is larger.
const READ_BYTES: u64 = 256 * 1024;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) partition_id: u64,
    pub(crate) base_offset: u64,
    pub(crate) recovery_point: u64,
    pub(crate) created: i64,
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Not our file, or damaged.
    Damaged,
    /// Written by a later version.
    Unsupported { version: u16 },
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(SEGMENT_HEADER_BYTES as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.partition_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.recovery_point.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> Result<Self, BadHeader> {
        if bytes[..8] != MAGIC {
            return Err(BadHeader::Damaged);
        }
        // A later version may have its CRC elsewhere, so the version is looked at first.
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > VERSION {
            return Err(BadHeader::Unsupported { version });
        }
        if crc32fast::hash(&bytes[..60]).to_le_bytes() != bytes[60..] || version != VERSION {
            return Err(BadHeader::Damaged);
        }
        let field = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at..at + 8]);
            field
        };
        Ok(Self {
            partition_id: u64::from_le_bytes(field(16)),
            base_offset: u64::from_le_bytes(field(24)),
            recovery_point: u64::from_le_bytes(field(32)),
            created: i64::from_le_bytes(field(40)),
        })
    }

    /// The highest version that [`SegmentHeader::decode`] reads.
    pub(crate) const SUPPORTED_VERSION: u16 = VERSION;
}

/// The name of the segment file that begins with `base_offset`.
pub(crate) fn segment_file_name(base_offset: u64) -> String {
    format!("{base_offset:020}{EXTENSION}")
}

/// The base offset in the name of a segment file; `None` for any other file.
pub(crate) fn base_offset_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(EXTENSION)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// A segment that can be read; the active one also grows, through the partition's lock holder.
#[derive(Debug)]
pub(crate) struct Segment {
    base_offset: u64,
    path: PathBuf,
    file: Box<dyn StorageFile>,
    crc_seed: CrcSeed,
    /// Where the bytes end that may be read from the file. What follows, if anything, is in chunks; the
    /// mark moves when such a chunk leaves the view.
    readable: AtomicU64,
    /// Added to by the holder of the partition's lock, read by anybody who seeks.
    index: RwLock<OffsetIndex>,
    /// Whether the file's name is known to survive a power loss.
    name_synced: AtomicBool,
}

impl Segment {
    /// Makes the file with its header. A file of that name that is there already is left from an attempt
    /// that failed, and is emptied.
    pub(crate) fn create(storage: &dyn Storage, dir: &Path, header: &SegmentHeader) -> Result<Self> {
        let path = dir.join(segment_file_name(header.base_offset));
        let file = storage.open(&path, OpenMode::CreateOrEmpty).map_err(Error::io("create", &path))?;
        write_all_at(file.as_ref(), &header.encode(), 0).map_err(Error::io("write", &path))?;
        let index = OffsetIndex::default();
        Ok(Self::new(header, path, file, SEGMENT_HEADER_BYTES, index))
    }

    /// Removes the file of a segment, if it is there.
    pub(crate) fn remove(storage: &dyn Storage, dir: &Path, base_offset: u64) -> Result<()> {
        let path = dir.join(segment_file_name(base_offset));
        match storage.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// A segment whose file holds valid frames up to `end`.
    pub(crate) fn new(
        header: &SegmentHeader,
        path: PathBuf,
        file: Box<dyn StorageFile>,
        end: u64,
        index: OffsetIndex,
    ) -> Self {
        Self {
            base_offset: header.base_offset,
            path,
            file,
            crc_seed: CrcSeed::new(header.partition_id),
            readable: AtomicU64::new(end),
            index: RwLock::new(index),
            name_synced: AtomicBool::new(false),
        }
    }

    pub(crate) fn base_offset(&self) -> u64 {
        self.base_offset
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where its first frame begins, or will.
    pub(crate) fn first_frame(&self) -> FrameStart {
        FrameStart { offset: self.base_offset, position: SEGMENT_HEADER_BYTES }
    }

    pub(crate) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// From now on, bytes up to `end` are read from the file.
    pub(crate) fn set_readable(&self, end: u64) {
        self.readable.store(end, Ordering::Release);
    }

    pub(crate) fn index(&self) -> &RwLock<OffsetIndex> {
        &self.index
    }

    /// Writes frames at `position`, the end of the file. After an error the file is cut back to `position`;
    /// failing that, the error says so, and the segment must not be written to again.
    pub(crate) fn append(&self, frames: &[u8], position: u64) -> Result<(), WriteError> {
        let Err(error) = write_all_at(self.file.as_ref(), frames, position) else { return Ok(()) };
        let error = Error::io("write", &self.path)(error);
        match self.file.set_len(position) {
            Ok(()) => Err(WriteError::Undone(error)),
            Err(cut) => Err(WriteError::NotUndone(format!("{error}; and it cannot be cut back: {cut}"))),
        }
    }

    /// Makes the file's content and its name survive a power loss.
    pub(crate) fn sync(&self, storage: &dyn Storage) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        if !self.name_synced.load(Ordering::Acquire) {
            let dir = self.path.parent().unwrap_or(Path::new("."));
            storage.sync_dir(dir).map_err(Error::io("sync directory", dir))?;
            self.name_synced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Reads whole frames from `start` on, as many as one read brings in, and verifies each: its bytes, and
    /// that it is the record that belongs there. `None` at `end`, which must be readable.
    pub(crate) fn read(&self, start: FrameStart, end: u64) -> Result<Option<Block>> {
        let position = start.position;
        let available = end.saturating_sub(position);
        let mut wanted = available.min(READ_BYTES);
        while wanted > 0 {
            let mut memory = Memory::zeroed(wanted as usize);
            let bytes = memory.bytes_mut(wanted as usize);
            read_exact_at(self.file.as_ref(), bytes, position).map_err(Error::io("read", &self.path))?;
            match self.verify(bytes, start)? {
                Verified::Frames(found) => return Ok(Some(found.into_block(memory, position))),
                Verified::NeedsMore(needed) if needed <= available => wanted = needed,
                Verified::NeedsMore(needed) => {
                    let detail = format!("a frame of {needed} bytes goes beyond the end of the log");
                    return Err(self.corrupt(position, detail));
                }
            }
        }
        Ok(None)
    }

    /// The good frames at the front of `bytes`. What follows them, cut off or damaged, is where the next
    /// read begins; at the very front it is an error.
    fn verify(&self, bytes: &[u8], start: FrameStart) -> Result<Verified> {
        let mut found = FoundFrames { bytes: 0, records: 0, first_offset: start.offset };
        while found.bytes < bytes.len() {
            match Frame::verified(&bytes[found.bytes..], self.crc_seed) {
                Ok(frame) if !frame.is_record() || frame.offset() == found.next_offset() => found.add(frame),
                _ if found.bytes > 0 => break,
                Ok(frame) => {
                    let detail = format!("offset {} is there, not {}", frame.offset(), start.offset);
                    return Err(self.corrupt(start.position, detail));
                }
                Err(BadFrame::Incomplete { needed }) => return Ok(Verified::NeedsMore(needed as u64)),
                Err(bad) => return Err(self.corrupt(start.position, bad.to_string())),
            }
        }
        Ok(Verified::Frames(found))
    }

    fn corrupt(&self, position: u64, detail: String) -> Error {
        Error::Corrupt { path: self.path.clone(), position, detail }
    }
}

/// How a change to a log's files failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The files are as before.
    Undone(Error),
    /// Something was left that is none of the log, and which would lie across it if it went on.
    NotUndone(String),
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
}

/// Good frames of consecutive offsets.
#[derive(Debug)]
struct FoundFrames {
    bytes: usize,
    records: u64,
    first_offset: u64,
}

impl FoundFrames {
    fn next_offset(&self) -> u64 {
        self.first_offset + self.records
    }

    fn add(&mut self, frame: Frame<'_>) {
        self.bytes += frame.len();
        self.records += u64::from(frame.is_record());
    }

    fn into_block(self, memory: Memory, position: u64) -> Block {
        let next = FrameStart { offset: self.next_offset(), position: position + self.bytes as u64 };
        let chunk = Chunk::complete(memory, self.first_offset, self.records, self.bytes);
        Block { chunk, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        partition_id: 7,
        base_offset: 1_000,
        recovery_point: 900,
        created: 1_593_093_960_000,
    };

    #[test]
    fn the_header_comes_back_and_every_flipped_bit_is_noticed() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Unsupported { version: 2 }));
    }

    #[test]
    fn file_names_carry_the_base_offset_in_twenty_digits() {
        assert_eq!(segment_file_name(1_000), "00000000000000001000.log");
        assert_eq!(base_offset_of("00000000000000001000.log"), Some(1_000));
        for other in ["1000.log", "00000000000000001000.index", "0000000000000000100x.log", "catalog"] {
            assert_eq!(base_offset_of(other), None, "{other}");
        }
    }
}
