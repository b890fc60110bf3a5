//! Logs that nobody uses: they keep no file open and no records in memory, and nobody notices.

use std::io::ErrorKind::Other;

use ottla::{Broker, Durability, Error, Producer, TopicConfig};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

const ON_DISK: [Durability; 2] = [Durability::ProcessCrash, Durability::PowerLoss];

/// A topic of small segments, with a producer.
fn topic(broker: &Broker, config: TopicConfig) -> Producer<(), String> {
    broker.create_topic("t", config.segment_bytes(4096)).expect("a free name");
    broker.producer("t").expect("it exists")
}

/// Sends these numbers, each in a record of which three fill a segment.
fn send(producer: &Producer<(), String>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        producer.send((), &format!("{number:01200}")).expect("no fault");
    }
}

fn assert_holds(broker: &Broker, count: usize) {
    let found: Vec<usize> = all_of(broker, "t").iter().map(|r| text(r).parse().expect("a number")).collect();
    assert_eq!(found, (0..count).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_not_used_closes_its_files_and_goes_on_when_it_is() {
    for durability in ON_DISK {
        let storage = Faulty::default();
        let broker = storage.open_broker();
        let producer = topic(&broker, TopicConfig::new().durability(durability));
        let mut follower = broker.consumer::<(), String>().topic("t").build().expect("it exists");
        let mut sent = 0;
        for round in 1..4 {
            // Once from the middle of a segment, once from its end.
            send(&producer, sent..sent + round + 3);
            sent += round + 3;
            assert!(storage.open_files("t-0") > 0);
            storage.wait_until_closed("t-0");
            assert_eq!(storage.closed_unsynced(), [""; 0].map(std::path::PathBuf::from), "{durability:?}");
            assert_holds(&broker, sent);
            assert_eq!(drain(&mut follower).len(), round + 3);
            let partition = broker.describe_topic("t").expect("it exists").partitions[0];
            assert_eq!(partition.end_offset, sent as u64);
            assert_eq!(storage.open_files("t-0"), 0, "who has read it all holds nothing");
        }
        send(&producer, sent..sent + 1);
        broker.close().expect("no fault");
        assert_eq!(storage.open_files("t-0"), 0, "handles that are left hold nothing");
        assert_holds(&storage.open_broker(), sent + 1);
    }
}

#[test]
fn what_readers_hold_stays_when_the_log_gives_up_its_memory() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = topic(&broker, TopicConfig::new());
    send(&producer, 0..2);
    let mut consumer = broker.consumer::<(), String>().topic("t").max_records(1).build().expect("it exists");
    let first = consumer.poll(NOW).expect("readable");
    storage.wait_until_closed("t-0");
    send(&producer, 2..7);
    assert_eq!(polled(&first), [format!("{:01200}", 0)]);
    let rest: Vec<String> = texts(&drain(&mut consumer));
    assert_eq!(rest, (1..7).map(|number| format!("{number:01200}")).collect::<Vec<_>>());
}

#[test]
fn a_poll_that_sleeps_while_the_log_goes_to_rest_is_woken_by_the_next_record() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = topic(&broker, TopicConfig::new());
    send(&producer, 0..1);
    let mut consumer = broker.consumer::<(), String>().topic("t").build().expect("it exists");
    assert_eq!(drain(&mut consumer).len(), 1);
    let poll = watched("the poll", move || consumer.poll(FOREVER).expect("readable").len());
    storage.wait_until_closed("t-0");
    send(&producer, 1..2);
    assert_eq!(poll.wait(), 1);
}

#[test]
fn opening_leaves_no_file_open_whatever_was_left() {
    for clean in [true, false] {
        let storage = Faulty::default();
        let broker = storage.open_broker();
        send(&topic(&broker, TopicConfig::new()), 0..8);
        if clean {
            broker.close().expect("no fault");
        }
        let copy = storage.copy();
        let reopened = copy.open_broker();
        assert_eq!(copy.open_files("t-0"), 0, "closed: {clean}");
        assert_eq!(copy.closed_unsynced().len(), 0, "closed: {clean}");
        assert_holds(&reopened, 8);
        let read_only = Broker::builder().data_dir("/data").storage(storage.copy()).read_only(true);
        assert_holds(&read_only.open().expect("whole"), 8);
    }
}

#[test]
fn a_record_for_a_file_that_cannot_be_opened_is_not_appended_and_the_next_one_is() {
    for durability in ON_DISK {
        let storage = Faulty::default();
        let broker = storage.open_broker();
        let producer = topic(&broker, TopicConfig::new().durability(durability));
        send(&producer, 0..1);
        storage.wait_until_closed("t-0");
        storage.refuse(Operation::Open, "t-0", Other);
        assert_fails!(producer.send((), "x"), Error::Io { operation: "open", .. });
        let delivery = producer.enqueue((), "y").expect("room");
        assert_fails!(watched("it", || delivery.wait()).wait(), Error::Io { operation: "open", .. });
        let mut consumer = reader(&broker, "t");
        assert_fails!(consumer.poll(NOW), Error::Io { operation: "open", .. });
        assert!(broker.health().is_good(), "{:?}", broker.health());
        storage.allow_all();
        assert_eq!(offsets(&drain(&mut consumer)), [0], "the poll that failed took nothing");
        send(&producer, 1..2);
        producer.flush().expect("nothing is lost that nobody was told of");
        assert_holds(&broker, 2);
    }
}

#[test]
fn a_reader_of_a_segment_that_is_deleted_before_it_is_opened_is_told_so() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    send(&topic(&broker, TopicConfig::new()), 0..9);
    storage.wait_until_closed("t-0");
    let mut consumer = reader(&broker, "t");
    let deleting = broker.clone();
    storage.before_next_open("t-0/00000000000000000000.log", move || {
        deleting.delete_records("t", 0, 4).expect("no fault");
    });
    assert_fails!(consumer.poll(NOW), Error::OffsetOutOfRange { requested: 0, earliest: 4, latest: 9, .. });
    consumer.seek("t", 0, 4).expect("assigned");
    assert_eq!(offsets(&drain(&mut consumer)), [4, 5, 6, 7, 8]);
}

#[test]
fn a_search_by_time_passes_over_a_segment_that_is_deleted_before_it_is_opened() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    let producer = topic(&broker, TopicConfig::new());
    for number in 0..9 {
        let value = format!("{number:01200}");
        let record = producer.record(&value).timestamp(ottla::Timestamp::from_millis(number));
        record.send().expect("no fault");
    }
    storage.wait_until_closed("t-0");
    let deleting = broker.clone();
    storage.before_next_open("t-0/00000000000000000000.log", move || {
        deleting.delete_records("t", 0, 3).expect("no fault");
    });
    let mut consumer = reader(&broker, "t");
    consumer.seek_to_timestamp(ottla::Timestamp::from_millis(2)).expect("readable");
    assert_eq!(offsets(&drain(&mut consumer)), [3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_reader_of_a_topic_that_is_deleted_before_its_file_is_opened_is_told_so() {
    let storage = Faulty::default();
    let broker = storage.open_broker();
    send(&topic(&broker, TopicConfig::new()), 0..3);
    storage.wait_until_closed("t-0");
    let mut consumer = reader(&broker, "t");
    let deleting = broker.clone();
    storage.before_next_open("t-0", move || deleting.delete_topic("t").expect("no fault"));
    assert_fails!(consumer.poll(NOW), Error::TopicDeleted { .. });
}
