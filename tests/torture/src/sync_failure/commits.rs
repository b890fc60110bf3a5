//! What groups committed, each of which has one member, and what must be found of it.

use std::collections::BTreeMap;

use super::ledger::{Found, Loss};
use crate::common::outcome::{Failure, Finding};

/// Group, which has the number of its member, and partition.
type Place = (u64, u32);

#[derive(Debug, Default)]
pub(crate) struct Commits(BTreeMap<Place, Tried>);

/// What was committed for one partition, in order.
#[derive(Debug, Default)]
struct Tried {
    offsets: Vec<u64>,
    /// The last one that must be there, or a later one; and after a power loss.
    acknowledged: Option<usize>,
    safe: Option<usize>,
}

impl Commits {
    pub(crate) fn begin(&mut self, group: u64, offsets: &BTreeMap<u32, u64>) {
        for (place, offset) in offsets {
            self.0.entry((group, *place)).or_default().offsets.push(*offset);
        }
    }

    /// The commit that was begun last.
    pub(crate) fn acknowledge(&mut self, group: u64, offsets: &BTreeMap<u32, u64>, is_safe: bool) {
        for place in offsets.keys() {
            let tried = self.0.entry((group, *place)).or_default();
            tried.acknowledged = tried.offsets.len().checked_sub(1);
            if is_safe {
                tried.safe = tried.acknowledged;
            }
        }
    }

    /// The commit that was begun last was refused.
    pub(crate) fn refuse(&mut self, group: u64, offsets: &BTreeMap<u32, u64>) {
        for place in offsets.keys() {
            self.0.entry((group, *place)).or_default().offsets.pop();
        }
    }

    pub(crate) fn closed(&mut self) {
        self.0.values_mut().for_each(|tried| tried.safe = tried.acknowledged);
    }

    pub(crate) fn groups(&self) -> Vec<u64> {
        let mut groups: Vec<u64> = self.0.keys().map(|(group, _)| *group).collect();
        groups.dedup();
        groups
    }

    /// Takes note of what was found, for each group that committed.
    pub(crate) fn check(&mut self, found: &Found, loss: Loss) -> Result<(), Failure> {
        if let Some(place) = found.committed.keys().find(|place| !self.0.contains_key(place)) {
            return Err(Failure::new(Finding::Invented, format!("a commit for {place:?}")));
        }
        for (place, tried) in &mut self.0 {
            let there = found.committed.get(place).copied();
            tried.check(there, found.end(place.1), loss).map_err(|what| {
                Failure::new(
                    Finding::FalseAck,
                    format!("the commit of group and partition {place:?}: {what}"),
                )
            })?;
        }
        Ok(())
    }
}

impl Tried {
    fn check(&mut self, found: Option<u64>, end: u64, loss: Loss) -> Result<(), String> {
        let must = if loss == Loss::None { self.acknowledged } else { self.safe };
        let Some(found) = found else {
            *self = Self::default();
            return must.map_or(Ok(()), |_| Err("it is gone".to_owned()));
        };
        let candidates = &self.offsets[must.unwrap_or(0)..];
        // One beyond the end of the log is lowered.
        if !candidates.iter().any(|offset| (*offset).min(end) == found) {
            return Err(format!("{found}, not one of {candidates:?}, of a log that ends with {end}"));
        }
        *self = Self { offsets: vec![found], acknowledged: Some(0), safe: Some(0) };
        Ok(())
    }
}
