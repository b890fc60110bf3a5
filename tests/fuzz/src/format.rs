//! The format on disk, read and written a second time: from `docs/format.md`, with nothing of the library.

use std::fmt;

/// What fits into the field for a length and means null.
const NULL: u32 = u32::MAX;

/// Bytes of a frame before its value.
pub const FRAME_HEADER_BYTES: usize = 40;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;

/// The same, of one that compaction wrote.
pub const COMPACTED_HEADER_BYTES: usize = 80;

/// Offsets are below.
pub const OFFSETS_END: u64 = 1 << 63;

/// The kind of a frame that holds a record.
pub const RECORD: u8 = 0;

/// The kind of a control frame that says what was synced.
pub const SYNC_MARK: u8 = 1;

/// The kind of a control frame that stands for records which were removed.
pub const GAP: u8 = 2;

/// The flag of a frame behind which its batch goes on.
pub const CONTINUES: u8 = 1;

/// A header of a record: name and value.
pub type Header = (String, Option<Vec<u8>>);

/// What a frame says.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// Number of the record.
    pub offset: u64,
    /// Milliseconds.
    pub timestamp: i64,
    /// `None` is null.
    pub value: Option<Vec<u8>>,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// In their order.
    pub headers: Vec<Header>,
    /// [`RECORD`], or a control frame.
    pub kind: u8,
    /// [`CONTINUES`].
    pub flags: u8,
}

impl fmt::Debug for Frame {
    /// Short, with lengths for the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = [&self.value, &self.key].map(|part| part.as_ref().map(Vec::len));
        let Self { offset, kind, flags, .. } = self;
        write!(f, "#{offset} kind {kind} flags {flags} {lengths:?}")?;
        self.synced().map_or(Ok(()), |synced| write!(f, " synced to {synced}"))
    }
}

impl Frame {
    /// Its bytes in the partition with this id.
    #[must_use]
    pub fn encode(&self, partition_id: u64) -> Vec<u8> {
        let headers = encode_headers(&self.headers);
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend(self.value.iter().chain(&self.key).flatten());
        bytes.extend(&headers);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(NULL, |part| part.len() as u32);
        let whole = bytes.len() as u32;
        put(&mut bytes, 4, &whole.to_le_bytes());
        put(&mut bytes, 8, &self.offset.to_le_bytes());
        put(&mut bytes, 16, &self.timestamp.to_le_bytes());
        put(&mut bytes, 24, &length(&self.value).to_le_bytes());
        put(&mut bytes, 28, &length(&self.key).to_le_bytes());
        put(&mut bytes, 32, &(headers.len() as u32).to_le_bytes());
        put(&mut bytes, 36, &(self.headers.len() as u16).to_le_bytes());
        put(&mut bytes, 38, &[self.kind, self.flags]);
        repair_crc(&mut bytes, partition_id);
        bytes
    }

    /// The frame at the front of `bytes`, whatever its CRC says, and its length. `None` if its lengths
    /// disagree, or its headers do not fill their bytes, or it is not complete.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = frame_length(bytes)?;
        let part = |at: usize| optional_length(u32_at(bytes, at)?);
        let (value_at, value_bytes) = (FRAME_HEADER_BYTES, part(24));
        let (key_at, key_bytes) = (value_at + value_bytes.unwrap_or(0), part(28));
        let headers_at = key_at + key_bytes.unwrap_or(0);
        let headers_end = headers_at + u32_at(bytes, 32)? as usize;
        let taken = |at: usize, len: Option<usize>| len.map(|len| bytes[at..at + len].to_vec());
        let count = u16::from_le_bytes([bytes[36], bytes[37]]);
        let (headers, are_whole) = decode_headers(&bytes[headers_at..headers_end], usize::from(count));
        are_whole.then(|| {
            let frame = Self {
                offset: u64_at(bytes, 8),
                timestamp: u64_at(bytes, 16).cast_signed(),
                value: taken(value_at, value_bytes),
                key: taken(key_at, key_bytes),
                headers,
                kind: bytes[38],
                flags: bytes[39],
            };
            (frame, length)
        })
    }

    /// The good frame at the front of `bytes`, and its length.
    #[must_use]
    pub fn good(bytes: &[u8], partition_id: u64) -> Option<(Self, usize)> {
        let length = frame_length(bytes)?;
        let is_right = bytes[..4] == crc(&bytes[..length], partition_id).to_le_bytes();
        if is_right { Self::decode(bytes) } else { None }
    }

    /// As a reader gets it.
    #[must_use]
    pub fn as_served(&self) -> Self {
        Self { flags: 0, ..self.clone() }
    }

    /// Whether a batch goes on behind it.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.flags & CONTINUES != 0
    }

    /// What a sync mark says: all records below this offset were on stable storage.
    #[must_use]
    pub fn synced(&self) -> Option<u64> {
        let value: [u8; 8] = self.value.as_deref()?.try_into().ok()?;
        Some(u64::from_le_bytes(value)).filter(|synced| self.kind == SYNC_MARK && *synced < OFFSETS_END)
    }

    /// The offset that comes next behind it, if it belongs where `offset` comes next.
    #[must_use]
    pub fn behind(&self, offset: u64) -> Option<u64> {
        match self.kind {
            RECORD => (self.offset == offset).then(|| offset + 1),
            GAP => {
                let value: [u8; 8] = self.value.as_deref()?.try_into().ok()?;
                let end = u64::from_le_bytes(value);
                let is_right = self.offset == offset && end > offset && end - offset <= 1 << 30;
                (is_right && end < OFFSETS_END).then_some(end)
            }
            _ => Some(offset),
        }
    }

    /// Whether it is no control frame.
    #[must_use]
    pub fn is_record(&self) -> bool {
        self.kind == RECORD
    }
}

/// The length of the frame at the front of `bytes`, if its lengths agree and it is complete.
#[must_use]
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = u64::from(u32_at(bytes, 4)?);
    bytes.get(..FRAME_HEADER_BYTES)?;
    let parts = [24, 28].map(|at| u32_at(bytes, at).filter(|length| *length != NULL).unwrap_or(0));
    let sum: u64 = parts.into_iter().chain(u32_at(bytes, 32)).map(u64::from).sum();
    let agrees = length == (FRAME_HEADER_BYTES as u64 + sum).next_multiple_of(8);
    (agrees && length <= bytes.len() as u64).then_some(length as usize)
}

/// The CRC of a frame's bytes.
fn crc(frame: &[u8], partition_id: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&partition_id.to_le_bytes());
    hasher.update(&frame[4..]);
    hasher.finalize()
}

/// Makes the CRC of a frame right.
pub fn repair_crc(frame: &mut [u8], partition_id: u64) {
    let crc = crc(frame, partition_id);
    put(frame, 0, &crc.to_le_bytes());
}

/// Makes the CRCs of all frames at the front of `bytes` right.
pub fn repair_crcs(mut bytes: &mut [u8], partition_id: u64) {
    while let Some(length) = frame_length(bytes) {
        let (frame, rest) = bytes.split_at_mut(length);
        repair_crc(frame, partition_id);
        bytes = rest;
    }
}

/// The bytes of headers.
#[must_use]
pub fn encode_headers(headers: &[Header]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(value.as_ref().map_or(NULL, |value| value.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(value.iter().flatten());
    }
    bytes
}

/// Up to `count` headers at the front of `bytes`, and whether there are as many and they fill it.
#[must_use]
pub fn decode_headers(mut bytes: &[u8], count: usize) -> (Vec<Header>, bool) {
    let mut headers = Vec::new();
    while headers.len() < count
        && let Some((header, length)) = decode_header(bytes)
    {
        headers.push(header);
        bytes = &bytes[length..];
    }
    let are_whole = headers.len() == count && bytes.is_empty();
    (headers, are_whole)
}

fn decode_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let name_end = 6 + usize::from(u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]));
    let value_bytes = optional_length(u32_at(bytes, 2)?);
    let name = String::from_utf8(bytes.get(6..name_end)?.to_vec()).ok()?;
    let end = name_end + value_bytes.unwrap_or(0);
    let value = bytes.get(name_end..end)?.to_vec();
    Some(((name, value_bytes.map(|_| value)), end))
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Of the partition.
    pub partition_id: u64,
    /// Offset of the first record.
    pub base_offset: u64,
    /// Where the first frame begins.
    pub first_position: u32,
    /// All offsets below it were on stable storage.
    pub recovery_point: u64,
    /// Milliseconds.
    pub created: i64,
    /// Base offset of the segment before it; `u64::MAX`: none.
    pub previous: u64,
    /// If compaction wrote it: its end offset, and whether only part of it is compacted.
    pub compacted: Option<(u64, bool)>,
}

fn decode_compacted(bytes: &[u8]) -> Option<(u64, bool)> {
    let (end_offset, part) = (u64_at(bytes, 64), u32_at(bytes, 72)?);
    let is_whole = bytes[76..80] == crc32fast::hash(&bytes[64..76]).to_le_bytes();
    (is_whole && end_offset < OFFSETS_END && part <= 1).then_some((end_offset, part == 1))
}

impl SegmentHeader {
    /// How many bytes it takes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        if self.compacted.is_some() { COMPACTED_HEADER_BYTES } else { SEGMENT_HEADER_BYTES }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        put(&mut bytes, 0, b"OTTLALOG");
        put(&mut bytes, 8, &(1 + u16::from(self.compacted.is_some())).to_le_bytes());
        if let Some((end_offset, is_part)) = self.compacted {
            put(&mut bytes, 64, &end_offset.to_le_bytes());
            put(&mut bytes, 72, &u32::from(is_part).to_le_bytes());
        }
        put(&mut bytes, 12, &self.first_position.to_le_bytes());
        put(&mut bytes, 16, &self.partition_id.to_le_bytes());
        put(&mut bytes, 24, &self.base_offset.to_le_bytes());
        put(&mut bytes, 32, &self.recovery_point.to_le_bytes());
        put(&mut bytes, 40, &self.created.to_le_bytes());
        put(&mut bytes, 48, &self.previous.to_le_bytes());
        repair_header_crc(&mut bytes);
        bytes
    }

    /// What a whole header says.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let first = bytes.get(..SEGMENT_HEADER_BYTES)?;
        let is_whole =
            first[..8] == *b"OTTLALOG" && first[60..] == crc32fast::hash(&first[..60]).to_le_bytes();
        let compacted = match first[8..10] {
            [1, 0] => None,
            [2, 0] => Some(decode_compacted(bytes.get(..COMPACTED_HEADER_BYTES)?)?),
            _ => return None,
        };
        let header = Self {
            partition_id: u64_at(bytes, 16),
            base_offset: u64_at(bytes, 24),
            first_position: u32_at(bytes, 12)?,
            recovery_point: u64_at(bytes, 32),
            created: u64_at(bytes, 40).cast_signed(),
            previous: u64_at(bytes, 48),
            compacted,
        };
        let is_plausible =
            header.first_position as usize >= header.len() && header.first_position.is_multiple_of(8);
        let are_offsets = header.base_offset.max(header.recovery_point) < OFFSETS_END;
        (is_whole && is_plausible && are_offsets).then_some(header)
    }
}

/// Makes the CRC of a segment's header right, if it is there.
pub fn repair_header_crc(segment: &mut [u8]) {
    if segment.len() >= SEGMENT_HEADER_BYTES {
        let crc = crc32fast::hash(&segment[..60]);
        put(segment, 60, &crc.to_le_bytes());
    }
    if segment.len() >= COMPACTED_HEADER_BYTES && segment[8] == 2 {
        let crc = crc32fast::hash(&segment[64..76]);
        put(segment, 76, &crc.to_le_bytes());
    }
}

/// A text with the line that holds its CRC.
#[must_use]
pub fn with_crc_line(text: &str) -> String {
    format!("{text}crc32 {:08x}\n", crc32fast::hash(text.as_bytes()))
}

/// Writes `part` at a position that is there.
pub fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

fn optional_length(length: u32) -> Option<usize> {
    (length != NULL).then_some(length as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}
