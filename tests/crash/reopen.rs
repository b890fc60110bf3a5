//! A directory that is opened again while the handles of the broker before were just dropped: the lock is
//! free in time, and every record is there, even if the flusher is at work.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ottla::storage::Disk;
use ottla::{Broker, Error, Raw};

use crate::hooked::{Action, Hook, Hooked, Op};
use crate::support::{contents, send, small_segments, value};

const ROUNDS: usize = 30;

/// Makes the flusher's first sync of a round slow, and counts its syncs.
#[derive(Debug, Default)]
struct SlowFlusher {
    begun: AtomicUsize,
    slow: AtomicBool,
}

impl Hook for SlowFlusher {
    fn before(&self, op: Op, _path: &Path, _file: Option<u64>) -> Action {
        if op == Op::Sync && thread::current().name() == Some("ottla-flusher") {
            self.begun.fetch_add(1, Ordering::SeqCst);
            if self.slow.swap(false, Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(30));
            }
        }
        Action::Go
    }
}

/// Opens, checks that all is there, sends, and drops everything after `wait`; again and again.
fn reopen_again_and_again(wait: impl Fn(&SlowFlusher, usize)) {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let storage = Hooked::new(Disk, SlowFlusher::default());
    let mut acknowledged: Vec<Vec<u8>> = Vec::new();
    for round in 0..ROUNDS {
        let opened = Broker::builder().storage(storage.clone()).data_dir(dir.path()).open();
        let broker = opened.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
        broker.open_topic("orders", small_segments(1)).expect("it opens");
        assert_eq!(contents(&broker, "orders", 0).expect("it can be read"), acknowledged);
        let begun = storage.hook.begun.load(Ordering::SeqCst);
        storage.hook.slow.store(true, Ordering::SeqCst);
        for number in 0..10 {
            let record = value(round * 10 + number, 300);
            send(&broker, "orders", 0, &record).expect("it is taken");
            acknowledged.push(record);
        }
        wait(&storage.hook, begun);
    }
}

#[test]
fn a_directory_opens_again_while_the_flusher_of_the_broker_before_is_busy() {
    reopen_again_and_again(|flusher, begun| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while flusher.begun.load(Ordering::SeqCst) == begun {
            assert!(Instant::now() < deadline, "the flusher does nothing");
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_directory_opens_again_at_once_after_everything_was_dropped() {
    reopen_again_and_again(|_, _| {});
}

#[test]
fn handles_that_are_left_keep_the_directory_and_go_on() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let broker = Broker::open(dir.path()).expect("it opens");
    broker.create_topic("orders", small_segments(1)).expect("it is new");
    let producer = broker.producer::<Raw, Raw>("orders").expect("it is there");
    drop(broker);
    producer.record(b"after the broker").send().expect("the producer goes on");
    let refused = Broker::open(dir.path());
    assert!(matches!(refused, Err(Error::DirectoryInUse { .. })), "{refused:?}");
    drop(producer);
    let broker = Broker::open(dir.path()).expect("the last handle is gone");
    assert_eq!(contents(&broker, "orders", 0).expect("it can be read"), [b"after the broker"]);
}

#[test]
fn a_lock_file_that_nobody_holds_does_not_matter() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    std::fs::write(dir.path().join("LOCK"), "pid 1").expect("it can be written");
    Broker::open(dir.path()).expect("nobody holds it").close().expect("it closes");
}
