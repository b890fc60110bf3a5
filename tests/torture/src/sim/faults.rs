//! The hook that fails chosen calls, by their number: with every error that the system may answer.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::hooked::{Action, Hook, Op};

/// How a call fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Eio,
    Full,
    /// The quota is used up.
    Quota,
    Denied,
    ReadOnly,
    TooManyFiles,
    Interrupted,
    /// A write does half of it, then the device fails.
    HalfThenEio,
    /// A write does half of it, then the disk is full.
    HalfThenFull,
    WriteZero,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Eio,
        Self::Full,
        Self::Denied,
        Self::Interrupted,
        Self::HalfThenEio,
        Self::HalfThenFull,
        Self::WriteZero,
    ];

    pub(crate) fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::Quota | Self::HalfThenFull)
    }

    /// The number of the error, as the system has it.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Eio | Self::HalfThenEio | Self::WriteZero => 5,
            Self::Full | Self::HalfThenFull => 28,
            Self::Quota if cfg!(target_os = "linux") => 122,
            Self::Quota => 69,
            Self::Denied => 13,
            Self::ReadOnly => 30,
            Self::TooManyFiles => 24,
            Self::Interrupted => 4,
        }
    }

    pub(crate) fn action(self) -> Action {
        let error = io::Error::from_raw_os_error(self.code());
        match self {
            Self::HalfThenEio | Self::HalfThenFull => Action::Half(error),
            Self::WriteZero => Action::Nothing,
            _ => Action::Fail(error),
        }
    }
}

/// Fails chosen calls by their number: those of one thread, or of all. When calls of the flusher come is not
/// for a test to say.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<FaultState>,
}

#[derive(Debug, Default)]
struct FaultState {
    thread: Option<ThreadId>,
    counts_everybody: bool,
    calls: usize,
    windows: Vec<Range<usize>>,
    kind: Kind,
    hits: Vec<(Op, PathBuf)>,
    /// Files whose last sync failed.
    unsynced: BTreeSet<u64>,
    retried_syncs: Vec<PathBuf>,
}

impl Faults {
    /// From now on, fails the calls of this thread whose numbers, counted from 0, lie in `windows`.
    pub(crate) fn arm(&self, windows: &[Range<usize>], kind: Kind) {
        let thread = Some(thread::current().id());
        *self.state() = FaultState { thread, windows: windows.to_vec(), kind, ..FaultState::default() };
    }

    /// From now on, fails the calls of this thread whose numbers lie in one window.
    pub(crate) fn arm_window(&self, window: Range<usize>, kind: Kind) {
        self.arm(std::slice::from_ref(&window), kind);
    }

    /// From now on, fails the calls of all threads whose numbers lie in one window.
    pub(crate) fn arm_everybody(&self, window: Range<usize>, kind: Kind) {
        let windows = vec![window];
        *self.state() = FaultState { counts_everybody: true, windows, kind, ..FaultState::default() };
    }

    /// From now on, counts the calls of this thread.
    pub(crate) fn count(&self) {
        self.arm(&[], Kind::Eio);
    }

    /// From now on all calls pass.
    pub(crate) fn disarm(&self) {
        self.state().windows.clear();
    }

    /// How many calls were counted.
    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    pub(crate) fn hits(&self) -> Vec<(Op, PathBuf)> {
        self.state().hits.clone()
    }

    /// Files that were synced with success after a sync of them had failed.
    pub(crate) fn retried_syncs(&self) -> Vec<PathBuf> {
        self.state().retried_syncs.clone()
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook for Faults {
    fn before(&self, op: Op, path: &Path, file: Option<u64>) -> Action {
        let mut state = self.state();
        let counted = state.counts_everybody || state.thread == Some(thread::current().id());
        let call = state.calls;
        state.calls += usize::from(counted);
        if counted && state.windows.iter().any(|window| window.contains(&call)) {
            state.hits.push((op, path.to_path_buf()));
            if op == Op::Sync {
                state.unsynced.extend(file);
            }
            return state.kind.action();
        }
        if op == Op::Sync && file.is_some_and(|file| state.unsynced.contains(&file)) {
            state.retried_syncs.push(path.to_path_buf());
        }
        Action::Go
    }
}
