//! Adding partitions, altering settings, deleting records and giving them up, broken off at every call on the storage:
//! afterwards the topic is as before or as after the change, what was acknowledged stays, and the change can
//! be made again.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use ottla::storage::{MemoryStorage, Storage};
use ottla::{Broker, Producer, Raw, Retention, TopicConfig, TopicDescription};

use crate::broken_off::{BrokenOff, CRASH};
use crate::hooked::{Action, Faults, Hook, Hooked, Kind, Op};
use crate::lossy::Lossy;
use crate::support::{
    Checked, DIR, Files, Finding, Random, check_all, contents, ensure, files_below, open, partition_dir,
    reopen, segment, send, sent, sent_all, small_segments, storage_with, value,
};

/// No change takes more calls.
const MOST_CALLS: usize = 70;
/// Records in partition 1, two to a segment.
pub(crate) const RECORDS: usize = 8;
/// Records below this offset are deleted: the first two segments and a part of the third.
pub(crate) const START: u64 = 5;
/// Records below this offset are more than the topic is to keep: the first two segments.
const KEPT_FROM: u64 = 4;
/// Of both partitions: less than two segments of one.
const KEPT_BYTES: u64 = 12_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// From 2 to 4.
    Grow,
    Alter,
    DeleteRecords,
    /// By the topic's retention.
    GiveUp,
}

const CHANGES: [Change; 4] = [Change::Grow, Change::Alter, Change::DeleteRecords, Change::GiveUp];

impl Change {
    fn apply(self, broker: &Broker) -> ottla::Result<()> {
        match self {
            Self::Grow => broker.increase_partitions("changed", 4),
            Self::Alter => broker.alter_topic("changed", TopicConfig::new().max_record_bytes(3_000)),
            Self::DeleteRecords => broker.delete_records("changed", 1, START).map(drop),
            Self::GiveUp => broker.run_housekeeping().map(|_| ()),
        }
    }

    fn deletes(self) -> bool {
        matches!(self, Self::DeleteRecords | Self::GiveUp)
    }

    /// Whether the outcome says what is so. That a file cannot be removed is told where it is tried again.
    fn is_told(self, done: bool, outcome: &ottla::Result<()>) -> bool {
        done == outcome.is_ok() || (self == Self::GiveUp && done)
    }

    /// Whether the topic is as it is after the change; if it is neither that nor as before, what is wrong.
    fn is_done(self, found: &TopicDescription) -> Checked<bool> {
        let start = found.partitions[1].start_offset;
        let (number, before, after) = match self {
            Self::Grow => (found.partitions.len() as u64, 2, 4),
            Self::Alter => (found.max_record_bytes, 1 << 20, 3_000),
            Self::DeleteRecords => (start, 0, START),
            Self::GiveUp => (start, 0, KEPT_FROM),
        };
        ensure(number == before || number == after, || format!("{self:?} led to {number}"))?;
        ensure(self.deletes() || start == 0, || format!("it begins with {start}"))?;
        Ok(number == after)
    }
}

pub(crate) fn values() -> Vec<Vec<u8>> {
    (0..RECORDS).map(|number| value(number, 1_700)).collect()
}

/// A directory with a topic that is kept and one that is to be changed.
pub(crate) fn before() -> Files {
    let storage = MemoryStorage::default();
    let broker = reopen(&storage);
    broker.create_topic("kept", small_segments(1)).expect("it is new");
    sent_all(&broker, "kept", 0, values());
    let kept = Retention::forever().max_bytes(KEPT_BYTES);
    broker.create_topic("changed", small_segments(2).retention(kept)).expect("it is new");
    sent_all(&broker, "changed", 1, values());
    broker.close().expect("it closes");
    files_below(&storage, Path::new(DIR))
}

fn broken_off(change: Change, files: &Files) -> BrokenOff<'_, impl Fn(&Broker) -> ottla::Result<()>> {
    let apply = move |broker: &Broker| change.apply(broker);
    BrokenOff { name: format!("{change:?}"), files, apply, expected_calls: 5..MOST_CALLS }
}

/// Offsets and values of a partition.
pub(crate) fn kept_contents(broker: &Broker, partition: u32) -> Checked<Vec<(u64, Vec<u8>)>> {
    let mut consumer = broker.consumer::<Raw, Raw>().assign("changed", [partition]).build()?;
    let mut found = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(found);
        }
        let copied = records.iter().map(|r| (r.offset(), r.value_bytes().unwrap_or_default().to_vec()));
        found.extend(copied);
    }
}

/// The topics are whole, and the changed one is as before or as after. Returns which.
fn check_whole(broker: &Broker, change: Change) -> Checked<bool> {
    ensure(contents(broker, "kept", 0)? == values(), || "the other topic suffered".to_owned())?;
    let found = broker.describe_topic("changed")?;
    let done = change.is_done(&found)?;
    let start = found.partitions[1].start_offset;
    let expected: Vec<_> = (0..).zip(values()).skip(start as usize).collect();
    let seen = kept_contents(broker, 1)?;
    ensure(seen == expected, || format!("{} records from {start} on", seen.len()))?;
    for partition in (0..found.partitions.len() as u32).filter(|partition| *partition != 1) {
        let seen = kept_contents(broker, partition)?.len();
        ensure(seen == 0, || format!("{seen} records in partition {partition}"))?;
    }
    Ok(done)
}

/// No file is left that belongs to nothing.
fn check_no_leftovers(storage: &MemoryStorage, change: Change, done: bool) -> Checked {
    let left = files_below(storage, Path::new(DIR)).into_keys().filter(|path| match change {
        Change::Grow => {
            !done && ["changed-2", "changed-3"].iter().any(|dir| path.starts_with(Path::new(DIR).join(dir)))
        }
        Change::Alter => false,
        Change::DeleteRecords | Change::GiveUp => {
            done && [0, 2].iter().any(|&base| *path == segment("changed", 1, base))
        }
    });
    let left: Vec<PathBuf> = left.collect();
    ensure(left.is_empty(), || format!("these files are left: {left:?}"))
}

/// The change can be made now, and every partition takes records; the topic is so after reopening too.
fn check_can_be_made(storage: &MemoryStorage, broker: Broker, change: Change) -> Checked {
    change.apply(&broker).map_err(|error| Finding(format!("it cannot be made again: {error}")))?;
    ensure(check_whole(&broker, change)?, || "it is not made".to_owned())?;
    let partitions = broker.describe_topic("changed")?.partitions.len() as u32;
    for partition in 0..partitions {
        let expected = if partition == 1 { RECORDS as u64 } else { 0 };
        let offset = send(&broker, "changed", partition, b"anew")?;
        ensure(offset == expected, || format!("partition {partition} goes on with {offset}"))?;
    }
    let before = broker.describe_topic("changed")?;
    drop(broker);
    for round in ["first", "second"] {
        let broker = open(storage).map_err(|error| Finding(format!("the {round} reopening: {error}")))?;
        ensure(broker.recovery_report().is_clean(), || format!("the {round} reopening mended something"))?;
        let after = broker.describe_topic("changed")?;
        ensure(after == before, || format!("after the {round} reopening it is {after:?}"))?;
        for partition in 0..partitions {
            let last = kept_contents(&broker, partition)?.pop().map(|(_, value)| value);
            ensure(last.as_deref() == Some(b"anew"), || format!("partition {partition} lost a record"))?;
        }
    }
    Ok(())
}

/// Makes the change on a storage that fails in `windows`, then drops the broker as a crash would.
fn crash_at(change: Change, files: &Files, windows: &[Range<usize>]) -> Checked {
    let (storage, outcome) = broken_off(change, files).at(windows);
    let broker = open(&storage).map_err(|error| Finding(format!("it does not open: {error}")))?;
    let done = check_whole(&broker, change)?;
    ensure(done || outcome.is_err(), || "what was acknowledged is undone".to_owned())?;
    check_no_leftovers(storage.plain(), change, done)?;
    check_can_be_made(storage.plain(), broker, change)
}

#[test]
fn a_crash_at_any_call_leaves_the_topic_as_before_or_as_after() {
    let files = before();
    for change in CHANGES {
        let cases =
            (0..=broken_off(change, &files).calls()).map(|call| (format!("{change:?}, call {call}"), call));
        check_all(cases, |&call| crash_at(change, &files, std::slice::from_ref(&(call..CRASH))));
    }
}

#[test]
fn a_failure_and_then_a_crash_leave_the_topic_as_before_or_as_after() {
    let files = before();
    for change in CHANGES {
        let calls = broken_off(change, &files).calls();
        // What a failure makes of the calls that follow takes no more than these.
        let seconds = |first: usize| (first + 2 + first % 2..calls + 20).step_by(2);
        let pairs = (0..calls).flat_map(|first| seconds(first).map(move |second| (first, second)));
        let cases = pairs.map(|(first, second)| {
            (format!("{change:?}, failure at {first}, crash at {second}"), [first..first + 1, second..CRASH])
        });
        check_all(cases, |windows| crash_at(change, &files, windows));
    }
}

/// What a crash left is cleared away when the directory is opened, which may itself be broken off.
#[test]
fn a_crash_during_the_opening_after_a_crash_leaves_the_topic_as_before_or_as_after() {
    let files = before();
    for change in CHANGES {
        broken_off(change, &files).while_opening(|broker, storage| {
            let done = check_whole(broker, change)?;
            check_no_leftovers(storage, change, done)
        });
    }
}

/// Fails in `window`, then goes on with the same broker.
fn fail_then_go_on(change: Change, files: &Files, window: Range<usize>) -> Checked {
    let storage = Hooked::new(storage_with(files), Faults::default());
    let broker = reopen(&storage);
    storage.hook.arm_window(window, Kind::HalfThenEio);
    let outcome = change.apply(&broker);
    let partition = partition_dir("changed", 1);
    let is_sync = |op: &Op| matches!(op, Op::Sync | Op::SyncDir);
    let has_failed = storage.hook.hits().iter().any(|(op, path)| is_sync(op) && path.starts_with(&partition));
    storage.hook.disarm();
    let done = check_whole(&broker, change)?;
    ensure(change.is_told(done, &outcome), || format!("{outcome:?}, yet done is {done}"))?;
    if has_failed {
        // A log of which a sync failed takes no more records until it is opened again.
        drop(broker);
        return check_can_be_made(storage.plain(), reopen(&storage), change);
    }
    check_can_be_made(storage.plain(), broker, change)
}

#[test]
fn after_a_failure_the_change_can_be_made_without_reopening() {
    let files = before();
    for change in CHANGES {
        let calls = broken_off(change, &files).calls();
        let lens = [1, 2, 3, 4, 6, 9, 14, MOST_CALLS];
        let windows = (0..calls).flat_map(|call| lens.map(|len| call..call + len));
        let cases = windows.map(|window| (format!("{change:?}, calls {window:?}"), window));
        check_all(cases, |window| fail_then_go_on(change, &files, window.clone()));
    }
}

/// Taking a change back is part of its failure: it does not turn up at the next open.
#[test]
fn a_change_that_failed_once_is_not_there_at_the_next_open() {
    let files = before();
    for change in CHANGES {
        let cases =
            (0..broken_off(change, &files).calls()).map(|call| (format!("{change:?}, call {call}"), call));
        check_all(cases, |&call| {
            let storage = Hooked::new(storage_with(&files), Faults::default());
            let broker = reopen(&storage);
            storage.hook.arm_window(call..call + 1, Kind::Eio);
            let outcome = change.apply(&broker);
            drop(broker);
            storage.hook.disarm();
            let done = check_whole(&reopen(&storage), change)?;
            ensure(change.is_told(done, &outcome), || format!("{outcome:?}, yet done is {done}"))
        });
    }
}

// ---- deleting records ----

/// Which files are there when those of deleted records are half removed is up to the file system.
#[test]
fn any_of_the_files_of_deleted_records_may_be_left() {
    let files = before();
    let deleted = |start: u64| {
        let storage = storage_with(&files);
        let broker = reopen(&storage);
        broker.delete_records("changed", 1, start).expect("within the log");
        drop(broker);
        files_below(&storage, Path::new(DIR))
    };
    let cases = (1..=RECORDS as u64).flat_map(|start| {
        let after = deleted(start);
        let removed: Vec<PathBuf> = files.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
        let subsets = 0..1_u32 << removed.len();
        let lefts = subsets.map(move |subset| {
            let left = removed.iter().enumerate().filter(move |(number, _)| subset & (1 << number) != 0);
            (
                format!("from {start}, {subset:b}"),
                (start, after.clone(), left.map(|(_, path)| path.clone()).collect()),
            )
        });
        lefts.collect::<Vec<(String, (u64, Files, Vec<PathBuf>))>>()
    });
    let count = check_all(cases, |(start, after, left)| {
        let mut found = after.clone();
        for path in left {
            // What they hold does not matter any more.
            found.insert(path.clone(), files[path][..files[path].len() / 2].to_vec());
        }
        let storage = storage_with(&found);
        let broker = open(&storage)?;
        ensure(broker.recovery_report().is_clean(), || "something was mended".to_owned())?;
        let expected: Vec<_> = (0..).zip(values()).skip(*start as usize).collect();
        ensure(kept_contents(&broker, 1)? == expected, || "not what is kept".to_owned())?;
        drop(broker);
        let remaining = files_below(&storage, Path::new(DIR));
        ensure(remaining.keys().eq(after.keys()), || "not all of them were removed".to_owned())
    });
    assert!(count > 20, "only {count} cases");
}

/// A roll that a power loss broke off, right where the log begins.
#[test]
fn a_segment_without_a_header_may_be_where_the_log_begins() {
    let storage = storage_with(&before());
    let broker = reopen(&storage);
    broker.delete_records("changed", 1, RECORDS as u64).expect("all of them");
    drop(broker);
    for stub in [vec![], vec![0; 30], vec![0; 100]] {
        let mut files = files_below(&storage, Path::new(DIR));
        files.insert(segment("changed", 1, RECORDS), stub);
        let storage = storage_with(&files);
        let broker = reopen(&storage);
        assert_eq!(broker.recovery_report().torn_tails.len(), 1);
        let found = broker.describe_topic("changed").expect("it is there").partitions[1];
        assert_eq!((found.start_offset, found.end_offset), (RECORDS as u64, RECORDS as u64));
        assert_eq!(sent(&broker, "changed", 1, b"anew"), RECORDS as u64);
    }
}

/// Writes down what is done to the files, in order.
#[derive(Debug, Default)]
struct Diary(Mutex<Vec<(Op, PathBuf)>>);

impl Hook for Diary {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        self.0.lock().expect("no panic under the lock").push((op, path.to_path_buf()));
        Action::Go
    }
}

#[test]
fn a_power_loss_cannot_take_the_records_before_the_new_start_or_bring_back_the_deleted() {
    let storage = Hooked::new(storage_with(&before()), Diary::default());
    let broker = reopen(&storage);
    storage.hook.0.lock().expect("no panic").clear();
    sent(&broker, "changed", 1, b"not synced yet");
    broker.delete_records("changed", 1, RECORDS as u64).expect("within the log");
    let diary = storage.hook.0.lock().expect("no panic").clone();
    let first = |wanted: Op, path: &Path| {
        let found = diary.iter().position(|(op, at)| *op == wanted && at == path);
        found.unwrap_or_else(|| panic!("no {wanted:?} of {} in {diary:?}", path.display()))
    };
    let catalog = Path::new(DIR).join("catalog");
    let order = [
        first(Op::Write, &segment("changed", 1, RECORDS - 2)),
        first(Op::Sync, &segment("changed", 1, RECORDS - 2)),
        first(Op::Rename, &catalog),
        first(Op::SyncDir, Path::new(DIR)),
        first(Op::RemoveFile, &segment("changed", 1, 0)),
    ];
    assert!(order.is_sorted(), "{diary:?}");
}

const HOUR: Duration = Duration::from_secs(3_600);

/// A broker that syncs only when asked to, and the topic `changed` with two records to a segment.
fn open_unsynced(storage: &(impl Storage + Clone + 'static)) -> ottla::Result<Broker> {
    let broker = Broker::builder().storage(storage.clone()).data_dir(DIR).sync_interval(HOUR).open()?;
    broker.open_topic("changed", small_segments(1))?;
    Ok(broker)
}

/// After a power loss the log begins, and goes on, where its records were deleted.
fn check_begins_with(storage: &Lossy, start: u64, seed: u64) -> Checked {
    let broker = open_unsynced(&storage.after_power_loss(&mut Random(seed)))?;
    let found = broker.describe_topic("changed")?.partitions[0];
    ensure(found.start_offset == start && found.end_offset >= start, || format!("{found:?}"))
}

/// The new segment's header may be with the system only, while there is no record that is not synced.
#[test]
fn a_roll_that_a_kill_broke_off_does_not_cost_the_log_its_beginning() {
    let cases =
        (0..8).flat_map(|call| (0..16).map(move |seed| (format!("call {call}, {seed}"), (call, seed))));
    check_all(cases, |&(call, seed)| {
        let storage = Lossy::default();
        let broker = open_unsynced(&storage)?;
        let producer = broker.producer::<Raw, Raw>("changed")?;
        producer.send(b"", &value(0, 1_700))?;
        producer.send(b"", &value(1, 1_700))?;
        producer.flush()?;
        storage.cut_power_after(call);
        drop(producer.send(b"", &value(2, 1_700)));
        let storage = storage.after_kill();
        let broker = open_unsynced(&storage)?;
        let end = broker.describe_topic("changed")?.partitions[0].end_offset;
        broker.delete_records("changed", 0, end)?;
        storage.cut_power();
        check_begins_with(&storage, end, seed)
    });
}

/// Once the catalog says where the log begins: sends a record, and keeps what a kill would leave then.
#[derive(Debug, Default)]
struct SendThenKill {
    files: Lossy,
    producer: Mutex<Option<Producer<Raw, Raw>>>,
    killed: Mutex<Option<Lossy>>,
}

impl Hook for SendThenKill {
    fn after(&self, op: Op, path: &Path) {
        if (op, path) == (Op::SyncDir, Path::new(DIR))
            && let Some(producer) = self.producer.lock().expect("no panic").take()
        {
            producer.send(b"", &value(2, 1_700)).expect("it has room");
            *self.killed.lock().expect("no panic") = Some(self.files.after_kill());
        }
    }
}

#[test]
fn opening_removes_no_file_before_the_one_that_stands_in_for_it_is_safe() {
    check_all((0..200).map(|seed| (format!("{seed}"), seed)), |&seed| {
        let files = Lossy::default();
        let hook = SendThenKill { files: files.clone(), ..SendThenKill::default() };
        let storage = Hooked::new(files, hook);
        let broker = open_unsynced(&storage)?;
        let producer = broker.producer::<Raw, Raw>("changed")?;
        producer.send(b"", &value(0, 1_700))?;
        producer.send(b"", &value(1, 1_700))?;
        *storage.hook.producer.lock().expect("no panic") = Some(producer);
        broker.delete_records("changed", 0, 2)?;
        let killed = storage.hook.killed.lock().expect("no panic").take().expect("it was written down");
        let _in_use = open_unsynced(&killed)?;
        killed.cut_power();
        check_begins_with(&killed, 2, seed)
    });
}
