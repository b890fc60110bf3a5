//! What must come out, computed straight from the feed, without a topic between and without the state of a
//! bed: for each patient from the whole list of observations.

use std::collections::BTreeSet;

use crate::bed::{IN_A_ROW, Kind, SILENCE_MILLIS};
use crate::news2::{self, Risk};
use crate::vitals::{Feed, Observation, Signal, Vitals};

/// Patient, time, and what it is.
pub(crate) type Raised = (String, i64, Kind);

pub(crate) fn alarms(feed: &Feed) -> BTreeSet<Raised> {
    let mut alarms = BTreeSet::new();
    for (patient, all) in feed.by_patient() {
        let mut in_time: Vec<&Observation> = Vec::new();
        for observation in all {
            if in_time.last().is_none_or(|newest| observation.time > newest.time) {
                in_time.push(observation);
            }
        }
        let found = silences(&in_time).into_iter().chain(episodes(&in_time));
        alarms.extend(found.map(|(n, kind)| (patient.to_owned(), in_time[n].time, kind)));
    }
    alarms
}

pub(crate) fn count(alarms: &BTreeSet<Raised>, is_meant: impl Fn(Kind) -> bool) -> u64 {
    alarms.iter().filter(|(_, _, kind)| is_meant(*kind)).count() as u64
}

/// Between two observations that have a signal, and behind the last one, the first that is too far away.
fn silences(all: &[&Observation]) -> Vec<(usize, Kind)> {
    let mut found = Vec::new();
    for signal in Signal::ALL {
        let there: Vec<usize> = (0..all.len()).filter(|n| all[*n].vitals.has(signal)).collect();
        let until = there.iter().skip(1).copied().chain([all.len()]);
        for (from, until) in there.iter().zip(until) {
            let mut missing = from + 1..until;
            let late = missing.find(|n| all[*n].time - all[*from].time > SILENCE_MILLIS);
            found.extend(late.map(|n| (n, Kind::Silent(signal))));
        }
    }
    found
}

fn episodes(all: &[&Observation]) -> Vec<(usize, Kind)> {
    let risks: Vec<Risk> = in_force(all).iter().map(|vitals| Risk::of(news2::score(vitals))).collect();
    // The end of the first run of so many, not before `from`.
    let run = |from: usize, until: usize, is_so: fn(&Risk) -> bool| {
        let ends = from.max(IN_A_ROW as usize - 1)..until;
        ends.into_iter().find(|end| risks[end + 1 - IN_A_ROW as usize..=*end].iter().all(is_so))
    };
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(begin) = run(from, risks.len(), |risk| *risk >= Risk::Medium) {
        let end = run(begin + 1, risks.len(), |risk| *risk == Risk::Low).unwrap_or(risks.len());
        found.push((begin, Kind::Deteriorates));
        found.extend(run(begin + 1, end, |risk| *risk == Risk::High).map(|n| (n, Kind::Escalated)));
        from = end + 1;
    }
    found
}

/// The latest values at each observation: of signals only those of the last minute.
fn in_force(all: &[&Observation]) -> Vec<Vitals> {
    let (mut latest, mut seen_at) = (Vitals::default(), [None; Signal::ALL.len()]);
    let at = |observation: &&Observation| {
        latest.update(&observation.vitals);
        let mut now = latest;
        for (signal, seen_at) in Signal::ALL.into_iter().zip(&mut seen_at) {
            if observation.vitals.has(signal) {
                *seen_at = Some(observation.time);
            } else if seen_at.is_some_and(|seen_at| observation.time - seen_at > SILENCE_MILLIS) {
                now.remove(signal);
            }
        }
        now
    };
    all.iter().map(at).collect()
}
