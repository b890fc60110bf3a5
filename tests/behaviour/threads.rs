//! Several threads at once: the order that each sender can rely on, and that senders
//! and readers together neither lose nor repeat a record.

use std::thread;

use ottla::{Broker, Raw, TopicConfig};

use crate::support::*;

const SENDERS: u32 = 4;

/// Every sender's records are there, each once and in the order in which they were sent.
fn assert_each_sender_in_order(broker: &Broker, per_sender: u32) {
    let mut next = [0; SENDERS as usize];
    for record in all_of(broker, "t") {
        let (sender, number) = decode(record.value.as_deref().expect("a value"));
        assert_eq!(number, next[sender as usize], "sender {sender}");
        next[sender as usize] += 1;
    }
    assert_eq!(next, [per_sender; SENDERS as usize]);
}

fn encode(sender: u32, number: u32) -> [u8; 8] {
    (u64::from(sender) << 32 | u64::from(number)).to_be_bytes()
}

fn decode(value: &[u8]) -> (u32, u32) {
    let both = u64::from_be_bytes(value.try_into().expect("eight bytes"));
    ((both >> 32) as u32, both as u32)
}

#[test]
fn records_of_one_thread_keep_their_order_through_a_shared_producer() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new().segment_bytes(64 << 10)).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let producer = &producer;
                scope.spawn(move || {
                    for number in 0..2_000 {
                        producer.send((), &encode(sender, number)).expect("sends");
                    }
                });
            }
        });
        assert_each_sender_in_order(broker, 2_000);
    });
}

#[test]
fn records_of_one_thread_keep_their_order_through_producers_of_their_own() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let first = broker.producer::<(), Raw>("t").expect("it exists");
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let own = if sender == 0 { broker.producer("t").expect("it exists") } else { first.clone() };
                scope.spawn(move || {
                    for number in (0..2_000).step_by(2) {
                        own.send((), &encode(sender, number)).expect("sends");
                        own.send_batch([((), &encode(sender, number + 1)[..])]).expect("sends");
                    }
                });
            }
        });
        assert_each_sender_in_order(broker, 2_000);
    });
}

#[test]
fn offsets_that_threads_are_given_are_all_different_and_without_gaps() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let mut given = thread::scope(|scope| {
            let send =
                || (0..1_000).map(|_| producer.send((), b"v").expect("sends").offset).collect::<Vec<_>>();
            let threads: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
            let given = threads.into_iter().map(|thread| thread.join().expect("sends"));
            given.inspect(|offsets| assert!(offsets.is_sorted())).flatten().collect::<Vec<_>>()
        });
        given.sort_unstable();
        assert!(given.into_iter().eq(0..1_000 * u64::from(SENDERS)));
    });
}

#[test]
fn a_hundred_thousand_records_need_no_consumer() {
    on_both(|broker| {
        broker.create_topic("t", partitions(4)).expect("a free name");
        let producer = broker.producer::<u32, Raw>("t").expect("it exists");
        for number in 0..100_000 {
            producer.send(number, b"somebody may read this later").expect("sends");
        }
        assert_eq!(held(broker, "t"), 100_000);
        let mut consumer = broker.consumer::<u32, Raw>().topic("t").build().expect("it exists");
        let mut count = 0;
        loop {
            let records = consumer.poll(NOW).expect("records");
            if records.is_empty() {
                break;
            }
            count += records.len();
        }
        assert_eq!(count, 100_000);
    });
}

#[test]
fn senders_and_readers_together_lose_and_repeat_nothing() {
    on_both(|broker| {
        let config = partitions(3).segment_bytes(32 << 10);
        broker.create_topic("t", config).expect("a free name");
        let producer = broker.producer::<(), Raw>("t").expect("it exists");
        let senders = (0..SENDERS).map(|sender| {
            let producer = producer.clone();
            watched("a sender", move || {
                for number in 0..2_000 {
                    let value = encode(sender, number);
                    // Each sender keeps to one partition, which two of them share.
                    producer.record(&value).partition(sender % 3).send().expect("sends");
                }
            })
        });
        let readers = (0..2).map(|_| {
            let mut consumer = reader(broker, "t");
            watched("a reader", move || {
                let mut next = [0; SENDERS as usize];
                let mut offsets = [0; 3];
                while next != [2_000; SENDERS as usize] {
                    for record in &consumer.poll(FOREVER).expect("records") {
                        let offset = &mut offsets[record.partition() as usize];
                        assert_eq!(record.offset(), *offset);
                        *offset += 1;
                        let (sender, number) = decode(record.value_bytes().expect("a value"));
                        assert_eq!(number, next[sender as usize], "sender {sender}");
                        next[sender as usize] += 1;
                    }
                }
                assert!(consumer.poll(NOW).expect("nothing more").is_empty());
            })
        });
        let all: Vec<_> = readers.chain(senders).collect();
        all.into_iter().for_each(Watched::wait);
    });
}

#[test]
fn a_consumer_can_move_between_threads() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut consumer = broker.consumer::<(), String>().topic("t").group("g").build().expect("builds");
        for round in 0..4 {
            send_numbered(broker, "t", 1);
            let moved = thread::spawn(move || {
                let records = consumer.poll(NOW).expect("a record");
                (consumer, records)
            });
            let (returned, records) = moved.join().expect("polls");
            assert_eq!(
                (records.len(), records.iter().next().map(|record| record.offset())),
                (1, Some(round))
            );
            consumer = returned;
        }
    });
}
