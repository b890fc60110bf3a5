//! The assignors in the box: situations with known answers, and random groups judged by an oracle that works
//! on names and shares no code with them.

use super::*;

mod known;
mod oracle;
mod random;

fn at(text: &str) -> TopicPartition {
    let (topic, partition) = text.rsplit_once('-').expect("a topic and a number");
    TopicPartition::new(topic, partition.parse().expect("a number"))
}

/// From words, as `t1-0 t1-2`.
fn list(text: &str) -> Vec<TopicPartition> {
    text.split_whitespace().map(at).collect()
}

/// A member from its topics and what it has, both in words.
fn member(id: u64, topics: &str, owned: &str) -> MemberSubscription {
    MemberSubscription::new(id, topics.split_whitespace()).owned(list(owned))
}

/// The group one step later: every member has what it was given.
fn settled(group: &GroupSubscription, assignment: &Assignment) -> GroupSubscription {
    let mut next = group.clone();
    for member in &mut next.members {
        member.owned = assignment.get(&member.member_id).cloned().unwrap_or_default();
    }
    next
}
