//! What happens in a broker is told in numbers that agree with what was sent and read.

pub(crate) mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::{
    Broker, BrokerBuilder, Compaction, Consumer, Durability, GroupState, ManualClock, PartitionStats, Raw,
    Retention, Stats, Timestamp, TopicConfig, TopicPartition,
};

use crate::faulty::{Faulty, Operation};
use crate::support::*;

/// Nothing is synced by itself while a test runs.
const NEVER: Duration = Duration::from_secs(3_600);

fn partition<'a>(stats: &'a Stats, topic: &str, partition: u32) -> &'a PartitionStats {
    let topic = stats.topics.iter().find(|each| each.name == topic).expect("it is told of");
    &topic.partitions[partition as usize]
}

/// The bytes of a record in the log.
fn frame_bytes(key: usize, value: usize) -> u64 {
    (40 + key + value).next_multiple_of(8) as u64
}

// ---- partitions ----

/// What was sent and read.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    appended: (u64, u64),
    fetched: (u64, u64),
}

type Ledger = BTreeMap<(String, u32), Expected>;

const TOPICS: [(&str, u32, Durability); 2] =
    [("files", 2, Durability::ProcessCrash), ("memory", 3, Durability::Memory)];

fn check(broker: &Broker, ledger: &Ledger, opened_at: &BTreeMap<(String, u32), u64>) {
    let stats = broker.stats();
    for ((topic, number), expected) in ledger {
        let found = partition(&stats, topic, *number);
        let place = format!("{topic}-{number}");
        assert_eq!(found.partition, *number);
        assert_eq!(found.appended.records, expected.appended.0, "appended to {place}");
        assert_eq!(found.fetched.records, expected.fetched.0, "fetched from {place}");
        let opened_at = opened_at.get(&(topic.clone(), *number)).copied().unwrap_or(0);
        assert_eq!(found.end_offset - opened_at, expected.appended.0, "the end of {place}");
        if topic == "memory" {
            assert_eq!(found.appended.bytes, expected.appended.1, "bytes appended to {place}");
            assert_eq!(found.fetched.bytes, expected.fetched.1, "bytes fetched from {place}");
        } else {
            // Sync marks are 48 bytes each.
            let appended_marks = found.appended.bytes - expected.appended.1;
            let fetched_marks = found.fetched.bytes - expected.fetched.1;
            assert_eq!((appended_marks % 48, fetched_marks % 48), (0, 0), "bytes of {place}");
        }
    }
}

fn send_some(broker: &Broker, ledger: &mut Ledger, rng: &mut Rng) {
    let (topic, count, _) = TOPICS[rng.below(TOPICS.len())];
    let (number, len) = (rng.below(count as usize) as u32, rng.below(200));
    let producer = broker.producer::<Raw, Raw>(topic).expect("it exists");
    let value = rng.bytes(len);
    let records = match rng.below(3) {
        0 => {
            producer.record(&value).key(b"key").partition(number).send().expect("sends");
            1
        }
        1 => {
            let delivery = producer.record(&value).key(b"key").partition(number).enqueue();
            delivery.expect("there is room").wait().expect("written");
            1
        }
        _ => {
            let batch: Vec<_> = (0..1 + rng.below(20))
                .map(|_| producer.record(&value).key(b"key").partition(number))
                .collect();
            let records = batch.len();
            producer.send_batch(batch).expect("sends");
            records
        }
    } as u64;
    let expected = ledger.entry((topic.to_owned(), number)).or_default();
    expected.appended.0 += records;
    expected.appended.1 += records * frame_bytes(3, len);
}

fn poll_some(consumer: &mut Consumer<Raw, Raw>, ledger: &mut Ledger, rng: &mut Rng) {
    if rng.one_in(8) {
        consumer.seek_to_beginning();
    }
    let records = consumer.poll(if rng.one_in(10) { SOON } else { NOW }).expect("readable");
    for record in &records {
        let place = (record.topic().to_owned(), record.partition());
        let value = record.value().expect("bytes").len();
        let expected = ledger.entry(place).or_default();
        expected.fetched.0 += 1;
        expected.fetched.1 += frame_bytes(3, value);
    }
}

#[test]
fn numbers_agree_with_what_was_sent_and_polled() {
    with_seeds(|rng| {
        let dir = temp_dir();
        let open = || Broker::builder().data_dir(dir.path()).sync_interval(SOON).open().expect("opens");
        let broker = open();
        for (topic, count, durability) in TOPICS {
            let config = partitions(count).durability(durability).segment_bytes(16 << 10);
            broker.create_topic(topic, config).expect("a free name");
        }
        let (mut ledger, none) = (Ledger::new(), BTreeMap::new());
        let all = || broker.consumer::<Raw, Raw>().topics(TOPICS.map(|(topic, ..)| topic));
        let mut consumers = [
            all().build().expect("builds"),
            all().max_records(3).build().expect("builds"),
            all().max_bytes(500).build().expect("builds"),
            all().min_bytes(2_000).build().expect("builds"),
        ];
        for step in 0..600 {
            if rng.one_in(2) {
                send_some(&broker, &mut ledger, rng);
            } else {
                let number = rng.below(consumers.len());
                poll_some(&mut consumers[number], &mut ledger, rng);
            }
            if step % 50 == 0 {
                check(&broker, &ledger, &none);
            }
        }
        check(&broker, &ledger, &none);
        assert!(broker.stats().topics[0].partitions[0].segments > 1);
        drop(consumers);
        broker.close().expect("closes");

        let broker = open();
        let description = broker.describe_topic("files").expect("it exists");
        let opened_at =
            description.partitions.iter().map(|each| (("files".to_owned(), each.partition), each.end_offset));
        let opened_at: BTreeMap<_, _> = opened_at.collect();
        let mut ledger = Ledger::new();
        for (topic, count, _) in TOPICS {
            ledger.extend((0..count).map(|number| ((topic.to_owned(), number), Expected::default())));
        }
        check(&broker, &ledger, &opened_at);
        send_some(&broker, &mut ledger, rng);
        check(&broker, &ledger, &opened_at);
    });
}

#[test]
fn only_topics_of_users_are_told_of_by_name() {
    on_both(|broker| {
        make(broker, "t", 2);
        make(broker, "a", 1);
        send_to_each(broker);
        drop(work_off(&mut member(broker)));
        let stats = broker.stats();
        let names: Vec<_> = stats.topics.iter().map(|topic| (&*topic.name, topic.partitions.len())).collect();
        assert_eq!(names, [("a", 1), ("t", 2)]);
        assert!(stats.uptime >= stats.rate_window);
        broker.delete_topic("a").expect("it exists");
        assert_eq!(broker.stats().topics.len(), 1);
    });
}

#[test]
fn records_that_a_poll_puts_back_do_not_count() {
    on_both(|broker| {
        make(broker, "t", 2);
        send_to_each(broker);
        let builder = broker.consumer::<(), String>().topic("t");
        let mut consumer = builder.min_bytes(200).build().expect("builds");
        let fetched = || {
            let stats = broker.stats();
            [0, 1].map(|number| partition(&stats, "t", number).fetched.records)
        };
        // A poll with a timeout waits for more, and then returns what there is.
        assert_eq!(consumer.poll(SOON).expect("polls").len(), 2);
        assert_eq!(fetched(), [1, 1]);
        send_to(broker, 1, "x");
        let woken = consumer.wake_handle();
        woken.wake();
        drop(consumer.poll(FOREVER).expect_err("woken"));
        assert_eq!(fetched(), [1, 1]);
        let future = consumer.next_records();
        let mut future = std::pin::pin!(future);
        assert!(once(|cx| future.as_mut().poll(cx)).is_pending(), "there is not enough");
        assert_eq!(fetched(), [1, 1], "put back");
    });
}

#[test]
fn a_log_on_disk_takes_what_its_files_take() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("opens");
    broker.create_topic("t", partitions(1).segment_bytes(4 << 10)).expect("a free name");
    let on_disk = || {
        let files = std::fs::read_dir(dir.path().join("t-0")).expect("its directory");
        files.map(|file| file.expect("a file").metadata().expect("readable").len()).sum::<u64>()
    };
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    for number in 0..100 {
        producer.send((), &vec![7; number * 10]).expect("sends");
        let told = partition(&broker.stats(), "t", 0).clone();
        assert!(told.log_bytes <= on_disk(), "more than there is after {number}");
    }
    producer.flush().expect("syncs");
    let stats = broker.stats();
    let told = partition(&stats, "t", 0);
    assert_eq!(told.segments, files_in(&dir.path().join("t-0")).len());
    assert!(told.segments > 5 && told.memory_bytes > 0);
    // A mark of 48 bytes may have been written meanwhile.
    assert!(told.log_bytes.abs_diff(on_disk()) <= 48, "{} are {}", told.log_bytes, on_disk());

    broker.delete_records("t", 0, 90).expect("in range");
    let stats = broker.stats();
    let left = partition(&stats, "t", 0);
    assert!(left.log_bytes < told.log_bytes && left.segments < told.segments);
    assert_eq!((left.start_offset, left.end_offset, left.appended.records), (90, 100, 100));
    broker.close().expect("closes");
    drop((producer, broker));

    let broker = Broker::open(dir.path()).expect("opens");
    let stats = broker.stats();
    let opened = partition(&stats, "t", 0);
    assert_eq!((opened.log_bytes, opened.memory_bytes), (on_disk(), 0));
    assert_eq!((opened.start_offset, opened.end_offset, opened.appended.records), (90, 100, 0));
}

#[test]
fn what_cannot_be_written_does_not_count() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    producer.send((), "sent").expect("sends");
    storage.refuse(Operation::Write, "/t-0/", std::io::ErrorKind::StorageFull);
    producer.send((), "refused").expect_err("the disk is full");
    storage.allow_all();
    let counted = |broker: &Broker| partition(&broker.stats(), "t", 0).appended;
    assert_eq!((counted(&broker).records, counted(&broker).bytes), (1, frame_bytes(0, 4)));
    producer.send((), "sent again").expect("sends");
    assert_eq!(counted(&broker).records, 2);
    assert_eq!(counted(&broker).bytes, frame_bytes(0, 4) + frame_bytes(0, 10));
}

#[test]
fn a_partition_that_takes_no_records_says_why() {
    let storage = Faulty::default();
    let (broker, producer) = storage.broker(1);
    assert_eq!(partition(&broker.stats(), "t", 0).fault, None);
    producer.send((), "sent").expect("sends");
    storage.refuse(Operation::Sync, "/t-0/", std::io::ErrorKind::Other);
    producer.flush().expect_err("it cannot be synced, nor written again");
    let stats = broker.stats();
    let fault = broker.health().partitions[0].error.to_string();
    assert_eq!(partition(&stats, "t", 0).fault.as_ref(), Some(&fault));
    assert!(stats.syncs.failures >= 1);
    assert!(stats.oldest_unsynced.is_some(), "a power loss could take it");
    assert!(stats.to_string().contains("takes no records"));
    storage.allow_all();
    producer.flush().expect("it is written again");
    let stats = broker.stats();
    assert_eq!((&partition(&stats, "t", 0).fault, stats.oldest_unsynced), (&None, None));
}

// ---- syncs ----

#[test]
fn the_oldest_unsynced_record_goes_with_a_sync() {
    on_kept(|kept| {
        let broker = kept.builder().sync_interval(NEVER).open().expect("opens");
        make(&broker, "t", 2);
        make(&broker, "other", 1);
        broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).expect("a free name");
        send_numbered(&broker, "m", 3);
        assert_eq!(broker.stats().oldest_unsynced, None);
        send_to(&broker, 1, "x");
        until("some time has passed", || broker.stats().oldest_unsynced > Some(Duration::from_millis(5)));
        send_numbered(&broker, "other", 1);
        let stats = broker.stats();
        let [first, second] = [0, 1].map(|number| partition(&stats, "t", number).oldest_unsynced);
        assert_eq!((first, stats.oldest_unsynced), (None, second), "the oldest of all");
        assert!(partition(&stats, "other", 0).oldest_unsynced < second);
        let syncs = stats.syncs.count;
        broker.producer::<(), String>("t").expect("it exists").flush().expect("syncs");
        let stats = broker.stats();
        assert_eq!(partition(&stats, "t", 1).oldest_unsynced, None);
        assert_eq!(stats.oldest_unsynced, partition(&stats, "other", 0).oldest_unsynced);
        assert_eq!((stats.syncs.count, stats.syncs.failures), (syncs + 1, 0));
        assert!(stats.syncs.p50 <= stats.syncs.p99 && stats.syncs.p99 <= stats.syncs.max);
        assert!(stats.syncs.max <= stats.syncs.total && stats.syncs.mean() <= stats.syncs.max);

        // It begins anew, though the flusher was asked before and has not come.
        send_to(&broker, 1, "y");
        assert!(partition(&broker.stats(), "t", 1).oldest_unsynced.is_some());
        broker.close().expect("closes");
        assert_eq!(broker.stats().oldest_unsynced, None);
    });
}

#[test]
fn commits_wait_for_syncs_too() {
    let dir = temp_dir();
    let broker = Broker::builder().data_dir(dir.path()).sync_interval(NEVER).open().expect("opens");
    make(&broker, "t", 1);
    broker.commit_offsets("g", [(TopicPartition::new("t", 0), 0)]).expect("commits");
    assert!(broker.stats().oldest_unsynced.is_some());
    assert_eq!(partition(&broker.stats(), "t", 0).oldest_unsynced, None);
}

#[test]
fn a_record_of_a_power_loss_topic_is_synced_when_it_is_acknowledged() {
    on_kept(|kept| {
        let broker = kept.builder().durability(Durability::PowerLoss).open().expect("opens");
        make(&broker, "t", 1);
        for sent in 1..=5 {
            send_to(&broker, 0, "x");
            let stats = broker.stats();
            assert_eq!(partition(&stats, "t", 0).oldest_unsynced, None);
            assert!(stats.syncs.count >= sent, "{:?}", stats.syncs);
        }
    });
}

// ---- groups and recovery ----

#[test]
fn groups_are_told_of_with_their_lag() {
    on_both(|broker| {
        make(broker, "t", 2);
        send_to_each(broker);
        let mut consumer = member(broker);
        work_off(&mut consumer);
        send_to_each(broker);
        send_to(broker, 1, "one more");
        let stats = broker.stats();
        assert_eq!(stats.groups, broker.groups());
        let group = &stats.groups[0];
        assert_eq!((&*group.name, group.members.len(), group.state), ("g", 1, GroupState::Stable));
        assert_eq!(group.lag(), 3);
        assert_eq!(group.partitions[&TopicPartition::new("t", 1)].lag, 2);
    });
}

#[test]
fn what_opening_mended_is_told() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("opens");
    make(&broker, "t", 1);
    broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).expect("a free name");
    send_numbered(&broker, "m", 3);
    broker.commit_offsets("g", [(TopicPartition::new("m", 0), 3)]).expect("commits");
    broker.close().expect("closes");
    let broker = Broker::open(dir.path()).expect("opens");
    let (recovery, report) = (broker.stats().recovery, broker.recovery_report());
    assert_eq!(recovery.lowered_commits, 1);
    assert_eq!(recovery.partitions, report.partitions as u64);
    assert_eq!(recovery.scanned_bytes, report.scanned_bytes);
    assert_eq!((recovery.torn_tails, recovery.torn_bytes, recovery.damaged), (0, 0, 0));
    assert_eq!(Broker::in_memory().stats().recovery, Default::default());
}

/// A broker whose housekeeping has something to do: a topic `r` with a retention, and `c` that is compacted.
pub(crate) fn in_need_of_upkeep(builder: BrokerBuilder) -> Broker {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let builder = builder.clock(Arc::clone(&clock)).housekeeping_interval(Duration::MAX);
    let broker = builder.open().expect("opens");
    let config = || TopicConfig::new().segment_bytes(16 << 10);
    let retention = Retention::forever().max_bytes(40_000);
    broker.create_topic("r", config().retention(retention)).expect("a free name");
    broker.create_topic("c", config().compaction(Compaction::by_key())).expect("a free name");
    for topic in ["r", "c"] {
        let producer = broker.producer::<Raw, Raw>(topic).expect("it exists");
        for number in 0..2_000_u32 {
            producer.send(&(number % 10).to_le_bytes(), &[7; 100]).expect("sends");
        }
    }
    // What comes at the same moment may still belong together.
    clock.advance(Duration::from_secs(60));
    broker
}

#[test]
fn what_upkeep_removed_is_told() {
    let dir = temp_dir();
    for builder in [Broker::builder(), Broker::builder().data_dir(dir.path())] {
        let broker = in_need_of_upkeep(builder);
        let done = broker.run_housekeeping().expect("no fault");
        let stats = broker.stats();
        let (retained, compacted) = (&partition(&stats, "r", 0).upkeep, &partition(&stats, "c", 0).upkeep);
        assert_eq!(retained.retained_out_records, done.deleted_records);
        assert_eq!(retained.retained_out_bytes, done.deleted_bytes);
        assert_eq!(retained.retained_out_records, partition(&stats, "r", 0).start_offset);
        assert_eq!((compacted.compactions, compacted.compacted_records), (1, done.compacted_records));
        assert_eq!(compacted.compacted_bytes, done.compacted_bytes);
        assert!(done.deleted_records > 0 && done.compacted_records > 0, "{done:?}");
        assert_eq!(stats.upkeep.retained_out_records, done.deleted_records, "over all");
        assert_eq!(stats.upkeep.compacted_bytes, done.compacted_bytes, "over all");
        assert_eq!(partition(&stats, "c", 0).appended.records, 2_000, "it was appended all the same");
        assert_eq!(all_of(&broker, "c").len() as u64, 2_000 - done.compacted_records);
        let fetched = partition(&broker.stats(), "c", 0).fetched.records;
        assert_eq!(fetched, 2_000 - done.compacted_records, "what is gone is not polled");
    }
}

#[test]
fn what_is_dropped_at_the_bound_of_memory_is_told() {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().memory_limit(64 << 10)).expect("a free name");
    send_numbered(&broker, "t", 5_000);
    let stats = broker.stats();
    let told = partition(&stats, "t", 0);
    assert_eq!(told.upkeep.dropped_records, told.start_offset);
    assert!(told.start_offset > 0 && told.upkeep.dropped_bytes > 0);
    assert!(told.memory_bytes <= 64 << 10 && told.log_bytes == told.memory_bytes);
    assert_eq!(told.appended.records, 5_000);
}

#[test]
fn a_thousand_partitions_are_told_of_while_they_are_used() {
    let broker = Broker::in_memory();
    make(&broker, "t", 1_000);
    let sender = broker.clone();
    let sending = watched("sending", move || {
        let producer = sender.producer::<(), String>("t").expect("it exists");
        for number in 0..20_000 {
            producer.record("x").partition(number % 1_000).send().expect("sends");
        }
    });
    let mut before = 0;
    while before < 20_000 {
        let stats = broker.stats();
        let sent = stats.topics[0].partitions.iter().map(|each| each.appended.records).sum();
        assert!((before..=20_000).contains(&sent));
        before = sent;
    }
    sending.wait();
}

#[test]
fn a_closed_broker_tells_what_it_was() {
    on_both(|broker| {
        make(broker, "t", 1);
        send_numbered(broker, "t", 3);
        broker.close().expect("closes");
        let stats = broker.stats();
        assert_eq!(partition(&stats, "t", 0).appended.records, 3);
        assert_eq!(stats.oldest_unsynced, None);
    });
}
