//! What a reading is expected to be, from those before it.
//!
//! Three experts have an opinion: the level, the hour of the day, and the hour of the day on workdays or
//! weekends. Each is asked about every reading, and the one whose error was smallest on average over the last
//! three days is believed ("follow the leader": N. Cesa-Bianchi, G. Lugosi, *Prediction, Learning, and
//! Games*, 2006). So a series without a daily rhythm is not harmed by the profile of a day, and in one that
//! has it, it is found.
//!
//! All learn by exponential smoothing, and none more from one reading than `CLIP` times the usual error, so
//! that an anomaly does not become the norm at once (Huber's ψ, with his k = 2, as S. Gelper, R. Fried,
//! C. Croux use it in *Robust Forecasting with Exponential and Holt-Winters Smoothing*, Journal of
//! Forecasting 2010).

use crate::detect::{DAY_MS, HOUR_MS};
use crate::reading::Reading;

/// How long the level remembers, in days: half a week, so that it follows the weather, not a failure.
const LEVEL_DAYS: f64 = 3.5;
/// How long errors are remembered, in days.
const ERROR_DAYS: f64 = 3.0;
/// How many of its days an hour remembers: less than that many, all of them count the same.
const HOUR_DAYS: f64 = 10.0;
/// The largest error to learn from, in usual errors.
const CLIP: f64 = 2.0;
/// After a longer silence, a reading counts as if it came after so many hours.
const LONGEST_STEP_MS: i64 = 6 * HOUR_MS;

#[derive(Debug)]
pub(crate) struct Expectation {
    level: Option<f64>,
    /// 24 hours of any day, and 48 of workdays and weekends.
    of_day: [Hour; 24],
    of_week: [Hour; 48],
    /// Absolute errors of the three, on average.
    errors: [f64; 3],
    /// Of the one that was believed.
    usual_error: f64,
    newest: i64,
    /// How much time was learnt from, in milliseconds.
    age: i64,
}

/// What is usual in an hour, and how many hours were learnt from.
#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    value: f64,
    hours: f64,
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            level: None,
            of_day: [Hour::default(); 24],
            of_week: [Hour::default(); 48],
            errors: [0.0; 3],
            usual_error: 0.0,
            newest: 0,
            age: 0,
        }
    }
}

impl Expectation {
    /// None before the first reading.
    pub(crate) fn at(&self, at: i64) -> Option<f64> {
        let opinions = self.opinions(at)?;
        let leader = (0..opinions.len()).min_by(|a, b| self.errors[*a].total_cmp(&self.errors[*b]))?;
        Some(opinions[leader])
    }

    /// Those of the level, the day and the week. Who has not seen such an hour yet says what the one before
    /// says.
    fn opinions(&self, at: i64) -> Option<[f64; 3]> {
        let level = self.level?;
        let of_day = self.of_day[hour_of_day(at)].value_or(level);
        Some([level, of_day, self.of_week[hour_of_week(at)].value_or(of_day)])
    }

    /// The largest error to learn from; none while there was no error at all.
    fn clip(&self) -> f64 {
        if self.usual_error > 0.0 { CLIP * self.usual_error } else { f64::INFINITY }
    }

    pub(crate) fn learn(&mut self, reading: Reading) {
        let Reading { at, value } = reading;
        let (Some(opinions), Some(expected), Some(level)) = (self.opinions(at), self.at(at), self.level)
        else {
            (self.level, self.newest) = (Some(value), at);
            self.usual_error = value.abs() / 100.0;
            return;
        };
        let step = (at - self.newest).clamp(0, LONGEST_STEP_MS);
        self.newest = at;
        self.age += step;
        let of_errors = share(step, ERROR_DAYS, self.age);
        let error = (value - expected).abs().min(2.0 * self.clip());
        self.usual_error += of_errors * (error - self.usual_error);
        let most = self.clip();
        for (error, opinion) in self.errors.iter_mut().zip(opinions) {
            *error += of_errors * ((value - opinion).abs() - *error);
        }
        self.level = Some(level + share(step, LEVEL_DAYS, self.age) * (value - level).clamp(-most, most));
        let hours = (step as f64 / HOUR_MS as f64).min(1.0);
        self.of_day[hour_of_day(at)].learn(value, hours, most);
        self.of_week[hour_of_week(at)].learn(value, hours, most);
    }
}

impl Hour {
    fn value_or(self, other: f64) -> f64 {
        if self.hours >= 1.0 { self.value } else { other }
    }

    /// `hours`: how many a reading stands for; `most`: the largest error to learn from.
    fn learn(&mut self, value: f64, hours: f64, most: f64) {
        if self.hours == 0.0 {
            *self = Self { value, hours: hours.max(f64::MIN_POSITIVE) };
            return;
        }
        let error = value - self.value;
        let error = if self.hours < 1.0 { error } else { error.clamp(-most, most) };
        self.value += error * hours / (1.0 + self.hours.min(HOUR_DAYS));
        self.hours += hours;
    }
}

/// What a reading weighs that comes `step` after the last one, in a memory of so many days; of a younger
/// memory, everything counts the same.
fn share(step: i64, days: f64, age: i64) -> f64 {
    let memory = (days * DAY_MS as f64).min(age as f64).max(1.0);
    1.0 - (-(step as f64) / memory).exp()
}

fn hour_of_day(at: i64) -> usize {
    (at.rem_euclid(DAY_MS) / HOUR_MS) as usize
}

fn hour_of_week(at: i64) -> usize {
    // The first of January 1970 was a Thursday.
    let is_weekend = (at.div_euclid(DAY_MS) + 3).rem_euclid(7) >= 5;
    hour_of_day(at) + if is_weekend { 24 } else { 0 }
}
