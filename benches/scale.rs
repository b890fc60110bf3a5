//! What many partitions cost: a send to one of a thousand partitions beside a send to a topic that has only
//! one, in memory and on disk, keyed alike; and what a partition takes that nobody uses. The lines that begin
//! with `scale` say it in a few words.
#![allow(missing_docs, reason = "criterion's macros make public items")]

#[path = "../tests/scale/counting.rs"]
mod counting;

use std::thread;
use std::time::{Duration, Instant};

use counting::Usage;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Producer, Raw, TopicConfig};

const PARTITIONS: u32 = 1_000;
const VALUE: [u8; 100] = [7; 100];
/// Many to a partition, in an order that has nothing to do with them.
const KEYS: u64 = 1 << 14;

/// A producer, and the keys of which it takes one after the other.
struct Sender {
    producer: Producer<Raw, Raw>,
    keys: Vec<[u8; 8]>,
    next: usize,
}

impl Sender {
    fn new(broker: &Broker, topic: &str, partitions: u32) -> Self {
        broker.open_topic(topic, TopicConfig::new().partitions(partitions)).expect("the topic can be made");
        let producer = broker.producer(topic).expect("the topic was just made");
        let keys = (0..KEYS).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Self { producer, keys: keys.collect(), next: 0 }
    }

    fn send(&mut self) {
        let key = &self.keys[self.next % self.keys.len()];
        self.next += 1;
        self.producer.send(key, &VALUE).expect("there is room");
    }

    /// How long a send takes, in nanoseconds, of so many.
    fn time(&mut self, sends: u32) -> f64 {
        let started = Instant::now();
        (0..sends).for_each(|_| self.send());
        started.elapsed().as_secs_f64() * 1e9 / f64::from(sends)
    }
}

/// A topic with one partition and one with a thousand, both used for a while.
fn senders(broker: &Broker, warm_up: u32) -> [Sender; 2] {
    let mut senders = [Sender::new(broker, "one", 1), Sender::new(broker, "many", PARTITIONS)];
    for sender in &mut senders {
        sender.time(warm_up);
    }
    let many = broker.describe_topic("many").expect("it was made");
    assert!(many.partitions.iter().all(|partition| partition.end_offset > 0), "some partition has no record");
    senders
}

/// Measured in turns, so that what else the machine does meets both alike. What a quarter of the turns stay
/// below counts: in the others, somebody else had the caches and the processor in between.
fn compare(place: &str, senders: &mut [Sender; 2], sends: u32) {
    const TURNS: usize = 100;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (sender, times) in senders.iter_mut().zip(&mut times) {
            times.push(sender.time(sends));
        }
    }
    let [one, many] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 4]
    });
    let ratio = many / one;
    println!(
        "scale {place}: a send {one:.1} ns, with {PARTITIONS} partitions {many:.1} ns, ratio {ratio:.2}"
    );
}

fn send(c: &mut Criterion) {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory can be made"));
    let on_disk = |number: usize| Broker::builder().data_dir(dirs[number].path());
    let [disk, rarely] = [on_disk(0), on_disk(1).sync_interval(Duration::from_secs(3_600))]
        .map(|builder| builder.open().expect("the directory is empty"));
    // In memory, until the bound is reached: from then on memory is used again. On disk the background thread
    // is busy, too, with the syncs of a thousand files; so once more without it.
    for (place, broker, warm_up, sends) in [
        ("memory", Broker::in_memory(), 3_000_000, 20_000),
        ("disk, without syncs", rarely, 300_000, 5_000),
        ("disk", disk, 300_000, 5_000),
    ] {
        let mut senders = senders(&broker, warm_up);
        compare(place, &mut senders, sends);
        let mut group = c.benchmark_group("scale");
        group.throughput(Throughput::Elements(1));
        for (partitions, sender) in [1, PARTITIONS].into_iter().zip(&mut senders) {
            group.bench_function(format!("{place}/send, {partitions} partitions"), |b| {
                b.iter(|| sender.send())
            });
        }
        group.finish();
    }
}

fn report(before: Usage, what: &str) {
    let (bytes, files) = Usage::since(before, PARTITIONS);
    println!("scale {what}: {bytes} bytes a partition, {files} open files in all");
}

/// What is left of partitions that were used, when nobody uses them.
fn idle(_: &mut Criterion) {
    let config = || TopicConfig::new().partitions(PARTITIONS);
    let before = Usage::now();
    let broker = Broker::in_memory();
    broker.create_topic("idle", config()).expect("it is new");
    report(before, "in memory, new");
    drop(broker);

    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let before = Usage::now();
    let broker = Broker::open(dir.path()).expect("the directory is empty");
    broker.create_topic("idle", config()).expect("it is new");
    report(before, "on disk, new");
    let producer = broker.producer::<Raw, Raw>("idle").expect("it was just made");
    for partition in (0..PARTITIONS).cycle().take(10 * PARTITIONS as usize) {
        producer.record(&VALUE).partition(partition).send().expect("there is room");
    }
    report(before, "on disk, in use");
    let give_up = Instant::now() + Duration::from_secs(60);
    while Usage::since(before, PARTITIONS).1 > 2 && Instant::now() < give_up {
        thread::sleep(Duration::from_millis(100));
    }
    report(before, "on disk, used and at rest");
}

criterion_group!(benches, send, idle);
criterion_main!(benches);
