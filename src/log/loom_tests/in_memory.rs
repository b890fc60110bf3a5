//! A log in memory: what is read is whole and in order, and memory that is used again is nobody's.

use loom::thread;

use super::{FRAME_BYTES, append, append_wide, check, fetch, identity, numbers, read_from, settings};
use crate::config::Durability;
use crate::error::Error;
use crate::log::Files;
use crate::log::partition_log::PartitionLog;
use crate::log::reader::Cursor;
use crate::sync::Arc;
use crate::sync::signal::Signal;

fn log(memory_limit: u64) -> Arc<PartitionLog> {
    PartitionLog::in_memory(identity(), &settings(Durability::Memory, 1_000, memory_limit), &Arc::default())
}

#[test]
fn a_reader_sees_a_prefix_across_a_change_of_chunks() {
    check(|| {
        let log = log(10_000);
        let sender = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for number in 0..3 {
                    assert_eq!(append(&log, number).expect("open"), number);
                }
            }
        });
        let mut cursor = Cursor::new(0);
        let mut seen = fetch(&log, &mut cursor).expect("readable");
        seen.extend(fetch(&log, &mut cursor).expect("readable"));
        assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
        sender.join().expect("the sender");
        seen.extend(read_from(&log, cursor.offset()));
        assert_eq!(seen, [0, 1, 2]);
    });
}

#[test]
fn two_senders_get_offsets_without_a_gap() {
    check(|| {
        let log = log(10_000);
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
    });
}

#[test]
fn memory_is_used_again_only_when_nobody_reads_it() {
    check(|| {
        let log = log(2 * FRAME_BYTES);
        append_wide(&log, 0);
        let sender = thread::spawn({
            let log = Arc::clone(&log);
            move || (1..4).for_each(|number| append_wide(&log, number))
        });
        let mut cursor = Cursor::new(0);
        match log.fetch(&mut cursor, &Files::Here) {
            Ok(run) => {
                let run = run.expect("record 0 was appended");
                let seen = numbers(&run, 0);
                assert_eq!(seen[0], 0);
                // The writer has been busy meanwhile.
                thread::yield_now();
                assert_eq!(numbers(&run, 0), seen);
            }
            Err(Error::OffsetOutOfRange { requested: 0, earliest, latest, .. }) => {
                assert!(0 < earliest && earliest <= latest);
                cursor.seek(earliest);
            }
            Err(other) => panic!("{other}"),
        }
        drop(cursor);
        sender.join().expect("the sender");
        assert_eq!(read_from(&log, log.start_offset()).last(), Some(&3));
    });
}

/// Sleeps until there is something at the cursor.
fn sleep_for_news(log: &PartitionLog, signal: &Arc<Signal>) -> Result<Vec<u64>, Error> {
    let mut cursor = Cursor::new(0);
    loop {
        let sleep = signal.announce(vec![Arc::clone(log.waiters())]);
        match fetch(log, &mut cursor) {
            Ok(nothing) if nothing.is_empty() => sleep.wait(None),
            found => return found,
        }
    }
}

#[test]
fn a_sleeper_is_woken_by_an_append() {
    check(|| {
        let log = log(10_000);
        let sender = thread::spawn({
            let log = Arc::clone(&log);
            move || append(&log, 7).expect("open")
        });
        let signal = Arc::default();
        log.waiters().register(&signal);
        assert_eq!(sleep_for_news(&log, &signal).expect("readable"), [7]);
        sender.join().expect("the sender");
    });
}

#[test]
fn a_close_ends_appends_and_wakes_the_sleeper() {
    check(|| {
        let log = log(10_000);
        let sender = thread::spawn({
            let log = Arc::clone(&log);
            move || append(&log, 7)
        });
        let sleeper = thread::spawn({
            let log = Arc::clone(&log);
            let signal = Arc::default();
            log.waiters().register(&signal);
            move || sleep_for_news(&log, &signal)
        });
        log.close().expect("nothing to fail");
        let end_offset = log.end_offset();
        let sent = sender.join().expect("the sender");
        match sleeper.join().expect("the sleeper") {
            Ok(seen) => assert!(seen == [7] && sent.is_ok()),
            Err(error) => assert!(matches!(error, Error::Closed)),
        }
        match sent {
            Ok(offset) => assert_eq!((offset, end_offset), (0, 1)),
            Err(error) => assert!(matches!(error, Error::Closed) && end_offset == 0),
        }
        assert_eq!(log.end_offset(), end_offset, "nothing comes after a close");
    });
}

#[test]
fn deleted_records_are_not_read_from_then_on() {
    check(|| {
        let log = log(10_000);
        append(&log, 0).expect("open");
        let [mut cursor, mut late] = [Cursor::new(0), Cursor::new(0)];
        for cursor in [&mut cursor, &mut late] {
            assert_eq!(fetch(&log, cursor).expect("readable"), [0]);
        }
        append(&log, 1).expect("open");
        let deleting = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                append(&log, 2).expect("open");
                assert!(log.trim(2).segments.is_empty());
                // The second of these needs a chunk, and there is one that was taken out.
                (3..5).for_each(|number| assert_eq!(append(&log, number).expect("open"), number));
            }
        });
        let held = log.fetch(&mut cursor, &Files::Here);
        deleting.join().expect("it deletes");
        match held {
            Ok(run) => assert_eq!(numbers(&run.expect("record 1 was appended"), 1), [1]),
            Err(error) => assert!(matches!(error, Error::OffsetOutOfRange { earliest: 2, .. })),
        }
        assert!(matches!(fetch(&log, &mut late), Err(Error::OffsetOutOfRange { .. })));
        assert_eq!(read_from(&log, 2), [2, 3, 4]);
    });
}
