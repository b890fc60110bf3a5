//! Each topic by itself, in consecutive pieces.

use super::numbered::Numbered;
use super::{Assignment, Assignor, GroupSubscription};

/// Gives each member a piece of each topic that it subscribes to: partitions that follow each other, equally
/// many, and one more for the first members if the number does not divide.
///
/// Topics with equally many partitions and the same subscribers are divided alike: whoever reads partition 2
/// of one also reads partition 2 of the other. Choose it for joining such topics by key. With many topics of
/// few partitions the first members have more to do than the last. What members have is not regarded: when
/// one joins or leaves, most partitions may move.
///
/// ```
/// use ottla::{Assignor, GroupSubscription, MemberSubscription, RangeAssignor, TopicPartition};
///
/// let members = [1, 2].map(|id| MemberSubscription::new(id, ["orders", "payments"]));
/// let group = GroupSubscription::new([("orders", 3), ("payments", 3)], members);
/// let assignment = RangeAssignor.assign(&group);
/// let second = [TopicPartition::new("orders", 2), TopicPartition::new("payments", 2)];
/// assert_eq!(assignment[&2], second);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, group: &GroupSubscription) -> Assignment {
        let group = Numbered::new(group);
        let mut owners = vec![None; group.partitions()];
        for topic in group.topics() {
            let (mut partitions, subscribers) = (group.partitions_of(topic), group.subscribers(topic));
            let total = partitions.len();
            for (place, &member) in subscribers.iter().enumerate().take(total) {
                let one_more = usize::from(place < total % subscribers.len());
                for partition in partitions.by_ref().take(total / subscribers.len() + one_more) {
                    owners[partition] = Some(member);
                }
            }
        }
        group.assignment(&owners)
    }
}
