//! Creating and deleting a topic, broken off at every call on the storage: afterwards the topic is there
//! whole or not at all, its name can be used, and nothing of an earlier topic comes back.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use ottla::Broker;
use ottla::storage::MemoryStorage;

use crate::broken_off::{BrokenOff, CRASH};
use crate::hooked::{Action, Faults, Hook, Hooked, Kind, Op};
use crate::support::{
    Checked, DIR, Files, Finding, check_all, contents, ensure, files_below, open, partition_dir, reopen,
    send, sent_all, small_segments, storage_with, value,
};

/// No creation or deletion takes more calls.
const MOST_CALLS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Delete,
}

impl Change {
    fn apply(self, broker: &Broker) -> ottla::Result<()> {
        match self {
            Self::Create => broker.create_topic("changed", small_segments(2)),
            Self::Delete => broker.delete_topic("changed"),
        }
    }
}

fn old_values() -> Vec<Vec<u8>> {
    (0..4).map(|number| value(number, 1_700)).collect()
}

/// A directory in which `change` can be made: with a topic that is kept, and for a deletion the one to be
/// deleted.
fn before(change: Change) -> Files {
    let storage = MemoryStorage::default();
    let broker = reopen(&storage);
    broker.create_topic("kept", small_segments(1)).expect("it is new");
    sent_all(&broker, "kept", 0, old_values());
    if change == Change::Delete {
        broker.create_topic("changed", small_segments(2)).expect("it is new");
        sent_all(&broker, "changed", 1, old_values());
    }
    broker.close().expect("it closes");
    files_below(&storage, Path::new(DIR))
}

fn broken_off(change: Change, files: &Files) -> BrokenOff<'_, impl Fn(&Broker) -> ottla::Result<()>> {
    let apply = move |broker: &Broker| change.apply(broker);
    BrokenOff { name: format!("{change:?}"), files, apply, expected_calls: 10..MOST_CALLS }
}

fn is_listed(broker: &Broker) -> bool {
    broker.list_topics().iter().any(|topic| topic == "changed")
}

/// The topic that is kept is as it was; the changed one is whole or not there, and its name works.
fn check_whole_or_absent(broker: &Broker, change: Change) -> Checked {
    ensure(contents(broker, "kept", 0)? == old_values(), || "the other topic suffered".to_owned())?;
    if is_listed(broker) {
        let found = contents(broker, "changed", 1)?;
        let whole = if change == Change::Create { Vec::new() } else { old_values() };
        ensure(found == whole, || format!("{} records of {}", found.len(), whole.len()))?;
        let partitions = broker.describe_topic("changed")?.partitions.len();
        return ensure(partitions == 2, || format!("{partitions} partitions"));
    }
    check_name_is_free(broker)
}

/// Makes the topic anew and finds it empty.
fn check_name_is_free(broker: &Broker) -> Checked {
    let created = broker.create_topic("changed", small_segments(2));
    created.map_err(|error| Finding(format!("the name cannot be used: {error}")))?;
    for partition in 0..2 {
        let found = contents(broker, "changed", partition)?.len();
        ensure(found == 0, || format!("{found} records of the old topic"))?;
        let offset = send(broker, "changed", partition, b"anew")?;
        ensure(offset == 0, || format!("the first offset is {offset}"))?;
    }
    Ok(())
}

/// Makes the change on a storage that fails in `windows`, then drops the broker as a crash would.
fn crash_at(change: Change, files: &Files, windows: &[Range<usize>]) -> Checked {
    let (storage, outcome) = broken_off(change, files).at(windows);
    let broker = open(&storage).map_err(|error| Finding(format!("it does not open: {error}")))?;
    if outcome.is_ok() {
        let expected = change == Change::Create;
        ensure(is_listed(&broker) == expected, || "what was acknowledged is undone".to_owned())?;
    }
    if !is_listed(&broker) {
        let left = files_below(&storage, Path::new(DIR)).into_keys();
        let left: Vec<_> = left.filter(|path| path.to_string_lossy().contains("changed")).collect();
        ensure(left.is_empty(), || format!("these files are left: {left:?}"))?;
    }
    check_whole_or_absent(&broker, change)?;
    drop(broker);
    let broker = open(&storage).map_err(|error| Finding(format!("it does not open again: {error}")))?;
    ensure(broker.recovery_report().is_clean(), || "the second opening mended something".to_owned())
}

#[test]
fn a_crash_at_any_call_leaves_the_topic_whole_or_absent() {
    for change in [Change::Create, Change::Delete] {
        let files = before(change);
        let cases =
            (0..=broken_off(change, &files).calls()).map(|call| (format!("{change:?}, call {call}"), call));
        check_all(cases, |&call| crash_at(change, &files, std::slice::from_ref(&(call..CRASH))));
    }
}

#[test]
fn a_failure_and_then_a_crash_leave_the_topic_whole_or_absent() {
    for change in [Change::Create, Change::Delete] {
        let files = before(change);
        let calls = broken_off(change, &files).calls();
        let pairs = (0..calls).flat_map(|first| (first + 2..MOST_CALLS).map(move |second| (first, second)));
        let cases = pairs.map(|(first, second)| {
            (format!("{change:?}, failure at {first}, crash at {second}"), [first..first + 1, second..CRASH])
        });
        check_all(cases, |windows| crash_at(change, &files, windows));
    }
}

/// What a crash left is cleared away when the directory is opened, which may itself be broken off.
#[test]
fn a_crash_during_the_opening_after_a_crash_leaves_the_topic_whole_or_absent() {
    for change in [Change::Create, Change::Delete] {
        let files = before(change);
        broken_off(change, &files).while_opening(|broker, _| check_whole_or_absent(broker, change));
    }
}

/// Fails in `window`, then goes on with the same broker, then reopens.
fn fail_then_go_on(change: Change, files: &Files, window: Range<usize>) -> Checked {
    let storage = Hooked::new(storage_with(files), Faults::default());
    let broker = reopen(&storage);
    storage.hook.arm_window(window, Kind::HalfThenEio);
    let outcome = change.apply(&broker);
    storage.hook.disarm();
    match change {
        Change::Create if outcome.is_ok() => {}
        Change::Create => ensure(!is_listed(&broker), || "it is listed after the failure".to_owned())?,
        Change::Delete if is_listed(&broker) => {
            broker
                .delete_topic("changed")
                .map_err(|error| Finding(format!("it cannot be deleted: {error}")))?;
        }
        Change::Delete => {}
    }
    if !is_listed(&broker) {
        check_name_is_free(&broker)?;
    }
    let expected = [contents(&broker, "changed", 0), contents(&broker, "changed", 1)];
    drop(broker);
    for round in ["first", "second"] {
        let broker = open(&storage).map_err(|error| Finding(format!("the {round} reopening: {error}")))?;
        for (partition, expected) in (0..).zip(&expected) {
            let found = contents(&broker, "changed", partition)?;
            let same = expected.as_ref().is_ok_and(|expected| *expected == found);
            ensure(same, || format!("{} records after the {round} reopening", found.len()))?;
        }
        ensure(broker.list_topics() == ["changed", "kept"], || format!("{:?}", broker.list_topics()))?;
    }
    Ok(())
}

#[test]
fn after_a_failure_the_name_can_be_used_without_reopening() {
    for change in [Change::Create, Change::Delete] {
        let files = before(change);
        let calls = broken_off(change, &files).calls();
        let lens = [1, 2, 3, 4, 6, 9, 14, MOST_CALLS];
        let windows = (0..calls).flat_map(|call| lens.map(|len| call..call + len));
        let cases = windows.map(|window| (format!("{change:?}, calls {window:?}"), window));
        check_all(cases, |window| fail_then_go_on(change, &files, window.clone()));
    }
}

/// Refuses to open segments of the topic, and keeps what a kill would leave then.
#[derive(Debug, Default)]
struct NoSegments {
    files: MemoryStorage,
    killed: Mutex<Option<Files>>,
}

impl Hook for NoSegments {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        if op != Op::Open || path.parent() != Some(&partition_dir("changed", 0)) {
            return Action::Go;
        }
        self.killed.lock().expect("no panic").get_or_insert_with(|| files_below(&self.files, Path::new(DIR)));
        Action::Fail(io::Error::other("too many open files"))
    }
}

/// As when a process may not open so many files: it must be able to open its broker the next time.
#[test]
fn a_topic_whose_logs_cannot_be_opened_is_never_written_down_as_made() {
    let over =
        |files: MemoryStorage| Hooked::new(files.clone(), NoSegments { files, ..NoSegments::default() });
    let storage = over(MemoryStorage::default());
    assert!(reopen(&storage).create_topic("changed", small_segments(2)).is_err());
    let killed = storage.hook.killed.lock().expect("no panic").take().expect("it was to be opened");
    assert!(reopen(&over(storage_with(&killed))).list_topics().is_empty());
}

/// A topic that is gone after a deletion that failed does not come back with another change of the catalog.
#[test]
fn a_topic_that_a_failed_deletion_ended_stays_away() {
    let files = before(Change::Delete);
    let calls = broken_off(Change::Delete, &files).calls();
    let windows = (0..calls).flat_map(|call| [1, 2, 3, 4, 6, 9].map(|len| call..call + len));
    let cases = windows.map(|window| (format!("calls {window:?}"), window));
    check_all(cases, |window| {
        let storage = Hooked::new(storage_with(&files), Faults::default());
        let broker = reopen(&storage);
        storage.hook.arm_window(window.clone(), Kind::Eio);
        drop(broker.delete_topic("changed"));
        storage.hook.disarm();
        let listed = is_listed(&broker);
        broker.create_topic("other", small_segments(1))?;
        drop(broker);
        ensure(is_listed(&reopen(&storage)) == listed, || format!("it was listed before: {listed}"))
    });
}

/// A deletion that failed while the topic is still there must not take along what is sent afterwards.
#[test]
fn what_is_acknowledged_after_a_failed_deletion_survives() {
    let files = before(Change::Delete);
    let cases = (0..broken_off(Change::Delete, &files).calls()).map(|call| (format!("call {call}"), call));
    check_all(cases, |&call| {
        let storage = Hooked::new(storage_with(&files), Faults::default());
        let broker = reopen(&storage);
        storage.hook.arm_window(call..call + 1, Kind::Eio);
        let deleted = broker.delete_topic("changed");
        storage.hook.disarm();
        if !is_listed(&broker) {
            drop(broker);
            return ensure(!is_listed(&reopen(&storage)), || "it is there again".to_owned());
        }
        ensure(deleted.is_err(), || "it is listed after its deletion".to_owned())?;
        let offset = send(&broker, "changed", 1, b"later")?;
        drop(broker);
        let broker = open(&storage)?;
        let found = contents(&broker, "changed", 1)?;
        ensure(found.get(offset as usize).is_some_and(|value| value == b"later"), || "it is lost".to_owned())
    });
}

#[test]
fn a_topic_of_an_old_name_begins_anew_and_old_handles_do_not_reach_it() {
    let storage = MemoryStorage::default();
    let broker = reopen(&storage);
    for round in 0..5 {
        broker.create_topic("changed", small_segments(2)).expect("the name is free");
        assert_eq!(contents(&broker, "changed", 1).expect("it can be read").len(), 0, "round {round}");
        let producer = broker.producer::<ottla::Raw, ottla::Raw>("changed").expect("it is there");
        sent_all(&broker, "changed", 1, old_values());
        broker.delete_topic("changed").expect("it is there");
        let refused = producer.record(b"late").partition(1).send();
        assert!(matches!(refused, Err(ottla::Error::TopicDeleted { .. })), "{refused:?}");
    }
    drop(broker);
    assert!(!is_listed(&reopen(&storage)));
}
