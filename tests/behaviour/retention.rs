//! What a topic's retention gives up, and when: by age, by size, by what groups have read. Time is the test's
//! own, and nothing is done in the background unless a test says so.

use std::time::Duration;

use ottla::{Broker, Consumer, Durability, Error, OutOfRange, Raw, Retention, Timestamp, TopicConfig};

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// On disk, segments of eight records of [`send`].
const SEGMENT: u64 = 4_096;

fn create(broker: &Broker, retention: Retention) {
    let config = TopicConfig::new().segment_bytes(SEGMENT).memory_limit(64 << 10).retention(retention);
    broker.create_topic("t", config).expect("a free name");
}

/// Sends records of about 500 bytes.
fn send(broker: &Broker, count: usize) {
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    for _ in 0..count {
        producer.send((), &[7; 450]).expect("sends");
    }
}

/// Polls and commits until there is nothing more.
fn read_on(consumer: &mut Consumer<(), Raw>) {
    while let records = consumer.poll(NOW).expect("readable")
        && !records.is_empty()
    {
        consumer.commit(&records).expect("commits");
    }
}

fn range(broker: &Broker) -> (u64, u64) {
    let partition = broker.describe_topic("t").expect("it exists").partitions[0];
    (partition.start_offset, partition.end_offset)
}

fn keep_house(broker: &Broker) -> u64 {
    let before = range(broker).0;
    let deleted = broker.run_housekeeping().expect("no fault").deleted_records;
    assert_eq!(range(broker).0 - before, deleted, "what is deleted is counted");
    deleted
}

#[test]
fn what_is_older_than_the_limit_goes_and_what_is_younger_stays() {
    on_each(|broker, clock| {
        create(broker, Retention::forever().max_age(HOUR));
        send(broker, 40);
        clock.advance(HOUR);
        assert_eq!(keep_house(broker), 0, "nothing is older");
        send(broker, 40);
        clock.advance(SECOND);
        let deleted = keep_house(broker);
        assert!((20..=40).contains(&deleted), "{deleted} of 40, in whole pieces");
        assert_eq!(range(broker), (deleted, 80));
        assert_eq!(all_of(broker, "t").len() as u64, 80 - deleted);
        clock.advance(HOUR);
        assert_eq!(keep_house(broker), 80 - deleted, "also what was being written to, if nobody uses it");
        assert_eq!(range(broker), (80, 80));
        send(broker, 1);
        assert_eq!(offsets(&all_of(broker, "t")), [80]);
    });
}

#[test]
fn the_time_of_a_send_counts_not_the_timestamp_of_a_record() {
    on_each(|broker, clock| {
        create(broker, Retention::forever().max_age(HOUR));
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        for timestamp in [0, 1_000_000, 1 << 50] {
            let timestamp = Timestamp::from_millis(timestamp);
            producer.record(b"value").timestamp(timestamp).send().expect("sends");
        }
        assert_eq!(keep_house(broker), 0, "an old timestamp is not an old record");
        clock.advance(HOUR + SECOND);
        assert_eq!(keep_house(broker), 3, "one in the future does not hold anything");
    });
}

#[test]
fn a_clock_that_goes_back_only_keeps_records_longer() {
    on_each(|broker, clock| {
        create(broker, Retention::forever().max_age(HOUR));
        send(broker, 40);
        clock.set(Timestamp::from_millis(500_000));
        send(broker, 40);
        clock.set(Timestamp::from_millis(1_000_000));
        clock.advance(HOUR);
        assert_eq!(keep_house(broker), 0, "what was sent while it was behind is not older than that before");
        clock.advance(SECOND);
        assert_eq!(keep_house(broker), 80);
    });
}

#[test]
fn as_many_bytes_are_kept_as_was_asked_for() {
    on_each(|broker, _| {
        create(broker, Retention::forever().max_bytes(20_000));
        for _ in 0..20 {
            send(broker, 30);
            keep_house(broker);
            let (start, end) = range(broker);
            assert!((end - start) * 500 >= 20_000 || start == 0, "no less than the limit: {start} to {end}");
            assert!((end - start) * 450 <= 20_000 + 2 * 16_384, "not much more: {start} to {end}");
        }
        assert!(range(broker).0 > 400);
    });
}

#[test]
fn partitions_share_the_limit_of_bytes() {
    on_each(|broker, _| {
        let retention = Retention::forever().max_bytes(40_000);
        let config = partitions(4).segment_bytes(SEGMENT).memory_limit(256 << 10).retention(retention);
        broker.create_topic("t", config).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        for number in 0..400 {
            producer.record(&[7; 450]).partition(number % 4).send().expect("sends");
        }
        broker.run_housekeeping().expect("no fault");
        for partition in broker.describe_topic("t").expect("it exists").partitions {
            let kept = partition.end_offset - partition.start_offset;
            assert!(partition.start_offset > 0 && kept * 500 >= 10_000, "{partition:?}");
        }
    });
}

#[test]
fn what_all_groups_have_read_goes() {
    on_each(|broker, _| {
        create(broker, Retention::until_read_by(["a", "b"]));
        send(broker, 40);
        assert_eq!(keep_house(broker), 0, "nobody was there yet");
        let mut a = broker.consumer::<(), Raw>().topic("t").group("a").build().expect("it exists");
        let mut b = broker.consumer::<(), Raw>().topic("t").group("b").build().expect("it exists");
        read_on(&mut a);
        assert_eq!(keep_house(broker), 0, "b has read nothing");
        b.commit_offsets([(ottla::TopicPartition::new("t", 0), 30)]).expect("commits");
        let deleted = keep_house(broker);
        assert!((8..=30).contains(&deleted), "{deleted}");
        assert_fails!(b.poll(NOW), Error::OffsetOutOfRange { requested: 0, .. });
        b.seek("t", 0, 30).expect("it has it");
        read_on(&mut b);
        assert!(keep_house(broker) > 0);
        assert!(range(broker).0 <= 40);
    });
}

#[test]
fn what_was_read_is_kept_for_a_while_if_asked_for() {
    on_each(|broker, clock| {
        create(broker, Retention::until_read_by(["a"]).min_age(HOUR).max_age(24 * HOUR));
        send(broker, 40);
        let mut a = broker.consumer::<(), Raw>().topic("t").group("a").build().expect("it exists");
        read_on(&mut a);
        clock.advance(HOUR);
        assert_eq!(keep_house(broker), 0);
        clock.advance(SECOND);
        assert!(keep_house(broker) >= 20);
        send(broker, 40);
        clock.advance(24 * HOUR);
        let (start, _) = range(broker);
        keep_house(broker);
        assert!(range(broker).0 < 80, "what nobody has read stays: {start}");
        clock.advance(SECOND);
        keep_house(broker);
        assert_eq!(range(broker), (80, 80), "but not for ever");
    });
}

#[test]
fn a_group_that_never_comes_does_not_hold_records_for_ever() {
    let clock = clock();
    let dir = temp_dir();
    for builder in [Broker::builder(), Broker::builder().data_dir(dir.path())] {
        let broker = by_hand(builder.offsets_retention(HOUR), &clock);
        create(&broker, Retention::until_read_by(["a", "never"]));
        send(&broker, 40);
        broker.reset_group("a", "t", ottla::ResetTo::Latest).expect("in range");
        assert_eq!(keep_house(&broker), 0);
        clock.advance(HOUR);
        broker.reset_group("a", "t", ottla::ResetTo::Latest).expect("in range");
        assert_eq!(keep_house(&broker), 0, "they are not older");
        clock.advance(SECOND);
        assert!(keep_house(&broker) >= 20);
    }
}

#[test]
fn a_group_with_members_holds_everything_that_it_has_not_committed() {
    let clock = clock();
    let broker = by_hand(Broker::builder().offsets_retention(HOUR), &clock);
    create(&broker, Retention::until_read_by(["a"]));
    send(&broker, 40);
    let consumer = broker.consumer::<(), Raw>().topic("t").group("a").build().expect("it exists");
    clock.advance(24 * HOUR);
    assert_eq!(keep_house(&broker), 0);
    drop(consumer);
    assert_eq!(keep_house(&broker), 40, "it has gone, and has committed nothing");
}

#[test]
fn a_restart_in_between_makes_no_difference_to_what_is_sealed() {
    on_kept(|kept| {
        let clock = clock();
        let broker = by_hand(kept.builder(), &clock);
        create(&broker, Retention::forever().max_age(HOUR));
        send(&broker, 40);
        clock.advance(HOUR / 2);
        broker.close().expect("no fault");
        let broker = by_hand(kept.builder(), &clock);
        clock.advance(HOUR / 2 + SECOND);
        let deleted = keep_house(&broker);
        assert!((20..40).contains(&deleted), "{deleted}: that is in full segments");
        broker.close().expect("no fault");
        let broker = by_hand(kept.builder(), &clock);
        assert_eq!(range(&broker), (deleted, 40), "it stays deleted");
        clock.advance(HOUR + SECOND);
        assert_eq!(keep_house(&broker), 40 - deleted);
        broker.close().expect("no fault");
        let broker = by_hand(kept.builder(), &clock);
        assert_eq!(range(&broker), (40, 40));
        send(&broker, 1);
        assert_eq!(offsets(&all_of(&broker, "t")), [40]);
    });
}

#[test]
fn files_of_what_is_given_up_are_removed() {
    let (clock, dir) = (clock(), temp_dir());
    let broker = by_hand(Broker::builder().data_dir(dir.path()), &clock);
    create(&broker, Retention::forever().max_age(HOUR));
    send(&broker, 100);
    let before = files_in(&dir.path().join("t-0")).len();
    clock.advance(HOUR + SECOND);
    let done = broker.run_housekeeping().expect("no fault");
    assert_eq!((done.deleted_records, done.deleted_segments), (100, before as u64));
    assert!(done.deleted_bytes > 100 * 450);
    assert_eq!(files_in(&dir.path().join("t-0")), [format!("{:020}.log", 100)]);
    assert_eq!(broker.run_housekeeping().expect("no fault"), ottla::Housekeeping::default());
}

#[test]
fn a_reader_that_sleeps_meanwhile_is_told_and_keeps_what_it_polled() {
    on_each(|broker, clock| {
        create(broker, Retention::forever().max_age(HOUR));
        send(broker, 40);
        let builder = || broker.consumer::<(), Raw>().topic("t").max_records(5);
        let mut consumer = builder().build().expect("it exists");
        let mut moved = builder().on_out_of_range(OutOfRange::Earliest).build().expect("it exists");
        let polled = consumer.poll(NOW).expect("readable");
        assert_eq!((polled.len(), moved.poll(NOW).expect("readable").len()), (5, 5));
        clock.advance(HOUR + SECOND);
        assert_eq!(keep_house(broker), 40);
        send(broker, 3);
        assert_fails!(
            consumer.poll(NOW),
            Error::OffsetOutOfRange { requested: 5, earliest: 40, latest: 43, .. }
        );
        assert_eq!(moved.poll(NOW).expect("it goes on").len(), 3);
        assert!(polled.iter().all(|record| record.value_bytes() == Some(&[7; 450][..])));
    });
}

#[test]
fn a_living_topic_gets_another_retention() {
    on_each(|broker, clock| {
        create(broker, Retention::forever());
        send(broker, 40);
        clock.advance(24 * HOUR);
        assert_eq!(keep_house(broker), 0);
        let config = TopicConfig::new().retention(Retention::forever().max_age(HOUR));
        broker.alter_topic("t", config).expect("a change");
        keep_house(broker);
        clock.advance(HOUR + SECOND);
        keep_house(broker);
        assert_eq!(range(broker), (40, 40));
        send(broker, 40);
        broker.alter_topic("t", TopicConfig::new().retention(Retention::forever())).expect("a change");
        clock.advance(24 * HOUR);
        assert_eq!(keep_house(broker), 0);
    });
}

#[test]
fn a_segment_ends_when_it_is_old_enough_to_be_given_up_later() {
    let (clock, dir) = (clock(), temp_dir());
    let broker = by_hand(Broker::builder().data_dir(dir.path()), &clock);
    let config = TopicConfig::new().retention(Retention::forever().max_age(24 * HOUR)).segment_age(HOUR);
    broker.create_topic("t", config).expect("a free name");
    for _ in 0..30 {
        send(&broker, 1);
        clock.advance(HOUR + SECOND);
        keep_house(&broker);
    }
    let (start, end) = range(&broker);
    assert!(start >= 4 && end == 30, "{start} to {end}: each hour has its own segment");
}

#[test]
fn topics_of_a_kind_in_memory_on_disk_are_given_up_too() {
    let (clock, dir) = (clock(), temp_dir());
    let broker = by_hand(Broker::builder().data_dir(dir.path()), &clock);
    let retention = Retention::forever().max_age(HOUR);
    let config = TopicConfig::new().durability(Durability::Memory).retention(retention);
    broker.create_topic("t", config).expect("a free name");
    send(&broker, 40);
    clock.advance(HOUR + SECOND);
    assert_eq!(keep_house(&broker), 40);
}
