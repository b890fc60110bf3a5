//! A plant of sensors that never rest: each says something every second, and what it says does not arrive in
//! the order in which it was measured. Gateways send what they have gathered, up to two seconds out of order;
//! now and then one has lost its connection, and what it sends is half a minute to three minutes old.

use fastrand::Rng;

use crate::reading::{Feed, Reading};

/// 2026-03-02 06:00:00, the beginning of the morning shift.
const BEGIN_MS: i64 = 1_772_431_200_000;
/// One reading in so many is late.
const LATE_ONE_IN: u32 = 500;

pub(crate) fn feed(seed: u64, sensors: u32, readings: u32) -> Feed {
    let mut rng = Rng::with_seed(seed);
    let mut names = Vec::new();
    let mut arrivals = Vec::new();
    for sensor in 0..sensors {
        let name = format!("press-{:02}/sensor-{}", sensor / 5 + 1, sensor % 5 + 1);
        names.push(name);
        let mut celsius = 40.0 + 30.0 * rng.f64();
        for second in 0..i64::from(readings) {
            celsius += 0.2 * (rng.f64() - 0.5);
            let at = BEGIN_MS + 1_000 * second + rng.i64(0..400);
            let value = (celsius * 1_000.0).round() / 1_000.0;
            arrivals.push((at + delay(&mut rng), sensor as usize, Reading { at, value }));
        }
    }
    arrivals.sort_by_key(|(arrives, ..)| *arrives);
    let arrivals = arrivals.into_iter().map(|(_, sensor, reading)| (sensor, reading)).collect();
    Feed { sensors: names, arrivals }
}

/// Between measuring and arriving, in milliseconds. Two readings differ by up to two seconds.
fn delay(rng: &mut Rng) -> i64 {
    if rng.u32(0..LATE_ONE_IN) == 0 { rng.i64(30_000..180_000) } else { rng.i64(20..2_000) }
}
