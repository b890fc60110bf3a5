//! What is known of a patient, and what alarms follow from it. It knows nothing of Ottla, but is a value of
//! a topic, so that whoever watches this patient next goes on with it.
//!
//! * A patient **deteriorates** when the score has been 5 or more in three observations in a row: a single
//!   one is often a cough or a moved finger. It is over after three below 5.
//! * That is **escalated** when the score has been 7 or more in three in a row.
//! * A signal is **silent** when it is missing for more than a minute while the monitor reports others: a
//!   lead has fallen off. Time is that of the observations, not of the wall, so that a slow ward, or a log
//!   that is read again, raises no alarm of its own. A signal that is silent gives no points.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::news2::{self, Risk};
use crate::vitals::{Signal, Vitals};

/// How long a signal may be missing.
pub(crate) const SILENCE_MILLIS: i64 = 60_000;
/// So many observations in a row count.
pub(crate) const IN_A_ROW: u32 = 3;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bed {
    /// Of the newest observation; `None` before the first.
    pub(crate) time: Option<i64>,
    /// What is in force: spot measurements until the next one, signals until they are silent.
    pub(crate) vitals: Vitals,
    pub(crate) score: u16,
    /// Of the alarm that is on.
    pub(crate) alarm: Risk,
    /// How many scores in a row were 5 or more, 7 or more, and below 5.
    at_least_medium: u32,
    high: u32,
    low: u32,
    /// When each signal was there last, and whether its alarm is on.
    signals: [(Option<i64>, bool); Signal::ALL.len()],
    /// The offset of the first observation that is not in this state.
    pub(crate) next_offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    Deteriorates,
    Escalated,
    Silent(Signal),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deteriorates => f.write_str("deteriorates"),
            Self::Escalated => f.write_str("escalated"),
            Self::Silent(signal) => write!(f, "no signal of {signal}"),
        }
    }
}

impl Bed {
    /// Takes in an observation; the answer is what alarms it raises. One that is not newer than the newest
    /// says nothing.
    pub(crate) fn observe(&mut self, time: i64, vitals: &Vitals) -> Vec<Kind> {
        if self.time.is_some_and(|newest| time <= newest) {
            return Vec::new();
        }
        self.time = Some(time);
        self.vitals.update(vitals);
        let mut alarms = self.listen(time, vitals);
        self.score = news2::score(&self.vitals);
        alarms.extend(self.judge());
        alarms
    }

    pub(crate) fn silent(&self) -> impl Iterator<Item = Signal> {
        let signals = Signal::ALL.into_iter().zip(self.signals);
        signals.filter(|(_, (_, is_silent))| *is_silent).map(|(signal, _)| signal)
    }

    /// Which signals have just become silent.
    fn listen(&mut self, time: i64, vitals: &Vitals) -> Vec<Kind> {
        let mut alarms = Vec::new();
        for (signal, (last, is_silent)) in Signal::ALL.into_iter().zip(&mut self.signals) {
            if vitals.has(signal) {
                (*last, *is_silent) = (Some(time), false);
            } else if last.is_some_and(|last| time - last > SILENCE_MILLIS) && !*is_silent {
                *is_silent = true;
                self.vitals.remove(signal);
                alarms.push(Kind::Silent(signal));
            }
        }
        alarms
    }

    fn judge(&mut self) -> Option<Kind> {
        let risk = Risk::of(self.score);
        let count = |counter: &mut u32, is_so: bool| *counter = if is_so { *counter + 1 } else { 0 };
        count(&mut self.at_least_medium, risk >= Risk::Medium);
        count(&mut self.high, risk == Risk::High);
        count(&mut self.low, risk == Risk::Low);
        match self.alarm {
            Risk::Low if self.at_least_medium >= IN_A_ROW => {
                self.alarm = Risk::Medium;
                Some(Kind::Deteriorates)
            }
            Risk::Medium if self.high >= IN_A_ROW => {
                self.alarm = Risk::High;
                Some(Kind::Escalated)
            }
            _ => {
                if self.low >= IN_A_ROW {
                    self.alarm = Risk::Low;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bed, and a minute's sixth later another observation of it.
    #[derive(Default)]
    struct Night(Bed, i64);

    impl Night {
        fn observe(&mut self, pulse: u16, respiration: u16, saturation: Option<u16>) -> Vec<Kind> {
            self.1 += 10_000;
            let (pulse, respiration) = (Some(pulse), Some(respiration));
            self.0.observe(self.1, &Vitals { pulse, respiration, saturation, ..Vitals::default() })
        }
    }

    #[test]
    fn three_in_a_row_raise_an_alarm_and_one_alone_does_not() {
        let mut night = Night::default();
        assert_eq!(night.observe(150, 26, Some(70)), []);
        assert_eq!(night.observe(70, 15, Some(98)), []);
        assert_eq!(night.observe(115, 22, Some(95)), []);
        assert_eq!(night.observe(115, 22, Some(95)), []);
        assert_eq!(night.observe(115, 22, Some(95)), [Kind::Deteriorates]);
        let worse: Vec<Kind> = (0..5).flat_map(|_| night.observe(135, 26, Some(90))).collect();
        assert_eq!(worse, [Kind::Escalated]);
        let better: Vec<Kind> = (0..5).flat_map(|_| night.observe(70, 15, Some(98))).collect();
        assert_eq!((better, night.0.alarm), (vec![], Risk::Low));
    }

    #[test]
    fn a_lead_that_fell_off_is_told_once_after_a_minute_and_gives_no_points() {
        let mut night = Night::default();
        night.observe(70, 15, Some(90));
        let alarms: Vec<Vec<Kind>> = (0..9).map(|_| night.observe(70, 15, None)).collect();
        assert_eq!(alarms.iter().position(|alarms| !alarms.is_empty()), Some(6));
        assert_eq!(alarms.concat(), [Kind::Silent(Signal::Saturation)]);
        assert_eq!(night.0.score, 0);
        night.observe(70, 15, Some(98));
        assert_eq!(night.0.silent().count(), 0);
    }

    #[test]
    fn an_observation_that_is_not_newer_says_nothing() {
        let mut night = Night::default();
        night.observe(70, 15, Some(98));
        let before = night.0.clone();
        assert_eq!(night.0.observe(night.1, &Vitals::default()), []);
        assert_eq!(night.0, before);
    }
}
