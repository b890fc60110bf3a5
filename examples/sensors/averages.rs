//! Averages over tumbling windows of event time, computed by a group of consumers from the stream, and their
//! check: the same averages computed from the input at one go.
//!
//! A window of a sensor is closed when the sensor's newest reading is `GRACE` beyond its end; then its sum
//! goes to a topic of its own, under the window's name. A reading that comes even later is late: its window's
//! sum is corrected, and sent once more. The topic is read as a table, so what counts is the latest sum.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Failure, expect};
use ottla::{Broker, Compaction, Json, Producer, ResetTo, TopicConfig};
use serde::{Deserialize, Serialize};

use crate::reading::{Feed, Reading};
use crate::{Key, PARTITIONS, UNLIMITED};

const GROUP: &str = "averages";
pub(crate) const MEMBERS: usize = 3;
/// How far out of order readings may come and still be in time.
pub(crate) const GRACE_MS: i64 = 2_000;

/// What is known of the readings in a window; both are whole numbers, so their order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) millionths: i128,
    pub(crate) readings: u64,
}

impl Sum {
    fn add(&mut self, reading: Reading) {
        self.millionths += reading.millionths();
        self.readings += 1;
    }

    pub(crate) fn average(&self) -> f64 {
        self.millionths as f64 / 1e6 / self.readings as f64
    }
}

/// The sums of a topic go to `{topic}-averages`.
pub(crate) struct Averages<'a> {
    broker: &'a Broker,
    topic: &'a str,
    window_ms: i64,
    sums: Producer<Key, Json<Sum>>,
    /// The state of each partition, not of a member: when a partition moves to another member of the group,
    /// that one goes on where the last one has committed.
    partitions: Vec<Mutex<State>>,
}

/// What is known from the readings of one partition.
#[derive(Debug, Default)]
struct State {
    by_sensor: BTreeMap<String, Sensor>,
    late: u64,
}

#[derive(Debug, Default)]
struct Sensor {
    newest: i64,
    /// By their start, windows that readings in time may still come to.
    open: BTreeMap<i64, Sum>,
    /// The others, which late ones may come to.
    closed: BTreeMap<i64, Sum>,
}

/// What the group has found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) windows: u64,
    pub(crate) late: u64,
}

impl<'a> Averages<'a> {
    /// The group begins at the beginning: what it knows is in memory only, so what an earlier run has
    /// committed does not help.
    pub(crate) fn new(broker: &'a Broker, topic: &'a str, window_ms: i64) -> Result<Self, Failure> {
        let name = format!("{topic}-averages");
        let latest = TopicConfig::new().partitions(PARTITIONS).compaction(Compaction::by_key());
        broker.open_topic(&name, latest.memory_limit(UNLIMITED))?;
        broker.reset_group(GROUP, topic, ResetTo::Earliest)?;
        let partitions = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        Ok(Self { broker, topic, window_ms, sums: broker.producer(&name)?, partitions })
    }

    /// Works as a member of the group until everything is sent and the group has processed it.
    pub(crate) fn work(&self, all_sent: &AtomicBool) -> Result<(), Failure> {
        let mut member = self.broker.consumer::<Key, f64>().topic(self.topic).group(GROUP).build()?;
        while !all_sent.load(Ordering::Acquire) || self.broker.lag(GROUP, self.topic)? > 0 {
            let records = member.poll(Duration::from_millis(10))?;
            let mut closed = Vec::new();
            for record in &records {
                let reading = Reading { at: record.timestamp().as_millis(), value: record.value()? };
                let state = &self.partitions[record.partition() as usize];
                let mut state = state.lock().expect("no member panics");
                state.take(record.key()?, reading, self.window_ms, &mut closed);
            }
            self.sums.send_batch(closed.iter().map(|(window, sum)| (window.as_str(), sum)))?;
            member.commit(&records)?;
        }
        Ok(member.close()?)
    }

    /// Sends the windows that are still open, and compares all with those computed from the feed.
    pub(crate) fn check(self, feed: &Feed) -> Result<Found, Failure> {
        let mut late = 0;
        for state in &self.partitions {
            let state = state.lock().expect("no member panics");
            late += state.late;
            let open = state.by_sensor.iter().flat_map(|(sensor, known)| {
                known.open.iter().map(move |(start, sum)| (window_name(sensor, *start), *sum))
            });
            let open: Vec<_> = open.collect();
            self.sums.send_batch(open.iter().map(|(window, sum)| (window.as_str(), sum)))?;
        }
        let (sums, late_in_feed) = batch(feed, self.window_ms);
        expect(&format!("{}: late readings", self.topic), late, late_in_feed)?;
        let table = self.broker.table::<Key, Json<Sum>>(self.sums.topic())?;
        let mut windows = 0;
        for row in table.iter()? {
            let (window, sum) = (row.key()?, row.value()?);
            if sums.get(window) != Some(&sum) {
                return Err(mismatch(window, sum, sums.get(window)));
            }
            windows += 1;
        }
        expect(&format!("{}: windows", self.topic), windows, sums.len() as u64)?;
        Ok(Found { windows, late })
    }
}

impl State {
    /// Takes a reading in; windows that it closes or corrects are added to `done`.
    fn take(&mut self, name: &str, reading: Reading, window_ms: i64, done: &mut Vec<(String, Sum)>) {
        if !self.by_sensor.contains_key(name) {
            self.by_sensor.insert(name.to_owned(), Sensor::default());
        }
        let Some(sensor) = self.by_sensor.get_mut(name) else { return };
        let start = reading.at - reading.at.rem_euclid(window_ms);
        if start + window_ms + GRACE_MS <= sensor.newest {
            self.late += 1;
            let sum = sensor.closed.entry(start).or_default();
            sum.add(reading);
            done.push((window_name(name, start), *sum));
            return;
        }
        sensor.open.entry(start).or_default().add(reading);
        sensor.newest = sensor.newest.max(reading.at);
        while let Some(oldest) = sensor.open.first_entry() {
            if oldest.key() + window_ms + GRACE_MS > sensor.newest {
                break;
            }
            let (start, sum) = oldest.remove_entry();
            sensor.closed.insert(start, sum);
            done.push((window_name(name, start), sum));
        }
    }
}

/// The same without a stream: every window's sum, and how many readings come after their window is closed.
fn batch(feed: &Feed, window_ms: i64) -> (BTreeMap<String, Sum>, u64) {
    let mut sums: BTreeMap<(&str, i64), Sum> = BTreeMap::new();
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut late = 0;
    for (sensor, reading) in feed.named() {
        let start = reading.at.div_euclid(window_ms) * window_ms;
        sums.entry((sensor, start)).or_default().add(reading);
        let newest = newest.entry(sensor).or_insert(reading.at);
        *newest = reading.at.max(*newest);
        late += u64::from(start + window_ms <= *newest - GRACE_MS);
    }
    let named = sums.into_iter().map(|((sensor, start), sum)| (window_name(sensor, start), sum));
    (named.collect(), late)
}

fn window_name(sensor: &str, start: i64) -> String {
    format!("{sensor} {}", crate::nab::text_of(start))
}

fn mismatch(window: &str, sum: Sum, expected: Option<&Sum>) -> Failure {
    let text = |sum: Sum| format!("average {} of {} readings", sum.average(), sum.readings);
    let expected = expected.map_or("no such window".into(), |sum| text(*sum));
    format!("window {window}: the stream has {}, the input {expected}", text(sum)).into()
}
