//! Sends what the log lacks of the feed, each observation under its patient and with its own time.

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Failure, Pace, Progress};
use ottla::{Broker, Json, Timestamp};

use crate::VITALS;
use crate::show::Screen;
use crate::vitals::{Feed, Vitals};

/// How many of each patient's observations an earlier run has sent. What is in the log must be of this feed.
///
/// A patient's observations are in one partition and in order, so that a run which was killed has left of
/// each patient a beginning.
pub(crate) fn already_sent<'a>(broker: &Broker, feed: &'a Feed) -> Result<BTreeMap<&'a str, usize>, Failure> {
    let mut sent = BTreeMap::new();
    let by_patient = feed.by_patient();
    let mut consumer = broker.consumer::<String, Json<Vitals>>().topic(VITALS).build()?;
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(sent);
        }
        for record in &records {
            let known = by_patient.get_key_value(record.key()?);
            let count = known.map(|(patient, _)| sent.entry(*patient).or_default());
            let next = known.zip(count).and_then(|((_, all), count)| Some((all.get(*count)?, count)));
            match next {
                Some((next, count))
                    if record.timestamp() == Timestamp::from_millis(next.time)
                        && record.value()? == next.vitals =>
                {
                    *count += 1;
                }
                _ => {
                    let (partition, offset) = (record.partition(), record.offset());
                    let place = format!("partition {partition}, offset {offset}");
                    return Err(format!("the directory holds another ward's observations ({place})").into());
                }
            }
        }
    }
}

/// Sends the rest. When a `send` returns, its record is as durable as the topic promises.
pub(crate) fn publish(
    broker: &Broker,
    feed: &Feed,
    mut skip: BTreeMap<&str, usize>,
    mut pace: Pace,
    mut screen: Screen,
) -> Result<(), Failure> {
    let producer = broker.producer::<String, Json<Vitals>>(VITALS)?;
    let mut progress = Progress::new("observations sent", feed.observations.len() as u64);
    for (n, observation) in feed.observations.iter().enumerate() {
        if let Some(to_skip) = skip.get_mut(observation.patient.as_str()).filter(|to_skip| **to_skip > 0) {
            *to_skip -= 1;
            continue;
        }
        pace.wait_for(observation.time, || screen.show(n));
        let time = Timestamp::from_millis(observation.time);
        producer.record(&observation.vitals).key(&observation.patient).timestamp(time).send()?;
        if screen.is_live() {
            screen.show(n);
        } else {
            progress.set(n as u64 + 1);
        }
    }
    screen.last(feed.observations.len())
}
