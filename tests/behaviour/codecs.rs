//! Codecs: those in the box, and what a codec of the user's may do, such as fail, panic or send.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla::{Broker, Codec, CodecError, Error, Producer, Raw, RecordPart, Scratch, TopicConfig};

use crate::support::*;

// ---- in the box ----

#[test]
fn every_integer_comes_back() {
    macro_rules! check {
        ($broker:expr, $($integer:ty),*) => {$(
            let topic = stringify!($integer);
            $broker.create_topic(topic, TopicConfig::new()).expect("a free name");
            let producer = $broker.producer::<$integer, $integer>(topic).expect("it exists");
            let numbers = [<$integer>::MIN, 0, 1, <$integer>::MAX];
            for number in numbers {
                producer.send(number, <$integer>::MAX - number.max(0)).expect("sends");
            }
            let build = $broker.consumer::<$integer, $integer>().topic(topic).build();
            let mut consumer = build.expect("it exists");
            let records = consumer.poll(NOW).expect("records");
            let found = records.iter().map(|record| {
                assert_eq!(record.key_bytes().map(<[u8]>::len), Some(size_of::<$integer>()));
                (record.key().expect("a number"), record.value().expect("a number"))
            });
            let sent = numbers.map(|number| (number, <$integer>::MAX - number.max(0)));
            assert_eq!(found.collect::<Vec<_>>(), sent);
        )*};
    }
    on_both(|broker| {
        check!(broker, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);
    });
}

#[test]
fn unsigned_integers_lie_in_the_log_as_they_sort() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<(), u32>("t").expect("it exists");
        for number in [1, 255, 256, 1 << 16, u32::MAX] {
            producer.send((), number).expect("sends");
        }
        let values: Vec<_> = all_of(broker, "t").into_iter().map(|record| record.value).collect();
        assert!(values.is_sorted());
        assert_eq!(values[0].as_deref(), Some(&[0, 0, 0, 1][..]), "big-endian");
    });
}

#[test]
fn text_bytes_nothing_and_options_come_back() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        broker.producer::<String, Raw>("t").expect("it exists").send("grüße", &[0, 0xff]).expect("sends");
        broker.producer::<(), Option<String>>("t").expect("it exists").send((), Some("")).expect("sends");
        broker.producer::<Option<u16>, ()>("t").expect("it exists").send(Some(7), ()).expect("sends");
        let keys = |index: usize| all_of(broker, "t")[index].key.clone();
        assert_eq!(keys(0).as_deref(), Some("grüße".as_bytes()));
        assert_eq!((keys(1), keys(2).as_deref()), (None, Some(&[0, 7][..])));

        let mut consumer = broker.consumer::<(), Option<Raw>>().topic("t").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        let values: Vec<_> = records.iter().map(|record| record.value().expect("any bytes")).collect();
        assert_eq!(values, [Some(&[0, 0xff][..]), Some(b""), None]);
        assert!(records.iter().all(|record| record.key().is_ok()), "() reads anything");
    });
}

#[cfg(feature = "json")]
#[test]
fn json_comes_back() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Payment {
        to: String,
        cents: u64,
    }
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let payment = Payment { to: "bob".to_owned(), cents: 20_000 };
        let producer = broker.producer::<String, ottla::Json<Payment>>("t").expect("it exists");
        producer.send("alice", &payment).expect("sends");
        producer.send_batch([("alice", &payment)]).expect("sends");
        broker.producer::<String, Raw>("t").expect("it exists").send("alice", b"{").expect("sends");
        let mut consumer =
            broker.consumer::<String, ottla::Json<Payment>>().topic("t").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        let values: Vec<_> = records.iter().map(|record| record.value()).collect();
        assert!(values[..2].iter().all(|value| value.as_ref().is_ok_and(|found| *found == payment)));
        assert_eq!(values[2].as_ref().expect_err("no JSON").offset, 2);
    });
}

#[cfg(feature = "postcard")]
#[test]
fn postcard_comes_back() {
    use ottla::Postcard;
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<Postcard<u32>, Postcard<(String, bool)>>("t").expect("it exists");
        let value = ("x".repeat(100), true);
        producer.send(&7, &value).expect("sends");
        producer.send_batch([(&8, &value)]).expect("sends");
        let build = broker.consumer::<Postcard<u32>, Postcard<(String, bool)>>().topic("t").build();
        let records = build.expect("it exists").poll(NOW).expect("records");
        let keys: Vec<_> = records.iter().map(|record| record.key().expect("a number")).collect();
        assert_eq!(keys, [7, 8]);
        assert!(records.iter().all(|record| record.value().expect("a pair") == value));
    });
}

#[cfg(feature = "prost")]
#[test]
fn prost_comes_back() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Payment {
        #[prost(string, tag = "1")]
        to: String,
        #[prost(uint64, optional, tag = "2")]
        cents: Option<u64>,
    }
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<String, ottla::Prost<Payment>>("t").expect("it exists");
        let full = Payment { to: "bob".repeat(50), cents: Some(0) };
        let empty = Payment::default();
        producer.send("alice", &full).expect("sends");
        producer.send_batch([("alice", &empty)]).expect("sends");
        let build = broker.consumer::<String, ottla::Prost<Payment>>().topic("t").build();
        let records = build.expect("it exists").poll(NOW).expect("records");
        let values: Vec<_> = records.iter().map(|record| record.value().expect("a message")).collect();
        assert_eq!(values, [full.clone(), empty.clone()]);
        assert!(records.iter().all(|record| !record.is_tombstone()), "an empty message is not a null");
    });
}

#[cfg(feature = "zerocopy")]
mod plain_structs {
    use ottla::{Consumer, Zerocopy};
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    use super::*;

    #[derive(Debug, PartialEq, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    struct Tick {
        nanos: u64,
        price: u32,
        size: u32,
    }

    fn tick(number: u32) -> Tick {
        Tick { nanos: u64::from(number) << 40, price: number, size: !number }
    }

    fn ticks(broker: &Broker) -> Consumer<String, Zerocopy<Tick>> {
        broker.consumer().topic("t").build().expect("it exists")
    }

    #[test]
    fn they_are_read_where_they_lie_in_the_log() {
        on_kept(|kept| {
            let broker = kept.open();
            broker.create_topic("t", TopicConfig::new()).expect("a free name");
            let producer = broker.producer::<String, Zerocopy<Tick>>("t").expect("it exists");
            // Few enough for one piece of the log; keys of different lengths lie between them.
            for number in 0..40 {
                producer.send(&"k".repeat(number as usize), &tick(number)).expect("sends");
            }
            let check = |broker: &Broker| {
                let records = [(); 2].map(|()| ticks(broker).poll(NOW).expect("records"));
                let places = records.each_ref().map(|records| {
                    let places = records.iter().zip(0..).map(|(record, number)| {
                        let value: &Tick = record.value().expect("a tick");
                        assert_eq!(*value, tick(number));
                        let bytes = record.value_bytes().expect("not null");
                        assert_eq!(bytes.as_ptr_range(), value.as_bytes().as_ptr_range(), "not copied");
                        std::ptr::from_ref(value) as usize
                    });
                    places.collect::<Vec<_>>()
                });
                assert_eq!(places[0].len(), 40);
                places
            };
            let [one, other] = check(&broker);
            assert_eq!(one, other, "two consumers read the same memory");
            drop((producer, broker));
            check(&kept.open());
        });
    }

    #[test]
    fn slices_of_them_too() {
        on_both(|broker| {
            broker.create_topic("t", TopicConfig::new()).expect("a free name");
            let producer = broker.producer::<(), Zerocopy<[Tick]>>("t").expect("it exists");
            let sent = [tick(1), tick(2), tick(3)];
            for count in 0..=3 {
                producer.send((), &sent[..count]).expect("sends");
            }
            let build = broker.consumer::<(), Zerocopy<[Tick]>>().topic("t").build();
            let records = build.expect("it exists").poll(NOW).expect("records");
            for (record, count) in records.iter().zip(0..) {
                assert_eq!(record.value().expect("ticks"), &sent[..count]);
            }
        });
    }

    #[test]
    fn what_does_not_fit_is_an_error_of_that_record() {
        on_both(|broker| {
            broker.create_topic("t", TopicConfig::new()).expect("a free name");
            let raw = broker.producer::<Raw, Option<Raw>>("t").expect("it exists");
            let good = tick(4);
            raw.send(b"k", Some(&good.as_bytes()[1..])).expect("sends");
            raw.send(b"k", None).expect("sends");
            raw.send(b"k", Some(good.as_bytes())).expect("sends");
            let records = ticks(broker).poll(NOW).expect("records");
            let values: Vec<_> = records.iter().map(|record| record.value()).collect();
            let short = values[0].as_ref().expect_err("15 bytes");
            let shown = short.to_string();
            assert!(shown.contains("15 bytes") && shown.contains("Tick") && short.offset == 0, "{shown}");
            assert!(values[1].is_err(), "null");
            assert_eq!(*values[2].as_ref().expect("a tick"), &good);
        });
    }

    #[test]
    fn keys_are_not_aligned_and_the_error_says_so() {
        on_both(|broker| {
            broker.create_topic("t", TopicConfig::new()).expect("a free name");
            let producer = broker.producer::<Zerocopy<Tick>, Raw>("t").expect("it exists");
            producer.send(&tick(5), b"odd").expect("sends");
            let build = broker.consumer::<Zerocopy<Tick>, Raw>().topic("t").build();
            let records = build.expect("it exists").poll(NOW).expect("a record");
            let shown = records.iter().next().expect("a record").key().expect_err("not aligned").to_string();
            assert!(shown.contains("keys are not aligned") && shown.contains("Tick"), "{shown}");

            let build = broker.consumer::<Zerocopy<zerocopy::Unalign<Tick>>, Raw>().topic("t").build();
            let records = build.expect("it exists").poll(NOW).expect("a record");
            let key = records.iter().next().expect("a record").key().expect("alignment 1");
            assert_eq!(key.get(), tick(5));
        });
    }
}

// ---- a codec that fails ----

/// Refuses odd numbers, after it has written some bytes.
struct Even;

impl Codec for Even {
    type Input<'a> = u8;
    type View<'a> = u8;

    fn encode<'s, 'i: 's>(input: u8, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        scratch.push(input);
        if input.is_multiple_of(2) { Ok(Some(scratch)) } else { Err(CodecError::new("it is odd")) }
    }

    fn decode(bytes: Option<&[u8]>) -> Result<u8, CodecError> {
        bytes.and_then(|bytes| bytes.first().copied()).ok_or_else(CodecError::null)
    }
}

#[test]
fn a_value_that_cannot_be_encoded_is_not_sent() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer = broker.producer::<String, Even>("t").expect("it exists");
        let shown = producer.send("k", 1).expect_err("odd").to_string();
        assert!(shown.contains("value") && shown.contains("\"t\"") && shown.contains("it is odd"), "{shown}");
        let outcome = producer.send("k", 1);
        assert_fails!(outcome, Error::Encode { topic, part: RecordPart::Value, .. } if topic == "t");
        assert_fails!(producer.record(1).partition(1).send(), Error::Encode { .. });
        let batch = producer.send_batch([("a", 2), ("b", 4), ("c", 6), ("d", 7)]);
        assert_fails!(batch, Error::Encode { part: RecordPart::Value, .. });
        assert_eq!(held(broker, "t"), 0);
        // What the failed call wrote is not in the next record.
        producer.send("k", 8).expect("even");
        assert_eq!(all_of(broker, "t")[0].value.as_deref(), Some(&[8][..]));
    });
}

#[test]
fn a_key_that_cannot_be_encoded_is_not_sent() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        let producer = broker.producer::<Even, String>("t").expect("it exists");
        assert_fails!(producer.send(1, "v"), Error::Encode { part: RecordPart::Key, .. });
        assert_fails!(producer.tombstone(1).send(), Error::Encode { part: RecordPart::Key, .. });
        assert_fails!(producer.record("v").key(1).send(), Error::Encode { part: RecordPart::Key, .. });
        assert_fails!(producer.send_batch([(2, "v"), (1, "v")]), Error::Encode { part: RecordPart::Key, .. });
        assert_eq!(held(broker, "t"), 0);
    });
}

// ---- a codec that panics ----

/// Panics on `"panic"`, with half of its bytes written.
struct Fragile;

impl Codec for Fragile {
    type Input<'a> = &'a str;
    type View<'a> = &'a str;

    fn encode<'s, 'i: 's>(input: &'i str, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        scratch.extend_from_slice(&input.as_bytes()[..input.len() / 2]);
        assert_ne!(input, "panic", "a bug of the codec");
        scratch.extend_from_slice(&input.as_bytes()[input.len() / 2..]);
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<&str, CodecError> {
        let text = String::decode(bytes)?;
        assert_ne!(text, "no text", "a bug of the codec");
        Ok(text)
    }
}

#[test]
fn a_panicking_codec_leaves_the_log_intact_and_usable() {
    on_kept(|kept| {
        let broker = kept.open();
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<Fragile, Fragile>("t").expect("it exists");
        let panics = |call: &dyn Fn(&Producer<Fragile, Fragile>) -> bool| {
            catch_unwind(AssertUnwindSafe(|| call(&producer))).is_err()
        };
        producer.record("before").partition(0).send().expect("sends");
        for _ in 0..3 {
            assert!(panics(&|producer| producer.send("k", "panic").is_ok()));
            assert!(panics(&|producer| producer.send("panic", "v").is_ok()));
            assert!(panics(&|producer| producer.record("panic").partition(0).send().is_ok()));
            assert!(panics(&|producer| producer
                .send_batch([("a", "v"), ("b", "v"), ("c", "panic")])
                .is_ok()));
        }
        producer.record("after").partition(0).send().expect("sends");
        assert_eq!(texts(&all_of(&broker, "t")), ["before", "after"]);
        drop((producer, broker));
        let broker = kept.open();
        assert!(broker.recovery_report().is_clean());
        assert_eq!(texts(&all_of(&broker, "t")), ["before", "after"]);
    });
}

#[test]
fn a_codec_that_panics_while_reading_stops_neither_the_consumer_nor_others() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<(), String>("t").expect("it exists");
        for value in ["a", "no text", "b"] {
            producer.send((), value).expect("sends");
        }
        let mut consumer = broker.consumer::<(), Fragile>().topic("t").group("g").build().expect("it exists");
        let records = consumer.poll(NOW).expect("records");
        let values: Vec<_> =
            records.iter().map(|record| catch_unwind(AssertUnwindSafe(|| record.value())).is_ok()).collect();
        assert_eq!(values, [true, false, true]);
        consumer.commit(&records).expect("commits");
        producer.send((), "c").expect("sends");
        let records = consumer.poll(NOW).expect("a record");
        assert_eq!(records.iter().next().expect("a record").value().expect("text"), "c");
    });
}

// ---- a codec that sends ----

/// Writes an audit record about each value before it encodes the value.
struct Audited;

thread_local! {
    static AUDIT: RefCell<Option<Producer<String, String>>> = const { RefCell::new(None) };
}

impl Codec for Audited {
    type Input<'a> = &'a str;
    type View<'a> = &'a str;

    fn encode<'s, 'i: 's>(input: &'i str, scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        scratch.extend_from_slice(b"audited ");
        AUDIT.with_borrow(|audit| {
            let audit = audit.as_ref().ok_or_else(|| CodecError::new("no audit"))?;
            audit.send("who", &format!("audit of {input}")).map(drop).map_err(CodecError::new)
        })?;
        scratch.extend_from_slice(input.as_bytes());
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<&str, CodecError> {
        String::decode(bytes)
    }
}

fn with_audit(broker: &Broker, test: impl FnOnce()) {
    let audit = broker.producer("t").expect("it exists");
    AUDIT.set(Some(audit));
    test();
    AUDIT.set(None);
}

#[test]
fn a_codec_may_send_to_the_very_partition_that_it_encodes_for() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new().segment_bytes(4096)).expect("a free name");
        let producer = broker.producer::<String, Audited>("t").expect("it exists");
        with_audit(broker, || {
            producer.send("k", "one").expect("sends");
            producer.record("two").send().expect("sends");
            producer.send_batch([("k", "three"), ("k", "four")]).expect("sends");
        });
        let expected = [
            "audit of one",
            "audited one",
            "audit of two",
            "audited two",
            "audit of three",
            "audit of four",
            "audited three",
            "audited four",
        ];
        assert_eq!(texts(&all_of(broker, "t")), expected);
    });
}

#[test]
fn an_error_of_a_send_inside_a_codec_reaches_the_caller() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new().max_record_bytes(100)).expect("a free name");
        let producer = broker.producer::<String, Audited>("t").expect("it exists");
        with_audit(broker, || {
            let shown = producer.send("k", &"x".repeat(90)).expect_err("its audit is too large").to_string();
            assert!(shown.contains("max_record_bytes"), "{shown}");
        });
        assert_eq!(held(broker, "t"), 0);
    });
}
