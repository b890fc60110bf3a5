//! What each partition holds, by all that was said of it: one value at each offset, each value at one, none
//! that was refused, and those of a producer in its order.

use std::collections::{BTreeMap, HashMap};

use super::super::events::{Fate, History, Partition, Sent, Step, Value, What};
use super::{Anomaly, Kind};

/// Where a value was seen first, and by whom: a reader, or `None` for the acknowledgement of its send.
#[derive(Clone, Copy, Debug)]
struct Seen {
    value: Value,
    reader: Option<usize>,
    step: Step,
}

/// The records of all partitions.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: BTreeMap<(Partition, u64), Seen>,
    places: HashMap<Value, (Partition, u64)>,
    /// Offsets that were acknowledged.
    acknowledged: BTreeMap<Partition, Vec<u64>>,
}

impl Log {
    pub(super) fn of(history: &History, anomalies: &mut Vec<Anomaly>) -> Self {
        let mut log = Self::default();
        let mut fates = HashMap::new();
        for &Sent { value, fate } in &history.sends {
            fates.insert(value, fate);
            if let Fate::At(partition, offset) = fate {
                log.acknowledged.entry(partition).or_default().push(offset);
                let seen = Seen { value, reader: None, step: 0 };
                log.add(history, (partition, offset), seen, anomalies);
            }
        }
        log.acknowledged.values_mut().for_each(|offsets| offsets.sort_unstable());
        for (number, reader) in history.readers.iter().enumerate() {
            for event in &reader.events {
                let What::Polled(reads) = &event.what else { continue };
                for read in reads {
                    let seen = Seen { value: read.value, reader: Some(number), step: event.ended };
                    let place = (read.partition, read.offset);
                    log.check_fate(history, fates.get(&read.value).copied(), place, seen, anomalies);
                    log.add(history, place, seen, anomalies);
                }
            }
        }
        log
    }

    /// The offsets of a partition that were acknowledged, in order.
    pub(super) fn acknowledged(&self, partition: Partition) -> &[u64] {
        self.acknowledged.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// The value at a place, for reports.
    pub(super) fn value(&self, partition: Partition, offset: u64) -> String {
        self.records.get(&(partition, offset)).map_or("?".to_owned(), |seen| seen.value.to_string())
    }

    fn check_fate(
        &self,
        history: &History,
        fate: Option<Fate>,
        place: (Partition, u64),
        seen: Seen,
        anomalies: &mut Vec<Anomaly>,
    ) {
        let what = match fate {
            Some(Fate::At(..) | Fate::Unknown) => return,
            Some(Fate::Refused) => "whose send had failed",
            None => "that nobody sent",
        };
        let who = by(history, seen.reader);
        let text = format!("{} has {} by {who}, {what}", history.place(place.0, place.1), seen.value);
        anomalies.push(anomaly(Kind::Inconsistent, place, &[seen], text));
    }

    fn add(&mut self, history: &History, place: (Partition, u64), seen: Seen, anomalies: &mut Vec<Anomaly>) {
        let here = history.place(place.0, place.1);
        let who = by(history, seen.reader);
        let before = *self.records.entry(place).or_insert(seen);
        if before.value != seen.value {
            let (value, earlier) = (before.value, by(history, before.reader));
            let text = format!("{here} has {value} by {earlier}, and {} by {who}", seen.value);
            anomalies.push(anomaly(Kind::Inconsistent, place, &[before, seen], text));
        }
        let other = *self.places.entry(seen.value).or_insert(place);
        if other != place {
            let there = history.place(other.0, other.1);
            let text = format!("{} is at {there}, and by {who} at {here}", seen.value);
            anomalies.push(anomaly(Kind::Inconsistent, place, &[seen], text));
        }
    }

    /// The records of each producer have the order in which it sent them.
    pub(super) fn check_order(&self, history: &History, anomalies: &mut Vec<Anomaly>) {
        let mut latest: HashMap<(Partition, u32), (Value, u64)> = HashMap::new();
        for (&(partition, offset), seen) in &self.records {
            let value = seen.value;
            if let Some(&(earlier, at)) = latest.get(&(partition, value.producer()))
                && earlier > value
            {
                let (one, other) = (history.place(partition, at), history.place(partition, offset));
                let text = format!("{other} has {value}, which was sent before {earlier} at {one}");
                anomalies.push(anomaly(Kind::Reordered, (partition, offset), &[*seen], text));
            }
            let known = latest.entry((partition, value.producer())).or_insert((value, offset));
            if value > known.0 {
                *known = (value, offset);
            }
        }
    }
}

fn by(history: &History, reader: Option<usize>) -> &str {
    reader.map_or("its acknowledgement", |reader| &history.readers[reader].name)
}

fn anomaly(kind: Kind, (partition, _): (Partition, u64), seen: &[Seen], text: String) -> Anomaly {
    let readers = seen.iter().filter_map(|seen| seen.reader).collect();
    let step = seen.iter().map(|seen| seen.step).max().unwrap_or(0);
    Anomaly { kind, partition, readers, step, text }
}
