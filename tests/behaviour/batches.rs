//! Batches: what they carry, how large they may be, and that they are appended whole or not at all.

use ottla::{Broker, Error, Producer, Raw, RecordBuilder, RecordMetadata, Result, Timestamp, TopicConfig};

use crate::support::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn with_topic(broker: &Broker, config: TopicConfig) -> Producer<String, Raw> {
    broker.create_topic("t", config).expect("a free name");
    broker.producer("t").expect("it exists")
}

#[test]
fn a_batch_says_where_each_record_went_in_the_order_given() {
    on_both(|broker| {
        let producer = with_topic(broker, partitions(4));
        let keys: Vec<String> = (0..200).map(|number| format!("key-{}", number % 50)).collect();
        let values: Vec<[u8; 4]> = (0..200u32).map(u32::to_be_bytes).collect();
        let pairs = keys.iter().zip(&values).map(|(key, value)| (key.as_str(), &value[..]));
        let places = producer.send_batch(pairs).expect("sends");
        assert_eq!(places.len(), 200);
        let found = all_of(broker, "t");
        for (number, place) in places.iter().enumerate() {
            let is_it = |record: &&ottla::OwnedRecord| {
                record.partition.partition == place.partition && record.offset == place.offset
            };
            let record = found.iter().find(is_it).expect("it is where the metadata says");
            assert_eq!(record.key.as_deref(), Some(keys[number].as_bytes()));
            assert_eq!(record.value.as_deref(), Some(&values[number][..]));
            assert_eq!(record.timestamp, place.timestamp);
        }
        for partition in 0..4 {
            let offsets =
                places.iter().filter(|place| place.partition == partition).map(|place| place.offset);
            assert!(
                offsets.enumerate().all(|(number, offset)| number as u64 == offset),
                "in the order given"
            );
        }
    });
}

#[test]
fn a_batch_lies_together_whoever_else_sends() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new().segment_bytes(4096));
        std::thread::scope(|scope| {
            let send = || {
                for _ in 0..100 {
                    let places = producer.send_batch([("k", &b"v"[..]); 5]).expect("sends");
                    assert!(places.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1));
                }
            };
            let senders: Vec<_> = (0..3).map(|_| scope.spawn(send)).collect();
            // Nobody ever sees a part of a batch as the end of the log.
            let consumer = reader(broker, "t");
            while senders.iter().any(|sender| !sender.is_finished()) {
                let end = consumer.end_offsets().into_values().sum::<u64>();
                assert!(end.is_multiple_of(5), "end offset {end}");
            }
        });
        assert_eq!(held(broker, "t"), 1_500);
    });
}

#[test]
fn an_empty_batch_is_nothing() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        let nothing: [(&str, &[u8]); 0] = [];
        assert_eq!(producer.send_batch(nothing).expect("nothing to refuse"), []);
        assert_eq!(held(broker, "t"), 0);
    });
}

#[test]
fn one_bad_record_keeps_a_whole_batch_out_of_every_partition() {
    on_both(|broker| {
        let producer = with_topic(broker, partitions(4).max_record_bytes(100));
        let large = [0; 101];
        for bad in [0, 20, 39] {
            let keys: Vec<String> = (0..40).map(|number| number.to_string()).collect();
            let pairs = keys.iter().enumerate().map(|(number, key)| {
                let value = if number == bad { &large[..] } else { b"v" };
                (key.as_str(), value)
            });
            assert_fails!(producer.send_batch(pairs), Error::RecordTooLarge { .. });
            assert_eq!(held(broker, "t"), 0);
        }
    });
}

#[test]
fn a_batch_carries_all_that_single_records_can() {
    on_kept(|kept| {
        let broker = kept.open();
        let producer = with_topic(&broker, partitions(3));
        let (key, header) = (String::from("alice"), vec![0xff]);
        let records = [
            producer.record(b"0").key(&key).header("trace", &header).null_header("note").partition(2),
            producer.tombstone("bob").partition(2).timestamp(at(7)),
            producer.record(b"2").partition(1),
            producer.record(b"3").key("alice"),
        ];
        let places = producer.send_batch(records).expect("sends");
        let alone = producer.send("alice", b"4").expect("sends");
        let found: Vec<_> = places.iter().map(|place| (place.partition, place.offset)).collect();
        assert_eq!(found[..3], [(2, 0), (2, 1), (1, 0)]);
        assert_eq!(
            found[3],
            (alone.partition, alone.offset - 1),
            "the key decides where no partition is given"
        );
        assert_eq!(places[1].timestamp, at(7));
        drop((producer, broker));

        let all = all_of(&kept.open(), "t");
        let found = |index: usize| {
            let place = (places[index].partition, places[index].offset);
            all.iter()
                .find(|record| (record.partition.partition, record.offset) == place)
                .expect("it is kept")
        };
        let headers = found(0).headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        assert_eq!(headers.collect::<Vec<_>>(), [("trace", Some(&[0xff][..])), ("note", None)]);
        assert_eq!((found(1).key.as_deref(), found(1).value.as_deref()), (Some(&b"bob"[..]), None));
        assert_eq!(found(1).timestamp, at(7));
        assert_eq!((found(2).key.as_deref(), found(2).value.as_deref()), (None, Some(&b"2"[..])));
        assert!(found(2).headers.is_empty());
    });
}

/// Five records, of which one is made `bad`.
fn send_spoiled<'a>(
    producer: &'a Producer<String, Raw>,
    bad: u32,
    spoil: impl Fn(RecordBuilder<'a, String, Raw>) -> RecordBuilder<'a, String, Raw>,
) -> Result<Vec<RecordMetadata>> {
    producer.send_batch((0..5).map(|number| {
        let record = producer.record(b"v").partition(number % 4);
        if number == bad { spoil(record) } else { record }
    }))
}

#[test]
fn one_record_with_a_bad_setting_keeps_the_whole_batch_out() {
    on_both(|broker| {
        let name = "n".repeat(65_536);
        let producer = with_topic(broker, partitions(4).max_record_bytes(100_000));
        for bad in 0..5 {
            let outcome = send_spoiled(&producer, bad, |record| record.partition(4));
            assert_fails!(outcome, Error::InvalidPartition { partition: 4, partitions: 4, .. });
            let outcome = send_spoiled(&producer, bad, |record| record.timestamp(at(-1)));
            assert_fails!(outcome, Error::InvalidTimestamp { millis: -1 });
            let outcome = send_spoiled(&producer, bad, |record| record.header(&name, ""));
            assert_fails!(outcome, Error::InvalidHeaders { .. });
            let outcome = send_spoiled(&producer, bad, |record| record.header("large", &[0; 100_000]));
            assert_fails!(outcome, Error::RecordTooLarge { max: 100_000, .. });
            assert_eq!(held(broker, "t"), 0);
        }
        send_spoiled(&producer, 0, |record| record).expect("nothing is wrong");
        assert_eq!(held(broker, "t"), 5);
    });
}

#[test]
fn a_batch_goes_to_the_topic_of_the_producer_that_sends_it() {
    let broker = Broker::in_memory();
    let producer = with_topic(&broker, TopicConfig::new());
    broker.create_topic("other", TopicConfig::new()).expect("a free name");
    let other: Producer<String, Raw> = broker.producer("other").expect("it exists");
    producer.send_batch([producer.record(b"a"), other.record(b"b")]).expect("sends");
    assert_eq!((held(&broker, "t"), held(&broker, "other")), (2, 0));
}

#[test]
fn a_batch_over_the_topics_maximum_is_refused_whole() {
    on_both(|broker| {
        let producer = with_topic(broker, partitions(2).max_batch_bytes(2_000));
        let (small, large) = (&[1; 10][..], &[2; 100][..]);
        let mut batch = vec![("a", small)];
        let other = ["b", "c", "d", "e", "f"].into_iter().find(|key| {
            let place = |key| producer.record(small).key(key).send().expect("sends").partition;
            place(key) != place("a")
        });
        batch.extend(std::iter::repeat_n((other.expect("not all keys go to one partition"), large), 20));
        let before = held(broker, "t");
        let outcome = producer.send_batch(batch.iter().copied());
        assert_fails!(outcome, Error::BatchTooLarge { topic, size, max: 2_000 }
            if topic == "t" && size > 2_000);
        assert_eq!(held(broker, "t"), before, "the other partition's part was not appended either");
        producer.send_batch(batch[..10].iter().copied()).expect("less than 2,000 bytes");
        assert_eq!(held(broker, "t"), before + 10);
    });
}

#[test]
fn a_batch_may_have_exactly_the_topics_maximum() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new().max_batch_bytes(1 << 20));
        let bytes = [0; 3_000];
        let send = |count: usize, last: usize| {
            let full = std::iter::repeat_n(("k", &bytes[..1_000]), count);
            producer.send_batch(full.chain([("k", &bytes[..last])]))
        };
        let Err(Error::BatchTooLarge { size, .. }) = send(1_100, 1_000) else {
            panic!("1.1 MB are over 1 MiB")
        };
        let frame = size / 1_101;
        assert_eq!(frame * 1_101, size, "equal records take equal room");
        let fitting = (1 << 20) / frame;
        let last = 1_000 + (1 << 20) % frame;
        send(fitting - 1, last).expect("exactly the maximum");
        let outcome = send(fitting - 1, last + 8);
        assert_fails!(outcome, Error::BatchTooLarge { size, .. } if size == (1 << 20) + 8);
        assert_eq!(held(broker, "t"), fitting as u64);
    });
}

#[test]
fn the_largest_record_fits_into_a_batch_by_default() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new().max_record_bytes(17 << 20));
        let value = vec![1; 17 << 20];
        let places = producer.send_batch([("", &value[..])]).expect("a batch of one");
        producer.send("", &value).expect("a record");
        assert_eq!(places.len(), 1);
        assert_eq!(held(broker, "t"), 2);
    });
}

#[test]
fn a_failing_iterator_sends_nothing() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        let records = (0..3).map(|number| {
            assert!(number < 2, "a bug of the caller");
            ("k", &b"v"[..])
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| producer.send_batch(records)));
        assert!(outcome.is_err());
        assert_eq!(producer.send("k", b"v").expect("sends").offset, 0);
    });
}
