//! What reads bytes from disk, as `tests/fuzz` reaches it: only in builds with `--cfg fuzzing`, and part of
//! no promise. Thin: whatever decides something stands where it is used.

use std::path::Path;

use crate::error::Result;
use crate::group::GroupRecord;
use crate::log::SegmentHeader;
use crate::record::frame::{self, CrcSeed, Frame, Frames, NewRecord, Stamp};
use crate::record::headers::{self, Header, Headers};
use crate::topic::{decode_catalog, decode_checkpoint, encode_catalog, encode_checkpoint};

/// A name and a value.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameParts {
    /// Bytes of the whole frame.
    pub length: usize,
    /// The record's number.
    pub offset: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// The headers, as far as they can be read.
    pub headers: Vec<OwnedHeader>,
    /// Whether it is no control frame.
    pub is_record: bool,
    /// Whether more of the same batch follows.
    pub batch_continues: bool,
}

impl From<Frame<'_>> for FrameParts {
    fn from(frame: Frame<'_>) -> Self {
        Self {
            length: frame.len(),
            offset: frame.offset(),
            timestamp: frame.timestamp(),
            key: frame.key().map(<[u8]>::to_vec),
            value: frame.value().map(<[u8]>::to_vec),
            headers: owned(frame.headers()),
            is_record: frame.is_record(),
            batch_continues: frame.batch_continues(),
        }
    }
}

/// The frame at the front of `bytes`, checked to the last bit.
#[must_use]
pub fn verified_frame(bytes: &[u8], partition_id: u64) -> Option<FrameParts> {
    Frame::verified(bytes, CrcSeed::new(partition_id)).ok().map(FrameParts::from)
}

/// The frames of `bytes`, by their lengths alone.
#[must_use]
pub fn frames(bytes: &[u8]) -> Vec<FrameParts> {
    Frames::new(bytes).map(FrameParts::from).collect()
}

/// A record as a frame.
#[must_use]
pub fn encode_record(parts: &FrameParts, partition_id: u64) -> Vec<u8> {
    let headers = borrowed(&parts.headers);
    let record = NewRecord {
        key: parts.key.as_deref(),
        value: parts.value.as_deref(),
        headers: &headers,
        timestamp: parts.timestamp,
    };
    let stamp = Stamp {
        offset: parts.offset,
        batch_continues: parts.batch_continues,
        crc_seed: Some(CrcSeed::new(partition_id)),
    };
    let mut bytes = vec![0xff; record.frame_bytes()];
    frame::encode(&record, &stamp, &mut bytes);
    bytes
}

/// The headers in `bytes`, as far as they can be read, and whether they are whole.
#[must_use]
pub fn headers(bytes: &[u8], count: usize) -> (Vec<OwnedHeader>, bool) {
    let headers = Headers::new(bytes, count);
    (owned(headers.clone()), headers.are_well_formed())
}

/// Headers as bytes.
#[must_use]
pub fn encode_headers(headers: &[OwnedHeader]) -> Vec<u8> {
    let headers = borrowed(headers);
    let mut bytes = vec![0xff; headers::encoded_bytes(&headers)];
    headers::encode(&headers, &mut bytes);
    bytes
}

/// Decodes the header of a segment and encodes it again; `None` if it is refused.
#[must_use]
pub fn recode_segment_header(bytes: &[u8]) -> Option<Vec<u8>> {
    SegmentHeader::decode(bytes).ok().map(|header| header.encode())
}

/// The base offset in the name of a segment's file, and the name that is made of it.
#[must_use]
pub fn recode_segment_name(name: &str) -> Option<(u64, String)> {
    let base_offset = crate::log::base_offset_of(name)?;
    Some((base_offset, crate::log::segment_file_name(base_offset)))
}

/// Decodes a catalog and encodes it again.
///
/// # Errors
/// As opening a broker on it.
pub fn recode_catalog(bytes: &[u8]) -> Result<String> {
    decode_catalog(Path::new("/data/catalog"), bytes).map(|topics| encode_catalog(&topics))
}

/// Decodes a checkpoint and encodes it again.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::UnsupportedFormat`](crate::Error::UnsupportedFormat).
pub fn recode_checkpoint(bytes: &[u8]) -> Result<String> {
    decode_checkpoint(Path::new("/data/checkpoint"), bytes).map(|checkpoint| encode_checkpoint(&checkpoint))
}

/// Decodes a committed offset, given as the frame of a record, and encodes it again as key and value; `None`
/// if it is none.
#[must_use]
pub fn recode_commit(frame: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    Some(GroupRecord::decode(Frame::at_front(frame).ok()?).ok()?.encode())
}

fn owned(headers: Headers<'_>) -> Vec<OwnedHeader> {
    headers.map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

fn borrowed(headers: &[OwnedHeader]) -> Vec<Header<'_>> {
    headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
}
