//! One reader at a time: whether each poll goes on where the one before it ended, and what became of the
//! records that a member of a group had in hand.

use std::collections::BTreeMap;

use super::super::events::{Event, History, Outcome, Partition, Read, Step, What};
use super::log::Log;
use super::{Anomaly, Kind};

/// How it ended that a member had a record in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Not at all, up to the end of the history.
    Open,
    Committed,
    /// Its member gave the partition up, or left, without a commit.
    GivenUp,
    /// These account for another processing of the record.
    Killed,
    Evicted,
    Refused,
    /// So does this, and the record may as well count as processed.
    Unknown,
}

impl End {
    pub(super) fn is_a_cause(self) -> bool {
        matches!(self, Self::Killed | Self::Evicted | Self::Refused | Self::Unknown)
    }

    pub(super) fn may_be_committed(self) -> bool {
        matches!(self, Self::Committed | Self::Unknown)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Open => "never committed it",
            Self::Committed => "committed it",
            Self::GivenUp => "gave it up without a commit",
            Self::Killed => "was killed with it in hand",
            Self::Evicted => "was evicted with it in hand",
            Self::Refused => "had its commit refused",
            Self::Unknown => "does not know whether it was committed",
        }
    }
}

/// A member of a group was handed a record.
#[derive(Clone, Debug)]
pub(super) struct Processing {
    pub(super) reader: usize,
    pub(super) partition: Partition,
    pub(super) offset: u64,
    /// It was fetched after this step.
    pub(super) since: Step,
    /// It was in hand from here on.
    pub(super) polled: Step,
    /// Until here it was in hand of one who was a member: lower than `polled` if that is not known.
    pub(super) held_until: Step,
    pub(super) end: End,
}

/// A commit that counted.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) partition: Partition,
    pub(super) upto: u64,
    pub(super) ended: Step,
}

/// From one step to another one a member surely had a partition.
#[derive(Clone, Debug)]
pub(super) struct Tenure {
    pub(super) reader: usize,
    pub(super) partition: Partition,
    pub(super) from: Step,
    pub(super) until: Step,
}

/// What follows from the events of one reader.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) processings: Vec<Processing>,
    pub(super) commits: Vec<Commit>,
    pub(super) tenures: Vec<Tenure>,
}

/// A partition that the reader has.
#[derive(Debug)]
struct Owned {
    from: Step,
    /// Where its next poll has to go on, if that is known.
    next: Option<u64>,
    /// Its records that are not committed: places in `Walk::processings`.
    in_hand: Vec<usize>,
}

struct Walker<'a> {
    history: &'a History,
    log: &'a Log,
    reader: usize,
    owned: BTreeMap<Partition, Owned>,
    /// At or after this step it was a member, and knew it.
    a_member_at: Step,
    walk: Walk,
    anomalies: &'a mut Vec<Anomaly>,
}

pub(super) fn walk(history: &History, log: &Log, reader: usize, anomalies: &mut Vec<Anomaly>) -> Walk {
    let (owned, walk) = (BTreeMap::new(), Walk::default());
    let mut walker = Walker { history, log, reader, owned, a_member_at: 0, walk, anomalies };
    for event in &history.readers[reader].events {
        walker.event(event);
    }
    walker.part_with_all(End::Open, Step::MAX);
    walker.walk
}

impl Walker<'_> {
    fn event(&mut self, event: &Event) {
        match &event.what {
            What::Assigned(partitions) => partitions.iter().for_each(|&it| self.assigned(it, event.ended)),
            What::Revoked(partitions) => {
                partitions.iter().for_each(|&it| self.part_with(it, End::GivenUp, event.begun));
            }
            What::Lost(partitions) => {
                partitions.iter().for_each(|&it| self.part_with(it, End::Evicted, self.a_member_at));
            }
            What::Polled(reads) => {
                self.a_member_at = event.begun;
                reads.iter().for_each(|read| self.read(read, event));
            }
            What::Committed(places, outcome) => self.committed(places, *outcome, event),
            What::Killed { was_away: false } => self.part_with_all(End::Killed, event.begun),
            What::Closed { was_away: false } => self.part_with_all(End::GivenUp, event.begun),
            What::Killed { .. } | What::Closed { .. } | What::Evicted => {
                self.part_with_all(End::Evicted, self.a_member_at);
            }
            What::Drained => self.drained(event.ended),
        }
    }

    fn assigned(&mut self, partition: Partition, from: Step) {
        // By hand, it begins with the first record.
        let next = self.history.readers[self.reader].group.is_none().then_some(0);
        if self.owned.insert(partition, Owned { from, next, in_hand: Vec::new() }).is_some() {
            self.is_wrong(Kind::Inconsistent, (partition, 0), from, "was given it, and has it already");
        }
    }

    fn part_with(&mut self, partition: Partition, end: End, until: Step) {
        let Some(owned) = self.owned.remove(&partition) else {
            self.is_wrong(
                Kind::Inconsistent,
                (partition, 0),
                until,
                "was to give it up, and does not have it",
            );
            return;
        };
        for place in owned.in_hand {
            let processing = &mut self.walk.processings[place];
            if processing.end == End::Open {
                (processing.held_until, processing.end) = (until, end);
            }
        }
        if until > owned.from {
            self.walk.tenures.push(Tenure { reader: self.reader, partition, from: owned.from, until });
        }
    }

    fn part_with_all(&mut self, end: End, until: Step) {
        let all: Vec<Partition> = self.owned.keys().copied().collect();
        all.into_iter().for_each(|partition| self.part_with(partition, end, until));
    }

    fn read(&mut self, read: &Read, event: &Event) {
        let &Read { partition, offset, .. } = read;
        let place = (partition, offset);
        let Some(owned) = self.owned.get_mut(&partition) else {
            self.is_wrong(
                Kind::Inconsistent,
                place,
                event.ended,
                "polled this, and does not have the partition",
            );
            return;
        };
        let since = event.begun.max(owned.from);
        let expected = owned.next.replace(offset + 1);
        if self.history.readers[self.reader].group.is_some() {
            owned.in_hand.push(self.walk.processings.len());
            self.walk.processings.push(Processing {
                reader: self.reader,
                partition,
                offset,
                since,
                polled: event.ended,
                held_until: event.ended,
                end: End::Open,
            });
        }
        match expected {
            Some(next) if next < offset => {
                let what = format!("polled this, and had to go on with offset {next}");
                self.is_wrong(Kind::Skipped, place, event.ended, &what);
            }
            Some(next) if next > offset => {
                let what = format!("polled this again, and had to go on with offset {next}");
                self.is_wrong(Kind::Back, place, event.ended, &what);
            }
            _ => {}
        }
    }

    fn committed(&mut self, places: &[(Partition, u64)], outcome: Outcome, event: &Event) {
        for &(partition, upto) in places {
            if outcome == Outcome::Done {
                self.a_member_at = event.begun;
                self.walk.commits.push(Commit { partition, upto, ended: event.ended });
            }
            let Some(owned) = self.owned.get_mut(&partition) else { continue };
            let processings = &mut self.walk.processings;
            owned.in_hand.retain(|&place| {
                let processing = &mut processings[place];
                if processing.offset >= upto {
                    return true;
                }
                processing.end = match outcome {
                    Outcome::Done => End::Committed,
                    Outcome::Refused => End::Refused,
                    Outcome::Unknown => End::Unknown,
                };
                if outcome == Outcome::Done {
                    processing.held_until = event.begun;
                }
                outcome != Outcome::Done
            });
        }
    }

    fn drained(&mut self, step: Step) {
        let positions: Vec<_> =
            self.owned.iter().map(|(&partition, owned)| (partition, owned.next.unwrap_or(0))).collect();
        for (partition, next) in positions {
            let offsets = self.log.acknowledged(partition);
            for &offset in &offsets[offsets.partition_point(|&offset| offset < next)..] {
                self.is_wrong(
                    Kind::Lost,
                    (partition, offset),
                    step,
                    "read to the end, and never polled this",
                );
            }
        }
    }

    fn is_wrong(&mut self, kind: Kind, (partition, offset): (Partition, u64), step: Step, what: &str) {
        let place = self.history.place(partition, offset);
        let value = self.log.value(partition, offset);
        let name = &self.history.readers[self.reader].name;
        let text = format!("{place} ({value}): {name} {what}");
        self.anomalies.push(Anomaly { kind, partition, readers: vec![self.reader], step, text });
    }
}
