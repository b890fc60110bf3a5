//! One who sends, in all the ways there are, and says in shared memory what becomes of each unit.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use ottla::{Broker, Delivery, Error, Producer, Raw, RecordMetadata};

use super::name::Name;
use super::random::Random;
use super::shared::{Fate, PARTITIONS, Shared, UNITS, Word};
use super::topics::{TOPICS, home, partition_of};

/// So many deliveries are awaited at most.
const MAX_WINDOW: u64 = 64;
const MAX_LARGE_RECORD: u64 = 1 << 20;

/// What one call may do.
#[derive(Clone, Copy, Debug)]
enum Call {
    Send,
    Batch,
    LargeBatch,
    Enqueue,
    Flush,
}

/// Sends with one random stream; never asks another thread what to do.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    shared: &'a Shared,
    /// Which words are its own.
    index: usize,
    /// Its number over all processes.
    number: u64,
    producers: Vec<Producer<Raw, Raw>>,
    /// How many units it has sent to each partition.
    units: [u64; PARTITIONS],
    random: Random,
    window: VecDeque<(Name, Delivery)>,
    /// Bytes of a large batch; 0: it sends none.
    large_bytes: u64,
    /// So many percent of its calls go to the topic that syncs each of them.
    percent_synced: u64,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(
        broker: &Broker,
        shared: &'a Shared,
        (index, number): (usize, u64),
        mut random: Random,
        large_bytes: u64,
    ) -> ottla::Result<Self> {
        let producers =
            TOPICS.iter().map(|(topic, _, _)| broker.producer(topic)).collect::<Result<_, _>>()?;
        let percent_synced = random.pick(&[5, 15, 50]);
        let (units, window) = ([0; PARTITIONS], VecDeque::new());
        Ok(Self { shared, index, number, producers, units, random, window, large_bytes, percent_synced })
    }

    /// One call, whatever it may be. False if it has no units left to send.
    ///
    /// # Errors
    /// What the call answered. What became of its units is said already.
    pub(crate) fn step(&mut self) -> ottla::Result<bool> {
        if self.units.iter().all(|&units| units == UNITS) {
            self.wait_until(0)?;
            return Ok(false);
        }
        match self.choose() {
            Call::Send => self.send()?,
            Call::Batch => self.send_batch()?,
            Call::LargeBatch => self.send_large()?,
            Call::Enqueue => self.enqueue()?,
            Call::Flush => self.producers[self.random.below(TOPICS.len() as u64) as usize].flush()?,
        }
        Ok(true)
    }

    fn choose(&mut self) -> Call {
        match self.random.below(100) {
            0..40 => Call::Send,
            40..65 => Call::Batch,
            65..67 if self.large_bytes > 0 => Call::LargeBatch,
            99 => Call::Flush,
            _ => Call::Enqueue,
        }
    }

    fn send(&mut self) -> ottla::Result<()> {
        let Some(partition) = self.partition() else { return Ok(()) };
        let len = self.len();
        let name = self.begin(partition, 1, len);
        let value = name.value();
        let outcome = self.producer(partition).record(&value).partition(home(partition).1).send();
        self.decide(&name, &outcome);
        outcome.map(drop)
    }

    /// A batch for up to three partitions of a topic: a unit for each.
    fn send_batch(&mut self) -> ottla::Result<()> {
        let mut names = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let Some(partition) = self.partition() else { break };
            let is_new = !names.iter().any(|name: &Name| name.partition as usize == partition);
            let same_topic =
                names.first().is_none_or(|name: &Name| home(name.partition as usize).0 == home(partition).0);
            if is_new && same_topic {
                let of = self.random.up_to_any_size(40) as u32;
                let first = self.begin(partition, of, 0);
                names.extend((0..of).map(|number| Name { number, len: self.len(), ..first }));
            }
        }
        self.send_named(&names)
    }

    /// A batch that takes so long to write that it can be met in the middle.
    fn send_large(&mut self) -> ottla::Result<()> {
        let Some(partition) = self.partition() else { return Ok(()) };
        let bytes = self.random.range(self.large_bytes / 4..self.large_bytes + 1);
        let len = self.random.range(bytes / 16..bytes / 2).clamp(Name::BYTES as u64, MAX_LARGE_RECORD);
        let of = (bytes / len).max(1) as u32;
        let first = self.begin(partition, of, len as u32);
        let names: Vec<Name> = (0..of).map(|number| Name { number, ..first }).collect();
        self.send_named(&names)
    }

    fn send_named(&mut self, names: &[Name]) -> ottla::Result<()> {
        let Some(first) = names.first() else { return Ok(()) };
        let producer = self.producer(first.partition as usize);
        let values: Vec<Vec<u8>> = names.iter().map(Name::value).collect();
        let records = names.iter().zip(&values).map(|(name, value)| {
            let (_, number) = home(name.partition as usize);
            producer.record(&value[..]).partition(number)
        });
        let outcome = producer.send_batch(records);
        match &outcome {
            Ok(places) => names.iter().zip(places).for_each(|(name, at)| self.acknowledge(name, at)),
            Err(Error::PartlyAppended { appended, source }) => {
                for (name, at) in names.iter().zip(appended) {
                    match at {
                        Some(at) => self.acknowledge(name, at),
                        None => self.refuse(name, source),
                    }
                }
            }
            Err(error) => names.iter().for_each(|name| self.refuse(name, error)),
        }
        outcome.map(drop)
    }

    /// Enqueues some records, and waits for the oldest ones that were enqueued.
    fn enqueue(&mut self) -> ottla::Result<()> {
        for _ in 0..self.random.up_to_any_size(32) {
            let Some(partition) = self.partition() else { break };
            let len = self.len();
            let name = self.begin(partition, 1, len);
            let value = name.value();
            match self.producer(partition).record(&value).partition(home(partition).1).enqueue() {
                // Nobody waits for this one.
                Ok(delivery) if self.random.one_in(50) => delivery.detach(),
                Ok(delivery) => self.window.push_back((name, delivery)),
                Err(error) => {
                    self.refuse(&name, &error);
                    return Err(error);
                }
            }
        }
        let left = self.random.below(MAX_WINDOW);
        self.wait_until(left as usize)
    }

    /// Waits until at most `left` deliveries are open.
    pub(crate) fn wait_until(&mut self, left: usize) -> ottla::Result<()> {
        let mut outcome = Ok(());
        while self.window.len() > left {
            let Some((name, delivery)) = self.window.pop_front() else { break };
            let decided = delivery.wait();
            self.decide(&name, &decided);
            outcome = outcome.and(decided.map(drop));
        }
        outcome
    }

    /// A partition that can still be sent to.
    fn partition(&mut self) -> Option<usize> {
        let per_topic = PARTITIONS / TOPICS.len();
        let topic = usize::from(self.random.below(100) < self.percent_synced);
        let first = topic * per_topic + self.random.below(per_topic as u64) as usize;
        (first..first + PARTITIONS).map(|at| at % PARTITIONS).find(|&at| self.units[at] < UNITS)
    }

    /// Bytes of a value: mostly small.
    fn len(&mut self) -> u32 {
        let more = match self.random.below(40) {
            0 => self.random.below(9_000),
            1..5 => self.random.below(2_000),
            _ => self.random.below(200),
        };
        Name::BYTES as u32 + more as u32
    }

    /// Says that a unit will be sent, and names its first record.
    fn begin(&mut self, partition: usize, of: u32, len: u32) -> Name {
        let unit = self.units[partition];
        self.units[partition] += 1;
        self.shared.attempted_units(self.index, partition).store(unit + 1, Ordering::Release);
        Name { sender: self.number, partition: partition as u32, unit, number: 0, of, len }
    }

    fn producer(&self, partition: usize) -> &Producer<Raw, Raw> {
        &self.producers[partition / (PARTITIONS / TOPICS.len())]
    }

    fn decide(&self, name: &Name, outcome: &ottla::Result<RecordMetadata>) {
        match outcome {
            Ok(at) => self.acknowledge(name, at),
            Err(error) => self.refuse(name, error),
        }
    }

    fn acknowledge(&self, name: &Name, at: &RecordMetadata) {
        let topic = home(name.partition as usize).0;
        debug_assert_eq!(partition_of(topic, at.partition), Some(name.partition as usize));
        if name.number == 0 {
            let fate = Fate::Acknowledged(at.offset);
            self.shared.decide(self.index, name.partition as usize, name.unit, fate);
        }
        self.shared.add(Word::Acknowledged, 1);
    }

    fn refuse(&self, name: &Name, error: &Error) {
        let fate = match error {
            Error::OutcomeUnknown { .. } => Fate::Unknown,
            _ => Fate::Refused,
        };
        self.shared.decide(self.index, name.partition as usize, name.unit, fate);
    }
}
