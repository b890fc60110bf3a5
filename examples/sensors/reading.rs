//! What a sensor says.

/// A measured value and the moment it was measured at, in milliseconds from the Unix epoch: the timestamp of
/// its record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) at: i64,
    pub(crate) value: f64,
}

impl Reading {
    /// The value in whole millionths. Floating-point sums depend on their order, and no two consumers read
    /// all partitions in the same one; sums of whole numbers are exact, whoever adds them up.
    pub(crate) fn millionths(&self) -> i128 {
        (self.value * 1e6).round() as i128
    }
}

/// Beyond this, sums of millionths could overflow.
pub(crate) const LARGEST_VALUE: f64 = 1e24;

/// Readings of several sensors in the order in which they arrive.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) sensors: Vec<String>,
    /// The place of the sensor in `sensors`, and what it says.
    pub(crate) arrivals: Vec<(usize, Reading)>,
}

impl Feed {
    /// Each sensor's readings stay in their order; between sensors, what was measured earlier is first.
    pub(crate) fn merged<'a>(series: impl IntoIterator<Item = (&'a str, &'a [Reading])>) -> Self {
        let mut sensors = Vec::new();
        let mut arrivals = Vec::new();
        for (place, (sensor, readings)) in series.into_iter().enumerate() {
            sensors.push(sensor.to_owned());
            let mut newest = i64::MIN;
            arrivals.extend(readings.iter().map(|reading| {
                newest = newest.max(reading.at);
                (newest, place, *reading)
            }));
        }
        arrivals.sort_by_key(|(newest, ..)| *newest); // a stable sort
        Self { sensors, arrivals: arrivals.into_iter().map(|(_, place, reading)| (place, reading)).collect() }
    }

    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, Reading)> {
        self.arrivals.iter().map(|(place, reading)| (self.sensors[*place].as_str(), *reading))
    }

    pub(crate) fn len(&self) -> u64 {
        self.arrivals.len() as u64
    }
}
