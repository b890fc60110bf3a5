//! The one place from which the crate takes its locks, atomics and events, so that a model checker can stand
//! in for them: `native` is what runs, `loom` the same names under `--cfg loom`. Also [`signal`], by which an
//! append wakes the pollers that sleep, and [`grow_list`], which is read while it grows.

pub(crate) mod grow_list;
pub(crate) mod signal;

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod native;

#[cfg(loom)]
pub(crate) use loom::*;
#[cfg(not(loom))]
pub(crate) use native::*;

pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, Weak};

pub(crate) use crossbeam_utils::CachePadded;
