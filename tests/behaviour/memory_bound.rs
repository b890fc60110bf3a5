//! Topics in memory hold a bounded number of bytes: the oldest records go, counted, and a reader that is
//! behind is told.

use ottla::{Broker, Durability, Error, Raw, TopicConfig};

use crate::support::*;

const LIMIT: u64 = 64 << 10;

fn bounded(broker: &Broker, partition_count: u32) {
    let config = partitions(partition_count).memory_limit(LIMIT).durability(Durability::Memory);
    broker.create_topic("t", config).expect("a free name");
}

#[test]
fn a_topic_far_beyond_its_bound_holds_as_much_as_before() {
    on_both(|broker| {
        bounded(broker, 1);
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let mut counts = Vec::new();
        for round in 1..=20 {
            for _ in 0..1_000 {
                producer.send((), &[0; 100]).expect("sends");
            }
            let partition = broker.describe_topic("t").expect("it exists").partitions[0];
            assert_eq!(partition.end_offset, round * 1_000);
            counts.push(partition.end_offset - partition.start_offset);
            assert_eq!(all_of(broker, "t").len() as u64, *counts.last().expect("just pushed"));
        }
        let (least, most) =
            (*counts.iter().min().expect("not empty"), *counts.iter().max().expect("not empty"));
        assert!(most * 100 <= LIMIT, "{most} records of 100 bytes");
        assert!(least * 100 >= LIMIT / 4, "{least} records of 100 bytes");
    });
}

#[test]
fn the_oldest_records_go_first() {
    on_both(|broker| {
        bounded(broker, 1);
        send_numbered(broker, "t", 5_000);
        let start = broker.describe_topic("t").expect("it exists").partitions[0].start_offset;
        assert!(start > 0);
        let found = all_of(broker, "t");
        assert!(offsets(&found).into_iter().eq(start..5_000), "no gap, and the latest are there");
        assert_eq!(texts(&found), numbered(start as usize..5_000));
    });
}

#[test]
fn a_topic_below_its_bound_keeps_everything() {
    on_both(|broker| {
        bounded(broker, 1);
        send_numbered(broker, "t", 300);
        assert_eq!(texts(&all_of(broker, "t")), numbered(0..300));
    });
}

#[test]
fn partitions_share_the_bound() {
    on_both(|broker| {
        bounded(broker, 4);
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        for number in 0..8_000 {
            producer.record(&[0; 100]).partition(number % 4).send().expect("sends");
        }
        let bytes = held(broker, "t") * 100;
        assert!((LIMIT / 4..=LIMIT).contains(&bytes), "{bytes} bytes");
        let each = broker.describe_topic("t").expect("it exists").partitions;
        assert!(each.iter().all(|partition| partition.start_offset > 0 && partition.end_offset == 2_000));
    });
}

#[test]
fn a_reader_that_is_behind_is_told_and_one_that_keeps_up_misses_nothing() {
    on_both(|broker| {
        bounded(broker, 1);
        let (mut slow, mut quick) = (reader(broker, "t"), reader(broker, "t"));
        let mut found = Vec::new();
        for _ in 0..50 {
            send_numbered(broker, "t", 100);
            found.extend(offsets(&drain(&mut quick)));
        }
        assert!(found.into_iter().eq(0..5_000));
        let start = slow.beginning_offsets().into_values().next().expect("a partition");
        assert_fails!(slow.poll(NOW), Error::OffsetOutOfRange { requested: 0, earliest, latest: 5_000, .. }
            if earliest == start);
        slow.seek_to_beginning();
        assert_eq!(drain(&mut slow).len() as u64, 5_000 - start);
    });
}

#[test]
fn a_record_larger_than_the_bound_is_readable() {
    on_both(|broker| {
        bounded(broker, 1);
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let large = Rng(7).bytes(1 << 20);
        for round in 0..3 {
            send_numbered(broker, "t", 100);
            let sent = producer.send((), &large).expect("sends");
            assert_eq!(sent.offset, round * 101 + 100);
            let found = all_of(broker, "t");
            let last = found.last().expect("the large record");
            assert_eq!((last.offset, last.value.as_deref()), (sent.offset, Some(&large[..])));
        }
        send_numbered(broker, "t", 2_000);
        assert!(held(broker, "t") * 50 <= LIMIT, "the large records are gone");
    });
}

#[test]
fn a_batch_larger_than_the_bound_is_readable() {
    on_both(|broker| {
        bounded(broker, 1);
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let value = [3; 1_000];
        producer.send_batch([((), &value[..]); 500]).expect("sends");
        assert_eq!(all_of(broker, "t").len(), 500);
        producer.send_batch([((), &value[..]); 500]).expect("sends");
        assert!(offsets(&all_of(broker, "t")).into_iter().rev().take(500).eq((500..1_000).rev()));
    });
}

#[test]
fn the_bound_is_of_no_effect_on_disk() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", TopicConfig::new().memory_limit(LIMIT)).expect("a free name");
        send_numbered(&broker, "t", 5_000);
        assert_eq!(texts(&all_of(&broker, "t")), numbered(0..5_000));
    });
}

#[test]
fn a_time_is_not_found_among_dropped_records() {
    on_both(|broker| {
        bounded(broker, 1);
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        for millis in 0..5_000 {
            let record = producer.record(&[0; 50]);
            record.timestamp(ottla::Timestamp::from_millis(millis)).send().expect("sends");
        }
        let mut consumer = reader(broker, "t");
        let start = broker.describe_topic("t").expect("it exists").partitions[0].start_offset;
        consumer.seek_to_timestamp(ottla::Timestamp::from_millis(0)).expect("a readable log");
        assert_eq!(consumer.position("t", 0).expect("assigned"), start);
        consumer.seek_to_timestamp(ottla::Timestamp::from_millis(4_990)).expect("a readable log");
        assert_eq!(drain(&mut consumer).len(), 10);
    });
}

#[test]
fn seeking_to_the_beginning_means_what_is_first_at_the_next_poll() {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().memory_limit(64 << 10)).expect("a free name");
    send_numbered(&broker, "t", 10);
    let mut consumer = reader(&broker, "t");
    consumer.seek_to_beginning();
    send_numbered(&broker, "t", 10_000);
    let start = consumer.beginning_offsets().into_values().next().expect("one partition");
    assert!(start > 0, "something was pushed out");
    assert_eq!(consumer.position("t", 0).expect("assigned"), start);
    assert_eq!(drain(&mut consumer).first().expect("records").offset, start);
    // Once it has read, it is told of a gap as ever.
    consumer.seek("t", 0, 0).expect("assigned");
    assert_fails!(consumer.poll(NOW), Error::OffsetOutOfRange { requested: 0, .. });
}
