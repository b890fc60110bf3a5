//! A sender: sends in every way that there is, to every topic, until the broker ends.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use ottla::{Broker, Delivery, Error, Producer, Raw, RecordMetadata};

use crate::MOST_RECORDS;
use crate::counts::{Counts, add};
use crate::payload::{self, Origin};
use crate::random::Random;
use crate::round::{IsOver, TOPICS};

/// Where the records that were acknowledged are: topic, partition and offset.
pub(crate) type Acknowledged = BTreeMap<(&'static str, u32, u64), Origin>;

pub(crate) struct Sender {
    producers: Vec<(&'static str, Producer<(), Raw>)>,
    random: Random,
    next: Origin,
    counts: Arc<Counts>,
    is_over: IsOver,
    on_their_way: Vec<(&'static str, Origin, Delivery)>,
    acknowledged: Acknowledged,
}

impl Sender {
    pub(crate) fn new(
        broker: &Broker,
        sender: u32,
        seed: u64,
        counts: &Arc<Counts>,
        is_over: &IsOver,
    ) -> Self {
        let producer = |name| (name, broker.producer(name).expect("the topic is there"));
        Self {
            producers: TOPICS.map(producer).into(),
            random: Random::new(seed),
            next: Origin { sender, number: 0 },
            counts: Arc::clone(counts),
            is_over: is_over.clone(),
            on_their_way: Vec::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// Sends until it is over, or as much as one may. What is acknowledged then.
    pub(crate) fn run(mut self) -> Acknowledged {
        while self.next.number < MOST_RECORDS && !self.is_over.get() {
            match self.send_somehow() {
                Ok(sent) => add(&self.counts.sent, sent),
                Err(Error::Closed) => break,
                Err(Error::TopicFull { .. }) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        // The deliveries do not keep the directory in use.
        self.producers.clear();
        for (topic, origin, delivery) in std::mem::take(&mut self.on_their_way) {
            let at = delivery.wait().expect("enqueued before the end, so written");
            self.note(topic, origin, at);
        }
        self.acknowledged
    }

    fn send_somehow(&mut self) -> ottla::Result<usize> {
        // Mostly those that are fast.
        let topic = [0, 0, 0, 0, 1, 1, 1, 1, 1, 2][self.random.below(10) as usize];
        match self.random.below(20) {
            0..8 => self.send(topic),
            8..11 => self.send_batch(topic),
            11..15 => self.enqueue(topic),
            15..18 => self.enqueue_and_detach(topic),
            18 => self.send_async(topic),
            _ => self.hear_of_deliveries(),
        }
    }

    /// The next record: mostly a small one.
    fn record(&mut self) -> (Origin, Vec<u8>) {
        self.next.number += 1;
        let more = match self.random.below(50) {
            0 => self.random.below(20_000),
            1..5 => self.random.below(2_000),
            _ => self.random.below(100),
        };
        (self.next, payload::value(self.next, more as usize))
    }

    fn send(&mut self, topic: usize) -> ottla::Result<usize> {
        let (origin, value) = self.record();
        let (name, producer) = &self.producers[topic];
        let (name, at) = (*name, producer.send((), &value)?);
        self.note(name, origin, at);
        Ok(1)
    }

    fn send_batch(&mut self, topic: usize) -> ottla::Result<usize> {
        let records: Vec<_> = (0..1 + self.random.below(8)).map(|_| self.record()).collect();
        let (name, producer) = &self.producers[topic];
        // In one partition, so that it is there whole or not at all.
        let batch = records.iter().map(|(_, value)| producer.record(value).partition(0));
        let (name, places) = (*name, producer.send_batch(batch)?);
        for ((origin, _), at) in records.iter().zip(places) {
            self.note(name, *origin, at);
        }
        Ok(records.len())
    }

    fn enqueue(&mut self, topic: usize) -> ottla::Result<usize> {
        let (origin, value) = self.record();
        let (name, producer) = &self.producers[topic];
        let (name, delivery) = (*name, producer.enqueue((), &value)?);
        self.on_their_way.push((name, origin, delivery));
        Ok(1)
    }

    fn enqueue_and_detach(&mut self, topic: usize) -> ottla::Result<usize> {
        let (_, value) = self.record();
        self.producers[topic].1.enqueue((), &value)?.detach();
        Ok(1)
    }

    fn send_async(&mut self, topic: usize) -> ottla::Result<usize> {
        let (origin, value) = self.record();
        let (name, producer) = &self.producers[topic];
        let (name, at) = (*name, block_on(producer.send_async((), &value))?);
        self.note(name, origin, at);
        Ok(1)
    }

    /// Takes note of what has been decided meanwhile, and waits for one that has not.
    fn hear_of_deliveries(&mut self) -> ottla::Result<usize> {
        for (topic, origin, delivery) in std::mem::take(&mut self.on_their_way) {
            if delivery.is_decided() || self.random.below(100) == 0 {
                let at = delivery.wait()?;
                self.note(topic, origin, at);
            } else {
                self.on_their_way.push((topic, origin, delivery));
            }
        }
        Ok(0)
    }

    fn note(&mut self, topic: &'static str, origin: Origin, at: RecordMetadata) {
        let before = self.acknowledged.insert((topic, at.partition, at.offset), origin);
        assert_eq!(before, None, "one place for two records");
    }
}

/// Waits for a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
