//! Topics that the broker gives records of up, in a process that is killed: one is compacted, of another one
//! only the last part is kept. Who sends to them says in shared memory what was about to be sent, and what
//! was acknowledged; the records follow from the seed.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::{self, Scope};
use std::time::Duration;

use ottla::{Broker, Clock, OutOfRange, Producer, Raw, Retention, SystemClock, TopicConfig};

use super::choice::{Choice, TOPIC};
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::{end_with, unexpected};
use crate::common::random::Random;
use crate::common::sent::Sent;
use crate::common::shared::{Fate, PARTITIONS, Shared, UNITS, Word};

/// A topic of one partition of which only the last part is kept.
pub(crate) const RECENT: &str = "recent";
/// Which words are those of the one who sends to it.
pub(crate) const RECENT_SENDER: usize = PARTITIONS - 1;
/// So many calls each sender makes at most.
const CALLS: u64 = 3_000;
/// In which word a sender says how many calls it has begun, how many were acknowledged, and where the log ended
/// before the first, plus one.
pub(crate) const ATTEMPTED: usize = 0;
pub(crate) const ACKNOWLEDGED: usize = 1;
pub(crate) const STARTS: usize = 2;
/// Timestamps of records that one process sends.
pub(crate) const SERIALS: u64 = 1 << 32;

/// What a process is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// The file with the shared words.
    pub(crate) words: PathBuf,
    /// What was chosen for the directory follows from it.
    pub(crate) seed: u64,
    /// The how many-th process it is in its directory.
    pub(crate) life: u64,
}

impl Orders {
    pub(crate) fn words(&self) -> Vec<String> {
        let [seed, life] = [self.seed, self.life].map(|number| number.to_string());
        vec![self.words.to_string_lossy().into_owned(), seed, life]
    }

    pub(crate) fn parse([words, seed, life]: &[String; 3]) -> Option<Self> {
        Some(Self { words: words.into(), seed: seed.parse().ok()?, life: life.parse().ok()? })
    }
}

/// What is chosen for a directory.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) choice: Choice,
    pub(crate) recent_bytes: u64,
    /// In milliseconds.
    pub(crate) recent_age: u64,
    pub(crate) housekeeping_interval: Duration,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            seed,
            choice: Choice::new(&mut random, &[0, 20, 100, 60_000], &[1, 10, 50]),
            recent_bytes: random.range(5_000..60_000),
            recent_age: random.pick(&[50, 300, 600_000]),
            housekeeping_interval: Duration::from_millis(random.pick(&[1, 5, 20])),
        }
    }

    /// The random numbers of one sender in one process.
    pub(crate) fn random(&self, life: u64, sender: usize) -> Random {
        Random::of_case(self.seed.wrapping_add(life), sender as u64)
    }

    pub(crate) fn recent_config(&self) -> TopicConfig {
        let retention = Retention::forever().max_bytes(self.recent_bytes);
        let retention = retention.max_age(Duration::from_millis(self.recent_age));
        TopicConfig::new().segment_bytes(4 << 10).retention(retention)
    }

    /// A record that is sent alone to the topic of which the last part is kept.
    pub(crate) fn recent(random: &mut Random, serial: &mut u64) -> Sent {
        let len = Name::BYTES as u32 + random.up_to_any_size(400) as u32;
        let name = Name { sender: 0, partition: 0, unit: *serial, number: 0, of: 1, len };
        *serial += 1;
        Sent { key: None, value: Some(name.value()), headers: Vec::new(), timestamp: serial.cast_signed() }
    }
}

/// Makes the topics, and begins to send, to compact and to read, until the process ends.
pub(crate) fn begin<'scope>(
    scope: &'scope Scope<'scope, '_>,
    broker: &'scope Broker,
    shared: &'scope Shared,
    (plan, life): (&'scope Plan, u64),
) -> Result<(), Failure> {
    let failed = unexpected("a topic cannot be opened");
    broker.open_topic(TOPIC, plan.choice.config()).map_err(&failed)?;
    broker.open_topic(RECENT, plan.recent_config()).map_err(&failed)?;
    for partition in 0..plan.choice.partitions {
        scope.spawn(move || end_with(shared, send_latest(broker, shared, plan, life, partition)));
    }
    scope.spawn(move || end_with(shared, send_recent(broker, shared, plan, life)));
    scope.spawn(move || end_with(shared, keep_house(broker, shared, plan, life)));
    scope.spawn(move || end_with(shared, read(broker, plan, life)));
    Ok(())
}

/// Sends one batch after the other.
struct Caller<'a> {
    shared: &'a Shared,
    sender: usize,
    partition: u32,
    producer: Producer<Raw, Raw>,
    calls: u64,
    /// Of what is not sent.
    random: Random,
}

impl<'a> Caller<'a> {
    fn new(
        broker: &Broker,
        shared: &'a Shared,
        (topic, partition): (&str, u32),
        (sender, random): (usize, Random),
    ) -> Result<Self, Failure> {
        let producer = broker.producer(topic).map_err(unexpected("make a producer"))?;
        let described = broker.describe_topic(topic).map_err(unexpected("describe a topic"))?;
        let start = described.partitions[partition as usize].end_offset;
        shared.attempted_units(sender, STARTS).store(start + 1, Ordering::Release);
        Ok(Self { shared, sender, partition, producer, calls: 0, random })
    }

    fn send(&mut self, records: &[Sent]) -> Result<(), Failure> {
        let now = SystemClock.now().as_millis().unsigned_abs();
        let (call, sender) = (self.calls, self.sender);
        self.shared.decide(sender, (call / UNITS) as usize, call % UNITS, Fate::Acknowledged(now));
        self.calls += 1;
        self.shared.attempted_units(sender, ATTEMPTED).store(self.calls, Ordering::Release);
        let batch = records.iter().map(|sent| sent.build(&self.producer, self.partition));
        self.producer.send_batch(batch).map_err(unexpected("a send"))?;
        self.shared.attempted_units(sender, ACKNOWLEDGED).store(self.calls, Ordering::Release);
        self.shared.add(Word::Acknowledged, records.len() as u64);
        if self.random.one_in(64) {
            self.producer.flush().map_err(unexpected("a flush"))?;
        }
        if self.random.one_in(16) {
            thread::sleep(Duration::from_micros(self.random.below(1_000)));
        }
        Ok(())
    }
}

fn send_latest(
    broker: &Broker,
    shared: &Shared,
    plan: &Plan,
    life: u64,
    partition: u32,
) -> Result<(), Failure> {
    let sender = partition as usize;
    let mut random = plan.random(life, sender);
    let other = plan.random(life, sender + PARTITIONS);
    let mut caller = Caller::new(broker, shared, (TOPIC, partition), (sender, other))?;
    let mut serial = life * SERIALS;
    (0..CALLS).try_for_each(|_| caller.send(&plan.choice.records(&mut random, partition, &mut serial)))
}

fn send_recent(broker: &Broker, shared: &Shared, plan: &Plan, life: u64) -> Result<(), Failure> {
    let mut random = plan.random(life, RECENT_SENDER);
    let other = plan.random(life, RECENT_SENDER + PARTITIONS);
    let mut caller = Caller::new(broker, shared, (RECENT, 0), (RECENT_SENDER, other))?;
    let mut serial = life * SERIALS;
    (0..CALLS).try_for_each(|_| caller.send(&[Plan::recent(&mut random, &mut serial)]))
}

/// Does on request what the broker's own thread does as well.
fn keep_house(broker: &Broker, shared: &Shared, plan: &Plan, life: u64) -> Result<(), Failure> {
    let mut random = plan.random(life, 3 * PARTITIONS);
    loop {
        thread::sleep(Duration::from_micros(random.up_to_any_size(20_000)));
        let _during = shared.during(Word::Stage);
        broker.run_housekeeping().map_err(unexpected("housekeeping"))?;
    }
}

/// Reads a little, sleeps, and goes on.
fn read(broker: &Broker, plan: &Plan, life: u64) -> Result<(), Failure> {
    let failed = unexpected("a poll");
    let mut random = plan.random(life, 4 * PARTITIONS);
    let topic = if random.one_in(4) { RECENT } else { TOPIC };
    let consumer = broker.consumer::<Raw, Raw>().assign(topic, [0]).on_out_of_range(OutOfRange::Earliest);
    let mut consumer = consumer.max_records(random.range(1..60) as usize).build().map_err(&failed)?;
    let mut next = 0;
    loop {
        let records = consumer.poll(Duration::from_millis(5)).map_err(&failed)?;
        for record in &records {
            if record.offset() < next {
                let what = format!("{} of {topic} comes when {next} is the next one", record.offset());
                return Err(Failure::new(Finding::Back, what));
            }
            next = record.offset() + 1;
            if let Some(value) = record.value_bytes().filter(|value| !value.is_empty()) {
                let wrong = |what| Failure::new(Finding::WrongBytes, format!("{next} of {topic}: {what}"));
                Name::of_value(value).map_err(wrong)?;
            }
        }
        thread::sleep(Duration::from_micros(random.up_to_any_size(5_000)));
    }
}
