//! How much a poll returns: records and bytes at most, bytes at least, and that what a limit cuts off comes
//! with the next polls, each record once.

use std::time::Duration;

use ottla::{Broker, Consumer, ConsumerBuilder, Error, OwnedRecord, Raw, Record, Records, TopicConfig};

use crate::support::*;

/// Of a record with a value of 100 bytes and no key.
const FRAME_BYTES: usize = 144;

fn consumer(broker: &Broker) -> ConsumerBuilder<Raw, Raw> {
    broker.consumer().topic("t")
}

fn send_values(broker: &Broker, partition: u32, sizes: &[usize]) {
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    for &size in sizes {
        producer.record(&vec![1; size]).partition(partition).send().expect("sends");
    }
}

fn frame_bytes(records: &Records<Raw, Raw>) -> usize {
    let frames =
        records.iter().map(|record| (40 + record.value_bytes().map_or(0, <[u8]>::len)).next_multiple_of(8));
    frames.sum()
}

/// Polls until there is nothing more, one list for each poll.
fn drain_by_poll(consumer: &mut Consumer<Raw, Raw>) -> Vec<Vec<OwnedRecord>> {
    let mut polls = Vec::new();
    loop {
        let records = consumer.poll(NOW).expect("a readable log");
        if records.is_empty() {
            return polls;
        }
        polls.push(records.iter().map(Record::to_owned_record).collect());
    }
}

// ---- at most ----

#[test]
fn a_poll_returns_at_most_max_records_and_goes_on_behind_them() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 10);
        for most in [1, 3, 10, 11] {
            let mut consumer = consumer(broker).max_records(most).build().expect("in range");
            let polls = drain_by_poll(&mut consumer);
            assert_eq!(polls.len(), 10_usize.div_ceil(most));
            assert!(polls.iter().all(|poll| poll.len() <= most));
            assert_eq!(texts(&polls.concat()), numbered(0..10));
        }
    });
}

#[test]
fn a_limited_poll_knows_its_length_and_moves_the_position_behind_what_it_returns() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 10);
        let mut consumer = consumer(broker).group("g").max_records(4).build().expect("in range");
        let records = consumer.poll(NOW).expect("records");
        assert_eq!((records.len(), records.iter().count()), (4, 4));
        assert_eq!((consumer.position("t", 0).expect("assigned"), consumer.lag()), (4, 6));
        consumer.commit(&records).expect("commits");
        drop(consumer);
        let mut next = self::consumer(broker).group("g").build().expect("nobody is in the group");
        assert_eq!(texts(&drain(&mut next)), numbered(4..10), "the commit is of what was returned");
    });
}

#[test]
fn limited_polls_read_what_lies_in_files() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", TopicConfig::new().segment_bytes(64 << 10)).expect("a free name");
        send_numbered(&broker, "t", 5_000);
        drop(broker);
        let broker = kept.open();
        for (records, bytes) in [(7, 1 << 20), (usize::MAX, 1_000), (3_000, 100_000)] {
            let mut consumer =
                consumer(&broker).max_records(records).max_bytes(bytes).build().expect("in range");
            assert_eq!(texts(&drain_by_poll(&mut consumer).concat()), numbered(0..5_000));
        }
    });
}

#[test]
fn a_poll_returns_at_most_max_bytes_or_one_larger_record() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_values(broker, 0, &[100, 100, 5_000, 100, 100]);
        let mut consumer = consumer(broker).max_bytes(2 * FRAME_BYTES).build().expect("in range");
        let lengths: Vec<usize> = drain_by_poll(&mut consumer).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 2]);
        consumer.seek_to_beginning();
        let mut consumer = self::consumer(broker).max_bytes(FRAME_BYTES + 1).build().expect("in range");
        let lengths: Vec<usize> = drain_by_poll(&mut consumer).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1; 5]);
    });
}

#[test]
fn limits_hold_over_all_partitions_and_none_starves() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        // One that seldom fits beside the others must come all the same.
        send_values(broker, 0, &[100; 40]);
        send_values(broker, 1, &[1_500; 4]);
        send_values(broker, 2, &[100; 40]);
        send_values(broker, 3, &[10; 1]);
        let mut consumer = consumer(broker).max_bytes(1_000).max_records(5).build().expect("in range");
        let (mut seen, mut polls) = ([0; 4], 0);
        while seen.iter().sum::<usize>() < 85 {
            let records = consumer.poll(NOW).expect("records");
            polls += 1;
            assert!(!records.is_empty() && records.len() <= 5);
            assert!(records.len() == 1 || frame_bytes(&records) <= 1_000);
            records.iter().for_each(|record| seen[record.partition() as usize] += 1);
            assert!(polls < 12 || seen.iter().all(|count| *count > 0), "{seen:?} after {polls} polls");
        }
        assert_eq!(seen, [40, 4, 40, 1]);
    });
}

// ---- at least ----

#[test]
fn a_poll_waits_until_min_bytes_are_there_over_all_partitions() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let build = || consumer(broker).min_bytes(3 * FRAME_BYTES).build().expect("in range");
        send_values(broker, 0, &[100]);
        send_values(broker, 1, &[100]);
        assert_eq!(build().poll(NOW).expect("no wait").len(), 2);
        assert_eq!(build().poll(Duration::from_millis(2)).expect("its timeout").len(), 2);
        let mut consumer = build();
        let poll =
            watched("a poll for three records", move || consumer.poll(FOREVER).map(|records| records.len()));
        let_it_sleep();
        send_values(broker, 1, &[100]);
        assert_eq!(poll.wait().expect("records"), 3);
        assert_eq!(build().poll(FOREVER).expect("at once").len(), 3);
    });
}

#[test]
fn a_wait_for_more_takes_nothing_until_it_returns() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        send_values(broker, 0, &[100]);
        send_values(broker, 1, &[100, 100]);
        let mut consumer = consumer(broker).min_bytes(1 << 20).build().expect("in range");
        let wake_handle = consumer.wake_handle();
        let poll = watched("a poll that is woken", move || (consumer.poll(FOREVER).map(drop), consumer));
        let_it_sleep();
        wake_handle.wake();
        let (outcome, mut consumer) = poll.wait();
        assert_fails!(outcome, Error::Woken);
        let positions = [0, 1].map(|partition| consumer.position("t", partition).expect("assigned"));
        assert_eq!((positions, consumer.lag()), ([0, 0], 3));
        assert_eq!(drain(&mut consumer).len(), 3);
    });
}

#[test]
fn a_minimum_of_more_than_one_piece_of_the_log_is_gathered() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2).segment_bytes(100_000)).expect("a free name");
        for partition in [0, 1] {
            send_values(broker, partition, &[10_000; 100]);
        }
        let mut consumer = consumer(broker).min_bytes(2_000_000).build().expect("in range");
        let records = consumer.poll(FOREVER).expect("records");
        assert!(frame_bytes(&records) >= 2_000_000);
        assert!(records.iter().map(|record| record.partition()).is_sorted(), "partition by partition");
        for partition in [0, 1] {
            let of_partition = records.iter().filter(|record| record.partition() == partition);
            assert!(of_partition.map(|record| record.offset()).eq(0..100));
        }
    });
}

#[test]
fn another_limit_that_is_reached_ends_the_wait_for_a_minimum() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_values(broker, 0, &[100; 10]);
        let mut few = consumer(broker).min_bytes(5 * FRAME_BYTES).max_records(2).build().expect("in range");
        assert_eq!(few.poll(FOREVER).expect("no wait").len(), 2);
        let most = 5 * FRAME_BYTES - 1;
        let mut small = consumer(broker).min_bytes(most).max_bytes(most).build().expect("in range");
        assert_eq!(small.poll(FOREVER).expect("no wait").len(), 4);
    });
}

// ---- wrong values ----

#[test]
fn a_limit_out_of_range_is_refused_when_the_consumer_is_built() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let build = consumer(broker).max_records(0).build();
        assert_fails!(build, Error::InvalidConfig { setting: "max_records", .. });
        let build = consumer(broker).max_bytes(0).build();
        assert_fails!(build, Error::InvalidConfig { setting: "max_bytes", .. });
        let build = consumer(broker).min_bytes(101).max_bytes(100).build();
        assert_fails!(build, Error::InvalidConfig { setting: "min_bytes", allowed, .. } if allowed.contains("1 to 100"));
    });
}
