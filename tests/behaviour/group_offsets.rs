//! Committed offsets as an administrator sees them: set, deleted, and expiring with their group.

use std::sync::Arc;
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Consumer, Error, ManualClock, ResetTo, Timestamp, TopicPartition};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn with_records(broker: &Broker) {
    broker.open_topic("t", partitions(2)).expect("opens");
    send_numbered(broker, "t", 5);
}

fn member(broker: &Broker) -> Consumer<(), String> {
    broker.consumer().topic("t").group("g").build().expect("builds")
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn shown(broker: &Broker) -> Vec<(u32, u64)> {
    committed(broker, "g").into_iter().map(|(at, offset)| (at.partition, offset)).collect()
}

// ---- looking ----

#[test]
fn what_a_group_has_before_it_is_told_whether_or_not_it_is_known() {
    on_both(|broker| {
        with_records(broker);
        send_to(broker, 1, "one more");
        let lag = || broker.lag("g", "t").expect("the topic exists");
        assert_eq!(lag(), 6, "nobody has heard of the group");
        broker.commit_offsets("g", [(at(0), 2)]).expect("no members");
        assert_eq!(lag(), 4);
        broker.delete_records("t", 0, 4).expect("they are there");
        assert_eq!(lag(), 2, "what is gone is not before it");
        assert_eq!(broker.describe_topic("t").expect("it exists").records(), 2);
        broker.reset_group("g", "t", ResetTo::Latest).expect("no members");
        assert_eq!(lag(), 0);
        assert_fails!(broker.lag("g", "nothing"), Error::TopicNotFound { topic } if topic == "nothing");
    });
}

// ---- setting and deleting ----

#[test]
fn offsets_can_be_set_for_a_group_without_members() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker);
        broker.commit_offsets("g", [(at(0), 3), (at(1), 0)]).expect("nobody is in the group");
        let broker = kept.open_after(&broker);
        assert_eq!(shown(&broker), [(0, 3), (1, 0)]);
        assert_eq!(offsets(&drain(&mut member(&broker))), [3, 4]);
    });
}

#[test]
fn wrong_offsets_are_refused_and_set_nothing() {
    on_both(|broker| {
        with_records(broker);
        let outcome = broker.commit_offsets("g", [(at(0), 1), (at(1), 1)]);
        assert_fails!(outcome, Error::OffsetOutOfRange { partition, requested: 1, latest: 0, .. }
            if partition == at(1));
        assert_fails!(broker.commit_offsets("g", [(at(2), 0)]), Error::InvalidPartition { partition: 2, .. });
        let nowhere = TopicPartition::new("nowhere", 0);
        assert_fails!(broker.commit_offsets("g", [(nowhere, 0)]), Error::TopicNotFound { .. });
        assert_fails!(broker.commit_offsets("", [(at(0), 0)]), Error::InvalidConfig { setting: "group", .. });
        assert!(broker.groups().is_empty());
        broker.close().expect("closes");
        assert_fails!(broker.commit_offsets("g", [(at(0), 0)]), Error::Closed);
    });
}

#[test]
fn what_is_deleted_is_begun_anew_also_after_a_reopen() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker);
        broker.commit_offsets("g", [(at(0), 3), (at(1), 0)]).expect("nobody is in the group");
        broker.delete_committed_offsets("g", [at(0)]).expect("nobody is in the group");
        assert_eq!(shown(&broker), [(1, 0)]);
        let broker = kept.open_after(&broker);
        assert_eq!(shown(&broker), [(1, 0)]);
        assert_eq!(drain(&mut member(&broker)).len(), 5);
        broker.delete_group("g").expect("nobody is in the group");
        assert_fails!(broker.describe_group("g"), Error::GroupNotFound { .. });
        let broker = kept.open_after(&broker);
        assert!(broker.groups().is_empty());
        assert_fails!(broker.delete_group("g"), Error::GroupNotFound { .. });
    });
}

#[test]
fn nothing_is_changed_under_the_hands_of_members() {
    on_both(|broker| {
        with_records(broker);
        broker.commit_offsets("g", [(at(0), 3)]).expect("nobody is in the group");
        let consumer = member(broker);
        let in_use = |outcome: ottla::Result<()>| {
            assert_fails!(outcome, Error::GroupInUse { group } if group == "g");
        };
        in_use(broker.commit_offsets("g", [(at(0), 1)]));
        in_use(broker.delete_committed_offsets("g", [at(0)]));
        in_use(broker.delete_group("g"));
        assert_eq!(shown(broker), [(0, 3)]);
        drop(consumer);
        broker.delete_group("g").expect("nobody is in the group");
    });
}

#[test]
fn a_deletion_that_cannot_be_written_has_not_happened() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    with_records(&broker);
    broker.commit_offsets("g", [(at(0), 3)]).expect("room");
    storage.refuse(Operation::Write, "__consumer_offsets", std::io::ErrorKind::StorageFull);
    assert_fails!(broker.delete_group("g"), Error::StorageFull { .. });
    assert_fails!(broker.commit_offsets("g", [(at(0), 1)]), Error::StorageFull { .. });
    assert_eq!(shown(&broker), [(0, 3)]);
    storage.allow_all();
    broker.delete_group("g").expect("room again");
    assert!(shown(&broker).is_empty());
}

// ---- expiry ----

struct World {
    clock: Arc<ManualClock>,
    /// `None`: in memory.
    files: Option<MemoryStorage>,
}

impl World {
    fn open(&self) -> Broker {
        let builder = Broker::builder().clock(Arc::clone(&self.clock)).offsets_retention(7 * DAY);
        let builder = match &self.files {
            Some(files) => builder.data_dir("/data").storage(files.clone()),
            None => builder,
        };
        builder.open().expect("no other owner")
    }
}

fn on_both_worlds(test: impl Fn(&World)) {
    for files in [None, Some(MemoryStorage::default())] {
        let _pass = Pass(if files.is_some() { "on disk" } else { "in memory" });
        test(&World { clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000))), files });
    }
}

fn commit_all(consumer: &mut Consumer<(), String>) {
    let records = consumer.poll(NOW).expect("readable");
    consumer.commit(&records).expect("commits");
}

#[test]
fn offsets_are_kept_for_as_long_as_the_group_has_members_and_a_while_after() {
    on_both_worlds(|world| {
        let broker = world.open();
        with_records(&broker);
        let mut consumer = member(&broker);
        commit_all(&mut consumer);
        world.clock.advance(100 * DAY);
        assert_eq!(shown(&broker), [(0, 5)]);
        drop(consumer);
        world.clock.advance(7 * DAY - Duration::from_millis(1));
        assert_eq!(shown(&broker), [(0, 5)]);
        world.clock.advance(Duration::from_millis(1));
        assert!(shown(&broker).is_empty() && broker.groups().is_empty());
        assert_eq!(drain(&mut member(&broker)).len(), 5, "the group begins anew");
    });
}

#[test]
fn who_comes_back_in_time_keeps_them() {
    on_both_worlds(|world| {
        let broker = world.open();
        with_records(&broker);
        commit_all(&mut member(&broker));
        for _ in 0..5 {
            world.clock.advance(6 * DAY);
            drop(member(&broker));
        }
        assert_eq!(shown(&broker), [(0, 5)]);
    });
}

fn on_files(test: impl Fn(&World)) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    test(&World { clock, files: Some(MemoryStorage::default()) });
}

#[test]
fn they_expire_while_no_broker_is_open() {
    on_files(|world| {
        let broker = world.open();
        with_records(&broker);
        commit_all(&mut member(&broker));
        broker.close().expect("closes");
        world.clock.advance(6 * DAY);
        let broker = world.open();
        assert_eq!(shown(&broker), [(0, 5)]);
        broker.close().expect("closes");
        world.clock.advance(DAY);
        let broker = world.open();
        assert!(broker.groups().is_empty(), "opening it was no use of the group");
        // What comes back does not bring the old ones back.
        drop(member(&broker));
        broker.close().expect("closes");
        let broker = world.open();
        assert!(broker.groups().is_empty());
        assert_eq!(drain(&mut member(&broker)).len(), 5);
    });
}

#[test]
fn a_group_that_had_members_when_its_broker_ended_expires_from_the_next_opening_on() {
    on_files(|world| {
        let broker = world.open();
        with_records(&broker);
        let mut consumer = member(&broker);
        commit_all(&mut consumer);
        world.clock.advance(100 * DAY);
        broker.close().expect("closes");
        drop((consumer, broker));
        let broker = world.open();
        assert_eq!(shown(&broker), [(0, 5)]);
        world.clock.advance(7 * DAY);
        assert!(shown(&broker).is_empty());
    });
}

#[test]
fn a_group_that_was_joined_again_and_did_not_commit_has_not_been_empty_since() {
    on_files(|world| {
        let broker = world.open();
        with_records(&broker);
        commit_all(&mut member(&broker));
        world.clock.advance(6 * DAY);
        let consumer = member(&broker);
        broker.close().expect("closes");
        drop((consumer, broker));
        world.clock.advance(2 * DAY);
        assert_eq!(shown(&world.open()), [(0, 5)]);
    });
}

#[test]
fn a_group_that_began_anew_after_its_topic_was_deleted_has_members_too() {
    on_files(|world| {
        let broker = world.open();
        with_records(&broker);
        commit_all(&mut member(&broker));
        broker.delete_topic("t").expect("it exists");
        with_records(&broker);
        let mut consumer = member(&broker);
        commit_all(&mut consumer);
        world.clock.advance(8 * DAY);
        broker.close().expect("closes");
        drop((consumer, broker));
        assert_eq!(shown(&world.open()), [(0, 5)], "it had members until the end");
    });
}

/// What could not be written when it joined is written with a later commit.
#[test]
fn a_group_that_joined_while_the_disk_was_full_has_members_too() {
    let storage = Faulty::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let open = || {
        let builder = Broker::builder().clock(Arc::clone(&clock)).data_dir("/data").storage(storage.clone());
        builder.open().expect("no other owner")
    };
    let broker = open();
    with_records(&broker);
    commit_all(&mut member(&broker));
    storage.refuse(Operation::Write, "__consumer_offsets", std::io::ErrorKind::StorageFull);
    let mut consumer = member(&broker);
    send_numbered(&broker, "t", 1);
    let records = consumer.poll(NOW).expect("readable");
    assert_fails!(consumer.commit(&records), Error::StorageFull { .. });
    storage.allow_all();
    consumer.commit(&records).expect("room again");
    clock.advance(8 * DAY);
    broker.close().expect("closes");
    drop((consumer, broker));
    assert_eq!(shown(&open()), [(0, 6)]);
}

#[test]
fn what_has_expired_stays_gone_when_something_else_is_changed() {
    on_both_worlds(|world| {
        let broker = world.open();
        with_records(&broker);
        let both = || [(at(0), 5), (at(1), 0)];
        broker.commit_offsets("g", both()).expect("nobody is in the group");
        world.clock.advance(7 * DAY);
        broker.delete_committed_offsets("g", [at(0)]).expect("nobody is in the group");
        assert!(shown(&broker).is_empty());
        broker.commit_offsets("g", [(at(0), 2)]).expect("nobody is in the group");
        assert_eq!(shown(&broker), [(0, 2)]);
        if world.files.is_some() {
            broker.close().expect("closes");
            drop(broker);
            assert_eq!(shown(&world.open()), [(0, 2)]);
        }
    });
}

#[test]
fn a_group_that_only_commits_by_hand_expires_however_often_the_broker_is_opened() {
    on_files(|world| {
        let broker = world.open();
        with_records(&broker);
        broker.commit_offsets("g", [(at(0), 5)]).expect("nobody is in the group");
        broker.close().expect("closes");
        drop(broker);
        for _ in 0..6 {
            world.clock.advance(DAY);
            let broker = world.open();
            assert_eq!(shown(&broker), [(0, 5)]);
            broker.close().expect("closes");
        }
        world.clock.advance(DAY);
        assert!(world.open().groups().is_empty());
    });
}

#[test]
fn removing_what_was_never_there_makes_no_group() {
    on_both(|broker| {
        with_records(broker);
        broker.delete_committed_offsets("g", [at(0)]).expect("nothing to do");
        assert!(broker.groups().is_empty());
    });
}

#[test]
fn a_retention_of_no_time_is_refused_and_one_without_end_never_ends() {
    let refused = Broker::builder().offsets_retention(Duration::ZERO).open();
    assert_fails!(refused, Error::InvalidConfig { setting: "offsets_retention", .. });
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let broker = Broker::builder().clock(Arc::clone(&clock)).offsets_retention(Duration::MAX).open();
    let broker = broker.expect("for ever");
    with_records(&broker);
    commit_all(&mut member(&broker));
    clock.advance(100_000 * DAY);
    assert_eq!(shown(&broker), [(0, 5)]);
}
