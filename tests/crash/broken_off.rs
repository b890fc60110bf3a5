//! A change to a directory of files, broken off at calls on the storage.

use std::ops::Range;
use std::path::Path;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Result};

use crate::hooked::{Faults, Hooked, Kind};
use crate::support::{Checked, DIR, Files, check_all, files_below, open, reopen, storage_with};

/// The end of a window in which everything fails from its first call on.
pub(crate) const CRASH: usize = usize::MAX;

/// A change, and what it is made on.
pub(crate) struct BrokenOff<'a, A> {
    pub(crate) name: String,
    pub(crate) files: &'a Files,
    pub(crate) apply: A,
    /// The change takes as many calls as that, and opening what it left takes no more.
    pub(crate) expected_calls: Range<usize>,
}

impl<A: Fn(&Broker) -> Result<()>> BrokenOff<'_, A> {
    /// How many calls the change takes.
    pub(crate) fn calls(&self) -> usize {
        let storage = Hooked::new(storage_with(self.files), Faults::default());
        let broker = reopen(&storage);
        storage.hook.count();
        (self.apply)(&broker).expect("nothing fails");
        let calls = storage.hook.calls();
        assert!(self.expected_calls.contains(&calls), "{} takes {calls} calls", self.name);
        calls
    }

    /// Makes the change on a storage that fails in `windows`, then drops the broker as a crash would. The
    /// storage does not fail any more.
    pub(crate) fn at(&self, windows: &[Range<usize>]) -> (Hooked<MemoryStorage, Faults>, Result<()>) {
        let storage = Hooked::new(storage_with(self.files), Faults::default());
        let broker = reopen(&storage);
        storage.hook.arm(windows, Kind::HalfThenEio);
        let outcome = (self.apply)(&broker);
        drop(broker);
        storage.hook.disarm();
        (storage, outcome)
    }

    /// Crashes at every call of the change, then at every other call of the opening that follows, beginning
    /// with another one each time; checks what an opening without a crash finds then.
    pub(crate) fn while_opening(&self, check: impl Fn(&Broker, &MemoryStorage) -> Checked) {
        let left = (0..self.calls()).map(|call| {
            let (storage, _broken_off) = self.at(std::slice::from_ref(&(call..CRASH)));
            files_below(storage.plain(), Path::new(DIR))
        });
        let cases = left.enumerate().flat_map(|(call, left)| {
            let pairs =
                (call % 2..self.expected_calls.end).step_by(2).map(move |second| (second, left.clone()));
            pairs.map(move |case| (format!("{}, crashes at {call} and {}", self.name, case.0), case))
        });
        check_all(cases, |(second, left)| {
            let storage = Hooked::new(storage_with(left), Faults::default());
            storage.hook.arm_window(*second..CRASH, Kind::HalfThenEio);
            drop(open(&storage));
            storage.hook.disarm();
            check(&open(&storage)?, storage.plain())
        });
    }
}
