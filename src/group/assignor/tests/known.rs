//! Situations with known answers, many of them those by which Kafka's documentation explains its assignors.

use super::super::{
    Assignor, GroupSubscription, MemberSubscription, RangeAssignor, RoundRobinAssignor, StickyAssignor, check,
};
use super::{at, list, member, settled};
use crate::sync::Arc;

/// Members get the ids 1, 2, ..; `expected` is what they are given, in words.
#[track_caller]
fn expect(assignor: &dyn Assignor, group: &GroupSubscription, expected: &[&str]) {
    let expected = group.members.iter().zip(expected).map(|(member, text)| (member.member_id, list(text)));
    assert_eq!(assignor.assign(group), expected.collect(), "{}", assignor.name());
}

fn group(topics: &[(&str, u32)], members: impl IntoIterator<Item = MemberSubscription>) -> GroupSubscription {
    GroupSubscription::new(topics.iter().copied(), members)
}

#[test]
fn two_members_share_two_partitions() {
    let group = group(&[("t1", 2)], [member(1, "t1", ""), member(2, "t1", "")]);
    expect(&RangeAssignor, &group, &["t1-0", "t1-1"]);
    expect(&RoundRobinAssignor, &group, &["t1-0", "t1-1"]);
    expect(&StickyAssignor, &group, &["t1-0", "t1-1"]);
}

#[test]
fn only_one_of_three_members_subscribes_to_the_second_topic() {
    let members = [member(1, "t1", ""), member(2, "t1 t2", ""), member(3, "t1", "")];
    let group = group(&[("t1", 3), ("t2", 2)], members);
    expect(&RangeAssignor, &group, &["t1-0", "t1-1 t2-0 t2-1", "t1-2"]);
    expect(&RoundRobinAssignor, &group, &["t1-0", "t1-1 t2-0 t2-1", "t1-2"]);
    expect(&StickyAssignor, &group, &["t1-0 t1-2", "t2-0 t2-1", "t1-1"]);
}

#[test]
fn two_members_share_two_topics() {
    let group = group(&[("t1", 3), ("t2", 3)], [1, 2].map(|id| member(id, "t1 t2", "")));
    expect(&RangeAssignor, &group, &["t1-0 t1-1 t2-0 t2-1", "t1-2 t2-2"]);
    expect(&RoundRobinAssignor, &group, &["t1-0 t1-2 t2-1", "t1-1 t2-0 t2-2"]);
    expect(&StickyAssignor, &group, &["t1-0 t1-2 t2-1", "t1-1 t2-0 t2-2"]);
}

#[test]
fn a_third_member_is_given_one_partition_and_nothing_else_moves() {
    let members = [member(1, "t1 t2", "t1-0 t2-0"), member(2, "t1 t2", "t1-1 t2-1"), member(3, "t1 t2", "")];
    expect(&StickyAssignor, &group(&[("t1", 2), ("t2", 2)], members), &["t1-0", "t1-1 t2-1", "t2-0"]);
}

#[test]
fn what_a_leaving_member_had_is_dealt_and_nothing_else_moves() {
    let topics = [("t0", 2), ("t1", 2), ("t2", 2), ("t3", 2)];
    let three = group(&topics, [1, 2, 3].map(|id| member(id, "t0 t1 t2 t3", "")));
    let dealt = ["t0-0 t1-1 t3-0", "t0-1 t2-0 t3-1", "t1-0 t2-1"];
    expect(&RoundRobinAssignor, &three, &dealt);
    expect(&StickyAssignor, &three, &dealt);

    let mut two = settled(&three, &StickyAssignor.assign(&three));
    two.members.remove(1);
    expect(&RoundRobinAssignor, &two, &["t0-0 t1-0 t2-0 t3-0", "t0-1 t1-1 t2-1 t3-1"]);
    expect(&StickyAssignor, &two, &["t0-0 t1-1 t2-0 t3-0", "t0-1 t1-0 t2-1 t3-1"]);
}

#[test]
fn round_robin_may_be_uneven_where_sticky_is_not() {
    let members = [member(1, "t0", ""), member(2, "t0 t1", ""), member(3, "t0 t1 t2", "")];
    let three = group(&[("t0", 1), ("t1", 2), ("t2", 3)], members);
    expect(&RoundRobinAssignor, &three, &["t0-0", "t1-0", "t1-1 t2-0 t2-1 t2-2"]);
    expect(&StickyAssignor, &three, &["t0-0", "t1-0 t1-1", "t2-0 t2-1 t2-2"]);

    let mut two = settled(&three, &StickyAssignor.assign(&three));
    two.members.remove(0);
    expect(&RoundRobinAssignor, &two, &["t0-0 t1-1", "t1-0 t2-0 t2-1 t2-2"]);
    expect(&StickyAssignor, &two, &["t0-0 t1-0 t1-1", "t2-0 t2-1 t2-2"]);
}

#[test]
fn surplus_members_have_nothing() {
    let group = group(&[("t", 2)], [1, 2, 3].map(|id| member(id, "t", "")));
    expect(&RangeAssignor, &group, &["t-0", "t-1", ""]);
    expect(&RoundRobinAssignor, &group, &["t-0", "t-1", ""]);
    expect(&StickyAssignor, &group, &["t-0", "t-1", ""]);
}

#[test]
fn groups_without_members_topics_or_partitions_are_answered() {
    let assignors: [&dyn Assignor; 3] = [&RangeAssignor, &RoundRobinAssignor, &StickyAssignor];
    for assignor in assignors {
        assert!(assignor.assign(&group(&[("t", 2)], [])).is_empty());
        let nothing = [(1, vec![]), (2, vec![])];
        for topics in [&[][..], &[("t", 0)], &[("other", 2)]] {
            let members = [member(1, "t", "t-0"), member(2, "", "")];
            assert_eq!(assignor.assign(&group(topics, members)), nothing.clone().into());
        }
    }
}

#[test]
fn assignors_have_kafkas_names() {
    assert_eq!((RangeAssignor.name(), RoundRobinAssignor.name()), ("range", "roundrobin"));
    assert_eq!(StickyAssignor.name(), "sticky");
}

#[test]
fn static_members_come_first_and_keep_their_place_when_they_join_anew() {
    let members = |b, c| {
        let (b, c) = (member(b, "t", "").instance_id("b"), member(c, "t", "").instance_id("c"));
        [member(1, "t", ""), c, b]
    };
    expect(&RangeAssignor, &group(&[("t", 4)], members(5, 2)), &["t-0 t-1", "t-2", "t-3"]);
    let again = group(&[("t", 4)], members(9, 2));
    assert_eq!(again.members[0].member_id, 9);
    expect(&RangeAssignor, &again, &["t-0 t-1", "t-2", "t-3"]);
}

#[test]
fn a_partition_that_two_members_claim_is_kept_by_the_first() {
    let members = [member(1, "t", "t-0 t-1"), member(2, "t", "t-1 t-2 t-2"), member(3, "t", "t-2 t-0")];
    expect(&StickyAssignor, &group(&[("t", 4)], members), &["t-0 t-1", "t-2", "t-3"]);
}

#[test]
fn claims_to_what_does_not_exist_or_is_not_subscribed_to_count_for_nothing() {
    let members = [member(1, "t u gone", "t-0 t-7 gone-0 w-0"), member(2, "t u", "t-1 v-0 v-1 v-2")];
    let group = group(&[("t", 2), ("u", 2), ("v", 3)], members);
    expect(&StickyAssignor, &group, &["t-0 u-0", "t-1 u-1"]);
}

#[test]
fn a_member_that_unsubscribes_from_a_topic_gives_up_its_partitions_and_gets_others() {
    let members = [member(1, "u", "t-0 u-0"), member(2, "t u", "t-1 u-1")];
    expect(&StickyAssignor, &group(&[("t", 2), ("u", 2)], members), &["u-0 u-1", "t-0 t-1"]);
}

#[test]
fn partitions_pass_through_a_member_that_keeps_its_number() {
    let members = [member(1, "t", "t-0 t-1 t-2"), member(2, "t u", "u-0 u-1"), member(3, "u", "u-2")];
    expect(&StickyAssignor, &group(&[("t", 3), ("u", 3)], members), &["t-0 t-1", "t-2 u-0", "u-1 u-2"]);
}

#[test]
fn what_nobody_had_is_passed_on_before_what_somebody_had() {
    // The first member is given one of `a` and then both of `b`, and so has too many.
    let members = [
        member(1, "a b d", "d-0"),
        member(2, "a d", ""),
        member(3, "b big", "big-0 big-1 big-2 big-3"),
        member(4, "b big", "big-4 big-5 big-6 big-7"),
    ];
    let group = group(&[("a", 2), ("b", 2), ("big", 8), ("d", 1)], members);
    let others = ["big-0 big-1 big-2 big-3", "big-4 big-5 big-6 big-7"];
    expect(&StickyAssignor, &group, &["b-0 b-1 d-0", "a-0 a-1", others[0], others[1]]);
}

#[test]
fn equal_sets_of_topics_need_not_be_shared() {
    let mut shared = group(&[("t", 3), ("u", 4)], [1, 2, 3].map(|id| member(id, "t u", "")));
    let apart = shared.clone();
    assert_eq!(StickyAssignor.assign(&shared), StickyAssignor.assign(&apart));
    let topics = Arc::clone(&shared.members[0].topics);
    for member in &mut shared.members {
        member.topics = Arc::clone(&topics);
    }
    assert_eq!(shared, apart);
    assert_eq!(StickyAssignor.assign(&shared), StickyAssignor.assign(&apart));
}

#[test]
fn a_check_names_what_is_wrong() {
    let group = group(&[("t", 2), ("u", 1)], [member(1, "t gone", ""), member(2, "t u", "")]);
    let problem = |one: &str, two: &str| check(&group, &[(1, list(one)), (2, list(two))].into());
    assert_eq!(problem("t-0", "t-1 u-0"), Ok(()));
    assert_eq!(problem("", "t-1"), Ok(()));
    let says = |one, two, what: &str| assert_eq!(problem(one, two), Err(what.to_owned()));
    says("t-2", "", "t-2, given to member 1, does not exist");
    says("", "v-0", "v-0, given to member 2, does not exist");
    says("gone-0", "", "gone-0, given to member 1, does not exist");
    says("u-0", "", "u-0 is given to member 1, which does not subscribe to its topic");
    says("t-0", "u-0 t-0", "t-0 is given twice, the second time to member 2");
    says("t-1 t-1", "", "t-1 is given twice, the second time to member 1");
    let stranger = [(3, vec![at("t-0")])].into();
    assert_eq!(check(&group, &stranger), Err("member 3 is not in the group".to_owned()));
}
