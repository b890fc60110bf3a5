//! What polling costs: every record of a topic is polled and its key and value are looked at, in memory and
//! on disk; 100-byte values and 8-byte keys. Each run checks that it saw every record.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Consumer, Raw, TopicConfig};

const VALUE: [u8; 100] = [7; 100];
const KEY: [u8; 8] = *b"customer";
const RECORDS: usize = 200_000;

fn filled(broker: Broker) -> Broker {
    broker.open_topic("bench", TopicConfig::new()).expect("the topic can be made");
    let producer = broker.producer::<Raw, Raw>("bench").expect("the topic was just made");
    for _ in 0..RECORDS {
        producer.send(&KEY, &VALUE).expect("the disk has room");
    }
    broker
}

fn poll_all(consumer: &mut Consumer<Raw, Raw>) -> (usize, u64) {
    consumer.seek_to_beginning();
    let (mut count, mut sum) = (0, 0);
    while count < RECORDS {
        for record in &consumer.poll(Duration::ZERO).expect("the log is sound") {
            let key = record.key().expect("bytes decode");
            let value = record.value().expect("bytes decode");
            sum += u64::from(key[0]) + u64::from(value[VALUE.len() - 1]);
            count += 1;
        }
    }
    (count, sum)
}

fn poll(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let disk = Broker::open(dir.path()).expect("the directory is empty");
    let expected = (RECORDS, RECORDS as u64 * u64::from(KEY[0] + VALUE[0]));
    let mut group = c.benchmark_group("poll");
    for (place, broker) in [("memory", Broker::in_memory()), ("disk", disk)] {
        let broker = filled(broker);
        let mut consumer = broker.consumer::<Raw, Raw>().topic("bench").build().expect("the topic exists");
        for (unit, throughput) in [
            ("records", Throughput::Elements(RECORDS as u64)),
            ("bytes", Throughput::Bytes((RECORDS * (KEY.len() + VALUE.len())) as u64)),
        ] {
            group.throughput(throughput);
            group.bench_function(format!("{place}/{unit}"), |b| {
                b.iter(|| assert_eq!(poll_all(&mut consumer), expected));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, poll);
criterion_main!(benches);
