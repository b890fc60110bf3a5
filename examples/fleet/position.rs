//! Where a vehicle is: the value of a record, and what a whole input consists of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a vehicle reports, as it is in the log. Which vehicle is the record's key, when is its timestamp.
/// Whole numbers, so that a position that was written and read is the same position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) name: String,
    pub(crate) at: Place,
    /// In tenths of a knot, as AIS has it.
    pub(crate) speed: Option<u16>,
    /// Over ground, in tenths of a degree from north.
    pub(crate) course: Option<u16>,
    /// The road that it is on, if it says so.
    pub(crate) road: Option<String>,
}

/// In millionths of a degree, north and east.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) lat: i32,
    pub(crate) lon: i32,
}

/// All reports of a fleet in the order in which they arrived, which is not quite that of their times. Names
/// are kept once: a day of a coast has millions of reports.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    pub(crate) vehicles: Vec<Vehicle>,
    pub(crate) roads: Vec<String>,
    pub(crate) reports: Vec<Report>,
    /// Reports that did not say where the vehicle was, and are left out.
    pub(crate) without_place: u64,
    vehicle_numbers: BTreeMap<String, u32>,
}

#[derive(Debug)]
pub(crate) struct Vehicle {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) vehicle: u32,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) at: Place,
    pub(crate) speed: Option<u16>,
    pub(crate) course: Option<u16>,
    pub(crate) road: Option<u16>,
}

impl Feed {
    /// The number of a vehicle, which may be new.
    pub(crate) fn vehicle(&mut self, id: &str, name: &str) -> u32 {
        if let Some(number) = self.vehicle_numbers.get(id) {
            return *number;
        }
        let number = self.vehicles.len() as u32;
        self.vehicles.push(Vehicle { id: id.to_owned(), name: name.to_owned() });
        self.vehicle_numbers.insert(id.to_owned(), number);
        number
    }

    pub(crate) fn number_of(&self, id: &str) -> Option<u32> {
        self.vehicle_numbers.get(id).copied()
    }

    /// The number of a road, which may be new; `None` if there are more than can be counted.
    pub(crate) fn road(&mut self, name: &str) -> Option<u16> {
        let known = self.roads.iter().position(|road| road == name);
        let number = known.unwrap_or_else(|| {
            self.roads.push(name.to_owned());
            self.roads.len() - 1
        });
        u16::try_from(number).ok()
    }

    pub(crate) fn id(&self, report: &Report) -> &str {
        &self.vehicles[report.vehicle as usize].id
    }

    pub(crate) fn road_name(&self, report: &Report) -> Option<&str> {
        report.road.map(|road| self.roads[usize::from(road)].as_str())
    }

    /// The value of a report's record.
    pub(crate) fn position(&self, report: &Report) -> Position {
        Position {
            name: self.vehicles[report.vehicle as usize].name.clone(),
            at: report.at,
            speed: report.speed,
            course: report.course,
            road: self.road_name(report).map(str::to_owned),
        }
    }
}
