//! Which partition a record goes to: as Kafka's Java client chooses it for keys, sticky without a key, the
//! one that is given, or the one that a partitioner chooses.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ottla::{
    Broker, Codec, Error, KeyHash, Partitioner, PartitionerInput, Producer, Raw, RoundRobin, Sticky,
};

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

// ---- partitioners ----

fn producer_with<K: Codec, V: Codec>(
    broker: &Broker,
    partitioner: impl Partitioner + 'static,
) -> Producer<K, V> {
    broker.producer_builder("t").partitioner(partitioner).build().expect("it exists")
}

/// Chooses what the test says, and counts how often it was asked.
#[derive(Debug, Default)]
struct Told {
    partition: AtomicU32,
    asked: AtomicUsize,
}

impl Told {
    fn tell(&self, partition: u32) {
        self.partition.store(partition, Ordering::Relaxed);
    }
}

impl Partitioner for Told {
    fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
        assert_eq!(record.topic, "t");
        assert_ne!(record.value, Some(&b"panic"[..]), "a bug of the partitioner");
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.partition.load(Ordering::Relaxed)
    }
}

#[test]
fn the_builder_without_settings_makes_the_usual_producer() {
    on_both(|broker| {
        broker.create_topic("t", partitions(50)).expect("a free name");
        let plain = broker.producer::<String, String>("t").expect("it exists");
        let built = broker.producer_builder::<String, String>("t").build().expect("it exists");
        let explicit: Producer<String, String> = producer_with(broker, KeyHash::new());
        for key in ["", "a", "ab", "abc"] {
            let partition = plain.send(key, "v").expect("sends").partition;
            assert_eq!(built.send(key, "v").expect("sends").partition, partition);
            assert_eq!(explicit.send(key, "v").expect("sends").partition, partition);
        }
        let unknown = broker.producer_builder::<String, String>("u").build();
        assert_fails!(unknown, Error::TopicNotFound { topic } if topic == "u");
        let builder = broker.producer_builder::<String, String>("t");
        broker.close().expect("closes");
        assert_fails!(builder.build(), Error::Closed);
    });
}

#[test]
fn a_given_partition_counts_more_than_a_partitioner_and_that_more_than_the_key() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let told = Arc::new(Told::default());
        let producer: Producer<String, String> = producer_with(broker, Arc::clone(&told));
        for chosen in 0..4 {
            told.tell(chosen);
            assert_eq!(producer.send("k", "v").expect("sends").partition, chosen);
            assert_eq!(producer.record("v").send().expect("sends").partition, chosen);
            assert_eq!(producer.tombstone("k").send().expect("sends").partition, chosen);
            let places = producer.send_batch([("a", "v"), ("b", "v")]).expect("sends");
            assert!(places.iter().all(|place| place.partition == chosen));
            assert_eq!(producer.clone().send("k", "v").expect("sends").partition, chosen, "a clone");
        }
        let asked = told.asked.load(Ordering::Relaxed);
        told.tell(9);
        assert_eq!(producer.record("v").key("k").partition(2).send().expect("sends").partition, 2);
        assert_eq!(told.asked.load(Ordering::Relaxed), asked, "there was nothing to ask");
    });
}

#[test]
fn a_partitioner_sees_the_record_as_it_goes_into_the_log() {
    #[derive(Debug)]
    struct Checks;
    impl Partitioner for Checks {
        fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
            assert_eq!((record.topic, record.partitions), ("t", 5));
            match (record.key, record.value) {
                (Some([0, 0, 0, 7]), Some(b"value")) => 1,
                (None, Some(b"")) => 2,
                (Some([0, 0, 0, 8]), None) => 3,
                other => panic!("not what was sent: {other:?}"),
            }
        }
    }
    let broker = Broker::in_memory();
    broker.create_topic("t", partitions(5)).expect("a free name");
    let producer: Producer<u32, String> = producer_with(&broker, Checks);
    assert_eq!(producer.send(7, "value").expect("sends").partition, 1);
    assert_eq!(producer.record("").send().expect("sends").partition, 2);
    assert_eq!(producer.tombstone(8).send().expect("sends").partition, 3);
}

#[test]
fn a_partitioner_that_chooses_what_does_not_exist_fails_that_send_only() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let told = Arc::new(Told::default());
        let producer: Producer<String, String> = producer_with(broker, Arc::clone(&told));
        for wrong in [4, u32::MAX] {
            told.tell(wrong);
            let error = producer.send("k", "v").expect_err("there are four");
            let shown = error.to_string();
            let named = shown.contains("\"t\"") && shown.contains(&wrong.to_string());
            assert!(named && shown.contains("0 to 3"), "{shown}");
            assert_fails!(Err::<(), _>(error), Error::InvalidPartition { partition, partitions: 4, .. }
                if partition == wrong);
            assert_fails!(producer.record("v").send(), Error::InvalidPartition { .. });
            assert_fails!(producer.send_batch([("a", "v")]), Error::InvalidPartition { .. });
        }
        assert_eq!(held(broker, "t"), 0);
        told.tell(3);
        assert_eq!(producer.send("k", "v").expect("sends").partition, 3);
    });
}

#[test]
fn one_wrong_choice_keeps_the_whole_batch_out() {
    #[derive(Debug)]
    struct ByLength;
    impl Partitioner for ByLength {
        fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
            record.value.map_or(0, <[u8]>::len) as u32
        }
    }
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer: Producer<(), String> = producer_with(broker, ByLength);
        let batch = producer.send_batch([((), ""), ((), "1"), ((), "22"), ((), "333")]);
        assert_fails!(batch, Error::InvalidPartition { partition: 3, .. });
        assert_eq!(held(broker, "t"), 0);
    });
}

#[test]
fn a_panicking_partitioner_leaves_the_topic_usable() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer: Producer<String, String> = producer_with(&broker, Told::default());
        producer.send("k", "before").expect("sends");
        for _ in 0..3 {
            let panics = |send: &dyn Fn() -> bool| catch_unwind(AssertUnwindSafe(send)).is_err();
            assert!(panics(&|| producer.send("k", "panic").is_ok()));
            assert!(panics(&|| producer.record("panic").send().is_ok()));
            assert!(panics(&|| producer.send_batch([("k", "v"), ("k", "panic")]).is_ok()));
        }
        producer.send("k", "after").expect("sends");
        drop((producer, broker));
        let broker = kept.open();
        assert!(broker.recovery_report().is_clean());
        assert_eq!(texts(&all_of(&broker, "t")), ["before", "after"]);
    });
}

#[test]
fn round_robin_takes_the_partitions_in_turn_whatever_the_keys() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer: Producer<Option<String>, String> = producer_with(broker, RoundRobin::new());
        let keys = [Some("a"), Some("a"), None, Some("b"), None, None, Some("a")];
        let visited: Vec<u32> =
            keys.iter().map(|key| producer.send(*key, "v").expect("sends").partition).collect();
        assert_eq!(visited, [0, 1, 2, 0, 1, 2, 0]);
        let batch = keys.map(|key| (key, "v"));
        let places = producer.send_batch(batch).expect("sends");
        let visited: Vec<u32> = places.iter().map(|place| place.partition).collect();
        assert_eq!(visited, [1, 2, 0, 1, 2, 0, 1]);
    });
}

#[test]
fn sticky_ignores_keys_and_moves_after_as_many_bytes_as_it_is_told() {
    let changes_with = |sticky: Sticky| {
        let broker = Broker::in_memory();
        broker.create_topic("t", partitions(4)).expect("a free name");
        let producer: Producer<u32, Raw> = producer_with(&broker, sticky);
        // 4 bytes of key and 84 of value are 128 in the log.
        let send = |number| producer.send(number, &[0; 84]).expect("sends").partition;
        let visited: Vec<u32> = (0..1_000).map(send).collect();
        visited.windows(2).filter(|pair| pair[0] != pair[1]).count()
    };
    assert_eq!(changes_with(Sticky::new()), 7, "every 128 records");
    assert_eq!(changes_with(Sticky::new().sticky_bytes(1_280)), 99, "every 10 records");
    assert_eq!(changes_with(Sticky::new().sticky_bytes(0)), 999, "every record");
    assert_eq!(changes_with(Sticky::new().sticky_bytes(u64::MAX)), 0);
}
