//! All partitions in turn, as cards are dealt.

use super::numbered::Numbered;
use super::{Assignment, Assignor, GroupSubscription};

/// Deals all partitions, sorted by topic and number, one after another to the members in their order; members
/// that do not subscribe to a partition's topic are passed over.
///
/// If all subscribe to the same topics, no member has more than one partition more than another. If not, one
/// may have many more: [`StickyAssignor`](crate::StickyAssignor) is better at that. What members have is not
/// regarded: when one joins or leaves, most partitions may move. Choose it if partitions may move freely.
///
/// ```
/// use ottla::{Assignor, GroupSubscription, MemberSubscription, RoundRobinAssignor, TopicPartition};
///
/// let members = [1, 2].map(|id| MemberSubscription::new(id, ["orders", "payments"]));
/// let group = GroupSubscription::new([("orders", 1), ("payments", 2)], members);
/// let assignment = RoundRobinAssignor.assign(&group);
/// assert_eq!(assignment[&1], [TopicPartition::new("orders", 0), TopicPartition::new("payments", 1)]);
/// assert_eq!(assignment[&2], [TopicPartition::new("payments", 0)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobinAssignor;

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, group: &GroupSubscription) -> Assignment {
        let group = Numbered::new(group);
        let mut owners = vec![None; group.partitions()];
        let mut turn = 0;
        for topic in group.topics() {
            for partition in group.partitions_of(topic) {
                owners[partition] = next_from(group.subscribers(topic), turn);
                turn = owners[partition].map_or(turn, |member| member + 1);
            }
        }
        group.assignment(&owners)
    }
}

/// The first of `subscribers`, which are sorted, whose turn it is from `turn` on; after the last comes the
/// first.
fn next_from(subscribers: &[usize], turn: usize) -> Option<usize> {
    let place = subscribers.partition_point(|&member| member < turn);
    subscribers.get(place).or_else(|| subscribers.first()).copied()
}
