//! Brings the log up to the feed: reads what it holds already, checks that it is this feed's, and sends the
//! rest, each reading under its sensor's name and with the moment it was measured at as timestamp.

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Failure, Progress};
use ottla::{Broker, Timestamp, TopicConfig};

use crate::reading::{Feed, Reading};
use crate::{Key, PARTITIONS, UNLIMITED};

pub(crate) fn open_topic(broker: &Broker, topic: &str) -> Result<(), Failure> {
    let config = TopicConfig::new().partitions(PARTITIONS).memory_limit(UNLIMITED);
    Ok(broker.open_topic(topic, config)?)
}

/// Sends what the log lacks; how many readings that were.
///
/// A run that was killed leaves the beginning of each sensor's readings, because all that has one key is sent
/// in order to one partition.
pub(crate) fn publish(broker: &Broker, topic: &str, feed: &Feed) -> Result<u64, Failure> {
    let mut there = readings_there(broker, topic, feed)?;
    let lacking = feed.named().filter(|(sensor, _)| match there.get_mut(sensor) {
        Some(more) if *more > 0 => {
            *more -= 1;
            false
        }
        _ => true,
    });
    let lacking: Vec<_> = lacking.collect();
    let producer = broker.producer::<Key, f64>(topic)?;
    let mut progress = Progress::new("readings sent", lacking.len() as u64);
    for batch in lacking.chunks(BATCH) {
        producer.send_batch(batch.iter().map(|(sensor, reading)| {
            producer.record(reading.value).key(sensor).timestamp(Timestamp::from_millis(reading.at))
        }))?;
        progress.add(batch.len() as u64);
    }
    Ok(lacking.len() as u64)
}

/// How many readings of each sensor the log has. They must be those the feed begins with.
fn readings_there<'a>(
    broker: &Broker,
    topic: &str,
    feed: &'a Feed,
) -> Result<BTreeMap<&'a str, u64>, Failure> {
    let mut expected: BTreeMap<&str, Vec<Reading>> = BTreeMap::new();
    feed.named().for_each(|(sensor, reading)| expected.entry(sensor).or_default().push(reading));
    let mut there = BTreeMap::new();
    let mut consumer = broker.consumer::<Key, f64>().assign(topic, 0..PARTITIONS).build()?;
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(there);
        }
        for record in &records {
            let reading = Reading { at: record.timestamp().as_millis(), value: record.value()? };
            let known = expected.get_key_value(record.key()?);
            let (sensor, readings) = known.ok_or_else(|| other_feed(topic, record.key().unwrap_or("?")))?;
            let count = there.entry(*sensor).or_insert(0);
            if readings.get(*count as usize) != Some(&reading) {
                return Err(other_feed(topic, sensor));
            }
            *count += 1;
        }
    }
}

fn other_feed(topic: &str, sensor: &str) -> Failure {
    format!(
        "the log has other readings of {sensor:?} (topic {topic}): \
        it was made with another input, seed or size, which needs another --data-dir"
    )
    .into()
}

/// Records of one batch are written together, and each partition's are there together or not at all.
const BATCH: usize = 512;
