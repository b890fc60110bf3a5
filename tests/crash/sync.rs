//! `flush` and `close` say that everything survives a power loss: then no byte of a record may be left that was
//! written after the last sync of its file, and no name that was made after the last sync of its directory. A
//! sync mark, written after a sync, waits for the next one or for the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ottla::storage::MemoryStorage;
use ottla::{Broker, Raw};

use crate::hooked::{Action, Hook, Hooked, Op};
use crate::support::{
    DIR, TOPIC, files_below, partition_dir, read_file, reopen, segment, sent, sent_all, small_segments,
    value, write_file,
};

/// Knows what is written and not synced, but for sync marks; can hold up the next sync of a file.
#[derive(Debug, Default)]
struct SyncWatch {
    state: Mutex<WatchState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WatchState {
    /// By file or directory: changes that were begun, and how many of them a sync has covered.
    marks: BTreeMap<PathBuf, (u64, u64)>,
    /// For each sync under way, by thread and file, the changes that it covers.
    covered: BTreeMap<(String, PathBuf), u64>,
    gate: Option<PathBuf>,
    at_gate: bool,
}

fn this_thread() -> String {
    format!("{:?}", thread::current().id())
}

impl SyncWatch {
    fn state(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What below `dir`, itself included, a power loss would take.
    fn unsynced(&self, dir: &Path) -> Vec<PathBuf> {
        let state = self.state();
        let below =
            state.marks.iter().filter(|(path, (changes, synced))| path.starts_with(dir) && changes > synced);
        below.map(|(path, _)| path.clone()).collect()
    }

    /// The next sync of `path` waits until [`SyncWatch::open_gate`].
    fn close_gate(&self, path: &Path) {
        self.state().gate = Some(path.to_path_buf());
    }

    fn wait_for_sync_at_gate(&self) {
        let wait =
            self.changed.wait_timeout_while(self.state(), Duration::from_secs(10), |state| !state.at_gate);
        let (_state, waited) = wait.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "nobody syncs the file");
    }

    fn open_gate(&self) {
        self.state().gate = None;
        self.changed.notify_all();
    }
}

impl WatchState {
    fn change(&mut self, path: &Path) {
        self.marks.entry(path.to_path_buf()).or_default().0 += 1;
    }
}

impl Hook for SyncWatch {
    fn before_write(&self, path: &Path, file: u64, bytes: &[u8]) -> Action {
        // One that is alone: the flusher writes it behind its own sync.
        let is_sync_mark = bytes.len() == 48 && bytes[38] == 1;
        if is_sync_mark { Action::Go } else { self.before(Op::Write, path, Some(file)) }
    }

    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        let mut state = self.state();
        match op {
            Op::Write | Op::SetLen => state.change(path),
            Op::Create | Op::Rename | Op::RemoveFile => {
                state.change(path.parent().unwrap_or(path));
            }
            Op::Sync | Op::SyncDir => {
                let changes = state.marks.entry(path.to_path_buf()).or_default().0;
                state.covered.insert((this_thread(), path.to_path_buf()), changes);
                if state.gate.as_deref() == Some(path) {
                    state.at_gate = true;
                    self.changed.notify_all();
                    let passed = self.changed.wait_while(state, |state| state.gate.is_some());
                    drop(passed.unwrap_or_else(PoisonError::into_inner));
                }
            }
            _ => {}
        }
        Action::Go
    }

    fn after(&self, op: Op, path: &Path) {
        let mut state = self.state();
        match op {
            Op::Sync | Op::SyncDir => {
                let covered = state.covered.remove(&(this_thread(), path.to_path_buf())).unwrap_or(0);
                let marks = state.marks.entry(path.to_path_buf()).or_default();
                marks.1 = marks.1.max(covered);
            }
            Op::RemoveFile => {
                state.marks.remove(path);
            }
            _ => {}
        }
    }
}

type Watched = Hooked<MemoryStorage, SyncWatch>;

fn broker_with_topic() -> (Watched, Broker) {
    let storage = Hooked::new(MemoryStorage::default(), SyncWatch::default());
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    (storage, broker)
}

/// The files as another process finds them after a crash of this one, none of them known to be synced.
fn after_crash(storage: &Watched) -> Watched {
    let crashed = Hooked::new(MemoryStorage::default(), SyncWatch::default());
    for (path, bytes) in files_below(storage.plain(), Path::new(DIR)) {
        write_file(&crashed, &path, &bytes);
    }
    crashed
}

fn flush(broker: &Broker) {
    broker.producer::<Raw, Raw>(TOPIC).expect("it is there").flush().expect("the sync works");
}

fn assert_synced(storage: &Watched) {
    let unsynced = storage.hook.unsynced(&partition_dir(TOPIC, 0));
    assert!(unsynced.is_empty(), "a power loss would take some of {unsynced:?}");
}

fn wait_until_synced(storage: &Watched) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !storage.hook.unsynced(&partition_dir(TOPIC, 0)).is_empty() {
        assert!(Instant::now() < deadline, "something is left unsynced");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_flush_leaves_nothing_unsynced() {
    let (storage, broker) = broker_with_topic();
    for round in 0..20 {
        for number in 0..round {
            sent(&broker, TOPIC, 0, &value(number, 100 * round));
        }
        flush(&broker);
        assert_synced(&storage);
    }
}

#[test]
fn a_close_leaves_nothing_unsynced() {
    let (storage, broker) = broker_with_topic();
    sent_all(&broker, TOPIC, 0, (0..20).map(|number| value(number, 1_000)));
    broker.close().expect("it closes");
    let unsynced = storage.hook.unsynced(Path::new("/data"));
    assert!(unsynced.is_empty(), "a power loss would take some of {unsynced:?}");
}

#[test]
fn the_flusher_syncs_what_nobody_flushes() {
    let (storage, broker) = broker_with_topic();
    sent_all(&broker, TOPIC, 0, (0..20).map(|number| value(number, 1_000)));
    wait_until_synced(&storage);
}

/// What is appended while a sync runs may be too late for it, also if its segment is sealed meanwhile.
#[test]
fn what_is_appended_and_sealed_during_a_sync_is_synced_by_the_next_flush() {
    let (storage, broker) = broker_with_topic();
    sent(&broker, TOPIC, 0, &value(0, 500));
    storage.hook.close_gate(&segment(TOPIC, 0, 0));
    let flushing = thread::spawn({
        let broker = broker.clone();
        move || flush(&broker)
    });
    storage.hook.wait_for_sync_at_gate();
    sent_all(&broker, TOPIC, 0, (1..6).map(|number| value(number, 1_500)));
    storage.hook.open_gate();
    flushing.join().expect("the flush ends");
    flush(&broker);
    assert_synced(&storage);
}

#[test]
fn a_flush_after_a_crash_syncs_what_the_process_before_left() {
    let (storage, broker) = broker_with_topic();
    sent_all(&broker, TOPIC, 0, (0..9).map(|number| value(number, 1_000)));
    let storage = after_crash(&storage);
    let broker = reopen(&storage);
    flush(&broker);
    assert_synced(&storage);
}

/// The file that a killed process was about to roll into says nothing about what was synced.
#[test]
fn a_flush_after_a_crash_during_a_roll_syncs_what_the_process_before_left() {
    let (storage, broker) = broker_with_topic();
    let offset = sent(&broker, TOPIC, 0, &value(0, 1_000));
    let storage = after_crash(&storage);
    write_file(&storage, &segment(TOPIC, 0, offset as usize + 1), &[]);
    let broker = reopen(&storage);
    assert_eq!(broker.recovery_report().torn_tails.len(), 1, "the stub is reported");
    flush(&broker);
    assert_synced(&storage);
}

#[test]
fn a_flush_after_a_torn_tail_syncs_the_cut() {
    let (storage, broker) = broker_with_topic();
    sent(&broker, TOPIC, 0, &value(0, 1_000));
    let storage = after_crash(&storage);
    let path = segment(TOPIC, 0, 0);
    let torn = [read_file(&storage, &path), b"torn".to_vec()].concat();
    write_file(&storage, &path, &torn);
    let broker = reopen(&storage);
    assert_eq!(broker.recovery_report().torn_tails.len(), 1, "the torn tail is reported");
    flush(&broker);
    assert_synced(&storage);
}

/// Dropping everything does not wait for a sync, but one comes.
#[test]
fn what_was_not_synced_when_everything_was_dropped_is_synced_soon() {
    let (storage, broker) = broker_with_topic();
    sent_all(&broker, TOPIC, 0, (0..9).map(|number| value(number, 1_000)));
    drop(broker);
    wait_until_synced(&storage);
}
