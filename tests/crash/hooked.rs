//! Storages that fail, which the torture program uses too: they stand in `tests/torture/src/sim`.

pub(crate) use crate::sim::faults::{Faults, Kind};
pub(crate) use crate::sim::hooked::{Action, Hook, Hooked, Op};
