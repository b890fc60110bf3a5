//! A file system in memory whose power can go: what was synced stays, of what was not each sector and each
//! name may survive or not. What a killed process leaves can be had as well, and syncs can fail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chance::{Chance, Fate};
use super::file::{AfterFailure, Change, File};
use super::names::{NameChange, Names};

/// How long a sync that is held waits for those who hold it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The file system. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    files: Vec<File>,
    /// What each file was last called.
    called: Vec<PathBuf>,
    pub(super) names: Names,
    /// Changes so far.
    time: u64,
    /// Changes and syncs so far.
    calls: u64,
    /// With which call the power goes, or the process dies, and how much of it is done by then, of 1000.
    cut_at: Option<(u64, u64)>,
    is_off: bool,
    /// How often the power has come back.
    boots: u64,
    pub(super) lock: Lock,
    /// The next sync of a file below this directory waits.
    held: Option<PathBuf>,
    /// How often somebody held one up.
    holds: u64,
    is_at_gate: bool,
    failing: Failing,
    heard: Heard,
}

/// Who has the directory.
#[derive(Clone, Debug, Default)]
pub(super) enum Lock {
    #[default]
    Free,
    Owned(String),
    Read(usize),
}

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimCall {
    Create,
    Write,
    SetLen,
    Sync,
    SyncDir,
    Rename,
    Remove,
}

/// Says of a call, by the name of its file, with which error of the system it fails, if it does.
type Plan = dyn FnMut(SimCall, &Path) -> Option<i32> + Send;

/// Which calls fail.
#[derive(Clone, Default)]
struct Failing {
    plan: Option<Arc<Mutex<Plan>>>,
    then: Option<AfterFailure>,
    /// For the choice of what a failed sync loses.
    seed: u64,
}

impl std::fmt::Debug for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failing").field("is_planned", &self.plan.is_some()).finish_non_exhaustive()
    }
}

/// What was noticed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Syncs of files that failed.
    pub(crate) failed_syncs: u64,
    /// Files that were synced after a sync of them had failed.
    pub(crate) synced_again: Vec<PathBuf>,
    /// New segments that took their places: files that were renamed to a name that ends in `.log`.
    pub(crate) rewritten: Vec<PathBuf>,
}

/// Numbers that follow from one number.
struct Seeded(u64);

impl Chance for Seeded {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

impl State {
    pub(super) fn check_on(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("there is no power")) } else { Ok(()) }
    }

    /// Counts a call, which is to be made; if the power goes with it, how much of it is done by then.
    fn count(&mut self) -> io::Result<Option<u64>> {
        self.check_on()?;
        let call = self.calls;
        self.calls += 1;
        let share = self.cut_at.filter(|(at, _)| *at == call).map(|(_, share)| share);
        self.is_off = share.is_some();
        Ok(share)
    }

    /// Whether a call is to fail.
    fn check_plan(&mut self, call: SimCall, path: &Path) -> io::Result<()> {
        let Some(plan) = self.failing.plan.clone() else { return Ok(()) };
        let failure = (plan.lock().unwrap_or_else(PoisonError::into_inner))(call, path);
        failure.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }

    pub(super) fn change_name(&mut self, call: SimCall, change: NameChange, path: &Path) -> io::Result<()> {
        let share = self.count()?;
        self.check_plan(call, path)?;
        if share.is_none_or(|share| share >= 500) {
            self.time += 1;
            self.names.change(self.time, change, path.parent().unwrap_or(path));
        }
        self.check_on()
    }

    pub(super) fn change_file(&mut self, file: usize, call: SimCall, change: Change) -> io::Result<()> {
        let share = self.count()?;
        let path = self.called[file].clone();
        self.check_plan(call, &path)?;
        let change = match share {
            None => Some(change),
            Some(share) => change.front(share),
        };
        if let Some(change) = change {
            self.time += 1;
            self.files[file].change(self.time, change);
        }
        self.check_on()
    }

    /// Makes a file that has no name yet.
    pub(super) fn new_file(&mut self, path: &Path) -> usize {
        self.files.push(File::default());
        self.called.push(path.to_path_buf());
        self.files.len() - 1
    }

    pub(super) fn bytes(&self, file: usize) -> &[u8] {
        self.files[file].bytes()
    }

    pub(super) fn renamed(&mut self, file: usize, to: &Path) {
        if to.extension().is_some_and(|extension| extension == "log") {
            self.heard.rewritten.push(to.to_path_buf());
        }
        self.called[file] = to.to_path_buf();
    }

    fn sync_file(&mut self, file: usize, time: u64) -> io::Result<()> {
        let is_cut = self.count()?.is_some();
        if is_cut {
            return self.check_on();
        }
        let path = self.called[file].clone();
        if self.files[file].has_failed() {
            self.heard.synced_again.push(path.clone());
        }
        if let Err(error) = self.check_plan(SimCall::Sync, &path) {
            self.failing.seed = self.failing.seed.wrapping_add(1);
            self.heard.failed_syncs += 1;
            let then = self.failing.then.unwrap_or(AfterFailure::Shown);
            self.files[file].fail(time, then, &mut Seeded(self.failing.seed));
            return Err(error);
        }
        self.files[file].sync(time);
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path, time: u64) -> io::Result<()> {
        if self.count()?.is_none() {
            self.check_plan(SimCall::SyncDir, dir)?;
            self.names.sync(dir, time);
        }
        self.check_on()
    }

    fn after_power_loss<C: Chance>(&self, chance: &mut C) -> Self {
        let of_all = Fate::choose(chance);
        let one_for_all = chance.happens_once_in(2);
        let fate = |chance: &mut C| if one_for_all { of_all } else { Fate::choose(chance) };
        let names = self.names.after_power_loss(chance, fate);
        let has_stale = chance.happens_once_in(8);
        let mut files = Vec::with_capacity(self.files.len());
        for (number, file) in self.files.iter().enumerate() {
            let stale = if has_stale { self.stale_for(number, chance) } else { None };
            let fate = fate(chance);
            files.push(file.after_power_loss(fate, stale, chance));
        }
        Self { files, names, called: self.called.clone(), boots: self.boots + 1, ..Self::default() }
    }

    /// Bytes of a file in another directory, whose place on the device a new file may have got.
    fn stale_for(&self, file: usize, chance: &mut impl Chance) -> Option<&[u8]> {
        let other = chance.below(self.files.len() as u64) as usize;
        let is_elsewhere = self.called[other].parent() != self.called[file].parent();
        is_elsewhere.then(|| self.files[other].bytes())
    }
}

impl SimDisk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(state: State) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// The power goes, or the process dies, after so many more changes and syncs, in the middle of the next
    /// one, of which so much is done by then.
    pub(crate) fn cut_power_after(&self, calls: u64, of_1000: u64) {
        let mut state = self.state();
        state.cut_at = Some((state.calls + calls, of_1000));
    }

    /// From now on every call fails. Those who are held are let go.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        (state.is_off, state.held) = (true, None);
        self.shared.changed.notify_all();
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Changes and syncs so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The files as they are found when the power is back.
    pub(crate) fn after_power_loss(&self, chance: &mut impl Chance) -> Self {
        Self::of(self.state().after_power_loss(chance))
    }

    /// The files as they are now, for another process: what is not synced is still not.
    pub(crate) fn after_kill(&self) -> Self {
        let mut left = self.state().clone();
        (left.cut_at, left.is_off, left.lock, left.held) = (None, false, Lock::Free, None);
        // It does not know of syncs that failed.
        (left.is_at_gate, left.heard) = (false, Heard::default());
        left.files.iter_mut().for_each(File::forget_failure);
        Self::of(left)
    }

    /// In which run of the machine this is.
    pub(super) fn boot(&self) -> u64 {
        self.state().boots
    }

    /// From now on calls fail as `plan` says, and what a failed sync gave up is dealt with so.
    pub(crate) fn fail(
        &self,
        then: AfterFailure,
        seed: u64,
        plan: impl FnMut(SimCall, &Path) -> Option<i32> + Send + 'static,
    ) {
        self.state().failing = Failing { plan: Some(Arc::new(Mutex::new(plan))), then: Some(then), seed };
    }

    /// From now on no call fails.
    pub(crate) fn fail_no_more(&self) {
        self.state().failing.plan = None;
    }

    pub(crate) fn heard(&self) -> Heard {
        self.state().heard.clone()
    }

    /// Whether a power loss could take anything of the file, or of the names in the directory, at `path`.
    #[cfg(test)]
    pub(crate) fn is_synced(&self, path: &Path) -> bool {
        let state = self.state();
        let file = state.names.seen.files.get(path);
        file.map_or_else(|| state.names.is_synced(path), |file| state.files[*file].is_synced())
    }

    /// The next sync of a file below `dir` waits until it is let go.
    pub(crate) fn hold_sync(&self, dir: &Path) {
        let mut state = self.state();
        (state.held, state.is_at_gate) = (Some(dir.to_path_buf()), false);
        state.holds += 1;
    }

    /// Waits until a sync is held, or until `is_over`; whether one is.
    pub(crate) fn wait_for_held_sync(&self, is_over: impl Fn() -> bool) -> bool {
        let mut state = self.state();
        while !state.is_at_gate && !is_over() {
            let wait = self.shared.changed.wait_timeout(state, Duration::from_micros(200));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_at_gate
    }

    pub(crate) fn let_go(&self) {
        self.state().held = None;
        self.shared.changed.notify_all();
    }

    /// What is written while a sync runs is not part of it.
    pub(super) fn sync_file(&self, file: usize) -> io::Result<()> {
        let mut state = self.state();
        let time = state.time;
        if state.held.as_ref().is_some_and(|dir| state.called[file].starts_with(dir)) {
            state.is_at_gate = true;
            self.shared.changed.notify_all();
            let holds = state.holds;
            // The next one may be held up before this one has noticed that it was let go.
            let is_held = |state: &mut State| state.held.is_some() && state.holds == holds;
            let wait = self.shared.changed.wait_timeout_while(state, PATIENCE, is_held);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.sync_file(file, time)
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let time = state.time;
        state.sync_dir(dir, time)
    }
}
