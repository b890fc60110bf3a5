//! How far each group has come: for every partition the offset to begin with next time. Kept in an internal
//! topic of our own log, where the latest record of a key counts; read back when the broker is opened.
//!
//! | key | bytes | | value | bytes |
//! |---|---|---|---|---|
//! | version, 1 | 1 | | offset | u64 |
//! | topic id | u64 | | metadata | the rest, UTF-8 |
//! | partition | u32 | | | |
//! | group | the rest, UTF-8 | | | |
//!
//! Integers are big-endian here, as in the codecs. A null value removes the entry.

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::log::{Cursor, Files, PartitionLog};
use crate::record::frame::{Frame, NewRecord};
use crate::sync::{Arc, Mutex};

const VERSION: u8 = 1;
const GROUP_AT: usize = 1 + 8 + 4;

/// The longest metadata of a commit, in bytes; Kafka's `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

/// How far a group has come in one partition: see
/// [`Consumer::commit_with_metadata`](crate::Consumer::commit_with_metadata).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The first offset that the group has not processed: where its next consumer begins.
    pub offset: u64,
    /// The text that was committed with it; empty if none was.
    pub metadata: String,
}

/// A committed offset and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) topic_id: u64,
    pub(crate) partition: u32,
    /// The first offset that the group has not processed.
    pub(crate) offset: u64,
    pub(crate) metadata: String,
}

/// Whether the metadata of a commit is within its bound.
pub(crate) fn check_metadata(metadata: &str) -> Result<()> {
    let size = metadata.len();
    if size <= MAX_METADATA_BYTES {
        return Ok(());
    }
    Err(Error::CommitMetadataTooLarge { size, max: MAX_METADATA_BYTES })
}

/// Topic id and partition.
type Place = (u64, u32);

/// The committed offsets of all groups.
#[derive(Debug)]
pub(crate) struct CommittedOffsets {
    /// By group. Held while the log is appended to, so that both agree on which commit came last.
    groups: Mutex<BTreeMap<String, BTreeMap<Place, CommittedOffset>>>,
    /// `None` in memory.
    log: Option<Arc<PartitionLog>>,
    clock: Arc<dyn Clock>,
}

impl CommittedOffsets {
    pub(crate) fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self { groups: Mutex::default(), log: None, clock }
    }

    /// Reads back what `log` holds.
    pub(crate) fn open(log: Arc<PartitionLog>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut groups: BTreeMap<String, BTreeMap<Place, CommittedOffset>> = BTreeMap::new();
        let mut cursor = Cursor::new(log.start_offset());
        while let Some(run) = log.fetch(&mut cursor, &Files::Here)? {
            for frame in run.frames().filter(|frame| frame.is_record()) {
                let (group, place, committed) = decode(frame).ok_or_else(|| unknown_record(&log, frame))?;
                match committed {
                    Some(committed) => groups.entry(group).or_default().insert(place, committed),
                    None => groups.entry(group).or_default().remove(&place),
                };
            }
        }
        Ok(Self { groups: Mutex::new(groups), log: Some(log), clock })
    }

    /// Commits for a group, all or nothing; as durable as the internal topic when it returns.
    pub(crate) fn commit(&self, group: &str, commits: &[Commit]) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let mut groups = self.groups.lock();
        let entries = commits.iter().map(|commit| (group, commit.place(), Some(commit.committed())));
        self.write(entries)?;
        let offsets = groups.entry(group.to_owned()).or_default();
        offsets.extend(commits.iter().map(|commit| (commit.place(), commit.committed())));
        Ok(())
    }

    /// Makes all commits so far survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| log.sync())
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn forget_topic(&self, topic_id: u64) -> Result<()> {
        let mut groups = self.groups.lock();
        let places = groups.iter().flat_map(|(group, offsets)| {
            let of_topic = offsets.range((topic_id, 0)..=(topic_id, u32::MAX));
            of_topic.map(|(&place, _)| (group.as_str(), place, None))
        });
        self.write(places)?;
        for offsets in groups.values_mut() {
            offsets.retain(|&(topic, _), _| topic != topic_id);
        }
        groups.retain(|_, offsets| !offsets.is_empty());
        Ok(())
    }

    /// What a group has committed for one partition.
    pub(crate) fn get(&self, group: &str, topic_id: u64, partition: u32) -> Option<CommittedOffset> {
        self.groups.lock().get(group)?.get(&(topic_id, partition)).cloned()
    }

    /// All that a group has committed.
    pub(crate) fn of_group(&self, group: &str) -> Vec<Commit> {
        let groups = self.groups.lock();
        let offsets = groups.get(group).into_iter().flatten();
        let commits = offsets.map(|(&(topic_id, partition), committed)| {
            let CommittedOffset { offset, metadata } = committed.clone();
            Commit { topic_id, partition, offset, metadata }
        });
        commits.collect()
    }

    /// The names of all groups that have committed something.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.groups.lock().keys().cloned().collect()
    }

    /// Appends entries to the log, as one batch.
    fn write<'a>(
        &self,
        entries: impl Iterator<Item = (&'a str, Place, Option<CommittedOffset>)>,
    ) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let encoded: Vec<(Vec<u8>, Option<Vec<u8>>)> = entries
            .map(|(group, place, committed)| (encode_key(group, place), committed.as_ref().map(encode_value)))
            .collect();
        let timestamp = self.clock.now().as_millis();
        let records = encoded.iter().map(|(key, value)| NewRecord {
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
            timestamp,
        });
        let records: Vec<NewRecord<'_>> = records.collect();
        if records.is_empty() { Ok(()) } else { log.append(&records).map(drop) }
    }
}

impl Commit {
    fn place(&self) -> Place {
        (self.topic_id, self.partition)
    }

    fn committed(&self) -> CommittedOffset {
        CommittedOffset { offset: self.offset, metadata: self.metadata.clone() }
    }
}

fn encode_key(group: &str, (topic_id, partition): Place) -> Vec<u8> {
    let mut key = Vec::with_capacity(GROUP_AT + group.len());
    key.push(VERSION);
    key.extend_from_slice(&topic_id.to_be_bytes());
    key.extend_from_slice(&partition.to_be_bytes());
    key.extend_from_slice(group.as_bytes());
    key
}

fn encode_value(committed: &CommittedOffset) -> Vec<u8> {
    let mut value = committed.offset.to_be_bytes().to_vec();
    value.extend_from_slice(committed.metadata.as_bytes());
    value
}

fn decode_value(value: &[u8]) -> Option<CommittedOffset> {
    let (offset, metadata) = value.split_first_chunk::<8>()?;
    let metadata = String::from_utf8(metadata.to_vec()).ok()?;
    Some(CommittedOffset { offset: u64::from_be_bytes(*offset), metadata })
}

fn decode(frame: Frame<'_>) -> Option<(String, Place, Option<CommittedOffset>)> {
    let (&[version], rest) = frame.key()?.split_first_chunk::<1>()?;
    let (topic_id, rest) = rest.split_first_chunk::<8>()?;
    let (partition, group) = rest.split_first_chunk::<4>()?;
    if version != VERSION {
        return None;
    }
    let group = String::from_utf8(group.to_vec()).ok()?;
    let committed = match frame.value() {
        Some(value) => Some(decode_value(value)?),
        None => None,
    };
    Some((group, (u64::from_be_bytes(*topic_id), u32::from_be_bytes(*partition)), committed))
}

fn unknown_record(log: &PartitionLog, frame: Frame<'_>) -> Error {
    Error::Corrupt {
        path: log.dir().unwrap_or_default(),
        position: 0,
        detail: format!("the record at offset {} is no committed offset of a known version", frame.offset()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn commit(partition: u32, offset: u64) -> Commit {
        Commit { topic_id: 9, partition, offset, metadata: String::new() }
    }

    #[test]
    fn the_latest_commit_counts_and_groups_are_apart() {
        let committed = CommittedOffsets::in_memory(Arc::new(SystemClock));
        committed.commit("a", &[commit(0, 5), commit(1, 7)]).expect("in memory");
        committed.commit("a", &[commit(0, 3)]).expect("in memory");
        assert_eq!(committed.of_group("a"), [commit(0, 3), commit(1, 7)]);
        assert_eq!(committed.get("b", 9, 0), None);
    }

    #[test]
    fn a_value_is_the_offset_and_then_the_metadata() {
        let committed = CommittedOffset { offset: 258, metadata: "ü".to_owned() };
        let encoded = encode_value(&committed);
        assert_eq!(encoded, [0, 0, 0, 0, 0, 0, 1, 2, 0xc3, 0xbc]);
        assert_eq!(decode_value(&encoded), Some(committed));
        let without = decode_value(&[0, 0, 0, 0, 0, 0, 1, 2]).expect("metadata may be missing");
        assert_eq!((without.offset, &*without.metadata), (258, ""));
        for bad in [&encoded[..7], &encoded[..9]] {
            assert_eq!(decode_value(bad), None);
        }
    }

    #[test]
    fn a_deleted_topic_is_forgotten() {
        let committed = CommittedOffsets::in_memory(Arc::new(SystemClock));
        let other = Commit { topic_id: 8, ..commit(0, 1) };
        committed.commit("a", &[commit(0, 5), other.clone()]).expect("in memory");
        committed.forget_topic(9).expect("in memory");
        assert_eq!(committed.of_group("a"), [other]);
        committed.forget_topic(8).expect("in memory");
        assert!(committed.groups().is_empty());
    }
}
