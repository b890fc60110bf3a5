//! What the watch looks for: fences that vehicles enter, and roads on which they are slow.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::position::{Feed, Place, Position};
use crate::road::{Road, free_flow};

/// What there is to say of a vehicle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum News {
    /// It is in a fence, and was not there before.
    Entered(String),
    /// It is slow on a road, and was not slow before.
    SlowedDown(String),
}

#[derive(Debug)]
pub(crate) struct Rules {
    fences: Vec<Fence>,
    /// Below this it is slow, by road, in tenths of a knot.
    slow_below: BTreeMap<String, u16>,
}

/// A rectangle of the map.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(crate) name: String,
    pub(crate) south_west: Place,
    pub(crate) north_east: Place,
}

impl Rules {
    /// `percent` of a road's free flow is slow. Of roads that are only named in the feed, free flow is that
    /// of the vehicles on them.
    pub(crate) fn new(fences: Vec<Fence>, roads: &[Road], feed: &Feed, percent: u32) -> Self {
        let mut speeds: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for report in &feed.reports {
            if let (Some(road), Some(speed)) = (feed.road_name(report), report.speed) {
                speeds.entry(road).or_default().push(speed);
            }
        }
        let of_feed = speeds.into_iter().map(|(road, speeds)| (road.to_owned(), free_flow(speeds)));
        let measured = roads.iter().map(|road| (road.name.clone(), road.free_flow()));
        let share = |free_flow: u16| (u32::from(free_flow) * percent / 100) as u16;
        let slow_below = of_feed.chain(measured).map(|(road, speed)| (road, share(speed))).collect();
        Self { fences, slow_below }
    }

    /// The fence that a place is in.
    pub(crate) fn fence_at(&self, at: Place) -> Option<&str> {
        self.fences.iter().find(|fence| fence.contains(at)).map(|fence| fence.name.as_str())
    }

    /// The road on which this position is slow.
    pub(crate) fn slow_on<'a>(&self, position: &'a Position) -> Option<&'a str> {
        let road = position.road.as_deref()?;
        (position.speed? < *self.slow_below.get(road)?).then_some(road)
    }

    /// Below what vehicles on a road are slow, for people.
    pub(crate) fn limit_text(&self, road: &str) -> String {
        let limit = self.slow_below.get(road).copied().unwrap_or(0);
        format!("{:.1} knots", f64::from(limit) / 10.0)
    }

    /// All of it as text, to see whether two runs have the same rules.
    pub(crate) fn text(&self) -> String {
        let fences = self.fences.iter().map(|Fence { name, south_west: from, north_east: to }| {
            format!("{name}={},{},{},{};", from.lat, from.lon, to.lat, to.lon)
        });
        fences.chain(self.slow_below.iter().map(|(road, speed)| format!("{road}<{speed};"))).collect()
    }
}

impl Fence {
    pub(crate) fn contains(&self, at: Place) -> bool {
        (self.south_west.lat..=self.north_east.lat).contains(&at.lat)
            && (self.south_west.lon..=self.north_east.lon).contains(&at.lon)
    }
}

impl FromStr for Fence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a fence is NAME=SOUTH,WEST,NORTH,EAST in degrees".to_owned();
        let (name, sides) = text.split_once('=').ok_or_else(wrong)?;
        let side = |text: &str| {
            let degrees = text.trim().parse::<f64>().ok().filter(|degrees| degrees.abs() <= 180.0);
            degrees.map(|degrees| (degrees * 1e6).round() as i32).ok_or_else(wrong)
        };
        let sides = sides.split(',').map(side).collect::<Result<Vec<i32>, _>>()?;
        let [south, west, north, east] = sides[..] else { return Err(wrong()) };
        if south > north || west > east {
            return Err(wrong());
        }
        let (south_west, north_east) = (Place { lat: south, lon: west }, Place { lat: north, lon: east });
        Ok(Self { name: name.to_owned(), south_west, north_east })
    }
}
