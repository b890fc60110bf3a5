//! The watch: a group that reads all positions, and raises an alert when a vehicle enters a fence, or slows
//! down where others drive.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Failure;
use ottla::{Broker, Consumer, Json, Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::rules::{News, Rules};
use crate::{ALERTS, POSITIONS};

const GROUP: &str = "geofence";

/// A value of the topic of alerts; its key is the vehicle, its timestamp that of the position.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Alert {
    news: News,
    /// Of the position that raised it. A watch that was killed before its commit raises it again, and by this
    /// one sees that it is the same.
    partition: u32,
    offset: u64,
}

/// What the watch knows of a vehicle.
struct Seen {
    at: Timestamp,
    fence: Option<String>,
    is_slow: bool,
}

/// Works until everything is sent and read.
pub(crate) fn watch(broker: &Broker, rules: &Rules, all_sent: &AtomicBool) -> Result<(), Failure> {
    let alerts = broker.producer::<String, Json<Alert>>(ALERTS)?;
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut consumer = broker.consumer::<String, Json<Position>>().topic(POSITIONS).group(GROUP).build()?;
    // What it knew is in memory only, so it reads again what it has read, but says nothing of that.
    let committed = broker.committed_offsets(GROUP);
    let told: BTreeMap<u32, u64> =
        committed.iter().map(|(at, commit)| (at.partition, commit.offset)).collect();
    consumer.seek_to_beginning();
    loop {
        let is_last_look = all_sent.load(Ordering::Acquire);
        let records = consumer.poll(Duration::from_millis(10))?;
        for record in &records {
            let (partition, offset) = (record.partition(), record.offset());
            let news = look_at(&mut seen, rules, &record)?;
            if told.get(&partition).is_some_and(|told| offset < *told) {
                continue;
            }
            for news in news {
                let alert = Alert { news, partition, offset };
                alerts.record(&alert).key(record.key()?).timestamp(record.timestamp()).send()?;
            }
        }
        if !records.is_empty() {
            commit(&consumer, &told)?;
        }
        if is_last_look && consumer.lag() == 0 {
            return Ok(());
        }
    }
}

/// Commits what it has told. On its way to where it was when it began, there is nothing to commit.
fn commit(
    consumer: &Consumer<String, Json<Position>>,
    told: &BTreeMap<u32, u64>,
) -> Result<(), ottla::Error> {
    let mut offsets = Vec::new();
    for at in consumer.assignment() {
        let position = consumer.position(&at.topic, at.partition)?;
        if told.get(&at.partition).is_none_or(|told| position > *told) {
            offsets.push((at, position));
        }
    }
    consumer.commit_offsets(offsets)
}

/// What is new about a vehicle. Reports that are not newer than another one say nothing, and neither does the
/// first one, for where the vehicle was before is not known.
fn look_at(
    seen: &mut HashMap<String, Seen>,
    rules: &Rules,
    record: &Record<'_, String, Json<Position>>,
) -> Result<Vec<News>, Failure> {
    let (vehicle, position) = (record.key()?, record.value()?);
    let at = record.timestamp();
    let before = seen.get(vehicle);
    if before.is_some_and(|before| at <= before.at) {
        return Ok(Vec::new());
    }
    let (fence, slow_on) = (rules.fence_at(position.at), rules.slow_on(&position));
    let mut news = Vec::new();
    if let Some(before) = before {
        let entered = fence.filter(|fence| before.fence.as_deref() != Some(*fence));
        news.extend(entered.map(|fence| News::Entered(fence.to_owned())));
        let slowed_down = slow_on.filter(|_| !before.is_slow);
        news.extend(slowed_down.map(|road| News::SlowedDown(road.to_owned())));
    }
    let now = Seen { at, fence: fence.map(str::to_owned), is_slow: slow_on.is_some() };
    seen.insert(vehicle.to_owned(), now);
    Ok(news)
}

/// All alerts in the log, each once: vehicle, time, and what it is.
pub(crate) fn alerts(broker: &Broker) -> Result<Vec<(String, i64, News)>, Failure> {
    let mut distinct = BTreeMap::new();
    let mut consumer = broker.consumer::<String, Json<Alert>>().topic(ALERTS).build()?;
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(distinct.into_values().collect());
        }
        for record in &records {
            let Alert { news, partition, offset } = record.value()?;
            let alert = (record.key()?.to_owned(), record.timestamp().as_millis(), news.clone());
            distinct.insert((partition, offset, news), alert);
        }
    }
}
