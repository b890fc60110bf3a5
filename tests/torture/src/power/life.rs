//! A broker from its opening to its end: what it is asked for, and what it answered.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use ottla::{
    Broker, Consumer, Delivery, Durability, Error, OutOfRange, Producer, Raw, TopicConfig, TopicPartition,
};

use super::found::{DIR, GROUP, check_well, name_of, read};
use super::ledger::{Ledger, Place, TOPICS, within};
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::sim::disk::SimDisk;

/// With the internal topic, seven logs: as many as one thread opens.
pub(super) const MOST_PARTITIONS: u32 = 3;
const SMALLEST: u64 = 40;
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

/// How brokers are opened in a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) commit_level: Durability,
    /// Whether the broker syncs by itself. When it does is not for the seed to say.
    pub(crate) syncs_itself: bool,
    /// Whether records are enqueued, which its thread writes.
    pub(crate) enqueues: bool,
}

/// A record that was enqueued.
struct OnItsWay {
    place: Place,
    offset: usize,
    /// How often the topic's level had changed.
    changes: usize,
    delivery: Delivery,
}

/// A broker that is open.
pub(crate) struct Life<'a> {
    pub(super) disk: &'a SimDisk,
    pub(super) ledger: &'a mut Ledger,
    pub(super) random: &'a mut Random,
    habits: Habits,
    pub(crate) broker: Broker,
    producers: Vec<Producer<Raw, Raw>>,
    consumer: Consumer<Raw, Raw>,
    on_their_way: Vec<OnItsWay>,
}

/// Why a life ended before its time.
pub(crate) enum Ended {
    /// The power went, or the process died.
    Off,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(crate) type Lived<T = ()> = Result<T, Ended>;

/// What an error means: nothing, when the power is off.
pub(crate) fn answer(disk: &SimDisk, what: &str) -> impl Fn(Error) -> Ended {
    move |error| {
        if disk.is_off() {
            Ended::Off
        } else {
            Ended::Failed(crate::common::process::unexpected(what)(error))
        }
    }
}

/// Opens the directory, and compares what is found with what must be.
pub(crate) fn open(disk: &SimDisk, ledger: &mut Ledger, habits: Habits) -> Lived<Broker> {
    let interval = if habits.syncs_itself { Duration::from_millis(1) } else { NEVER };
    let broker = Broker::builder().storage(disk.clone()).data_dir(DIR).durability(habits.commit_level);
    let broker = broker.sync_interval(interval).housekeeping_interval(Duration::MAX);
    let broker = broker.open().map_err(answer(disk, "open"))?;
    let found = check_well(&broker, disk).and_then(|()| read(&broker));
    match found {
        Err(_) if disk.is_off() => Err(Ended::Off),
        Err(failure) => Err(Ended::Failed(with_report(failure, &broker))),
        Ok(found) => {
            let tended = |ledger: &mut Ledger| {
                ledger.tended.as_mut().map_or(Ok(()), |tended| tended.check(&broker, disk))
            };
            match ledger.check(&found).and_then(|()| tended(ledger)) {
                Err(_) if disk.is_off() => Err(Ended::Off),
                Err(failure) => Err(Ended::Failed(with_report(failure, &broker))),
                Ok(()) => Ok(broker),
            }
        }
    }
}

fn with_report(failure: Failure, broker: &Broker) -> Failure {
    let report = broker.recovery_report();
    let torn: Vec<String> = report
        .torn_tails
        .iter()
        .map(|tail| format!("{} at {}", tail.path.display(), tail.position))
        .collect();
    if torn.is_empty() { failure } else { within(failure, &format!("with torn tails {torn:?}")) }
}

impl<'a> Life<'a> {
    /// Opens the directory and makes what is not there yet.
    pub(crate) fn begin(
        disk: &'a SimDisk,
        ledger: &'a mut Ledger,
        random: &'a mut Random,
        habits: Habits,
    ) -> Lived<Self> {
        let broker = open(disk, ledger, habits)?;
        let mut producers = Vec::new();
        for (number, topic) in TOPICS.into_iter().enumerate() {
            if !broker.list_topics().iter().any(|listed| listed == topic) {
                let level = [Durability::PowerLoss, Durability::ProcessCrash][number];
                let partitions = 1 + random.below(2) as u32;
                let mut config =
                    TopicConfig::new().partitions(partitions).segment_bytes(4096).durability(level);
                if let Some(tended) = &ledger.tended {
                    config = tended.config(number, config);
                }
                ledger.topics[number].growing(partitions);
                broker.create_topic(topic, config).map_err(answer(disk, "create a topic"))?;
                ledger.topics[number].created(partitions);
            }
            producers.push(broker.producer(topic).map_err(answer(disk, "make a producer"))?);
        }
        if let Some(tended) = &mut ledger.tended {
            tended.begin(&broker, disk)?;
        }
        let consumer = broker.consumer().topics(TOPICS).group(GROUP).on_out_of_range(OutOfRange::Earliest);
        let consumer = consumer.build().map_err(answer(disk, "make a consumer"))?;
        Ok(Self { disk, ledger, random, habits, broker, producers, consumer, on_their_way: Vec::new() })
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        self.random
    }

    /// Does something, so often.
    pub(crate) fn work(&mut self, steps: u64) -> Lived {
        for _ in 0..steps {
            self.step()?;
            if self.disk.is_off() {
                return Err(Ended::Off);
            }
        }
        Ok(())
    }

    /// The power goes, or the process dies, wherever it is. What is decided by then counts.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.disk.cut_power();
        for sent in std::mem::take(&mut self.on_their_way) {
            if sent.delivery.is_decided()
                && let Err(Ended::Failed(failure)) = self.hear(sent)
            {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Closes the broker.
    pub(crate) fn close(mut self) -> Lived {
        self.broker.close().map_err(answer(self.disk, "close"))?;
        for sent in std::mem::take(&mut self.on_their_way) {
            self.hear(sent)?;
        }
        self.ledger.closed();
        Ok(())
    }

    fn step(&mut self) -> Lived {
        if self.ledger.tended.is_some() && self.random.one_in(5) {
            return self.tend();
        }
        let topic = self.random.below(TOPICS.len() as u64) as usize;
        match self.random.below(100) {
            0..30 => self.send(topic),
            30..42 => self.send_batch(topic),
            42..56 if self.habits.enqueues => self.enqueue(topic),
            56..62 if self.habits.enqueues => self.wait(),
            42..62 => self.send(topic),
            62..69 => self.flush(topic),
            69..73 => self.flush_while_sending(topic),
            73..83 => self.poll_and_commit(),
            83..88 => self.commit_position(topic),
            88..92 => self.delete_records(topic),
            92..95 => self.grow(topic),
            95..97 => self.alter(),
            _ => {
                thread::yield_now();
                Ok(())
            }
        }
    }

    fn place(&mut self, topic: usize) -> Place {
        (topic, self.random.below(u64::from(self.ledger.topics[topic].partitions())) as u32)
    }

    /// The values of so many new records, and the offset of the first.
    fn new_records(&mut self, place: Place, count: u64) -> (usize, Vec<Vec<u8>>) {
        let mut lens = Vec::new();
        for _ in 0..count {
            let most = if self.random.one_in(8) { 3_900 / count } else { 400 };
            lens.push((SMALLEST + self.random.below(most.saturating_sub(SMALLEST).max(1))) as u32);
        }
        let log = self.ledger.log(place);
        let offset = log.end();
        (offset, log.begin(place.1, &lens).iter().map(Name::value).collect())
    }

    fn acknowledge(&mut self, place: Place, offset: usize, told: u64, changes: usize) -> Lived {
        if told != offset as u64 {
            let what = format!("the record for {offset} of {place:?} was acknowledged at {told}");
            return Err(Failure::new(Finding::Reordered, what).into());
        }
        let is_safe = self.ledger.topics[place.0].promises_all(changes);
        self.ledger.log(place).acknowledge(offset, is_safe);
        Ok(())
    }

    fn send(&mut self, topic: usize) -> Lived {
        let place = self.place(topic);
        let (offset, values) = self.new_records(place, 1);
        let record = self.producers[topic].record(&values[0]).partition(place.1);
        let sent = if self.random.one_in(4) { block_on(record.send_async()) } else { record.send() };
        let at = sent.map_err(answer(self.disk, "send"))?;
        let changes = self.ledger.topics[topic].changes;
        self.acknowledge(place, offset, at.offset, changes)
    }

    fn send_batch(&mut self, topic: usize) -> Lived {
        let place = self.place(topic);
        let count = 2 + self.random.below(4);
        let (offset, values) = self.new_records(place, count);
        let producer = &self.producers[topic];
        let records = values.iter().map(|value| producer.record(value).partition(place.1));
        let places = producer.send_batch(records).map_err(answer(self.disk, "send a batch"))?;
        let changes = self.ledger.topics[topic].changes;
        for (at, offset) in places.iter().zip(offset..) {
            self.acknowledge(place, offset, at.offset, changes)?;
        }
        Ok(())
    }

    fn enqueue(&mut self, topic: usize) -> Lived {
        let place = self.place(topic);
        for _ in 0..1 + self.random.below(6) {
            let (offset, values) = self.new_records(place, 1);
            let record = self.producers[topic].record(&values[0]).partition(place.1);
            let delivery = record.enqueue().map_err(answer(self.disk, "enqueue"))?;
            if self.random.one_in(8) {
                delivery.detach();
                continue;
            }
            let changes = self.ledger.topics[topic].changes;
            self.on_their_way.push(OnItsWay { place, offset, changes, delivery });
        }
        Ok(())
    }

    /// Waits for one delivery, or for all.
    fn wait(&mut self) -> Lived {
        if self.on_their_way.is_empty() {
            return Ok(());
        }
        let first = self.random.below(self.on_their_way.len() as u64) as usize;
        let end = if self.random.one_in(2) { first + 1 } else { self.on_their_way.len() };
        let waited_for: Vec<OnItsWay> = self.on_their_way.drain(first..end).collect();
        waited_for.into_iter().try_for_each(|sent| self.hear(sent))
    }

    fn hear(&mut self, sent: OnItsWay) -> Lived {
        let OnItsWay { place, offset, changes, delivery } = sent;
        let outcome = if self.random.one_in(2) { delivery.wait() } else { block_on(delivery) };
        let at = outcome.map_err(answer(self.disk, "a delivery"))?;
        self.acknowledge(place, offset, at.offset, changes)
    }

    fn flush(&mut self, topic: usize) -> Lived {
        let ends = self.ledger.topics[topic].ends();
        self.producers[topic].flush().map_err(answer(self.disk, "flush"))?;
        let (of_topic, others) = self.on_their_way.drain(..).partition(|sent| sent.place.0 == topic);
        self.on_their_way = others;
        let of_topic: Vec<OnItsWay> = of_topic;
        for sent in of_topic {
            if !sent.delivery.is_decided() {
                return Err(Failure::new(Finding::FalseAck, "a flush leaves a delivery open").into());
            }
            self.hear(sent)?;
        }
        self.flushed(topic, &ends)
    }

    /// Sends while a flush is in the middle of its sync: that does not cover what comes meanwhile.
    fn flush_while_sending(&mut self, topic: usize) -> Lived {
        let place = self.place(topic);
        let ends = self.ledger.topics[topic].ends();
        let dir = format!("{DIR}/{}-{}", TOPICS[topic], place.1);
        // Before it waits for a sync that is held up, a record that is sent waits for those before it.
        let is_plain = topic == 1 && self.ledger.topics[1].changes == 0 && !self.habits.enqueues;
        let disk = self.disk.clone();
        disk.hold_sync(dir.as_ref());
        let producer = self.producers[topic].clone();
        let flushed = thread::scope(|scope| {
            let flushing = scope.spawn(move || producer.flush());
            let sent = match disk.wait_for_held_sync(|| flushing.is_finished()) {
                true => self.send_meanwhile(place, is_plain),
                false => Ok(()),
            };
            disk.let_go();
            let flushed = flushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sent.map(|()| flushed)
        })?;
        flushed.map_err(answer(self.disk, "flush"))?;
        self.flushed(topic, &ends)
    }

    /// A flush says nothing of what could not be written: those who sent it are told.
    fn flushed(&mut self, topic: usize, ends: &[usize]) -> Lived {
        if self.disk.is_off() {
            return Err(Ended::Off);
        }
        self.ledger.topics[topic].flushed(ends);
        Ok(())
    }

    fn send_meanwhile(&mut self, place: Place, is_plain: bool) -> Lived {
        let changes = self.ledger.topics[place.0].changes;
        for _ in 0..1 + self.random.below(3) {
            let (offset, values) = self.new_records(place, 1);
            let record = self.producers[place.0].record(&values[0]).partition(place.1);
            if is_plain {
                let at = record.send().map_err(answer(self.disk, "send during a flush"))?;
                self.acknowledge(place, offset, at.offset, changes)?;
                continue;
            }
            let delivery = record.enqueue().map_err(answer(self.disk, "enqueue during a flush"))?;
            // Time to be written.
            let _is_told = delivery.wait_timeout(Duration::from_micros(300)).is_some();
            self.on_their_way.push(OnItsWay { place, offset, changes, delivery });
        }
        Ok(())
    }

    fn poll_and_commit(&mut self) -> Lived {
        let records = self.consumer.poll(Duration::ZERO).map_err(answer(self.disk, "poll"))?;
        let mut offsets = BTreeMap::new();
        for record in &records {
            let topic = usize::from(record.topic() != TOPICS[0]);
            let name = name_of(record.value_bytes().unwrap_or_default())?;
            let is_safe = self.ledger.topics[topic].shows_only_safe();
            let place = (topic, record.partition());
            self.ledger.log(place).see(record.offset() as usize, &name, is_safe)?;
            offsets.insert(place, record.offset() + 1);
        }
        self.ledger.committing(&offsets);
        let committed = match self.random.below(4) {
            0 => return Ok(()),
            1 => self.consumer.commit(&records),
            2 => block_on(self.consumer.commit_async(&records)),
            _ => {
                drop(self.consumer.commit_async(&records));
                return Ok(());
            }
        };
        committed.map_err(answer(self.disk, "commit"))?;
        self.ledger.committed(&offsets);
        Ok(())
    }

    /// Commits where the consumer is.
    fn commit_position(&mut self, topic: usize) -> Lived {
        let offset =
            self.consumer.position(TOPICS[topic], 0).map_err(answer(self.disk, "ask for a position"))?;
        let offsets = BTreeMap::from([((topic, 0), offset)]);
        self.ledger.committing(&offsets);
        let place = TopicPartition::new(TOPICS[topic], 0);
        self.consumer.commit_offsets([(place, offset)]).map_err(answer(self.disk, "commit"))?;
        self.ledger.committed(&offsets);
        Ok(())
    }

    fn delete_records(&mut self, topic: usize) -> Lived {
        let place = self.place(topic);
        let described = self.broker.describe_topic(TOPICS[topic]).map_err(answer(self.disk, "describe"))?;
        let held = described.partitions[place.1 as usize];
        let before = held.start_offset + self.random.below(held.end_offset - held.start_offset + 1);
        self.ledger.log(place).trimming(before as usize);
        let deleted = self.broker.delete_records(TOPICS[topic], place.1, before);
        deleted.map_err(answer(self.disk, "delete records"))?;
        self.ledger.log(place).trimmed(before as usize);
        Ok(())
    }

    fn grow(&mut self, topic: usize) -> Lived {
        let to = (self.ledger.topics[topic].partitions() + 1).min(MOST_PARTITIONS);
        self.ledger.topics[topic].growing(to);
        self.broker.increase_partitions(TOPICS[topic], to).map_err(answer(self.disk, "add a partition"))?;
        self.ledger.topics[topic].grown(to);
        Ok(())
    }

    /// Only of the topic that changes.
    fn alter(&mut self) -> Lived {
        let level = self.random.pick(&[Durability::ProcessCrash, Durability::PowerLoss]);
        self.ledger.topics[1].altering(level);
        let altered = self.broker.alter_topic(TOPICS[1], TopicConfig::new().durability(level));
        altered.map_err(answer(self.disk, "alter a topic"))?;
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

/// Runs a future to its end on this thread. One that does not come to it is found by those who wait for the case.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
