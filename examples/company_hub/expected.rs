//! What the desks must know, calculated from the areas' events without a topic: sorted and added up.

use std::collections::BTreeSet;

use ottla::Timestamp;

use crate::area::Event;
use crate::company::Company;
use crate::desks::{ByHour, Known, hour_of};
use crate::sales::Sale;
use crate::{production, web};

/// In the order of the areas.
pub(crate) fn known(company: &Company) -> [Known; 4] {
    let views = counts(&company.web.events, |event| {
        let line = event.value.as_ref().ok()?;
        web::status(line).ok().map(|status| u64::from(status < 400))
    });
    // Bytes are bytes: a line that came out of place may pass for a frame.
    let messages = counts(&company.production.events, |event| {
        let frame = event.value.as_ref().unwrap_or_else(|line| line);
        production::identifier(frame).ok().map(|_| 1)
    });
    [views, messages, energy(&company.energy.events), sales(&company.sales.events)]
}

/// Adds up what each event counts for; one that counts for nothing is unreadable.
fn counts<T>(events: &[Event<T>], count: impl Fn(&Event<T>) -> Option<u64>) -> Known {
    let mut known = Known::default();
    for event in events {
        match count(event) {
            Some(count) => add(&mut known.by_hour, event.time, count),
            None => known.unreadable += 1,
        }
    }
    known
}

fn energy(events: &[Event<u64>]) -> Known {
    let readings =
        events.iter().filter_map(|event| Some((&event.key, event.time, *event.value.as_ref().ok()?)));
    let mut readings: Vec<(&String, Timestamp, u64)> = readings.collect();
    let readable = readings.len();
    // Of readings for the same moment the last one counts, so it is to come first.
    readings.reverse();
    readings.sort_by_key(|&(meter, time, _)| (meter, time));
    readings.dedup_by_key(|&mut (meter, time, _)| (meter, time));
    let mut known = Known { unreadable: (events.len() - readable) as u64, ..Known::default() };
    known.duplicates = (readable - readings.len()) as u64;
    for pair in readings.windows(2) {
        let ((meter, _, before), (of, time, after)) = (pair[0], pair[1]);
        if meter == of {
            let used = if after < before { after } else { after - before };
            add(&mut known.by_hour, Timestamp::from_millis(time.as_millis() - 1), used);
        }
    }
    known
}

fn sales(events: &[Event<Sale>]) -> Known {
    let is_readable = |sale: &&Sale| sale.moment().is_some();
    let readable = || {
        let sales = events.iter().filter_map(|event| Some((event.time, event.value.as_ref().ok()?)));
        sales.filter(|(_, sale)| is_readable(sale))
    };
    let names: BTreeSet<(&str, &str)> = readable().map(|(_, sale)| (&*sale.source, &*sale.id)).collect();
    let mut known = Known {
        by_hour: ByHour::new(),
        duplicates: (readable().count() - names.len()) as u64,
        unreadable: (events.len() - readable().count()) as u64,
    };
    let mut left = names;
    for (time, sale) in readable() {
        if left.remove(&(&*sale.source, &*sale.id)) {
            add(&mut known.by_hour, time, sale.data.cents);
        }
    }
    known
}

fn add(by_hour: &mut ByHour, time: Timestamp, count: u64) {
    if count > 0 {
        *by_hour.entry(hour_of(time)).or_default() += count;
    }
}
