//! An invented fleet, as real as it has to be: vehicles that drive up and down roads at the speeds that
//! were measured there, report every minute, leave the road for a zone now and then, and whose reports come
//! late, twice, or not at all for a while. The same seed gives the same fleet on every machine.

use std::ops::Range;

use fastrand::Rng;

use crate::position::{Feed, Place, Report};
use crate::road::Road;
use crate::rules::Fence;

/// A feed, and what there is to be found in it.
pub(crate) struct Generated {
    pub(crate) feed: Feed,
    /// How often a vehicle enters a fence.
    pub(crate) entries: u64,
}

/// Beside each of so many roads, all along it, is a zone.
pub(crate) fn zones(roads: usize) -> impl Iterator<Item = Fence> {
    (0..roads).map(|road| Fence {
        name: format!("zone {}", road + 1),
        south_west: Place { lat: latitude(road) + ZONE.start, lon: WEST - MICRODEGREES },
        north_east: Place { lat: latitude(road) + ZONE.end, lon: WEST + 2 * MICRODEGREES },
    })
}

pub(crate) fn fleet(rng: &mut Rng, roads: &[Road], vehicles: u32, positions: u32) -> Generated {
    let mut feed = Feed::default();
    let mut arrivals: Vec<(i64, Report)> = Vec::new();
    let mut entries = 0;
    for number in 0..vehicles {
        let road = number as usize % roads.len();
        let road_number = feed.road(&roads[road].name);
        let vehicle = feed.vehicle(&format!("{}", 800_000_001 + number), &format!("TRUCK {:03}", number + 1));
        let detours = detours(rng, positions);
        entries += detours.len() as u64;
        let mut truck = Truck::new(rng, number, road, vehicle, road_number);
        truck.parks_at = (detours.is_empty() && rng.u32(..10) == 0).then(|| rng.u32(..positions));
        truck.drive(rng, &roads[road], positions, &detours, &mut arrivals);
    }
    arrivals.sort_by_key(|(arrival, report)| (*arrival, report.vehicle));
    feed.reports = arrivals.into_iter().map(|(_, report)| report).collect();
    Generated { feed, entries }
}

struct Truck {
    road: usize,
    /// What stands in its reports.
    vehicle: u32,
    road_number: Option<u16>,
    /// As whose speeds it takes those of the road.
    day: usize,
    time: i64,
    /// On its way to the east end and back.
    metres: f64,
    parks_at: Option<u32>,
}

impl Truck {
    fn new(rng: &mut Rng, number: u32, road: usize, vehicle: u32, road_number: Option<u16>) -> Self {
        let time = BEGIN + rng.i64(0..MINUTE / 1_000) * 1_000;
        let metres = rng.f64() * 2.0 * ROAD_METRES;
        Self { road, vehicle, road_number, day: number as usize, time, metres, parks_at: None }
    }

    fn drive(
        &mut self,
        rng: &mut Rng,
        road: &Road,
        positions: u32,
        detours: &[u32],
        arrivals: &mut Vec<(i64, Report)>,
    ) {
        for n in 0..positions {
            let detour = detours.iter().find_map(|begin| WAY.get(n.checked_sub(*begin)? as usize));
            // On a detour every report comes as it should, so that the entry is there to be seen.
            let dice = if detour.is_some() { 999 } else { rng.u32(..1_000) };
            if let (0..10, Some((arrival, again))) = (dice, arrivals.last().filter(|_| n > 0)) {
                arrivals.push((arrival + 1 + rng.i64(0..3_000), *again));
                continue;
            }
            self.time += if (10..15).contains(&dice) { rng.i64(10..30) * MINUTE } else { MINUTE };
            let late = if (15..25).contains(&dice) { rng.i64(2..15) * MINUTE } else { 0 };
            let report = self.report(road, n, detour.copied());
            arrivals.push((self.time + late, report));
        }
    }

    /// Drives for a minute, and says where it is.
    fn report(&mut self, road: &Road, n: u32, detour: Option<i32>) -> Report {
        let is_parked = self.parks_at.is_some_and(|at| n >= at);
        let (speed, road_number) = match detour {
            _ if is_parked => (0, None),
            Some(_) => (ON_DETOUR, None),
            None => {
                (road.speed(self.day + self.day / road.days(), self.time / 1_000 % 86_400), self.road_number)
            }
        };
        self.metres += f64::from(speed) / 10.0 * METRES_A_KNOT_AND_MINUTE;
        let way = self.metres % (2.0 * ROAD_METRES);
        let (from_west, course) =
            if way < ROAD_METRES { (way, 900) } else { (2.0 * ROAD_METRES - way, 2_700) };
        let at = Place {
            lat: latitude(self.road) + detour.unwrap_or(0),
            lon: WEST + (from_west / ROAD_METRES * f64::from(MICRODEGREES)) as i32,
        };
        let (vehicle, time) = (self.vehicle, self.time);
        Report { vehicle, time, at, speed: Some(speed), course: Some(course), road: road_number }
    }
}

/// With which reports detours begin: one in four vehicles makes some, none too close to another.
fn detours(rng: &mut Rng, positions: u32) -> Vec<u32> {
    let mut begins: Vec<u32> = Vec::new();
    let length = WAY.len() as u32 + 2;
    if positions < 3 * length || rng.u32(..4) > 0 {
        return begins;
    }
    for _ in 0..=rng.u32(..2) {
        let begin = rng.u32(length..positions - length);
        if begins.iter().all(|other| other.abs_diff(begin) > length) {
            begins.push(begin);
        }
    }
    begins
}

fn latitude(road: usize) -> i32 {
    SOUTH + road as i32 * 150_000
}

/// How far north of the road a vehicle is with each report of a detour. It is in the zone once.
const WAY: [i32; 8] = [10_000, 20_000, 30_000, 35_000, 35_000, 30_000, 20_000, 10_000];
const ZONE: Range<i32> = 25_000..45_000;
const ON_DETOUR: u16 = 200;

const MICRODEGREES: i32 = 1_000_000;
/// Where the roads are: near Minneapolis, one above the other and each a degree long.
const SOUTH: i32 = 44_600_000;
const WEST: i32 = -93_800_000;
const ROAD_METRES: f64 = 79_000.0;
const METRES_A_KNOT_AND_MINUTE: f64 = 30.87;

const MINUTE: i64 = 60_000;
/// 2015-09-01, six in the morning.
const BEGIN: i64 = 1_441_087_200_000;
