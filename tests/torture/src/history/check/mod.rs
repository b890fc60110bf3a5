//! Looks for what must not be in a history: after the analysis of Kafka workloads by Jepsen, and with the
//! rule of this library for groups: a record is processed twice only if a member was killed or evicted with
//! it in hand, or its commit was refused.

mod groups;
mod log;
#[cfg(test)]
mod mutations;
mod readers;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::events::{History, Partition, Step};
use log::Log;

/// What is wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What was acknowledged did not reach a reader, or no member of a group that was done with it.
    Lost,
    /// A record was processed twice in a group, and nothing accounts for it.
    Duplicated,
    /// A record comes before one that its producer sent earlier.
    Reordered,
    /// A poll goes on behind where the one before it ended.
    Skipped,
    /// A poll goes on before where the one before it ended.
    Back,
    /// Two things are told that cannot both be so.
    Inconsistent,
}

impl Kind {
    /// In the order of the line that ends the run.
    pub(crate) const ALL: [Self; 6] =
        [Self::Lost, Self::Duplicated, Self::Reordered, Self::Skipped, Self::Back, Self::Inconsistent];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Skipped => "skipped",
            Self::Back => "back",
            Self::Inconsistent => "inconsistent",
        }
    }
}

/// One place where a history is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Anomaly {
    pub(crate) kind: Kind,
    pub(crate) partition: Partition,
    /// The readers that have to do with it; none: all of them.
    pub(crate) readers: Vec<usize>,
    /// When it was met.
    pub(crate) step: Step,
    /// What is wrong, in a sentence.
    pub(crate) text: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), self.text)
    }
}

/// All that is wrong, in the order of steps.
pub(crate) fn check(history: &History) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let log = Log::of(history, &mut anomalies);
    log.check_order(history, &mut anomalies);
    let walks: Vec<_> = (0..history.readers.len())
        .map(|reader| readers::walk(history, &log, reader, &mut anomalies))
        .collect();
    groups::check(history, &log, &walks, &mut anomalies);
    anomalies.sort_by_key(|anomaly| (anomaly.step, anomaly.kind));
    anomalies
}

/// How many there are of each kind.
pub(crate) fn count(anomalies: &[Anomaly]) -> BTreeMap<Kind, usize> {
    let mut counts: BTreeMap<Kind, usize> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    for anomaly in anomalies {
        *counts.entry(anomaly.kind).or_default() += 1;
    }
    counts
}
