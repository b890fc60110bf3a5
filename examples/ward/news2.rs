//! The National Early Warning Score, NEWS2: Royal College of Physicians, "National Early Warning Score
//! (NEWS) 2: Standardising the assessment of acute-illness severity in the NHS", updated report of a
//! working party, London 2017. Each of seven parameters gives 0 to 3 points, and the sum says how urgent a
//! response is.
//!
//! Of a patient of whom not everything is measured, only what is there gives points, so that the score is a
//! lower bound: of heart rate, respiration and saturation alone at most 9 of 20. Saturation is scored on
//! scale 1; scale 2, for patients with hypercapnic respiratory failure, is for a clinician to choose and is
//! left out here.
//!
//! **This is a demonstration of a stream of events. It is not a medical device, and nobody's care may
//! depend on it.**

use serde::{Deserialize, Serialize};

use crate::vitals::Vitals;

/// How urgent a response is by the aggregate score. (NEWS2 also has a ward-based response to a single
/// parameter of 3 points, which raises no alarm here.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Risk {
    /// 0 to 4.
    #[default]
    Low,
    /// 5 or 6: urgent response.
    Medium,
    /// 7 and more: emergency response.
    High,
}

impl Risk {
    pub(crate) fn of(score: u16) -> Self {
        match score {
            0..=4 => Self::Low,
            5 | 6 => Self::Medium,
            _ => Self::High,
        }
    }
}

/// The aggregate score of what is known.
pub(crate) fn score(vitals: &Vitals) -> u16 {
    let points = [
        vitals.respiration.map(respiration),
        vitals.saturation.map(saturation),
        vitals.on_oxygen.map(|on_oxygen| if on_oxygen { 2 } else { 0 }),
        vitals.systolic.map(systolic),
        vitals.pulse.map(pulse),
        vitals.is_alert.map(|is_alert| if is_alert { 0 } else { 3 }),
        vitals.temperature.map(temperature),
    ];
    points.into_iter().flatten().sum()
}

fn respiration(breaths: u16) -> u16 {
    match breaths {
        ..=8 => 3,
        9..=11 => 1,
        12..=20 => 0,
        21..=24 => 2,
        25.. => 3,
    }
}

fn saturation(percent: u16) -> u16 {
    match percent {
        ..=91 => 3,
        92..=93 => 2,
        94..=95 => 1,
        96.. => 0,
    }
}

fn systolic(mmhg: u16) -> u16 {
    match mmhg {
        ..=90 => 3,
        91..=100 => 2,
        101..=110 => 1,
        111..=219 => 0,
        220.. => 3,
    }
}

fn pulse(beats: u16) -> u16 {
    match beats {
        ..=40 => 3,
        41..=50 => 1,
        51..=90 => 0,
        91..=110 => 1,
        111..=130 => 2,
        131.. => 3,
    }
}

fn temperature(tenths: u16) -> u16 {
    match tenths {
        ..=350 => 3,
        351..=360 => 1,
        361..=380 => 0,
        381..=390 => 1,
        391.. => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A patient who is well, but for what is named.
    fn score_with(change: impl FnOnce(&mut Vitals)) -> u16 {
        let mut vitals = Vitals {
            respiration: Some(16),
            saturation: Some(98),
            pulse: Some(70),
            systolic: Some(120),
            temperature: Some(370),
            on_oxygen: Some(false),
            is_alert: Some(true),
        };
        change(&mut vitals);
        score(&vitals)
    }

    #[test]
    fn the_bounds_are_those_of_the_chart() {
        assert_eq!(score_with(|_| {}), 0);
        let respiration = [(8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3)];
        for (value, points) in respiration {
            assert_eq!(score_with(|vitals| vitals.respiration = Some(value)), points, "respiration {value}");
        }
        for (value, points) in [(91, 3), (92, 2), (93, 2), (94, 1), (95, 1), (96, 0)] {
            assert_eq!(score_with(|vitals| vitals.saturation = Some(value)), points, "saturation {value}");
        }
        let systolic = [(90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3)];
        for (value, points) in systolic {
            assert_eq!(score_with(|vitals| vitals.systolic = Some(value)), points, "systolic {value}");
        }
        let pulse = [(40, 3), (41, 1), (50, 1), (51, 0), (90, 0), (91, 1), (110, 1), (111, 2), (130, 2)];
        for (value, points) in pulse.into_iter().chain([(131, 3)]) {
            assert_eq!(score_with(|vitals| vitals.pulse = Some(value)), points, "pulse {value}");
        }
        let temperature = [(350, 3), (351, 1), (360, 1), (361, 0), (380, 0), (381, 1), (390, 1), (391, 2)];
        for (value, points) in temperature {
            assert_eq!(score_with(|vitals| vitals.temperature = Some(value)), points, "temperature {value}");
        }
        assert_eq!(score_with(|vitals| vitals.on_oxygen = Some(true)), 2);
        assert_eq!(score_with(|vitals| vitals.is_alert = Some(false)), 3);
    }

    #[test]
    fn what_is_not_measured_gives_no_points() {
        assert_eq!(score(&Vitals { pulse: Some(140), ..Vitals::default() }), 3);
        assert_eq!(score(&Vitals::default()), 0);
    }

    #[test]
    fn the_risk_is_that_of_the_aggregate_score() {
        let risks = [(4, Risk::Low), (5, Risk::Medium), (6, Risk::Medium), (7, Risk::High), (20, Risk::High)];
        for (score, risk) in risks {
            assert_eq!(Risk::of(score), risk);
        }
    }
}
