//! What the internal topic of the committed offsets holds, as bytes. The latest record of a key counts; a
//! null value removes it.
//!
//! | key of a commit | bytes | | value | bytes |
//! |---|---|---|---|---|
//! | version, 1 | 1 | | offset | u64 |
//! | topic id | u64 | | metadata | the rest, UTF-8 |
//! | partition | u32 | | | |
//! | group | the rest, UTF-8 | | | |
//!
//! | key of a group without members | bytes | | value | bytes |
//! |---|---|---|---|---|
//! | version, 2 | 1 | | since when, in milliseconds since the epoch | i64 |
//! | group | the rest, UTF-8 | | | |
//!
//! Integers are big-endian here, as in the codecs.

use super::committed_offsets::CommittedOffset;
use crate::error::Error;
use crate::log::PartitionLog;
use crate::record::frame::Frame;

const COMMIT: u8 = 1;
const EMPTY_GROUP: u8 = 2;
const LATEST_VERSION: u8 = EMPTY_GROUP;

/// Topic id and partition.
pub(crate) type Place = (u64, u32);

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupRecord {
    /// How far a group has come in one partition; `None`: it has committed nothing there.
    Commit { group: String, place: Place, committed: Option<CommittedOffset> },
    /// Since when a group has had no members; `None`: it may have some.
    Emptied { group: String, since: Option<i64> },
}

/// Why a record is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    Damaged,
    /// Written by a later version.
    Unsupported(u8),
}

impl GroupRecord {
    /// Key and value of the record that says so.
    pub(crate) fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Commit { group, place: (topic_id, partition), committed } => {
                let mut key = vec![COMMIT];
                key.extend_from_slice(&topic_id.to_be_bytes());
                key.extend_from_slice(&partition.to_be_bytes());
                key.extend_from_slice(group.as_bytes());
                (key, committed.as_ref().map(encode_offset))
            }
            Self::Emptied { group, since } => {
                let mut key = vec![EMPTY_GROUP];
                key.extend_from_slice(group.as_bytes());
                (key, since.map(|since| since.to_be_bytes().to_vec()))
            }
        }
    }

    pub(crate) fn decode(frame: Frame<'_>) -> Result<Self, BadRecord> {
        let (version, key) = frame.key().unwrap_or_default().split_first().ok_or(BadRecord::Damaged)?;
        let decoded = match *version {
            COMMIT => decode_commit(key, frame.value()),
            EMPTY_GROUP => decode_emptied(key, frame.value()),
            later if later > LATEST_VERSION => return Err(BadRecord::Unsupported(later)),
            _ => None,
        };
        decoded.ok_or(BadRecord::Damaged)
    }
}

fn decode_commit(key: &[u8], value: Option<&[u8]>) -> Option<GroupRecord> {
    let (topic_id, rest) = key.split_first_chunk::<8>()?;
    let (partition, group) = rest.split_first_chunk::<4>()?;
    let group = String::from_utf8(group.to_vec()).ok()?;
    let committed = match value {
        Some(value) => Some(decode_offset(value)?),
        None => None,
    };
    let place = (u64::from_be_bytes(*topic_id), u32::from_be_bytes(*partition));
    Some(GroupRecord::Commit { group, place, committed })
}

fn decode_emptied(group: &[u8], value: Option<&[u8]>) -> Option<GroupRecord> {
    let group = String::from_utf8(group.to_vec()).ok()?;
    let since = match value {
        Some(value) => Some(i64::from_be_bytes(value.try_into().ok()?)),
        None => None,
    };
    Some(GroupRecord::Emptied { group, since })
}

fn encode_offset(committed: &CommittedOffset) -> Vec<u8> {
    let mut value = committed.offset.to_be_bytes().to_vec();
    value.extend_from_slice(committed.metadata.as_bytes());
    value
}

fn decode_offset(value: &[u8]) -> Option<CommittedOffset> {
    let (offset, metadata) = value.split_first_chunk::<8>()?;
    let metadata = String::from_utf8(metadata.to_vec()).ok()?;
    Some(CommittedOffset { offset: u64::from_be_bytes(*offset), metadata })
}

impl BadRecord {
    pub(super) fn into_error(self, log: &PartitionLog, frame: Frame<'_>) -> Error {
        let path = log.dir().unwrap_or_default();
        match self {
            Self::Unsupported(found) => {
                Error::UnsupportedFormat { path, found: found.into(), supported: LATEST_VERSION.into() }
            }
            Self::Damaged => {
                let detail = format!("the record at offset {} is no committed offset", frame.offset());
                Error::Corrupt { path, position: 0, detail }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_commit_is_the_offset_and_then_the_metadata() {
        let committed = CommittedOffset { offset: 258, metadata: "ü".to_owned() };
        let encoded = encode_offset(&committed);
        assert_eq!(encoded, [0, 0, 0, 0, 0, 0, 1, 2, 0xc3, 0xbc]);
        assert_eq!(decode_offset(&encoded), Some(committed));
        let without = decode_offset(&[0, 0, 0, 0, 0, 0, 1, 2]).expect("metadata may be missing");
        assert_eq!((without.offset, &*without.metadata), (258, ""));
        for bad in [&encoded[..7], &encoded[..9]] {
            assert_eq!(decode_offset(bad), None);
        }
    }

    #[test]
    fn a_group_without_members_is_its_name_and_a_time() {
        let emptied = GroupRecord::Emptied { group: "g".to_owned(), since: Some(258) };
        let (key, value) = emptied.encode();
        assert_eq!((&*key, value.as_deref()), (&b"\x02g"[..], Some(&[0, 0, 0, 0, 0, 0, 1, 2][..])));
        assert_eq!(decode_emptied(&key[1..], value.as_deref()), Some(emptied));
        assert_eq!(decode_emptied(b"g", Some(&[0; 7])), None);
        let not_emptied = GroupRecord::Emptied { group: "g".to_owned(), since: None };
        assert_eq!(decode_emptied(b"g", None), Some(not_emptied));
    }
}
