//! What an assignment must be, said once more and slowly.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Assignment, GroupSubscription, MemberSubscription};
use crate::ids::TopicPartition;

/// All partitions that exist.
pub(super) fn partitions(group: &GroupSubscription) -> Vec<TopicPartition> {
    let of_topic = |(name, &count): (&String, &u32)| {
        (0..count).map(|partition| TopicPartition::new(name, partition)).collect::<Vec<_>>()
    };
    group.topics.iter().flat_map(of_topic).collect()
}

pub(super) fn subscribers<'a>(
    group: &'a GroupSubscription,
    topic: &str,
) -> impl Iterator<Item = &'a MemberSubscription> {
    group.members.iter().filter(move |member| member.topics.contains(topic))
}

/// Whose claim to each partition counts: that of the first subscriber that makes one.
pub(super) fn claims(group: &GroupSubscription) -> BTreeMap<TopicPartition, u64> {
    let first = |at: TopicPartition| {
        let member = subscribers(group, &at.topic).find(|member| member.owned.contains(&at))?;
        Some((at, member.member_id))
    };
    partitions(group).into_iter().filter_map(first).collect()
}

/// Each partition that somebody subscribes to has one owner, which subscribes to it; everybody is named; the
/// lists are sorted.
pub(super) fn assert_whole(group: &GroupSubscription, assignment: &Assignment) {
    let ids: BTreeSet<u64> = group.members.iter().map(|member| member.member_id).collect();
    assert!(assignment.keys().eq(&ids));
    let mut holders = BTreeMap::<&TopicPartition, Vec<u64>>::new();
    for (&id, list) in assignment {
        list.iter().for_each(|at| holders.entry(at).or_default().push(id));
    }
    for at in partitions(group) {
        let holders = holders.remove(&at).unwrap_or_default();
        let subscribed: Vec<u64> = subscribers(group, &at.topic).map(|member| member.member_id).collect();
        assert_eq!(holders.len(), usize::from(!subscribed.is_empty()), "{at}");
        assert!(holders.iter().all(|id| subscribed.contains(id)), "{at}");
    }
    assert!(holders.is_empty(), "{holders:?} do not exist");
    assert!(assignment.values().all(|list| list.is_sorted()));
}

/// No partition could go to a subscriber that has less by at least two.
pub(super) fn assert_no_move_evens(group: &GroupSubscription, assignment: &Assignment) {
    for (giver, list) in assignment {
        for at in list {
            for receiver in subscribers(group, &at.topic) {
                let its = assignment[&receiver.member_id].len();
                assert!(list.len() <= its + 1, "{at} from {giver} to {}", receiver.member_id);
            }
        }
    }
}

/// Whether no chain of partitions could go from one member to one that has less by at least two: by the
/// transitive closure of who could give to whom.
pub(super) fn is_even(group: &GroupSubscription, held: &Assignment) -> bool {
    let members = &group.members;
    let gives = |a: &MemberSubscription, b: &MemberSubscription| {
        held[&a.member_id].iter().any(|at| b.topics.contains(&at.topic))
    };
    let row = |a| members.iter().map(|b| gives(a, b)).collect::<Vec<_>>();
    let mut reaches: Vec<Vec<bool>> = members.iter().map(row).collect();
    for through in 0..members.len() {
        let onwards = reaches[through].clone();
        for row in reaches.iter_mut().filter(|row| row[through]) {
            row.iter_mut().zip(&onwards).for_each(|(to, &on)| *to |= on);
        }
    }
    let count = |member: &MemberSubscription| held[&member.member_id].len();
    let fits = |a: usize, b: usize| !reaches[a][b] || count(&members[a]) <= count(&members[b]) + 1;
    (0..members.len()).all(|a| (0..members.len()).all(|b| fits(a, b)))
}

/// How many partitions did not stay with the member whose claim counts.
pub(super) fn moves(group: &GroupSubscription, assignment: &Assignment) -> usize {
    claims(group).iter().filter(|(at, id)| !assignment[id].contains(at)).count()
}

/// The fewest moves that lead to an even group if all subscribe to the same topics: those with the most may
/// keep the number that divides upwards, as many of them as there are such numbers.
pub(super) fn fewest_moves_of_one_audience(group: &GroupSubscription) -> usize {
    let claims = claims(group);
    let count = |member: &MemberSubscription| claims.values().filter(|id| **id == member.member_id).count();
    let mut counts: Vec<usize> = group.members.iter().map(count).collect();
    counts.sort_by(|a, b| b.cmp(a));
    let all = partitions(group).len();
    let (each, one_more) = (all / counts.len(), all % counts.len());
    let quota = |place| each + usize::from(place < one_more);
    counts.iter().enumerate().map(|(place, count)| count.saturating_sub(quota(place))).sum()
}

/// The sum of squares that an even group has, and the fewest moves that lead to one: by trying everything.
pub(super) fn best_of_all(group: &GroupSubscription) -> (usize, usize) {
    let claims = claims(group);
    let all = partitions(group);
    let choices: Vec<(Option<&u64>, Vec<u64>)> = all
        .iter()
        .map(|at| (claims.get(at), subscribers(group, &at.topic).map(|member| member.member_id).collect()))
        .filter(|(_, subscribed): &(_, Vec<u64>)| !subscribed.is_empty())
        .collect();
    let mut best = (usize::MAX, usize::MAX);
    let mut digits = vec![0; choices.len()];
    loop {
        let mut counts = BTreeMap::<u64, usize>::new();
        let mut moved = 0;
        for (&digit, (claim, subscribed)) in digits.iter().zip(&choices) {
            *counts.entry(subscribed[digit]).or_default() += 1;
            moved += usize::from(claim.is_some_and(|&id| id != subscribed[digit]));
        }
        best = best.min((squares(counts.into_values()), moved));
        let Some(place) = (0..digits.len()).find(|&place| digits[place] + 1 < choices[place].1.len()) else {
            return best;
        };
        digits[..place].fill(0);
        digits[place] += 1;
    }
}

pub(super) fn squares(counts: impl Iterator<Item = usize>) -> usize {
    counts.map(|count| count * count).sum()
}
