//! Which calls fail: a sync, or that of a directory, and then the attempts to write again what may be lost.
//! The cause lasts for some calls, or until it is taken away.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::common::random::Random;
use crate::sim::disk::SimCall;

const EIO: i32 = 5;
pub(crate) const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const FOR_LONG: u64 = u64::MAX;

/// The log of committed offsets.
pub(crate) const COMMITS_DIR: &str = "__consumer_offsets-0";

/// Every way in which writing again can fail. The name of a file that is not finished ends otherwise than
/// that of a segment.
const WHILE_WRITING: [(SimCall, i32); 9] = [
    (SimCall::Create, ENOSPC),
    (SimCall::Create, EMFILE),
    (SimCall::Write, ENOSPC),
    (SimCall::Write, EIO),
    (SimCall::Sync, EIO),
    (SimCall::Sync, ENOSPC),
    (SimCall::Rename, EIO),
    (SimCall::SyncDir, EIO),
    (SimCall::SyncDir, EMFILE),
];

/// Some calls of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    call: SimCall,
    code: i32,
    /// Whether it is about files that are to take the places of others.
    is_of_new_file: bool,
    /// So many such calls are made before.
    after: u64,
    times: u64,
}

/// What is to fail in the directory of a partition; `None`: of any.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) dir: Option<String>,
    pub(crate) first: Fault,
    /// Fails only when the first one has.
    pub(crate) then: Option<Fault>,
}

#[derive(Debug, Default)]
struct State {
    orders: Option<Orders>,
    /// Whether the first fault has begun.
    has_begun: bool,
    failed: Failed,
}

/// How many calls failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) syncs: u64,
    pub(crate) dir_syncs: u64,
    /// Of those that write again.
    pub(crate) rewrites: u64,
}

impl Failed {
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

/// Asked with every call whether it fails.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<State>);

impl Fault {
    fn is_meant(&self, call: SimCall, path: &Path) -> bool {
        let is_new = path.extension().is_some_and(|extension| extension == "new");
        let is_file = !matches!(call, SimCall::Rename | SimCall::SyncDir);
        call == self.call && (!is_file || is_new == self.is_of_new_file)
    }

    fn fails(&mut self) -> bool {
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        let fails = self.times > 0;
        self.times -= u64::from(fails && self.times != FOR_LONG);
        fails
    }
}

impl Orders {
    pub(crate) fn choose(random: &mut Random, dirs: &[String]) -> Self {
        let (call, code) = match random.below(8) {
            0 => (SimCall::SyncDir, EIO),
            1 => (SimCall::SyncDir, EMFILE),
            _ => (SimCall::Sync, EIO),
        };
        let after = random.pick(&[0, 0, 1, 2, 5]);
        let times = random.pick(&[1, 1, 1, 2, 5]);
        let first = Fault { call, code, is_of_new_file: false, after, times };
        let then = random.one_in(2).then(|| {
            let (call, code) = random.pick(&WHILE_WRITING);
            let (after, times) = (random.pick(&[0, 0, 0, 1]), random.pick(&[1, 1, 2, 4, FOR_LONG, FOR_LONG]));
            Fault { call, code, is_of_new_file: true, after, times }
        });
        let dir = dirs[random.below(dirs.len() as u64) as usize].clone();
        Self { dir: Some(dir).filter(|_| !random.one_in(3)), first, then }
    }

    #[cfg(test)]
    pub(crate) fn first_sync() -> Self {
        let first = Fault { call: SimCall::Sync, code: EIO, is_of_new_file: false, after: 0, times: 1 };
        Self { dir: None, first, then: None }
    }

    /// Whether a call is about the partition that is meant, or about any.
    fn is_there(&self, call: SimCall, path: &Path) -> bool {
        let dir = if call == SimCall::SyncDir { Some(path) } else { path.parent() };
        let name = dir.and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        match &self.dir {
            Some(dir) => name == dir,
            None => name.contains('-') && name != COMMITS_DIR,
        }
    }
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is to fail, and nothing has failed yet.
    pub(crate) fn arm(&self, orders: Orders) {
        *self.state() = State { orders: Some(orders), ..State::default() };
    }

    /// The cause is gone.
    pub(crate) fn cure(&self) {
        self.state().orders = None;
    }

    /// What failed since they were armed.
    pub(crate) fn failed(&self) -> Failed {
        self.state().failed
    }

    /// From now on nobody may be told of a fault: what it did is mended. What failed.
    pub(crate) fn forget(&self) -> Failed {
        std::mem::take(&mut *self.state()).failed
    }

    /// With which error of the system a call fails, if it does.
    pub(crate) fn decide(&self, call: SimCall, path: &Path) -> Option<i32> {
        let State { orders, has_begun, failed } = &mut *self.state();
        let orders = orders.as_mut().filter(|orders| orders.is_there(call, path))?;
        if let Some(then) = orders.then.as_mut().filter(|then| *has_begun && then.is_meant(call, path))
            && then.fails()
        {
            failed.rewrites += 1;
            return Some(then.code);
        }
        if !orders.first.is_meant(call, path) || !orders.first.fails() {
            return None;
        }
        *has_begun = true;
        let count = if call == SimCall::SyncDir { &mut failed.dir_syncs } else { &mut failed.syncs };
        *count += 1;
        Some(orders.first.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_again_fails_after_the_first_fault_until_it_is_cured() {
        let faults = Faults::default();
        let then =
            Fault { call: SimCall::Create, code: ENOSPC, is_of_new_file: true, after: 0, times: FOR_LONG };
        let mut orders = Orders { then: Some(then), ..Orders::first_sync() };
        orders.first.after = 1;
        faults.arm(orders);
        let (file, new) = (Path::new("/data/safe-0/0.log"), Path::new("/data/safe-0/0.log.new"));
        assert_eq!(faults.decide(SimCall::Create, new), None, "nothing has failed yet");
        assert_eq!(faults.decide(SimCall::Sync, Path::new("/data/catalog")), None, "no partition's");
        let syncs = [(); 3].map(|()| faults.decide(SimCall::Sync, file));
        assert_eq!(syncs, [None, Some(EIO), None]);
        let creates = [(); 3].map(|()| faults.decide(SimCall::Create, new));
        assert_eq!(creates, [Some(ENOSPC); 3]);
        assert_eq!(faults.failed(), Failed { syncs: 1, dir_syncs: 0, rewrites: 3 });
        faults.cure();
        assert_eq!(faults.decide(SimCall::Create, new), None);
        assert!(faults.forget().any() && !faults.failed().any());
    }
}
