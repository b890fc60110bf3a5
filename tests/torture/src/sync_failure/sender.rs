//! One who sends in all the ways there are, flushes, reads and commits, and takes down what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::thread;
use std::time::Duration;

use ottla::{Consumer, Delivery, Error, OutOfRange, Producer, Raw, RecordMetadata};

use super::ledger::{Fate, Key, PARTITIONS, PLACES, key_of, topic_of};
use super::scene::{IN_MEMORY, Scene, TOPICS, group, place_of};
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;
use crate::power::found::{DIR, name_of};
use crate::power::life::block_on;

const MAX_WINDOW: u64 = 12;

type Done = Result<(), Failure>;

pub(crate) struct Sender<'a> {
    scene: &'a Scene<'a>,
    number: u64,
    random: Random,
    producers: Vec<Producer<Raw, Raw>>,
    in_memory: Producer<Raw, Raw>,
    consumer: Consumer<Raw, Raw>,
    units: [u64; PLACES],
    window: VecDeque<(Key, Delivery)>,
}

impl<'a> Sender<'a> {
    /// No other one in the directory has had its number.
    pub(crate) fn new(scene: &'a Scene<'a>, number: u64, random: Random) -> Result<Self, Failure> {
        let producer = |topic| scene.broker.producer(topic).map_err(unexpected("make a producer"));
        let producers = TOPICS.iter().map(|(topic, _)| producer(topic)).collect::<Result<_, _>>()?;
        let consumer = scene.broker.consumer().topics(TOPICS.map(|(topic, _)| topic)).group(group(number));
        let consumer = consumer.on_out_of_range(OutOfRange::Earliest).build();
        Ok(Self {
            scene,
            number,
            random,
            producers,
            in_memory: producer(IN_MEMORY)?,
            consumer: consumer.map_err(unexpected("make a consumer"))?,
            units: [0; PLACES],
            window: VecDeque::new(),
        })
    }

    pub(crate) fn work(&mut self, steps: u64) -> Done {
        for _ in 0..steps {
            if self.scene.is_off() {
                return Ok(());
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Done {
        match self.random.below(100) {
            0..30 => {
                let place = self.place();
                self.send_to(place).map(drop)
            }
            30..40 => self.send_batch(),
            40..58 => self.enqueue(),
            58..66 => {
                let left = self.random.below(MAX_WINDOW) as usize;
                self.wait_until(left)
            }
            66..74 => {
                let topic = self.random.below(2) as usize;
                self.flush(topic).map(drop)
            }
            74..78 => self.flush_while_sending(),
            78..92 => self.poll_and_commit(),
            92..96 => self.send_to_memory(),
            _ => {
                thread::yield_now();
                Ok(())
            }
        }
    }

    fn place(&mut self) -> u32 {
        self.random.below(PLACES as u64) as u32
    }

    /// Names the records of a call that is about to be made.
    fn begin(&mut self, place: u32, of: u64) -> Vec<Name> {
        let unit = self.units[place as usize];
        self.units[place as usize] += 1;
        let names: Vec<Name> = (0..of as u32)
            .map(|number| {
                let most = if self.random.one_in(8) { 3_800 / of } else { 400 };
                let len = Name::BYTES as u32 + self.random.below(most - Name::BYTES as u64) as u32;
                Name { sender: self.number, partition: place, unit, number, of: of as u32, len }
            })
            .collect();
        self.scene.ledger().begin(names.clone());
        names
    }

    /// What a call answered for the record with which a unit begins.
    fn decide(&self, key: Key, what: &str, outcome: &ottla::Result<RecordMetadata>) -> Done {
        let fate = match outcome {
            Ok(at) => Fate::Acknowledged(Some(at.offset)),
            Err(error) => self.scene.judge(what, error)?,
        };
        self.scene.ledger().decide(key, fate);
        Ok(())
    }

    /// Sends a record; whether it was acknowledged.
    pub(crate) fn send_to(&mut self, place: u32) -> Result<bool, Failure> {
        let name = self.begin(place, 1)[0];
        let value = name.value();
        let record = self.producers[topic_of(place)].record(&value).partition(place % PARTITIONS);
        let outcome = if self.random.one_in(4) { block_on(record.send_async()) } else { record.send() };
        self.decide(key_of(&name), "send", &outcome)?;
        Ok(outcome.is_ok())
    }

    /// One batch, for one or both partitions of a topic.
    fn send_batch(&mut self) -> Done {
        let topic = self.random.below(2) as u32;
        let mut names = Vec::new();
        for partition in 0..PARTITIONS {
            if self.random.one_in(2) || partition + 1 == PARTITIONS && names.is_empty() {
                let of = 1 + self.random.below(5);
                names.extend(self.begin(topic * PARTITIONS + partition, of));
            }
        }
        let values: Vec<Vec<u8>> = names.iter().map(Name::value).collect();
        let producer = &self.producers[topic as usize];
        let records = names.iter().zip(&values);
        let records =
            records.map(|(name, value)| producer.record(value).partition(name.partition % PARTITIONS));
        let outcome = producer.send_batch(records);
        for (at, name) in names.iter().enumerate().filter(|(_, name)| name.number == 0) {
            let outcome = match &outcome {
                Ok(places) => Ok(places[at]),
                Err(Error::PartlyAppended { appended, source }) => appended[at].ok_or(&**source),
                Err(error) => Err(error),
            };
            let fate = match outcome {
                Ok(at) => Fate::Acknowledged(Some(at.offset)),
                Err(error) => self.scene.judge("send a batch", error)?,
            };
            self.scene.ledger().decide(key_of(name), fate);
        }
        Ok(())
    }

    fn enqueue(&mut self) -> Done {
        let place = self.place();
        for _ in 0..1 + self.random.below(6) {
            self.enqueue_to(place)?;
        }
        Ok(())
    }

    fn enqueue_to(&mut self, place: u32) -> Done {
        let name = self.begin(place, 1)[0];
        let (key, value) = (key_of(&name), name.value());
        match self.producers[topic_of(place)].record(&value).partition(place % PARTITIONS).enqueue() {
            Ok(delivery) if self.random.one_in(4) => {
                delivery.detach();
                self.scene.ledger().decide(key, Fate::Detached);
            }
            Ok(delivery) => {
                self.scene.ledger().decide(key, Fate::Enqueued);
                self.window.push_back((key, delivery));
            }
            Err(error) => {
                let fate = self.scene.judge("enqueue", &error)?;
                self.scene.ledger().decide(key, fate);
            }
        }
        Ok(())
    }

    /// Waits until at most so many deliveries are open.
    pub(crate) fn wait_until(&mut self, left: usize) -> Done {
        while self.window.len() > left {
            let first = self.random.below(self.window.len() as u64) as usize;
            let Some((key, delivery)) = self.window.remove(first) else { break };
            let outcome = if self.random.one_in(2) { delivery.wait() } else { block_on(delivery) };
            self.decide(key, "a delivery", &outcome)?;
        }
        Ok(())
    }

    /// Hears what is decided when all has ended.
    pub(crate) fn hear_decided(&mut self, must_be_decided: bool) -> Done {
        for (key, delivery) in std::mem::take(&mut self.window) {
            if delivery.is_decided() {
                self.decide(key, "a delivery", &delivery.wait())?;
            } else if must_be_decided {
                return Err(Failure::new(Finding::Stuck, "a delivery is open after a close"));
            }
        }
        Ok(())
    }

    /// Whether all that was sent to the topic is safe.
    pub(crate) fn flush(&mut self, topic: usize) -> Result<bool, Failure> {
        let flush = self.scene.ledger().flush_begins(topic);
        let outcome = self.producers[topic].flush();
        self.scene.ledger().flush_ended(&flush, outcome.is_ok());
        match outcome {
            Ok(()) => Ok(true),
            Err(error) => self.scene.judge("flush", &error).map(|_| false),
        }
    }

    /// Enqueues while a flush is in the middle of its sync, which may be the one that fails.
    fn flush_while_sending(&mut self) -> Done {
        let Some(disk) = self.scene.sim.clone() else { return Ok(()) };
        let Ok(_gate) = self.scene.gate.try_lock() else { return Ok(()) };
        let place = self.place();
        let topic = topic_of(place);
        let dir = format!("{DIR}/{}-{}", TOPICS[topic].0, place % PARTITIONS);
        let flush = self.scene.ledger().flush_begins(topic);
        disk.hold_sync(dir.as_ref());
        let producer = self.producers[topic].clone();
        let outcome = thread::scope(|scope| {
            let flushing = scope.spawn(move || producer.flush());
            let mut sent = Ok(());
            if disk.wait_for_held_sync(|| flushing.is_finished()) {
                sent = (0..1 + self.random.below(4)).try_for_each(|_| self.enqueue_to(place));
                // Time to be written.
                thread::sleep(Duration::from_micros(200));
            }
            disk.let_go();
            let outcome = flushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sent.map(|()| outcome)
        });
        let is_done = outcome.as_ref().is_ok_and(Result::is_ok);
        self.scene.ledger().flush_ended(&flush, is_done);
        match outcome? {
            Ok(()) => Ok(()),
            Err(error) => self.scene.judge("flush", &error).map(drop),
        }
    }

    pub(crate) fn poll_and_commit(&mut self) -> Done {
        let records = match self.consumer.poll(Duration::ZERO) {
            Err(_) if self.scene.is_off() => return Ok(()),
            outcome => outcome.map_err(unexpected("poll"))?,
        };
        let mut offsets = BTreeMap::new();
        for record in &records {
            let place = place_of(record.topic(), record.partition());
            let name = name_of(record.value_bytes().unwrap_or_default())?;
            self.scene.ledger().see(place, record.offset(), name)?;
            offsets.insert(place, record.offset() + 1);
        }
        if offsets.is_empty() || self.random.one_in(4) {
            return Ok(());
        }
        self.commit(&offsets).map(drop)
    }

    /// Whether it is committed.
    pub(crate) fn commit(&mut self, offsets: &BTreeMap<u32, u64>) -> Result<bool, Failure> {
        self.scene.ledger().commits.begin(self.number, offsets);
        let outcome = self.consumer.commit_offsets(Scene::named(offsets));
        let fate = match &outcome {
            Ok(()) => Fate::Acknowledged(None),
            Err(error) => self.scene.judge("commit", error)?,
        };
        let commits = &mut self.scene.ledger().commits;
        match fate {
            Fate::Acknowledged(_) => {
                let is_safe = self.scene.habits.commit_level == ottla::Durability::PowerLoss;
                commits.acknowledge(self.number, offsets, is_safe);
            }
            Fate::Refused => commits.refuse(self.number, offsets),
            _ => {}
        }
        Ok(outcome.is_ok())
    }

    fn send_to_memory(&mut self) -> Done {
        let sent = self.in_memory.record(b"brief").send();
        sent.map(drop).map_err(unexpected("send to a topic without files"))
    }
}
