//! What a poll returns: records that outlive everything they came from, their copies, and values that do
//! not decode.

use ottla::{Broker, Error, OwnedRecord, Raw, Record, RecordPart, Timestamp, TopicConfig, TopicPartition};

use crate::support::*;

#[test]
fn records_outlive_consumer_topic_and_broker() {
    for broker in [Broker::in_memory(), Kept::Files(Default::default()).open()] {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(&broker, "t", 10);
        let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        let first = records.iter().next().expect("ten records");
        drop(consumer);
        broker.delete_topic("t").expect("it exists");
        broker.close().expect("closes");
        drop(broker);
        assert_eq!(polled(&records), numbered(0..10));
        assert_eq!((first.topic(), first.partition(), first.offset()), ("t", 0, 0));
        let elsewhere = std::thread::spawn(move || polled(&records).len());
        assert_eq!(elsewhere.join().expect("records can be sent"), 10);
    }
}

#[test]
fn records_outlive_what_the_memory_bound_drops() {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().memory_limit(64 << 10)).expect("a free name");
    send_numbered(&broker, "t", 100);
    let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
    let records = consumer.poll(NOW).expect("records");
    let shared: Vec<OwnedRecord> = records.iter().map(Record::share).collect();
    let count = records.len();
    for _ in 0..20 {
        send_numbered(&broker, "t", 1_000);
    }
    assert!(broker.describe_topic("t").expect("it exists").partitions[0].start_offset > 100);
    assert_eq!(polled(&records), numbered(0..count));
    drop(records);
    assert_eq!(texts(&shared), numbered(0..count));
}

#[test]
fn a_record_can_be_copied_and_its_slices_live_as_long_as_the_records() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 3);
        let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        let value = {
            let record = records.iter().nth(1).expect("three records");
            let copy = record;
            assert_eq!(copy.offset(), record.offset());
            copy.value().expect("text")
        };
        assert_eq!(value, "value-1");
        let kept: Vec<Record<'_, (), String>> = records.iter().collect();
        assert_eq!(kept.iter().map(Record::offset).collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
fn copies_have_everything_that_the_record_has() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<Option<String>, Option<Raw>>("t").expect("it exists");
        let full = producer.record(Some(b"value")).key(Some("key")).header("a", "1").null_header("b");
        full.header("", "").partition(1).timestamp(Timestamp::from_millis(7)).send().expect("sends");
        producer.record(None).partition(1).timestamp(Timestamp::from_millis(8)).send().expect("sends");
        producer.record(Some(b"")).key(Some("")).partition(1).send().expect("sends");
        let mut consumer = reader(broker, "t");
        let records = consumer.poll(NOW).expect("records");
        for record in &records {
            let copies = [record.to_owned_record(), record.share()];
            for copy in &copies {
                assert_eq!(copy.partition, TopicPartition::new(record.topic(), record.partition()));
                assert_eq!((copy.offset, copy.timestamp), (record.offset(), record.timestamp()));
                assert_eq!(copy.key.as_deref(), record.key_bytes());
                assert_eq!(copy.value.as_deref(), record.value_bytes());
                let headers = copy.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
                assert!(headers.eq(record.headers().map(|header| (header.name, header.value))));
            }
            assert_eq!(copies[0], copies[1]);
        }
        assert_eq!(records.len(), 3);
    });
}

#[test]
fn debugging_a_record_does_not_show_its_payload() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        broker.producer::<String, String>("t").expect("it exists").send("secret", "secret").expect("sends");
        let mut consumer = reader(broker, "t");
        let records = consumer.poll(NOW).expect("a record");
        let record = records.iter().next().expect("a record");
        let shown = format!("{records:?} {record:?} {:?} {consumer:?} {broker:?}", record.to_owned_record());
        assert!(shown.contains('t') && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"secret")), "{shown}");
    });
}

// ---- what does not decode ----

#[test]
fn a_value_that_does_not_decode_stops_neither_the_poll_nor_the_commit() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<Raw, Raw>("t").expect("it exists");
        for value in [&b"one"[..], &[0xff, 0xfe], b"three"] {
            producer.record(value).key(b"key").partition(1).send().expect("sends");
        }
        let mut consumer = broker.consumer::<String, String>().topic("t").group("g").build().expect("builds");
        let records = consumer.poll(NOW).expect("all three records");
        let values: Vec<_> = records.iter().map(|record| record.value().ok()).collect();
        assert_eq!(values, [Some("one"), None, Some("three")]);
        assert!(records.iter().all(|record| record.key().is_ok_and(|key| key == "key")));

        let bad = records.iter().nth(1).expect("three records");
        let error = bad.value().expect_err("no text");
        assert_eq!((&error.partition, error.offset), (&TopicPartition::new("t", 1), 1));
        assert_eq!(error.part, RecordPart::Value);
        assert_eq!(bad.value_bytes(), Some(&[0xff, 0xfe][..]), "its bytes are at hand");
        let shown = Error::from(error).to_string();
        assert!(shown.contains("value") && shown.contains("t-1") && shown.contains("offset 1"), "{shown}");

        consumer.commit_through(&bad).expect("a bad record can be passed over");
        assert_eq!(committed_at(&consumer, "t", 1), Some(2));
        consumer.commit(&records).expect("commits");
        assert!(consumer.poll(NOW).expect("no error").is_empty());
    });
}

#[test]
fn a_key_that_does_not_decode_says_so() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        broker.producer::<Raw, Raw>("t").expect("it exists").send(b"1234", b"12345").expect("sends");
        let mut consumer = broker.consumer::<u64, u32>().topic("t").build().expect("it exists");
        let records = consumer.poll(NOW).expect("a record");
        let record = records.iter().next().expect("a record");
        assert_eq!(record.key().expect_err("four bytes").part, RecordPart::Key);
        assert_eq!(record.value().expect_err("five bytes").part, RecordPart::Value);
    });
}

#[test]
fn a_null_needs_an_option_to_be_decoded() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<String, String>("t").expect("it exists");
        producer.tombstone("k").send().expect("sends");
        producer.record("v").send().expect("sends");
        let mut strict = broker.consumer::<String, String>().topic("t").build().expect("it exists");
        let records = strict.poll(NOW).expect("records");
        let decoded: Vec<_> =
            records.iter().map(|record| (record.key().is_ok(), record.value().is_ok())).collect();
        assert_eq!(decoded, [(true, false), (false, true)]);
        let build = broker.consumer::<Option<String>, Option<String>>().topic("t");
        let mut lenient = build.build().expect("it exists");
        let records = lenient.poll(NOW).expect("records");
        let decoded: Vec<_> = records
            .iter()
            .map(|r| (r.key().expect("text or null"), r.value().expect("text or null")))
            .collect();
        assert_eq!(decoded, [(Some("k"), None), (None, Some("v"))]);
    });
}
