//! What may be lost is written again after a failed sync; when that fails halfway, the next attempt comes to
//! the same files.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::storage::{MemoryStorage, Storage};
use ottla::{Broker, Raw};

use crate::hooked::{Action, Hook, Hooked, Op};
use crate::support::{DIR, TOPIC, contents, partition_dir, reopen, sent_all, small_segments, value};

/// Fails the next sync of a file, and the next one of the partition's directory.
#[derive(Debug, Default)]
struct Once {
    sync: AtomicBool,
    dir_sync: AtomicBool,
}

impl Hook for Once {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        let is_due = match op {
            Op::Sync => &self.sync,
            Op::SyncDir if path == partition_dir(TOPIC, 0) => &self.dir_sync,
            _ => return Action::Go,
        };
        if is_due.swap(false, Ordering::SeqCst) {
            return Action::Fail(std::io::Error::other("input/output error"));
        }
        Action::Go
    }
}

#[test]
fn an_attempt_that_fails_after_its_files_have_their_names_is_repeated_with_the_same_files() {
    let storage = Hooked::new(MemoryStorage::default(), Once::default());
    let open = || {
        let broker = Broker::builder().storage(storage.clone()).data_dir(DIR);
        broker.sync_interval(Duration::from_secs(3_600)).open().expect("it opens")
    };
    let values: Vec<Vec<u8>> = (0..9).map(|number| value(number, 100)).collect();
    let broker = open();
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    sent_all(&broker, TOPIC, 0, values[..3].iter().cloned());
    broker.close().expect("nothing fails");
    let broker = open();
    let producer = broker.producer::<Raw, Raw>(TOPIC).expect("it is there");
    for values in values[3..].chunks(3) {
        sent_all(&broker, TOPIC, 0, values.iter().cloned());
        storage.hook.sync.store(true, Ordering::SeqCst);
        storage.hook.dir_sync.store(true, Ordering::SeqCst);
        producer.flush().expect_err("the new file's name cannot be made safe");
        producer.flush().expect("now it can");
    }
    // What was sent to this broker lies in one chunk in memory, and therefore in one segment.
    let names = storage.list(&partition_dir(TOPIC, 0)).expect("it is there");
    assert_eq!(names, ["00000000000000000000.log", "00000000000000000003.log"]);
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), values);
    drop((producer, broker));
    let again = reopen(&storage);
    assert!(again.recovery_report().damaged.is_empty(), "{:?}", again.recovery_report());
    assert_eq!(contents(&again, TOPIC, 0).expect("it can be read"), values);
}
