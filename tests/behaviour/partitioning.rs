//! Which partition a record goes to: as Kafka's Java client chooses it for keys, sticky without a key, or
//! the one that is given.

use std::collections::BTreeSet;

use ottla::{Broker, Error, Raw};

use crate::support::*;

/// From Kafka's own tests: the key, and its murmur2.
const KAFKA_HASHES: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ("abc", 479_470_107),
];

#[test]
fn keys_go_to_the_partitions_of_kafkas_java_client() {
    let broker = Broker::in_memory();
    broker.create_topic("wide", partitions(1_000)).expect("a free name");
    let producer = broker.producer::<String, String>("wide").expect("it exists");
    for (key, partition) in [("", 681), ("a", 524), ("ab", 434), ("abc", 107), ("123456789", 566)] {
        assert_eq!(producer.send(key, "v").expect("sends").partition, partition, "{key:?}");
        assert_eq!(producer.record("v").key(key).send().expect("sends").partition, partition, "{key:?}");
        assert_eq!(producer.tombstone(key).send().expect("sends").partition, partition, "{key:?}");
        assert_eq!(producer.send_batch([(key, "v")]).expect("sends")[0].partition, partition, "{key:?}");
    }
    for (key, hash) in KAFKA_HASHES {
        let partition = (hash.cast_unsigned() & 0x7fff_ffff) % 1_000;
        assert_eq!(producer.send(key, "v").expect("sends").partition, partition, "{key:?}");
    }
}

#[test]
fn the_bytes_of_a_key_decide_not_its_type() {
    on_both(|broker| {
        broker.create_topic("t", partitions(20)).expect("a free name");
        let number = broker.producer::<u32, String>("t").expect("it exists");
        let bytes = broker.producer::<Raw, String>("t").expect("it exists");
        let optional = broker.producer::<Option<String>, String>("t").expect("it exists");
        let string = broker.producer::<String, String>("t").expect("it exists");
        for key in ["abcd", "0000", "zzzz"] {
            let value = u32::from_be_bytes(key.as_bytes().try_into().expect("four bytes"));
            let partition = string.send(key, "v").expect("sends").partition;
            assert_eq!(number.send(value, "v").expect("sends").partition, partition);
            assert_eq!(bytes.send(key.as_bytes(), "v").expect("sends").partition, partition);
            assert_eq!(optional.send(Some(key), "v").expect("sends").partition, partition);
        }
    });
}

#[test]
fn a_key_stays_with_its_partition() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", partitions(7)).expect("a free name");
        let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
        let send_all = |broker: &Broker| -> Vec<u32> {
            let producer = broker.producer::<String, String>("t").expect("it exists");
            keys.iter().map(|key| producer.send(key, "v").expect("sends").partition).collect()
        };
        let first = send_all(&broker);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 7, "100 keys reach all partitions");
        assert_eq!(send_all(&broker), first, "another producer");
        drop(broker);
        assert_eq!(send_all(&kept.open()), first, "another life of the broker");
    });
}

#[test]
fn records_without_a_key_stay_together_and_still_reach_every_partition() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let visited: Vec<u32> =
            (0..800).map(|_| producer.send((), &[0; 100]).expect("sends").partition).collect();
        let changes = visited.windows(2).filter(|pair| pair[0] != pair[1]).count();
        // 800 records of somewhat more than 100 bytes, 16 KiB at a time.
        assert!((4..=8).contains(&changes), "{changes} changes");
        assert_eq!(visited.iter().collect::<BTreeSet<_>>().len(), 4);
    });
}

#[test]
fn producers_without_keys_do_not_all_begin_at_one_partition() {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(100)).expect("a free name");
    let producer = broker.producer::<(), String>("t").expect("it exists");
    let first = |number: usize| {
        let own = if number.is_multiple_of(2) {
            producer.clone()
        } else {
            broker.producer("t").expect("it exists")
        };
        own.send((), "v").expect("sends").partition
    };
    assert!((0..32).map(first).collect::<BTreeSet<_>>().len() > 1);
}

#[test]
fn a_given_partition_counts_more_than_the_key() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let producer = broker.producer::<String, String>("t").expect("it exists");
        for partition in 0..4 {
            for (offset, key) in ["a", "b", "c"].into_iter().enumerate() {
                let at = producer.record("v").key(key).partition(partition).send().expect("sends");
                assert_eq!((at.partition, at.offset), (partition, offset as u64));
            }
            assert_eq!(
                producer.tombstone("k").partition(partition).send().expect("sends").partition,
                partition
            );
            assert_eq!(producer.record("v").partition(partition).send().expect("sends").partition, partition);
        }
    });
}

#[test]
fn a_partition_that_does_not_exist_is_refused_with_those_that_do() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let producer = broker.producer::<String, String>("t").expect("it exists");
        for wrong in [4, u32::MAX] {
            let error = producer.record("v").partition(wrong).send().expect_err("there are four");
            let shown = error.to_string();
            assert!(shown.contains(&wrong.to_string()) && shown.contains("0 to 3"), "{shown}");
            assert_fails!(Err::<(), _>(error), Error::InvalidPartition { topic, partition, partitions: 4 }
                if topic == "t" && partition == wrong);
        }
        assert_eq!(held(broker, "t"), 0);
    });
}

#[test]
fn an_empty_key_is_a_key_and_a_null_one_is_none() {
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(1_000).memory_limit(1 << 30)).expect("a free name");
    let producer = broker.producer::<Option<String>, Raw>("t").expect("it exists");
    let large = [0; 20_000];
    let of_empty: BTreeSet<u32> =
        (0..8).map(|_| producer.send(Some(""), &large).expect("sends").partition).collect();
    assert_eq!(of_empty.into_iter().collect::<Vec<_>>(), [681]);
    let of_null: BTreeSet<u32> =
        (0..8).map(|_| producer.send(None, &large).expect("sends").partition).collect();
    assert_eq!(of_null.len(), 8, "records without a key move on");
    let records = all_of(&broker, "t");
    let keys =
        |wanted: Option<&[u8]>| records.iter().filter(|record| record.key.as_deref() == wanted).count();
    assert_eq!((keys(None), keys(Some(b""))), (8, 8));
}
