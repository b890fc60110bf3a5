//! Real patients: the numerics of the BIDMC PPG and Respiration Dataset of PhysioNet, 53 patients in
//! intensive care for eight minutes each (<https://physionet.org/content/bidmc/1.0.0/>, files
//! `bidmc_csv/bidmc_01_Numerics.csv` and on). A file is a patient, a line a second: `Time [s], HR, PULSE,
//! RESP, SpO2`; a value that was not measured is `NaN` or nothing.

use std::path::Path;

use common::{Failure, about, about_line};
use csv::StringRecord;

use crate::vitals::{Feed, Observation, Vitals};

/// Whether a file is one of these.
pub(crate) fn is_meant(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').starts_with("Time [s]")
}

/// Adds a patient to the feed, under the file's name.
pub(crate) fn read(path: &Path, text: &str, feed: &mut Feed) -> Result<(), Failure> {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let patient = name.trim_end_matches("_Numerics").to_owned();
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| about(path, error))?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let columns = ["HR", "PULSE", "RESP", "SpO2"].map(column);
    for line in reader.records() {
        let line = line.map_err(|error| about(path, error))?;
        let number = line.position().map_or(0, csv::Position::line);
        let (time, vitals) = second(&line, columns).map_err(|reason| about_line(path, number, reason))?;
        feed.observations.push(Observation { patient: patient.clone(), time, vitals });
    }
    Ok(())
}

fn second(line: &StringRecord, columns: [Option<usize>; 4]) -> Result<(i64, Vitals), String> {
    let time = line.get(0).unwrap_or_default();
    let seconds = time.parse().ok().filter(|seconds: &f64| (0.0..1e9).contains(seconds));
    let seconds = seconds.ok_or_else(|| format!("Time [s] must be seconds, not {time:?}"))?;
    let [heart_rate, pulse, respiration, saturation] = columns.map(|column| {
        let text = column.and_then(|column| line.get(column)).unwrap_or_default();
        match text.parse::<f64>() {
            _ if text.is_empty() => Ok(None),
            Ok(number) if number.is_nan() => Ok(None),
            Ok(number) if (0.0..=999.0).contains(&number) => Ok(Some(number.round() as u16)),
            _ => Err(format!("a measurement must be a number from 0 to 999, or NaN, not {text:.20?}")),
        }
    });
    let vitals = Vitals {
        pulse: heart_rate?.or(pulse?),
        respiration: respiration?,
        saturation: saturation?,
        ..Vitals::default()
    };
    Ok((BEGIN + (seconds * 1e3).round() as i64, vitals))
}

/// The files do not say when it was. 2000-01-01.
const BEGIN: i64 = 946_684_800_000;
