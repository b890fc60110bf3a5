//! Invented series of different kinds, with anomalies whose places are known: what the detector is tried on
//! when no file is given.
//!
//! As in NAB, the windows of a series together are a tenth of its length, each around the beginning of an
//! anomaly.

use std::f64::consts::TAU;

use fastrand::Rng;

use crate::detect::{DAY_MS, HOUR_MS};
use crate::nab::Window;
use crate::reading::Reading;
use crate::series::Series;

/// 2025-09-01, a Monday.
const BEGIN_MS: i64 = 1_756_684_800_000;
const MINUTE_MS: i64 = 60_000;

pub(crate) fn all(seed: u64) -> Vec<Series> {
    let mut rng = Rng::with_seed(seed);
    vec![
        machine(&mut rng),
        travel_time(&mut rng),
        passengers(&mut rng),
        processor(&mut rng),
        pump(&mut rng),
        office(&mut rng),
    ]
}

/// A machine's temperature: it wanders, dips every few days, and fails three times: by going cold, or by
/// running cooler and unsteadily for a day.
fn machine(rng: &mut Rng) -> Series {
    let plan = Plan::new(rng, 60, 3);
    let (mut wander, mut dip) = (0.0, 0.0);
    let readings = every(5 * MINUTE_MS, plan.days).map(|at| {
        wander = 0.9995 * wander + 0.2 * normal(rng);
        if rng.u32(0..3 * 288) == 0 {
            dip = 5.0 + 17.0 * rng.f64();
        }
        dip *= 0.985;
        let failure = match plan.hours_into(at, 29.0) {
            Some((1, hours)) => 45.0 * (hours / 6.0).min(1.0),
            Some(_) => 22.0 + 3.0 * normal(rng),
            None => 0.0,
        };
        reading(at, 88.0 + wander - dip - failure + 0.8 * normal(rng))
    });
    let readings = readings.collect();
    plan.series("machine-temperature", readings)
}

/// Seconds for a stretch of road: few readings at night, jams at rush hours, hours without any reading, and
/// three days on which the road is blocked.
fn travel_time(rng: &mut Rng) -> Series {
    let plan = Plan::new(rng, 60, 3);
    let mut readings = Vec::new();
    let mut at = BEGIN_MS;
    while at < BEGIN_MS + plan.days * DAY_MS {
        at += MINUTE_MS * [10, 10, 10, 10, 10, 9, 11, 20, 30][rng.usize(0..9)];
        if rng.u32(0..500) == 0 {
            at += rng.i64(8..24) * HOUR_MS;
        }
        let hour = hour_of(at);
        if hour < 6.0 && rng.u32(0..10) < 7 {
            continue;
        }
        let mut seconds = 130.0 + exponential(rng, 30.0);
        if (7.0..9.0).contains(&hour) || (16.0..19.0).contains(&hour) {
            seconds += exponential(rng, 60.0);
        }
        if plan.hours_into(at, 8.0).is_some() {
            seconds += exponential(rng, 900.0);
        }
        readings.push(reading(at, seconds.round()));
    }
    plan.series("travel-time", readings)
}

/// Passengers in half an hour: a rhythm of days and weeks; on four days it is a holiday, or a fair is on.
fn passengers(rng: &mut Rng) -> Series {
    let plan = Plan::of_days(rng, 120, 4);
    let readings = every(30 * MINUTE_MS, plan.days).map(|at| {
        let hour = hour_of(at);
        let is_weekend = (at.div_euclid(DAY_MS) + 3).rem_euclid(7) >= 5;
        let (peak, most) = if is_weekend { (17.0, 7_000.0) } else { (15.0, 9_000.0) };
        let usual = 11_000.0 + most * ((hour - peak) / 24.0 * TAU).cos();
        let factor = match plan.hours_into(at, 24.0) {
            Some((1, _)) => 1.6,
            Some(_) => 0.45,
            None => 1.0,
        };
        reading(at, (usual * factor * (1.0 + 0.05 * normal(rng))).round())
    });
    let readings = readings.collect();
    plan.series("passengers", readings)
}

/// A server's processor, in percent: a rhythm of days, a job each hour; once it hangs, once it gets far more
/// to do, for good.
fn processor(rng: &mut Rng) -> Series {
    let plan = Plan::new(rng, 21, 2);
    let mut number = 0;
    let readings = every(5 * MINUTE_MS, plan.days).map(|at| {
        number += 1;
        let job = if number % 12 == 0 { 10.0 + 10.0 * rng.f64() } else { 0.0 };
        let usual = 35.0 + 10.0 * (hour_of(at) / 24.0 * TAU).sin() + 2.0 * normal(rng) + job;
        let value = match plan.hours_into(at, f64::INFINITY) {
            Some((0, hours)) if hours < 4.0 => rng.f64(),
            Some((1, _)) => usual + 25.0,
            _ => usual,
        };
        reading(at, value.clamp(0.0, 100.0))
    });
    let readings = readings.collect();
    plan.series("processor", readings)
}

/// A pump that stands still and runs now and then; twice it runs for hours.
fn pump(rng: &mut Rng) -> Series {
    let plan = Plan::new(rng, 14, 2);
    let readings = every(5 * MINUTE_MS, plan.days).map(|at| {
        let idle = [0.066, 0.068, 0.134][rng.usize(0..3)];
        let runs = if rng.u32(0..100) == 0 { 0.5 + 1.5 * rng.f64() } else { 0.0 };
        let failure = if plan.hours_into(at, 4.0).is_some() { 2.0 + 0.2 * normal(rng) } else { 0.0 };
        reading(at, idle + runs + failure)
    });
    let readings = readings.collect();
    plan.series("pump", readings)
}

/// The temperature of an office, hourly and with gaps: it follows the season; the heating fails, and once it
/// does not stop.
fn office(rng: &mut Rng) -> Series {
    let plan = Plan::new(rng, 200, 2);
    let mut weather = 0.0;
    let mut readings = Vec::new();
    for at in every(HOUR_MS, plan.days) {
        weather = 0.985 * weather + 0.45 * normal(rng);
        if rng.u32(0..50) == 0 {
            continue;
        }
        let day = (at - BEGIN_MS) as f64 / DAY_MS as f64;
        let season = 5.0 * (day / 365.0 * TAU).sin() + 1.2 * (hour_of(at) / 24.0 * TAU).sin();
        let failure = match plan.hours_into(at, 48.0) {
            Some((number, hours)) => [-13.0, 12.0][number % 2] * (hours / 96.0 * TAU).sin(),
            None => 0.0,
        };
        readings.push(reading(at, 70.0 + season + weather + failure + 0.5 * normal(rng)));
    }
    plan.series("office-temperature", readings)
}

/// When anomalies begin.
struct Plan {
    days: i64,
    begin: Vec<i64>,
}

impl Plan {
    /// In the last three quarters, and well apart.
    fn new(rng: &mut Rng, days: i64, anomalies: usize) -> Self {
        let mut begin: Vec<i64> = Vec::new();
        while begin.len() < anomalies {
            let at = BEGIN_MS + rng.i64(days * HOUR_MS * 6..days * HOUR_MS * 22);
            if begin.iter().all(|other| (at - other).abs() > days * HOUR_MS * 3) {
                begin.push(at - at.rem_euclid(HOUR_MS));
            }
        }
        begin.sort_unstable();
        Self { days, begin }
    }

    /// Beginning at midnight.
    fn of_days(rng: &mut Rng, days: i64, anomalies: usize) -> Self {
        let mut plan = Self::new(rng, days, anomalies);
        plan.begin.iter_mut().for_each(|at| *at -= at.rem_euclid(DAY_MS));
        plan
    }

    /// Which anomaly it is at that time, and how many hours it has lasted, less than so many.
    fn hours_into(&self, at: i64, less_than: f64) -> Option<(usize, f64)> {
        let hours = |begin: &i64| (at - begin) as f64 / HOUR_MS as f64;
        let mut latest_first = self.begin.iter().map(hours).enumerate().rev();
        latest_first.find(|(_, hours)| *hours >= 0.0).filter(|(_, hours)| *hours < less_than)
    }

    fn series(&self, name: &str, readings: Vec<Reading>) -> Series {
        let half = self.days * DAY_MS / 20 / self.begin.len() as i64;
        let windows = self.begin.iter().map(|at| Window { start: at - half, end: at + half }).collect();
        Series { name: name.to_owned(), readings, windows: Some(windows) }
    }
}

fn every(interval: i64, days: i64) -> impl Iterator<Item = i64> {
    (0..days * DAY_MS / interval).map(move |number| BEGIN_MS + number * interval)
}

fn hour_of(at: i64) -> f64 {
    at.rem_euclid(DAY_MS) as f64 / HOUR_MS as f64
}

/// Four digits are what is written, and read again.
fn reading(at: i64, value: f64) -> Reading {
    Reading { at, value: (value * 1e4).round() / 1e4 }
}

/// Of a standard normal distribution, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos()
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}
