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
use std::task::{Context, Poll};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::log::{Cursor, Fate, Files, PartitionLog, Pending};
use crate::record::frame::{Frame, NewRecord};
use crate::sync::{Arc, AtomicU64, EventListener, Mutex, Ordering};

const VERSION: u8 = 1;
const GROUP_AT: usize = 1 + 8 + 4;

/// The longest metadata of a commit, in bytes; Kafka's `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

/// How far a group has come in one partition, from [`Consumer::committed`](crate::Consumer::committed) or
/// [`Broker::committed_offsets`](crate::Broker::committed_offsets).
///
/// ```
/// use ottla::{Broker, ResetTo, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
/// broker.reset_group("ledger", "payments", ResetTo::Latest)?;
///
/// let consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
/// let committed = consumer.committed("payments", 0)?.expect("the reset committed it");
/// assert_eq!((committed.offset, &*committed.metadata), (1, ""));
/// # Ok::<(), ottla::Error>(())
/// ```
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
pub(crate) type Place = (u64, u32);

/// The committed offsets of all groups.
#[derive(Debug)]
pub(crate) struct CommittedOffsets {
    /// By group. Not held while the log is written: of two commits, the later one in the log counts,
    /// whichever gets here first.
    groups: Mutex<BTreeMap<String, BTreeMap<Place, Entry>>>,
    log: Log,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Entry {
    committed: CommittedOffset,
    version: Version,
    /// Of a commit that counts although it may still be lost.
    fate: Option<Fate>,
}

/// The offset of a commit in the log of commits. Those of commits that were lost are given again.
type Version = u64;

impl Entry {
    /// Whether a commit of `version` that was not lost takes its place.
    fn gives_way_to(&self, version: Version) -> bool {
        self.version <= version || self.fate.as_ref().is_some_and(Fate::is_lost)
    }
}

/// Where commits are written down.
#[derive(Debug)]
enum Log {
    /// Nowhere; they are only counted.
    Memory(AtomicU64),
    Disk(Arc<PartitionLog>),
    /// Nowhere: the broker was opened read-only, and takes none.
    ReadOnly,
}

/// A commit on its way into the log.
#[derive(Debug)]
pub(crate) struct StagedCommit {
    group: String,
    commits: Vec<Commit>,
    version: Version,
    /// `None`: it is written.
    pending: Option<Pending>,
}

impl StagedCommit {
    /// How it went; `None` while that is open.
    pub(crate) fn outcome(&self) -> Option<Result<()>> {
        self.pending.as_ref().map_or(Some(Ok(())), |pending| pending.outcome(self.version))
    }

    /// Blocks until it is as durable as the internal topic.
    pub(crate) fn wait(&self) -> Result<()> {
        self.pending.as_ref().map_or(Ok(()), |pending| pending.wait(self.version))
    }

    /// Ready when it is decided how it went.
    pub(crate) fn poll(&self, listener: &mut Option<EventListener>, cx: &mut Context<'_>) -> Poll<()> {
        self.pending.as_ref().map_or(Poll::Ready(()), |pending| pending.poll(listener, cx))
    }
}

impl CommittedOffsets {
    pub(crate) fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self { groups: Mutex::default(), log: Log::Memory(AtomicU64::new(0)), clock }
    }

    /// Those that `log` holds, if there is one; no others can be committed.
    pub(crate) fn read_only(log: Option<Arc<PartitionLog>>, clock: Arc<dyn Clock>) -> Result<Self> {
        let Some(log) = log else {
            return Ok(Self { groups: Mutex::default(), log: Log::ReadOnly, clock });
        };
        Ok(Self { log: Log::ReadOnly, ..Self::open(log, clock)? })
    }

    /// Reads back what `log` holds. Damaged records are left out: the group begins again with an earlier
    /// commit.
    pub(crate) fn open(log: Arc<PartitionLog>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut groups: BTreeMap<String, BTreeMap<Place, Entry>> = BTreeMap::new();
        let mut cursor = Cursor::new(log.start_offset());
        loop {
            let run = match log.fetch(&mut cursor, &Files::Here) {
                Ok(Some(run)) => run,
                Err(Error::RecordsDamaged { next_offset: Some(next), .. }) => {
                    cursor.seek(next);
                    continue;
                }
                Ok(None) | Err(Error::RecordsDamaged { next_offset: None, .. }) => break,
                Err(error) => return Err(error),
            };
            for frame in run.frames().filter(|frame| frame.is_record()) {
                let (group, place, committed) = decode(frame).map_err(|bad| bad.into_error(&log, frame))?;
                let version = frame.offset();
                match committed {
                    Some(committed) => groups
                        .entry(group)
                        .or_default()
                        .insert(place, Entry { committed, version, fate: None }),
                    None => groups.entry(group).or_default().remove(&place),
                };
            }
        }
        Ok(Self { groups: Mutex::new(groups), log: Log::Disk(log), clock })
    }

    /// Commits for a group, all or nothing; as durable as the internal topic when it returns.
    pub(crate) fn commit(&self, group: &str, commits: &[Commit]) -> Result<()> {
        let entries = commits.iter().map(|commit| (group, commit.place(), Some(commit.committed())));
        if let Some(version) = self.write(entries)? {
            self.apply(group, commits, version, None);
        }
        Ok(())
    }

    /// Begins to commit, without waiting and without I/O. It counts when it is [applied](Self::apply_staged).
    pub(crate) fn stage(&self, group: &str, commits: Vec<Commit>) -> Result<StagedCommit> {
        let entries = commits.iter().map(|commit| (group, commit.place(), Some(commit.committed())));
        let (version, pending) = match &self.log {
            Log::Memory(count) => (count.fetch_add(1, Ordering::Relaxed), None),
            Log::Disk(_) if commits.is_empty() => (0, None),
            Log::ReadOnly => return Err(read_only()),
            Log::Disk(log) => {
                let enqueued = self.with_records(entries, |records| log.enqueue(records))?;
                (enqueued.base_offset, enqueued.pending)
            }
        };
        Ok(StagedCommit { group: group.to_owned(), commits, version, pending })
    }

    /// Lets it count, unless it was lost.
    pub(crate) fn apply_staged(&self, staged: &StagedCommit) {
        let fate = staged.pending.as_ref().map(Pending::fate);
        self.apply(&staged.group, &staged.commits, staged.version, fate.as_ref());
    }

    fn apply(&self, group: &str, commits: &[Commit], version: Version, fate: Option<&Fate>) {
        if commits.is_empty() {
            return;
        }
        let mut groups = self.groups.lock();
        // Asked under the lock: who was given the version of one that was lost may have been here already.
        if fate.is_some_and(Fate::is_lost) {
            return;
        }
        let entries = groups.entry(group.to_owned()).or_default();
        for commit in commits {
            let known = entries.get(&commit.place());
            if known.is_none_or(|known| known.gives_way_to(version)) {
                let entry = Entry { committed: commit.committed(), version, fate: fate.cloned() };
                entries.insert(commit.place(), entry);
            }
        }
    }

    /// Makes all commits so far survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        match &self.log {
            Log::Memory(_) | Log::ReadOnly => Ok(()),
            Log::Disk(log) => log.sync(),
        }
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn forget_topic(&self, topic_id: u64) -> Result<()> {
        let places: Vec<(String, Place)> = {
            let groups = self.groups.lock();
            let places = groups.iter().flat_map(|(group, entries)| {
                let of_topic = entries.range((topic_id, 0)..=(topic_id, u32::MAX));
                of_topic.map(|(&place, _)| (group.clone(), place))
            });
            places.collect()
        };
        self.write(places.iter().map(|(group, place)| (group.as_str(), *place, None)))?;
        let mut groups = self.groups.lock();
        for entries in groups.values_mut() {
            entries.retain(|&(topic, _), _| topic != topic_id);
        }
        groups.retain(|_, entries| !entries.is_empty());
        Ok(())
    }

    /// What a group has committed for one partition.
    pub(crate) fn get(&self, group: &str, topic_id: u64, partition: u32) -> Option<CommittedOffset> {
        Some(self.groups.lock().get(group)?.get(&(topic_id, partition))?.committed.clone())
    }

    /// All that a group has committed.
    pub(crate) fn of_group(&self, group: &str) -> Vec<Commit> {
        let groups = self.groups.lock();
        let entries = groups.get(group).into_iter().flatten();
        let commits = entries.map(|(&(topic_id, partition), entry)| {
            let CommittedOffset { offset, metadata } = entry.committed.clone();
            Commit { topic_id, partition, offset, metadata }
        });
        commits.collect()
    }

    /// The names of all groups that have committed something.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.groups.lock().keys().cloned().collect()
    }

    /// Appends entries to the log, as one batch; the offset of the first one, if there is any.
    fn write<'a>(
        &self,
        entries: impl Iterator<Item = (&'a str, Place, Option<CommittedOffset>)>,
    ) -> Result<Option<Version>> {
        match &self.log {
            Log::Memory(count) => Ok(Some(count.fetch_add(1, Ordering::Relaxed))),
            Log::ReadOnly => Err(read_only()),
            Log::Disk(log) => self.with_records(entries, |records| {
                if records.is_empty() { Ok(None) } else { log.append(records).map(Some) }
            }),
        }
    }

    /// Entries as records.
    fn with_records<'a, R>(
        &self,
        entries: impl Iterator<Item = (&'a str, Place, Option<CommittedOffset>)>,
        then: impl FnOnce(&[NewRecord<'_>]) -> R,
    ) -> R {
        let encoded: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            entries.map(|(group, place, committed)| encode(group, place, committed.as_ref())).collect();
        let timestamp = self.clock.now().as_millis();
        let records = encoded.iter().map(|(key, value)| NewRecord {
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
            timestamp,
        });
        then(&records.collect::<Vec<_>>())
    }
}

fn read_only() -> Error {
    Error::ReadOnly { operation: "commit offsets" }
}

impl Commit {
    fn place(&self) -> Place {
        (self.topic_id, self.partition)
    }

    fn committed(&self) -> CommittedOffset {
        CommittedOffset { offset: self.offset, metadata: self.metadata.clone() }
    }
}

/// Key and value of the record that says so.
pub(crate) fn encode(
    group: &str,
    place: Place,
    committed: Option<&CommittedOffset>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    (encode_key(group, place), committed.map(encode_value))
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

/// Why a record is no committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    Damaged,
    /// Written by a later version.
    Unsupported(u8),
}

pub(crate) type Decoded = (String, Place, Option<CommittedOffset>);

/// What a record says.
pub(crate) fn decode(frame: Frame<'_>) -> Result<Decoded, BadRecord> {
    let key = frame.key().unwrap_or_default();
    match key.first() {
        Some(&VERSION) => decode_parts(&key[1..], frame.value()).ok_or(BadRecord::Damaged),
        Some(&later) if later > VERSION => Err(BadRecord::Unsupported(later)),
        _ => Err(BadRecord::Damaged),
    }
}

fn decode_parts(key: &[u8], value: Option<&[u8]>) -> Option<Decoded> {
    let (topic_id, rest) = key.split_first_chunk::<8>()?;
    let (partition, group) = rest.split_first_chunk::<4>()?;
    let group = String::from_utf8(group.to_vec()).ok()?;
    let committed = match value {
        Some(value) => Some(decode_value(value)?),
        None => None,
    };
    Some((group, (u64::from_be_bytes(*topic_id), u32::from_be_bytes(*partition)), committed))
}

impl BadRecord {
    fn into_error(self, log: &PartitionLog, frame: Frame<'_>) -> Error {
        let path = log.dir().unwrap_or_default();
        match self {
            Self::Unsupported(found) => {
                Error::UnsupportedFormat { path, found: found.into(), supported: VERSION.into() }
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
