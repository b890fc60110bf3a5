//! Logs on disk: files that roll, records and batches larger than any of their pieces, and readers near
//! the end and far behind while others append.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ottla::{Broker, Consumer, Raw, TopicConfig};

use crate::support::*;

/// The base offsets in the names of a partition's segment files.
fn base_offsets(dir: &Path) -> Vec<u64> {
    let names = files_in(dir).into_iter();
    names
        .map(|name| {
            let digits = name.strip_suffix(".log").expect("nothing but segments");
            assert_eq!(digits.len(), 20, "{name}");
            digits.parse().expect("a number")
        })
        .collect()
}

fn with_segments(broker: &Broker, segment_bytes: u64) -> ottla::Producer<(), Raw> {
    let config = TopicConfig::new().segment_bytes(segment_bytes).max_record_bytes(4 << 20);
    broker.open_topic("t", config).expect("opens");
    broker.producer("t").expect("it exists")
}

/// A value that says which record it is in every byte.
fn value_of(number: u64, len: usize) -> Vec<u8> {
    let mut value = vec![number as u8; len.max(8)];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// Polls once; the records must go on from `next` and be those of [`value_of`].
fn poll_on(consumer: &mut Consumer<Raw, Raw>, next: &mut u64, timeout: Duration) -> usize {
    let records = consumer.poll(timeout).expect("a readable log");
    for record in &records {
        assert_eq!(record.offset(), *next);
        let value = record.value_bytes().expect("a value");
        assert!(value == value_of(*next, value.len()), "record {next}");
        *next += 1;
    }
    records.len()
}

#[test]
fn a_log_rolls_into_files_named_by_their_first_offset() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    let producer = with_segments(&broker, 4096);
    let partition = dir.path().join("t-0");
    assert_eq!(base_offsets(&partition), [0], "an empty log has its first file");
    for number in 0..500 {
        producer.send((), &value_of(number, 100)).expect("sends");
    }
    let bases = base_offsets(&partition);
    // A segment holds at most 40 records of 100 bytes, and at least half of that whatever is around them.
    assert!((13..=25).contains(&bases.len()), "{bases:?}");
    assert_eq!(bases[0], 0);
    for pair in bases.windows(2) {
        assert!((20..=40).contains(&(pair[1] - pair[0])), "{bases:?}");
    }
    for base in bases {
        let len = partition.join(format!("{base:020}.log")).metadata().expect("a file").len();
        assert!(len <= 4096, "{base} has {len} bytes");
    }
}

#[test]
fn a_reopened_log_goes_on_in_its_last_file() {
    let dir = temp_dir();
    let mut bases = Vec::new();
    for life in 0..5 {
        let broker = Broker::open(dir.path()).expect("opens");
        let producer = with_segments(&broker, 64 << 10);
        for number in life * 10..(life + 1) * 10 {
            assert_eq!(producer.send((), &value_of(number, 100)).expect("sends").offset, number);
        }
        bases = base_offsets(&dir.path().join("t-0"));
    }
    assert_eq!(bases, [0]);
}

#[test]
fn a_slow_and_a_fast_reader_see_many_segments_in_order_while_they_grow() {
    on_kept(|kept| {
        let broker = kept.open();
        let producer = with_segments(&broker, 4096);
        let (mut slow, mut fast) = (reader(&broker, "t"), reader(&broker, "t"));
        let (mut slow_next, mut fast_next) = (0, 0);
        for number in 0..3_000 {
            producer.send((), &value_of(number, 1_000)).expect("sends");
            if number % 3 == 0 {
                poll_on(&mut fast, &mut fast_next, NOW);
            }
            if number % 97 == 0 {
                poll_on(&mut slow, &mut slow_next, NOW);
            }
        }
        assert!(slow_next < fast_next, "one of them is slow");
        while poll_on(&mut fast, &mut fast_next, NOW) > 0 {}
        while poll_on(&mut slow, &mut slow_next, NOW) > 0 {}
        assert_eq!((slow_next, fast_next), (3_000, 3_000));
    });
}

#[test]
fn records_of_all_sizes_come_back_from_memory_and_from_files() {
    on_kept(|kept| {
        let broker = kept.open();
        let producer = with_segments(&broker, 1 << 20);
        let sizes =
            [10, 300 << 10, 100, 256 << 10, (256 << 10) - 40, 3 << 20, 0, 20, 2 << 20, 8, (1 << 20) - 104, 9];
        for (number, &size) in (0..).zip(&sizes) {
            producer.send((), &value_of(number, size)).expect("sends");
        }
        drop(producer);
        let check = |broker: &Broker| {
            for first in 0..sizes.len() as u64 {
                let mut consumer = reader(broker, "t");
                consumer.seek("t", 0, first).expect("assigned");
                let mut next = first;
                while poll_on(&mut consumer, &mut next, NOW) > 0 {}
                assert_eq!(next, sizes.len() as u64, "from {first}");
            }
        };
        check(&broker);
        drop(broker);
        check(&kept.open());
    });
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    let producer = with_segments(&broker, 4096);
    let values: Vec<Vec<u8>> = (0..3_012).map(|number| value_of(number, 1_000)).collect();
    producer.send((), &values[0]).expect("sends");
    for range in [1..11, 11..3_011, 3_011..3_012] {
        producer.send_batch(values[range].iter().map(|value| ((), &value[..]))).expect("sends");
    }
    assert_eq!(base_offsets(&dir.path().join("t-0")), [0, 1, 11, 3_011]);
    drop((producer, broker));
    let broker = Broker::open(dir.path()).expect("opens");
    assert!(broker.recovery_report().is_clean());
    let (mut consumer, mut next) = (reader(&broker, "t"), 0);
    while poll_on(&mut consumer, &mut next, NOW) > 0 {}
    assert_eq!(next, 3_012);
}

#[test]
fn readers_keep_up_while_a_producer_rolls() {
    on_kept(|kept| {
        const COUNT: u64 = 6_000;
        let broker = kept.open();
        let producer = with_segments(&broker, 16 << 10);
        let readers = [0, 1].map(|pause| {
            let mut consumer = reader(&broker, "t");
            watched("a reader", move || {
                let (mut next, mut polls) = (0, 0);
                while next < COUNT {
                    poll_on(&mut consumer, &mut next, FOREVER);
                    polls += 1;
                    if pause > 0 && polls % 10 == 0 {
                        // Falls behind, out of what is kept in memory.
                        thread::sleep(Duration::from_millis(pause));
                    }
                }
            })
        });
        for number in 0..COUNT {
            producer.send((), &value_of(number, 700)).expect("sends");
        }
        readers.into_iter().for_each(Watched::wait);
    });
}

#[test]
fn readers_at_random_places_see_what_was_sent_while_the_log_grows() {
    with_seeds(|rng| {
        let kept = Kept::Files(ottla::storage::MemoryStorage::default());
        let mut sent = 0;
        for _ in 0..3 {
            let broker = kept.open();
            let producer = with_segments(&broker, 50_000);
            let mut readers: Vec<_> = (0..4).map(|_| (reader(&broker, "t"), 0)).collect();
            for _ in 0..400 {
                match rng.below(6) {
                    0..3 => {
                        // Sometimes more at once than is kept in memory.
                        let len = if rng.one_in(20) { 400_000 } else { rng.below(20_000) };
                        producer.send((), &value_of(sent, len)).expect("sends");
                        sent += 1;
                    }
                    3..5 => {
                        let (consumer, next) = &mut readers[rng.below(4)];
                        let is_at_end = *next == sent;
                        assert_eq!(poll_on(consumer, next, NOW) == 0, is_at_end, "offset {next} of {sent}");
                    }
                    _ => {
                        let (consumer, next) = &mut readers[rng.below(4)];
                        *next = rng.below(sent as usize + 1) as u64;
                        consumer.seek("t", 0, *next).expect("assigned");
                    }
                }
            }
            for (consumer, next) in &mut readers {
                while poll_on(consumer, next, NOW) > 0 {}
                assert_eq!(*next, sent);
            }
        }
    });
}

#[test]
fn many_partitions_roll_each_for_itself() {
    let dir = temp_dir();
    let broker = Broker::open(dir.path()).expect("a fresh directory");
    broker.create_topic("t", partitions(3).segment_bytes(4096)).expect("a free name");
    let producer = broker.producer::<(), Raw>("t").expect("it exists");
    for number in 0..300 {
        producer.record(&[0; 100]).partition(number % 2).send().expect("sends");
    }
    let files = [0, 1, 2].map(|partition| base_offsets(&dir.path().join(format!("t-{partition}"))));
    assert_eq!(files[0], files[1]);
    assert!(files[0].len() > 3);
    assert_eq!(files[2], [0]);
}
