//! Bounded retention: a topic that keeps the last hour. Readings of the early shift are an hour old and go;
//! who was in the middle of them is told, or goes on with what is there, as it has asked for.
//!
//! Records age by the broker's clock, which here is one that is moved by hand: nobody has to wait.

use std::time::Duration;

use common::{Failure, expect};
use ottla::{
    Broker, Consumer, Error, ManualClock, OutOfRange, Retention, Timestamp, TopicConfig, TopicPartition,
};

use crate::Key;
use crate::reading::{Feed, Reading};

const TOPIC: &str = "last-hour";
const HOUR: Duration = Duration::from_secs(3_600);
/// More are not needed to see it.
const MOST: usize = 20_000;
/// One that a consumer has read, and one that is next for it when both go.
const FEWEST: usize = 2;

/// How many records the topic gave up.
pub(crate) fn show(broker: &Broker, clock: &ManualClock, feed: &Feed) -> Result<u64, Failure> {
    if broker.list_topics().iter().any(|topic| topic == TOPIC) {
        broker.delete_topic(TOPIC)?; // an earlier run's
    }
    // Small files: only whole ones are given up.
    let config = TopicConfig::new().retention(Retention::forever().max_age(HOUR)).segment_bytes(1 << 16);
    broker.create_topic(TOPIC, config)?;

    let readings: Vec<_> = feed.named().take(MOST).collect();
    let (early, late) = readings.split_at(readings.len() / 2);
    if early.len() < FEWEST {
        println!("retention: too few readings to see it");
        return Ok(0);
    }
    send(broker, early)?;
    let mut strict = consumer(broker, OutOfRange::Error)?;
    let mut lenient = consumer(broker, OutOfRange::Earliest)?;
    let begin = beginning(&strict);
    clock.advance(2 * HOUR);
    broker.run_housekeeping()?; // what a background thread does now and then, and may have done already
    send(broker, late)?;

    let grown = beginning(&strict);
    let trimmed = grown - begin;
    println!("retention: of {} readings {trimmed} are gone, the log begins at {grown}", readings.len());
    expect("records given up", trimmed, early.len() as u64)?;
    is_told(&mut strict, grown)?;
    goes_on(&mut lenient, grown)?;
    Ok(trimmed)
}

fn is_told(consumer: &mut Consumer<Key, f64>, beginning: u64) -> Result<(), Failure> {
    match consumer.poll(Duration::ZERO) {
        Err(Error::OffsetOutOfRange { requested, earliest, .. }) => {
            println!(
                "  a strict consumer is told: its next offset was {requested}, the first there is {earliest}"
            );
            expect("the first offset as the consumer is told", earliest, beginning)
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("a consumer whose records are gone was not told".into()),
    }
}

fn goes_on(consumer: &mut Consumer<Key, f64>, beginning: u64) -> Result<(), Failure> {
    let records = consumer.poll(Duration::ZERO)?;
    let first = records.iter().next().ok_or("a lenient consumer found nothing")?;
    println!("  a lenient one goes on with offset {}", first.offset());
    expect("where a lenient consumer goes on", first.offset(), beginning)
}

/// A consumer that has read one record, and would go on behind it.
fn consumer(broker: &Broker, policy: OutOfRange) -> Result<Consumer<Key, f64>, Failure> {
    let builder = broker.consumer().topic(TOPIC).on_out_of_range(policy).max_records(1);
    let mut consumer: Consumer<Key, f64> = builder.build()?;
    expect("records of the first poll", consumer.poll(Duration::ZERO)?.len(), 1)?;
    Ok(consumer)
}

fn beginning(consumer: &Consumer<Key, f64>) -> u64 {
    consumer.beginning_offsets().get(&TopicPartition::new(TOPIC, 0)).copied().unwrap_or(0)
}

fn send(broker: &Broker, readings: &[(&str, Reading)]) -> Result<(), Failure> {
    let producer = broker.producer::<Key, f64>(TOPIC)?;
    for batch in readings.chunks(100) {
        producer.send_batch(batch.iter().map(|(sensor, reading)| {
            producer.record(reading.value).key(sensor).timestamp(Timestamp::from_millis(reading.at))
        }))?;
    }
    Ok(())
}
