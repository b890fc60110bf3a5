//! The power goes at any call on the storage, or the process is killed, and what was not synced survives by
//! chance. What was acknowledged, and what a consumer saw under `Durability::PowerLoss`, is there afterwards,
//! life after life in one directory. `OTTLA_CRASH_SEED` runs one seed again, `OTTLA_CRASH_ROUNDS` more of
//! them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ottla::{
    Broker, Consumer, Delivery, Durability, Error, OutOfRange, Producer, Raw, Result, TopicConfig,
    TopicPartition,
};

use crate::kill::number_from;
use crate::lossy::Lossy;
use crate::power_ledger::{Counts, Ledger, Loss, value_of};
use crate::support::{
    Checked, DIR, Finding, Random, TOPIC, check_all, contents, ensure, send, small_segments, value,
};

const SEEDS: u64 = 150;
const LIVES: u64 = 5;
const GROUP: &str = "fraud";
/// How long a test waits for what nobody else is to decide.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// One at `Durability::PowerLoss` from beginning to end, one that changes.
pub(crate) const TOPICS: [&str; 2] = ["safe", "quick"];
const MOST_PARTITIONS: u32 = 4;

/// A record that was enqueued.
struct OnItsWay {
    topic: usize,
    partition: u32,
    number: usize,
    /// How often the topic's durability had changed.
    level: usize,
    delivery: Delivery,
}

/// A broker from its opening to its end, and what it said.
struct Life<'a> {
    storage: &'a Lossy,
    ledger: &'a mut Ledger,
    random: &'a mut Random,
    broker: Broker,
    producers: Vec<Producer<Raw, Raw>>,
    consumer: Consumer<Raw, Raw>,
    on_their_way: Vec<OnItsWay>,
}

#[test]
fn what_was_acknowledged_survives_a_power_loss() {
    let seeds = match number_from("OTTLA_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("OTTLA_CRASH_ROUNDS").unwrap_or(SEEDS).max(SEEDS),
    };
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    let counts = std::cell::RefCell::new(Counts::default());
    let cases = seeds.map(|seed| (format!("OTTLA_CRASH_SEED={seed}"), seed));
    check_all(cases, |&seed| live_and_die(seed, &mut counts.borrow_mut()));
    let counts = counts.into_inner();
    eprintln!("{counts:?}");
    assert!(!is_whole_run || counts.are_enough(), "too little happened: {counts:?}");
}

fn open_safe(storage: &Lossy) -> Result<Broker> {
    let broker = Broker::builder().storage(storage.clone()).data_dir(DIR);
    let broker = broker.sync_interval(Duration::from_secs(3_600)).open()?;
    broker.open_topic(TOPIC, small_segments(1).durability(Durability::PowerLoss))?;
    Ok(broker)
}

/// Ends a process at each of its calls on the storage, up to `calls`; what the next one is sure of must then
/// survive a power loss.
fn kill_then_lose_power(calls: u64, prepare: fn(&Lossy) -> Result<()>, work: fn(&Lossy) -> Result<()>) {
    let cases =
        (0..calls).flat_map(|call| (0..6).map(move |seed| (format!("call {call}, {seed}"), (call, seed))));
    check_all(cases, |&(call, seed)| {
        let storage = Lossy::default();
        prepare(&storage)?;
        storage.cut_power_after(call);
        drop(work(&storage));
        let storage = storage.after_kill();
        let broker = open_safe(&storage)?;
        let mut seen = contents(&broker, TOPIC, 0)?;
        if seed % 2 == 0 {
            send(&broker, TOPIC, 0, b"acknowledged")?;
            seen.push(b"acknowledged".to_vec());
        }
        storage.cut_power();
        let broker = open_safe(&storage.after_power_loss(&mut Random(seed)))?;
        let found = contents(&broker, TOPIC, 0)?;
        ensure(found == seen, || format!("{} of {} records are there", found.len(), seen.len()))
    });
}

#[test]
fn a_directory_and_topic_that_a_killed_process_was_making_survive_what_comes_later() {
    kill_then_lose_power(50, |_| Ok(()), |storage| open_safe(storage).map(drop));
}

#[test]
fn what_is_seen_of_a_killed_process_survives_a_power_loss() {
    let prepare = |storage: &Lossy| send(&open_safe(storage)?, TOPIC, 0, b"first").map(drop);
    kill_then_lose_power(12, prepare, |storage| {
        let broker = open_safe(storage)?;
        for number in 0..3 {
            send(&broker, TOPIC, 0, &value(number, 1_900))?;
        }
        Ok(())
    });
}

/// One directory through some lives.
fn live_and_die(seed: u64, counts: &mut Counts) -> Checked {
    let mut random = Random(seed);
    let mut ledger = Ledger::new(random.below(2) == 0);
    let mut storage = Lossy::default();
    for life in 0..LIVES {
        let longest = if random.below(4) == 0 { 80 } else { 500 };
        storage.cut_power_after(random.below(longest));
        let ended = Life::run(&storage, &mut ledger, &mut random);
        let (loss, after) = ended.map_err(|finding| Finding(format!("life {life}: {finding}")))?;
        let verdict = ledger.check(&after, loss, counts);
        verdict.map_err(|finding| Finding(format!("after life {life}, {loss:?}: {finding}")))?;
        storage = after;
    }
    Ok(())
}

impl<'a> Life<'a> {
    /// Opens, works and ends; the files after the end.
    fn run(storage: &'a Lossy, ledger: &'a mut Ledger, random: &'a mut Random) -> Checked<(Loss, Lossy)> {
        let mut life = match Life::begin(storage, ledger, random) {
            Ok(life) => life,
            Err(_) if storage.is_off() => return Ok(Loss::of(storage, random)),
            Err(error) => return Err(Finding(format!("it does not begin: {error}"))),
        };
        // A short one may end before anything that the life before left is synced.
        let steps = if life.random.below(3) == 0 { 6 } else { 150 };
        for _ in 0..life.random.below(steps) {
            let done = life.step();
            if storage.is_off() {
                break;
            }
            done?;
        }
        life.end()
    }

    fn begin(storage: &'a Lossy, ledger: &'a mut Ledger, random: &'a mut Random) -> Result<Self> {
        let level = if ledger.commits_are_safe { Durability::PowerLoss } else { Durability::ProcessCrash };
        let broker = Broker::builder().storage(storage.clone()).data_dir(DIR).durability(level).open()?;
        let mut producers = Vec::new();
        for (number, topic) in TOPICS.into_iter().enumerate() {
            if !broker.list_topics().iter().any(|listed| listed == topic) {
                let level = if number == 0 { Durability::PowerLoss } else { Durability::ProcessCrash };
                let millis = [1, 50, 60_000][random.below(3) as usize];
                let config = TopicConfig::new().partitions(2).segment_bytes(4096).durability(level);
                broker.create_topic(topic, config.sync_interval(Duration::from_millis(millis)))?;
                ledger.topics[number].created();
            }
            producers.push(broker.producer(topic)?);
        }
        let consumer =
            broker.consumer().topics(TOPICS).group(GROUP).on_out_of_range(OutOfRange::Earliest).build()?;
        Ok(Self { storage, ledger, random, broker, producers, consumer, on_their_way: Vec::new() })
    }

    /// The power goes, or the process is killed. What is decided by then counts.
    fn end(mut self) -> Checked<(Loss, Lossy)> {
        self.storage.cut_power();
        for sent in std::mem::take(&mut self.on_their_way) {
            if sent.delivery.is_decided() {
                self.hear(sent)?;
            }
        }
        Ok(Loss::of(self.storage, self.random))
    }

    fn step(&mut self) -> Checked {
        let topic = self.random.below(TOPICS.len() as u64) as usize;
        match self.random.below(100) {
            0..20 => self.send(topic),
            20..45 => self.enqueue(topic),
            45..55 => self.send_batch(topic),
            55..65 => self.wait(),
            65..70 => self.flush(topic),
            70..85 => self.poll_and_commit(),
            85..90 => self.commit_offset(topic),
            90..93 => self.delete_records(topic),
            93..95 => self.grow(topic),
            95..97 => self.alter(),
            _ => {
                thread::yield_now();
                Ok(())
            }
        }
    }

    fn new_record(&mut self, topic: usize) -> (u32, usize, Vec<u8>) {
        let partition = self.random.below(u64::from(self.ledger.topics[topic].partitions())) as u32;
        let number = self.ledger.new_number(topic, 1);
        (partition, number, value_of(number))
    }

    fn send(&mut self, topic: usize) -> Checked {
        let (partition, number, value) = self.new_record(topic);
        let record = self.producers[topic].record(&value).partition(partition);
        let at = if self.random.below(3) == 0 { block_on(record.send_async())? } else { record.send()? };
        self.ledger.topics[topic].acknowledge((partition, at.offset), number)
    }

    fn enqueue(&mut self, topic: usize) -> Checked {
        for _ in 0..1 + self.random.below(8) {
            let (partition, number, value) = self.new_record(topic);
            let delivery = self.producers[topic].record(&value).partition(partition).enqueue()?;
            if self.random.below(8) == 0 {
                delivery.detach();
                self.ledger.topics[topic].detach(partition, number);
                continue;
            }
            let level = self.ledger.topics[topic].level;
            self.on_their_way.push(OnItsWay { topic, partition, number, level, delivery });
        }
        Ok(())
    }

    fn send_batch(&mut self, topic: usize) -> Checked {
        let partition = self.random.below(u64::from(self.ledger.topics[topic].partitions())) as u32;
        let count = 1 + self.random.below(6) as usize;
        let first = self.ledger.new_number(topic, count);
        let values: Vec<Vec<u8>> = (first..first + count).map(value_of).collect();
        let producer = &self.producers[topic];
        let places =
            producer.send_batch(values.iter().map(|value| producer.record(value).partition(partition)))?;
        for (at, number) in places.iter().zip(first..) {
            self.ledger.topics[topic].acknowledge((partition, at.offset), number)?;
        }
        Ok(())
    }

    /// Waits for one delivery, or for all.
    fn wait(&mut self) -> Checked {
        if self.on_their_way.is_empty() {
            return Ok(());
        }
        let first = self.random.below(self.on_their_way.len() as u64) as usize;
        let end = if self.random.below(2) == 0 { first + 1 } else { self.on_their_way.len() };
        let waited_for: Vec<OnItsWay> = self.on_their_way.drain(first..end).collect();
        let mut outcome = Ok(());
        for sent in waited_for {
            let heard = self.hear(sent);
            outcome = outcome.and(heard);
        }
        outcome
    }

    fn hear(&mut self, sent: OnItsWay) -> Checked {
        let OnItsWay { topic, partition, number, level, delivery } = sent;
        let outcome = if self.random.below(2) == 0 { delivery.wait() } else { block_on(delivery) };
        let topic = &mut self.ledger.topics[topic];
        match outcome {
            Ok(at) => topic.acknowledge_since((partition, at.offset), number, level),
            // Told the truth or not: the power is off.
            Err(Error::Io { .. } | Error::OutcomeUnknown { .. } | Error::PartitionFailed { .. })
                if self.storage.is_off() =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self, topic: usize) -> Checked {
        self.producers[topic].flush()?;
        let is_of_topic = |sent: &mut OnItsWay| sent.topic == topic;
        for sent in self.on_their_way.extract_if(.., is_of_topic).collect::<Vec<_>>() {
            ensure(sent.delivery.is_decided(), || "a flush leaves a delivery open".to_owned())?;
            self.hear(sent)?;
        }
        self.ledger.topics[topic].flushed();
        Ok(())
    }

    fn poll_and_commit(&mut self) -> Checked {
        let records = self.consumer.poll(Duration::ZERO)?;
        let mut offsets = BTreeMap::new();
        for record in &records {
            let topic = usize::from(record.topic() != TOPICS[0]);
            let value = record.value_bytes().unwrap_or_default();
            self.ledger.topics[topic].see((record.partition(), record.offset()), value)?;
            offsets.insert(TopicPartition::new(record.topic(), record.partition()), record.offset() + 1);
        }
        let how = self.random.below(4);
        if how == 0 {
            return Ok(());
        }
        self.ledger.committing(&offsets);
        match how {
            1 => self.consumer.commit(&records)?,
            2 => block_on(self.consumer.commit_async(&records))?,
            _ => {
                drop(self.consumer.commit_async(&records));
                return Ok(());
            }
        }
        self.ledger.committed(&offsets);
        Ok(())
    }

    /// Commits where the consumer is.
    fn commit_offset(&mut self, topic: usize) -> Checked {
        let offset = self.consumer.position(TOPICS[topic], 0)?;
        let offsets = BTreeMap::from([(TopicPartition::new(TOPICS[topic], 0), offset)]);
        self.ledger.committing(&offsets);
        self.consumer.commit_offsets(offsets.clone())?;
        self.ledger.committed(&offsets);
        Ok(())
    }

    fn delete_records(&mut self, topic: usize) -> Checked {
        let partition = self.random.below(u64::from(self.ledger.topics[topic].partitions())) as u32;
        let description = self.broker.describe_topic(TOPICS[topic])?;
        let held = description.partitions[partition as usize];
        let before = held.start_offset + self.random.below(held.end_offset - held.start_offset + 1);
        self.ledger.topics[topic].trimming(partition, before);
        self.broker.delete_records(TOPICS[topic], partition, before)?;
        self.ledger.topics[topic].trimmed(partition, before);
        Ok(())
    }

    fn grow(&mut self, topic: usize) -> Checked {
        let to = (self.ledger.topics[topic].partitions() + 1).min(MOST_PARTITIONS);
        self.ledger.topics[topic].growing(to);
        self.broker.increase_partitions(TOPICS[topic], to)?;
        self.ledger.topics[topic].grown(to);
        Ok(())
    }

    /// Only of the topic that changes.
    fn alter(&mut self) -> Checked {
        let levels = [Durability::ProcessCrash, Durability::PowerLoss];
        let level = levels[self.random.below(2) as usize];
        // Until it is known which, nothing counts as safe.
        self.ledger.topics[1].altered(Durability::ProcessCrash);
        self.broker.alter_topic(TOPICS[1], TopicConfig::new().durability(level))?;
        self.ledger.topics[1].altered(level);
        Ok(())
    }
}

struct Unparker(thread::Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread. Panics if that never comes.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let deadline = Instant::now() + PATIENCE;
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    loop {
        assert!(Instant::now() < deadline, "nobody decides");
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(PATIENCE),
        }
    }
}
