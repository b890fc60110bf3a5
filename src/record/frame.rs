//! The frame: a record's bytes in the log, the same in memory, on disk and in a reader's hands.
//!
//! ```text
//!        0               4               8                              16
//!   0    | crc           | length        | offset                        |
//!  16    | timestamp                     | value length  | key length    |
//!  32    | headers bytes | count | k | f | value ...
//! ```
//!
//! | at | field | type | meaning |
//! |---|---|---|---|
//! | 0 | crc | u32 | CRC-32 of the partition's id (8 bytes) and all that follows in the frame |
//! | 4 | length | u32 | of the whole frame, padding included; a multiple of 8 |
//! | 8 | offset | u64 | number of the record in its partition |
//! | 16 | timestamp | i64 | milliseconds since the Unix epoch |
//! | 24 | value length | u32 | all ones: the value is null |
//! | 28 | key length | u32 | all ones: the key is null |
//! | 32 | headers bytes | u32 | of all headers together |
//! | 36 | count | u16 | number of headers |
//! | 38 | kind (k) | u8 | 0: a record; 1: a sync mark; 2: a gap; 3: a horizon; only 0 is a record |
//! | 39 | flags (f) | u8 | bit 0: more frames of the same batch follow |
//!
//! Value, key and headers follow in this order, then zeros up to a multiple of 8: frames begin 8-byte
//! aligned, and so does every value. Integers are little-endian.

use std::fmt;

use super::headers::{self, Header, Headers};
use crate::ids::MAX_OFFSET;
use crate::seeded_bugs::{Bug, is_planted};

pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const ALIGNMENT: usize = 8;

const CRC: usize = 0;
const LENGTH: usize = 4;
const OFFSET: usize = 8;
const TIMESTAMP: usize = 16;
const VALUE_LENGTH: usize = 24;
const KEY_LENGTH: usize = 28;
const HEADERS_BYTES: usize = 32;
const HEADER_COUNT: usize = 36;
const KIND: usize = 38;
const FLAGS: usize = 39;

const NULL: u32 = u32::MAX;
const KIND_RECORD: u8 = 0;
const KIND_SYNC_MARK: u8 = 1;
const KIND_GAP: u8 = 2;
const KIND_HORIZON: u8 = 3;
const FLAG_BATCH_CONTINUES: u8 = 1;

const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT) && FLAGS + 1 == HEADER_BYTES);

/// A record on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    pub(crate) timestamp: i64,
}

impl NewRecord<'_> {
    /// The bytes of key, value and headers.
    #[inline]
    pub(crate) fn payload_bytes(&self) -> usize {
        let headers = if self.headers.is_empty() { 0 } else { headers::encoded_bytes(self.headers) };
        self.value.map_or(0, <[u8]>::len) + self.key.map_or(0, <[u8]>::len) + headers
    }

    /// The bytes the record takes in the log.
    #[inline]
    pub(crate) fn frame_bytes(&self) -> usize {
        (HEADER_BYTES + self.payload_bytes()).next_multiple_of(ALIGNMENT)
    }
}

/// What the log adds to a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) offset: u64,
    /// More records of the same batch follow.
    pub(crate) batch_continues: bool,
    /// `None` leaves the CRC out: in memory nobody checks it.
    pub(crate) crc_seed: Option<CrcSeed>,
}

/// The CRC of a partition's id, from which the CRCs of its frames go on: a block that belongs to
/// another partition, or to an older life of the file, does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrcSeed(u32);

impl CrcSeed {
    pub(crate) fn new(partition_id: u64) -> Self {
        Self(crc32fast::hash(&partition_id.to_le_bytes()))
    }

    /// Of a frame, from its length on.
    fn crc(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        match () {
            () if is_planted(Bug::CrcWithoutLength) => hasher.update(&bytes[OFFSET - LENGTH..]),
            () if is_planted(Bug::CrcWithoutOffset) => {
                hasher.update(&bytes[..OFFSET - LENGTH]);
                hasher.update(&bytes[TIMESTAMP - LENGTH..]);
            }
            () => hasher.update(bytes),
        }
        hasher.finalize()
    }
}

/// What a sync mark takes in the log.
pub(crate) const SYNC_MARK_BYTES: usize = HEADER_BYTES + 8;

/// Writes a sync mark into `out`, which must be exactly [`SYNC_MARK_BYTES`] long: every record below `synced`
/// is on stable storage. `next_offset` is that of the record which follows, for the mark takes none.
pub(crate) fn encode_sync_mark(synced: u64, next_offset: u64, crc_seed: CrcSeed, out: &mut [u8]) {
    let value = synced.to_le_bytes();
    let mark = NewRecord { key: None, value: Some(&value), headers: &[], timestamp: 0 };
    let stamp = Stamp { offset: next_offset, batch_continues: false, crc_seed: Some(crc_seed) };
    encode_as(KIND_SYNC_MARK, &mark, &stamp, out);
}

/// What a gap takes in the log.
pub(crate) const GAP_BYTES: usize = HEADER_BYTES + 8;

/// The most offsets that one gap stands for: a chunk counts its offsets in 32 bits.
pub(crate) const MAX_GAP: u64 = 1 << 30;

/// What a horizon takes in the log.
pub(crate) const HORIZON_BYTES: usize = HEADER_BYTES;

/// Writes a gap into `out`, which must be exactly [`GAP_BYTES`] long: compaction has removed the records from
/// `offset` to before `end`, which are [`MAX_GAP`] at most.
pub(crate) fn encode_gap(offset: u64, end: u64, crc_seed: Option<CrcSeed>, out: &mut [u8]) {
    let value = end.to_le_bytes();
    let gap = NewRecord { key: None, value: Some(&value), headers: &[], timestamp: 0 };
    encode_as(KIND_GAP, &gap, &Stamp { offset, batch_continues: false, crc_seed }, out);
}

/// Writes a horizon into `out`, which must be exactly [`HORIZON_BYTES`] long: the tombstones from here on, up
/// to the next horizon or the end of the segment, were met first by a compaction at `met`, in milliseconds
/// since the epoch.
pub(crate) fn encode_horizon(next_offset: u64, met: i64, crc_seed: Option<CrcSeed>, out: &mut [u8]) {
    let horizon = NewRecord { key: None, value: None, headers: &[], timestamp: met };
    let stamp = Stamp { offset: next_offset, batch_continues: false, crc_seed };
    encode_as(KIND_HORIZON, &horizon, &stamp, out);
}

/// Writes a record that is in a log already into `out`, which must be as long as its frame: the same, but of
/// no batch with what follows.
pub(crate) fn copy_alone(frame: Frame<'_>, crc_seed: Option<CrcSeed>, out: &mut [u8]) {
    out.copy_from_slice(frame.bytes);
    out[FLAGS] &= !FLAG_BATCH_CONTINUES;
    let crc = crc_seed.map_or(0, |seed| seed.crc(&out[LENGTH..]));
    put(out, CRC, crc.to_le_bytes());
}

/// Writes the frame of `record` into `out`, which must be exactly [`NewRecord::frame_bytes`] long.
#[inline]
pub(crate) fn encode(record: &NewRecord<'_>, stamp: &Stamp, out: &mut [u8]) {
    encode_as(KIND_RECORD, record, stamp, out);
}

#[inline(always)]
fn encode_as(kind: u8, record: &NewRecord<'_>, stamp: &Stamp, out: &mut [u8]) {
    let value = record.value.unwrap_or_default();
    let key = record.key.unwrap_or_default();
    let length = out.len();
    // The padding, if any, is in the last 8 bytes; what else is there is overwritten.
    put(out, length - ALIGNMENT, [0; ALIGNMENT]);
    let (header, body) = out.split_at_mut(HEADER_BYTES);
    let key_at = value.len();
    let headers_at = key_at + key.len();
    body[..key_at].copy_from_slice(value);
    body[key_at..headers_at].copy_from_slice(key);
    let headers_bytes = if record.headers.is_empty() {
        0
    } else {
        headers::encode(record.headers, &mut body[headers_at..]);
        headers::encoded_bytes(record.headers)
    };

    put(header, LENGTH, (length as u32).to_le_bytes());
    put(header, OFFSET, stamp.offset.to_le_bytes());
    put(header, TIMESTAMP, record.timestamp.to_le_bytes());
    put(header, VALUE_LENGTH, record.value.map_or(NULL, |v| v.len() as u32).to_le_bytes());
    put(header, KEY_LENGTH, record.key.map_or(NULL, |k| k.len() as u32).to_le_bytes());
    put(header, HEADERS_BYTES, (headers_bytes as u32).to_le_bytes());
    put(header, HEADER_COUNT, (record.headers.len() as u16).to_le_bytes());
    let flags = if stamp.batch_continues { FLAG_BATCH_CONTINUES } else { 0 };
    put(header, KIND, [kind, flags]);
    let crc = stamp.crc_seed.map_or(0, |seed| seed.crc(&out[LENGTH..]));
    put(out, CRC, crc.to_le_bytes());
}

#[inline]
fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    out[at..at + N].copy_from_slice(&bytes);
}

/// A frame in the log, of which the lengths are known to fit together.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    bytes: &'a [u8],
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// The bytes end before the frame does; `needed` is known once the length field is there.
    Incomplete { needed: usize },
    /// The lengths contradict each other.
    Malformed,
    /// The checksum does not match.
    BadCrc,
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { needed } => write!(f, "a frame of {needed} bytes is not complete"),
            Self::Malformed => f.write_str("the lengths of a frame contradict each other"),
            Self::BadCrc => f.write_str("the checksum of a frame does not match"),
        }
    }
}

impl<'a> Frame<'a> {
    /// The frame at the front of `bytes`, by its lengths alone.
    #[inline]
    pub(crate) fn at_front(bytes: &'a [u8]) -> Result<Self, BadFrame> {
        if bytes.len() < HEADER_BYTES {
            return Err(BadFrame::Incomplete { needed: HEADER_BYTES });
        }
        let frame = Self { bytes };
        let length = frame.u32_at(LENGTH) as usize;
        if length != frame.length_by_parts() && !is_planted(Bug::LengthUnchecked) {
            return Err(BadFrame::Malformed);
        }
        let bytes = bytes.get(..length).ok_or(BadFrame::Incomplete { needed: length })?;
        Ok(Self { bytes })
    }

    /// The frame at the front of `bytes`, checked to the last bit.
    pub(crate) fn verified(bytes: &'a [u8], seed: CrcSeed) -> Result<Self, BadFrame> {
        let frame = Self::at_front(bytes)?;
        if frame.u32_at(CRC) != seed.crc(&frame.bytes[LENGTH..]) {
            return Err(BadFrame::BadCrc);
        }
        if !frame.headers().are_well_formed() {
            return Err(BadFrame::Malformed);
        }
        Ok(frame)
    }

    /// Bytes of the whole frame.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn offset(self) -> u64 {
        u64::from_le_bytes(self.array_at(OFFSET))
    }

    #[inline]
    pub(crate) fn timestamp(self) -> i64 {
        i64::from_le_bytes(self.array_at(TIMESTAMP))
    }

    /// Control frames are not records and take no offset.
    #[inline]
    pub(crate) fn is_record(self) -> bool {
        self.bytes[KIND] == KIND_RECORD
    }

    /// What a sync mark says: every record below this offset is on stable storage. `None` for other frames.
    pub(crate) fn synced(self) -> Option<u64> {
        if self.bytes[KIND] != KIND_SYNC_MARK {
            return None;
        }
        let synced = self.value()?.try_into().ok().map(u64::from_le_bytes);
        synced.filter(|synced| *synced <= MAX_OFFSET)
    }

    /// The offset behind the records that a gap stands for. `None` for other frames.
    pub(crate) fn gap_end(self) -> Option<u64> {
        if self.bytes[KIND] != KIND_GAP {
            return None;
        }
        let end = self.value()?.try_into().ok().map(u64::from_le_bytes)?;
        let offsets = end.checked_sub(self.offset())?;
        ((1..=MAX_GAP).contains(&offsets) && end <= MAX_OFFSET).then_some(end)
    }

    /// When a compaction first met the tombstones that follow. `None` for other frames.
    pub(crate) fn horizon(self) -> Option<i64> {
        (self.bytes[KIND] == KIND_HORIZON).then(|| self.timestamp())
    }

    /// The offset behind this frame, if it is one that belongs where `offset` comes next.
    #[inline]
    pub(crate) fn behind(self, offset: u64) -> Option<u64> {
        match self.bytes[KIND] {
            KIND_RECORD => (self.offset() == offset).then(|| offset + 1),
            KIND_GAP => self.gap_end().filter(|_| self.offset() == offset),
            _ => Some(offset),
        }
    }

    /// A record with a key and a null value.
    pub(crate) fn is_tombstone(self) -> bool {
        self.is_record() && self.u32_at(VALUE_LENGTH) == NULL && self.u32_at(KEY_LENGTH) != NULL
    }

    #[inline]
    pub(crate) fn batch_continues(self) -> bool {
        self.bytes[FLAGS] & FLAG_BATCH_CONTINUES != 0
    }

    #[inline]
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        let len = self.optional_len_at(VALUE_LENGTH)?;
        Some(&self.bytes[HEADER_BYTES..HEADER_BYTES + len])
    }

    #[inline]
    pub(crate) fn key(self) -> Option<&'a [u8]> {
        let len = self.optional_len_at(KEY_LENGTH)?;
        let start = HEADER_BYTES + self.optional_len_at(VALUE_LENGTH).unwrap_or(0);
        Some(&self.bytes[start..start + len])
    }

    pub(crate) fn headers(self) -> Headers<'a> {
        let before =
            self.optional_len_at(VALUE_LENGTH).unwrap_or(0) + self.optional_len_at(KEY_LENGTH).unwrap_or(0);
        let start = HEADER_BYTES + before;
        let bytes = &self.bytes[start..start + self.u32_at(HEADERS_BYTES) as usize];
        Headers::new(bytes, usize::from(u16::from_le_bytes(self.array_at(HEADER_COUNT))))
    }

    /// What the length must be, from the lengths of the parts. Cannot overflow: four u32 in a usize.
    #[inline]
    fn length_by_parts(self) -> usize {
        let value = self.optional_len_at(VALUE_LENGTH).unwrap_or(0);
        let key = self.optional_len_at(KEY_LENGTH).unwrap_or(0);
        (HEADER_BYTES + value + key + self.u32_at(HEADERS_BYTES) as usize).next_multiple_of(ALIGNMENT)
    }

    #[inline]
    fn optional_len_at(self, at: usize) -> Option<usize> {
        let len = self.u32_at(at);
        (len != NULL).then_some(len as usize)
    }

    #[inline]
    fn u32_at(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array_at(at))
    }

    #[inline]
    fn array_at<const N: usize>(self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[at..at + N]);
        array
    }
}

/// The frames of `bytes` one after the other; ends where the bytes are no frame.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = Frame::at_front(self.rest).ok()?;
        self.rest = &self.rest[frame.len()..];
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: fn() -> CrcSeed = || CrcSeed::new(0x0123_4567_89ab_cdef);

    fn encoded(record: &NewRecord<'_>, offset: u64) -> Vec<u8> {
        let mut bytes = vec![0xff; record.frame_bytes()];
        encode(record, &Stamp { offset, batch_continues: false, crc_seed: Some(SEED()) }, &mut bytes);
        bytes
    }

    fn sample() -> NewRecord<'static> {
        const HEADERS: &[Header<'static>] = &[Header { name: "trace", value: Some(b"42") }];
        NewRecord {
            key: Some(b"alice"),
            value: Some(b"payment"),
            headers: HEADERS,
            timestamp: 1_593_093_960_000,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let bytes = encoded(&sample(), 7);
        let frame = Frame::verified(&bytes, SEED()).expect("valid");
        assert_eq!((frame.offset(), frame.timestamp()), (7, 1_593_093_960_000));
        assert_eq!((frame.key(), frame.value()), (sample().key, sample().value));
        assert_eq!(frame.headers().collect::<Vec<_>>(), sample().headers);
        assert!(frame.is_record() && !frame.batch_continues());
    }

    #[test]
    fn a_sync_mark_says_how_far_the_log_is_safe_and_is_no_record() {
        let mut bytes = [0xff; SYNC_MARK_BYTES];
        encode_sync_mark(1_000, 1_020, SEED(), &mut bytes);
        let frame = Frame::verified(&bytes, SEED()).expect("valid");
        assert_eq!((frame.len(), frame.synced(), frame.offset()), (SYNC_MARK_BYTES, Some(1_000), 1_020));
        assert!(!frame.is_record() && !frame.batch_continues());
        let record = encoded(&sample(), 7);
        assert_eq!(Frame::verified(&record, SEED()).expect("valid").synced(), None);
    }

    #[test]
    fn a_gap_says_which_offsets_are_gone_and_a_horizon_since_when_tombstones_were_met() {
        let mut bytes = [0xff; GAP_BYTES];
        encode_gap(10, 25, Some(SEED()), &mut bytes);
        let gap = Frame::verified(&bytes, SEED()).expect("valid");
        assert_eq!(
            (gap.len(), gap.gap_end(), gap.behind(10), gap.behind(9)),
            (GAP_BYTES, Some(25), Some(25), None)
        );
        assert!(!gap.is_record() && gap.synced().is_none() && gap.horizon().is_none());
        for (offset, end) in [(10, 10), (10, 9), (10, 11 + MAX_GAP), (MAX_OFFSET, MAX_OFFSET + 1)] {
            encode_gap(offset, end, Some(SEED()), &mut bytes);
            assert_eq!(Frame::verified(&bytes, SEED()).expect("valid").gap_end(), None, "{offset} to {end}");
        }
        let mut bytes = [0xff; HORIZON_BYTES];
        encode_horizon(10, -7, Some(SEED()), &mut bytes);
        let horizon = Frame::verified(&bytes, SEED()).expect("valid");
        assert_eq!((horizon.horizon(), horizon.behind(10), horizon.is_record()), (Some(-7), Some(10), false));
        assert!(!horizon.is_tombstone());
    }

    #[test]
    fn a_record_that_is_copied_is_of_no_batch() {
        let record = sample();
        let mut bytes = vec![0; record.frame_bytes()];
        encode(&record, &Stamp { offset: 7, batch_continues: true, crc_seed: Some(SEED()) }, &mut bytes);
        let frame = Frame::verified(&bytes, SEED()).expect("valid");
        let mut copy = vec![0xff; frame.len()];
        copy_alone(frame, Some(SEED()), &mut copy);
        assert_eq!(copy, encoded(&record, 7));
    }

    #[test]
    fn null_is_not_empty() {
        for (key, value) in [(None, Some(&b""[..])), (Some(&b""[..]), None), (None, None)] {
            let bytes = encoded(&NewRecord { key, value, headers: &[], timestamp: 0 }, 0);
            let frame = Frame::verified(&bytes, SEED()).expect("valid");
            assert_eq!((frame.key(), frame.value()), (key, value));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_prefix_is_noticed() {
        let bytes = encoded(&sample(), 7);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::verified(&flipped, SEED()).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(Frame::verified(&bytes[..end], SEED()).is_err(), "prefix of {end}");
        }
    }

    #[test]
    fn a_frame_of_another_partition_does_not_pass() {
        let bytes = encoded(&sample(), 7);
        assert_eq!(Frame::verified(&bytes, CrcSeed::new(1)).err(), Some(BadFrame::BadCrc));
    }

    /// The worked example of `docs/format.md`.
    #[test]
    fn the_documented_example_is_what_is_written() {
        let record = NewRecord { key: Some(b"alice"), value: Some(b"hi"), headers: &[], timestamp: 1_000 };
        let hex: String = encoded(&record, 5).iter().map(|byte| format!("{byte:02x}")).collect();
        let documented = include_str!("../../docs/format.md");
        assert!(documented.contains(&hex), "docs/format.md lacks the example {hex}");
    }
}
