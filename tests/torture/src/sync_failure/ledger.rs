//! What all who sent to a directory were told, and what must therefore be found there: what was acknowledged, once
//! and at its place; nothing that was refused; and of what nobody knows, the whole of a call or nothing.

use std::collections::BTreeMap;

use super::commits::Commits;
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};

/// The first topic is at `Durability::PowerLoss`.
pub(crate) const PARTITIONS: u32 = 2;
pub(crate) const PLACES: usize = 4;

/// The topic, by its number, of a partition that is counted over all topics.
pub(crate) fn topic_of(place: u32) -> usize {
    (place / PARTITIONS) as usize
}

/// Sender, partition, unit.
pub(crate) type Key = (u64, u32, u64);

pub(crate) fn key_of(name: &Name) -> Key {
    (name.sender, name.partition, name.unit)
}

/// What is known of the records of a call for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The call has not returned.
    Calling,
    /// Somebody has its delivery.
    Enqueued,
    /// Nobody will ask.
    Detached,
    /// With the offset of the first one, if anybody was told.
    Acknowledged(Option<u64>),
    /// Not in the log.
    Refused,
    Unknown,
    /// It was not there when the directory was opened.
    Gone,
}

#[derive(Clone, Debug)]
struct Unit {
    names: Vec<Name>,
    fate: Fate,
    /// Whether a flush that succeeded had to make it safe.
    is_flushed: bool,
}

/// What the end of a broker may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing that the system had.
    None,
    /// What was not made safe.
    Unsynced,
}

/// A flush that is under way.
#[derive(Debug)]
pub(crate) struct Flush {
    topic: usize,
    covered: Vec<Key>,
    /// Of others that may have been told of what nobody asked for.
    number: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    units: BTreeMap<Key, Unit>,
    /// What consumers were given.
    seen: BTreeMap<(u32, u64), Name>,
    pub(crate) commits: Commits,
    /// By topic: flushes that are under way, and all of them.
    flushing: [(u64, u64); 2],
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The records of each partition, from offset 0 on.
    pub(crate) logs: [Vec<Name>; PLACES],
    /// By group and partition.
    pub(crate) committed: BTreeMap<(u64, u32), u64>,
}

impl Found {
    pub(crate) fn end(&self, place: u32) -> u64 {
        self.logs[place as usize].len() as u64
    }
}

impl Ledger {
    pub(crate) fn begin(&mut self, names: Vec<Name>) {
        let Some(first) = names.first() else { return };
        self.units.insert(key_of(first), Unit { names, fate: Fate::Calling, is_flushed: false });
    }

    pub(crate) fn decide(&mut self, key: Key, fate: Fate) {
        if let Some(unit) = self.units.get_mut(&key) {
            unit.fate = fate;
        }
    }

    /// A consumer was given `name`.
    pub(crate) fn see(&mut self, place: u32, offset: u64, name: Name) -> Result<(), Failure> {
        match self.seen.insert((place, offset), name) {
            Some(before) if before != name => Err(Failure::new(
                Finding::Reordered,
                format!("a poll returned {before} at {offset}, and then {name}"),
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn flush_begins(&mut self, topic: usize) -> Flush {
        let is_covered = |(key, unit): &(&Key, &Unit)| {
            let is_taken = matches!(unit.fate, Fate::Enqueued | Fate::Detached | Fate::Acknowledged(_));
            topic_of(key.1) == topic && is_taken
        };
        let covered = self.units.iter().filter(is_covered).map(|(key, _)| *key).collect();
        let (under_way, all) = &mut self.flushing[topic];
        let number = (*under_way == 0).then_some(*all + 1);
        (*under_way, *all) = (*under_way + 1, *all + 1);
        Flush { topic, covered, number }
    }

    pub(crate) fn flush_ended(&mut self, flush: &Flush, is_done: bool) {
        let (under_way, all) = &mut self.flushing[flush.topic];
        *under_way -= 1;
        let was_alone = flush.number == Some(*all);
        if !is_done {
            // It may have told of any that nobody asks for.
            let detached = self.units.iter_mut().filter(|(key, _)| topic_of(key.1) == flush.topic);
            let detached = detached.filter(|(_, unit)| unit.fate == Fate::Detached);
            detached.for_each(|(_, unit)| unit.fate = Fate::Unknown);
            return;
        }
        for key in &flush.covered {
            let Some(unit) = self.units.get_mut(key) else { continue };
            match unit.fate {
                Fate::Detached if was_alone => unit.fate = Fate::Acknowledged(None),
                Fate::Detached => continue,
                _ => {}
            }
            unit.is_flushed = true;
        }
    }

    /// The broker was closed, without an error.
    pub(crate) fn closed(&mut self) {
        for unit in self.units.values_mut() {
            if unit.fate == Fate::Detached {
                unit.fate = Fate::Acknowledged(None);
            }
            unit.is_flushed = true;
        }
        self.commits.closed();
    }

    /// Compares with what an open found, which from then on is what must be there.
    pub(crate) fn check(&mut self, found: &Found, loss: Loss) -> Result<u64, Failure> {
        let mut owed = 0;
        let mut placed = BTreeMap::new();
        for (place, names) in found.logs.iter().enumerate() {
            self.place_all(place as u32, names, &mut placed)?;
        }
        let mut false_acks = Vec::new();
        for (key, unit) in &self.units {
            let Fate::Acknowledged(base) = unit.fate else { continue };
            let must_be_there = loss == Loss::None || unit.is_flushed || topic_of(key.1) == 0;
            owed += if must_be_there { unit.names.len() as u64 } else { 0 };
            if placed.contains_key(key) {
                continue;
            }
            if must_be_there {
                false_acks.push(format!("{} (at {base:?})", unit.names[0]));
            } else if base.is_some_and(|base| base < found.end(key.1)) {
                return Err(Failure::new(Finding::Hole, format!("{} is missing", unit.names[0])));
            }
        }
        if let Some(first) = false_acks.first() {
            let ends = found.logs.each_ref().map(Vec::len);
            let what = format!("false_acks={}: {first}; the logs end with {ends:?}", false_acks.len());
            return Err(Failure::new(Finding::FalseAck, what));
        }
        self.check_seen(found, loss)?;
        for (key, unit) in &mut self.units {
            unit.fate = placed.get(key).map_or(Fate::Gone, |base| Fate::Acknowledged(Some(*base)));
            unit.is_flushed = true;
        }
        self.commits.check(found, loss)?;
        Ok(owed)
    }

    /// Finds the call of each record, which must be there whole, once, in the order of its sender.
    fn place_all(&self, place: u32, names: &[Name], placed: &mut BTreeMap<Key, u64>) -> Result<(), Failure> {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut rest = names;
        while let Some(first) = rest.first() {
            let at = (names.len() - rest.len()) as u64;
            let fail = |finding, what: &str| Err(Failure::new(finding, format!("{first} at {at} {what}")));
            let Some(unit) = self.units.get(&key_of(first)).filter(|_| first.partition == place) else {
                return fail(Finding::Invented, "was never sent there");
            };
            if !rest.starts_with(&unit.names) {
                return fail(Finding::BrokenBatch, "is not there with all that came with it");
            }
            match unit.fate {
                Fate::Refused => return fail(Finding::Invented, "was refused"),
                Fate::Gone => return fail(Finding::Invented, "was not there before"),
                Fate::Acknowledged(Some(base)) if base != at => {
                    return fail(Finding::Reordered, &format!("was acknowledged at {base}"));
                }
                _ => {}
            }
            if placed.insert(key_of(first), at).is_some() {
                return fail(Finding::Duplicated, "is there twice");
            }
            if last.insert(first.sender, first.unit).is_some_and(|before| before > first.unit) {
                return fail(Finding::Reordered, "comes too late");
            }
            rest = &rest[unit.names.len()..];
        }
        Ok(())
    }

    fn check_seen(&mut self, found: &Found, loss: Loss) -> Result<(), Failure> {
        for ((place, offset), name) in &self.seen {
            match found.logs[*place as usize].get(*offset as usize) {
                Some(there) if there == name => {}
                Some(there) => {
                    let what = format!("at {offset} is {there}, where {name} was seen");
                    return Err(Failure::new(Finding::Reordered, what));
                }
                None if loss == Loss::None || topic_of(*place) == 0 => {
                    let what = format!("{name} was seen at {offset} of place {place}, and is gone");
                    return Err(Failure::new(Finding::FalseAck, what));
                }
                None => {}
            }
        }
        self.seen.retain(|(place, offset), _| *offset < found.end(*place));
        Ok(())
    }
}
