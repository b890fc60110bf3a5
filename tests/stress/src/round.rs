//! One round: a broker with three topics, threads that use it in every way, and an end in the middle of that.
//! What was acknowledged is there when the directory is opened again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ottla::{Broker, Durability, Error, TopicConfig, WakeHandle};

use crate::counts::{Counts, add};
use crate::keeper::{self, Keep};
use crate::random::Random;
use crate::readers::{self, reader};
use crate::senders::{Acknowledged, Sender};

/// In memory, in files, and synced before it is acknowledged.
pub(crate) const TOPICS: [&str; 3] = ["memory", "files", "synced"];

const SENDERS: u32 = 3;
const PARTITIONS: u32 = 2;

pub(crate) struct Round<'a> {
    pub(crate) number: u32,
    pub(crate) millis: u64,
    pub(crate) seed: u64,
    pub(crate) dir: &'a Path,
    pub(crate) counts: &'a Arc<Counts>,
}

/// The threads of a round, and what ends those that do not hear of a close.
struct Threads {
    senders: Vec<JoinHandle<Acknowledged>>,
    others: Vec<JoinHandle<()>>,
    sleepers: Vec<WakeHandle>,
    is_over: IsOver,
}

/// Whether the threads are to end. Relaxed: it must not stand in for what the library is to order.
#[derive(Clone, Debug, Default)]
pub(crate) struct IsOver(Arc<AtomicBool>);

impl IsOver {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Round<'_> {
    /// Runs it; a panic says what was wrong.
    pub(crate) fn run(&self) {
        let broker = open_when_free(self.dir);
        create_topics(&broker);
        let (keep, keeper) = keeper::start(self.counts);
        let threads = self.start(&broker, &keep);
        drop(keep);
        thread::sleep(Duration::from_millis(self.millis));
        if self.number.is_multiple_of(2) {
            broker.close().expect("no fault");
            add(&self.counts.closes, 1);
        } else {
            // Whoever comes last gives up the directory, and leaves what is not written to the flusher.
            drop(broker);
            add(&self.counts.drops, 1);
            threads.is_over.0.store(true, Ordering::Relaxed);
            threads.sleepers.iter().for_each(WakeHandle::wake);
        }
        let acknowledged: Vec<Acknowledged> = threads.senders.into_iter().map(join).collect();
        threads.others.into_iter().for_each(join);
        join(keeper);
        self.check_what_is_left(&acknowledged);
    }

    fn start(&self, broker: &Broker, keep: &Keep) -> Threads {
        let mut random = Random::new(self.seed);
        let (is_over, mut others, mut sleepers) = (IsOver::default(), Vec::new(), Vec::new());
        let senders = (0..SENDERS).map(|number| {
            let sender = Sender::new(broker, number, random.next(), self.counts, &is_over);
            thread::spawn(move || sender.run())
        });
        let senders = senders.collect();
        for (number, topic) in TOPICS.into_iter().enumerate() {
            let reader = reader(broker, topic).expect("the topic is there");
            sleepers.push(reader.wake_handle());
            let (keep, counts, seed) = (keep.clone(), Arc::clone(self.counts), random.next());
            let as_task = (number + self.number as usize).is_multiple_of(2);
            others.push(thread::spawn(move || readers::follow(reader, as_task, &keep, seed, &counts)));
        }
        let works: [fn(&Broker, &IsOver, &Counts); 4] = [
            |broker, is_over, counts| readers::begin_again(broker, "files", is_over, counts),
            |broker, is_over, counts| readers::begin_again(broker, "synced", is_over, counts),
            delete_records,
            change_topics,
        ];
        for work in works {
            let (broker, is_over, counts) = (broker.clone(), is_over.clone(), Arc::clone(self.counts));
            others.push(thread::spawn(move || work(&broker, &is_over, &counts)));
        }
        Threads { senders, others, sleepers, is_over }
    }

    /// Every record that was acknowledged is where its sender was told, unless it was deleted.
    fn check_what_is_left(&self, acknowledged: &[Acknowledged]) {
        let broker = open_when_free(self.dir);
        assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
        for topic in &TOPICS[1..] {
            let found = readers::all_of(&broker, topic);
            let partitions = broker.describe_topic(topic).expect("it is there").partitions;
            for ((of_topic, partition, offset), origin) in acknowledged.iter().flatten() {
                if of_topic == topic && *offset >= partitions[*partition as usize].start_offset {
                    let there = found.get(&(*partition, *offset));
                    assert_eq!(there, Some(origin), "{topic}: {offset} of {partition}");
                    add(&self.counts.reopened, 1);
                }
            }
        }
        for topic in broker.list_topics() {
            broker.delete_topic(&topic).expect("no fault");
        }
        broker.close().expect("no fault");
    }
}

/// Opens the directory; a thread may be busy for handles that were dropped.
fn open_when_free(dir: &Path) -> Broker {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        match Broker::open(dir) {
            Err(Error::DirectoryInUse { .. }) if Instant::now() < give_up => {}
            outcome => return outcome.expect("free, and whole"),
        }
    }
}

fn create_topics(broker: &Broker) {
    // Small, so that chunks are dropped and used again, and segments follow one another.
    let small = TopicConfig::new().partitions(PARTITIONS).memory_limit(256 << 10).segment_bytes(32 << 10);
    let levels = [Durability::Memory, Durability::ProcessCrash, Durability::PowerLoss];
    for (topic, level) in TOPICS.into_iter().zip(levels) {
        broker.create_topic(topic, small.clone().durability(level)).expect("a free name");
    }
}

/// Deletes the front half of a partition, again and again.
fn delete_records(broker: &Broker, is_over: &IsOver, counts: &Counts) {
    let mut random = Random::new(7);
    while !is_over.get() {
        let (topic, partition) = (TOPICS[random.below(3) as usize], random.below(PARTITIONS.into()) as u32);
        let description = broker.describe_topic(topic).expect("it is there");
        let found = description.partitions[partition as usize];
        let before = found.start_offset + (found.end_offset - found.start_offset) / 2;
        match broker.delete_records(topic, partition, before) {
            Ok(start) => assert!(start >= before),
            Err(Error::Closed) => return,
            Err(error) => panic!("{error}"),
        }
        add(&counts.trims, 1);
        thread::sleep(Duration::from_millis(3));
    }
}

/// Makes topics, uses them, gives them partitions and deletes them, while others hold their records.
fn change_topics(broker: &Broker, is_over: &IsOver, counts: &Counts) {
    let mut number = 0;
    while !is_over.get() {
        number += 1;
        match change_topic(broker, number) {
            Ok(()) => add(&counts.topics, 1),
            Err(Error::Closed) => return,
            Err(error) => panic!("{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn change_topic(broker: &Broker, number: u32) -> ottla::Result<()> {
    broker.create_topic("extra", TopicConfig::new())?;
    let producer = broker.producer::<(), u32>("extra")?;
    let mut reader = broker.consumer::<(), u32>().topic("extra").build()?;
    producer.send((), number)?;
    broker.increase_partitions("extra", 2)?;
    producer.record(number).partition(1).send()?;
    let delivery = producer.enqueue((), number)?;
    let records = reader.poll(Duration::from_secs(20))?;
    broker.delete_topic("extra")?;
    assert!(
        records.iter().all(|record| record.value().is_ok_and(|value| value == number)) && !records.is_empty()
    );
    match delivery.wait() {
        Ok(_) | Err(Error::TopicDeleted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("what it found is above")
}
