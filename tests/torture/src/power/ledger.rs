//! What brokers said in one directory, life after life, and what must therefore be found there.

use std::collections::BTreeMap;

use ottla::Durability;

use super::log_ledger::{FoundLog, LogLedger};
use super::tended::Tended;
use crate::common::outcome::{Failure, Finding};

/// What ended a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Process,
    Power,
}

/// Topic, by its number, and partition.
pub(crate) type Place = (usize, u32);

/// One at `Durability::PowerLoss` from beginning to end, one that changes.
pub(crate) const TOPICS: [&str; 2] = ["safe", "quick"];

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// The level of commits.
    pub(crate) commit_level: Durability,
    pub(crate) topics: [TopicLedger; TOPICS.len()],
    commits: BTreeMap<Place, Commits>,
    /// What the broker gives up on request, if it does.
    pub(crate) tended: Option<Tended>,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicLedger {
    pub(crate) level: Durability,
    /// How often the level may have changed.
    pub(crate) changes: usize,
    /// Levels that it may have when it is opened again.
    possible_levels: Vec<Durability>,
    is_created: bool,
    /// How many partitions there are at most.
    most_partitions: u32,
    /// Those that there are.
    pub(crate) logs: Vec<LogLedger>,
}

/// What was committed for one partition, in order.
#[derive(Clone, Debug, Default)]
struct Commits {
    tried: Vec<u64>,
    /// The last one that must be there after a power loss, or a later one.
    safe: Option<usize>,
    /// And after the end of the process.
    acknowledged: Option<usize>,
}

/// What was found in a directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// For each topic that is there its level and its partitions.
    pub(crate) topics: [Option<(Durability, Vec<FoundLog>)>; TOPICS.len()],
    pub(crate) committed: BTreeMap<Place, u64>,
}

impl TopicLedger {
    fn new(level: Durability) -> Self {
        Self {
            level,
            changes: 0,
            possible_levels: vec![level],
            is_created: false,
            most_partitions: 0,
            logs: Vec::new(),
        }
    }

    pub(crate) fn created(&mut self, partitions: u32) {
        self.is_created = true;
        self.grown(partitions);
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.logs.len() as u32
    }

    pub(crate) fn growing(&mut self, to: u32) {
        self.most_partitions = self.most_partitions.max(to);
    }

    pub(crate) fn grown(&mut self, to: u32) {
        self.growing(to);
        self.logs.resize(to as usize, LogLedger::default());
    }

    /// The level may be this one from now on.
    pub(crate) fn altering(&mut self, level: Durability) {
        self.changes += 1;
        self.possible_levels.push(level);
        self.level = Durability::ProcessCrash;
    }

    pub(crate) fn altered(&mut self, level: Durability) {
        self.changes += 1;
        self.possible_levels = vec![level];
        self.level = level;
    }

    /// Whether a record that was sent when the level had changed `changes` times is acknowledged as one that
    /// survives a power loss.
    pub(crate) fn promises_all(&self, changes: usize) -> bool {
        self.level == Durability::PowerLoss && self.changes == changes
    }

    /// Whether what consumers see survives a power loss.
    pub(crate) fn shows_only_safe(&self) -> bool {
        // Records that it had before it was altered may have been visible at once.
        self.promises_all(0)
    }

    /// Where each partition ends when all is there that was sent.
    pub(crate) fn ends(&self) -> Vec<usize> {
        self.logs.iter().map(LogLedger::end).collect()
    }

    /// All of what was sent to each partition up to `ends` was flushed.
    pub(crate) fn flushed(&mut self, ends: &[usize]) {
        self.logs.iter_mut().zip(ends).for_each(|(log, end)| log.flushed(*end));
    }

    fn check(&mut self, found: Option<&(Durability, Vec<FoundLog>)>) -> Result<(), Failure> {
        let Some((level, logs)) = found else {
            let is_right = !self.is_created;
            return is_right.then_some(()).ok_or_else(|| Failure::new(Finding::Lost, "it is not there"));
        };
        self.is_created = true;
        let (least, found) = (self.logs.len(), logs.len());
        if found < least || found as u32 > self.most_partitions {
            let what = format!("{found} partitions, not {least} to {}", self.most_partitions);
            return Err(Failure::new(Finding::Lost, what));
        }
        if !self.possible_levels.contains(level) {
            let what = format!("its level is {level:?}, not one of {:?}", self.possible_levels);
            return Err(Failure::new(Finding::Lost, what));
        }
        if *level != self.level || self.possible_levels.len() > 1 {
            self.altered(*level);
        }
        self.grown(found as u32);
        self.most_partitions = found as u32;
        for (number, (log, found)) in self.logs.iter_mut().zip(logs).enumerate() {
            log.check(found).map_err(|failure| within(failure, &format!("partition {number}")))?;
        }
        Ok(())
    }
}

/// The same failure, with the place named.
pub(crate) fn within(mut failure: Failure, place: &str) -> Failure {
    failure.detail = format!("{place}: {}", failure.detail);
    failure
}

impl Ledger {
    pub(crate) fn new(commit_level: Durability) -> Self {
        Self {
            commit_level,
            topics: [Durability::PowerLoss, Durability::ProcessCrash].map(TopicLedger::new),
            commits: BTreeMap::new(),
            tended: None,
        }
    }

    pub(crate) fn log(&mut self, (topic, partition): Place) -> &mut LogLedger {
        &mut self.topics[topic].logs[partition as usize]
    }

    /// These offsets are about to be committed.
    pub(crate) fn committing(&mut self, offsets: &BTreeMap<Place, u64>) {
        for (place, offset) in offsets {
            self.commits.entry(*place).or_default().tried.push(*offset);
        }
    }

    pub(crate) fn committed(&mut self, offsets: &BTreeMap<Place, u64>) {
        for place in offsets.keys() {
            let commits = self.commits.entry(*place).or_default();
            commits.acknowledged = commits.tried.len().checked_sub(1);
            if self.commit_level == Durability::PowerLoss {
                commits.safe = commits.acknowledged;
            }
        }
    }

    /// The broker was closed: all that was acknowledged is safe.
    pub(crate) fn closed(&mut self) {
        for topic in &mut self.topics {
            let ends = topic.ends();
            topic.flushed(&ends);
        }
        for commits in self.commits.values_mut() {
            commits.safe = commits.acknowledged;
        }
        self.tended.iter_mut().for_each(Tended::closed);
    }

    pub(crate) fn lose(&mut self, loss: Loss) {
        if loss == Loss::Process {
            return;
        }
        self.topics.iter_mut().flat_map(|topic| &mut topic.logs).for_each(LogLedger::lose_power);
        for commits in self.commits.values_mut() {
            commits.acknowledged = commits.safe;
        }
        self.tended.iter_mut().for_each(Tended::lose_power);
    }

    /// How many records must be there.
    pub(crate) fn owed(&self) -> usize {
        self.topics.iter().flat_map(|topic| &topic.logs).map(LogLedger::owed).sum()
    }

    /// Compares with what an open found, which from then on is what must be there.
    pub(crate) fn check(&mut self, found: &Found) -> Result<(), Failure> {
        for (number, topic) in self.topics.iter_mut().enumerate() {
            topic.check(found.topics[number].as_ref()).map_err(|failure| within(failure, TOPICS[number]))?;
        }
        self.check_commits(found)
    }

    fn check_commits(&mut self, found: &Found) -> Result<(), Failure> {
        if let Some(place) = found.committed.keys().find(|place| !self.commits.contains_key(place)) {
            return Err(Failure::new(Finding::Invented, format!("a commit for {place:?}")));
        }
        for (place, commits) in &mut self.commits {
            let end = found.topics[place.0].as_ref().and_then(|(_, logs)| logs.get(place.1 as usize));
            let end = end.map_or(0, |log| log.end as u64);
            let there = found.committed.get(place).copied();
            commits.check(there, end).map_err(|failure| within(failure, &format!("commit for {place:?}")))?;
        }
        Ok(())
    }
}

impl Commits {
    fn check(&mut self, found: Option<u64>, end: u64) -> Result<(), Failure> {
        let must = self.acknowledged;
        let Some(found) = found else {
            let is_right = must.is_none();
            *self = Self::default();
            return is_right.then_some(()).ok_or_else(|| Failure::new(Finding::Lost, "it is gone"));
        };
        let candidates = &self.tried[must.unwrap_or(0)..];
        if !candidates.iter().any(|tried| (*tried).min(end) == found) {
            let what = format!("{found}, not one of {candidates:?}, of a log that ends with {end}");
            return Err(Failure::new(Finding::Lost, what));
        }
        *self = Self { tried: vec![found], safe: Some(0), acknowledged: Some(0) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_commits(level: Durability) -> Ledger {
        let mut ledger = Ledger::new(level);
        ledger.topics[1].created(1);
        for _ in 0..10 {
            ledger.log((1, 0)).begin(1, &[50]);
        }
        for offset in [3, 5] {
            let offsets = [((1, 0), offset)].into();
            ledger.committing(&offsets);
            ledger.committed(&offsets);
        }
        ledger.committing(&[((1, 0), 7)].into());
        ledger
    }

    /// With all records there, but for the commit.
    fn found_with(ledger: &Ledger, committed: Option<u64>) -> Found {
        let mut again = ledger.topics[1].logs[0].clone();
        let end = again.end();
        let mut records = LogLedger::default();
        let records = (0..end).flat_map(|_| records.begin(1, &[50])).collect();
        let log = FoundLog { start: 0, end, records };
        assert!(again.check(&log).is_ok());
        let topics = [None, Some((Durability::ProcessCrash, vec![log]))];
        Found { topics, committed: committed.map(|offset| ((1, 0), offset)).into_iter().collect() }
    }

    #[test]
    fn a_commit_is_the_last_acknowledged_one_or_a_later_one() {
        for (committed, is_right) in
            [(None, false), (Some(3), false), (Some(5), true), (Some(7), true), (Some(9), false)]
        {
            let mut ledger = with_commits(Durability::ProcessCrash);
            let found = found_with(&ledger, committed);
            assert_eq!(ledger.check(&found).is_ok(), is_right, "{committed:?}");
        }
    }

    #[test]
    fn a_power_loss_takes_commits_only_at_a_level_that_lets_it() {
        for (level, may_go) in [(Durability::ProcessCrash, true), (Durability::PowerLoss, false)] {
            let mut ledger = with_commits(level);
            ledger.lose(Loss::Power);
            let found = found_with(&ledger, None);
            assert_eq!(ledger.check(&found).is_ok(), may_go, "{level:?}");
        }
    }

    #[test]
    fn topics_partitions_and_levels_are_as_they_were_acknowledged_or_tried() {
        let mut ledger = Ledger::new(Durability::ProcessCrash);
        assert!(ledger.clone().check(&Found::default()).is_ok());
        ledger.topics[1].created(1);
        assert!(ledger.clone().check(&Found::default()).is_err());
        ledger.topics[1].growing(2);
        ledger.topics[1].altering(Durability::PowerLoss);
        for (level, partitions, is_right) in [
            (Durability::ProcessCrash, 1, true),
            (Durability::PowerLoss, 2, true),
            (Durability::Memory, 1, false),
            (Durability::PowerLoss, 0, false),
            (Durability::PowerLoss, 3, false),
        ] {
            let topics = [None, Some((level, vec![FoundLog::default(); partitions]))];
            let found = Found { topics, committed: BTreeMap::new() };
            assert_eq!(ledger.clone().check(&found).is_ok(), is_right, "{level:?} {partitions}");
        }
    }
}
