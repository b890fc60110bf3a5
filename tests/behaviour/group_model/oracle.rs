//! What groups should see: the values that were sent, what each group has committed, and where it begins in
//! what it has not.

use std::collections::{BTreeMap, BTreeSet};

use ottla::{Start, TopicPartition};

/// What is there in the beginning and stays.
pub(super) const LASTING: [(&str, usize); 2] = [("t", 3), ("u", 2)];
/// What comes and goes.
pub(super) const PASSING: [&str; 3] = ["x0", "x1", "y0"];
pub(super) const GROUPS: [&str; 2] = ["east", "west"];

/// What a member subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    T,
    All,
    TAndX,
}

impl Wants {
    pub(super) fn includes(self, topic: &str) -> bool {
        match self {
            Self::T => topic == "t",
            Self::All => true,
            Self::TAndX => topic == "t" || topic.starts_with('x'),
        }
    }
}

pub(super) struct Oracle {
    pub(super) topics: BTreeMap<String, Vec<Vec<u64>>>,
    pub(super) groups: [Group; GROUPS.len()],
    /// Of all members.
    pub(super) start: Start,
}

#[derive(Default)]
pub(super) struct Group {
    pub(super) committed: BTreeMap<TopicPartition, u64>,
    /// The offsets that members were given, or that were left out by somebody's wish.
    pub(super) seen: BTreeMap<TopicPartition, BTreeSet<u64>>,
    /// Of each topic that somebody subscribes to, how many partitions were there before that.
    at_first: BTreeMap<String, usize>,
    /// Where reading began without a committed offset.
    begun: BTreeMap<TopicPartition, u64>,
    /// Instances without a consumer.
    pub(super) absent: BTreeMap<usize, Absent>,
    /// What the members have in common, by number.
    pub(super) assignor: Option<usize>,
    pub(super) generation: u64,
    /// Rises with all that may lead to another assignment.
    pub(super) changes: u64,
}

/// An instance that is away.
pub(super) struct Absent {
    pub(super) wants: Wants,
    /// What it had when it left, and what must not have changed for it to have the same again.
    pub(super) had: Option<(u64, BTreeSet<TopicPartition>)>,
}

impl Oracle {
    pub(super) fn new(start: Start) -> Self {
        let topics = LASTING.map(|(name, count)| (name.to_owned(), vec![Vec::new(); count]));
        Self { topics: BTreeMap::from(topics), groups: Default::default(), start }
    }

    pub(super) fn values(&self, at: &TopicPartition) -> Option<&Vec<u64>> {
        self.topics.get(&at.topic)?.get(at.partition as usize)
    }

    pub(super) fn end(&self, at: &TopicPartition) -> u64 {
        self.values(at).map_or(0, |values| values.len() as u64)
    }

    /// All partitions that there are.
    pub(super) fn places(&self) -> Vec<TopicPartition> {
        let all = self.topics.iter();
        let all = all.flat_map(|(name, partitions)| {
            (0..partitions.len()).map(|number| TopicPartition::new(name.clone(), number as u32))
        });
        all.collect()
    }

    /// Where a member begins that gets a partition now.
    pub(super) fn beginning(&mut self, group: usize, at: &TopicPartition) -> u64 {
        let end = self.end(at);
        let group = &mut self.groups[group];
        if let Some(committed) = group.committed.get(at) {
            return *committed;
        }
        if self.start == Start::Earliest {
            return 0;
        }
        let was_there = group.at_first.get(&at.topic).is_some_and(|count| (at.partition as usize) < *count);
        let begun = *group.begun.entry(at.clone()).or_insert(if was_there { end } else { 0 });
        group.seen.entry(at.clone()).or_default().extend(0..begun);
        begun
    }

    /// A commit that may leave records out.
    pub(super) fn set(&mut self, group: usize, at: &TopicPartition, offset: u64) {
        let group = &mut self.groups[group];
        group.committed.insert(at.clone(), offset);
        group.seen.entry(at.clone()).or_default().extend(0..offset);
    }

    /// A member is built.
    pub(super) fn subscribe(&mut self, group: usize, wants: Wants) {
        let wanted = self.topics.iter().filter(|(name, _)| wants.includes(name));
        for (name, partitions) in wanted {
            self.groups[group].at_first.entry(name.clone()).or_insert(partitions.len());
        }
    }

    /// A topic is made, when the groups have members that want these.
    pub(super) fn create(&mut self, name: &str, partitions: usize, wants: &[Vec<Wants>]) {
        self.topics.insert(name.to_owned(), vec![Vec::new(); partitions]);
        for (group, wants) in self.groups.iter_mut().zip(wants) {
            group.changes += 1;
            if wants.iter().any(|wants| wants.includes(name)) {
                group.at_first.insert(name.to_owned(), 0);
            }
        }
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.topics.remove(name);
        for group in &mut self.groups {
            group.changes += 1;
            group.at_first.remove(name);
            group.begun.retain(|at, _| at.topic != name);
            group.seen.retain(|at, _| at.topic != name);
            group.committed.retain(|at, _| at.topic != name);
        }
    }
}

impl Group {
    /// A member has left; those that stay want these.
    pub(super) fn forget_all_but(&mut self, wants: &[Wants]) {
        self.at_first.retain(|name, _| wants.iter().any(|wants| wants.includes(name)));
        self.begun.retain(|at, _| self.at_first.contains_key(&at.topic));
        if wants.is_empty() {
            (self.assignor, self.generation) = (None, 0);
        }
    }

    /// The broker is gone.
    pub(super) fn end(&mut self) {
        self.absent.clear();
        self.forget_all_but(&[]);
    }
}
