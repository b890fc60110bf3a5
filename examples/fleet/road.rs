//! Roads, and how fast one can drive on them: series of measured speeds in the form of the Numenta Anomaly
//! Benchmark, a header `timestamp,value` and a line a measurement, in miles an hour. Real ones are in
//! <https://github.com/numenta/NAB/tree/master/data/realTraffic> (`speed_*.csv`, of Minnesota).
//!
//! **Free flow** is the 85th percentile of a road's own speeds, and traffic is **congested** where it is
//! slower than a share of that: both as in the Urban Congestion Report of the Federal Highway
//! Administration (<https://ops.fhwa.dot.gov/perf_measurement/ucr/documentation.htm>). The report takes 90
//! %, of averages over sections and hours; a single speed scatters more, so that the share here is 60 %
//! unless it is chosen.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use common::{Failure, about, about_line};
use fastrand::Rng;

use crate::time;

#[derive(Debug)]
pub(crate) struct Road {
    pub(crate) name: String,
    /// The measurements of each day, as seconds since midnight and tenths of a knot, by time.
    days: Vec<Vec<(i64, u16)>>,
}

impl Road {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let file = File::open(path).map_err(|error| about(path, error))?;
        let mut reader = csv::Reader::from_reader(file);
        let header = reader.headers().map_err(|error| about(path, error))?;
        if header.iter().map(str::trim).ne(["timestamp", "value"]) {
            return Err(about_line(path, 1, "the header must be timestamp,value"));
        }
        let mut series = Vec::new();
        for line in reader.records() {
            let line = line.map_err(|error| about(path, error))?;
            let number = line.position().map_or(0, csv::Position::line);
            series.push(measurement(&line).map_err(|reason| about_line(path, number, reason))?);
        }
        Self::of(name, series).ok_or_else(|| about(path, "there are no measurements"))
    }

    /// A week on a road that is full in the morning and in the evening.
    pub(crate) fn invented(name: &str, rng: &mut Rng) -> Self {
        let mut series = Vec::new();
        let limit = 55.0 + rng.f64() * 15.0;
        for day in 0..7 {
            let worst = 0.3 + rng.f64() * 0.5;
            for minute in (0..1_440).step_by(5) {
                let hour = f64::from(minute) / 60.0;
                let rush = [8.0, 17.0].map(|peak| (1.0 - (hour - peak).abs() / 1.5_f64).max(0.0));
                let miles = limit * (1.0 - worst * rush[0].max(rush[1])) + rng.f64() * 6.0 - 3.0;
                series.push((FIRST_DAY + day * DAY + i64::from(minute) * 60_000, knots(miles)));
            }
        }
        Self::of(name.to_owned(), series).expect("a week has measurements")
    }

    fn of(name: String, series: Vec<(i64, u16)>) -> Option<Self> {
        let mut days: BTreeMap<i64, Vec<(i64, u16)>> = BTreeMap::new();
        for (millis, speed) in series {
            days.entry(millis / DAY).or_default().push((millis % DAY / 1_000, speed));
        }
        let mut days: Vec<_> = days.into_values().collect();
        days.iter_mut().for_each(|day| day.sort_unstable());
        (!days.is_empty()).then_some(Self { name, days })
    }

    pub(crate) fn days(&self) -> usize {
        self.days.len()
    }

    /// The speed at that time of the day on one of the days: the measurement nearest in time. If there was
    /// none within half an hour, the nearest of any day.
    pub(crate) fn speed(&self, day: usize, second: i64) -> u16 {
        let nearest = |day: &[(i64, u16)]| {
            let after = day.partition_point(|(at, _)| *at < second);
            let around = &day[after.saturating_sub(1)..(after + 1).min(day.len())];
            around.iter().map(|(at, speed)| ((at - second).abs(), *speed)).min()
        };
        let here = nearest(&self.days[day % self.days.len()]).filter(|(away, _)| *away <= 1_800);
        let found = here.or_else(|| self.days.iter().filter_map(|day| nearest(day)).min());
        found.map_or(0, |(_, speed)| speed)
    }

    pub(crate) fn free_flow(&self) -> u16 {
        free_flow(self.days.iter().flatten().map(|(_, speed)| *speed).collect())
    }
}

/// The 85th percentile, by nearest rank; 0 of nothing.
pub(crate) fn free_flow(mut speeds: Vec<u16>) -> u16 {
    speeds.sort_unstable();
    let rank = (speeds.len() * 85).div_ceil(100);
    speeds.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

fn measurement(line: &csv::StringRecord) -> Result<(i64, u16), String> {
    let field = |column| line.get(column).unwrap_or_default().trim();
    let time = time::parse(field(0))
        .ok_or_else(|| format!("the timestamp must be like 2015-08-31 18:22:00, not {:?}", field(0)))?;
    match field(1).parse::<f64>() {
        Ok(miles) if (0.0..=MAX_MILES).contains(&miles) => Ok((time, knots(miles))),
        _ => Err(format!("the value must be a speed in mph, 0 to {MAX_MILES}, not {:?}", field(1))),
    }
}

/// Tenths of a knot.
fn knots(miles: f64) -> u16 {
    (miles * 0.868_976 * 10.0).round().max(0.0) as u16
}

const DAY: i64 = 86_400_000;
/// A Tuesday in September 2015; of invented roads only the time of the day matters.
const FIRST_DAY: i64 = 16_679 * DAY;
const MAX_MILES: f64 = 200.0;
