//! One who sends, in all the ways there are, among them some that must fail.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ottla::{Delivery, Error, Producer, Raw, RecordMetadata};

use super::events::{Fate, Sent, Value};
use super::scene::{MAX_RECORD_BYTES, Phase, Scene};
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;

/// So many deliveries are awaited at most.
const MAX_WINDOW: u64 = 32;
const MAX_BATCH: u64 = 12;
/// Between two calls. It bounds what a round holds in memory.
const MAX_PAUSE: Duration = Duration::from_millis(3);

pub(crate) struct Sender {
    scene: Arc<Scene>,
    number: u32,
    random: Random,
    producers: HashMap<String, Producer<Raw, Raw>>,
    sends: Vec<Sent>,
    /// Which sends are not decided yet, and their topics.
    window: VecDeque<(usize, String, Delivery)>,
}

impl Sender {
    pub(crate) fn new(scene: Arc<Scene>, number: u32, random: Random) -> Self {
        let (producers, sends, window) = (HashMap::new(), Vec::new(), VecDeque::new());
        Self { scene, number, random, producers, sends, window }
    }

    /// Sends as long as the round goes on.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        while self.scene.is_at(Phase::Going) {
            self.step()?;
            thread::sleep(MAX_PAUSE.mul_f64(self.random.below(100) as f64 / 100.0));
        }
        self.wait_until(0)?;
        self.scene.recorder.add_sends(self.sends);
        Ok(())
    }

    fn step(&mut self) -> Result<(), Failure> {
        let topics = self.scene.topics();
        let (topic, partitions) = &topics[self.random.below(topics.len() as u64) as usize];
        let producer = match self.producers.get(topic) {
            Some(producer) => producer.clone(),
            None => match self.scene.broker.producer(topic) {
                Err(_) if self.scene.is_deleted(topic) => return Ok(()),
                producer => producer.map_err(unexpected("a producer cannot be made"))?,
            },
        };
        self.producers.insert(topic.clone(), producer.clone());
        match self.random.below(100) {
            0..40 => self.send(&producer, *partitions),
            40..70 => self.send_batch(&producer, *partitions),
            _ => self.enqueue(&producer, *partitions),
        }
    }

    fn send(&mut self, producer: &Producer<Raw, Raw>, partitions: u32) -> Result<(), Failure> {
        let partition = self.partition(partitions);
        let (at, bytes) = self.begin();
        let outcome = producer.record(&bytes).partition(partition).send();
        self.decide(at, producer.topic(), &outcome)
    }

    /// A batch, of which some may be for other partitions.
    fn send_batch(&mut self, producer: &Producer<Raw, Raw>, partitions: u32) -> Result<(), Failure> {
        let count = 1 + self.random.below(MAX_BATCH);
        let records: Vec<(u32, usize, Vec<u8>)> = (0..count)
            .map(|_| {
                let partition = self.partition(partitions);
                let (at, bytes) = self.begin();
                (partition, at, bytes)
            })
            .collect();
        let sent = records.iter().map(|(partition, _, bytes)| producer.record(bytes).partition(*partition));
        let outcome = producer.send_batch(sent);
        let ats = records.iter().map(|(_, at, _)| *at);
        match outcome {
            Ok(places) => {
                ats.zip(places).for_each(|(at, place)| self.acknowledge(at, producer.topic(), &place));
            }
            Err(Error::PartlyAppended { appended, source }) => {
                for (at, place) in ats.zip(appended) {
                    match place {
                        Some(place) => self.acknowledge(at, producer.topic(), &place),
                        None => self.sends[at].fate = fate_of(&source)?,
                    }
                }
            }
            Err(error) => {
                let fate = fate_of(&error)?;
                ats.for_each(|at| self.sends[at].fate = fate);
            }
        }
        Ok(())
    }

    /// Enqueues some, and waits for the oldest ones that were enqueued.
    fn enqueue(&mut self, producer: &Producer<Raw, Raw>, partitions: u32) -> Result<(), Failure> {
        for _ in 0..1 + self.random.below(MAX_BATCH) {
            let partition = self.partition(partitions);
            let (at, bytes) = self.begin();
            match producer.record(&bytes).partition(partition).enqueue() {
                // Nobody waits for this one: its outcome stays unknown.
                Ok(delivery) if self.random.one_in(50) => delivery.detach(),
                Ok(delivery) => self.window.push_back((at, producer.topic().to_owned(), delivery)),
                Err(error) => self.sends[at].fate = fate_of(&error)?,
            }
        }
        let left = self.random.below(MAX_WINDOW);
        self.wait_until(left as usize)
    }

    fn wait_until(&mut self, left: usize) -> Result<(), Failure> {
        while self.window.len() > left {
            let Some((at, topic, delivery)) = self.window.pop_front() else { break };
            self.decide(at, &topic, &delivery.wait())?;
        }
        Ok(())
    }

    /// Mostly one that there is; the next one may be there by now, or not.
    fn partition(&mut self, partitions: u32) -> u32 {
        if self.random.one_in(150) { partitions } else { self.random.below(partitions.into()) as u32 }
    }

    /// Numbers a record, and makes its bytes, which may be too many.
    fn begin(&mut self) -> (usize, Vec<u8>) {
        let value = Value::new(self.number, self.sends.len() as u32);
        let at = self.sends.len();
        self.sends.push(Sent { value, fate: Fate::Unknown });
        let more = if self.random.one_in(200) { MAX_RECORD_BYTES } else { self.random.below(100) };
        let mut bytes = value.0.to_le_bytes().to_vec();
        bytes.resize(bytes.len() + more as usize, 0);
        (at, bytes)
    }

    fn decide(
        &mut self,
        at: usize,
        topic: &str,
        outcome: &ottla::Result<RecordMetadata>,
    ) -> Result<(), Failure> {
        match outcome {
            Ok(place) => self.acknowledge(at, topic, place),
            Err(error) => self.sends[at].fate = fate_of(error)?,
        }
        Ok(())
    }

    fn acknowledge(&mut self, at: usize, topic: &str, place: &RecordMetadata) {
        let partition = self.scene.recorder.place(topic, place.partition);
        self.sends[at].fate = Fate::At(partition, place.offset);
    }
}

/// What an error says of the record.
fn fate_of(error: &Error) -> Result<Fate, Failure> {
    match error {
        Error::RecordTooLarge { .. } | Error::InvalidPartition { .. } | Error::TopicFull { .. } => {
            Ok(Fate::Refused)
        }
        // It may have been there for a while.
        Error::OutcomeUnknown { .. } | Error::TopicDeleted { .. } => Ok(Fate::Unknown),
        error => Err(Failure::new(Finding::WrongError, format!("a send: {error}"))),
    }
}

/// The value in a record's bytes.
pub(crate) fn value_of(bytes: Option<&[u8]>) -> Result<Value, Failure> {
    match bytes.and_then(|bytes| bytes.first_chunk()) {
        Some(first) => Ok(Value(u64::from_le_bytes(*first))),
        None => Err(Failure::new(Finding::WrongBytes, "a record that is too short for what was sent")),
    }
}
