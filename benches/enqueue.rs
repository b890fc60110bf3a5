//! What it costs to send without waiting, and to send so that a power loss takes nothing: alone, and with
//! others who wait at the same time. On disk; 100-byte values and 8-byte keys.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Delivery, Durability, Error, Producer, Raw, TopicConfig};

const VALUE: [u8; 100] = [7; 100];
const KEY: [u8; 8] = *b"customer";
const BATCH: usize = 10_000;

fn producer(dir: &tempfile::TempDir, durability: Durability) -> (Broker, Producer<Raw, Raw>) {
    let broker = Broker::open(dir.path()).expect("the directory is empty");
    broker.open_topic("bench", TopicConfig::new().durability(durability)).expect("the topic can be made");
    let producer = broker.producer("bench").expect("the topic was just made");
    (broker, producer)
}

/// Enqueues; at the bound it waits for the oldest delivery.
fn enqueue(producer: &Producer<Raw, Raw>, oldest: &mut Option<Delivery>) -> Delivery {
    loop {
        match producer.enqueue(&KEY, &VALUE) {
            Ok(delivery) => return delivery,
            Err(Error::TopicFull { .. }) => match oldest.take() {
                Some(delivery) => drop(delivery.wait().expect("the disk has room")),
                None => thread::yield_now(),
            },
            Err(error) => panic!("{error}"),
        }
    }
}

/// The whole way of ten thousand records: enqueued by one thread, acknowledged to it.
fn enqueue_and_wait(c: &mut Criterion) {
    let mut group = c.benchmark_group("enqueue");
    group.throughput(Throughput::Elements(BATCH as u64));
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let (_broker, producer) = producer(&dir, durability);
        group.bench_function(format!("{durability:?}/{BATCH} in flight"), |b| {
            b.iter(|| {
                let mut first = None;
                let mut last = enqueue(&producer, &mut first);
                for _ in 1..BATCH {
                    last = enqueue(&producer, &mut first);
                }
                last.wait().expect("the disk has room")
            });
        });
    }
    group.finish();
}

/// How long one durable send takes while so many threads do the same.
fn send_durably(c: &mut Criterion) {
    let mut group = c.benchmark_group("send durably");
    for threads in [1, 4, 16] {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let (_broker, producer) = producer(&dir, Durability::PowerLoss);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter_custom(|sends| send_from_threads(&producer, threads, sends));
        });
    }
    group.finish();
}

fn send_from_threads(producer: &Producer<Raw, Raw>, threads: u64, sends: u64) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for number in 0..threads {
            let share = sends / threads + u64::from(number < sends % threads);
            scope.spawn(move || {
                for _ in 0..share {
                    producer.send(&KEY, &VALUE).expect("the disk has room");
                }
            });
        }
    });
    started.elapsed()
}

criterion_group!(benches, enqueue_and_wait, send_durably);
criterion_main!(benches);
