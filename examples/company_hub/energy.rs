//! The readings of the energy meters, as OpenMetrics 1.0 text: counters of watt-hours with a time. Published
//! as numbers (the codec `u64`), the meter is the key.
//!
//! The format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>; Prometheus writes what it has stored
//! with `promtool tsdb dump-openmetrics`.

use fastrand::Rng;
use jiff::Timestamp;

use crate::area::{Event, Times, lines};
use crate::generate::{self, DAY_SECONDS, is_one_of};

const METERS: [&str; 4] = ["hall-1", "hall-2", "office", "shop"];
/// Numbers beyond this are not whole any more when they are written with an exponent.
const MAX_EXACT: f64 = (1_u64 << 53) as f64;

pub(crate) fn read(bytes: &[u8]) -> Vec<Event<u64>> {
    let mut times = Times::default();
    let samples = lines(bytes).filter(|line| !line.starts_with(b"#"));
    let event = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        // A label may hold blanks.
        let (series, sample) = match text.rsplit_once('}') {
            Some((series, sample)) => (series, sample),
            None => text.split_once(' ').unwrap_or((&*text, "")),
        };
        let mut fields = sample.split_ascii_whitespace();
        let value = fields.next().and_then(number);
        let time = fields.next().and_then(time_of);
        Event {
            key: meter(series).to_owned(),
            time: times.next(time),
            value: value.filter(|_| time.is_some()).ok_or_else(|| unreadable(line)),
        }
    };
    samples.map(event).collect()
}

fn meter(series: &str) -> &str {
    let label = series.split_once("meter=\"").and_then(|(_, rest)| rest.split_once('"'));
    label.map_or(series, |(meter, _)| meter)
}

/// A whole number, however it is written: 1250000 may be `1.25e+06`.
fn number(text: &str) -> Option<u64> {
    let whole = || {
        text.parse().ok().filter(|number: &f64| number.fract() == 0.0 && (0.0..MAX_EXACT).contains(number))
    };
    text.parse().ok().or_else(|| whole().map(|number| number as u64))
}

fn time_of(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.parse().ok()?;
    Timestamp::from_millisecond((seconds * 1_000.0).round() as i64).ok()
}

/// Eight bytes would pass for a number, whatever they say: such a line keeps its end.
fn unreadable(line: &[u8]) -> Vec<u8> {
    let end: &[u8] = if line.len() == size_of::<u64>() { b"\n" } else { b"" };
    [line, end].concat()
}

/// A day of readings. A meter that is being replaced reads NaN, and some readings are sent twice.
pub(crate) fn generate(rng: &mut Rng, count: usize) -> String {
    let per_meter = count / METERS.len();
    let every_millis = DAY_SECONDS * 1_000 / per_meter.max(1) as i64;
    let mut text = "# TYPE energy_watthours counter\n# UNIT energy_watthours watthours\n".to_owned();
    for meter in METERS {
        let mut watt_hours = rng.u64(1_000_000..9_000_000);
        for reading in 0..per_meter {
            watt_hours += rng.u64(0..200);
            let millis = generate::midnight().as_millisecond() + every_millis * reading as i64;
            let (seconds, millis) = (millis / 1_000, millis % 1_000);
            let value = if is_one_of(rng, 200) { "NaN".to_owned() } else { watt_hours.to_string() };
            let line = format!("energy_watthours_total{{meter=\"{meter}\"}} {value} {seconds}.{millis:03}\n");
            let times = if is_one_of(rng, 100) { 2 } else { 1 };
            text.push_str(&line.repeat(times));
        }
    }
    text + "# EOF\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_has_a_meter_a_number_and_a_time() {
        for (line, key, number, millis) in [
            ("energy_total{meter=\"hall 1\"} 17 1700000000", "hall 1", 17, 1_700_000_000_000),
            ("energy_total{meter=\"a\",of=\"b\"} 1.25e+06 1.5", "a", 1_250_000, 1_500),
            ("energy_total 18446744073709551615 0", "energy_total", u64::MAX, 0),
        ] {
            let event =
                read(line.as_bytes()).pop().map(|event| (event.key, event.value, event.time.as_millis()));
            assert_eq!(event, Some((key.to_owned(), Ok(number), millis)));
        }
        assert!(read(b"# TYPE energy counter\n\n# EOF\n").is_empty());
    }

    #[test]
    fn what_is_no_reading_does_not_pass_for_a_number() {
        for line in ["x NaN 17", "x -1 17", "x 1.5 17", "x 17", "garbage!", "12345678"] {
            let bytes = read(line.as_bytes()).pop().and_then(|event| event.value.err());
            assert!(bytes.is_some_and(|bytes| bytes.len() != size_of::<u64>()), "{line}");
        }
    }
}
