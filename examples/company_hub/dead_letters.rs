//! Where records go that nobody can read: a topic, with headers that say where each came from, and why it is
//! there. What was broken stops nobody, and is not lost.

use std::time::Duration;

use common::Failure;
use ottla::{Broker, Codec, OwnedRecord, Producer, Raw, Record, Table, TopicConfig};

const TOPIC: &str = "dead-letters";

pub(crate) struct DeadLetters {
    producer: Producer<String, Raw>,
    known: Table<String, Raw>,
}

impl DeadLetters {
    pub(crate) fn open(broker: &Broker, config: TopicConfig) -> Result<Self, Failure> {
        broker.open_topic(TOPIC, config)?;
        Ok(Self { producer: broker.producer(TOPIC)?, known: broker.table(TOPIC)? })
    }

    /// Puts a record there, unless it is there: who reads a topic again finds the same ones.
    pub(crate) fn put<V: Codec>(&self, record: &Record<'_, String, V>, reason: &str) -> Result<(), Failure> {
        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
        let place = format!("{topic}-{partition}/{offset}");
        if self.known.contains_key(&place)? {
            return Ok(());
        }
        self.producer
            .record(record.value_bytes().unwrap_or_default())
            .key(&place)
            .timestamp(record.timestamp())
            .header("reason", reason)
            .header("topic", topic)
            .header("partition", &partition.to_string())
            .header("offset", &offset.to_string())
            .send()?;
        Ok(())
    }

    /// All of them.
    pub(crate) fn all(broker: &Broker) -> Result<Vec<OwnedRecord>, Failure> {
        let mut letters = Vec::new();
        let mut consumer = broker.consumer::<String, Raw>().topic(TOPIC).build()?;
        while consumer.lag() > 0 {
            let records = consumer.poll(Duration::from_secs(1))?;
            letters.extend(records.iter().map(Record::to_owned_record));
        }
        Ok(letters)
    }
}

/// Whether the record that a letter is about is where its headers say, with the same bytes.
pub(crate) fn leads_back(broker: &Broker, letter: &OwnedRecord) -> Result<bool, Failure> {
    let header = |name: &str| {
        let header = letter.headers.iter().find(|(header, _)| header == name);
        let value =
            header.and_then(|(_, value)| value.as_deref()).ok_or_else(|| format!("no header {name}"))?;
        Ok::<&str, Failure>(str::from_utf8(value)?)
    };
    let (topic, partition, offset) = (header("topic")?, header("partition")?.parse()?, header("offset")?);
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).max_records(1).build()?;
    consumer.seek(topic, partition, offset.parse()?)?;
    let records = consumer.poll(Duration::ZERO)?;
    Ok(records.iter().next().is_some_and(|record| record.value_bytes() == letter.value.as_deref()))
}
