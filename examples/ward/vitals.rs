//! What a bedside monitor reports: the value of a record. Which patient is its key, when is its timestamp.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Whole numbers, so that what was written and read is the same. What was not measured is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vitals {
    /// Breaths a minute.
    pub(crate) respiration: Option<u16>,
    /// Oxygen saturation, in percent.
    pub(crate) saturation: Option<u16>,
    /// Heart beats a minute.
    pub(crate) pulse: Option<u16>,
    /// In mmHg.
    pub(crate) systolic: Option<u16>,
    /// In tenths of a degree Celsius.
    pub(crate) temperature: Option<u16>,
    /// Whether the patient breathes air or is given oxygen.
    pub(crate) on_oxygen: Option<bool>,
    /// Whether the patient is alert, and not confused or responsive only to voice, to pain, or to nothing.
    pub(crate) is_alert: Option<bool>,
}

/// What is measured all the time, by something that can fall off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Signal {
    Respiration,
    Saturation,
    Pulse,
}

impl Signal {
    pub(crate) const ALL: [Self; 3] = [Self::Respiration, Self::Saturation, Self::Pulse];
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Respiration => "respiration",
            Self::Saturation => "saturation",
            Self::Pulse => "pulse",
        })
    }
}

impl Vitals {
    pub(crate) fn has(&self, signal: Signal) -> bool {
        match signal {
            Signal::Respiration => self.respiration,
            Signal::Saturation => self.saturation,
            Signal::Pulse => self.pulse,
        }
        .is_some()
    }

    pub(crate) fn remove(&mut self, signal: Signal) {
        match signal {
            Signal::Respiration => self.respiration = None,
            Signal::Saturation => self.saturation = None,
            Signal::Pulse => self.pulse = None,
        }
    }

    /// Takes over what was measured now, and keeps of the rest what was known before.
    pub(crate) fn update(&mut self, now: &Self) {
        self.respiration = now.respiration.or(self.respiration);
        self.saturation = now.saturation.or(self.saturation);
        self.pulse = now.pulse.or(self.pulse);
        self.systolic = now.systolic.or(self.systolic);
        self.temperature = now.temperature.or(self.temperature);
        self.on_oxygen = now.on_oxygen.or(self.on_oxygen);
        self.is_alert = now.is_alert.or(self.is_alert);
    }
}

/// One report of a patient's monitor.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) patient: String,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) vitals: Vitals,
}

/// Everything that a ward reports, in the order in which it arrived.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    pub(crate) observations: Vec<Observation>,
}

impl Feed {
    pub(crate) fn patients(&self) -> usize {
        self.observations.iter().map(|each| each.patient.as_str()).collect::<BTreeSet<_>>().len()
    }

    pub(crate) fn by_patient(&self) -> BTreeMap<&str, Vec<&Observation>> {
        let mut by_patient: BTreeMap<&str, Vec<&Observation>> = BTreeMap::new();
        for observation in &self.observations {
            by_patient.entry(&observation.patient).or_default().push(observation);
        }
        by_patient
    }
}
