//! The consumer that watches: it judges each reading as it comes and groups what is anomalous into alarms.
//!
//! Alarms go to a topic that is read as a table, under sensor and beginning. Each anomalous reading sends its
//! alarm as it is now, in the place of what was sent before. The detectors are in memory only, so after a
//! restart the consumer reads from the beginning, finds the same alarms, and sends them once more under the
//! same names: nothing is there twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Failure, Progress};
use ottla::{Broker, Compaction, Json, Producer, TopicConfig};
use serde::{Deserialize, Serialize};

use crate::Key;
use crate::detect::{Detector, HOUR_MS};
use crate::nab::text_of;
use crate::reading::Reading;

const ALARMS: &str = "alarms";
/// An alarm is over when nothing was anomalous for so long; what comes sooner belongs to it.
pub(crate) const HOLD_OFF_MS: i64 = 12 * HOUR_MS;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alarm {
    /// The first anomalous reading.
    pub(crate) began: i64,
    /// The last one.
    pub(crate) ended: i64,
    /// By what it was found first.
    pub(crate) quantity: String,
    /// Readings that were anomalous.
    pub(crate) readings: u64,
}

pub(crate) fn open_topic(broker: &Broker) -> Result<(), Failure> {
    Ok(broker.open_topic(ALARMS, TopicConfig::new().compaction(Compaction::by_key()))?)
}

/// Reads the topic until everything is sent and judged.
pub(crate) fn watch(broker: &Broker, topic: &str, total: u64, all_sent: &AtomicBool) -> Result<(), Failure> {
    let alarms = broker.producer::<Key, Json<Alarm>>(ALARMS)?;
    let mut consumer = broker.consumer::<Key, f64>().topic(topic).group("watch").build()?;
    consumer.seek_to_beginning();
    let mut sensors: BTreeMap<String, Watched> = BTreeMap::new();
    let mut progress = Progress::new("readings judged", total);
    let mut judged = 0;
    while !all_sent.load(Ordering::Acquire) || consumer.lag() > 0 {
        let records = consumer.poll(Duration::from_millis(10))?;
        for record in &records {
            let name = record.key()?;
            if !sensors.contains_key(name) {
                sensors.insert(name.to_owned(), Watched::default());
            }
            let Some(sensor) = sensors.get_mut(name) else { continue };
            let reading = Reading { at: record.timestamp().as_millis(), value: record.value()? };
            if let Some(alarm) = sensor.take(reading) {
                send(&alarms, name, &alarm)?;
            }
            judged += 1;
            // Until then there is the sender's line.
            if all_sent.load(Ordering::Acquire) {
                progress.set(judged);
            }
        }
        consumer.commit(&records)?;
    }
    Ok(())
}

fn send(alarms: &Producer<Key, Json<Alarm>>, sensor: &str, alarm: &Alarm) -> Result<(), Failure> {
    alarms.send(&format!("{sensor} {}", text_of(alarm.began)), alarm)?;
    Ok(())
}

/// All alarms of a sensor, in order.
pub(crate) fn alarms_of(broker: &Broker, sensor: &str) -> Result<Vec<Alarm>, Failure> {
    let table = broker.table::<Key, Json<Alarm>>(ALARMS)?;
    let mut alarms = Vec::new();
    for row in table.iter()? {
        let alarm = row.value()?;
        if row.key()? == format!("{sensor} {}", text_of(alarm.began)) {
            alarms.push(alarm);
        }
    }
    alarms.sort_unstable_by_key(|alarm| alarm.began);
    Ok(alarms)
}

/// A sensor and its latest alarm.
#[derive(Debug, Default)]
struct Watched {
    detector: Detector,
    alarm: Option<Alarm>,
}

impl Watched {
    /// If the reading is anomalous, the alarm that it begins or belongs to.
    fn take(&mut self, reading: Reading) -> Option<Alarm> {
        let quantity = self.detector.judge(reading)?;
        let Reading { at, .. } = reading;
        let lasting = self.alarm.take().filter(|alarm| at <= alarm.ended + HOLD_OFF_MS);
        let mut alarm = lasting.unwrap_or_else(|| Alarm {
            began: at,
            ended: at,
            quantity: quantity.to_owned(),
            readings: 0,
        });
        alarm.ended = at;
        alarm.readings += 1;
        self.alarm = Some(alarm.clone());
        Some(alarm)
    }
}
