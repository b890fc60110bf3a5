//! How far each group has come: for every partition the offset to begin with next time. Kept in an internal
//! topic of our own log, where the latest record of a key counts; read back when the broker is opened.
//!
//! A commit counts here as soon as it has its place in that log, before it is written: whoever takes over a
//! partition begins behind it. If it is lost, because the disk refuses it, the one before it counts again.

use std::collections::BTreeMap;
use std::task::{Context, Poll};
use std::time::Duration;

use super::commit::{Commit, CommittedOffset};
use super::commit_record::{GroupRecord, Place};
use super::slot::Slot;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::log::{Cursor, Fate, Files, PartitionLog, Pending, Progress, Upkeep, WrittenBy};
use crate::record::frame::NewRecord;
use crate::sync::{Arc, AtomicI64, EventListener, Mutex, MutexGuard, Ordering};

/// How long committed offsets are kept after their group lost its last member; Kafka's
/// `offsets.retention.minutes`.
pub(crate) const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The committed offsets of all groups.
#[derive(Debug)]
pub(crate) struct CommittedOffsets {
    /// By group. Held while a commit is given its place in the log, so that what counts here and what counts
    /// there is in the same order; not during I/O.
    groups: Mutex<BTreeMap<String, GroupOffsets>>,
    log: Log,
    clock: Arc<dyn Clock>,
    retention: Duration,
    /// When groups were last looked through for those that have expired, in milliseconds since the epoch.
    swept: AtomicI64,
    /// Whoever waits for a group to read hears of its commits.
    upkeep: Arc<Upkeep>,
}

/// What a group has committed, and when that expires.
#[derive(Debug, Default)]
struct GroupOffsets {
    places: BTreeMap<Place, Slot>,
    has_members: bool,
    /// In milliseconds since the epoch.
    last_commit: Option<i64>,
    /// Since when it has had no members, as far as that is known; for one that never had any, since its first
    /// commit by hand.
    emptied: Option<i64>,
    /// Whether the log says so. Then it has to say too if that ends.
    emptied_in_log: bool,
    /// What became of saying that.
    reviving: Option<Fate>,
}

impl GroupOffsets {
    /// Whether nobody has used it for so long that what it has committed is not kept.
    fn is_expired(&self, now: i64, retention: Duration) -> bool {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let last_use = self.last_commit.max(self.emptied).unwrap_or(i64::MAX);
        !self.has_members && now >= last_use.saturating_add(retention)
    }

    fn committed(&self) -> impl Iterator<Item = (Place, &CommittedOffset)> {
        self.places.iter().filter_map(|(&place, slot)| Some((place, slot.latest()?)))
    }

    fn set(&mut self, place: Place, committed: Option<CommittedOffset>, fate: Option<&Fate>) {
        self.places.entry(place).or_default().set(committed, fate.cloned());
    }

    /// Takes note that the log says since when it has had no members, or on its way to `fate` that it has
    /// some.
    fn note_in_log(&mut self, is_empty: bool, fate: Option<Fate>) {
        if is_empty {
            (self.emptied_in_log, self.reviving) = (true, None);
        } else if fate.is_none() {
            (self.emptied_in_log, self.reviving) = (false, None);
        } else if self.emptied_in_log {
            // It is said again with each commit until it is known to be kept.
            self.reviving = fate;
        }
    }

    /// Takes over what has become of saying that it has members.
    fn settle_revival(&mut self) {
        if let Some(fate) = self.reviving.take_if(|fate| fate.is_decided()) {
            self.emptied_in_log &= fate.is_lost();
        }
    }

    /// What has to be written for nothing to be left of it.
    fn removals(&self, group: &str) -> Vec<GroupRecord> {
        let group = || group.to_owned();
        let places = self.places.keys();
        let places = places.map(|&place| GroupRecord::Commit { group: group(), place, committed: None });
        let emptied = self.emptied_in_log.then(|| GroupRecord::Emptied { group: group(), since: None });
        places.chain(emptied).collect()
    }

    /// What has to be written to change it; `since` is since when it has no members then.
    fn records_of_change(
        &self,
        group: &str,
        changes: &[(Place, Option<CommittedOffset>)],
        since: Option<i64>,
        is_expired: bool,
    ) -> Vec<GroupRecord> {
        let mut records = if is_expired { self.removals(group) } else { Vec::new() };
        records.extend(changes.iter().map(|(place, committed)| GroupRecord::Commit {
            group: group.to_owned(),
            place: *place,
            committed: committed.clone(),
        }));
        if is_expired || self.emptied_in_log != since.is_some() {
            records.push(GroupRecord::Emptied { group: group.to_owned(), since });
        }
        records
    }

    /// Drops what is void; whether there is nothing to be remembered.
    fn is_nothing(&mut self) -> bool {
        self.places.retain(|_, slot| !slot.is_void());
        self.places.is_empty() && !self.has_members && !self.emptied_in_log
    }
}

/// Where commits are written down.
#[derive(Debug)]
enum Log {
    /// Nowhere.
    Memory,
    Disk(Arc<PartitionLog>),
    /// Nowhere: the broker was opened read-only, and takes none.
    ReadOnly,
}

/// A commit on its way into the log.
#[derive(Debug)]
pub(crate) struct StagedCommit {
    /// The offset in that log; and the way to the outcome, unless it is known to be kept.
    pending: Option<(u64, Pending)>,
}

impl StagedCommit {
    /// How it went; `None` while that is open.
    pub(crate) fn outcome(&self) -> Option<Result<()>> {
        self.pending.as_ref().map_or(Some(Ok(())), |(offset, pending)| pending.outcome(*offset))
    }

    /// Blocks until it is as durable as the internal topic.
    pub(crate) fn wait(&self) -> Result<()> {
        self.pending.as_ref().map_or(Ok(()), |(offset, pending)| pending.wait(*offset))
    }

    /// Ready when it is decided how it went.
    pub(crate) fn poll(&self, listener: &mut Option<EventListener>, cx: &mut Context<'_>) -> Poll<()> {
        self.pending.as_ref().map_or(Poll::Ready(()), |(_, pending)| pending.poll(listener, cx))
    }

    /// It is made up for if it is lost, and nobody is to be told; its fate.
    fn tell_nobody(&self) -> Option<Fate> {
        self.pending.iter().for_each(|(_, pending)| pending.tell_nobody());
        self.fate()
    }

    fn fate(&self) -> Option<Fate> {
        self.pending.as_ref().map(|(_, pending)| pending.fate())
    }
}

impl CommittedOffsets {
    pub(crate) fn in_memory(clock: Arc<dyn Clock>, retention: Duration) -> Self {
        Self::new(BTreeMap::new(), Log::Memory, clock, retention)
    }

    fn new(
        groups: BTreeMap<String, GroupOffsets>,
        log: Log,
        clock: Arc<dyn Clock>,
        retention: Duration,
    ) -> Self {
        Self {
            groups: Mutex::new(groups),
            log,
            clock,
            retention,
            swept: AtomicI64::new(i64::MIN),
            upkeep: Arc::default(),
        }
    }

    /// Commits may make room in logs that share this.
    pub(crate) fn make_room_in(mut self, upkeep: &Arc<Upkeep>) -> Self {
        self.upkeep = Arc::clone(upkeep);
        self
    }

    /// Those that `log` holds, if there is one; no others can be committed.
    pub(crate) fn read_only(
        log: Option<Arc<PartitionLog>>,
        clock: Arc<dyn Clock>,
        retention: Duration,
    ) -> Result<Self> {
        let Some(log) = log else {
            return Ok(Self::new(BTreeMap::new(), Log::ReadOnly, clock, retention));
        };
        Ok(Self { log: Log::ReadOnly, ..Self::open(log, clock, retention)? })
    }

    /// Reads back what `log` holds. Damaged records are left out: the group begins again with an earlier
    /// commit.
    pub(crate) fn open(log: Arc<PartitionLog>, clock: Arc<dyn Clock>, retention: Duration) -> Result<Self> {
        let mut groups = BTreeMap::new();
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
                let record = GroupRecord::decode(frame).map_err(|bad| bad.into_error(&log, frame))?;
                read_back(&mut groups, record, frame.timestamp());
            }
        }
        let now = clock.now().as_millis();
        for offsets in groups.values_mut() {
            // Nobody could write down when it lost its members: it may have had some until just now.
            offsets.emptied.get_or_insert(now);
        }
        groups.retain(|_, offsets| !offsets.is_nothing());
        Ok(Self::new(groups, Log::Disk(log), clock, retention))
    }

    /// Commits for a group, all or nothing; as durable as the internal topic when it returns.
    pub(crate) fn commit(&self, group: &str, commits: &[Commit]) -> Result<()> {
        self.stage(group, commits, WrittenBy::Caller)?.wait()
    }

    /// Begins to commit, without waiting and without I/O. It counts from now on, unless it is lost. What is
    /// to be written by the caller must be waited for.
    pub(crate) fn stage(&self, group: &str, commits: &[Commit], by: WrittenBy) -> Result<StagedCommit> {
        let changes = commits.iter().map(|commit| (commit.place(), Some(commit.committed())));
        self.change(group, changes.collect(), by)
    }

    /// Begins to remove what a group has committed for some partitions; the caller must wait for it.
    pub(crate) fn stage_removal(&self, group: &str, places: &[Place]) -> Result<StagedCommit> {
        self.change(group, places.iter().map(|&place| (place, None)).collect(), WrittenBy::Caller)
    }

    fn change(
        &self,
        group: &str,
        changes: Vec<(Place, Option<CommittedOffset>)>,
        by: WrittenBy,
    ) -> Result<StagedCommit> {
        if changes.is_empty() {
            return Ok(StagedCommit { pending: None });
        }
        let now = self.clock.now().as_millis();
        let mut groups = self.groups.lock();
        if !groups.contains_key(group) && changes.iter().all(|(_, committed)| committed.is_none()) {
            return Ok(StagedCommit { pending: None });
        }
        let offsets = groups.entry(group.to_owned()).or_default();
        offsets.settle_revival();
        let is_expired = offsets.is_expired(now, self.retention);
        // Who commits by hand may never have members: the group expires some time after that.
        let since = (!offsets.has_members).then_some(offsets.emptied.filter(|_| !is_expired).unwrap_or(now));
        let records = match &self.log {
            Log::Disk(_) => offsets.records_of_change(group, &changes, since, is_expired),
            Log::Memory | Log::ReadOnly => Vec::new(),
        };
        let staged = match self.stage_records(&records, now, by) {
            Ok(staged) => staged,
            Err(error) => {
                if offsets.is_nothing() {
                    groups.remove(group);
                }
                return Err(error);
            }
        };
        if is_expired {
            offsets.places.clear();
        }
        offsets.emptied = since;
        if matches!(self.log, Log::Disk(_)) {
            offsets.note_in_log(since.is_some(), staged.fate());
        }
        if changes.iter().any(|(_, committed)| committed.is_some()) {
            offsets.last_commit = Some(now);
        }
        for (place, committed) in changes {
            offsets.set(place, committed, staged.fate().as_ref());
        }
        drop(groups);
        self.upkeep.notify_room();
        Ok(staged)
    }

    /// The group has its first member. What had expired is gone.
    pub(crate) fn note_members(&self, group: &str) -> Result<()> {
        let now = self.clock.now().as_millis();
        let mut groups = self.groups.lock();
        let offsets = groups.entry(group.to_owned()).or_default();
        if offsets.is_expired(now, self.retention) {
            if !matches!(self.log, Log::ReadOnly) {
                drop(self.stage_records(&offsets.removals(group), now, WrittenBy::Flusher)?);
            }
            *offsets = GroupOffsets::default();
        }
        (offsets.has_members, offsets.emptied) = (true, None);
        if offsets.emptied_in_log {
            let record = GroupRecord::Emptied { group: group.to_owned(), since: None };
            // If that fails, the next commit says so.
            if let Ok(staged) = self.stage_records(&[record], now, WrittenBy::Flusher) {
                offsets.note_in_log(false, staged.tell_nobody());
            }
        }
        Ok(())
    }

    /// The group has lost its last member: from now on it expires.
    pub(crate) fn note_empty(&self, group: &str) {
        let now = self.clock.now().as_millis();
        let mut groups = self.groups.lock();
        self.sweep(&mut groups, now);
        let Some(offsets) = groups.get_mut(group) else { return };
        (offsets.has_members, offsets.emptied) = (false, Some(now));
        if offsets.is_nothing() {
            groups.remove(group);
            return;
        }
        let record = GroupRecord::Emptied { group: group.to_owned(), since: Some(now) };
        // If it cannot be written, the group expires later: the next open takes its own time for it.
        if let Ok(staged) = self.stage_records(&[record], now, WrittenBy::Flusher)
            && staged.tell_nobody().is_some()
        {
            offsets.note_in_log(true, None);
        }
    }

    /// Drops the groups that have expired, from time to time: a name that is never used again is not to take
    /// memory for ever.
    fn sweep(&self, groups: &mut BTreeMap<String, GroupOffsets>, now: i64) {
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let swept = self.swept.load(Ordering::Relaxed);
        if now < swept.saturating_add(retention / 8) {
            return;
        }
        self.swept.store(now, Ordering::Relaxed);
        groups.retain(|group, offsets| {
            // What cannot be written now is written later.
            let is_gone = offsets.is_expired(now, self.retention)
                && self.stage_records(&offsets.removals(group), now, WrittenBy::Flusher).is_ok();
            !is_gone && !offsets.is_nothing()
        });
    }

    /// Makes all commits so far survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        match &self.log {
            Log::Memory | Log::ReadOnly => Ok(()),
            Log::Disk(log) => log.sync(),
        }
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn forget_topic(&self, topic_id: u64) -> Result<()> {
        let staged = {
            let mut groups = self.groups.lock();
            let of_topic = (topic_id, 0)..=(topic_id, u32::MAX);
            let records = groups.iter().flat_map(|(group, offsets)| {
                let places = offsets.places.range(of_topic.clone());
                places.map(|(&place, _)| GroupRecord::Commit { group: group.clone(), place, committed: None })
            });
            let records: Vec<GroupRecord> = records.collect();
            let staged = self.stage_records(&records, self.clock.now().as_millis(), WrittenBy::Caller)?;
            for offsets in groups.values_mut() {
                offsets.places.retain(|(topic, _), _| *topic != topic_id);
            }
            groups.retain(|_, offsets| !offsets.is_nothing());
            staged
        };
        staged.wait()
    }

    /// What a group has committed for one partition.
    pub(crate) fn get(&self, group: &str, place: Place) -> Option<CommittedOffset> {
        self.current(&self.groups.lock(), group)?.places.get(&place)?.latest().cloned()
    }

    /// What a group still needs of a partition. `counts_staged`: a commit counts that may still be lost.
    pub(crate) fn progress(&self, group: &str, place: Place, counts_staged: bool) -> Progress {
        let groups = self.groups.lock();
        let used = |offsets: &&GroupOffsets| offsets.has_members || offsets.committed().next().is_some();
        let Some(offsets) = self.current(&groups, group).filter(used) else { return Progress::Absent };
        let from = offsets.places.get(&place).and_then(|slot| {
            if counts_staged { slot.latest().map(|committed| committed.offset) } else { slot.lowest() }
        });
        Progress::From(from.unwrap_or_default())
    }

    /// All that a group has committed.
    pub(crate) fn of_group(&self, group: &str) -> Vec<Commit> {
        let groups = self.groups.lock();
        let offsets = self.current(&groups, group).into_iter();
        let commits = offsets.flat_map(GroupOffsets::committed).map(|((topic_id, partition), committed)| {
            let CommittedOffset { offset, metadata } = committed.clone();
            Commit { topic_id, partition, offset, metadata, epoch: 0 }
        });
        commits.collect()
    }

    /// The names of all groups that have committed something.
    pub(crate) fn groups(&self) -> Vec<String> {
        let groups = self.groups.lock();
        let names = groups.keys().filter(|group| {
            self.current(&groups, group).is_some_and(|offsets| offsets.committed().next().is_some())
        });
        names.cloned().collect()
    }

    /// A group, unless what it has committed has expired.
    fn current<'a>(
        &self,
        groups: &'a MutexGuard<'_, BTreeMap<String, GroupOffsets>>,
        group: &str,
    ) -> Option<&'a GroupOffsets> {
        let offsets = groups.get(group)?;
        (!offsets.is_expired(self.clock.now().as_millis(), self.retention)).then_some(offsets)
    }

    /// Gives records their place in the log, as one batch.
    fn stage_records(&self, records: &[GroupRecord], timestamp: i64, by: WrittenBy) -> Result<StagedCommit> {
        let log = match &self.log {
            Log::Memory => return Ok(StagedCommit { pending: None }),
            Log::ReadOnly => return Err(Error::ReadOnly { operation: "commit offsets" }),
            Log::Disk(_) if records.is_empty() => return Ok(StagedCommit { pending: None }),
            Log::Disk(log) => log,
        };
        let encoded: Vec<_> = records.iter().map(GroupRecord::encode).collect();
        let records = encoded.iter().map(|(key, value)| NewRecord {
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
            timestamp,
        });
        let enqueued = log.enqueue(&records.collect::<Vec<_>>(), by)?;
        Ok(StagedCommit { pending: enqueued.pending.map(|pending| (enqueued.base_offset, pending)) })
    }
}

/// Takes over what one record of the log says.
fn read_back(groups: &mut BTreeMap<String, GroupOffsets>, record: GroupRecord, timestamp: i64) {
    match record {
        GroupRecord::Commit { group, place, committed } => {
            let offsets = groups.entry(group).or_default();
            offsets.last_commit = offsets.last_commit.max(Some(timestamp));
            match committed {
                Some(committed) => offsets.set(place, Some(committed), None),
                None => drop(offsets.places.remove(&place)),
            }
        }
        GroupRecord::Emptied { group, since } => {
            let offsets = groups.entry(group).or_default();
            (offsets.emptied, offsets.emptied_in_log) = (since, since.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn commit(partition: u32, offset: u64) -> Commit {
        Commit { topic_id: 9, partition, offset, metadata: String::new(), epoch: 0 }
    }

    fn in_memory() -> (Arc<ManualClock>, CommittedOffsets) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        let committed = CommittedOffsets::in_memory(Arc::new(Arc::clone(&clock)), Duration::from_secs(60));
        (clock, committed)
    }

    #[test]
    fn the_latest_commit_counts_and_groups_are_apart() {
        let (_, committed) = in_memory();
        committed.commit("a", &[commit(0, 5), commit(1, 7)]).expect("in memory");
        committed.commit("a", &[commit(0, 3)]).expect("in memory");
        assert_eq!(committed.of_group("a"), [commit(0, 3), commit(1, 7)]);
        assert_eq!(committed.get("b", (9, 0)), None);
    }

    #[test]
    fn a_deleted_topic_is_forgotten() {
        let (_, committed) = in_memory();
        let other = Commit { topic_id: 8, ..commit(0, 1) };
        committed.commit("a", &[commit(0, 5), other.clone()]).expect("in memory");
        committed.forget_topic(9).expect("in memory");
        assert_eq!(committed.of_group("a"), [other]);
        committed.forget_topic(8).expect("in memory");
        assert!(committed.groups().is_empty());
    }

    #[test]
    fn what_is_removed_is_gone_and_the_rest_stays() {
        let (_, committed) = in_memory();
        committed.commit("a", &[commit(0, 5), commit(1, 7)]).expect("in memory");
        committed.stage_removal("a", &[(9, 0)]).expect("in memory");
        assert_eq!(committed.of_group("a"), [commit(1, 7)]);
        committed.stage_removal("a", &[(9, 1)]).expect("in memory");
        assert!(committed.groups().is_empty());
    }

    #[test]
    fn offsets_expire_with_their_group_and_not_before() {
        let (clock, committed) = in_memory();
        committed.note_members("a").expect("in memory");
        committed.commit("a", &[commit(0, 5)]).expect("in memory");
        clock.advance(Duration::from_secs(600));
        assert_eq!(committed.of_group("a"), [commit(0, 5)], "it has members");
        committed.note_empty("a");
        clock.advance(Duration::from_secs(59));
        assert_eq!(committed.of_group("a"), [commit(0, 5)]);
        clock.advance(Duration::from_secs(1));
        assert!(committed.of_group("a").is_empty() && committed.groups().is_empty());
        committed.note_members("a").expect("in memory");
        assert!(committed.of_group("a").is_empty(), "who comes back does not bring them back");
    }

    #[test]
    fn who_comes_back_in_time_keeps_them_and_a_commit_by_hand_puts_it_off() {
        let (clock, committed) = in_memory();
        committed.note_members("a").expect("in memory");
        committed.commit("a", &[commit(0, 5)]).expect("in memory");
        committed.note_empty("a");
        clock.advance(Duration::from_secs(59));
        committed.commit("a", &[commit(1, 1)]).expect("in memory");
        clock.advance(Duration::from_secs(59));
        committed.note_members("a").expect("in memory");
        clock.advance(Duration::from_secs(59));
        assert_eq!(committed.of_group("a"), [commit(0, 5), commit(1, 1)]);
    }
}
