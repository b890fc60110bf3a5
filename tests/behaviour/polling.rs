//! Polling: when it returns and with what, what wakes it, and that no partition starves.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::{Raw, Record, TopicConfig};

use crate::support::*;

// ---- when it returns ----

#[test]
fn a_poll_returns_at_once_what_is_there() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 3);
        for timeout in [NOW, Duration::from_nanos(1), Duration::from_secs(3_600), FOREVER] {
            let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
            let poll = watched("a poll with records", move || {
                let records = consumer.poll(timeout).expect("records");
                polled(&records).into_iter().map(str::to_owned).collect::<Vec<_>>()
            });
            assert_eq!(poll.wait(), numbered(0..3));
        }
    });
}

#[test]
fn a_poll_without_a_timeout_returns_nothing_when_caught_up() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut consumer = reader(broker, "t");
        for round in 0..3 {
            let records = consumer.poll(NOW).expect("nothing");
            assert!(records.is_empty());
            assert_eq!((records.len(), records.iter().count()), (0, 0));
            send_numbered(broker, "t", 1);
            assert_eq!(offsets(&drain(&mut consumer)), [round]);
        }
    });
}

#[test]
fn a_poll_gives_up_after_its_timeout() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut consumer = reader(broker, "t");
        let poll = watched("a poll with a timeout", move || {
            consumer.poll(Duration::from_millis(5)).map(|records| records.len())
        });
        assert_eq!(poll.wait().expect("no error"), 0);
    });
}

#[test]
fn what_a_poll_returns_it_returns_once() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let producer = broker.producer::<String, String>("t").expect("it exists");
        let mut consumer = reader(broker, "t");
        for round in 0..20 {
            for number in 0..50 {
                producer.send(&number.to_string(), &format!("{round}/{number}")).expect("sends");
            }
            let mut found = texts(&drain(&mut consumer));
            found.sort();
            let mut sent: Vec<String> = (0..50).map(|number| format!("{round}/{number}")).collect();
            sent.sort();
            assert_eq!(found, sent);
        }
    });
}

#[test]
fn the_number_of_records_is_what_iterating_finds() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3)).expect("a free name");
        for partition in 0..3 {
            let producer = broker.producer::<(), Raw>("t").expect("it exists");
            for _ in 0..=partition {
                producer.record(b"v").partition(partition).send().expect("sends");
            }
        }
        let mut consumer = reader(broker, "t");
        consumer.seek("t", 2, 1).expect("assigned");
        let records = consumer.poll(NOW).expect("records");
        assert_eq!((records.len(), records.iter().count(), (&records).into_iter().count()), (5, 5, 5));
        assert!(!records.is_empty());
    });
}

#[test]
fn records_come_partition_by_partition_in_the_order_of_their_offsets() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let producer = broker.producer::<u32, Raw>("t").expect("it exists");
        for number in 0..400 {
            producer.send(number, b"v").expect("sends");
        }
        let mut consumer = reader(broker, "t");
        let records = consumer.poll(NOW).expect("records");
        let mut seen = BTreeMap::new();
        let mut last = None;
        for record in &records {
            let next = seen.entry(record.partition()).or_insert(0);
            assert!(*next == 0 || last == Some(record.partition()), "a partition's records are together");
            assert_eq!(record.offset(), *next);
            *next += 1;
            last = Some(record.partition());
        }
        assert_eq!(seen.len(), 4);
    });
}

// ---- what wakes it ----

#[test]
fn a_sleeping_poll_is_woken_by_an_append_to_any_of_its_partitions() {
    on_both(|broker| {
        for topic in ["a", "b"] {
            broker.create_topic(topic, partitions(3)).expect("a free name");
        }
        for topic in ["a", "b"] {
            let producer = broker.producer::<(), String>(topic).expect("it exists");
            for partition in 0..3 {
                let mut consumer =
                    broker.consumer::<(), Raw>().topics(["a", "b"]).build().expect("both exist");
                consumer.seek_to_end();
                let poll = watched("a poll that was sent a record", move || {
                    let records = consumer.poll(FOREVER).expect("a record");
                    records
                        .iter()
                        .map(|record| (record.topic().to_owned(), record.partition()))
                        .collect::<Vec<_>>()
                });
                let_it_sleep();
                producer.record("wake up").partition(partition).send().expect("sends");
                assert_eq!(poll.wait(), [(topic.to_owned(), partition)]);
            }
        }
    });
}

#[test]
fn a_batch_wakes_a_sleeping_poll_which_gets_it_whole() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut consumer = reader(broker, "t");
        let poll =
            watched("a poll that was sent a batch", move || consumer.poll(FOREVER).expect("records").len());
        let_it_sleep();
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        producer.send_batch([((), &b"v"[..]); 20]).expect("sends");
        assert_eq!(poll.wait(), 20);
    });
}

#[test]
fn an_append_wakes_every_consumer_that_sleeps() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let polls: Vec<_> = (0..8)
            .map(|_| {
                let mut consumer = reader(broker, "t");
                watched("one of eight polls", move || consumer.poll(FOREVER).expect("a record").len())
            })
            .collect();
        let_it_sleep();
        send_numbered(broker, "t", 1);
        for poll in polls {
            assert_eq!(poll.wait(), 1);
        }
    });
}

#[test]
fn an_append_elsewhere_does_not_end_a_poll() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        broker.create_topic("other", TopicConfig::new()).expect("a free name");
        let mut consumer = broker.consumer::<(), String>().assign("t", [1]).build().expect("it exists");
        let poll = watched("a poll", move || {
            let records = consumer.poll(FOREVER).expect("a record");
            polled(&records).join(",")
        });
        let_it_sleep();
        send_numbered(broker, "other", 1);
        send_numbered(broker, "t", 1);
        let producer = broker.producer::<(), String>("t").expect("it exists");
        producer.record("mine").partition(1).send().expect("sends");
        assert_eq!(poll.wait(), "mine");
    });
}

#[test]
fn no_wake_up_is_lost_in_a_thousand_round_trips() {
    on_both(|broker| {
        for topic in ["ping", "pong"] {
            broker.create_topic(topic, TopicConfig::new()).expect("a free name");
        }
        let answer = broker.producer::<(), u32>("pong").expect("it exists");
        let mut questions = broker.consumer::<(), u32>().topic("ping").build().expect("it exists");
        let mut answers = broker.consumer::<(), u32>().topic("pong").build().expect("it exists");
        let ask = broker.producer::<(), u32>("ping").expect("it exists");
        let server = watched("the one who answers", move || {
            for _ in 0..1_000 {
                let records = questions.poll(FOREVER).expect("a question");
                let question = records.iter().next().expect("a question").value().expect("a number");
                answer.send((), question + 1).expect("sends");
            }
        });
        let client = watched("the one who asks", move || {
            for number in 0..1_000 {
                ask.send((), number).expect("sends");
                let records = answers.poll(FOREVER).expect("an answer");
                let found: Vec<_> = records.iter().map(|record| record.value().expect("a number")).collect();
                assert_eq!(found, [number + 1]);
            }
        });
        client.wait();
        server.wait();
    });
}

// ---- fairness ----

#[test]
fn a_poll_has_an_end_and_the_next_one_goes_on_elsewhere() {
    on_both(|broker| {
        broker.create_topic("t", partitions(12)).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let value = vec![0; 1_000_000];
        for partition in (0..11).cycle().take(33) {
            producer.record(&value).partition(partition).send().expect("sends");
        }
        producer.record(b"small").partition(11).send().expect("sends");
        let mut consumer = reader(broker, "t");
        let (mut polls, mut small_at, mut seen) = (0, None, 0);
        while seen < 34 {
            let records = consumer.poll(NOW).expect("records");
            assert!(!records.is_empty(), "{seen} records of 34");
            let bytes: usize =
                records.iter().filter_map(|record| record.value_bytes()).map(<[u8]>::len).sum();
            assert!(bytes < 8_000_000, "{bytes} bytes in one poll");
            polls += 1;
            seen += records.len();
            if records.iter().any(|record| record.partition() == 11) {
                small_at = Some(polls);
            }
        }
        assert!(small_at.is_some_and(|at| at * 2 <= polls), "found by poll {small_at:?} of {polls}");
    });
}

#[test]
fn all_partitions_progress_while_one_is_sent_to_without_end() {
    on_both(|broker| {
        broker.create_topic("t", partitions(3).segment_bytes(1 << 20)).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let mut consumer = reader(broker, "t");
        let mut seen = [0; 3];
        for _ in 0..50 {
            // Always more for partition 1 than a poll takes.
            for _ in 0..30 {
                producer.record(&[1; 20_000]).partition(1).send().expect("sends");
            }
            for partition in [0, 2] {
                producer.record(b"v").partition(partition).send().expect("sends");
            }
            for record in &consumer.poll(NOW).expect("records") {
                seen[record.partition() as usize] += 1;
            }
        }
        assert!(seen[0] >= 45 && seen[2] >= 45 && seen[1] > 0, "{seen:?}");
    });
}

// ---- several consumers and topics ----

#[test]
fn consumers_do_not_take_records_from_each_other() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        send_numbered(broker, "t", 10);
        let mut consumers = [reader(broker, "t"), reader(broker, "t")];
        for consumer in &mut consumers {
            assert_eq!(texts(&drain(consumer)), numbered(0..10));
            consumer.seek_to_beginning();
            assert_eq!(texts(&drain(consumer)), numbered(0..10), "and once more");
        }
        assert_eq!(held(broker, "t"), 10, "reading takes nothing away");
    });
}

#[test]
fn a_consumer_reads_several_topics_and_says_which() {
    on_both(|broker| {
        for topic in ["orders", "payments", "shipments"] {
            broker.create_topic(topic, partitions(2)).expect("a free name");
            let producer = broker.producer::<String, String>(topic).expect("it exists");
            for number in 0..10 {
                producer.send(&number.to_string(), topic).expect("sends");
            }
        }
        let build = broker.consumer::<String, String>().topics(["orders"]).topic("shipments").topic("orders");
        let mut consumer = build.build().expect("they exist");
        assert_eq!(consumer.assignment().len(), 4);
        let records = consumer.poll(NOW).expect("records");
        assert_eq!(records.len(), 20);
        for record in &records {
            assert_eq!(record.value().expect("text"), record.topic());
            assert_ne!(record.topic(), "payments");
        }
        assert!(records.iter().map(|record| Record::topic(&record)).is_sorted(), "topic by topic");
    });
}
