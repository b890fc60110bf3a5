//! The header of a segment's file: whose it is, and what was safe when it was made.
//!
//! ```text
//!        0                               8
//!   0    | magic "OTTLALOG"              | version       | header bytes  |
//!  16    | partition id                  | base offset                   |
//!  32    | recovery point                | creation time                 |
//!  48    | previous base offset          | reserved      | crc           |
//! ```
//!
//! | at | field | type | meaning |
//! |---|---|---|---|
//! | 0 | magic | 8 bytes | `OTTLALOG` |
//! | 8 | version | u16, then 2 zero bytes | 1 |
//! | 12 | header bytes | u32 | where the first frame begins: 64, or a larger multiple of 8 |
//! | 16 | partition id | u64 | random; seeds the CRCs of the frames |
//! | 24 | base offset | u64 | offset of the first frame; also the file's name, in 20 digits |
//! | 32 | recovery point | u64 | first offset not known to be on stable storage when the file was made |
//! | 40 | creation time | i64 | milliseconds since the Unix epoch |
//! | 48 | previous | u64 | base offset of the segment before this one; all ones: none |
//! | 60 | crc | u32 | CRC-32 of bytes 0 to 59 |

use crate::error::Result;
use crate::ids::MAX_OFFSET;
use crate::record::frame::ALIGNMENT;

/// What a header takes, and where the first frame of an ordinary segment begins.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"OTTLALOG";
const VERSION: u16 = 1;
const EXTENSION: &str = ".log";
/// Behind the name of a segment that is still being written, to take the place of another one.
pub(super) const UNFINISHED: &str = ".new";
const NO_PREVIOUS: u64 = u64::MAX;

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
        bytes[12..16].copy_from_slice(&(self.first_position as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.partition_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.recovery_point.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous.unwrap_or(NO_PREVIOUS).to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> Result<Self, BadHeader> {
        if bytes[..8] != MAGIC {
            return Err(BadHeader::Damaged);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            // A later version may have its CRC elsewhere. One of ours whose version was damaged is whole
            // otherwise.
            let mut ours = *bytes;
            ours[8..10].copy_from_slice(&VERSION.to_le_bytes());
            let is_ours = version < VERSION || has_crc(&ours);
            return Err(if is_ours { BadHeader::Damaged } else { BadHeader::Unsupported { version } });
        }
        let field = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at..at + 8]);
            field
        };
        let first_position = u64::from(u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
        let is_plausible =
            first_position >= SEGMENT_HEADER_BYTES && first_position.is_multiple_of(ALIGNMENT as u64);
        let [base_offset, recovery_point] = [24, 32].map(|at| u64::from_le_bytes(field(at)));
        if !has_crc(bytes) || !is_plausible || base_offset.max(recovery_point) > MAX_OFFSET {
            return Err(BadHeader::Damaged);
        }
        Ok(Self {
            partition_id: u64::from_le_bytes(field(16)),
            base_offset,
            first_position,
            recovery_point,
            created: i64::from_le_bytes(field(40)),
            previous: Some(u64::from_le_bytes(field(48))).filter(|&previous| previous != NO_PREVIOUS),
        })
    }

    /// The highest version that [`SegmentHeader::decode`] reads.
    pub(crate) const SUPPORTED_VERSION: u16 = VERSION;
}

fn has_crc(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> bool {
    crc32fast::hash(&bytes[..60]).to_le_bytes() == bytes[60..]
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
    };

    #[test]
    fn the_header_comes_back_and_every_flipped_bit_is_damage() {
        for header in [HEADER, SegmentHeader { previous: None, ..HEADER }] {
            let bytes = header.encode();
            assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(SegmentHeader::decode(&flipped), Err(BadHeader::Damaged), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        bytes[50] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Unsupported { version: 2 }));
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
