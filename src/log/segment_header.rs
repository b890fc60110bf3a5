//! The header of a segment's file: whose it is, and what was safe when it was made.
//!
//! ```text
//!        0                               8
//!   0    | magic "OTTLALOG"              | version       | header bytes  |
//!  16    | partition id                  | base offset                   |
//!  32    | recovery point                | creation time                 |
//!  48    | previous base offset          | reserved      | crc           |
//!  64    | end offset                    | part          | crc           |  version 2 only
//! ```
//!
//! | at | field | type | meaning |
//! |---|---|---|---|
//! | 0 | magic | 8 bytes | `OTTLALOG` |
//! | 8 | version | u16, then 2 zero bytes | 1; 2 if it was written by compaction |
//! | 12 | header bytes | u32 | where the first frame begins: 64 or 80, or a larger multiple of 8 |
//! | 16 | partition id | u64 | random; seeds the CRCs of the frames |
//! | 24 | base offset | u64 | offset of the first frame; also the file's name, in 20 digits |
//! | 32 | recovery point | u64 | first offset not known to be on stable storage when the file was made |
//! | 40 | creation time | i64 | milliseconds since the Unix epoch |
//! | 48 | previous | u64 | base offset of the segment before this one; all ones: none |
//! | 60 | crc | u32 | CRC-32 of bytes 0 to 59 |
//! | 64 | end offset | u64 | version 2: the offset behind what the file holds, gaps included |
//! | 72 | part | u32 | version 2: 1 if records in it may have been superseded within it, otherwise 0 |
//! | 76 | crc | u32 | version 2: CRC-32 of bytes 64 to 75 |

use crate::error::Result;
use crate::ids::MAX_OFFSET;
use crate::record::frame::ALIGNMENT;

/// What a header takes, and where the first frame of an ordinary segment begins.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
/// The same for a segment that was compacted.
pub(crate) const COMPACTED_HEADER_BYTES: u64 = 80;
const MAGIC: [u8; 8] = *b"OTTLALOG";
const VERSION: u16 = 1;
const COMPACTED_VERSION: u16 = 2;
const EXTENSION: &str = ".log";
/// Behind the name of a segment that is still being written, to take the place of another one.
pub(super) const UNFINISHED: &str = ".new";
const NO_PREVIOUS: u64 = u64::MAX;
const FIRST_BYTES: usize = SEGMENT_HEADER_BYTES as usize;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) partition_id: u64,
    pub(crate) base_offset: u64,
    /// Where the first frame begins.
    pub(crate) first_position: u64,
    pub(crate) recovery_point: u64,
    pub(crate) created: i64,
    /// The base offset of the segment before it, if there was one.
    pub(crate) previous: Option<u64>,
    /// If compaction wrote it.
    pub(crate) compacted: Option<CompactedTo>,
}

/// What a segment says of itself that compaction wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactedTo {
    /// Behind what the file holds, gaps included. The file was complete and synced before it got its name.
    pub(crate) end_offset: u64,
    /// Whether no record in it is superseded by another one in it.
    pub(crate) is_whole: bool,
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
    /// The highest version that [`SegmentHeader::decode`] reads.
    pub(crate) const SUPPORTED_VERSION: u16 = COMPACTED_VERSION;

    /// What it takes.
    pub(crate) fn len(&self) -> u64 {
        if self.compacted.is_some() { COMPACTED_HEADER_BYTES } else { SEGMENT_HEADER_BYTES }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len() as usize];
        let version = if self.compacted.is_some() { COMPACTED_VERSION } else { VERSION };
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.first_position as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.partition_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.recovery_point.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous.unwrap_or(NO_PREVIOUS).to_le_bytes());
        seal(&mut bytes[..FIRST_BYTES]);
        if let Some(CompactedTo { end_offset, is_whole }) = self.compacted {
            bytes[64..72].copy_from_slice(&end_offset.to_le_bytes());
            bytes[72..76].copy_from_slice(&u32::from(!is_whole).to_le_bytes());
            seal(&mut bytes[FIRST_BYTES..]);
        }
        bytes
    }

    /// The header at the front of `bytes`; 64 of them are there, and 80 if the file is as long.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let (first, rest) = bytes.split_at_checked(FIRST_BYTES).ok_or(BadHeader::Damaged)?;
        if first[..8] != MAGIC {
            return Err(BadHeader::Damaged);
        }
        let version = u16::from_le_bytes([first[8], first[9]]);
        if !(VERSION..=COMPACTED_VERSION).contains(&version) {
            let is_ours =
                version < VERSION || is_whole_as(first, VERSION) || is_whole_as(first, COMPACTED_VERSION);
            return Err(if is_ours { BadHeader::Damaged } else { BadHeader::Unsupported { version } });
        }
        let compacted = (version == COMPACTED_VERSION).then(|| decode_compacted(rest)).transpose()?;
        let first_position = u64::from(u32::from_le_bytes(field(first, 12)));
        let [base_offset, recovery_point] = [24, 32].map(|at| u64::from_le_bytes(field(first, at)));
        let header = Self {
            partition_id: u64::from_le_bytes(field(first, 16)),
            base_offset,
            first_position,
            recovery_point,
            created: i64::from_le_bytes(field(first, 40)),
            previous: Some(u64::from_le_bytes(field(first, 48))).filter(|&previous| previous != NO_PREVIOUS),
            compacted,
        };
        let is_plausible = first_position >= header.len() && first_position.is_multiple_of(ALIGNMENT as u64);
        if !has_crc(first) || !is_plausible || base_offset.max(recovery_point) > MAX_OFFSET {
            return Err(BadHeader::Damaged);
        }
        Ok(header)
    }
}

fn decode_compacted(bytes: &[u8]) -> Result<CompactedTo, BadHeader> {
    let bytes = bytes.get(..(COMPACTED_HEADER_BYTES - SEGMENT_HEADER_BYTES) as usize);
    let bytes = bytes.filter(|bytes| has_crc(bytes)).ok_or(BadHeader::Damaged)?;
    let end_offset = u64::from_le_bytes(field(bytes, 0));
    let part = u32::from_le_bytes(field(bytes, 8));
    if end_offset > MAX_OFFSET || part > 1 {
        return Err(BadHeader::Damaged);
    }
    Ok(CompactedTo { end_offset, is_whole: part == 0 })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// Whether it is a header of that version of which the version itself is damaged. A later version may have
/// its CRC elsewhere.
fn is_whole_as(first: &[u8], version: u16) -> bool {
    let mut ours = first.to_vec();
    ours[8..10].copy_from_slice(&version.to_le_bytes());
    has_crc(&ours)
}

/// Writes into the last four bytes the CRC of those before them.
fn seal(bytes: &mut [u8]) {
    let (content, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
}

fn has_crc(bytes: &[u8]) -> bool {
    let (content, crc) = bytes.split_at(bytes.len() - 4);
    crc32fast::hash(content).to_le_bytes() == crc
}

/// The name of the segment file that begins with `base_offset`.
pub(crate) fn segment_file_name(base_offset: u64) -> String {
    format!("{base_offset:020}{EXTENSION}")
}

/// The base offset in the name of a segment file; `None` for any other file.
pub(crate) fn base_offset_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(EXTENSION).filter(|digits| digits.len() == 20)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|base_offset| is_number && *base_offset <= MAX_OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        partition_id: 7,
        base_offset: 1_000,
        first_position: 4_096,
        recovery_point: 900,
        created: 1_593_093_960_000,
        previous: Some(800),
        compacted: None,
    };

    #[test]
    fn the_header_comes_back_and_every_flipped_bit_is_damage() {
        let compacted = [(5_000, true), (MAX_OFFSET, false)]
            .map(|(end_offset, is_whole)| Some(CompactedTo { end_offset, is_whole }))
            .map(|compacted| SegmentHeader { compacted, ..HEADER });
        for header in [HEADER, SegmentHeader { previous: None, ..HEADER }, compacted[0], compacted[1]] {
            let bytes = header.encode();
            assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(SegmentHeader::decode(&flipped), Err(BadHeader::Damaged), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = HEADER.encode();
        bytes[8] = 3;
        bytes[50] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Unsupported { version: 3 }));
    }

    #[test]
    fn file_names_carry_the_base_offset_in_twenty_digits() {
        assert_eq!(segment_file_name(1_000), "00000000000000001000.log");
        assert_eq!(base_offset_of("00000000000000001000.log"), Some(1_000));
        for other in [
            "1000.log",
            "00000000000000001000.index",
            "0000000000000000100x.log",
            "+0000000000000001000.log",
            "09223372036854775808.log",
            "catalog",
        ] {
            assert_eq!(base_offset_of(other), None, "{other}");
        }
    }
}
