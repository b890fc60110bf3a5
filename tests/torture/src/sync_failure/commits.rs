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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_there_as_it_was_acknowledged_or_a_later_one_that_nobody_knows_of() {
        let passes = |committed: Option<u64>, loss| {
            let mut commits = Commits::default();
            for (offset, is_safe) in [(1, true), (2, false)] {
                commits.begin(5, &[(0, offset)].into());
                commits.acknowledge(5, &[(0, offset)].into(), is_safe);
            }
            commits.begin(5, &[(0, 3)].into());
            commits.begin(5, &[(0, 4)].into());
            commits.refuse(5, &[(0, 4)].into());
            let mut found = Found::default();
            let name =
                crate::common::name::Name { sender: 5, partition: 0, unit: 0, number: 0, of: 1, len: 40 };
            found.logs[0] = vec![name; 9];
            found.committed = committed.map(|offset| ((5, 0), offset)).into_iter().collect();
            commits.check(&found, loss).is_ok()
        };
        let all = [None, Some(1), Some(2), Some(3), Some(4)];
        assert_eq!(all.map(|found| passes(found, Loss::None)), [false, false, true, true, false]);
        assert_eq!(all.map(|found| passes(found, Loss::Unsynced)), [false, true, true, true, false]);
    }
}
