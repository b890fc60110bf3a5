//! Sends what the log lacks of the feed, in the order in which it arrived, each report under its vehicle
//! and with its own time.

use std::time::Duration;

use common::{Failure, Pace, Progress};
use ottla::{Broker, Json, Timestamp};

use crate::POSITIONS;
use crate::position::{Feed, Position};
use crate::show::Screen;

/// How many of each vehicle's reports an earlier run has sent. What is in the log must be of this feed.
///
/// A vehicle's reports are in one partition and in order, so that a run which was killed has left of each
/// vehicle a beginning.
pub(crate) fn already_sent(broker: &Broker, feed: &Feed) -> Result<Vec<usize>, Failure> {
    let mut sent = vec![0; feed.vehicles.len()];
    let mut consumer = broker.consumer::<String, Json<Position>>().topic(POSITIONS).build()?;
    if consumer.beginning_offsets().values().any(|begin| *begin > 0) {
        return Err("the first positions have been given up, for their age; begin a new directory".into());
    }
    if consumer.lag() == 0 {
        return Ok(sent);
    }
    let mut of_vehicle = vec![Vec::new(); feed.vehicles.len()];
    for report in &feed.reports {
        of_vehicle[report.vehicle as usize].push(report);
    }
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(sent);
        }
        for record in &records {
            let vehicle = feed.number_of(record.key()?).map(|number| number as usize);
            let next = vehicle.and_then(|vehicle| of_vehicle[vehicle].get(sent[vehicle]));
            match (vehicle, next) {
                (Some(vehicle), Some(report))
                    if record.timestamp() == Timestamp::from_millis(report.time)
                        && record.value()? == feed.position(report) =>
                {
                    sent[vehicle] += 1;
                }
                _ => {
                    let (partition, offset) = (record.partition(), record.offset());
                    let place = format!("partition {partition}, offset {offset}");
                    return Err(format!("the directory holds another fleet's positions ({place})").into());
                }
            }
        }
    }
}

/// Sends the rest. When a `send` returns, its record is as durable as the topic promises.
pub(crate) fn publish(
    broker: &Broker,
    feed: &Feed,
    mut skip: Vec<usize>,
    mut pace: Pace,
    mut screen: Screen<'_>,
) -> Result<(), Failure> {
    let producer = broker.producer::<String, Json<Position>>(POSITIONS)?;
    let mut progress = Progress::new("positions sent", feed.reports.len() as u64);
    for (n, report) in feed.reports.iter().enumerate() {
        let to_skip = &mut skip[report.vehicle as usize];
        if *to_skip > 0 {
            *to_skip -= 1;
            continue;
        }
        pace.wait_for(report.time, || screen.show(n));
        let time = Timestamp::from_millis(report.time);
        producer.record(&feed.position(report)).key(feed.id(report)).timestamp(time).send()?;
        if screen.is_live() {
            screen.show(n);
        } else {
            progress.set(n as u64 + 1);
        }
    }
    screen.last(feed.reports.len())
}
