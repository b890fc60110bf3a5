//! Keeps records on a thread of its own, long after the log has dropped them, and looks at them again before
//! it lets them go: their memory must not have been used for others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use ottla::OwnedRecord;

use crate::counts::{Counts, add};
use crate::payload;

const MOST_KEPT: usize = 2_000;

/// Takes records to keep.
pub(crate) type Keep = Sender<OwnedRecord>;

/// Starts the thread. It ends when nobody can send it more.
pub(crate) fn start(counts: &Arc<Counts>) -> (Keep, JoinHandle<()>) {
    let (keep, records) = bounded(64);
    let counts = Arc::clone(counts);
    (keep, thread::spawn(move || run(&records, &counts)))
}

fn run(records: &Receiver<OwnedRecord>, counts: &Counts) {
    let mut kept = VecDeque::new();
    for record in records {
        let origin = payload::origin(record.value.as_deref().expect("a value"));
        kept.push_back((origin, record));
        if kept.len() > MOST_KEPT {
            kept.pop_front().into_iter().for_each(|(origin, record)| assert_unchanged(origin, &record));
        }
        add(&counts.kept, 1);
    }
    kept.into_iter().for_each(|(origin, record)| assert_unchanged(origin, &record));
}

fn assert_unchanged(origin: payload::Origin, record: &OwnedRecord) {
    assert_eq!(payload::origin(record.value.as_deref().expect("a value")), origin, "it has changed");
}
