//! The audit: somebody who knows nothing of the monitor, reads the topic of alarms from the beginning, and
//! compares it with what had to be raised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Failure, expect};
use ottla::{Broker, Json};

use crate::batch::{self, Raised};
use crate::bed::Kind;
use crate::monitor::Alarm;
use crate::vitals::Feed;
use crate::{ALARMS, time};

/// What the audit has seen, of alarms that were sent more than once each time the first.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) deteriorations: u64,
    pub(crate) escalations: u64,
    pub(crate) silences: u64,
    /// Alarms that were there already.
    pub(crate) duplicates: u64,
}

pub(crate) fn audit(broker: &Broker, feed: &Feed) -> Result<Audit, Failure> {
    // The same patient and offset is the same observation, and so the same alarm.
    let mut distinct: BTreeMap<(String, u32, u64, Kind), Raised> = BTreeMap::new();
    let mut audit = Audit::default();
    let mut consumer = broker.consumer::<String, Json<Alarm>>().topic(ALARMS).build()?;
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            let (patient, alarm) = (record.key()?.to_owned(), record.value()?);
            let raised = (patient.clone(), record.timestamp().as_millis(), alarm.kind);
            let before = distinct.insert((patient, alarm.partition, alarm.offset, alarm.kind), raised);
            audit.duplicates += u64::from(before.is_some());
        }
    }
    let expected = batch::alarms(feed);
    let places = distinct.len();
    let seen = distinct.into_values().collect();
    print(&seen);
    if let Some((patient, at, kind)) = expected.symmetric_difference(&seen).next() {
        let is_missed = expected.contains(&(patient.clone(), *at, *kind));
        let what = if is_missed { "was not raised" } else { "was raised without a reason" };
        return Err(format!("{patient} {kind} at {}: {what}", time::readable(*at)).into());
    }
    expect("alarms, each once", places, expected.len())?;
    audit.deteriorations = batch::count(&seen, |kind| kind == Kind::Deteriorates);
    audit.escalations = batch::count(&seen, |kind| kind == Kind::Escalated);
    audit.silences = batch::count(&seen, |kind| matches!(kind, Kind::Silent(_)));
    Ok(audit)
}

/// The first of them.
fn print(alarms: &BTreeSet<Raised>) {
    let mut by_time: Vec<&Raised> = alarms.iter().collect();
    by_time.sort_by_key(|(_, at, _)| *at);
    for (patient, at, kind) in by_time.iter().take(SHOWN) {
        println!("{} {patient}: {kind}", time::readable(*at));
    }
    if let Some(more) = by_time.len().checked_sub(SHOWN + 1) {
        println!("and {} more alarms", more + 1);
    }
}

const SHOWN: usize = 20;
