//! The one place from which the crate takes its locks, atomics and `Arc`, so that a model checker can
//! stand in for them; [`signal`], by which an append wakes the pollers that sleep; and [`grow_list`], which
//! is read while it grows.

pub(crate) mod grow_list;
pub(crate) mod signal;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use std::sync::atomic::{Ordering, fence};
pub(crate) use std::sync::{Arc, OnceLock, Weak};

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use parking_lot::{Mutex, RwLock};
