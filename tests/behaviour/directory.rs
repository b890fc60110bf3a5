//! A data directory has one owner at a time: in this process and among processes, through crashes, and
//! for as long as a handle lives.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ottla::{Broker, Error, TopicConfig};

use crate::support::*;

/// Set for a process that plays the owner of the directory in it.
const CHILD_DIR: &str = "OTTLA_TEST_CHILD_DIR";
const CHILD_RECORDS: usize = 1_000;

fn assert_in_use(dir: &Path, pid: u32) {
    let error = Broker::open(dir).expect_err("somebody has it");
    let shown = error.to_string();
    assert_fails!(Err::<(), _>(error), Error::DirectoryInUse { dir: named, owner }
        if named == dir && owner == format!("pid {pid}"));
    assert!(shown.contains(&dir.display().to_string()) && shown.contains(&pid.to_string()), "{shown}");
}

// ---- in one process ----

#[test]
fn a_second_broker_on_a_directory_is_refused() {
    let dir = temp_dir();
    let first = Broker::open(dir.path()).expect("a fresh directory");
    first.create_topic("payments", TopicConfig::new()).expect("a free name");
    assert_in_use(dir.path(), std::process::id());
    // The refused one has harmed nothing.
    send_numbered(&first, "payments", 1);
    first.close().expect("closes");
    let second = Broker::open(dir.path()).expect("the owner is gone");
    assert_eq!(texts(&all_of(&second, "payments")), ["value-0"]);
}

#[test]
fn a_second_broker_on_a_memory_storage_is_refused() {
    let kept = Kept::Files(ottla::storage::MemoryStorage::default());
    let first = kept.open();
    assert_fails!(kept.builder().open(), Error::DirectoryInUse { .. });
    drop(first);
    kept.open();
}

#[test]
fn two_directories_can_be_open_at_once() {
    let dirs = [temp_dir(), temp_dir()];
    let brokers = dirs.each_ref().map(|dir| Broker::open(dir.path()).expect("a fresh directory"));
    for (number, broker) in brokers.iter().enumerate() {
        broker.create_topic("payments", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "payments", number + 1);
    }
    assert_eq!(brokers.each_ref().map(|broker| held(broker, "payments")), [1, 2]);
}

#[test]
fn a_dropped_directory_can_be_opened_at_once_again_and_again() {
    on_kept(|kept| {
        kept.open().create_topic("payments", TopicConfig::new()).expect("a free name");
        for round in 0..50 {
            let broker = kept.open();
            assert!(broker.recovery_report().is_clean());
            assert_eq!(held(&broker, "payments"), round);
            // The flusher has just been told of this when everything is dropped.
            send_numbered(&broker, "payments", 1);
        }
    });
}

#[test]
fn a_closed_directory_can_be_opened_at_once_again_and_again() {
    on_kept(|kept| {
        kept.open().create_topic("payments", TopicConfig::new()).expect("a free name");
        for round in 0..20 {
            let broker = kept.open();
            assert_eq!(held(&broker, "payments"), round);
            send_numbered(&broker, "payments", 1);
            broker.close().expect("closes");
        }
    });
}

#[test]
fn a_producer_keeps_the_directory_and_goes_on_after_its_broker() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("payments", TopicConfig::new().segment_bytes(4096)).expect("a free name");
    let producer = broker.producer::<(), String>("payments").expect("it exists");
    drop(broker);
    assert_in_use(dir.path(), std::process::id());
    for value in numbered(0..100) {
        producer.send((), &value).expect("the engine lives");
    }
    producer.flush().expect("the engine lives");
    drop(producer);
    let broker = Broker::open(dir.path()).expect("the last handle is gone");
    assert_eq!(texts(&all_of(&broker, "payments")), numbered(0..100));
}

#[test]
fn a_consumer_keeps_the_directory_and_goes_on_after_its_broker() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("payments", TopicConfig::new()).expect("a free name");
    send_numbered(&broker, "payments", 3);
    let mut consumer = broker.consumer::<(), String>().topic("payments").group("g").build().expect("builds");
    drop(broker);
    assert_in_use(dir.path(), std::process::id());
    let records = consumer.poll(NOW).expect("the engine lives");
    assert_eq!(polled(&records), numbered(0..3));
    consumer.commit(&records).expect("the engine lives");
    drop((consumer, records));
    let broker = Broker::open(dir.path()).expect("the last handle is gone");
    assert_eq!(committed(&broker, "g").into_values().collect::<Vec<_>>(), [3]);
}

#[test]
fn polled_records_do_not_keep_the_directory() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("payments", TopicConfig::new()).expect("a free name");
    send_numbered(&broker, "payments", 3);
    let mut consumer = broker.consumer::<(), String>().topic("payments").build().expect("it exists");
    let records = consumer.poll(NOW).expect("records");
    drop((broker, consumer));
    let broker = Broker::open(dir.path()).expect("records are no handle");
    send_numbered(&broker, "payments", 10);
    assert_eq!(polled(&records), numbered(0..3));
}

#[test]
fn shared_records_do_not_keep_the_directory() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("payments", TopicConfig::new()).expect("a free name");
    send_numbered(&broker, "payments", 1);
    let mut consumer = broker.consumer::<(), String>().topic("payments").build().expect("it exists");
    let records = consumer.poll(NOW).expect("a record");
    let shared = records.iter().next().expect("a record").share();
    drop((broker, consumer, records));
    Broker::open(dir.path()).expect("shared bytes are no handle");
    assert_eq!(text(&shared), "value-0");
}

#[test]
fn a_directory_is_made_with_its_parents() {
    let dir = temp_dir();
    let deep = dir.path().join("a/b/c");
    let broker = Broker::open(&deep).expect("the parents are made");
    broker.create_topic("payments", TopicConfig::new()).expect("a free name");
    drop(broker);
    assert_eq!(Broker::open(&deep).expect("it exists").list_topics(), ["payments"]);
}

#[test]
fn a_path_that_is_a_file_is_an_error_that_names_it() {
    let dir = temp_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"mine").expect("a writable directory");
    let shown = Broker::open(&path).expect_err("it is no directory").to_string();
    assert!(shown.contains(&path.display().to_string()), "{shown}");
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"mine");
}

#[test]
fn a_lost_catalog_is_an_error_rather_than_an_empty_broker() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("payments", TopicConfig::new()).expect("a free name");
    broker.close().expect("closes");
    std::fs::remove_file(dir.path().join("catalog")).expect("the catalog is a file");
    let before = files_in(dir.path());
    assert_fails!(Broker::open(dir.path()), Error::Corrupt { .. });
    assert_eq!(files_in(dir.path()), before);
}

#[test]
fn a_fresh_directory_and_memory_have_nothing_to_report() {
    on_both(|broker| assert!(broker.recovery_report().is_clean()));
}

// ---- among processes ----

/// Not a test of its own: the process that [`Owner::start`] makes of this test binary ends up here. It opens
/// the directory, sends records, says so, and waits to be killed.
#[test]
fn child_process() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let broker = Broker::open(dir).expect("a fresh directory");
    broker.create_topic("payments", TopicConfig::new().segment_bytes(4096)).expect("a free name");
    send_numbered(&broker, "payments", CHILD_RECORDS);
    std::io::stdout().write_all(b"\nready\n").expect("the parent listens");
    std::io::stdout().flush().expect("the parent listens");
    // The parent holds the other end until it kills this process, or dies.
    std::io::stdin().read_line(&mut String::new()).expect("the parent lives");
}

/// Another process that owns a directory; killed when dropped.
struct Owner(Child);

impl Owner {
    fn start(dir: &Path) -> Self {
        let program = std::env::current_exe().expect("this test binary");
        let child = Command::new(program)
            .args(["--exact", "directory::child_process", "--nocapture"])
            .env(CHILD_DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test binary runs");
        let mut owner = Self(child);
        let output = BufReader::new(owner.0.stdout.take().expect("it is piped"));
        let mut lines = output.lines().map(|line| line.expect("text"));
        assert!(lines.any(|line| line == "ready"), "the child must own the directory");
        owner
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Both fail if it is dead already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_directory_of_another_process_is_refused_with_its_pid() {
    let dir = temp_dir();
    let owner = Owner::start(dir.path());
    assert_in_use(dir.path(), owner.0.id());
    owner.kill();
}

#[test]
fn a_killed_owner_leaves_its_records_and_no_lock() {
    let dir = temp_dir();
    let owner = Owner::start(dir.path());
    owner.kill();
    let broker = Broker::open(dir.path()).expect("the owner is dead");
    assert_eq!(texts(&all_of(&broker, "payments")), numbered(0..CHILD_RECORDS));
    send_numbered(&broker, "payments", 1);
    assert_eq!(held(&broker, "payments"), CHILD_RECORDS as u64 + 1);
}
