//! A position outside what a partition holds: the typed error, the policies, and how to go on.

use std::sync::atomic::{AtomicBool, Ordering};

use ottla::{Broker, Consumer, Error, OutOfRange, Raw, TopicPartition};

use crate::support::*;

const LIMIT: u64 = 64 << 10;

/// A topic in memory that has dropped its oldest records; its first and end offset.
fn with_dropped_records(broker: &Broker) -> (u64, u64) {
    let config = partitions(2).memory_limit(LIMIT).durability(ottla::Durability::Memory);
    broker.create_topic("t", config).expect("a free name");
    send_numbered(broker, "t", 2_000);
    let held = broker.describe_topic("t").expect("it exists").partitions[0];
    assert!(held.start_offset > 0, "records were dropped");
    (held.start_offset, held.end_offset)
}

fn consumer(broker: &Broker, policy: OutOfRange) -> Consumer<Raw, Raw> {
    broker.consumer().topic("t").on_out_of_range(policy).build().expect("it exists")
}

#[test]
fn a_position_before_the_first_record_is_an_error_with_the_range() {
    on_both(|broker| {
        let (start, end) = with_dropped_records(broker);
        let mut consumer = consumer(broker, OutOfRange::default());
        for offset in [0, start - 1] {
            consumer.seek("t", 0, offset).expect("assigned");
            for _ in 0..2 {
                let error = consumer.poll(NOW).expect_err("it is out of range");
                let shown = error.to_string();
                let found = [offset, start, end].map(|number| number.to_string());
                assert!(
                    shown.contains("t-0") && found.iter().all(|number| shown.contains(number)),
                    "{shown}"
                );
                let Error::OffsetOutOfRange { partition, requested, earliest, latest } = error else {
                    panic!("{error}")
                };
                assert_eq!(partition, TopicPartition::new("t", 0));
                assert_eq!((requested, earliest, latest), (offset, start, end));
                assert_eq!(consumer.position("t", 0).expect("assigned"), offset, "the position stays");
            }
        }
        consumer.seek("t", 0, start).expect("assigned");
        assert_eq!(texts(&drain(&mut consumer)), numbered(start as usize..end as usize));
    });
}

#[test]
fn a_position_beyond_the_end_is_an_error_with_the_range() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        send_numbered(broker, "t", 3);
        let mut consumer = consumer(broker, OutOfRange::Error);
        for (partition, offset, end) in [(0, 4, 3), (0, u64::MAX, 3), (1, 1, 0)] {
            consumer.seek("t", 0, 3).expect("assigned");
            consumer.seek("t", 1, 0).expect("assigned");
            consumer.seek("t", partition, offset).expect("assigned");
            for timeout in [NOW, FOREVER] {
                let poll = consumer.poll(timeout);
                assert_fails!(poll, Error::OffsetOutOfRange { requested, earliest: 0, latest, .. }
                    if requested == offset && latest == end);
            }
        }
        // The position is in range once the log has grown that far.
        consumer.seek("t", 0, 4).expect("assigned");
        consumer.seek("t", 1, 0).expect("assigned");
        assert!(consumer.poll(NOW).is_err());
        send_numbered(broker, "t", 2);
        assert_eq!(offsets(&drain(&mut consumer)), [4]);
    });
}

#[test]
fn the_error_of_one_partition_does_not_keep_the_records_of_another() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        for partition in 0..3 {
            producer.record("v").partition(partition).send().expect("sends");
        }
        let mut consumer = consumer(broker, OutOfRange::Error);
        consumer.seek("t", 1, 9).expect("assigned");
        let (mut found, mut errors) = (Vec::new(), 0);
        for _ in 0..6 {
            match consumer.poll(NOW) {
                Ok(records) => found.extend(records.iter().map(|record| record.partition())),
                Err(Error::OffsetOutOfRange { partition, .. }) if partition.partition == 1 => errors += 1,
                Err(other) => panic!("{other}"),
            }
        }
        found.sort_unstable();
        assert_eq!(found, [0, 2], "each once");
        assert!(errors > 0, "the gap is not silent");
    });
}

#[test]
fn the_error_of_one_partition_is_heard_beside_one_that_always_has_records() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        producer.record("v").partition(2).send().expect("sends");
        let mut consumer = consumer(broker, OutOfRange::Error);
        consumer.seek("t", 1, 9).expect("assigned");
        let (mut found, mut errors) = ([0; 3], 0);
        for _ in 0..10 {
            producer.record("v").partition(0).send().expect("sends");
            match consumer.poll(NOW) {
                Ok(records) => records.iter().for_each(|record| found[record.partition() as usize] += 1),
                Err(Error::OffsetOutOfRange { .. }) => errors += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(errors > 0, "the gap is not silent");
        assert!(found[0] > 5 && found[2] == 1, "{found:?}");
    });
}

#[test]
fn a_policy_goes_on_at_the_earliest_record() {
    on_both(|broker| {
        let (start, end) = with_dropped_records(broker);
        for offset in [0, start - 1, end + 1, u64::MAX] {
            let mut consumer = consumer(broker, OutOfRange::Earliest);
            consumer.seek("t", 0, offset).expect("assigned");
            assert_eq!(texts(&drain(&mut consumer)), numbered(start as usize..end as usize), "from {offset}");
        }
    });
}

#[test]
fn a_policy_goes_on_at_the_end() {
    on_both(|broker| {
        let (start, end) = with_dropped_records(broker);
        for offset in [0, start - 1, end + 1, u64::MAX] {
            let mut consumer = consumer(broker, OutOfRange::Latest);
            consumer.seek("t", 0, offset).expect("assigned");
            assert!(consumer.poll(NOW).expect("no error").is_empty());
            assert_eq!(consumer.position("t", 0).expect("assigned"), end, "from {offset}");
        }
        let mut consumer = consumer(broker, OutOfRange::Latest);
        consumer.seek("t", 0, 0).expect("assigned");
        drain(&mut consumer);
        send_numbered(broker, "t", 1);
        assert_eq!(offsets(&drain(&mut consumer)), [end]);
    });
}

#[test]
fn a_policy_does_not_touch_a_position_in_range() {
    on_both(|broker| {
        let (start, end) = with_dropped_records(broker);
        for policy in [OutOfRange::Error, OutOfRange::Earliest, OutOfRange::Latest] {
            let mut consumer = consumer(broker, policy);
            for offset in [start, (start + end) / 2, end] {
                consumer.seek("t", 0, offset).expect("assigned");
                assert_eq!(drain(&mut consumer).len() as u64, end - offset, "{policy:?} from {offset}");
            }
        }
    });
}

#[test]
fn a_committed_position_whose_records_are_gone_is_an_error_for_the_next_consumer() {
    on_both(|broker| {
        let config = partitions(1).memory_limit(LIMIT).durability(ottla::Durability::Memory);
        broker.create_topic("t", config).expect("a free name");
        send_numbered(broker, "t", 5);
        let member = || broker.consumer::<(), String>().topic("t").group("g");
        let mut first = member().build().expect("builds");
        let records = first.poll(NOW).expect("records");
        first.commit(&records).expect("commits");
        drop(first);
        send_numbered(broker, "t", 2_000);
        let mut next = member().build().expect("builds");
        assert_fails!(next.poll(NOW), Error::OffsetOutOfRange { requested: 5, .. });
        drop(next);
        let mut lenient = member().on_out_of_range(OutOfRange::Earliest).build().expect("builds");
        assert!(!lenient.poll(NOW).expect("the policy").is_empty());
    });
}

#[test]
fn a_consumer_that_goes_on_at_the_earliest_record_never_hears_of_the_range() {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(1).memory_limit(LIMIT)).expect("a free name");
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300_000 {
                producer.send((), &[0; 1_000]).expect("sends");
            }
            done.store(true, Ordering::Release);
        });
        let mut consumer = consumer(&broker, OutOfRange::Earliest);
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            // Behind at every poll, while the start of the log moves on.
            consumer.seek("t", 0, 0).expect("assigned");
            let records = consumer.poll(NOW).expect("the policy is to go on");
            if let Some(first) = records.iter().next() {
                assert!(first.offset() >= last, "offset {} after {last}", first.offset());
                last = first.offset();
            }
        }
    });
}
