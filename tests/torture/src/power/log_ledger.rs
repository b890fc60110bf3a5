//! What one partition was given, in order, and how much of it must be there: all of what is there is what was
//! given, from the front, without a hole.

use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};

/// The records of a partition by their offsets, whether they are there or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLedger {
    records: Vec<Name>,
    /// Where the calls end that they came with: each is there whole or not at all.
    ends: Vec<usize>,
    next_unit: u64,
    /// Records below this offset survive a power loss.
    safe: usize,
    /// And below this one, the end of the process.
    kept: usize,
    /// Where it begins at least, and at most.
    starts: (usize, usize),
}

/// What was found of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundLog {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// From `start` on.
    pub(crate) records: Vec<Name>,
}

impl LogLedger {
    /// Where the next record goes.
    pub(crate) fn end(&self) -> usize {
        self.records.len()
    }

    /// What it was given.
    pub(crate) fn records(&self) -> &[Name] {
        &self.records
    }

    /// Takes down a call that is about to be made, with records of these sizes; they.
    pub(crate) fn begin(&mut self, partition: u32, lens: &[u32]) -> Vec<Name> {
        let (unit, of) = (self.next_unit, lens.len() as u32);
        self.next_unit += 1;
        let names = lens.iter().zip(0..);
        let names: Vec<Name> =
            names.map(|(&len, number)| Name { sender: 0, partition, unit, number, of, len }).collect();
        self.records.extend(&names);
        self.ends.push(self.records.len());
        names
    }

    /// The record at `offset` was acknowledged; `is_safe`: as one that survives a power loss.
    pub(crate) fn acknowledge(&mut self, offset: usize, is_safe: bool) {
        let end = self.unit_end(offset);
        self.kept = self.kept.max(end);
        if is_safe {
            self.safe = self.safe.max(end);
        }
    }

    /// Everything below `end` was made to survive a power loss.
    pub(crate) fn flushed(&mut self, end: usize) {
        (self.safe, self.kept) = (self.safe.max(end), self.kept.max(end));
    }

    /// A consumer was given `name` at `offset`.
    pub(crate) fn see(&mut self, offset: usize, name: &Name, is_safe: bool) -> Result<(), Failure> {
        if self.records.get(offset) != Some(name) {
            let what = format!("a poll returned {name} at {offset}, where {:?} is", self.records.get(offset));
            return Err(Failure::new(Finding::Reordered, what));
        }
        self.acknowledge(offset, is_safe);
        Ok(())
    }

    pub(crate) fn trimming(&mut self, before: usize) {
        self.starts.1 = self.starts.1.max(before);
    }

    pub(crate) fn trimmed(&mut self, before: usize) {
        self.starts.0 = self.starts.0.max(before);
    }

    /// The power goes.
    pub(crate) fn lose_power(&mut self) {
        self.kept = self.safe;
    }

    /// How many records must be there that were not deleted.
    pub(crate) fn owed(&self) -> usize {
        self.kept.saturating_sub(self.starts.1)
    }

    /// Compares with what an open found, which from then on is what must be there.
    pub(crate) fn check(&mut self, found: &FoundLog) -> Result<(), Failure> {
        let FoundLog { start, end, records } = found;
        let fail = |finding, what: String| Err(Failure::new(finding, what));
        let (least, most) = self.starts;
        if !(least..=most).contains(start) {
            return fail(Finding::Lost, format!("it begins with {start}, not with {least} to {most}"));
        }
        if end < start || records.len() != end - start {
            return fail(Finding::Hole, format!("{} records from {start} to {end}", records.len()));
        }
        for (offset, name) in (*start..).zip(records) {
            if self.records.get(offset) != Some(name) {
                return fail(self.kind_of(offset, name), self.wrong_at(offset, name));
            }
        }
        if *end < self.kept {
            let what =
                format!("synced_lost={}: it ends with {end}, and {} were safe", self.kept - end, self.kept);
            return fail(Finding::Lost, what);
        }
        if *end > *start && !self.ends.contains(end) {
            return fail(Finding::BrokenBatch, format!("it ends with {end}, in the middle of a batch"));
        }
        self.records.truncate(*end);
        self.ends.retain(|unit_end| unit_end <= end);
        (self.safe, self.kept, self.starts) = (*end, *end, (*start, *start));
        Ok(())
    }

    /// What it means that `name` is at `offset`, where it does not belong.
    fn kind_of(&self, offset: usize, name: &Name) -> Finding {
        match self.records.iter().position(|known| known == name) {
            Some(place) if place > offset => Finding::Hole,
            Some(_) => Finding::Duplicated,
            None => Finding::Invented,
        }
    }

    fn wrong_at(&self, offset: usize, name: &Name) -> String {
        format!("at {offset} is {name}; there belongs {:?}", self.records.get(offset))
    }

    /// Where the call ends that the record at `offset` came with.
    fn unit_end(&self, offset: usize) -> usize {
        let unit = self.ends.partition_point(|end| *end <= offset);
        self.ends.get(unit).copied().unwrap_or(offset + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three records, then a batch of three, then two; four of them are safe, six acknowledged.
    fn sound() -> (LogLedger, FoundLog) {
        let mut ledger = LogLedger::default();
        let mut records = Vec::new();
        for lens in [&[50][..], &[60], &[70], &[50, 60, 70], &[80], &[90]] {
            records.extend(ledger.begin(3, lens));
        }
        ledger.acknowledge(2, true);
        ledger.acknowledge(4, false);
        let end = records.len();
        (ledger, FoundLog { start: 0, end, records })
    }

    fn finding_after(change: impl FnOnce(&mut LogLedger, &mut FoundLog)) -> Option<Finding> {
        let (mut ledger, mut found) = sound();
        change(&mut ledger, &mut found);
        ledger.check(&found).err().map(|failure| failure.finding)
    }

    fn cut(found: &mut FoundLog, end: usize) {
        found.records.truncate(end);
        found.end = end;
    }

    #[test]
    fn whatever_is_a_whole_front_part_passes_if_what_was_promised_is_there() {
        for end in [6, 7, 8] {
            assert_eq!(finding_after(|_, found| cut(found, end)), None, "{end}");
        }
        assert_eq!(finding_after(|_, found| cut(found, 3)), Some(Finding::Lost));
        let power_goes = |ledger: &mut LogLedger, found: &mut FoundLog| {
            ledger.lose_power();
            cut(found, 3);
        };
        assert_eq!(finding_after(power_goes), None);
        let too_much = |ledger: &mut LogLedger, found: &mut FoundLog| {
            ledger.lose_power();
            cut(found, 2);
        };
        assert_eq!(finding_after(too_much), Some(Finding::Lost));
    }

    #[test]
    fn holes_repetitions_inventions_and_halves_of_batches_are_found() {
        let hole = |_: &mut LogLedger, found: &mut FoundLog| {
            found.records.remove(6);
            found.end -= 1;
        };
        assert_eq!(finding_after(hole), Some(Finding::Hole));
        let gap = |_: &mut LogLedger, found: &mut FoundLog| found.records.truncate(7);
        assert_eq!(finding_after(gap), Some(Finding::Hole));
        let twice = |_: &mut LogLedger, found: &mut FoundLog| found.records[7] = found.records[1];
        assert_eq!(finding_after(twice), Some(Finding::Duplicated));
        let invented = |_: &mut LogLedger, found: &mut FoundLog| found.records[7].unit = 99;
        assert_eq!(finding_after(invented), Some(Finding::Invented));
        let half = |ledger: &mut LogLedger, found: &mut FoundLog| {
            ledger.lose_power();
            cut(found, 5);
        };
        assert_eq!(finding_after(half), Some(Finding::BrokenBatch));
    }

    #[test]
    fn what_was_found_once_is_there_again_and_nothing_else() {
        let (mut ledger, mut found) = sound();
        cut(&mut found, 6);
        assert!(ledger.check(&found).is_ok());
        ledger.lose_power();
        assert_eq!(ledger.owed(), 6);
        let mut less = found.clone();
        cut(&mut less, 3);
        assert!(ledger.clone().check(&less).is_err(), "it was there when it was opened");
        let (_, all) = sound();
        assert!(ledger.check(&all).is_err(), "it was not");
    }

    #[test]
    fn it_begins_where_records_were_deleted_to() {
        for (start, is_right) in [(0, false), (2, true), (3, true), (4, true), (5, false)] {
            let finding = finding_after(|ledger, found| {
                ledger.trimming(2);
                ledger.trimmed(2);
                ledger.trimming(4);
                found.start = start;
                found.records.drain(..start);
            });
            assert_eq!(finding.is_none(), is_right, "{start}: {finding:?}");
        }
    }
}
