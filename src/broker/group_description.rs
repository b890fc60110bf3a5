//! A group as it is now, for people and monitoring.

use std::collections::BTreeMap;

use crate::group::{Coordinator, GroupFacts, Place};
use crate::ids::TopicPartition;
use crate::sync::Arc;
use crate::topic::Topic;

/// A group as it is now: from [`Broker::groups`](crate::Broker::groups) and
/// [`Broker::describe_group`](crate::Broker::describe_group). Members and partitions may change at any
/// moment; what is said of one partition may be from a moment before that of another.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, GroupState, TopicConfig, TopicPartition};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new().partitions(2))?;
/// broker.producer::<(), u64>("payments")?.record(200).partition(1).send()?;
/// let member = broker.consumer::<(), u64>().topic("payments").group("ledger").build()?;
///
/// let group = broker.describe_group("ledger")?;
/// assert_eq!((group.state, group.members[0].assignment.len()), (GroupState::Stable, 2));
/// let partition = &group.partitions[&TopicPartition::new("payments", 1)];
/// assert_eq!((partition.committed, partition.end_offset, partition.lag), (None, 1, 1));
/// assert_eq!(group.lag(), 1);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// The group's name.
    pub name: String,
    /// Whether it has members, and whether partitions are changing hands.
    pub state: GroupState,
    /// Rises by one with each assignment, from 1 for the first; begins anew when the group has lost all its
    /// members, none of which may come back after an eviction. 0 without members.
    pub generation: u64,
    /// The name of the assignor; empty without members.
    pub assignor: String,
    /// By member id. Static members that are away are among them.
    pub members: Vec<GroupMember>,
    /// The partitions that its members subscribe to, and those for which it has committed something.
    pub partitions: BTreeMap<TopicPartition, GroupPartition>,
}

/// Whether a group has members, and whether partitions are changing hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members; what it has committed is kept for a while.
    Empty,
    /// Partitions are to change hands when their owners poll, or wait for a static member that is away.
    Rebalancing,
    /// Every member reads what is meant for it.
    Stable,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Given in the order of joining, over all groups of the broker.
    pub member_id: u64,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// Whether its consumer exists. If not, it is a static member, whose partitions wait for it.
    pub is_present: bool,
    /// What it reads now, by topic and number.
    pub assignment: Vec<TopicPartition>,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupPartition {
    /// The member that reads it.
    pub member_id: Option<u64>,
    /// The first offset that the group has not processed; `None` if it has committed nothing.
    pub committed: Option<u64>,
    /// The high watermark: the offset behind the last readable record.
    pub end_offset: u64,
    /// How many offsets lie between: from `committed`, or from the first record that is there, to the end.
    pub lag: u64,
}

impl GroupDescription {
    /// How many offsets the group is behind, over all partitions of all topics of which it reads or has
    /// committed something. In one topic: [`Broker::lag`](crate::Broker::lag).
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.partitions.values().map(|partition| partition.lag).sum()
    }

    /// `None` if there is no such group.
    pub(super) fn of(name: &str, coordinator: &Coordinator, topics: &[Arc<Topic>]) -> Option<Self> {
        let facts = coordinator.facts(name);
        let commits = coordinator.committed().of_group(name);
        if facts.is_none() && commits.is_empty() {
            return None;
        }
        let mut places: BTreeMap<Place, (Option<u64>, Option<u64>)> = BTreeMap::new();
        for (place, member) in facts.iter().flat_map(|facts| &facts.partitions) {
            places.entry(*place).or_default().0 = *member;
        }
        for commit in commits {
            places.entry(commit.place()).or_default().1 = Some(commit.offset);
        }
        let by_id: BTreeMap<u64, &Arc<Topic>> = topics.iter().map(|topic| (topic.id(), topic)).collect();
        let partitions = places.into_iter().filter_map(|((topic_id, number), (member_id, committed))| {
            let topic = by_id.get(&topic_id)?;
            let partition = GroupPartition::of(topic, number, member_id, committed)?;
            Some((TopicPartition::new(&**topic.name(), number), partition))
        });
        let partitions = partitions.collect();
        Some(Self::from_facts(name, facts, partitions))
    }

    fn from_facts(
        name: &str,
        facts: Option<GroupFacts>,
        partitions: BTreeMap<TopicPartition, GroupPartition>,
    ) -> Self {
        let name = name.to_owned();
        let Some(facts) = facts else {
            let (state, assignor) = (GroupState::Empty, String::new());
            return Self { name, state, generation: 0, assignor, members: Vec::new(), partitions };
        };
        let members = facts.members.into_iter().map(|member| {
            let mut assignment = member.owned;
            assignment.sort_unstable();
            let (member_id, is_present) = (member.id, member.is_present);
            GroupMember { member_id, instance_id: member.instance_id, is_present, assignment }
        });
        Self {
            name,
            state: if facts.is_settled { GroupState::Stable } else { GroupState::Rebalancing },
            generation: facts.generation,
            assignor: facts.assignor,
            members: members.collect(),
            partitions,
        }
    }
}

impl GroupPartition {
    fn of(topic: &Topic, number: u32, member_id: Option<u64>, committed: Option<u64>) -> Option<Self> {
        let log = topic.partition(number).ok()?;
        let end_offset = log.end_offset();
        let from = committed.unwrap_or_else(|| log.start_offset());
        Some(Self { member_id, committed, end_offset, lag: end_offset.saturating_sub(from) })
    }
}
