//! Finding records by time: the first whose timestamp is the given one or later, in memory, in files,
//! after a reopen, and in logs whose timestamps do not rise.

use ottla::{Broker, Consumer, Raw, Start, Timestamp, TopicConfig, TopicPartition};

use crate::support::*;

/// Time, and the first offset since then, in a log of 50 records whose timestamps are ten times their
/// offsets.
const SINCE: [(i64, Option<u64>); 12] = [
    (i64::MIN, Some(0)),
    (0, Some(0)),
    (1, Some(1)),
    (399, Some(40)),
    (401, Some(41)),
    (420, Some(42)),
    (421, Some(43)),
    (430, Some(43)),
    (431, Some(44)),
    (490, Some(49)),
    (491, None),
    (i64::MAX, None),
];

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Records of `len` bytes with these timestamps.
fn send_at(broker: &Broker, times: impl IntoIterator<Item = i64>, len: usize) {
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    for millis in times {
        producer.record(&vec![0; len]).timestamp(at(millis)).send().expect("sends");
    }
}

fn offset_since(consumer: &Consumer<Raw, Raw>, millis: i64) -> Option<u64> {
    consumer.offsets_for_timestamp(at(millis)).expect("a readable log")[&TopicPartition::new("t", 0)]
}

/// All ways to ask for a time agree on [`SINCE`].
fn check_vector(broker: &Broker) {
    let mut consumer = reader(broker, "t");
    for (millis, expected) in SINCE {
        assert_eq!(offset_since(&consumer, millis), expected, "since {millis}");
        consumer.seek_to_timestamp(at(millis)).expect("a readable log");
        assert_eq!(consumer.position("t", 0).expect("assigned"), expected.unwrap_or(50), "since {millis}");
        let found = drain(&mut consumer);
        assert_eq!(found.first().map(|record| record.offset), expected, "since {millis}");
        assert!(found.iter().all(|record| record.timestamp >= at(millis)));
        let start = Start::Timestamp(at(millis));
        let started = broker.consumer::<Raw, Raw>().topic("t").start(start).build().expect("it exists");
        assert_eq!(started.position("t", 0).expect("assigned"), expected.unwrap_or(50), "since {millis}");
    }
}

#[test]
fn the_first_record_since_a_time_is_found() {
    for len in [0, 300, 3_000] {
        on_both(|broker| {
            broker.create_topic("t", TopicConfig::new().segment_bytes(4096)).expect("a free name");
            send_at(broker, (0..50).map(|offset| offset * 10), len);
            check_vector(broker);
        });
    }
}

#[test]
fn the_first_record_since_a_time_is_found_in_one_large_segment() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_at(broker, (0..50).map(|offset| offset * 10), 3_000);
        check_vector(broker);
    });
}

#[test]
fn the_first_record_since_a_time_is_found_after_a_reopen() {
    for (segment_bytes, len) in [(4096, 300), (1 << 20, 3_000)] {
        on_kept(|kept| {
            let broker = kept.open();
            broker.create_topic("t", TopicConfig::new().segment_bytes(segment_bytes)).expect("a free name");
            send_at(&broker, (0..30).map(|offset| offset * 10), len);
            drop(broker);
            // Some in files, some in memory.
            let broker = kept.open();
            send_at(&broker, (30..50).map(|offset| offset * 10), len);
            check_vector(&broker);
            broker.close().expect("closes");
            check_vector(&kept.open());
        });
    }
}

#[test]
fn the_first_of_records_with_the_same_time_is_found() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new().segment_bytes(4096)).expect("a free name");
        send_at(broker, [1; 40].into_iter().chain([2; 40]), 200);
        let consumer = reader(broker, "t");
        assert_eq!([1, 2, 3].map(|millis| offset_since(&consumer, millis)), [Some(0), Some(40), None]);
    });
}

#[test]
fn an_empty_topic_has_no_record_of_any_time() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut consumer = reader(broker, "t");
        assert_eq!(offset_since(&consumer, i64::MIN), None);
        consumer.seek_to_timestamp(at(0)).expect("a readable log");
        send_at(broker, [5], 1);
        assert_eq!(offsets(&drain(&mut consumer)), [0]);
    });
}

#[test]
fn each_partition_has_its_own_first_record_since_a_time() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        for (partition, times) in [(0, vec![10, 20, 30]), (1, vec![25])] {
            for millis in times {
                producer.record(b"v").partition(partition).timestamp(at(millis)).send().expect("sends");
            }
        }
        let mut consumer = reader(broker, "t");
        let found = consumer.offsets_for_timestamp(at(21)).expect("a readable log");
        assert_eq!(found.into_values().collect::<Vec<_>>(), [Some(2), Some(0), None]);
        let found = consumer.offsets_for_timestamp(at(26)).expect("a readable log");
        assert_eq!(found.into_values().collect::<Vec<_>>(), [Some(2), None, None]);
        consumer.seek_to_timestamp(at(26)).expect("a readable log");
        assert_eq!(consumer.lag(), 1);
    });
}

#[test]
fn a_batch_is_found_by_its_records() {
    on_kept(|kept| {
        let clock = std::sync::Arc::new(ottla::ManualClock::new(at(100)));
        let dyn_clock: std::sync::Arc<dyn ottla::Clock> = clock.clone();
        let broker = kept.builder().clock(dyn_clock).open().expect("opens");
        broker.create_topic("t", TopicConfig::new().segment_bytes(4096)).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        for batch in 1..=10 {
            clock.set(at(batch * 100));
            producer.send_batch([((), &[0; 100][..]); 20]).expect("sends");
        }
        drop(producer);
        let check = |broker: &Broker| {
            let consumer = reader(broker, "t");
            for batch in 1..=10u64 {
                let since = (batch * 100) as i64 - 50;
                assert_eq!(offset_since(&consumer, since), Some((batch - 1) * 20), "since {since}");
            }
            assert_eq!(offset_since(&consumer, 1_001), None);
        };
        check(&broker);
        drop(broker);
        check(&kept.open());
    });
}

#[test]
fn times_that_do_not_rise_are_searched_as_a_list_would_be() {
    with_seeds(|rng| {
        let memory = Broker::in_memory();
        let kept = Kept::Disk(temp_dir());
        let disk = kept.open();
        let times: Vec<i64> = (0..300).map(|_| rng.below(1_000) as i64).collect();
        let len = rng.below(500);
        for broker in [&memory, &disk] {
            broker.create_topic("t", TopicConfig::new().segment_bytes(16 << 10)).expect("a free name");
            send_at(broker, times.iter().copied(), len);
        }
        let queries: Vec<i64> = (0..200).map(|_| rng.below(1_100) as i64).collect();
        let check = |broker: &Broker| {
            let consumer = reader(broker, "t");
            for &millis in &queries {
                let expected = times.iter().position(|&time| time >= millis).map(|offset| offset as u64);
                assert_eq!(offset_since(&consumer, millis), expected, "since {millis}");
            }
        };
        check(&memory);
        check(&disk);
        drop(disk);
        check(&kept.open());
    });
}

#[test]
fn records_sent_from_now_on_are_found_by_now() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_at(broker, [1, 2, 3], 10);
        let now = Timestamp::now();
        send_numbered(broker, "t", 5);
        let mut consumer = reader(broker, "t");
        consumer.seek_to_timestamp(now).expect("a readable log");
        assert_eq!(texts(&drain(&mut consumer)), numbered(0..5));
    });
}

#[test]
fn a_clock_before_the_epoch_is_taken_to_stand_at_it() {
    let clock = std::sync::Arc::new(ottla::ManualClock::new(at(-5)));
    let broker = Broker::builder().clock(std::sync::Arc::clone(&clock)).open().expect("in memory");
    broker.create_topic("t", TopicConfig::new()).expect("a free name");
    let producer = broker.producer::<(), String>("t").expect("it exists");
    assert_eq!(producer.send((), "early").expect("sent").timestamp, at(0));
    assert_eq!(producer.enqueue((), "early").expect("room").wait().expect("kept").timestamp, at(0));
    clock.set(at(7));
    assert_eq!(producer.send((), "later").expect("sent").timestamp, at(7));
}
