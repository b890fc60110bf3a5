//! What many partitions cost: a send to a topic with a thousand partitions beside a send to a topic that has
//! only one, in memory and on disk; without keys, where records stay with a partition for a while, and with
//! keys that spread them over all partitions in no order, where every send meets a log that is in no cache;
//! and what a partition takes that nobody uses. The lines that begin with `scale` say it in a few words.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::print_stdout, reason = "what criterion does not compare")]

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
    producer: Producer<Option<Raw>, Raw>,
    is_keyed: bool,
    keys: Vec<[u8; 8]>,
    next: usize,
}

impl Sender {
    fn new(broker: &Broker, topic: &str, partitions: u32, is_keyed: bool) -> Self {
        broker.open_topic(topic, TopicConfig::new().partitions(partitions)).expect("the topic can be made");
        let producer = broker.producer(topic).expect("the topic was just made");
        let keys = (0..KEYS).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Self { producer, is_keyed, keys: keys.collect(), next: 0 }
    }

    fn send(&mut self) {
        let key = &self.keys[self.next % self.keys.len()];
        self.next += 1;
        self.producer.send(self.is_keyed.then_some(key), &VALUE).expect("there is room");
    }

    /// How long a send takes, in nanoseconds, of so many.
    fn time(&mut self, sends: u32) -> f64 {
        let started = Instant::now();
        (0..sends).for_each(|_| self.send());
        started.elapsed().as_secs_f64() * 1e9 / f64::from(sends)
    }
}

/// With one partition, and with a thousand, keyed and not.
type Senders = [Sender; 4];
const NAMES: [&str; 4] = ["1 partition, no keys", "1,000, no keys", "1 partition, keys", "1,000, keys"];

/// A topic with one partition and one with a thousand, both used for a while.
fn senders(broker: &Broker, warm_up: u32) -> Senders {
    let sender = |is_keyed, topic, partitions| Sender::new(broker, topic, partitions, is_keyed);
    let mut senders = [
        sender(false, "one", 1),
        sender(false, "many", PARTITIONS),
        sender(true, "one", 1),
        sender(true, "many", PARTITIONS),
    ];
    for sender in &mut senders {
        sender.time(warm_up);
    }
    let many = broker.describe_topic("many").expect("it was made");
    assert!(many.partitions.iter().all(|partition| partition.end_offset > 0), "some partition has no record");
    senders
}

/// Measured in turns, so that what else the machine does meets both alike. What a quarter of the turns stay
/// below counts: in the others, somebody else had the caches and the processor in between.
fn compare(place: &str, senders: &mut Senders, sends: u32) {
    const TURNS: usize = 100;
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..TURNS {
        for (sender, times) in senders.iter_mut().zip(&mut times) {
            times.push(sender.time(sends));
        }
    }
    let times = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 4]
    });
    for ([one, many], keys) in [([times[0], times[1]], "without keys"), ([times[2], times[3]], "over all")] {
        let ratio = many / one;
        let sends = format!("a send {one:.1} ns, with {PARTITIONS} partitions {many:.1} ns");
        eprintln!("scale {place}, {keys}: {sends}, ratio {ratio:.2}");
    }
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
        for (name, sender) in NAMES.into_iter().zip(&mut senders) {
            group.bench_function(format!("{place}/{name}"), |b| {
                b.iter(|| sender.send());
            });
        }
        group.finish();
    }
}

fn report(before: Usage, what: &str) {
    let (bytes, files) = Usage::since(before, PARTITIONS);
    eprintln!("scale {what}: {bytes} bytes a partition, {files} open files in all");
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
