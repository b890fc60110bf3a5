//! What a send costs: one record at a time and in batches, in memory and on disk, 100-byte values and
//! 8-byte keys.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Producer, Raw, TopicConfig};

const VALUE: [u8; 100] = [7; 100];
const KEY: [u8; 8] = *b"customer";
const RECORD_BYTES: u64 = (VALUE.len() + KEY.len()) as u64;
const BATCH: usize = 1_000;

/// A broker in memory, one in a temporary directory, and the directory.
fn brokers() -> (Vec<(&'static str, Broker)>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let disk = Broker::open(dir.path()).expect("the directory is empty");
    (vec![("memory", Broker::in_memory()), ("disk", disk)], dir)
}

fn producer(broker: &Broker) -> Producer<Raw, Raw> {
    broker.open_topic("bench", TopicConfig::new()).expect("the topic can be made");
    broker.producer("bench").expect("the topic was just made")
}

fn send_one(c: &mut Criterion) {
    let (brokers, _dir) = brokers();
    let mut group = c.benchmark_group("send");
    for (place, broker) in &brokers {
        let producer = producer(broker);
        for (unit, throughput) in
            [("records", Throughput::Elements(1)), ("bytes", Throughput::Bytes(RECORD_BYTES))]
        {
            group.throughput(throughput);
            group.bench_function(format!("{place}/one/{unit}"), |b| {
                b.iter(|| producer.send(&KEY, &VALUE).expect("the disk has room"));
            });
        }
    }
    group.finish();
}

fn send_batch(c: &mut Criterion) {
    let (brokers, _dir) = brokers();
    let mut group = c.benchmark_group("send");
    for (place, broker) in &brokers {
        let producer = producer(broker);
        for (unit, throughput) in [
            ("records", Throughput::Elements(BATCH as u64)),
            ("bytes", Throughput::Bytes(RECORD_BYTES * BATCH as u64)),
        ] {
            group.throughput(throughput);
            group.bench_function(format!("{place}/batch of {BATCH}/{unit}"), |b| {
                b.iter(|| {
                    let batch = std::iter::repeat_n((&KEY[..], &VALUE[..]), BATCH);
                    producer.send_batch(batch).expect("the disk has room")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, send_one, send_batch);
criterion_main!(benches);
