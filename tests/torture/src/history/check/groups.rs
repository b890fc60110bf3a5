//! The members of a group together: each record is processed, once unless something accounts for more, and no
//! partition has two owners.

use std::collections::BTreeMap;

use super::super::events::{History, Partition, Step};
use super::log::Log;
use super::readers::{Commit, Processing, Tenure, Walk};
use super::{Anomaly, Kind};

pub(super) fn check(history: &History, log: &Log, walks: &[Walk], anomalies: &mut Vec<Anomaly>) {
    for number in 0..history.groups.len() {
        let members = history.readers.iter().zip(walks);
        let members = members.filter(|(reader, _)| reader.group == Some(number)).map(|(_, walk)| walk);
        let mut group = Group { history, log, number, processings: BTreeMap::new(), anomalies };
        let (mut commits, mut tenures) = (BTreeMap::new(), BTreeMap::new());
        for walk in members {
            for processing in &walk.processings {
                let place = (processing.partition, processing.offset);
                group.processings.entry(place).or_default().push(processing);
            }
            for commit in &walk.commits {
                commits.entry(commit.partition).or_insert_with(Vec::new).push(commit);
            }
            for tenure in &walk.tenures {
                tenures.entry(tenure.partition).or_insert_with(Vec::new).push(tenure);
            }
        }
        group.check_lost();
        group.check_owners(tenures);
        group.check_duplicates(commits);
    }
}

struct Group<'a> {
    history: &'a History,
    log: &'a Log,
    number: usize,
    /// Of each record.
    processings: BTreeMap<(Partition, u64), Vec<&'a Processing>>,
    anomalies: &'a mut Vec<Anomaly>,
}

impl Group<'_> {
    /// Every acknowledged record was processed by a member that lived to commit it.
    fn check_lost(&mut self) {
        for &partition in &self.history.groups[self.number].follows {
            for &offset in self.log.acknowledged(partition) {
                match self.processings.get(&(partition, offset)) {
                    None => self.never_polled(partition, offset),
                    Some(all) if all.iter().any(|it| it.end.may_be_committed()) => {}
                    Some(all) => {
                        let told = all.iter().map(|it| self.told(it)).collect::<Vec<_>>();
                        let why = format!("nobody was done with it: {}", told.join("; "));
                        let step = all.iter().map(|it| it.polled).max().unwrap_or(0);
                        let readers = all.iter().map(|it| it.reader).collect();
                        self.is_wrong(Kind::Lost, (partition, offset), readers, step, &why);
                    }
                }
            }
        }
    }

    fn never_polled(&mut self, partition: Partition, offset: u64) {
        let later = self.processings.range((partition, offset)..=(partition, Step::MAX));
        let passed = later.flat_map(|(_, all)| all).min_by_key(|it| it.polled);
        let (why, readers, step) = match passed {
            Some(it) => {
                let (name, later) = (self.name(it.reader), it.offset);
                let why =
                    format!("no member polled it, and {name} polled offset {later} at step {}", it.polled);
                (why, vec![it.reader], it.polled)
            }
            None => ("no member polled it up to the end".to_owned(), Vec::new(), Step::MAX),
        };
        self.is_wrong(Kind::Lost, (partition, offset), readers, step, &why);
    }

    /// No partition has two owners at a time.
    fn check_owners(&mut self, tenures: BTreeMap<Partition, Vec<&Tenure>>) {
        for (partition, mut tenures) in tenures {
            tenures.sort_by_key(|tenure| tenure.from);
            // The one of those before that lasts longest.
            let mut longest: Option<&Tenure> = None;
            for tenure in tenures {
                if let Some(other) = longest.filter(|other| other.until > tenure.from) {
                    let (one, two) = (self.name(other.reader), self.name(tenure.reader));
                    let what = format!(
                        "two owners: {one} had the partition from step {} to {}, and {two} got it at {}",
                        other.from, other.until, tenure.from
                    );
                    let readers = vec![other.reader, tenure.reader];
                    self.is_wrong(Kind::Inconsistent, (partition, 0), readers, tenure.from, &what);
                }
                if longest.is_none_or(|other| other.until < tenure.until) {
                    longest = Some(tenure);
                }
            }
        }
    }

    fn check_duplicates(&mut self, commits: BTreeMap<Partition, Vec<&Commit>>) {
        let commits = commits.into_iter().map(|(partition, commits)| (partition, Committed::new(commits)));
        let commits: BTreeMap<Partition, Committed> = commits.collect();
        for ((partition, offset), processings) in std::mem::take(&mut self.processings) {
            for (at, one) in processings.iter().enumerate() {
                let committed = commits.get(&partition).map_or(0, |committed| committed.before(one.since));
                if committed > offset {
                    let what = format!("{}, after the group had committed {committed}", self.told(one));
                    self.is_wrong(Kind::Duplicated, (partition, offset), vec![one.reader], one.polled, &what);
                }
                for other in &processings[at + 1..] {
                    self.check_pair(one, other);
                }
            }
        }
    }

    /// Two processings of one record: one of them has to have ended in a way that accounts for the other, and
    /// before it.
    fn check_pair(&mut self, one: &Processing, other: &Processing) {
        let both_had_it = one.polled < other.held_until && other.polled < one.held_until;
        let why = if both_had_it && one.reader != other.reader {
            "at the same time"
        } else if !one.end.is_a_cause() && !other.end.is_a_cause() {
            "and neither accounts for the other"
        } else {
            return;
        };
        let what = format!("processed twice, {why}: {}; {}", self.told(one), self.told(other));
        let readers = vec![one.reader, other.reader];
        let step = one.polled.max(other.polled);
        self.is_wrong(Kind::Duplicated, (one.partition, one.offset), readers, step, &what);
    }

    fn told(&self, processing: &Processing) -> String {
        let name = self.name(processing.reader);
        format!("{name} polled it at step {} and {}", processing.polled, processing.end.words())
    }

    fn name(&self, reader: usize) -> &str {
        &self.history.readers[reader].name
    }

    fn is_wrong(
        &mut self,
        kind: Kind,
        (partition, offset): (Partition, u64),
        readers: Vec<usize>,
        step: Step,
        what: &str,
    ) {
        let (place, value) = (self.history.place(partition, offset), self.log.value(partition, offset));
        let text = format!("{place} ({value}) in group {}: {what}", self.history.groups[self.number].name);
        self.anomalies.push(Anomaly { kind, partition, readers, step, text });
    }
}

/// How far a group had committed a partition at each step.
struct Committed(Vec<(Step, u64)>);

impl Committed {
    fn new(mut commits: Vec<&Commit>) -> Self {
        commits.sort_by_key(|commit| commit.ended);
        let mut highest = 0;
        let steps = commits.into_iter().map(|commit| {
            highest = highest.max(commit.upto);
            (commit.ended, highest)
        });
        Self(steps.collect())
    }

    fn before(&self, step: Step) -> u64 {
        let commits = self.0.partition_point(|&(ended, _)| ended < step);
        commits.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}
