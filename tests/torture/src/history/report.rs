//! What is said of an anomaly: itself, and the steps around it.

use super::check::{Anomaly, Kind, count};
use super::events::{Event, History, Partition, Read, Step, What};
use crate::common::outcome::{Failure, Finding};

/// So many events around an anomaly are shown.
const AROUND: usize = 24;
const MAX_ANOMALIES: usize = 5;

/// The failure that the first of these anomalies is.
pub(crate) fn failure(history: &History, anomalies: &[Anomaly], first: &Anomaly) -> Failure {
    let counts = count(anomalies);
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{}={count}", kind.word())).collect();
    let mut lines = vec![first.text.clone()];
    lines.extend(around(history, first));
    lines.push(format!("all that is wrong: {}", counts.join(" ")));
    lines.extend(anomalies.iter().take(MAX_ANOMALIES).map(|anomaly| format!("  {anomaly}")));
    Failure::new(finding(first.kind), lines.join("\n"))
}

fn finding(kind: Kind) -> Finding {
    match kind {
        Kind::Lost => Finding::Lost,
        Kind::Duplicated => Finding::Duplicated,
        Kind::Reordered => Finding::Reordered,
        Kind::Skipped => Finding::Skipped,
        Kind::Back => Finding::Back,
        Kind::Inconsistent => Finding::Inconsistent,
    }
}

/// What those concerned did with the partition, before and after.
fn around(history: &History, anomaly: &Anomaly) -> Vec<String> {
    let group = anomaly.readers.first().and_then(|&reader| history.readers.get(reader)?.group);
    let mut shown: Vec<(Step, String)> = Vec::new();
    for (number, reader) in history.readers.iter().enumerate() {
        let is_concerned = anomaly.readers.is_empty()
            || anomaly.readers.contains(&number)
            || group.is_some() && reader.group == group;
        if !is_concerned {
            continue;
        }
        let told = reader.events.iter().filter_map(|event| {
            let what = told(event, anomaly.partition)?;
            Some((event.begun, format!("  {}-{} {} {what}", event.begun, event.ended, reader.name)))
        });
        shown.extend(told);
    }
    shown.sort_unstable();
    let at = shown.partition_point(|(step, _)| *step <= anomaly.step);
    let first = at.saturating_sub(AROUND * 2 / 3).min(shown.len().saturating_sub(AROUND));
    shown.into_iter().skip(first).take(AROUND).map(|(_, line)| line).collect()
}

/// What an event has to do with a partition, if anything.
fn told(event: &Event, partition: Partition) -> Option<String> {
    let names = |partitions: &[Partition]| partitions.contains(&partition);
    match &event.what {
        What::Assigned(partitions) => names(partitions).then(|| "is assigned the partition".to_owned()),
        What::Revoked(partitions) => names(partitions).then(|| "gives the partition up".to_owned()),
        What::Lost(partitions) => names(partitions).then(|| "loses the partition".to_owned()),
        What::Polled(reads) => {
            let mut reads = reads.iter().filter(|read| read.partition == partition);
            let first = reads.next()?;
            let last = reads.next_back().unwrap_or(first);
            let shown = |read: &Read| format!("{} ({})", read.offset, read.value);
            Some(format!("polls {} to {}", shown(first), shown(last)))
        }
        What::Committed(places, outcome) => {
            let (_, upto) = places.iter().find(|(place, _)| *place == partition)?;
            Some(format!("commits {upto}: {outcome:?}"))
        }
        What::Killed { was_away } => Some(format!("is killed{}", away(*was_away))),
        What::Closed { was_away } => Some(format!("closes{}", away(*was_away))),
        What::Evicted => Some("is told that it was evicted".to_owned()),
        What::Drained => Some("has read to the end".to_owned()),
    }
}

fn away(was_away: bool) -> &'static str {
    if was_away { ", having been away for too long" } else { "" }
}
