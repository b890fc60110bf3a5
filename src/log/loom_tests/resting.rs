//! A log that goes to rest while somebody appends or reads after all: nothing is lost, nothing is missed, and
//! in the end no file is open and no chunk left.
//!
//! loom lets a `try_lock` wait that meets a `lock`, and calls it a deadlock if the other one then waits too.
//! So the appends here are enqueued and waited for; a sender who is alone and tries is for Shuttle.

use loom::thread;

use super::on_disk::enqueue;
use super::watched::Watched;
use super::{FRAME_BYTES, append, append_wide, check, fetch, read_from};
use crate::config::Durability;
use crate::log::partition_log::PartitionLog;
use crate::log::reader::Cursor;
use crate::log::segment_header::SEGMENT_HEADER_BYTES;
use crate::sync::Arc;
use crate::sync::signal::Signal;

/// What the flusher does when it looks for the first time after a sync.
fn look(log: &PartitionLog) {
    let syncer = &log.home().expect("on disk").syncer;
    syncer.sync_as_asked().expect("no fault");
    syncer.is_to_be_looked_at();
    syncer.look_as_asked().expect("no fault");
}

/// The flusher comes to it once more, and nobody is in its way.
fn assert_rests(storage: &Watched, log: &PartitionLog) {
    look(log);
    assert_eq!((storage.open_files(), log.view().read().chunks().count()), (0, 0));
}

/// Somebody appends and reads while the log goes to rest, which was used before.
fn an_append_meets_the_rest(durability: Durability, segment_bytes: u64) {
    check(move || {
        let storage = Watched::new();
        let log = storage.open_log(durability, segment_bytes);
        append(&log, 0).expect("open");
        let flusher = thread::spawn({
            let log = Arc::clone(&log);
            move || look(&log)
        });
        let (offset, pending) = enqueue(&log, 1).expect("open");
        pending.wait(offset).expect("no fault");
        assert_eq!(read_from(&log, 0), [0, 1], "acknowledged, so readable");
        flusher.join().expect("the flusher");
        assert_rests(&storage, &log);
        assert_eq!(log.end_offset(), 2);
        assert_eq!(read_from(&log, 1), [1]);
        drop(log);
        assert_eq!(storage.left(), [0, 1]);
    });
}

#[test]
fn an_append_that_meets_the_rest_is_kept() {
    an_append_meets_the_rest(Durability::ProcessCrash, 1_000);
}

#[test]
fn a_durable_append_that_meets_the_rest_is_kept() {
    an_append_meets_the_rest(Durability::PowerLoss, 1_000);
}

#[test]
fn an_append_that_begins_a_segment_while_the_log_goes_to_rest_is_kept() {
    an_append_meets_the_rest(Durability::ProcessCrash, SEGMENT_HEADER_BYTES + FRAME_BYTES);
}

#[test]
fn a_reader_in_the_middle_of_a_chunk_goes_on_behind_it_when_the_log_has_given_it_up() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, 1_000);
        append_wide(&log, 0);
        append(&log, 1).expect("open");
        let flusher = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                look(&log);
                append(&log, 2).expect("open");
            }
        });
        let mut cursor = Cursor::new(0);
        let mut seen = Vec::new();
        (0..3).for_each(|_| seen.extend(fetch(&log, &mut cursor).expect("readable")));
        assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
        flusher.join().expect("the flusher");
        seen.extend(read_from(&log, cursor.offset()));
        assert_eq!(seen, [0, 1, 2]);
    });
}

#[test]
fn a_reader_that_sleeps_is_woken_by_the_append_after_the_rest() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, 1_000);
        append(&log, 0).expect("open");
        let signal = Arc::<Signal>::default();
        log.waiters().register(&signal);
        let mut cursor = Cursor::new(0);
        assert_eq!(fetch(&log, &mut cursor).expect("readable"), [0]);
        let flusher = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                look(&log);
                append(&log, 1).expect("open");
            }
        });
        loop {
            let sleep = signal.announce(vec![Arc::clone(log.waiters())]);
            let found = fetch(&log, &mut cursor).expect("readable");
            if !found.is_empty() {
                assert_eq!(found, [1]);
                break;
            }
            sleep.wait(None);
        }
        flusher.join().expect("the flusher");
    });
}

#[test]
fn a_sync_of_somebody_else_does_not_keep_a_log_from_its_rest() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, 1_000);
        append(&log, 0).expect("open");
        let flushing = thread::spawn({
            let log = Arc::clone(&log);
            move || log.sync().expect("no fault")
        });
        look(&log);
        flushing.join().expect("the sync");
        assert_rests(&storage, &log);
    });
}
