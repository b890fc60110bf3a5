//! What a table costs: to ask it when nothing is new, beside a map of the standard library behind a lock; to
//! ask it after each send; and to make it of a log. The last line compares the first two in turns, so that
//! the machine is the same for both.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Table, TopicConfig};

const KEYS: u64 = 10_000;
const PARTITIONS: [u32; 2] = [1, 16];

type Map = RwLock<HashMap<Box<[u8]>, Arc<u64>>>;

fn broker(partitions: u32) -> Broker {
    let broker = Broker::in_memory();
    broker.create_topic("bench", TopicConfig::new().partitions(partitions)).expect("it is new");
    let producer = broker.producer::<u64, u64>("bench").expect("the topic is there");
    (0..KEYS).for_each(|key| drop(producer.enqueue(key, key).expect("there is room")));
    broker
}

fn table(broker: &Broker) -> Table<u64, u64> {
    let table = broker.table("bench").expect("readable");
    assert_eq!(table.len().expect("readable") as u64, KEYS);
    table
}

fn ask_table(table: &Table<u64, u64>, key: u64) {
    let row = table.get(key).expect("readable").expect("it is there");
    assert_eq!(black_box(row).value().expect("a number"), key);
}

fn map() -> Map {
    RwLock::new((0..KEYS).map(|key| (key.to_be_bytes().into(), Arc::new(key))).collect())
}

fn ask_map(map: &Map, key: u64) {
    let map = map.read().expect("nobody panics");
    let value = Arc::clone(map.get(&key.to_be_bytes()[..]).expect("it is there"));
    assert_eq!(*black_box(value), key);
}

/// Keys in an order that no cache foresees.
fn keys() -> impl FnMut() -> u64 {
    let mut key = 0;
    move || {
        key = (key + 7_919) % KEYS;
        key
    }
}

fn get(c: &mut Criterion) {
    let mut group = c.benchmark_group("table get");
    let (map, mut next) = (map(), keys());
    group.bench_function("a map behind a lock", |b| b.iter(|| ask_map(&map, next())));
    for partitions in PARTITIONS {
        let broker = broker(partitions);
        let table = table(&broker);
        let id = format!("nothing new, {partitions} partitions");
        group.bench_function(id, |b| b.iter(|| ask_table(&table, next())));
        let producer = broker.producer::<u64, u64>("bench").expect("the topic is there");
        let id = format!("after a send, {partitions} partitions");
        group.bench_function(id, |b| {
            b.iter(|| {
                let key = next();
                producer.send(key, key).expect("there is room");
                ask_table(&table, key);
            });
        });
    }
    group.finish();
    compare(&map);
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("table open");
    let broker = broker(16);
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function(BenchmarkId::from_parameter(KEYS), |b| b.iter_with_large_drop(|| table(&broker)));
    group.finish();
}

fn compare(map: &Map) {
    const ROUNDS: usize = 20;
    let (broker, mut next) = (broker(1), keys());
    let table = table(&broker);
    let mut times = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        times[0] += timed(|| (0..KEYS).for_each(|_| ask_map(map, next())));
        times[1] += timed(|| (0..KEYS).for_each(|_| ask_table(&table, next())));
    }
    let [map, table] = times.map(|time| time.as_nanos() as f64 / (ROUNDS as u64 * KEYS) as f64);
    eprintln!("table: a get: {table:.0} ns from a table, {map:.0} ns from a map, {:.2} times", table / map);
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

criterion_group!(benches, get, open);
criterion_main!(benches);
