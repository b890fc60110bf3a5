//! A member of a group, and what it should have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::{
    BoxError, Broker, Consumer, ConsumerBuilder, Error, RangeAssignor, Rebalance, RebalanceListener, Records,
    Result, RoundRobinAssignor, Start, TopicPartition,
};

use super::oracle::{GROUPS, Oracle, Wants};
use crate::support::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// What it is built with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) group: usize,
    pub(super) wants: Wants,
    pub(super) max_records: usize,
    pub(super) auto_commit: bool,
    /// It commits its positions when it gives partitions up.
    pub(super) commits_late: bool,
    pub(super) instance: Option<usize>,
    /// 0: sticky.
    pub(super) assignor: usize,
    pub(super) start: Start,
}

/// Commits at the last moment.
struct Late;

impl RebalanceListener for Late {
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        for at in rebalance.partitions().to_vec() {
            let position = rebalance.position(&at.topic, at.partition)?;
            match rebalance.commit_offsets([(at, position)]) {
                Ok(()) | Err(Error::TopicDeleted { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A partition that a member has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) position: u64,
    /// No other time at which anybody had a partition has the same.
    pub(super) tenure: u64,
}

/// What a poll returned.
pub(super) struct Polled {
    pub(super) records: Records<(), u64>,
    pub(super) tenures: BTreeMap<TopicPartition, u64>,
}

pub(super) struct Member {
    pub(super) consumer: Consumer<(), u64>,
    pub(super) is: Settings,
    pub(super) holds: BTreeMap<TopicPartition, Hold>,
    /// Partitions of deleted topics, of which it is to be told.
    pub(super) deleted: BTreeSet<TopicPartition>,
    pub(super) polled: Vec<Polled>,
    /// With auto-commit: what the next poll commits.
    to_commit: BTreeMap<TopicPartition, u64>,
}

impl Settings {
    fn builder(&self, broker: &Broker) -> ConsumerBuilder<(), u64> {
        let builder = broker.consumer().group(GROUPS[self.group]).start(self.start);
        let builder = match self.wants {
            Wants::T => builder.topic("t"),
            Wants::All => builder.topics_matching(|_| true),
            Wants::TAndX => builder.topic("t").topics_matching(|name| name.starts_with('x')),
        };
        let builder = match self.instance {
            Some(number) => builder.instance_id(format!("i{number}")).instance_timeout(HOUR),
            None => builder,
        };
        let builder = if self.commits_late { builder.rebalance_listener(Late) } else { builder };
        let builder = match self.assignor {
            0 => builder,
            1 => builder.assignor(RangeAssignor),
            _ => builder.assignor(RoundRobinAssignor),
        };
        builder.max_records(self.max_records).auto_commit(self.auto_commit)
    }

    pub(super) fn build(&self, broker: &Broker) -> Result<Consumer<(), u64>> {
        self.builder(broker).build()
    }
}

impl Member {
    pub(super) fn new(consumer: Consumer<(), u64>, is: Settings) -> Self {
        let (holds, deleted, polled) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { consumer, is, holds, deleted, polled, to_commit: BTreeMap::new() }
    }

    pub(super) fn assignment(&self) -> BTreeSet<TopicPartition> {
        let assignment = self.consumer.assignment();
        let all: BTreeSet<TopicPartition> = assignment.iter().cloned().collect();
        assert_eq!(all.len(), assignment.len(), "each once: {assignment:?}");
        all
    }

    /// With auto-commit, what was polled is committed now.
    pub(super) fn commit_polled(&mut self, oracle: &mut Oracle) {
        for (at, offset) in std::mem::take(&mut self.to_commit) {
            if self.holds.contains_key(&at) {
                oracle.groups[self.is.group].committed.insert(at, offset);
            }
        }
    }

    /// What it gives up and takes, by its own words. Returns what it has now and had not before.
    pub(super) fn note_assignment(&mut self, oracle: &mut Oracle, tenures: &mut u64) -> Vec<TopicPartition> {
        let assignment = self.assignment();
        assert!(self.deleted.is_subset(&assignment), "it leaves when that is told");
        let given_up: Vec<TopicPartition> =
            self.holds.keys().filter(|at| !assignment.contains(*at)).cloned().collect();
        given_up.into_iter().for_each(|at| self.give_up(&at, oracle));
        let is_new = |at: &&TopicPartition| !self.holds.contains_key(*at) && !self.deleted.contains(*at);
        let new: Vec<TopicPartition> = assignment.iter().filter(is_new).cloned().collect();
        for at in &new {
            assert!(self.is.wants.includes(&at.topic) && oracle.values(at).is_some(), "{at} is not its own");
            *tenures += 1;
            let position = oracle.beginning(self.is.group, at);
            self.holds.insert(at.clone(), Hold { position, tenure: *tenures });
        }
        new
    }

    fn give_up(&mut self, at: &TopicPartition, oracle: &mut Oracle) {
        let hold = self.holds.remove(at).filter(|_| self.is.commits_late);
        hold.map(|hold| oracle.groups[self.is.group].committed.insert(at.clone(), hold.position));
    }

    /// It leaves in peace.
    pub(super) fn close(mut self, oracle: &mut Oracle) {
        self.commit_polled(oracle);
        let all: Vec<TopicPartition> = self.holds.keys().cloned().collect();
        all.iter().for_each(|at| self.give_up(at, oracle));
        self.consumer.close().expect("nothing went wrong");
    }

    /// A poll has told of a deleted topic.
    pub(super) fn is_told(&mut self, topic: &str) {
        assert!(self.deleted.iter().any(|at| at.topic == topic), "told of {topic} without need, or again");
        self.deleted.retain(|at| at.topic != topic);
    }

    /// A poll has returned these: they must be what comes next.
    pub(super) fn take(&mut self, records: Records<(), u64>, oracle: &mut Oracle) {
        assert!(records.len() <= self.is.max_records);
        let mut tenures = BTreeMap::new();
        for record in &records {
            let at = TopicPartition::new(record.topic(), record.partition());
            let hold = self.holds.get_mut(&at).unwrap_or_else(|| panic!("{at} is not assigned"));
            assert_eq!(record.offset(), hold.position, "the position in {at}");
            let values = oracle.values(&at).expect("it is there");
            assert_eq!(record.value().expect("a number"), values[hold.position as usize]);
            let seen = &mut oracle.groups[self.is.group].seen;
            seen.entry(at.clone()).or_default().insert(hold.position);
            hold.position += 1;
            if self.is.auto_commit {
                self.to_commit.insert(at.clone(), hold.position);
            }
            tenures.insert(at, hold.tenure);
        }
        let is_at_end = self.holds.iter().all(|(at, hold)| hold.position == oracle.end(at));
        assert!(!records.is_empty() || is_at_end, "an empty poll means caught up");
        self.polled.push(Polled { records, tenures });
    }

    /// Whether it may commit what was polled then.
    pub(super) fn may_commit(&self, at: &TopicPartition, tenure: u64) -> bool {
        self.holds.get(at).is_some_and(|hold| hold.tenure == tenure)
    }

    /// A commit of these was refused: was that right, and for the right reason?
    pub(super) fn check_refusal(&self, refusal: &Error, lost: &[TopicPartition]) {
        match refusal {
            Error::CommitFenced { group, partition } => {
                assert_eq!(group, GROUPS[self.is.group]);
                assert!(lost.contains(partition), "{partition} is not lost: {lost:?}");
            }
            Error::TopicDeleted { topic } => {
                assert!(self.deleted.iter().any(|at| at.topic == *topic && lost.contains(at)));
            }
            other => panic!("{other}"),
        }
    }

    /// It has what the model says, where the model says.
    pub(super) fn check(&self, oracle: &Oracle) {
        let held: BTreeSet<TopicPartition> = self.holds.keys().chain(&self.deleted).cloned().collect();
        assert_eq!(self.assignment(), held, "partitions come and go in polls only");
        let mut lag = 0;
        for (at, hold) in &self.holds {
            let position = self.consumer.position(&at.topic, at.partition).expect("assigned");
            assert_eq!(position, hold.position, "the position in {at}");
            let committed = committed_at(&self.consumer, &at.topic, at.partition);
            assert_eq!(committed, oracle.groups[self.is.group].committed.get(at).copied());
            lag += oracle.end(at) - position;
        }
        assert!(!self.deleted.is_empty() || self.consumer.lag() == lag);
    }
}
