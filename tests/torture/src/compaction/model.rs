//! What one partition of a compacted topic was sent, as a plain list, and what may be missing of it: whatever
//! compaction does, it removes what was superseded and old tombstones, and changes nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::outcome::{Failure, Finding};
use crate::common::sent::Sent;

/// What of the topic's settings says what must be there, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) delete_retention: i64,
    pub(crate) min_lag: i64,
}

/// A partition.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    rules: Rules,
    /// By their offsets, whether they are there or not.
    records: Vec<Known>,
    /// Where the calls end that they came with: each is there whole, at first, or not at all.
    ends: Vec<usize>,
    /// Records below this offset survive a power loss; below the other one, the end of the process.
    safe: usize,
    kept: usize,
    /// Offsets whose records were seen to be gone; and those that no power loss brings back.
    gone: BTreeSet<u64>,
    gone_for_good: BTreeSet<u64>,
}

/// A record, when it was sent, and when a compaction can have met it first, in milliseconds; not later.
#[derive(Clone, Debug)]
struct Known {
    sent: Sent,
    at: i64,
    met: Option<i64>,
}

/// What is found of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The offset of the next record.
    pub(crate) end: u64,
    /// From this offset on, nothing can have been compacted.
    pub(crate) head: u64,
    pub(crate) records: BTreeMap<u64, Sent>,
}

/// The latest record of each key, by key: its offset.
type Latest<'a> = BTreeMap<&'a [u8], u64>;

impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            records: Vec::new(),
            ends: Vec::new(),
            safe: 0,
            kept: 0,
            gone: BTreeSet::new(),
            gone_for_good: BTreeSet::new(),
        }
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// Takes down a call that is about to be made at this time.
    pub(crate) fn begin(&mut self, records: impl IntoIterator<Item = Sent>, at: i64) {
        self.records.extend(records.into_iter().map(|sent| Known { sent, at, met: None }));
        self.ends.push(self.records.len());
    }

    /// Everything below `end` was acknowledged; `is_safe`: as what survives a power loss.
    pub(crate) fn acknowledge(&mut self, end: u64, is_safe: bool) {
        self.kept = self.kept.max(end as usize);
        if is_safe {
            self.safe = self.safe.max(end as usize);
        }
    }

    /// A compaction may have met all records below `end` by now.
    pub(crate) fn meet(&mut self, end: u64, now: i64) {
        let end = (end as usize).min(self.records.len());
        self.records[..end].iter_mut().for_each(|known| known.met = known.met.or(Some(now)));
    }

    /// The power goes.
    pub(crate) fn lose_power(&mut self) {
        self.kept = self.safe;
        self.gone.clone_from(&self.gone_for_good);
    }

    /// What a reader was given at an offset is what was sent there.
    pub(crate) fn check_one(&self, offset: u64, sent: &Sent) -> Result<(), Failure> {
        let there = self.records.get(offset as usize);
        if there.is_some_and(|known| known.sent == *sent) {
            return Ok(());
        }
        let place = self.records.iter().position(|known| known.sent.timestamp == sent.timestamp);
        let (finding, what) = match place {
            Some(place) if self.records[place].sent == *sent => {
                (Finding::OffsetChanged, format!("what was sent at {place}"))
            }
            Some(place) => (Finding::WrongBytes, format!("{sent:?}, which was sent at {place} otherwise")),
            None => (Finding::Invented, format!("{sent:?}")),
        };
        Err(Failure::new(finding, format!("at {offset} is {what}; there belongs {there:?}")))
    }

    /// Compares with what is found while nothing has been lost.
    pub(crate) fn check(&mut self, found: &Found, now: i64) -> Result<(), Failure> {
        for (offset, sent) in &found.records {
            self.check_one(*offset, sent)?;
        }
        let latest = self.latest(found.end);
        for (offset, known) in (0..found.end).zip(&self.records) {
            if !found.records.contains_key(&offset) {
                self.check_missing(offset, known, found, &latest, now)?;
            }
        }
        let is_back = |offset: &&u64| self.gone.contains(*offset);
        if let Some(back) = found.records.keys().find(is_back) {
            return Err(Failure::new(Finding::CameBack, format!("the record at {back} was gone before")));
        }
        self.gone.extend((0..found.end).filter(|offset| !found.records.contains_key(offset)));
        Ok(())
    }

    /// Why the record at `offset` is not there has to be one of the reasons that there are.
    fn check_missing(
        &self,
        offset: u64,
        known: &Known,
        found: &Found,
        latest: &Latest<'_>,
        now: i64,
    ) -> Result<(), Failure> {
        let fail = |finding, why: &str| {
            let what = format!("{why}, and is gone at {now}; the log ends with {}", found.end);
            Err(Failure::new(finding, format!("the record at {offset}, {known:?}, {what}")))
        };
        if offset >= found.head {
            return fail(Finding::Lost, &format!("lies behind the last sealed segment, {}", found.head));
        }
        if now - known.at < self.rules.min_lag {
            return fail(Finding::Lost, "is too young to be compacted");
        }
        let key = known.sent.key.as_deref().unwrap_or_default();
        if latest.get(key) != Some(&offset) {
            return Ok(());
        }
        if known.sent.value.is_some() {
            return fail(Finding::Lost, "is the latest of its key");
        }
        let met = known.met.filter(|met| now - met >= self.rules.delete_retention);
        if met.is_none() {
            return fail(Finding::TombstoneEarly, "is a tombstone that is to be kept for longer");
        }
        let is_key = |(_, sent): &(&u64, &Sent)| sent.key.as_deref() == Some(key);
        if let Some((back, _)) = found.records.range(..offset).find(is_key) {
            return fail(Finding::CameBack, &format!("removed what is there again at {back}"));
        }
        Ok(())
    }

    fn latest(&self, end: u64) -> Latest<'_> {
        let records = (0..end).zip(&self.records);
        records.map(|(offset, known)| (known.sent.key.as_deref().unwrap_or_default(), offset)).collect()
    }

    /// Compares with what an open found, which from then on is what must be there. How many keys there are.
    pub(crate) fn reopen(&mut self, found: &Found, now: i64) -> Result<u64, Failure> {
        self.end_at(found.end)?;
        self.check(found, now)?;
        self.safe = self.kept;
        self.keep_gone();
        Ok(self.latest(found.end).len() as u64)
    }

    /// An open has found that the log ends there.
    pub(crate) fn end_at(&mut self, offset: u64) -> Result<(), Failure> {
        let end = offset as usize;
        if end < self.kept {
            let what = format!("it ends with {end}, and {} were safe", self.kept);
            return Err(Failure::new(Finding::Lost, what));
        }
        if end > self.records.len() {
            return Err(Failure::new(Finding::Invented, format!("it ends with {end}")));
        }
        if end > 0 && !self.ends.contains(&end) {
            let what = format!("it ends with {end}, in the middle of a batch");
            return Err(Failure::new(Finding::BrokenBatch, what));
        }
        self.records.truncate(end);
        self.ends.retain(|batch| *batch <= end);
        self.gone.retain(|gone| *gone < offset);
        self.gone_for_good.retain(|gone| *gone < offset);
        self.kept = end;
        Ok(())
    }

    /// What is gone does not come back, even if the power goes.
    pub(crate) fn keep_gone(&mut self) {
        self.gone_for_good.clone_from(&self.gone);
    }

    /// What somebody knows who has read everything, the last part of it now: the latest value of each key,
    /// but that tombstones may have been gone before they were read.
    pub(crate) fn check_table(&self, table: &BTreeMap<Vec<u8>, u64>, now: i64) -> Result<(), Failure> {
        for (key, offset) in self.latest(self.end()) {
            let known = &self.records[offset as usize];
            let is_old = known.met.is_some_and(|met| now - met >= self.rules.delete_retention);
            let may_miss = known.sent.value.is_none() && is_old;
            let read = table.get(key).copied();
            if read != Some(offset) && !may_miss {
                let what = format!("one who has read everything knows of {key:02x?} what was at {read:?}");
                return Err(Failure::new(Finding::Skipped, format!("{what}, and {offset} is the latest")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { delete_retention: 100, min_lag: 10 };

    /// Of the keys 0 1 0 1 0, of which the fourth record is a tombstone, the first four compacted at 1000.
    fn model() -> (Model, Found) {
        let mut model = Model::new(RULES);
        let mut found = Found { end: 5, head: 4, ..Found::default() };
        for offset in 0..5_u8 {
            let value = (offset != 3).then(|| vec![offset]);
            let timestamp = i64::from(offset);
            let sent = Sent { key: Some(vec![offset % 2]), value, headers: Vec::new(), timestamp };
            model.begin([sent.clone()], 900);
            found.records.insert(u64::from(offset), sent);
        }
        model.acknowledge(5, true);
        model.meet(4, 1_000);
        (model, found)
    }

    fn finding(model: &Model, found: &Found, now: i64) -> Option<Finding> {
        model.clone().check(found, now).err().map(|failure| failure.finding)
    }

    fn without(found: &Found, offsets: &[u64]) -> Found {
        let mut found = found.clone();
        found.records.retain(|offset, _| !offsets.contains(offset));
        found
    }

    #[test]
    fn what_was_superseded_may_go_and_a_tombstone_in_time() {
        let (model, found) = model();
        for (offsets, now, expected) in [
            (&[][..], 1_000, None),
            (&[0, 1, 2], 1_000, None),
            (&[0, 1, 2, 3], 1_100, None),
            (&[0, 1, 2, 3], 1_099, Some(Finding::TombstoneEarly)),
            (&[3], 1_100, Some(Finding::CameBack)),
            (&[4], 1_100, Some(Finding::Lost)),
            (&[0], 905, Some(Finding::Lost)),
        ] {
            assert_eq!(finding(&model, &without(&found, offsets), now), expected, "{offsets:?} at {now}");
        }
    }

    #[test]
    fn what_is_there_is_what_was_sent_at_that_offset() {
        let (model, found) = model();
        let moved = || without(&found, &[0, 1]);
        let mut other = moved();
        other.records.insert(1, found.records[&0].clone());
        assert_eq!(finding(&model, &other, 1_000), Some(Finding::OffsetChanged));
        let mut other = moved();
        other.records.get_mut(&2).expect("it is there").value = Some(vec![9]);
        assert_eq!(finding(&model, &other, 1_000), Some(Finding::WrongBytes));
        let mut other = moved();
        other.records.get_mut(&2).expect("it is there").timestamp = 99;
        assert_eq!(finding(&model, &other, 1_000), Some(Finding::Invented));
    }

    #[test]
    fn what_was_gone_comes_back_only_if_a_power_loss_may_undo_it() {
        let (mut model, found) = model();
        model.check(&without(&found, &[0]), 1_000).expect("it was superseded");
        assert_eq!(finding(&model, &found, 1_000), Some(Finding::CameBack));
        let mut other = model.clone();
        other.lose_power();
        assert_eq!(finding(&other, &found, 1_000), None);
        model.keep_gone();
        model.lose_power();
        assert_eq!(finding(&model, &found, 1_000), Some(Finding::CameBack));
    }

    #[test]
    fn the_end_of_the_log_is_where_it_was_safe_or_later() {
        let (mut model, found) = model();
        model.begin(found.records.values().cloned(), 1_000);
        let mut short = without(&found, &[4]);
        short.end = 4;
        let lost = model.clone().reopen(&short, 1_000).expect_err("it is too short");
        assert_eq!(lost.finding, Finding::Lost);
        assert!(model.clone().reopen(&found, 1_000).is_ok());
        let mut long = found.clone();
        long.end = 7;
        let broken = model.reopen(&long, 1_000).expect_err("half a batch");
        assert_eq!(broken.finding, Finding::BrokenBatch);
    }
}
