//! A reader of whole, undamaged files, written from `docs/format.md` alone: where each frame lies. It also
//! finds out whether the library writes what that page says.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A frame, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct FrameAt {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Range<usize>,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Record {
        offset: u64,
        /// More records of the same batch follow.
        continues: bool,
    },
    /// A sync mark: everything below this offset was on stable storage.
    Mark { synced: u64 },
}

pub(crate) const HEADER_BYTES: usize = 64;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) first: usize,
    pub(crate) partition_id: u64,
    pub(crate) base_offset: u64,
    pub(crate) recovery_point: u64,
}

/// Of each byte by itself.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

pub(crate) fn crc32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    !bytes
        .into_iter()
        .fold(!0, |crc: u32, byte| (crc >> 8) ^ CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |part| u32::from_le_bytes(*part))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |part| u64::from_le_bytes(*part))
}

/// The header of a segment, if there is a good one.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, String> {
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Err("there is no header".to_owned()) };
    if !header.starts_with(b"OTTLALOG\x01\0\0\0") || crc32(header[..60].iter().copied()) != u32_at(header, 60)
    {
        return Err("its header is not as the format says".to_owned());
    }
    Ok(Header {
        first: u32_at(header, 12) as usize,
        partition_id: u64_at(header, 16),
        base_offset: u64_at(header, 24),
        recovery_point: u64_at(header, 32),
    })
}

/// All frames of a whole segment.
pub(crate) fn frames(path: &Path, bytes: &[u8]) -> Result<Vec<FrameAt>, String> {
    let header = header(bytes)?;
    let mut frames = Vec::new();
    let mut at = header.first;
    let mut next = header.base_offset;
    while at < bytes.len() {
        let frame =
            frame(&bytes[at..], header.partition_id).map_err(|what| format!("at byte {at}: {what}"))?;
        let what = match bytes[at + 38] {
            0 => What::Record { offset: u64_at(frame, 8), continues: frame[39] & 1 == 1 },
            1 => What::Mark { synced: u64_at(frame, 40) },
            kind => return Err(format!("at byte {at}: kind {kind}")),
        };
        if let What::Record { offset, .. } = what {
            if offset != next {
                return Err(format!("at byte {at}: offset {offset}, not {next}"));
            }
            next += 1;
        }
        frames.push(FrameAt { path: path.to_path_buf(), bytes: at..at + frame.len(), what });
        at += frame.len();
    }
    Ok(frames)
}

fn crc_of(frame: &[u8], partition_id: u64) -> u32 {
    crc32(partition_id.to_le_bytes().into_iter().chain(frame[4..].iter().copied()))
}

/// Frames like this one with lengths that contradict each other, or headers that do not fill their bytes, and
/// yet the right checksum.
pub(crate) fn forged(frame: &[u8], partition_id: u64) -> impl Iterator<Item = Vec<u8>> {
    const LENGTH: usize = 4;
    const VALUE: usize = 24;
    const HEADERS: usize = 32;
    const COUNT: usize = 36;
    let lies = [
        (LENGTH, 8),
        (LENGTH, -8),
        (LENGTH, 1 << 20),
        (VALUE, 8),
        (VALUE, 1 << 30),
        (HEADERS, 8),
        (COUNT, 1),
    ];
    lies.into_iter().map(move |(at, add)| {
        let mut forged = frame.to_vec();
        forged[at..at + 4].copy_from_slice(&u32_at(frame, at).wrapping_add_signed(add).to_le_bytes());
        let crc = crc_of(&forged, partition_id);
        forged[..4].copy_from_slice(&crc.to_le_bytes());
        forged
    })
}

/// The frame at the front of `bytes`.
pub(crate) fn frame(bytes: &[u8], partition_id: u64) -> Result<&[u8], String> {
    let Some(header) = bytes.get(..40) else { return Err("no frame".to_owned()) };
    let len = u32_at(header, 4) as usize;
    let part = |at| Some(u32_at(header, at)).filter(|len| *len != u32::MAX).unwrap_or(0) as usize;
    let sum = 40 + part(24) + part(28) + u32_at(header, 32) as usize;
    if len != sum.next_multiple_of(8) {
        return Err(format!("the length is {len}, of the parts {sum}"));
    }
    let Some(frame) = bytes.get(..len) else { return Err("the frame is cut off".to_owned()) };
    if crc_of(frame, partition_id) != u32_at(frame, 0) {
        return Err("the checksum is not the one of the format".to_owned());
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    #[test]
    fn the_example_of_the_format_page_is_read_and_any_other_byte_is_not() {
        const ID: u64 = 0x0123_4567_89ab_cdef;
        let page = include_str!("../../../../docs/format.md");
        let example = page.lines().find(|line| line.starts_with("b687ca2d")).expect("the example");
        let example = bytes(example);
        assert_eq!(frame(&example, ID), Ok(&example[..]));
        for at in 0..example.len() {
            let mut wrong = example.clone();
            wrong[at] ^= 1;
            assert!(frame(&wrong, ID).is_err(), "byte {at}");
        }
        for forged in forged(&example, ID) {
            assert_eq!(crc_of(&forged, ID), u32_at(&forged, 0));
        }
    }
}
