//! Random groups. Each case has a seed of its own, which a failure prints with the group.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::{
    Assignment, Assignor, GroupSubscription, MemberSubscription, RangeAssignor, RoundRobinAssignor,
    StickyAssignor, check,
};
use super::{oracle, settled};
use crate::ids::TopicPartition;
use crate::sync::Arc;

const SEED: u64 = 0x0771_a000;

/// Marsaglia's xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Up to `partitions` in each of up to `topics` topics.
    fn topics(&mut self, topics: usize, partitions: usize) -> Vec<(String, u32)> {
        let topics = self.below(topics + 1);
        (0..topics).map(|number| (format!("t{number}"), self.below(partitions + 1) as u32)).collect()
    }

    /// Some of the first `topics` topics, and perhaps one that does not exist.
    fn subscription(&mut self, topics: usize) -> Vec<String> {
        let mut names: Vec<_> =
            (0..topics).filter(|_| self.one_in(2)).map(|number| format!("t{number}")).collect();
        names.extend(self.one_in(4).then(|| "nowhere".to_owned()));
        names
    }

    /// Claims of any kind, with those of others among them and some to what does not exist.
    fn owned(&mut self, topics: usize, partitions: usize) -> Vec<TopicPartition> {
        let claim = |random: &mut Self| {
            let topic = format!("t{}", random.below(topics + 1));
            TopicPartition::new(topic, random.below(partitions + 1) as u32)
        };
        (0..self.below(partitions * 2 + 1)).map(|_| claim(self)).collect()
    }

    fn member(&mut self, id: u64, topics: Vec<String>, owned: Vec<TopicPartition>) -> MemberSubscription {
        let member = MemberSubscription::new(id, topics).owned(owned);
        // From a few names in no order.
        if self.one_in(4) { member.instance_id(format!("s{}-{id}", self.below(4))) } else { member }
    }

    fn group(&mut self, bounds: Bounds) -> GroupSubscription {
        let Bounds { topics, partitions, members, one_audience } = bounds;
        let existing = self.topics(topics, partitions);
        let owning = !self.one_in(4);
        let members: Vec<_> = (0..self.below(members + 1) as u64)
            .map(|id| {
                let subscription = match one_audience {
                    true => (0..topics).map(|number| format!("t{number}")).collect(),
                    false => self.subscription(topics),
                };
                let owned = if owning { self.owned(topics, partitions) } else { Vec::new() };
                self.member(id * 7 % 5 + id * 5, subscription, owned)
            })
            .collect();
        GroupSubscription::new(existing, members)
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    topics: usize,
    partitions: usize,
    members: usize,
    one_audience: bool,
}

const MIXED: Bounds = Bounds { topics: 6, partitions: 8, members: 9, one_audience: false };
const ONE_AUDIENCE: Bounds = Bounds { one_audience: true, ..MIXED };
/// More than the bits of a word.
const WIDE: Bounds = Bounds { topics: 12, partitions: 40, members: 100, one_audience: false };
/// So few that all assignments can be tried.
const TINY: Bounds = Bounds { topics: 3, partitions: 3, members: 3, one_audience: false };

/// Runs `case` for `cases` random groups.
fn for_groups(cases: u64, bounds: Bounds, case: impl Fn(&mut Random, &GroupSubscription)) {
    for seed in SEED..SEED + cases {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let group = random.group(bounds);
        // What went wrong has been printed by then.
        if catch_unwind(AssertUnwindSafe(|| case(&mut random, &group))).is_err() {
            panic!("with seed {seed:#x} and {group:#?}");
        }
    }
}

/// What holds for whatever is given to the sticky assignor.
fn assign_sticky(group: &GroupSubscription) -> Assignment {
    let assignment = StickyAssignor.assign(group);
    oracle::assert_whole(group, &assignment);
    oracle::assert_no_move_evens(group, &assignment);
    assert!(oracle::is_even(group, &assignment));
    assert_no_topic_is_exchanged(group, &assignment);
    assert_eq!(check(group, &assignment), Ok(()));
    let again = settled(group, &assignment);
    assert_eq!(StickyAssignor.assign(&again), assignment, "assigned again");
    if claimed(group).is_some_and(|claimed| oracle::is_even(group, &claimed)) {
        assert_eq!(oracle::moves(group, &assignment), 0, "it was even before");
    }
    assignment
}

/// What members have by those claims that count, if that is all that there is to be had.
fn claimed(group: &GroupSubscription) -> Option<Assignment> {
    let mut held: Assignment = group.members.iter().map(|member| (member.member_id, Vec::new())).collect();
    let claims = oracle::claims(group);
    for at in oracle::partitions(group) {
        match claims.get(&at) {
            Some(id) => held.get_mut(id)?.push(at),
            None if oracle::subscribers(group, &at.topic).next().is_some() => return None,
            None => {}
        }
    }
    Some(held)
}

/// Nobody gives up a partition and is given another of the same topic.
fn assert_no_topic_is_exchanged(group: &GroupSubscription, assignment: &Assignment) {
    let claims = oracle::claims(group);
    for (at, id) in claims.iter().filter(|(at, id)| !assignment[id].contains(at)) {
        let exchanged = |other: &&TopicPartition| other.topic == at.topic && claims.get(other) != Some(id);
        assert_eq!(assignment[id].iter().find(exchanged), None, "given to {id} for {at}");
    }
}

#[test]
fn everything_is_read_once_by_a_subscriber() {
    for bounds in [MIXED, ONE_AUDIENCE] {
        for_groups(2_000, bounds, |_, group| {
            for assignment in [RangeAssignor.assign(group), RoundRobinAssignor.assign(group)] {
                oracle::assert_whole(group, &assignment);
                assert_eq!(check(group, &assignment), Ok(()));
            }
        });
    }
}

#[test]
fn the_order_in_which_members_are_told_does_not_matter() {
    for_groups(2_000, MIXED, |random, group| {
        let mut members = group.members.clone();
        let by = random.below(members.len().max(1));
        members.rotate_left(by);
        let other = GroupSubscription::new(group.topics.clone(), members);
        assert_eq!(&other, group);
        assert_eq!(StickyAssignor.assign(&other), StickyAssignor.assign(group));
    });
}

#[test]
fn range_gives_consecutive_pieces_and_divides_like_topics_alike() {
    for_groups(4_000, MIXED, |_, group| {
        let mut group = group.clone();
        let count = group.topics.get("t0").copied().unwrap_or(3);
        group.topics.extend([("t0".to_owned(), count), ("twin".to_owned(), count)]);
        for member in group.members.iter_mut().filter(|member| member.topics.contains("t0")) {
            Arc::make_mut(&mut member.topics).insert("twin".to_owned());
        }
        let assignment = RangeAssignor.assign(&group);
        for topic in group.topics.keys() {
            assert_is_range(&group, topic, &assignment);
        }
        let numbers = |id: u64, topic| numbers_of(&assignment, id, topic);
        assert!(assignment.keys().all(|&id| numbers(id, "t0") == numbers(id, "twin")));
    });
}

fn numbers_of(assignment: &Assignment, id: u64, topic: &str) -> Vec<u32> {
    assignment[&id].iter().filter(|at| at.topic == topic).map(|at| at.partition).collect()
}

/// Laid side by side in the members' order, the pieces are the topic, and none is longer than the one before.
fn assert_is_range(group: &GroupSubscription, topic: &str, assignment: &Assignment) {
    let ids = oracle::subscribers(group, topic).map(|member| member.member_id);
    let pieces: Vec<Vec<u32>> = ids.map(|id| numbers_of(assignment, id, topic)).collect();
    let Some((first, last)) = pieces.first().zip(pieces.last()) else { return };
    assert!(pieces.iter().flatten().copied().eq(0..group.topics[topic]));
    assert!(pieces.is_sorted_by(|a, b| a.len() >= b.len()) && first.len() <= last.len() + 1);
}

#[test]
fn round_robin_deals_as_if_each_partition_looked_for_its_member() {
    for_groups(4_000, MIXED, |_, group| {
        let mut expected: Assignment =
            group.members.iter().map(|member| (member.member_id, vec![])).collect();
        let mut turns = group.members.iter().cycle();
        for at in oracle::partitions(group) {
            if oracle::subscribers(group, &at.topic).next().is_some() {
                let member = turns.find(|member| member.topics.contains(&at.topic)).expect("a subscriber");
                expected.entry(member.member_id).or_default().push(at);
            }
        }
        assert_eq!(RoundRobinAssignor.assign(group), expected);
    });
}

#[test]
fn sticky_begins_as_round_robin_in_one_audience() {
    for_groups(2_000, ONE_AUDIENCE, |_, group| {
        let fresh = settled(group, &Assignment::new());
        assert_eq!(StickyAssignor.assign(&fresh), RoundRobinAssignor.assign(&fresh));
    });
}

#[test]
fn sticky_moves_no_more_than_an_even_group_of_one_audience_needs() {
    for_groups(4_000, ONE_AUDIENCE, |_, group| {
        let assignment = assign_sticky(group);
        let counts = || assignment.values().map(Vec::len);
        if let Some((most, least)) = counts().max().zip(counts().min()) {
            assert!(most <= least + 1);
            assert_eq!(oracle::moves(group, &assignment), oracle::fewest_moves_of_one_audience(group));
        }
    });
}

#[test]
fn sticky_is_even_where_subscriptions_differ() {
    for_groups(4_000, MIXED, |_, group| {
        assign_sticky(group);
    });
}

#[test]
fn sticky_is_even_among_many_members() {
    for_groups(8, WIDE, |random, group| {
        let mut group = settled(group, &assign_sticky(group));
        live(random, &mut group, 1_000, WIDE);
        assign_sticky(&group);
    });
}

#[test]
fn sticky_is_as_even_as_the_best_of_all_assignments_and_nearly_always_moves_as_few() {
    let more_than_needed = Cell::new(0);
    for_groups(4_000, TINY, |_, group| {
        let assignment = assign_sticky(group);
        let (squares, fewest) = oracle::best_of_all(group);
        assert_eq!(oracle::squares(assignment.values().map(Vec::len)), squares);
        more_than_needed.update(|moves| moves + oracle::moves(group, &assignment) - fewest);
    });
    assert!(more_than_needed.get() <= 4, "{more_than_needed:?}");
}

#[test]
fn sticky_stays_even_through_the_life_of_a_group() {
    for bounds in [MIXED, ONE_AUDIENCE] {
        for_groups(150, bounds, |random, group| {
            let mut group = group.clone();
            for step in 0..12 {
                group = settled(&group, &assign_sticky(&group));
                live(random, &mut group, 100 + step, bounds);
            }
        });
    }
}

/// Somebody joins, leaves or subscribes to something else; a topic comes, goes or grows.
fn live(random: &mut Random, group: &mut GroupSubscription, id: u64, bounds: Bounds) {
    let place = random.below(group.members.len().max(1));
    let subscription = match bounds.one_audience {
        true => (0..bounds.topics).map(|number| format!("t{number}")).collect(),
        false => random.subscription(bounds.topics),
    };
    match random.below(6) {
        0 | 1 => group.members.push(random.member(id, subscription, Vec::new())),
        2 if !group.members.is_empty() => drop(group.members.remove(place)),
        3 if !group.members.is_empty() => {
            group.members[place].topics = Arc::new(subscription.into_iter().collect());
        }
        4 => drop(group.topics.remove(&format!("t{}", random.below(bounds.topics)))),
        _ => {
            let topic = format!("t{}", random.below(bounds.topics));
            *group.topics.entry(topic).or_default() += random.below(4) as u32;
        }
    }
    *group = GroupSubscription::new(group.topics.clone(), group.members.clone());
}

#[test]
fn a_leaving_member_moves_nothing_of_others_in_one_audience() {
    for_groups(2_000, ONE_AUDIENCE, |random, group| {
        if !group.members.is_empty() {
            let mut group = settled(group, &StickyAssignor.assign(group));
            group.members.remove(random.below(group.members.len()));
            assert_eq!(oracle::moves(&group, &assign_sticky(&group)), 0);
        }
    });
}

#[test]
fn both_ways_of_evening_out_agree_on_one_audience() {
    for_groups(2_000, ONE_AUDIENCE, |_, group| {
        let mut group = group.clone();
        let one = StickyAssignor.assign(&group);
        // Somebody alone with a topic makes a second audience, and takes no part otherwise.
        let loner = MemberSubscription::new(1_000, ["alone"]);
        group = GroupSubscription::new(
            group.topics.into_iter().chain([("alone".to_owned(), 1)]),
            group.members.into_iter().chain([loner]),
        );
        let mut two = StickyAssignor.assign(&group);
        assert_eq!(two.remove(&1_000), Some(vec![TopicPartition::new("alone", 0)]));
        assert_eq!(two, one);
    });
}
