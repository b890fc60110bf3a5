//! As even as can be, and otherwise as it was.
//!
//! Three steps. Members *keep* what they have. What nobody has is *dealt*, each partition to the subscriber
//! that has the least. Then those who have the most *give* to those who have the least, until that makes
//! nothing more even.
//!
//! If there is one audience, anybody can give to anybody. A giver then is among those with the most, its
//! receiver among those with the least, and they differ by at least two. Since the least never becomes less
//! and the most never more, nobody who receives gives later, and nobody gives below what is left to it in
//! the end; so no partition moves without need. Each gift costs two logarithms.
//!
//! With several audiences, members can give only to subscribers; but they can pass things on: see `chains`,
//! where it also stands why that ends with the group as even as it can be.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::chains::Chains;
use super::numbered::Numbered;
use super::{Assignment, Assignor, GroupSubscription};

/// Gives each member as many partitions as any other, as far as subscriptions allow; and within that, lets
/// members keep what they have. Choose it if a reader loses something with a partition, a cache or a
/// half-made sum, or if members come and go.
///
/// * Every partition that somebody subscribes to has an owner.
/// * If all members subscribe to the same topics, no one has more than one partition more than another, and
///   no more partitions change hands than that takes.
/// * If they subscribe to different topics, the numbers are as even as can be: no partition, and no chain of
///   partitions from member to member, could go from one to another that has less by two or more. A member
///   gives up a partition only for that, and never one of a topic of which it is given another. Nearly
///   always these are the fewest that can be, which is not promised.
/// * To assign again what was assigned changes nothing.
///
/// Even numbers come first. Where each member shares topics with its neighbours only, one that joins may make
/// many partitions move, for each neighbour passes something on.
///
/// A partition that several members claim to have is kept by the first in the group's order. Where nobody has
/// anything yet and all subscribe to the same topics, the answer is that of
/// [`RoundRobinAssignor`](crate::RoundRobinAssignor).
///
/// The time it takes grows with members and partitions, times the logarithm of their number, if all subscribe
/// to the same topics. If not, with the number of partitions that change hands times that of all partitions
/// and subscriptions at most, and by far less as a rule.
///
/// ```
/// use ottla::{Assignor, GroupSubscription, MemberSubscription, StickyAssignor, TopicPartition};
///
/// let payments = |partition| TopicPartition::new("payments", partition);
/// let members = [
///     MemberSubscription::new(1, ["payments"]).owned([0, 1].map(payments)),
///     MemberSubscription::new(2, ["payments"]).owned([2, 3].map(payments)),
///     MemberSubscription::new(3, ["payments"]),
/// ];
/// let assignment = StickyAssignor.assign(&GroupSubscription::new([("payments", 4)], members));
/// assert_eq!(assignment[&1], [payments(0)]);
/// assert_eq!(assignment[&2], [payments(2), payments(3)]);
/// assert_eq!(assignment[&3], [payments(1)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyAssignor;

impl Assignor for StickyAssignor {
    fn name(&self) -> &str {
        "sticky"
    }

    fn assign(&self, group: &GroupSubscription) -> Assignment {
        let numbered = Numbered::new(group);
        let mut division = Division::of_what_is_owned(group, &numbered);
        division.deal();
        if numbered.audiences().iter().filter(|members| !members.is_empty()).count() == 1 {
            division.even_out_one_audience();
        } else {
            division.even_out();
            division.take_back();
        }
        numbered.assignment(&division.owners)
    }
}

/// Who has what, while it changes.
struct Division<'a> {
    group: &'a Numbered<'a>,
    /// Who had each partition before, if that may go on.
    before: Vec<Option<usize>>,
    owners: Vec<Option<usize>>,
    /// What each member has: whether it is new to it, and the partition. What is given is the last, so that
    /// what is new goes first.
    held: Vec<BTreeSet<(bool, usize)>>,
}

impl<'a> Division<'a> {
    fn of_what_is_owned(group: &GroupSubscription, numbered: &'a Numbered<'a>) -> Self {
        let mut before = vec![None; numbered.partitions()];
        let mut held = vec![BTreeSet::new(); numbered.members()];
        for (member, subscription) in group.members.iter().enumerate() {
            for partition in subscription.owned.iter().filter_map(|at| numbered.find(at)) {
                let subscribers = numbered.subscribers(numbered.topic_of(partition));
                if before[partition].is_none() && subscribers.binary_search(&member).is_ok() {
                    before[partition] = Some(member);
                    held[member].insert((false, partition));
                }
            }
        }
        Self { group: numbered, owners: before.clone(), before, held }
    }

    /// Deals what nobody has. Topics with few subscribers first: those of the others have the choice. Topics
    /// of one audience together, so that it is put in order once.
    fn deal(&mut self) {
        let group = self.group;
        let mut topics: Vec<usize> = group.topics().collect();
        topics.sort_by_key(|&topic| (group.subscribers(topic).len(), group.audience_of(topic), topic));
        for topics in topics.chunk_by(|&a, &b| group.audience_of(a) == group.audience_of(b)) {
            let members = group.subscribers(topics[0]).iter();
            let mut least: BinaryHeap<_> =
                members.map(|&member| Reverse((self.held[member].len(), member))).collect();
            for partition in topics.iter().flat_map(|&topic| group.partitions_of(topic)) {
                if self.owners[partition].is_none()
                    && let Some(mut top) = least.peek_mut()
                {
                    top.0.0 += 1;
                    self.give(partition, top.0.1);
                }
            }
        }
    }

    fn give(&mut self, partition: usize, to: usize) {
        let is_new = |member| self.before[partition] != Some(member);
        if let Some(from) = self.owners[partition] {
            self.held[from].remove(&(is_new(from), partition));
        }
        self.held[to].insert((is_new(to), partition));
        self.owners[partition] = Some(to);
    }

    /// Those who may have partitions, by how many they have.
    fn ranking(&self) -> BTreeSet<(usize, usize)> {
        let members = self.group.audiences().iter().flatten();
        members.map(|&member| (self.held[member].len(), member)).collect()
    }

    fn even_out_one_audience(&mut self) {
        let mut ranking = self.ranking();
        while let Some(((most, from), (least, to))) = extremes(&ranking)
            && most - least >= 2
            && let Some(&(_, partition)) = self.held[from].last()
        {
            self.give(partition, to);
            move_in(&mut ranking, from, most, most - 1);
            move_in(&mut ranking, to, least, least + 1);
        }
    }

    fn even_out(&mut self) {
        let mut ranking = self.ranking();
        let mut chains = Chains::new(self.group);
        while let Some(((most, from), (least, _))) = extremes(&ranking)
            && most - least >= 2
        {
            let to = chains.least_reached(&self.held, from, least);
            let its = self.held[to].len();
            if most - its >= 2 {
                self.give_along(&chains, from, to);
                move_in(&mut ranking, from, most, most - 1);
                move_in(&mut ranking, to, its, its + 1);
            } else {
                for &member in chains.settle() {
                    ranking.remove(&(self.held[member].len(), member));
                }
            }
        }
    }

    /// From the end of the chain to its beginning.
    fn give_along(&mut self, chains: &Chains<'_>, from: usize, to: usize) {
        let mut receiver = to;
        while receiver != from
            && let Some(giver) = self.owners[chains.to(receiver)]
        {
            self.give(chains.to(receiver), receiver);
            receiver = giver;
        }
    }

    /// Several chains may have taken a partition from a member and brought it another of the same topic. It
    /// gets its own back for that one, which makes no difference to the numbers. Once through is enough: what
    /// is new to a member only becomes less.
    fn take_back(&mut self) {
        for partition in 0..self.owners.len() {
            let (Some(before), Some(owner)) = (self.before[partition], self.owners[partition]) else {
                continue;
            };
            let topic = self.group.partitions_of(self.group.topic_of(partition));
            let mut new_ones = self.held[before].range((true, topic.start)..(true, topic.end));
            if before != owner
                && let Some(&(_, instead)) = new_ones.next()
            {
                self.give(instead, owner);
                self.give(partition, before);
            }
        }
    }
}

/// The first of those with the most, and the first of those with the least.
fn extremes(ranking: &BTreeSet<(usize, usize)>) -> Option<((usize, usize), (usize, usize))> {
    let &(most, _) = ranking.last()?;
    Some((*ranking.range((most, 0)..).next()?, *ranking.first()?))
}

fn move_in(ranking: &mut BTreeSet<(usize, usize)>, member: usize, before: usize, after: usize) {
    ranking.remove(&(before, member));
    ranking.insert((after, member));
}
