//! A log on disk: senders who write for each other, segments that follow one another, syncs, and a close in
//! the middle of it. Each model ends with a look at what a broker would find that opens the directory next.

use loom::thread;

use super::watched::Watched;
use super::{FRAME_BYTES, append, append_wide, check, check_up_to, fetch, read_from, record};
use crate::config::Durability;
use crate::error::Error;
use crate::log::append::{Enqueued, Pending, WrittenBy};
use crate::log::partition_log::PartitionLog;
use crate::log::reader::Cursor;
use crate::log::segment_header::SEGMENT_HEADER_BYTES;
use crate::log::{FlushQueue, FlushRequest};
use crate::sync::{Arc, Ordering};

pub(super) fn enqueue(log: &PartitionLog, number: u64) -> Result<(u64, Pending), Error> {
    let Enqueued { base_offset, pending } =
        log.enqueue(&[record(&number.to_le_bytes())], WrittenBy::Flusher)?;
    Ok((base_offset, pending.expect("on disk it is open")))
}

/// Two senders and a reader. Afterwards everything is in its place, for readers and for the next broker.
fn two_senders(segment_bytes: u64) {
    check(move || {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, segment_bytes);
        let send = |number| {
            let log = Arc::clone(&log);
            move || {
                let offset = append(&log, number).expect("open");
                assert_eq!(read_from(&log, offset).first(), Some(&number), "acknowledged, so readable");
                offset
            }
        };
        let other = thread::spawn(send(100));
        let one = send(101)();
        let other = other.join().expect("the sender");
        let expected = if one < other { [101, 100] } else { [100, 101] };
        assert_eq!((one + other, read_from(&log, 0)), (1, expected.to_vec()));
        drop(log);
        assert_eq!(storage.left(), expected);
    });
}

#[test]
fn two_senders_write_for_each_other() {
    two_senders(1_000);
}

#[test]
fn two_senders_begin_a_segment_each() {
    two_senders(SEGMENT_HEADER_BYTES + FRAME_BYTES);
}

#[test]
fn nothing_is_visible_before_it_is_written() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, 1_000);
        let senders = [100, 101].map(|number| {
            let log = Arc::clone(&log);
            thread::spawn(move || append(&log, number).expect("open"))
        });
        let seen = read_from(&log, 0).len() as u64;
        assert!(seen <= storage.written_frames(), "visible, so written");
        senders.into_iter().for_each(|sender| assert!(sender.join().expect("the sender") < 2));
    });
}

#[test]
fn a_reader_goes_on_in_the_file_when_a_chunk_leaves() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, SEGMENT_HEADER_BYTES + 4 * FRAME_BYTES);
        append_wide(&log, 0);
        let sender = thread::spawn({
            let log = Arc::clone(&log);
            // The first one into the same segment, the second one into the next; each into a chunk.
            move || (1..3).for_each(|number| append_wide(&log, number))
        });
        let mut cursor = Cursor::new(0);
        let mut seen = fetch(&log, &mut cursor).expect("readable");
        seen.extend(fetch(&log, &mut cursor).expect("readable"));
        assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
        sender.join().expect("the sender");
        seen.extend(read_from(&log, cursor.offset()));
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(read_from(&log, 0), [0, 1, 2]);
    });
}

#[test]
fn nothing_is_visible_before_its_sync_and_nothing_acknowledged_before_it_is_visible() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::PowerLoss, 1_000);
        let sender = thread::spawn({
            let (log, storage) = (Arc::clone(&log), storage.clone());
            move || {
                let (offset, pending) = enqueue(&log, 7).expect("open");
                pending.wait(offset).expect("no fault");
                assert!(storage.synced_frames() >= 1);
                assert_eq!(read_from(&log, offset), [7], "acknowledged, so readable");
            }
        });
        let flusher = thread::spawn({
            let syncer = Arc::clone(&log.home().expect("on disk").syncer);
            move || syncer.write_as_asked().expect("no fault")
        });
        let mut cursor = Cursor::new(0);
        let seen = fetch(&log, &mut cursor).expect("readable").len() as u64;
        assert!(seen <= storage.synced_frames(), "visible, so synced");
        sender.join().expect("the sender");
        flusher.join().expect("the flusher");
    });
}

/// `others` and one more sender.
fn senders_share_a_sync<const OTHERS: usize>(others: [u64; OTHERS]) {
    let storage = Watched::new();
    let log = storage.open_log(Durability::PowerLoss, 1_000);
    let send = |number| {
        let (log, storage) = (Arc::clone(&log), storage.clone());
        move || {
            let offset = append(&log, number).expect("open");
            assert!(storage.synced_frames() > offset, "acknowledged, so synced");
            assert_eq!(read_from(&log, offset).first(), Some(&number), "acknowledged, so readable");
        }
    };
    let others = others.map(|number| thread::spawn(send(number)));
    send(100)();
    others.into_iter().for_each(|other| other.join().expect("the sender"));
}

#[test]
fn two_senders_who_share_a_sync_both_hear_of_it() {
    check(|| senders_share_a_sync([101]));
}

#[test]
fn three_senders_who_share_a_sync_all_hear_of_it() {
    check_up_to(2, || senders_share_a_sync([101, 102]));
}

/// Two senders, while so many syncs fail; what they hear.
fn send_while_syncs_fail(log: &Arc<PartitionLog>, storage: &Watched, syncs: u64) -> [Result<u64, Error>; 2] {
    storage.state.syncs_to_fail.store(syncs, Ordering::Relaxed);
    let send = |number| {
        let log = Arc::clone(log);
        move || append(&log, number)
    };
    let other = thread::spawn(send(100));
    let one = send(101)();
    [one, other.join().expect("the sender")]
}

#[test]
fn what_cannot_be_synced_anywhere_is_told_to_all_who_wait() {
    check(|| {
        let storage = Watched::new();
        // What is left to the flusher ends with it.
        let (flush, _requests) = FlushQueue::new();
        let log = storage.open_log_with(Durability::PowerLoss, 1_000, flush);
        for outcome in send_while_syncs_fail(&log, &storage, u64::MAX) {
            let error = outcome.expect_err("nothing is synced");
            let expected = matches!(error, Error::OutcomeUnknown { .. } | Error::PartitionFailed { .. });
            assert!(expected, "{error}");
        }
        assert_eq!(log.end_offset(), 0, "nothing is visible");
    });
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again_for_all_who_wait() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::PowerLoss, 1_000);
        let outcomes = send_while_syncs_fail(&log, &storage, 1);
        let [one, other] = outcomes.map(|outcome| outcome.expect("it is in another file"));
        let expected = if one < other { [101, 100] } else { [100, 101] };
        assert_eq!((one + other, read_from(&log, 0)), (1, expected.to_vec()));
        drop(log);
        assert_eq!(storage.left(), expected);
    });
}

#[test]
fn what_the_flusher_writes_for_a_sender_is_readable_when_it_is_acknowledged() {
    check(|| {
        let log = Watched::new().open_log(Durability::ProcessCrash, 1_000);
        let flusher = thread::spawn({
            let syncer = Arc::clone(&log.home().expect("on disk").syncer);
            move || syncer.write_as_asked().expect("no fault")
        });
        let (offset, pending) = enqueue(&log, 7).expect("open");
        pending.wait(offset).expect("no fault");
        assert_eq!(read_from(&log, offset), [7], "acknowledged, so readable");
        flusher.join().expect("the flusher");
    });
}

#[test]
fn a_sender_writes_what_was_enqueued_before_it() {
    check(|| {
        let storage = Watched::new();
        // Each record in a segment of its own.
        let log = storage.open_log(Durability::ProcessCrash, SEGMENT_HEADER_BYTES + FRAME_BYTES);
        let enqueuing = thread::spawn({
            let log = Arc::clone(&log);
            move || enqueue(&log, 100)
        });
        let offset = append(&log, 101).expect("open");
        assert_eq!(read_from(&log, offset).first(), Some(&101), "acknowledged, so readable");
        let (enqueued, pending) = enqueuing.join().expect("it enqueues").expect("open");
        pending.wait(enqueued).expect("no fault");
        drop(log);
        assert_eq!(storage.left(), if offset == 0 { [101, 100] } else { [100, 101] });
    });
}

#[test]
fn a_close_decides_every_delivery() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, 1_000);
        let sender = thread::spawn({
            let log = Arc::clone(&log);
            move || enqueue(&log, 7)
        });
        log.close().expect("no fault");
        let is_kept = match sender.join().expect("the sender") {
            Ok((offset, pending)) => {
                pending.outcome(offset).expect("decided").expect("no fault");
                true
            }
            Err(error) => {
                assert!(matches!(error, Error::Closed));
                false
            }
        };
        drop(log);
        assert_eq!(!storage.left().is_empty(), is_kept);
    });
}

#[test]
fn a_write_that_fails_is_told_to_all_it_was_for_and_to_nobody_else() {
    check(|| {
        let storage = Watched::new();
        let log = storage.open_log(Durability::ProcessCrash, 1_000);
        storage.state.next_write_fails.store(true, Ordering::Relaxed);
        let send = |number| {
            let log = Arc::clone(&log);
            move || append(&log, number)
        };
        let other = thread::spawn(send(100));
        let outcomes = [(101, send(101)()), (100, other.join().expect("the sender"))];
        let mut kept = Vec::new();
        for (number, outcome) in outcomes {
            match outcome {
                Ok(offset) => kept.push((offset, number)),
                Err(error) => assert!(matches!(error, Error::StorageFull { .. }), "{error}"),
            }
        }
        assert!(kept.len() < 2, "one write failed");
        let kept: Vec<u64> = kept
            .into_iter()
            .map(|(offset, number)| {
                assert_eq!(offset, 0);
                number
            })
            .collect();
        assert_eq!(read_from(&log, 0), kept);
        drop(log);
        assert_eq!(storage.left(), kept);
    });
}

#[test]
fn a_sync_is_asked_for_whatever_comes_during_another_one() {
    check(|| {
        let storage = Watched::new();
        let (queue, requests) = FlushQueue::new();
        let log = storage.open_log_with(Durability::ProcessCrash, 1_000, queue);
        let flush = move || {
            while let Ok(request) = requests.try_recv() {
                match request {
                    FlushRequest::Write(syncer) => syncer.write_as_asked().expect("no fault"),
                    FlushRequest::SyncWithin(_, syncer) => syncer.sync_as_asked().expect("no fault"),
                    FlushRequest::Stop => {}
                }
            }
            requests
        };
        append(&log, 7).expect("open");
        let flusher = thread::spawn(flush.clone());
        enqueue(&log, 8).expect("open");
        flusher.join().expect("the flusher");
        flush();
        assert_eq!((storage.written_frames(), storage.synced_frames()), (2, 2));
    });
}

#[test]
fn the_flusher_writes_what_nobody_waits_for() {
    check(|| {
        let storage = Watched::new();
        let (queue, requests) = FlushQueue::new();
        let log = storage.open_log_with(Durability::ProcessCrash, 1_000, queue);
        let flush = move || {
            while let Ok(request) = requests.try_recv() {
                if let FlushRequest::Write(syncer) = request {
                    syncer.write_as_asked().expect("no fault");
                }
            }
            requests
        };
        let first = enqueue(&log, 7).expect("open");
        let flusher = thread::spawn(flush.clone());
        let second = enqueue(&log, 8).expect("open");
        flusher.join().expect("the flusher");
        // It does not sleep here: whatever was asked for meanwhile, it finds at its next look.
        flush();
        for (offset, pending) in [first, second] {
            pending.outcome(offset).expect("decided").expect("no fault");
        }
        assert_eq!(read_from(&log, 0), [7, 8]);
    });
}
