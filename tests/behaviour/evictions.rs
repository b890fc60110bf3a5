//! Members that do not poll, and static members that go and come back. What takes time here is waited for,
//! and nothing depends on how long it takes.

use std::thread;
use std::time::Duration;

use ottla::{
    BoxError, Broker, Consumer, ConsumerBuilder, Error, GroupState, Rebalance, RebalanceListener, Records,
    Start, TopicPartition,
};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn instance(broker: &Broker, id: &str, timeout: Duration) -> ConsumerBuilder<(), String> {
    builder(broker).instance_id(id).instance_timeout(timeout)
}

/// The next records. The member may be evicted before it polls, if this thread is held up.
fn poll_in_time(consumer: &mut Consumer<(), String>) -> Records<(), String> {
    loop {
        match consumer.poll(FOREVER) {
            Ok(records) => return records,
            Err(Error::MemberEvicted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

// ---- max_poll_interval ----

#[test]
fn a_member_that_stops_polling_loses_its_partitions_and_is_told() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        send_numbered(broker, "t", 3);
        let mut slow = builder(broker).max_poll_interval(SOON).build().expect("builds");
        let records = poll_in_time(&mut slow);
        let mut other = builder(broker).build().expect("builds");
        assert_eq!(offsets(&block_on_poll(&mut other)), [0, 1, 2], "nothing was committed");
        assert_fails!(slow.commit(&records), Error::CommitFenced { group, .. } if group == "g");
        assert_fails!(slow.poll(NOW), Error::MemberEvicted { max_poll_interval: SOON, .. });
        assert!(slow.assignment().is_empty());
        assert_fails!(slow.commit(&records), Error::CommitFenced { .. });
        assert!(broker.committed_offsets("g").is_empty());
    });
}

fn block_on_poll(consumer: &mut Consumer<(), String>) -> Vec<ottla::OwnedRecord> {
    let records = consumer.poll(FOREVER).expect("readable");
    records.iter().map(ottla::Record::to_owned_record).collect()
}

#[test]
fn it_joins_anew_with_the_poll_after_that() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 3);
        let mut slow = builder(broker).max_poll_interval(SOON).auto_commit(true).build().expect("builds");
        assert_eq!(poll_in_time(&mut slow).len(), 3);
        until("it is evicted", || members_of(broker) == 0);
        assert_fails!(slow.poll(NOW), Error::MemberEvicted { .. });
        assert_eq!(poll_in_time(&mut slow).len(), 3, "what it had not committed comes again");
    });
}

#[test]
fn an_eviction_does_not_let_it_miss_what_was_sent_meanwhile() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 3);
        let late = builder(broker).start(Start::Latest).max_poll_interval(Duration::from_millis(20));
        let mut late = late.build().expect("builds");
        until("it is evicted", || members_of(broker) == 0);
        send_numbered(broker, "t", 2);
        assert_fails!(late.poll(NOW), Error::MemberEvicted { .. });
        broker.increase_partitions("t", 2).expect("more");
        send_to(broker, 1, "later");
        let mut all = Vec::new();
        while all.len() < 3 {
            match late.poll(FOREVER) {
                Ok(records) => all.extend(records.iter().map(|record| (record.partition(), record.offset()))),
                Err(Error::MemberEvicted { .. }) => all.clear(),
                Err(error) => panic!("{error}"),
            }
        }
        all.sort_unstable();
        assert_eq!(all, [(0, 3), (0, 4), (1, 0)], "it began at the end, and goes on there");
    });
}

#[test]
fn nor_what_was_sent_to_topics_that_came_meanwhile() {
    on_both(|broker| {
        let late = broker.consumer::<(), String>().topics_matching(|_| true).group("g");
        let late = late.start(Start::Latest).max_poll_interval(Duration::from_millis(20));
        let mut late = late.build().expect("builds");
        until("it is evicted", || members_of(broker) == 0);
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 1);
        assert_fails!(late.poll(NOW), Error::MemberEvicted { .. });
        assert_eq!(poll_in_time(&mut late).len(), 1);
    });
}

#[test]
fn nor_what_it_had_polled_while_others_read_other_topics() {
    on_both(|broker| {
        for topic in ["t", "u"] {
            broker.create_topic(topic, partitions(1)).expect("a free name");
        }
        let _other = broker.consumer::<(), String>().topic("u").group("g").build().expect("builds");
        let late = builder(broker).start(Start::Latest).max_poll_interval(Duration::from_millis(20));
        let mut late = late.build().expect("builds");
        send_numbered(broker, "t", 1);
        assert_eq!(poll_in_time(&mut late).len(), 1);
        until("it is evicted", || members_of(broker) == 1);
        assert_fails!(late.poll(NOW), Error::MemberEvicted { .. });
        assert_eq!(poll_in_time(&mut late).len(), 1, "it had not committed");
    });
}

#[test]
fn a_group_that_is_deleted_begins_anew_although_one_that_was_evicted_remembers_it() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let latest = || builder(broker).start(Start::Latest);
        let late = latest().max_poll_interval(SOON).build().expect("builds");
        until("it is evicted", || members_of(broker) == 0);
        send_numbered(broker, "t", 1);
        broker.commit_offsets("g", [(TopicPartition::new("t", 0), 0)]).expect("nobody is in the group");
        broker.delete_group("g").expect("nobody is in the group");
        assert!(latest().build().expect("builds").poll(NOW).expect("at the end").is_empty());
        drop(late);
    });
}

/// Takes its time to load what belongs to a partition, and to store it.
struct Slow;

impl RebalanceListener for Slow {
    fn assigned(&mut self, _: &mut Rebalance<'_>) -> Result<(), BoxError> {
        thread::sleep(Duration::from_millis(50));
        Ok(())
    }

    fn revoked(&mut self, _: &mut Rebalance<'_>) -> Result<(), BoxError> {
        thread::sleep(Duration::from_millis(50));
        Ok(())
    }
}

#[test]
fn what_a_listener_takes_is_no_time_without_a_poll() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let limited =
            || builder(broker).rebalance_listener(Slow).max_poll_interval(Duration::from_millis(10));
        // If this thread is held up after it, that is another matter.
        let consumer = (0..100).map(|_| limited().build().expect("builds")).find(|consumer| {
            assert!(consumer.member_id().is_some());
            members_of(broker) == 1
        });
        drop(consumer.expect("it was not evicted by its own building"));
        for _ in 0..100 {
            if limited().build().expect("builds").close().is_ok() {
                return;
            }
        }
        panic!("a close is evicted by its own listener");
    });
}

#[test]
fn who_waits_in_a_poll_is_not_late() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let mut blocked = builder(broker).max_poll_interval(SOON).build().expect("builds");
        let (polls, polling) = std::sync::mpsc::channel();
        let waiting = watched("a poll", move || {
            polls.send(()).expect("somebody listens");
            loop {
                match blocked.poll(FOREVER) {
                    // It may be held up before it polls.
                    Err(Error::MemberEvicted { .. }) => {}
                    outcome => return outcome.map(|records| records.len()),
                }
            }
        });
        polling.recv().expect("it polls");
        thread::sleep(Duration::from_millis(50));
        send_numbered(broker, "t", 1);
        assert_eq!(waiting.wait().expect("it still has its partition"), 1);
    });
}

#[test]
fn who_polls_in_time_or_has_no_limit_stays() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let mut patient = builder(broker).max_poll_interval(HOUR).build().expect("builds");
        let mut unlimited = builder(broker).build().expect("builds");
        let late = builder(broker).max_poll_interval(SOON).build().expect("builds");
        until("the late one is evicted", || members_of(broker) == 2);
        settle(broker, &mut [&mut patient, &mut unlimited]);
        assert_eq!((assigned(&patient).len(), assigned(&unlimited).len()), (1, 1));
        drop(late);
        assert_eq!(members_of(broker), 2);
    });
}

#[test]
fn a_future_that_waits_is_a_poll_and_one_that_is_dropped_ends_it() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let mut consumer =
            builder(broker).max_poll_interval(Duration::from_millis(200)).build().expect("builds");
        // It may be evicted before it is polled, if this thread is held up.
        while broker.describe_group("g").is_err() {
            assert_fails!(consumer.poll(NOW), Error::MemberEvicted { .. });
            drop(consumer.poll(NOW).expect("joins anew"));
        }
        {
            let mut next = std::pin::pin!(consumer.next_records());
            assert!(once(|cx| next.as_mut().poll(cx)).is_pending());
            thread::sleep(Duration::from_millis(400));
            assert_eq!(members_of(broker), 1, "it polls");
        }
        until("it is evicted", || members_of(broker) == 0);
        assert_fails!(block_on(consumer.next_records()), Error::MemberEvicted { .. });
    });
}

#[test]
fn a_close_says_that_the_last_commit_came_too_late() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 3);
        let build = || builder(broker).max_poll_interval(SOON).auto_commit(true).build().expect("builds");
        let mut late = build();
        assert_eq!(poll_in_time(&mut late).len(), 3);
        until("it is evicted", || members_of(broker) == 0);
        assert_fails!(late.close(), Error::MemberEvicted { .. });
        assert!(broker.committed_offsets("g").is_empty());
        let empty = build();
        until("it is evicted", || members_of(broker) == 0);
        assert_fails!(empty.close(), Error::MemberEvicted { .. });
    });
}

// ---- static members ----

#[test]
fn an_instance_that_comes_back_in_time_has_its_partitions_and_nobody_else_notices() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let mut east = instance(broker, "east", HOUR).build().expect("builds");
        let mut west = instance(broker, "west", HOUR).build().expect("builds");
        settle(broker, &mut [&mut east, &mut west]);
        let (of_east, of_west) = (assigned(&east), assigned(&west));
        let generation = broker.describe_group("g").expect("two members").generation;
        for round in 0..3 {
            if round == 2 {
                west.close().expect("nothing to commit");
            } else {
                drop(west);
            }
            let group = broker.describe_group("g").expect("two members");
            assert_eq!(group.members.iter().filter(|member| member.is_present).count(), 1);
            drop(east.poll(NOW).expect("polls"));
            west = instance(broker, "west", HOUR).build().expect("builds");
            assert_eq!(assigned(&west), of_west);
            drop(east.poll(NOW).expect("polls"));
            assert_eq!(assigned(&east), of_east);
        }
        let group = broker.describe_group("g").expect("two members");
        assert_eq!((group.generation, group.state), (generation, GroupState::Stable));
    });
}

#[test]
fn it_goes_on_behind_what_it_had_committed() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        send_numbered(broker, "t", 5);
        let mut first = instance(broker, "i", HOUR).build().expect("builds");
        let records = first.poll(NOW).expect("five");
        first.commit_through(&records.iter().nth(1).expect("five")).expect("commits");
        drop(first);
        let mut second = instance(broker, "i", HOUR).build().expect("builds");
        assert_eq!(offsets(&drain(&mut second)), [2, 3, 4]);
        assert_fails!(second.commit(&records), Error::CommitFenced { .. });
    });
}

#[test]
fn what_an_instance_was_to_give_up_goes_on_when_it_leaves() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let east = instance(broker, "east", HOUR).build().expect("builds");
        let mut west = builder(broker).build().expect("builds");
        drop(west.poll(NOW).expect("polls"));
        assert!(assigned(&west).is_empty(), "nobody has given up anything");
        drop(east);
        drop(west.poll(NOW).expect("polls"));
        assert_eq!(assigned(&west).len(), 1);
    });
}

#[test]
fn an_instance_that_does_not_come_back_gives_its_partitions_away() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let mut east = instance(broker, "east", HOUR).build().expect("builds");
        let mut west = instance(broker, "west", SOON).build().expect("builds");
        settle(broker, &mut [&mut east, &mut west]);
        drop(west);
        until("it is given up", || members_of(broker) == 1);
        settle(broker, &mut [&mut east]);
        assert_eq!(assigned(&east).len(), 2);
    });
}

#[test]
fn an_instance_that_is_gone_for_good_can_be_removed() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        assert!(!broker.remove_instance("g", "i").expect("there is no group"));
        let first = instance(broker, "i", HOUR).build().expect("builds");
        assert_fails!(broker.remove_instance("g", "i"), Error::InstanceInUse { .. });
        first.close().expect("nothing to commit");
        assert_fails!(broker.delete_group("g"), Error::GroupInUse { .. });
        assert!(!broker.remove_instance("g", "j").expect("another one"));
        let mut other = builder(broker).build().expect("builds");
        assert!(assigned(&other).is_empty());
        assert!(broker.remove_instance("g", "i").expect("it is away"));
        drop(other.poll(NOW).expect("polls"));
        assert_eq!(assigned(&other), ["t-0"]);
    });
}

#[test]
fn an_instance_is_there_once() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let first = instance(broker, "i", HOUR).build().expect("builds");
        assert_fails!(
            instance(broker, "i", HOUR).build(),
            Error::InstanceInUse { group, instance_id } if group == "g" && instance_id == "i"
        );
        let elsewhere = broker.consumer::<(), String>().topic("t").group("other").instance_id("i").build();
        drop(elsewhere.expect("another group, another instance"));
        drop(first);
        instance(broker, "i", HOUR).build().expect("it is free");
    });
}

#[test]
fn an_instance_that_comes_back_with_other_topics_is_assigned_anew() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        broker.create_topic("u", partitions(1)).expect("a free name");
        drop(instance(broker, "i", HOUR).build().expect("builds"));
        let back = broker.consumer::<(), String>().topic("u").group("g").instance_id("i");
        let back = back.instance_timeout(HOUR).build().expect("builds");
        assert_eq!(assigned(&back), ["u-0"]);
    });
}
