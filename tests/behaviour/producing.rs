//! Sending: what the metadata says, what a record can carry, and how large it may be.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ottla::{Broker, Clock, Error, Header, ManualClock, Raw, Timestamp, TopicConfig};

use crate::support::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn with_topic(broker: &Broker, config: TopicConfig) -> ottla::Producer<String, Raw> {
    broker.create_topic("t", config).expect("a free name");
    broker.producer("t").expect("it exists")
}

// ---- metadata ----

#[test]
fn metadata_says_where_the_record_can_be_read_at_once() {
    on_both(|broker| {
        let producer = with_topic(broker, partitions(3));
        assert_eq!(producer.topic(), "t");
        let mut consumer = reader(broker, "t");
        let mut next = [0; 3];
        for number in 0..300u32 {
            let sent = producer.send(&format!("key-{number}"), &number.to_be_bytes()).expect("sends");
            let expected = &mut next[sent.partition as usize];
            assert_eq!(sent.offset, *expected, "offsets have no gaps");
            *expected += 1;
            consumer.seek("t", sent.partition, sent.offset).expect("assigned");
            let records = consumer.poll(NOW).expect("a record");
            let record =
                records.iter().find(|record| record.partition() == sent.partition).expect("it is there");
            assert_eq!((record.offset(), record.timestamp()), (sent.offset, sent.timestamp));
            assert_eq!(record.value_bytes(), Some(&number.to_be_bytes()[..]));
        }
    });
}

#[test]
fn a_record_comes_back_with_everything_it_was_sent_with() {
    on_kept(|kept| {
        let broker = kept.open();
        let producer = with_topic(&broker, partitions(2));
        let builder = producer.record(b"paid").key("alice").header("trace", b"42").null_header("note");
        builder.partition(1).timestamp(at(1_593_093_960_000)).send().expect("sends");
        let check = |broker: &Broker| {
            let record = all_of(broker, "t").pop().expect("a record");
            assert_eq!((record.partition.partition, record.offset), (1, 0));
            assert_eq!(record.timestamp, at(1_593_093_960_000));
            assert_eq!(
                (record.key.as_deref(), record.value.as_deref()),
                (Some(&b"alice"[..]), Some(&b"paid"[..]))
            );
            let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            assert_eq!(headers.collect::<Vec<_>>(), [("trace", Some(&b"42"[..])), ("note", None)]);
        };
        check(&broker);
        drop((producer, broker));
        check(&kept.open());
    });
}

// ---- null and empty ----

#[test]
fn null_and_empty_keys_and_values_are_four_different_things() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<Option<Raw>, Option<Raw>>("t").expect("it exists");
        let empty = Some(&b""[..]);
        let sent = [(None, None), (None, empty), (empty, None), (empty, empty)];
        for (key, value) in sent {
            producer.send(key, value).expect("sends");
        }
        producer.send_batch(sent).expect("sends");
        drop((producer, broker));
        let found = all_of(&kept.open(), "t");
        let found: Vec<_> =
            found.iter().map(|record| (record.key.as_deref(), record.value.as_deref())).collect();
        assert_eq!(found, [sent, sent].concat());
    });
}

#[test]
fn a_tombstone_has_its_key_and_no_value() {
    on_both(|broker| {
        let producer = with_topic(broker, partitions(4));
        let sent = producer.send("alice", b"").expect("sends");
        let gone = producer.tombstone("alice").header("why", "left").timestamp(at(7)).send().expect("sends");
        assert_eq!((gone.partition, gone.offset), (sent.partition, 1));
        let mut consumer = reader(broker, "t");
        let records = consumer.poll(NOW).expect("records");
        let found: Vec<_> =
            records.iter().map(|r| (r.is_tombstone(), r.value_bytes(), r.key_bytes())).collect();
        let alice = Some(&b"alice"[..]);
        assert_eq!(found, [(false, Some(&b""[..]), alice), (true, None, alice)]);
        let last = records.iter().last().expect("the tombstone");
        assert_eq!((last.timestamp(), last.headers().count()), (at(7), 1));
    });
}

#[test]
fn a_record_without_a_key_has_a_null_one() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        producer.record(b"v").send().expect("sends");
        assert_eq!(all_of(broker, "t")[0].key, None);
    });
}

// ---- headers ----

#[test]
fn headers_keep_order_duplicates_nulls_and_empties() {
    on_kept(|kept| {
        let broker = kept.open();
        let producer = with_topic(&broker, TopicConfig::new());
        let builder =
            producer.record(b"v").header("b", "2").header("a", "").null_header("a").header("", b"x");
        builder.header("a", &vec![0xff, 0]).header("grüße", "ü").null_header("").send().expect("sends");
        producer.record(b"v").send().expect("sends");
        drop((producer, broker));
        let broker = kept.open();
        let mut consumer = reader(&broker, "t");
        let records = consumer.poll(NOW).expect("records");
        let mut records = records.iter();
        let headers = records.next().expect("a record").headers();
        let header = |name, value| Header { name, value };
        let expected = [
            header("b", Some(&b"2"[..])),
            header("a", Some(b"")),
            header("a", None),
            header("", Some(b"x")),
            header("a", Some(&[0xff, 0])),
            header("grüße", Some("ü".as_bytes())),
            header("", None),
        ];
        assert_eq!(headers.get("a"), Some(expected[1]), "the first of a name");
        assert_eq!((headers.get("c"), headers.get("A")), (None, None));
        assert_eq!(headers.collect::<Vec<_>>(), expected);
        assert_eq!(records.next().expect("a record").headers().count(), 0);
    });
}

#[test]
fn a_record_has_up_to_65535_headers() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        let with =
            |count: usize| (0..count).fold(producer.record(b"v"), |record, _| record.header("n", b"v"));
        assert_fails!(with(65_536).send(), Error::InvalidHeaders { topic, .. } if topic == "t");
        assert_eq!(held(broker, "t"), 0);
        with(65_535).send().expect("the most headers");
        assert_eq!(all_of(broker, "t")[0].headers.len(), 65_535);
    });
}

#[test]
fn a_header_name_has_up_to_65535_bytes() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        let name = "n".repeat(65_536);
        assert_fails!(producer.record(b"v").header(&name, b"").send(), Error::InvalidHeaders { .. });
        assert_fails!(producer.record(b"v").null_header(&name).send(), Error::InvalidHeaders { .. });
        producer.record(b"v").header(&name[1..], b"value").send().expect("the longest name");
        let found = all_of(broker, "t");
        assert_eq!(found.len(), 1);
        let (found, value) = &found[0].headers[0];
        assert_eq!((found.len(), value.as_deref()), (65_535, Some(&b"value"[..])));
    });
}

// ---- timestamps ----

#[test]
fn a_record_has_the_time_it_is_given() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        for millis in [0, 1, 1_593_093_960_000, i64::MAX] {
            let sent = producer.record(b"v").timestamp(at(millis)).send().expect("sends");
            assert_eq!(sent.timestamp, at(millis));
        }
        let moment = UNIX_EPOCH + Duration::from_micros(5_999);
        assert_eq!(producer.record(b"v").timestamp(moment).send().expect("sends").timestamp, at(5));
        let found = all_of(broker, "t").into_iter().map(|record| record.timestamp.as_millis());
        assert_eq!(found.collect::<Vec<_>>(), [0, 1, 1_593_093_960_000, i64::MAX, 5]);
    });
}

#[test]
fn a_time_before_the_epoch_is_refused() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        for wrong in [-1, i64::MIN] {
            let outcome = producer.record(b"v").timestamp(at(wrong)).send();
            assert_fails!(outcome, Error::InvalidTimestamp { millis } if millis == wrong);
        }
        assert_eq!(held(broker, "t"), 0);
    });
}

#[test]
fn without_a_time_the_brokers_clock_counts() {
    on_kept(|kept| {
        let clock = Arc::new(ManualClock::new(at(1_000)));
        let dyn_clock: Arc<dyn Clock> = clock.clone();
        for builder in [kept.builder(), Broker::builder()] {
            clock.set(at(1_000));
            let broker = builder.clock(Arc::clone(&dyn_clock)).open().expect("opens");
            let producer = with_topic(&broker, TopicConfig::new());
            assert_eq!(producer.send("k", b"").expect("sends").timestamp, at(1_000));
            clock.advance(Duration::from_secs(2));
            assert_eq!(producer.record(b"").send().expect("sends").timestamp, at(3_000));
            clock.set(at(500));
            let batch = producer.send_batch([("a", &b""[..]), ("b", b"")]).expect("sends");
            assert_eq!(batch.iter().map(|sent| sent.timestamp).collect::<Vec<_>>(), [at(500), at(500)]);
            let found = all_of(&broker, "t").into_iter().map(|record| record.timestamp.as_millis());
            assert_eq!(found.collect::<Vec<_>>(), [1_000, 3_000, 500, 500]);
        }
    });
}

#[test]
fn the_default_clock_shows_the_time_of_the_send() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        let before = Timestamp::now();
        let sent = producer.send("k", b"").expect("sends").timestamp;
        assert!(before <= sent && sent <= Timestamp::now());
    });
}

// ---- sizes ----

#[test]
fn key_and_value_together_may_have_exactly_the_topics_maximum() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new().max_record_bytes(100));
        let value = [7; 100];
        producer.send("", &value).expect("100 bytes");
        producer.send("0123456789", &value[..90]).expect("100 bytes");
        producer.record(&value).send().expect("100 bytes");
        producer.tombstone(&"k".repeat(100)).send().expect("100 bytes");
        producer.send_batch([("a", &value[..99]), ("b", &value[..99])]).expect("100 bytes each");
        let offset = held(broker, "t");

        let outcome = producer.send("0", &value);
        assert_fails!(outcome, Error::RecordTooLarge { topic, size: 101, max: 100 } if topic == "t");
        assert_fails!(producer.send("0123456789", &value[..91]), Error::RecordTooLarge { size: 101, .. });
        assert_fails!(producer.record(&[0; 101]).send(), Error::RecordTooLarge { size: 101, .. });
        assert_fails!(producer.tombstone(&"k".repeat(101)).send(), Error::RecordTooLarge { size: 101, .. });
        let batch = producer.send_batch([("a", &value[..99]), ("bb", &value[..99])]);
        assert_fails!(batch, Error::RecordTooLarge { size: 101, .. });
        assert_eq!(held(broker, "t"), offset, "no refused record took an offset");
        assert_eq!(producer.send("", b"").expect("sends").offset, offset);
    });
}

#[test]
fn headers_count_towards_the_size() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new().max_record_bytes(1_000));
        let send = |len: usize| producer.record(&vec![0; len]).key("key").header("name", "value").send();
        let Err(Error::RecordTooLarge { size, max: 1_000, .. }) = send(1_000) else {
            panic!("key and header are over the maximum");
        };
        let rest = size - 1_000;
        assert!(rest >= "key".len() + "name".len() + "value".len());
        send(1_000 - rest).expect("exactly the maximum");
        assert_fails!(send(1_001 - rest), Error::RecordTooLarge { size: 1_001, .. });
        assert_eq!(held(broker, "t"), 1);
    });
}

#[test]
fn a_record_may_have_a_mebibyte_by_default() {
    on_both(|broker| {
        let producer = with_topic(broker, TopicConfig::new());
        let value = Rng(1).bytes((1 << 20) + 1);
        assert_fails!(producer.record(&value).send(), Error::RecordTooLarge { max: 1_048_576, .. });
        producer.record(&value[1..]).send().expect("a mebibyte");
        assert_eq!(all_of(broker, "t")[0].value.as_deref(), Some(&value[1..]));
    });
}
