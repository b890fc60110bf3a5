//! What all who sent to a directory were told, and what must therefore be found there: what was acknowledged,
//! once and at its place; nothing that was refused; and of what nobody knows, the whole of a call or nothing.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sender: u64, place: u32, unit: u64, of: u32) -> Vec<Name> {
        (0..of).map(|number| Name { sender, partition: place, unit, number, of, len: 50 }).collect()
    }

    /// In the first topic a batch of two and a record, all acknowledged; in the second one two records, of
    /// which one is flushed, one that nobody knows of, and one that was refused.
    fn sound() -> (Ledger, Found) {
        let (mut ledger, mut found) = (Ledger::default(), Found::default());
        let sent = [
            (names(1, 0, 0, 2), Fate::Acknowledged(Some(0))),
            (names(2, 0, 0, 1), Fate::Acknowledged(Some(2))),
            (names(1, 2, 0, 1), Fate::Acknowledged(Some(0))),
            (names(1, 2, 1, 1), Fate::Acknowledged(Some(1))),
            (names(1, 2, 2, 1), Fate::Unknown),
            (names(1, 2, 3, 1), Fate::Refused),
        ];
        for (number, (names, fate)) in sent.into_iter().enumerate() {
            if fate != Fate::Refused {
                found.logs[names[0].partition as usize].extend(&names);
            }
            ledger.begin(names.clone());
            ledger.decide(key_of(&names[0]), fate);
            if number == 2 {
                let flush = ledger.flush_begins(1);
                ledger.flush_ended(&flush, true);
            }
        }
        (ledger, found)
    }

    fn finding_after(loss: Loss, change: impl FnOnce(&mut Ledger, &mut Found)) -> Option<Finding> {
        let (mut ledger, mut found) = sound();
        change(&mut ledger, &mut found);
        ledger.check(&found, loss).err().map(|failure| failure.finding)
    }

    #[test]
    fn what_was_promised_is_enough_and_less_is_a_false_ack() {
        for loss in [Loss::None, Loss::Unsynced] {
            assert_eq!(finding_after(loss, |_, _| {}), None);
            assert_eq!(finding_after(loss, |_, found| found.logs[2].truncate(2)), None, "unknown");
            let last = |_: &mut Ledger, found: &mut Found| found.logs[0].truncate(2);
            assert_eq!(finding_after(loss, last), Some(Finding::FalseAck));
            let flushed = |_: &mut Ledger, found: &mut Found| found.logs[2].clear();
            assert_eq!(finding_after(loss, flushed), Some(Finding::FalseAck));
        }
        let quick = |_: &mut Ledger, found: &mut Found| found.logs[2].truncate(1);
        assert_eq!(finding_after(Loss::Unsynced, quick), None, "it was not flushed");
        assert_eq!(finding_after(Loss::None, quick), Some(Finding::FalseAck));
    }

    #[test]
    fn what_should_not_be_there_is_found() {
        let refused = |_: &mut Ledger, found: &mut Found| found.logs[2].extend(names(1, 2, 3, 1));
        assert_eq!(finding_after(Loss::Unsynced, refused), Some(Finding::Invented));
        let twice = |_: &mut Ledger, found: &mut Found| {
            let first = found.logs[2][2];
            found.logs[2].push(first);
        };
        assert_eq!(finding_after(Loss::Unsynced, twice), Some(Finding::Duplicated));
        let half =
            |_: &mut Ledger, found: &mut Found| found.logs[0] = vec![found.logs[0][0], found.logs[0][2]];
        assert_eq!(finding_after(Loss::Unsynced, half), Some(Finding::BrokenBatch));
        let moved = |_: &mut Ledger, found: &mut Found| found.logs[2].swap(0, 1);
        assert_eq!(finding_after(Loss::Unsynced, moved), Some(Finding::Reordered));
        let hole =
            |_: &mut Ledger, found: &mut Found| found.logs[2] = vec![found.logs[2][0], found.logs[2][2]];
        assert_eq!(finding_after(Loss::Unsynced, hole), Some(Finding::Hole));
        let elsewhere = |_: &mut Ledger, found: &mut Found| found.logs[1].extend(names(9, 1, 0, 1));
        assert_eq!(finding_after(Loss::Unsynced, elsewhere), Some(Finding::Invented));
    }

    #[test]
    fn what_was_seen_of_the_topic_that_syncs_all_stays() {
        let seen = |ledger: &mut Ledger, found: &mut Found| {
            let name = names(7, 1, 0, 1)[0];
            ledger.begin(vec![name]);
            ledger.decide(key_of(&name), Fate::Unknown);
            assert!(ledger.see(1, 0, name).is_ok());
            found.logs[1].clear();
        };
        assert_eq!(finding_after(Loss::Unsynced, seen), Some(Finding::FalseAck));
    }

    #[test]
    fn a_flush_that_was_not_alone_says_nothing_of_what_nobody_asks_for() {
        for (is_alone, expected) in [(true, Some(Finding::FalseAck)), (false, None)] {
            let lost = |ledger: &mut Ledger, _: &mut Found| {
                ledger.begin(names(8, 3, 0, 1));
                ledger.decide((8, 3, 0), Fate::Detached);
                let other = (!is_alone).then(|| ledger.flush_begins(1));
                let flush = ledger.flush_begins(1);
                ledger.flush_ended(&flush, true);
                other.iter().for_each(|other| ledger.flush_ended(other, false));
            };
            assert_eq!(finding_after(Loss::Unsynced, lost), expected);
        }
    }

    #[test]
    fn what_was_not_there_once_does_not_come_back() {
        let (mut ledger, mut found) = sound();
        let late = found.logs[2].pop();
        assert!(ledger.check(&found, Loss::Unsynced).is_ok());
        found.logs[2].extend(late);
        assert!(ledger.check(&found, Loss::Unsynced).is_err());
    }
}
