//! A stage between two topics, which forwards at least once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Failure;
use database::kills::DieAfter;
use ottla::{Broker, Json, Record};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The header that says where an event's order lies in the topic `orders`: `partition:offset`.
pub(crate) const SOURCE: &str = "source";

pub(crate) const PATIENCE: Duration = Duration::from_millis(10);
/// Forwarded between two commits at most, and so forwarded again at most after a crash.
const BATCH_RECORDS: usize = 50;

/// What a stage has to know of the others.
pub(crate) struct Stage {
    pub(crate) group: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// Whether there will be nothing new in a topic.
#[derive(Default)]
pub(crate) struct Done(AtomicBool);

impl Stage {
    /// Forwards what `make` makes of each event, until there will be no more; how many.
    pub(crate) fn run<I, O>(
        &self,
        broker: &Broker,
        before: &Done,
        done: &Done,
        die_after: DieAfter,
        make: impl Fn(&I) -> O,
    ) -> Result<u64, Failure>
    where
        I: Serialize + DeserializeOwned + 'static,
        O: Serialize + DeserializeOwned + 'static,
    {
        let outcome = self.forward(broker, before, die_after, make);
        done.set(); // the stages behind end too if this one failed
        outcome
    }

    fn forward<I, O>(
        &self,
        broker: &Broker,
        before: &Done,
        mut die_after: DieAfter,
        make: impl Fn(&I) -> O,
    ) -> Result<u64, Failure>
    where
        I: Serialize + DeserializeOwned + 'static,
        O: Serialize + DeserializeOwned + 'static,
    {
        let consumer = broker.consumer::<String, Json<I>>().topic(self.from).group(self.group);
        let mut consumer = consumer.max_records(BATCH_RECORDS).build()?;
        let producer = broker.producer::<String, Json<O>>(self.to)?;
        let mut forwarded = 0;
        while !before.is_set() || consumer.lag() > 0 {
            let records = consumer.poll(PATIENCE)?;
            let mut made = Vec::new();
            for record in &records {
                made.push((record.key()?, source_of(&record)?, make(&record.value()?)));
            }
            let events = made.iter();
            let events =
                events.map(|(key, source, event)| producer.record(event).key(key).header(SOURCE, source));
            producer.send_batch(events)?;
            // Whoever dies here has sent what it has not committed, and will send it again.
            made.iter().for_each(|_| die_after.step());
            consumer.commit(&records)?;
            forwarded += made.len() as u64;
        }
        Ok(forwarded)
    }
}

/// Where an event's order lies. The order itself has no header: it is there.
pub(crate) fn source_of<I: Serialize + DeserializeOwned + 'static>(
    record: &Record<'_, String, Json<I>>,
) -> Result<String, Failure> {
    match record.headers().get(SOURCE).and_then(|header| header.value) {
        Some(source) => Ok(str::from_utf8(source)?.to_owned()),
        None => Ok(format!("{}:{}", record.partition(), record.offset())),
    }
}

impl Done {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
