//! An invented ward: patients who are well, some of whom get worse and better again, some of whose leads
//! fall off, and reports that come late, twice, or with a value that a moved finger has made. The same seed
//! gives the same ward on every machine.

use fastrand::Rng;

use crate::vitals::{Feed, Observation, Signal, Vitals};

/// A feed, and what there is to be found in it.
pub(crate) struct Generated {
    pub(crate) feed: Feed,
    pub(crate) episodes: u64,
    pub(crate) silences: u64,
}

/// The fewest observations that have room for an episode.
pub(crate) const MIN_OBSERVATIONS: u32 = 160;

pub(crate) fn ward(rng: &mut Rng, patients: u32, observations: u32, episodes: u32) -> Generated {
    let mut order: Vec<u32> = (0..patients).collect();
    rng.shuffle(&mut order);
    let episodes = episodes.min(patients);
    let silences = (patients / 10).min(patients - episodes);
    let mut arrivals: Vec<(i64, Observation)> = Vec::new();
    for (n, patient) in order.into_iter().enumerate() {
        let n = n as u32;
        let begin = rng.u32(30..observations - 100);
        let trouble = if n < episodes {
            Trouble::Episode { begin, is_severe: n.is_multiple_of(2) }
        } else if n < episodes + silences {
            let signal = Signal::ALL[rng.usize(..Signal::ALL.len())];
            Trouble::LeadOff { begin, length: rng.u32(18..48), signal }
        } else {
            Trouble::None
        };
        Patient::new(rng, patient, trouble).lie_there(rng, observations, &mut arrivals);
    }
    arrivals.sort_by(|(at, one), (other_at, other)| (at, &one.patient).cmp(&(other_at, &other.patient)));
    let observations = arrivals.into_iter().map(|(_, observation)| observation).collect();
    Generated { feed: Feed { observations }, episodes: episodes.into(), silences: silences.into() }
}

/// What happens to a patient, beginning with an observation.
enum Trouble {
    None,
    Episode { begin: u32, is_severe: bool },
    LeadOff { begin: u32, length: u32, signal: Signal },
}

struct Patient {
    id: String,
    begin: i64,
    /// When all is well.
    usual: Vitals,
    trouble: Trouble,
}

impl Patient {
    fn new(rng: &mut Rng, number: u32, trouble: Trouble) -> Self {
        let usual = Vitals {
            respiration: Some(rng.u16(13..=18)),
            saturation: Some(rng.u16(97..=98)),
            pulse: Some(rng.u16(60..=84)),
            systolic: Some(rng.u16(115..=145)),
            temperature: Some(rng.u16(364..=375)),
            on_oxygen: Some(false),
            is_alert: Some(true),
        };
        Self { id: format!("P{:03}", number + 1), begin: BEGIN + rng.i64(0..10) * 1_000, usual, trouble }
    }

    fn lie_there(&self, rng: &mut Rng, observations: u32, arrivals: &mut Vec<(i64, Observation)>) {
        let mut artefact = 0;
        for n in 0..observations {
            let time = self.begin + i64::from(n) * INTERVAL;
            let mut vitals = self.at(rng, n);
            let mut arrival = time;
            // In an episode everything comes as it should, so that it is there to be seen.
            let dice = if self.worse(n) > 0.0 { 999 } else { rng.u32(..1_000) };
            match dice {
                0..5 => arrivals.push((time + 500, self.observation(time, vitals))),
                5..10 => arrival += rng.i64(2..6) * INTERVAL,
                10..15 if n > artefact + 5 && vitals.saturation.is_some() => {
                    artefact = n;
                    (vitals.saturation, vitals.pulse) = (Some(70), vitals.pulse.map(|_| 150));
                }
                _ => {}
            }
            arrivals.push((arrival, self.observation(time, vitals)));
        }
    }

    fn observation(&self, time: i64, vitals: Vitals) -> Observation {
        Observation { patient: self.id.clone(), time, vitals }
    }

    /// What is measured with an observation: signals always, the rest now and then.
    fn at(&self, rng: &mut Rng, n: u32) -> Vitals {
        let (usual, worse) = (self.usual, self.worse(n));
        let is_severe = matches!(self.trouble, Trouble::Episode { is_severe: true, .. });
        let worst = if is_severe { [28.0, 90.0, 122.0] } else { [23.0, 94.0, 120.0] };
        let mut measure = |usual: Option<u16>, noise: u16, worst: f64| {
            usual.map(|usual| {
                let usual = if worse > 0.0 { usual } else { usual + rng.u16(..=2 * noise) - noise };
                (f64::from(usual) + (worst - f64::from(usual)) * worse).round() as u16
            })
        };
        let mut vitals = Vitals {
            respiration: measure(usual.respiration, 1, worst[0]),
            saturation: measure(usual.saturation, 1, worst[1]),
            pulse: measure(usual.pulse, 4, worst[2]),
            ..Vitals::default()
        };
        if n.is_multiple_of(SPOT_EVERY) {
            let Vitals { respiration, saturation, pulse, .. } = vitals;
            vitals = Vitals { respiration, saturation, pulse, ..usual };
        }
        if let Trouble::LeadOff { begin, length, signal } = self.trouble
            && (begin..begin + length).contains(&n)
        {
            vitals.remove(signal);
        }
        vitals
    }

    /// 0 when all is well, 1 at the worst of an episode.
    fn worse(&self, n: u32) -> f64 {
        let Trouble::Episode { begin, .. } = self.trouble else { return 0.0 };
        match n.checked_sub(begin) {
            Some(since @ 0..WORSENS) => f64::from(since + 1) / f64::from(WORSENS),
            Some(WORSENS..RECOVERS) => 1.0,
            Some(since @ RECOVERS..EPISODE) => f64::from(EPISODE - since) / f64::from(EPISODE - RECOVERS + 1),
            _ => 0.0,
        }
    }
}

/// 2024-01-15, eight in the evening.
const BEGIN: i64 = 1_705_348_800_000;
const INTERVAL: i64 = 10_000;
/// Every half an hour.
const SPOT_EVERY: u32 = 180;
/// An episode, in observations: until it is worst, until it gets better, until it is over.
const WORSENS: u32 = 12;
const RECOVERS: u32 = 48;
const EPISODE: u32 = 66;
