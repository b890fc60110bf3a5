//! Chains of gifts: who can relieve whom when members subscribe to different topics.
//!
//! A member can give a partition only to those who subscribe to its topic, but they can give in turn. One
//! with 3 partitions may have nothing for one with 1, and yet relieve itself through one with 2 that passes
//! on something else. Such a *chain*, from a giver down to a receiver, leaves those between with as many as
//! before. A group is as even as can be exactly if no chain leads to a member that has less than the giver by
//! two or more (Harvey, Ladner, Lovász, Tamir: Semi-matchings for bipartite graphs and load balancing, 2006).
//!
//! Chains are looked for from those with the most downwards. If none from one of them leads far enough down,
//! then none does from those whom it reaches. And it stays so: a later chain that entered among these would
//! end among them, and so begin with somebody who has more than the first one had; but those are done. So
//! they are *settled* and not looked at again, and each member is part of a vain search at most once.

use std::collections::BTreeSet;

use super::numbered::Numbered;

/// Looks for chains from one member at a time, the shortest first.
pub(super) struct Chains<'a> {
    group: &'a Numbered<'a>,
    audiences: Vec<MemberSet>,
    unsettled: MemberSet,
    /// Those of the unsettled that were not found yet.
    unreached: MemberSet,
    /// Those found so far, in the order in which they were found; the first is where the search began.
    reached: Vec<usize>,
    /// The partition with which each of them was found.
    through: Vec<usize>,
    audience_seen: Vec<bool>,
}

impl<'a> Chains<'a> {
    pub(super) fn new(group: &'a Numbered<'a>) -> Self {
        let set = |members: &Vec<usize>| MemberSet::new(group.members(), members.iter().copied());
        let everybody = MemberSet::new(group.members(), 0..group.members());
        Self {
            group,
            audiences: group.audiences().iter().map(set).collect(),
            unsettled: everybody.clone(),
            unreached: everybody,
            reached: Vec::new(),
            through: vec![usize::MAX; group.members()],
            audience_seen: vec![false; group.audiences().len()],
        }
    }

    /// The member with the least that a chain from `from` leads to; of several, the one with the shortest
    /// chain. Ends as soon as it finds one with `least`, as nobody has less.
    pub(super) fn least_reached(
        &mut self,
        held: &[BTreeSet<(bool, usize)>],
        from: usize,
        least: usize,
    ) -> usize {
        self.begin(from);
        let count = |member: usize| held[member].len();
        let (mut next, mut best) = (0, from);
        while let Some(&giver) = self.reached.get(next) {
            next += 1;
            for &(_, partition) in held[giver].iter().rev() {
                for &member in self.reach_by(partition) {
                    if count(member) < count(best) {
                        best = member;
                    }
                }
                if count(best) == least {
                    return best;
                }
            }
        }
        best
    }

    /// The partition with which a chain from where the last search began arrives at a member that it found.
    /// Its giver is the one who has it.
    pub(super) fn to(&self, member: usize) -> usize {
        self.through[member]
    }

    fn begin(&mut self, from: usize) {
        self.reached.clear();
        self.reached.push(from);
        self.unreached.clone_from(&self.unsettled);
        self.unreached.remove(from);
        self.audience_seen.fill(false);
    }

    /// Those who can be given a partition and were not found before.
    fn reach_by(&mut self, partition: usize) -> &[usize] {
        let known = self.reached.len();
        let audience = self.group.audience_of(self.group.topic_of(partition));
        if !std::mem::replace(&mut self.audience_seen[audience], true) {
            self.unreached.move_common(&self.audiences[audience], &mut self.reached);
        }
        for &member in &self.reached[known..] {
            self.through[member] = partition;
        }
        &self.reached[known..]
    }

    /// Takes those who were reached out of all further searches.
    pub(super) fn settle(&mut self) -> &[usize] {
        for &member in &self.reached {
            self.unsettled.remove(member);
        }
        &self.reached
    }
}

/// Members, a bit for each.
#[derive(Clone)]
struct MemberSet(Vec<u64>);

impl MemberSet {
    fn new(of: usize, members: impl Iterator<Item = usize>) -> Self {
        let mut words = vec![0; of.div_ceil(64)];
        members.for_each(|member| words[member / 64] |= 1 << (member % 64));
        Self(words)
    }

    fn remove(&mut self, member: usize) {
        self.0[member / 64] &= !(1 << (member % 64));
    }

    /// Moves those who are in both sets from this one to the end of a list, in their order.
    fn move_common(&mut self, other: &Self, list: &mut Vec<usize>) {
        for (place, (word, other)) in self.0.iter_mut().zip(&other.0).enumerate() {
            let mut common = *word & other;
            *word &= !common;
            while common != 0 {
                list.push(place * 64 + common.trailing_zeros() as usize);
                common &= common - 1;
            }
        }
    }
}
