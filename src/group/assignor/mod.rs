//! Which member of a group reads which partitions: the [`Assignor`]s in the box, and the door for others.
//!
//! An assignor is a function on data: it is given a [`GroupSubscription`] and returns an [`Assignment`]. Who
//! is in the group and when it is asked is not its business. Those in the box work on `numbered`, the group
//! with numbers in place of names.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::ids::TopicPartition;
use crate::sync::Arc;

mod chains;
mod numbered;
mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::StickyAssignor;

/// Divides the partitions of a group's topics among its members.
///
/// In the box are [`RangeAssignor`], [`RoundRobinAssignor`] and [`StickyAssignor`]. To choose: sticky if a
/// reader builds up something for each partition that it would lose with it, or if members come and go;
/// range if records of one key are joined from two topics; round robin if nothing but even numbers matters.
///
/// A partition is given to one member at most, and only to one that subscribes to its topic. A partition may
/// be given to nobody: it is not read, then. For equal input the answer is to be equal, so that it does not
/// matter when it is asked for.
///
/// ```
/// use ottla::{Assignment, Assignor, GroupSubscription, MemberSubscription, TopicPartition};
///
/// /// The member that joined first reads everything, the others stand by.
/// struct Standby;
///
/// impl Assignor for Standby {
///     fn name(&self) -> &str {
///         "standby"
///     }
///
///     fn assign(&self, group: &GroupSubscription) -> Assignment {
///         let mut assignment = Assignment::new();
///         let Some(first) = group.members.iter().min_by_key(|member| member.member_id) else {
///             return assignment;
///         };
///         for (topic, &partitions) in &group.topics {
///             if first.topics.contains(topic) {
///                 let all = (0..partitions).map(|partition| TopicPartition::new(topic, partition));
///                 assignment.entry(first.member_id).or_default().extend(all);
///             }
///         }
///         assignment
///     }
/// }
///
/// let members = [MemberSubscription::new(1, ["payments"]), MemberSubscription::new(2, ["payments"])];
/// let assignment = Standby.assign(&GroupSubscription::new([("payments", 3)], members));
/// assert_eq!(assignment[&1].len(), 3);
/// assert!(!assignment.contains_key(&2));
/// ```
pub trait Assignor: Send + Sync + 'static {
    /// Its name. Members of one group must agree on it.
    fn name(&self) -> &str;

    /// Who reads what. A member that is left out has nothing.
    fn assign(&self, group: &GroupSubscription) -> Assignment;
}

/// What each member is to read, by member id.
///
/// The assignors in the box name every member, also one that has nothing, and sort each list by topic and
/// partition.
///
/// ```
/// use ottla::{Assignor, GroupSubscription, MemberSubscription, RangeAssignor, TopicPartition};
///
/// let members = [MemberSubscription::new(7, ["jobs"]), MemberSubscription::new(8, ["jobs"])];
/// let assignment = RangeAssignor.assign(&GroupSubscription::new([("jobs", 1)], members));
/// assert_eq!(assignment[&7], [TopicPartition::new("jobs", 0)]);
/// assert_eq!(assignment[&8], []);
/// ```
pub type Assignment = BTreeMap<u64, Vec<TopicPartition>>;

/// What one member of a group subscribes to, and what it has.
///
/// ```
/// use ottla::{MemberSubscription, TopicPartition};
///
/// let member = MemberSubscription::new(3, ["payments", "refunds"])
///     .instance_id("till-1")
///     .owned([TopicPartition::new("payments", 0)]);
/// assert!(member.topics.contains("refunds"));
/// assert_eq!(member.instance_id.as_deref(), Some("till-1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberSubscription {
    /// Its number in the group, given in the order of joining. No two members have the same.
    pub member_id: u64,
    /// The name of a static member, which it keeps when it joins anew.
    pub instance_id: Option<String>,
    /// The names of the topics that it wants to read, whether they exist or not. Members that subscribe to
    /// the same may share one set, which is then seen at once; what counts is what is in it.
    pub topics: Arc<BTreeSet<String>>,
    /// The partitions that it has now. This may be out of date: partitions that do not exist, that another
    /// member has too, or of topics that it does not subscribe to any more.
    pub owned: Vec<TopicPartition>,
}

impl MemberSubscription {
    /// A dynamic member that has nothing yet.
    #[must_use]
    pub fn new(member_id: u64, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let topics = Arc::new(topics.into_iter().map(Into::into).collect());
        Self { member_id, instance_id: None, topics, owned: Vec::new() }
    }

    /// The same as a static member of this name.
    #[must_use]
    pub fn instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    /// The same, having these partitions and no others.
    #[must_use]
    pub fn owned(mut self, owned: impl IntoIterator<Item = TopicPartition>) -> Self {
        self.owned = owned.into_iter().collect();
        self
    }
}

/// What an [`Assignor`] is given: all members, and the topics that exist among those they subscribe to.
///
/// ```
/// use ottla::{GroupSubscription, MemberSubscription};
///
/// let members = [
///     MemberSubscription::new(1, ["payments"]),
///     MemberSubscription::new(2, ["payments", "refunds"]).instance_id("till-2"),
///     MemberSubscription::new(3, ["payments"]).instance_id("till-1"),
/// ];
/// let group = GroupSubscription::new([("payments", 4), ("refunds", 2)], members);
/// let order: Vec<u64> = group.members.iter().map(|member| member.member_id).collect();
/// assert_eq!(order, [3, 2, 1]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSubscription {
    /// The topics by name, with their number of partitions. What members subscribe to and is not here does
    /// not exist, and has no partitions.
    pub topics: BTreeMap<String, u32>,
    /// The members in the order in which they are served: static ones first, by instance id, so that they
    /// keep their place when they join anew; then dynamic ones, by member id.
    pub members: Vec<MemberSubscription>,
}

impl GroupSubscription {
    /// A group of these members, put in order.
    #[must_use]
    pub fn new(
        topics: impl IntoIterator<Item = (impl Into<String>, u32)>,
        members: impl IntoIterator<Item = MemberSubscription>,
    ) -> Self {
        let topics = topics.into_iter().map(|(name, partitions)| (name.into(), partitions)).collect();
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_by(|a, b| place(a).cmp(&place(b)));
        Self { topics, members }
    }
}

/// What a group's members are ordered by.
fn place(member: &MemberSubscription) -> (bool, Option<&str>, u64) {
    (member.instance_id.is_none(), member.instance_id.as_deref(), member.member_id)
}

/// Says what is wrong with an assignment: assignors may be the user's own, and no partition may be read
/// twice.
pub(crate) fn check(group: &GroupSubscription, assignment: &Assignment) -> Result<(), String> {
    let members: BTreeMap<u64, _> = group.members.iter().map(|member| (member.member_id, member)).collect();
    let mut given = HashSet::new();
    for (id, partitions) in assignment {
        let Some(member) = members.get(id) else {
            return Err(format!("member {id} is not in the group"));
        };
        for at in partitions {
            if group.topics.get(&at.topic).is_none_or(|&partitions| at.partition >= partitions) {
                return Err(format!("{at}, given to member {id}, does not exist"));
            }
            if !member.topics.contains(&at.topic) {
                return Err(format!("{at} is given to member {id}, which does not subscribe to its topic"));
            }
            if !given.insert(at) {
                return Err(format!("{at} is given twice, the second time to member {id}"));
            }
        }
    }
    Ok(())
}
