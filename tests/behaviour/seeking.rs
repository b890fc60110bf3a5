//! Positions: seeking to an offset, the beginning and the end, and what a consumer says about where it
//! is.

use ottla::{Broker, Error, TopicConfig, TopicPartition};

use crate::support::*;

/// A topic whose records lie in memory, in files, or in both.
fn with_records(broker: &Broker, count: usize) {
    broker.create_topic("t", partitions(2).segment_bytes(4096)).expect("a free name");
    send_numbered(broker, "t", count);
}

#[test]
fn a_seek_goes_to_any_offset() {
    on_both(|broker| {
        with_records(broker, 300);
        let mut consumer = reader(broker, "t");
        for offset in [299, 0, 150, 151, 149, 1] {
            consumer.seek("t", 0, offset).expect("assigned");
            assert_eq!(consumer.position("t", 0).expect("assigned"), offset);
            assert_eq!(texts(&drain(&mut consumer)), numbered(offset as usize..300));
            assert_eq!(consumer.position("t", 0).expect("assigned"), 300);
        }
    });
}

#[test]
fn the_last_of_several_seeks_counts() {
    on_both(|broker| {
        with_records(broker, 10);
        let mut consumer = reader(broker, "t");
        for offset in [5, 1_000, 8, 3] {
            consumer.seek("t", 0, offset).expect("assigned");
        }
        assert_eq!(texts(&drain(&mut consumer)), numbered(3..10));
    });
}

#[test]
fn a_seek_moves_one_partition_only() {
    on_both(|broker| {
        with_records(broker, 3);
        let producer = broker.producer::<(), String>("t").expect("it exists");
        for value in ["a", "b"] {
            producer.record(value).partition(1).send().expect("sends");
        }
        let mut consumer = reader(broker, "t");
        drain(&mut consumer);
        consumer.seek("t", 1, 1).expect("assigned");
        assert_eq!(texts(&drain(&mut consumer)), ["b"]);
    });
}

#[test]
fn the_end_is_a_position_and_what_comes_next_is_polled_from_it() {
    on_both(|broker| {
        with_records(broker, 3);
        let mut consumer = reader(broker, "t");
        consumer.seek("t", 0, 3).expect("assigned");
        assert!(consumer.poll(NOW).expect("no error at the end").is_empty());
        send_numbered(broker, "t", 1);
        assert_eq!(offsets(&drain(&mut consumer)), [3]);
    });
}

#[test]
fn beginning_and_end_are_those_of_every_partition() {
    on_both(|broker| {
        with_records(broker, 3);
        let producer = broker.producer::<(), String>("t").expect("it exists");
        producer.record("a").partition(1).send().expect("sends");
        let mut consumer = reader(broker, "t");
        let positions = |consumer: &ottla::Consumer<_, _>| {
            [0, 1].map(|partition| consumer.position("t", partition).expect("assigned"))
        };
        consumer.seek_to_end();
        assert_eq!(positions(&consumer), [3, 1]);
        assert!(drain(&mut consumer).is_empty());
        consumer.seek_to_beginning();
        assert_eq!(positions(&consumer), [0, 0]);
        assert_eq!(drain(&mut consumer).len(), 4);
    });
}

#[test]
fn a_replay_is_identical() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker, 500);
        let mut consumer = reader(&broker, "t");
        let first = drain(&mut consumer);
        consumer.seek_to_beginning();
        assert_eq!(drain(&mut consumer), first);
        drop((consumer, broker));
        let broker = kept.open();
        let mut consumer = reader(&broker, "t");
        assert_eq!(drain(&mut consumer), first);
        consumer.seek_to_beginning();
        assert_eq!(drain(&mut consumer), first);
    });
}

#[test]
fn offsets_and_lag_say_what_is_there_and_what_is_to_come() {
    on_both(|broker| {
        with_records(broker, 5);
        let mut consumer = reader(broker, "t");
        let of = |partition, offset| (TopicPartition::new("t", partition), offset);
        assert!(consumer.beginning_offsets().into_iter().eq([of(0, 0), of(1, 0)]));
        assert!(consumer.end_offsets().into_iter().eq([of(0, 5), of(1, 0)]));
        assert_eq!(consumer.lag(), 5);
        drain(&mut consumer);
        assert_eq!(consumer.lag(), 0);
        send_numbered(broker, "t", 2);
        assert_eq!(consumer.lag(), 2);
        consumer.seek("t", 0, 1).expect("assigned");
        assert_eq!(consumer.lag(), 6);
        assert_eq!(consumer.end_offsets()[&TopicPartition::new("t", 0)], 7);
        assert_eq!(consumer.position("t", 0).expect("assigned"), 1, "asking moves nothing");
    });
}

#[test]
fn an_unused_topic_begins_and_ends_at_0() {
    on_both(|broker| {
        with_records(broker, 0);
        let mut consumer = reader(broker, "t");
        assert!(
            consumer.beginning_offsets().values().chain(consumer.end_offsets().values()).all(|&o| o == 0)
        );
        consumer.seek_to_end();
        assert_eq!((consumer.lag(), drain(&mut consumer).len()), (0, 0));
    });
}

#[test]
fn a_seek_may_go_into_the_middle_of_a_batch() {
    on_kept(|kept| {
        let broker = kept.open();
        with_records(&broker, 1);
        let producer = broker.producer::<String, String>("t").expect("it exists");
        let values = numbered(0..100);
        let places = producer.send_batch(values.iter().map(|value| ("key", value.as_str()))).expect("sends");
        let (partition, base) = (places[0].partition, places[0].offset);
        drop((producer, broker));
        for _ in 0..2 {
            let broker = kept.open();
            let by_hand = broker.consumer::<ottla::Raw, ottla::Raw>().assign("t", [partition]);
            let mut consumer = by_hand.build().expect("it exists");
            for skipped in [99, 1, 50, 0] {
                consumer.seek("t", partition, base + skipped as u64).expect("assigned");
                assert_eq!(texts(&drain(&mut consumer)), values[skipped..]);
            }
            // The next pass reads a log that was closed in order.
            broker.close().expect("closes");
        }
    });
}

#[test]
fn random_seeks_find_what_a_list_finds() {
    with_seeds(|rng| {
        let kept = Kept::Disk(temp_dir());
        let mut sent: Vec<Vec<u8>> = Vec::new();
        for life in 0..3 {
            let broker = kept.open();
            let config = TopicConfig::new().segment_bytes(20_000);
            broker.open_topic("t", config).expect("opens");
            let producer = broker.producer::<(), ottla::Raw>("t").expect("it exists");
            for _ in 0..200 {
                let len = rng.below(600);
                sent.push(rng.bytes(len));
                producer.send((), sent.last().expect("just pushed")).expect("sends");
            }
            let mut consumer = reader(&broker, "t");
            for _ in 0..100 {
                let offset = rng.below(sent.len() + 1);
                consumer.seek("t", 0, offset as u64).expect("assigned");
                let records = consumer.poll(NOW).expect("records");
                assert_eq!(records.is_empty(), offset == sent.len(), "life {life}, offset {offset}");
                for (record, value) in records.iter().zip(&sent[offset..]) {
                    assert_eq!(record.value_bytes(), Some(&value[..]), "life {life}, offset {offset}");
                }
                let after = offset + records.len();
                assert_eq!(consumer.position("t", 0).expect("assigned"), after as u64);
            }
        }
    });
}

#[test]
fn a_seek_in_a_deleted_or_closed_topic_is_noticed_by_the_poll() {
    on_both(|broker| {
        with_records(broker, 3);
        let mut consumer = reader(broker, "t");
        drain(&mut consumer);
        broker.close().expect("closes");
        consumer.seek_to_beginning();
        assert_fails!(consumer.poll(NOW), Error::Closed);
    });
}
