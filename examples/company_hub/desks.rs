//! The desks: each reads one area in its own codec, and tells the others hour by hour what it knows. What a
//! desk cannot read becomes a dead letter, and it goes on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Failure;
use ottla::{Broker, Codec, DecodeError, Json, Raw, Record, Timestamp};

use crate::company::{ENERGY, PRODUCTION, SALES, WEB};
use crate::dead_letters::DeadLetters;
use crate::sales::Sale;
use crate::{production, web};

/// A figure for each hour since 1970 in which there was something.
pub(crate) type ByHour = BTreeMap<i64, u64>;

/// What a desk knows in the end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) by_hour: ByHour,
    /// Events that came once more.
    pub(crate) duplicates: u64,
    pub(crate) unreadable: u64,
}

/// What a desk works with.
#[derive(Clone, Copy)]
pub(crate) struct Office<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) letters: &'a DeadLetters,
    /// Everything is published.
    pub(crate) is_over: &'a AtomicBool,
}

pub(crate) fn hour_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(60 * 60 * 1_000)
}

/// Why a desk cannot take a record.
struct Unreadable(String);

impl From<DecodeError> for Unreadable {
    /// Only what the codec has to say: a dead letter has other headers for the place.
    fn from(error: DecodeError) -> Self {
        Self(error.source.to_string())
    }
}

impl From<String> for Unreadable {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// Page views.
pub(crate) fn web(office: Office<'_>) -> Result<Known, Failure> {
    let mut views = ByHour::new();
    let unreadable = office.read::<String>(WEB, |record| {
        if web::status(record.value()?)? < 400 {
            *views.entry(hour_of(record.timestamp())).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(Known { by_hour: views, duplicates: 0, unreadable })
}

/// Messages of the machines.
pub(crate) fn production(office: Office<'_>) -> Result<Known, Failure> {
    let mut messages = ByHour::new();
    let unreadable = office.read::<Raw>(PRODUCTION, |record| {
        production::identifier(record.value()?)?;
        *messages.entry(hour_of(record.timestamp())).or_default() += 1;
        Ok(())
    })?;
    Ok(Known { by_hour: messages, duplicates: 0, unreadable })
}

/// Watt-hours. A meter counts up, so what was used is the difference of two readings; it counts for the hour
/// that ends with the later one. A reading is known by its meter and its time.
pub(crate) fn energy(office: Office<'_>) -> Result<Known, Failure> {
    let mut meters: HashMap<String, BTreeMap<Timestamp, u64>> = HashMap::new();
    let mut duplicates = 0;
    let unreadable = office.read::<u64>(ENERGY, |record| {
        let reading = record.value()?;
        let meter = record.key()?.to_owned();
        let earlier = meters.entry(meter).or_default().insert(record.timestamp(), reading);
        duplicates += u64::from(earlier.is_some());
        Ok(())
    })?;
    let mut used = ByHour::new();
    for readings in meters.values() {
        for ((_, before), (time, after)) in readings.iter().zip(readings.iter().skip(1)) {
            let hour = hour_of(Timestamp::from_millis(time.as_millis() - 1));
            // A meter that shows less than before was replaced, and began with zero.
            *used.entry(hour).or_default() += after.checked_sub(*before).unwrap_or(*after);
        }
    }
    Ok(Known { by_hour: used, duplicates, unreadable })
}

/// Cents. A sale is known by its source and its id.
pub(crate) fn sales(office: Office<'_>) -> Result<Known, Failure> {
    let mut cents = ByHour::new();
    let mut known = HashSet::new();
    let mut duplicates = 0;
    let unreadable = office.read::<Json<Sale>>(SALES, |record| {
        let sale = record.value()?;
        sale.moment().ok_or_else(|| format!("{:?} is no time", sale.time))?;
        if known.insert((sale.source, sale.id)) {
            *cents.entry(hour_of(record.timestamp())).or_default() += sale.data.cents;
        } else {
            duplicates += 1;
        }
        Ok(())
    })?;
    Ok(Known { by_hour: cents, duplicates, unreadable })
}

impl Office<'_> {
    /// Reads a topic until everything is published and read; how many records could not be taken.
    ///
    /// What a desk knows is in memory only, so what an earlier run committed does not help: it begins anew.
    fn read<V: Codec>(
        self,
        topic: &str,
        mut take: impl FnMut(&Record<'_, String, V>) -> Result<(), Unreadable>,
    ) -> Result<u64, Failure> {
        let mut desk =
            self.broker.consumer::<String, V>().topic(topic).group(format!("desk.{topic}")).build()?;
        desk.seek_to_beginning();
        let mut unreadable = 0;
        while !self.is_over.load(Ordering::Acquire) || desk.lag() > 0 {
            let records = desk.poll(Duration::from_millis(10))?;
            for record in &records {
                if let Err(Unreadable(reason)) = take(&record) {
                    self.letters.put(&record, &reason)?;
                    unreadable += 1;
                }
            }
            desk.commit(&records)?;
        }
        Ok(unreadable)
    }
}
