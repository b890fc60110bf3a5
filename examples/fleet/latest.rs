//! Compacts the topic of latest positions, and looks whether it is what it promises to be: what is left has
//! its offset and is as it was; up to some offset there is one record of each vehicle, the last one that
//! was sent; and behind that, in the piece that is still written to, everything is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Failure, expect};
use ottla::{Broker, Json};

use crate::batch::Batch;
use crate::position::{Feed, Position};
use crate::{LATEST, PARTITIONS, PIECE_BYTES, POSITIONS};

/// A record: vehicle, time, position.
type Sent = (String, i64, Position);

#[derive(Debug, Default)]
pub(crate) struct Compacted {
    pub(crate) sent: u64,
    pub(crate) kept: u64,
    /// Vehicles that have a record in the part that is clean.
    pub(crate) vehicles: u64,
}

pub(crate) fn compact(broker: &Broker) -> Result<Compacted, Failure> {
    broker.run_housekeeping()?; // it happens by itself too, but at some time
    let mut compacted = Compacted::default();
    for partition in 0..PARTITIONS {
        let sent = sent_to(broker, partition)?;
        let kept = kept_in(broker, partition)?;
        let clean =
            clean_vehicles(&sent, &kept).map_err(|reason| format!("{LATEST}-{partition}: {reason}"))?;
        compacted.sent += sent.len() as u64;
        compacted.kept += kept.len() as u64;
        compacted.vehicles += clean;
    }
    Ok(compacted)
}

/// What the tracker must have sent to a partition, by offset: of the positions in the same partition of the
/// other topic those that were news.
fn sent_to(broker: &Broker, partition: u32) -> Result<Vec<Sent>, Failure> {
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    let all = records(broker, POSITIONS, partition)?.into_values();
    Ok(all
        .filter(|(vehicle, time, _)| {
            let is_news = newest.get(vehicle).is_none_or(|newest| time > newest);
            if is_news {
                newest.insert(vehicle.clone(), *time);
            }
            is_news
        })
        .collect())
}

fn kept_in(broker: &Broker, partition: u32) -> Result<BTreeMap<u64, Sent>, Failure> {
    records(broker, LATEST, partition)
}

fn records(broker: &Broker, topic: &str, partition: u32) -> Result<BTreeMap<u64, Sent>, Failure> {
    let mut records = BTreeMap::new();
    let mut consumer = broker.consumer::<String, Json<Position>>().assign(topic, [partition]).build()?;
    loop {
        let polled = consumer.poll(Duration::ZERO)?;
        if polled.is_empty() {
            return Ok(records);
        }
        for record in &polled {
            let sent = (record.key()?.to_owned(), record.timestamp().as_millis(), record.value()?);
            records.insert(record.offset(), sent);
        }
    }
}

/// Compares what was sent with what is kept; the answer is how many vehicles the clean part has.
fn clean_vehicles(sent: &[Sent], kept: &BTreeMap<u64, Sent>) -> Result<u64, Failure> {
    for (offset, record) in kept {
        if sent.get(*offset as usize) != Some(record) {
            return Err(format!("at offset {offset} is not what was sent there").into());
        }
    }
    // A record is superseded at the offset of the next one of its vehicle. Those that were superseded before
    // the end of the clean part are gone, and all others are there.
    let mut next_of: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut gone_until, mut clean_until) = (0, sent.len() as u64);
    for (offset, (vehicle, _, _)) in sent.iter().enumerate().rev() {
        let offset = offset as u64;
        let next = next_of.insert(vehicle, offset);
        match (kept.contains_key(&offset), next) {
            (true, Some(next)) => clean_until = clean_until.min(next),
            (true, None) => {}
            (false, Some(next)) => gone_until = gone_until.max(next),
            (false, None) => return Err(format!("the last record of {vehicle}, at {offset}, is gone").into()),
        }
    }
    if gone_until > 0 && gone_until >= clean_until {
        let found = format!("{gone_until} has superseded what is gone, {clean_until} what is there");
        return Err(format!("this is no compaction: {found}").into());
    }
    let rest = sent[clean_until as usize..].iter().map(bytes_of).sum::<Result<u64, _>>()?;
    if rest > PIECE_BYTES {
        return Err(format!("from offset {clean_until} on nothing is compacted, {rest} bytes").into());
    }
    let clean: Vec<&str> = kept.range(..clean_until).map(|(_, (vehicle, _, _))| vehicle.as_str()).collect();
    let distinct = clean.iter().collect::<BTreeSet<_>>().len();
    expect("records in the clean part, of as many vehicles", clean.len(), distinct)?;
    Ok(distinct as u64)
}

/// Of key and value.
fn bytes_of((vehicle, _, position): &Sent) -> Result<u64, serde_json::Error> {
    Ok((vehicle.len() + serde_json::to_vec(position)?.len()) as u64)
}

/// Asks a table over the topic where each vehicle is; the answer is how many there are.
pub(crate) fn ask_for_all(broker: &Broker, feed: &Feed, batch: &Batch) -> Result<u64, Failure> {
    let table = broker.table::<String, Json<Position>>(LATEST)?;
    for (vehicle, reports) in feed.vehicles.iter().zip(&batch.in_time) {
        let Some(last) = reports.last() else { continue };
        let row = table.get(&vehicle.id)?;
        let row = row.ok_or_else(|| format!("the table does not know where {} is", vehicle.id))?;
        if (row.timestamp().as_millis(), row.value()?) != (last.time, feed.position(last)) {
            return Err(format!("{} is not where the table says", vehicle.id).into());
        }
    }
    let expected = feed.vehicles.len();
    expect("vehicles in the table", table.len()?, expected)?;
    Ok(expected as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Place;

    /// A partition to which these vehicles have sent, in this order; of it the records at these offsets.
    fn clean(vehicles: &[&str], kept: &[u64]) -> Result<u64, Failure> {
        let at = Place { lat: 0, lon: 0 };
        let position = Position { name: String::new(), at, speed: None, course: None, road: None };
        let sent = (0..).zip(vehicles).map(|(time, id)| ((*id).to_owned(), time, position.clone()));
        let sent: Vec<Sent> = sent.collect();
        let kept = kept.iter().map(|offset| (*offset, sent[*offset as usize].clone())).collect();
        clean_vehicles(&sent, &kept)
    }

    #[test]
    fn a_compaction_keeps_the_last_of_each_up_to_some_offset_and_all_behind_it() -> Result<(), Failure> {
        let sent = ["a", "b", "a", "c", "b", "a", "a"];
        assert_eq!(clean(&sent, &[3, 4, 6])?, 3); // everything is clean
        assert_eq!(clean(&sent, &[2, 3, 4, 5, 6])?, 3); // up to offset 5
        assert_eq!(clean(&sent, &[0, 1, 2, 3, 4, 5, 6])?, 2); // nothing but what was never superseded
        Ok(())
    }

    #[test]
    fn what_is_no_compaction_is_found_out() {
        let sent = ["a", "b", "a", "c", "b", "a", "a"];
        assert!(clean(&sent, &[4, 6]).is_err(), "the last of c is gone");
        assert!(clean(&sent, &[0, 3, 4, 6]).is_err(), "the first a is there and the second is not");
        let many: Vec<&str> = (0..10_000).map(|_| "a").collect();
        let all: Vec<u64> = (0..10_000).collect();
        assert!(clean(&many, &all).is_err(), "it is long, and nothing was done");
    }
}
