//! The one place from which the crate takes its locks, atomics, events, threads, channels and the time that
//! waits go by, so that a model checker can stand in for them: `native` is what runs; `loom` and `shuttle`
//! are the same names under `--cfg loom` and `--cfg shuttle`, and `stand_in` is what these two share. Also
//! [`signal`], by which an append wakes the pollers that sleep, [`grow_list`], which is read while it grows,
//! and [`parallel`], which does the same for many things.

pub(crate) mod grow_list;
pub(crate) mod parallel;
pub(crate) mod signal;

#[cfg(loom)]
mod loom;
#[cfg(not(any(loom, shuttle)))]
mod native;
#[cfg(any(loom, shuttle, ottla_tsan))]
mod once_lock;
#[cfg(shuttle)]
mod shuttle;
#[cfg(any(loom, shuttle))]
mod stand_in;
#[cfg(ottla_tsan)]
mod tracked_arc;

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

#[cfg(any(loom, shuttle))]
pub(crate) use checker::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use native::*;
#[cfg(any(loom, shuttle, ottla_tsan))]
pub(crate) use once_lock::OnceLock;
#[cfg(any(loom, shuttle))]
pub(crate) use stand_in::*;
#[cfg(ottla_tsan)]
pub(crate) use tracked_arc::TrackedArc;

pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, Weak};

pub(crate) use crossbeam_utils::CachePadded;
