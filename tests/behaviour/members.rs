//! Groups of several members: who reads what, and how partitions change hands.

use std::collections::{BTreeMap, BTreeSet};

use ottla::{
    Assignment, Assignor, Error, GroupState, GroupSubscription, RangeAssignor, RoundRobinAssignor,
    TopicConfig, TopicPartition,
};

use crate::support::*;

// ---- joining and leaving ----

#[test]
fn partitions_are_divided_among_the_members() {
    on_both(|broker| {
        make(broker, "t", 6);
        let mut members = [0, 1, 2].map(|_| member(broker));
        settle(broker, &mut members.each_mut());
        let all: BTreeSet<String> = members.iter().flat_map(assigned).collect();
        assert_eq!(all.len(), 6);
        assert!(members.iter().all(|member| assigned(member).len() == 2));
    });
}

#[test]
fn each_record_is_processed_by_one_member_and_by_one_of_each_group() {
    on_both(|broker| {
        make(broker, "t", 4);
        let mut members = [0, 1, 2].map(|_| member(broker));
        settle(broker, &mut members.each_mut());
        let mut other = broker.consumer::<(), String>().topic("t").group("other").build().expect("builds");
        for _ in 0..3 {
            send_to_each(broker);
            let mut all: Vec<String> = members.iter_mut().flat_map(work_off).collect();
            all.sort();
            assert_eq!(all, ["p0", "p1", "p2", "p3"]);
        }
        assert_eq!(work_off(&mut other).len(), 12);
    });
}

#[test]
fn a_member_more_than_there_are_partitions_waits_and_steps_in() {
    on_both(|broker| {
        make(broker, "t", 1);
        let mut first = member(broker);
        let mut second = member(broker);
        settle(broker, &mut [&mut first, &mut second]);
        assert!(assigned(&second).is_empty());
        assert!(second.poll(NOW).expect("nothing").is_empty());
        let waiting = watched("a member without a partition", move || {
            second.poll(FOREVER).map(|records| records.len())
        });
        let_it_sleep();
        drop(first);
        send_to(broker, 0, "v");
        assert_eq!(waiting.wait().expect("it has the partition now"), 1);
    });
}

#[test]
fn a_partition_changes_hands_when_its_owner_polls_and_not_before() {
    on_both(|broker| {
        make(broker, "t", 2);
        let mut first = member(broker);
        let mut second = member(broker);
        for _ in 0..3 {
            drop(second.poll(NOW).expect("polls"));
            assert!(assigned(&second).is_empty(), "the first is not done with it");
        }
        send_to_each(broker);
        let records = first.poll(NOW).expect("records");
        assert_eq!(assigned(&first).len(), 1, "it was done with everything");
        assert_eq!(records.len(), 1);
        assert_eq!(work_off(&mut second).len(), 1);
    });
}

#[test]
fn the_new_owner_begins_behind_what_the_old_one_committed() {
    on_both(|broker| {
        make(broker, "t", 2);
        (0..5).for_each(|_| send_to_each(broker));
        let mut first = builder(broker).max_records(3).build().expect("builds");
        for _ in 0..2 {
            let records = first.poll(NOW).expect("records");
            first.commit(&records).expect("commits");
        }
        let committed = committed(broker, "g");
        let mut second = member(broker);
        assert!(first.poll(NOW).is_ok(), "it gives one up");
        let records = second.poll(NOW).expect("takes it");
        let moved = second.assignment().remove(0);
        let rest: Vec<u64> = records.iter().map(|record| record.offset()).collect();
        assert_eq!(rest, (committed[&moved]..5).collect::<Vec<_>>());
    });
}

#[test]
fn uncommitted_records_come_again_to_the_new_owner_and_committed_ones_do_not() {
    on_both(|broker| {
        make(broker, "t", 1);
        (0..3).for_each(|_| send_to_each(broker));
        let mut first = member(broker);
        let records = first.poll(NOW).expect("records");
        first.commit_through(&records.iter().next().expect("three")).expect("commits");
        drop(first);
        assert_eq!(offsets(&drain(&mut member(broker))), [1, 2]);
    });
}

#[test]
fn members_may_come_and_go_while_others_poll() {
    on_both(|broker| {
        make(broker, "t", 8);
        let staying = broker.clone();
        let reader = watched("a member that stays", move || {
            let mut consumer = member(&staying);
            let mut values = Vec::new();
            while !values.iter().any(|value| value == "last") {
                let records = consumer.poll(FOREVER).expect("readable");
                values.extend(polled(&records).into_iter().map(str::to_owned));
                consumer.commit(&records).expect("it has what it polled");
            }
            values
        });
        let mut others = Vec::new();
        for round in 0..20 {
            let mut passing = member(broker);
            send_to(broker, round % 8, &format!("v{round}"));
            others.extend(work_off(&mut passing));
            if round % 3 == 0 {
                passing.close().expect("nothing to commit");
            }
        }
        send_to(broker, 0, "last");
        let mut all = reader.wait();
        all.extend(others);
        all.sort();
        let mut expected: Vec<String> = (0..20).map(|round| format!("v{round}")).collect();
        expected.push("last".to_owned());
        expected.sort();
        assert_eq!(all, expected, "each once");
    });
}

#[test]
fn only_what_must_move_moves() {
    on_both(|broker| {
        make(broker, "t", 6);
        let (mut a, mut b) = (member(broker), member(broker));
        settle(broker, &mut [&mut a, &mut b]);
        let before = [assigned(&a), assigned(&b)];
        let mut c = member(broker);
        settle(broker, &mut [&mut a, &mut b, &mut c]);
        for (now, before) in [&a, &b].into_iter().zip(&before) {
            assert!(assigned(now).iter().all(|kept| before.contains(kept)), "it was given nothing new");
            assert_eq!(assigned(now).len(), 2);
        }
        drop(c);
        settle(broker, &mut [&mut a, &mut b]);
        for (now, before) in [&a, &b].into_iter().zip(&before) {
            let kept = before.iter().filter(|partition| assigned(now).contains(partition)).count();
            assert!(kept >= 2);
        }
    });
}

#[test]
fn a_poll_that_sleeps_gives_up_what_it_must() {
    on_both(|broker| {
        make(broker, "t", 2);
        let mut first = member(broker);
        let wake = first.wake_handle();
        let sleeping = watched("the first member", move || {
            assert_fails!(first.poll(FOREVER), Error::Woken);
            assigned(&first).len()
        });
        let_it_sleep();
        let mut second = member(broker);
        while assigned(&second).is_empty() {
            drop(second.poll(std::time::Duration::from_millis(10)).expect("polls"));
        }
        wake.wake();
        assert_eq!(sleeping.wait(), 1);
    });
}

#[test]
fn tasks_are_members_too() {
    on_both(|broker| {
        make(broker, "t", 2);
        let mut first = member(broker);
        let mut second = member(broker);
        let awaited = watched("a task", move || {
            block_on(async {
                let records = second.next_records().await.expect("readable");
                second.commit_async(&records).await.expect("kept");
                (records.len(), assigned(&second).len())
            })
        });
        let_it_sleep();
        assert!(first.poll(NOW).expect("gives up half").is_empty());
        send_to_each(broker);
        assert_eq!(awaited.wait(), (1, 1));
        assert_eq!(work_off(&mut first).len(), 1);
        assert_eq!(committed(broker, "g").into_values().collect::<Vec<_>>(), [1, 1]);
    });
}

/// Which has only just begun to be written.
#[test]
fn who_takes_over_begins_behind_a_commit_that_is_on_its_way() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_to(broker, 0, "v");
        for _ in 0..50 {
            let mut first = member(broker);
            let records = first.poll(NOW).expect("readable");
            let under_way = first.commit_async(&records);
            drop(first);
            let next = member(broker).position("t", 0).expect("assigned");
            assert_eq!(next, broker.describe_topic("t").expect("it exists").partitions[0].end_offset);
            block_on(under_way).expect("kept");
            send_to(broker, 0, "v");
        }
    });
}

// ---- late commits ----

#[test]
fn what_was_polled_before_a_partition_was_given_up_cannot_be_committed_any_more() {
    on_both(|broker| {
        make(broker, "t", 2);
        send_to_each(broker);
        let mut first = member(broker);
        let records = first.poll(NOW).expect("two");
        let mut second = member(broker);
        drop(first.poll(NOW).expect("gives one up"));
        drop(second.poll(NOW).expect("takes it"));
        let moved = second.assignment().remove(0);
        assert_fails!(first.commit(&records), Error::CommitFenced { partition, .. } if partition == moved);
        assert!(broker.committed_offsets("g").is_empty(), "all or nothing");
        for record in &records {
            let outcome = first.commit_through(&record);
            assert_eq!(outcome.is_err(), record.partition() == moved.partition);
        }
        assert_fails!(block_on(first.commit_async(&records)), Error::CommitFenced { .. });
    });
}

#[test]
fn not_even_by_the_same_member_when_it_has_the_partition_again() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_to(broker, 0, "v");
        let mut first = builder(broker).assignor(Turns).build().expect("builds");
        let records = first.poll(NOW).expect("one");
        let mut second = builder(broker).assignor(Turns).build().expect("builds");
        drop(first.poll(NOW).expect("gives it up"));
        assert!(assigned(&first).is_empty());
        send_to(broker, 0, "w");
        assert_eq!(work_off(&mut second).len(), 2);
        drop(second);
        drop(first.poll(NOW).expect("has it again"));
        assert_fails!(first.commit(&records), Error::CommitFenced { .. });
        assert_eq!(committed(broker, "g").into_values().collect::<Vec<_>>(), [2]);
    });
}

/// Gives everything to the member that joined last.
struct Turns;

impl Assignor for Turns {
    fn name(&self) -> &str {
        "turns"
    }

    fn assign(&self, group: &GroupSubscription) -> Assignment {
        let last = group.members.iter().map(|member| member.member_id).max().unwrap_or_default();
        let all = group.topics.iter().flat_map(|(topic, &count)| {
            (0..count).map(|partition| TopicPartition::new(topic.clone(), partition))
        });
        Assignment::from([(last, all.collect())])
    }
}

// ---- assignors ----

#[test]
fn the_assignors_in_the_box_divide_as_they_promise() {
    on_both(|broker| {
        make(broker, "t", 3);
        make(broker, "u", 3);
        let both = || broker.consumer::<(), String>().topics(["t", "u"]).group("g");
        let mut range = [0, 1].map(|_| both().assignor(RangeAssignor).build().expect("builds"));
        settle(broker, &mut range.each_mut());
        assert_eq!(assigned(&range[0]), ["t-0", "t-1", "u-0", "u-1"]);
        assert_fails!(
            both().assignor(RoundRobinAssignor).build(),
            Error::AssignorMismatch { existing, requested, .. }
                if existing == "range" && requested == "roundrobin"
        );
        drop(range);
        let mut robin = [0, 1].map(|_| both().assignor(RoundRobinAssignor).build().expect("builds"));
        settle(broker, &mut robin.each_mut());
        assert_eq!(assigned(&robin[0]), ["t-0", "t-2", "u-1"]);
        assert_eq!(broker.describe_group("g").expect("it has members").assignor, "roundrobin");
    });
}

/// Gives the same partition to all.
struct Greedy;

impl Assignor for Greedy {
    fn name(&self) -> &str {
        "greedy"
    }

    fn assign(&self, group: &GroupSubscription) -> Assignment {
        let first = || vec![TopicPartition::new("t", 0)];
        group.members.iter().map(|member| (member.member_id, first())).collect()
    }
}

#[test]
fn an_assignor_that_gives_a_partition_to_two_is_told_of_and_changes_nothing() {
    on_both(|broker| {
        make(broker, "t", 1);
        let mut first = builder(broker).assignor(Greedy).build().expect("alone it is right");
        let second = builder(broker).assignor(Greedy).build();
        assert_fails!(second, Error::InvalidAssignment { assignor, .. } if assignor == "greedy");
        drop(first.poll(NOW).expect("the second is gone again"));
        assert_eq!(assigned(&first), ["t-0"]);
    });
}

// ---- what is told ----

#[test]
fn a_group_is_described() {
    on_both(|broker| {
        make(broker, "t", 2);
        assert_fails!(broker.describe_group("g"), Error::GroupNotFound { group } if group == "g");
        let mut members = [0, 1].map(|_| member(broker));
        assert_eq!(broker.describe_group("g").expect("two members").state, GroupState::Rebalancing);
        settle(broker, &mut members.each_mut());
        send_to_each(broker);
        let records = members[0].poll(NOW).expect("one");
        members[0].commit(&records).expect("commits");
        let group = broker.describe_group("g").expect("two members");
        assert_eq!((&*group.assignor, group.generation, group.lag()), ("sticky", 2, 1));
        let assignments: BTreeMap<u64, Vec<TopicPartition>> =
            group.members.iter().map(|member| (member.member_id, member.assignment.clone())).collect();
        for (at, partition) in &group.partitions {
            let owner = partition.member_id.expect("each is read");
            assert_eq!(assignments[&owner], std::slice::from_ref(at));
            assert_eq!((partition.end_offset, partition.lag), (1, 1 - partition.committed.unwrap_or(0)));
        }
        drop(members);
        let group = broker.describe_group("g").expect("it has committed something");
        assert_eq!((group.state, group.members.len(), group.partitions.len()), (GroupState::Empty, 0, 1));
        broker.create_topic("quiet", TopicConfig::new()).expect("a free name");
        let quiet = broker.consumer::<(), String>().topic("quiet").group("a").build().expect("builds");
        let names: Vec<String> = broker.groups().into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["a", "g"]);
        drop(quiet);
        assert_eq!(broker.groups().len(), 1, "without members and commits there is no group");
    });
}

#[test]
fn settings_of_members_need_a_group_and_topics() {
    on_both(|broker| {
        make(broker, "t", 1);
        let alone = || broker.consumer::<(), String>().topic("t");
        assert_fails!(alone().assignor(RangeAssignor).build(), Error::NoGroup);
        assert_fails!(alone().instance_id("i").build(), Error::NoGroup);
        let by_hand = broker.consumer::<(), String>().assign("t", [0]).group("g").instance_id("i").build();
        assert_fails!(by_hand, Error::InvalidConfig { setting: "instance_id", .. });
        let timeout = builder(broker).instance_timeout(std::time::Duration::from_secs(1)).build();
        assert_fails!(timeout, Error::InvalidConfig { setting: "instance_timeout", .. });
        let never = builder(broker).max_poll_interval(NOW).build();
        assert_fails!(never, Error::InvalidConfig { setting: "max_poll_interval", .. });
        assert_fails!(builder(broker).instance_id("").build(), Error::InvalidConfig { .. });
    });
}

#[test]
fn a_closed_broker_ends_every_member() {
    on_both(|broker| {
        make(broker, "t", 1);
        let members = [0, 1].map(|_| member(broker));
        let polls = members.map(|mut member| {
            watched("a member", move || assert_fails!(member.poll(FOREVER), Error::Closed))
        });
        let_it_sleep();
        broker.close().expect("nothing went wrong");
        polls.into_iter().for_each(super::support::Watched::wait);
        assert_fails!(builder(broker).build(), Error::Closed);
    });
}
