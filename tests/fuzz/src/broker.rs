//! What the targets do with a broker: open it, read everything, send something.

use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{Broker, BrokerBuilder, Consumer, Error, Raw, Record};

use crate::disk::{DIR, TOPIC};
use crate::format::Frame;

/// A broker in the directory.
pub fn builder(storage: &MemoryStorage) -> BrokerBuilder {
    Broker::builder().data_dir(DIR).storage(storage.clone())
}

/// What a reader gets of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The records, in order.
    pub records: Vec<Frame>,
    /// Where it was told of damage: the first offset that cannot be read, and the next one that can.
    pub damaged: Vec<(u64, Option<u64>)>,
}

/// Reads a partition from its first record to its end, and goes on behind damage.
#[must_use]
pub fn read_all(broker: &Broker, partition: u32) -> Seen {
    let consumer = broker.consumer::<Raw, Raw>().assign(TOPIC, [partition]).build();
    let mut consumer: Consumer<Raw, Raw> = consumer.expect("it is there");
    let mut seen = Seen::default();
    loop {
        match consumer.poll(Duration::ZERO) {
            Ok(records) if records.is_empty() => return seen,
            Ok(records) => seen.records.extend(records.iter().map(|record| frame_of(&record))),
            Err(Error::RecordsDamaged { first_offset, next_offset, .. }) => {
                seen.damaged.push((first_offset, next_offset));
                let Some(next_offset) = next_offset else { return seen };
                assert!(
                    seen.damaged.len() < 100_000,
                    "reading comes to no end: {first_offset} {next_offset}"
                );
                consumer.seek(TOPIC, partition, next_offset).expect("it is there");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Sends a record to partition 0.
///
/// # Errors
/// That of the send.
pub fn send(broker: &Broker) -> Result<Frame, Error> {
    let value = b"sent later".to_vec();
    let producer = broker.producer::<(), Raw>(TOPIC)?;
    let at = producer.record(&value).partition(0).send()?;
    let timestamp = at.timestamp.as_millis();
    Ok(Frame { offset: at.offset, timestamp, value: Some(value), ..Frame::default() })
}

fn frame_of(record: &Record<'_, Raw, Raw>) -> Frame {
    let headers = record.headers().map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)));
    Frame {
        offset: record.offset(),
        timestamp: record.timestamp().as_millis(),
        value: record.value_bytes().map(<[u8]>::to_vec),
        key: record.key_bytes().map(<[u8]>::to_vec),
        headers: headers.collect(),
        ..Frame::default()
    }
}
