//! The files of the Numenta Anomaly Benchmark, NAB (<https://github.com/numenta/NAB>, MIT): a series is a CSV
//! file with the columns `timestamp` and `value`; the windows in which series are anomalous are one JSON
//! object, from the name of the file to a list of `[start, end]`.
//!
//! The timestamps name no time zone; they are taken as they stand, as if they were in UTC.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use common::{Failure, about};
use csv::{Reader, ReaderBuilder, StringRecord};
use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::reading::{LARGEST_VALUE, Reading};

/// A stretch of time, its ends included, in milliseconds from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Window {
    pub(crate) fn contains(&self, at: i64) -> bool {
        (self.start..=self.end).contains(&at)
    }
}

/// The readings of a file, in its order.
pub(crate) fn read_series(file: &Path) -> Result<Vec<Reading>, Failure> {
    let opened = File::open(file).map_err(|error| about(file, error))?;
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(opened);
    let columns = Columns::of(&mut reader).map_err(|failure| about(file, failure))?;
    let mut readings = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| about(file, error))?;
        let line = row.position().map_or(0, csv::Position::line);
        let reading = columns.reading(&row);
        readings.push(reading.map_err(|failure| about(file, format!("line {line}: {failure}")))?);
    }
    if readings.is_empty() {
        return Err(about(
            file,
            "no readings: expected lines like 2013-12-02 21:15:00,73.97 below the first",
        ));
    }
    Ok(readings)
}

/// Where in a line the two fields stand; others may be beside them.
struct Columns {
    timestamp: usize,
    value: usize,
}

impl Columns {
    fn of(reader: &mut Reader<File>) -> Result<Self, Failure> {
        let names = reader.headers()?;
        let find = |name: &str| {
            let is_it = |field: &str| field.trim_matches(['\u{feff}', ' ']).eq_ignore_ascii_case(name);
            let missing = || format!("line 1: expected the columns timestamp,value; there is no {name}");
            names.iter().position(is_it).ok_or_else(missing)
        };
        Ok(Self { timestamp: find("timestamp")?, value: find("value")? })
    }

    fn reading(&self, row: &StringRecord) -> Result<Reading, Failure> {
        let field = |place, name| row.get(place).ok_or_else(|| format!("the {name} is missing"));
        let at = moment(field(self.timestamp, "timestamp")?)?;
        if at < 0 {
            return Err("the timestamp is before 1970".into());
        }
        let text = field(self.value, "value")?.trim();
        match text.parse::<f64>() {
            Ok(value) if value.abs() <= LARGEST_VALUE => Ok(Reading { at, value }),
            _ => Err(format!("expected a number of at most {LARGEST_VALUE:e} as value, not {text:?}").into()),
        }
    }
}

pub(crate) fn write_series(file: &Path, readings: &[Reading]) -> Result<(), Failure> {
    let write = || {
        let mut writer = csv::Writer::from_path(file)?;
        writer.write_record(["timestamp", "value"])?;
        for reading in readings {
            writer.write_record([text_of(reading.at), reading.value.to_string()])?;
        }
        writer.flush().map_err(Failure::from)
    };
    write().map_err(|failure| about(file, failure))
}

/// Windows by the name that the labels file gives to a series' file, or of the only series there is.
#[derive(Debug)]
pub(crate) enum Labels {
    Named(BTreeMap<String, Vec<Window>>),
    OfTheOnlyOne(Vec<Window>),
}

impl Labels {
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let parse = || {
            let json: Value = serde_json::from_slice(&fs::read(file)?)?;
            match &json {
                Value::Array(_) => windows_of(&json).map(Self::OfTheOnlyOne),
                Value::Object(by_name) => by_name
                    .iter()
                    .map(|(name, list)| match windows_of(list) {
                        Ok(windows) => Ok((name.clone(), windows)),
                        Err(failure) => Err(format!("{name}: {failure}").into()),
                    })
                    .collect::<Result<_, Failure>>()
                    .map(Self::Named),
                _ => Err(r#"expected {"file": [[start, end], ..], ..} or [[start, end], ..]"#.into()),
            }
        };
        parse().map_err(|failure: Failure| about(file, failure))
    }

    /// The windows of a file; `None` if it has no labels.
    ///
    /// If the path ends with a name, that is it. Else folders do not matter, and a copy may have a prefix:
    /// `traffic_speed_6005.csv` is what the labels call `realTraffic/speed_6005.csv`. The longest name that
    /// fits is meant; two that are equally long are an error.
    pub(crate) fn of(&self, file: &Path) -> Result<Option<&[Window]>, Failure> {
        let by_name = match self {
            Self::OfTheOnlyOne(windows) => return Ok(Some(windows)),
            Self::Named(by_name) => by_name,
        };
        let with_folder = by_name.iter().filter(|(key, _)| file.ends_with(key));
        if let Some((_, windows)) = with_folder.max_by_key(|(key, _)| key.len()) {
            return Ok(Some(windows));
        }
        let file_name = file.file_name().unwrap_or_default().to_string_lossy();
        let fits = |key: &str| match file_name.strip_suffix(key) {
            Some(prefix) => !key.is_empty() && (prefix.is_empty() || prefix.ends_with(['_', '-', '.', ' '])),
            None => false,
        };
        let fitting = by_name.iter().map(|(key, windows)| (last_part(key), key, windows));
        let fitting: Vec<_> = fitting.filter(|(name, ..)| fits(name)).collect();
        let longest = fitting.iter().map(|(name, ..)| name.len()).max();
        let mut best = fitting.iter().filter(|(name, ..)| Some(name.len()) == longest);
        match (best.next(), best.next()) {
            (Some((_, key, _)), Some((_, other, _))) => {
                Err(about(file, format!("the labels may be those of {key} or of {other}")))
            }
            (first, _) => Ok(first.map(|(.., windows)| windows.as_slice())),
        }
    }
}

/// As NAB writes them.
pub(crate) fn write_labels<'a>(
    file: &Path,
    labels: impl IntoIterator<Item = (String, &'a [Window])>,
) -> Result<(), Failure> {
    let pair = |window: &Window| [text_of(window.start) + ".000000", text_of(window.end) + ".000000"];
    let by_name = labels.into_iter().map(|(name, list)| (name, list.iter().map(pair).collect::<Vec<_>>()));
    let json = serde_json::to_string_pretty(&by_name.collect::<BTreeMap<_, _>>())?;
    fs::write(file, json + "\n").map_err(|error| about(file, error))
}

fn last_part(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

fn windows_of(list: &Value) -> Result<Vec<Window>, Failure> {
    let list = list.as_array().ok_or_else(|| format!("expected a list of [start, end], not {list}"))?;
    let window = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
        Some([Value::String(start), Value::String(end)]) => {
            let window = Window { start: moment(start)?, end: moment(end)? };
            if window.start > window.end {
                Err(format!("{pair} ends before it starts").into())
            } else {
                Ok(window)
            }
        }
        _ => Err(format!("expected [start, end], not {pair}").into()),
    };
    list.iter().map(window).collect()
}

/// `2013-12-02 21:15:00`, with or without a fraction of a second; an offset from UTC counts if there is one.
fn moment(text: &str) -> Result<i64, Failure> {
    let text = text.trim();
    let civil = || text.parse::<DateTime>().and_then(|civil| TimeZone::UTC.to_timestamp(civil));
    match text.parse::<Timestamp>().or_else(|_| civil()) {
        Ok(moment) => Ok(moment.as_millisecond()),
        Err(_) => Err(format!("expected a timestamp like 2013-12-02 21:15:00, not {text:?}").into()),
    }
}

/// A moment to the second, as NAB writes it.
pub(crate) fn text_of(at: i64) -> String {
    match Timestamp::from_millisecond(at) {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{at} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Labels {
        let window = |number| vec![Window { start: number, end: number }];
        let by_name = (0..).zip(names).map(|(number, name)| ((*name).to_owned(), window(number)));
        Labels::Named(by_name.collect())
    }

    fn found(labels: &Labels, file: &str) -> Option<i64> {
        labels.of(Path::new(file)).expect("not ambiguous").map(|windows| windows[0].start)
    }

    #[test]
    fn labels_are_found_without_folders_and_behind_a_prefix() {
        let labels = labels(&["realTraffic/speed_6005.csv", "a/6005.csv", "b/other.csv"]);
        assert_eq!(found(&labels, "/data/speed_6005.csv"), Some(0));
        assert_eq!(found(&labels, "traffic_speed_6005.csv"), Some(0));
        assert_eq!(found(&labels, "6005.csv"), Some(1));
        assert_eq!(found(&labels, "another.csv"), None);
    }

    #[test]
    fn two_labels_that_fit_are_an_error() {
        let labels = labels(&["a/speed.csv", "b/speed.csv"]);
        assert!(labels.of(Path::new("speed.csv")).is_err());
        assert!(labels.of(Path::new("traffic_speed.csv")).is_err());
        assert_eq!(found(&labels, "data/b/speed.csv"), Some(1));
    }

    #[test]
    fn a_moment_is_written_as_it_is_read() {
        for text in ["2013-12-02 21:15:00", "2013-12-02 21:15:00.000000", "2013-12-02T22:15:00+01:00"] {
            assert_eq!(moment(text).map(text_of).expect("a moment"), "2013-12-02 21:15:00");
        }
        assert!(moment("2013-12-").is_err());
    }
}
