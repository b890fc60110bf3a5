//! The fleet's format: the broadcast points of MarineCadastre (NOAA, BOEM and the US Coast Guard), which
//! are tracks of real ships, one report a line, at <https://hub.marinecadastre.gov/pages/vesseltraffic>;
//! the columns are described at <https://coast.noaa.gov/data/marinecadastre/ais/data-dictionary.pdf>. The
//! header says which column is where, so other columns and another order do no harm. Files since 2025 have
//! other spellings of the names (`base_date_time`, `longitude`), which are taken too.
//!
//! One column is ours: `Road`, for vehicles that drive on one.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use common::{Failure, about, about_line, write_file};
use csv::StringRecord;

use crate::position::{Feed, Place, Report};
use crate::time;

/// Adds a file's reports to the feed.
pub(crate) fn read(path: &Path, feed: &mut Feed) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| about(path, error))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header = reader.headers().map_err(|error| about(path, error))?;
    let columns = Columns::of(header).map_err(|reason| about_line(path, 1, reason))?;
    let mut line = StringRecord::new();
    loop {
        match reader.read_record(&mut line) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(about(path, error)),
        }
        let number = line.position().map_or(0, csv::Position::line);
        let report = columns.report(&line, feed);
        match report.map_err(|reason| about_line(path, number, reason))? {
            Some(report) => feed.reports.push(report),
            None => feed.without_place += 1,
        }
    }
}

/// Writes the whole feed.
pub(crate) fn write(path: &Path, feed: &Feed) -> Result<(), Failure> {
    write_file(path, |out| write_lines(out, feed))
}

fn write_lines(out: &mut impl Write, feed: &Feed) -> std::io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for report in &feed.reports {
        let vehicle = &feed.vehicles[report.vehicle as usize];
        let (lat, lon) = (f64::from(report.at.lat) / 1e6, f64::from(report.at.lon) / 1e6);
        let (speed, course) = (report.speed.unwrap_or(NO_SPEED), report.course.unwrap_or(NO_COURSE));
        let (speed, course) = (f64::from(speed) / 10.0, f64::from(course) / 10.0);
        writeln!(
            out,
            "{},{},{lat:.6},{lon:.6},{speed:.1},{course:.1},511.0,{},,,,,,,,,,{}",
            vehicle.id,
            time::text(report.time),
            vehicle.name,
            feed.road_name(report).unwrap_or_default(),
        )?;
    }
    Ok(())
}

/// Where the columns are that matter.
struct Columns {
    id: usize,
    time: usize,
    lat: usize,
    lon: usize,
    speed: Option<usize>,
    course: Option<usize>,
    name: Option<usize>,
    road: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, String> {
        let plain = |name: &str| {
            name.trim_start_matches('\u{feff}').trim().replace('_', "").to_lowercase() // BOM, if any
        };
        let header: Vec<String> = header.iter().map(plain).collect();
        let find = |names: &[&str]| header.iter().position(|column| names.contains(&column.as_str()));
        let need = |name: &str, names: &[&str]| find(names).ok_or(format!("there is no column {name}"));
        Ok(Self {
            id: need("MMSI", &["mmsi"])?,
            time: need("BaseDateTime", &["basedatetime"])?,
            lat: need("LAT", &["lat", "latitude"])?,
            lon: need("LON", &["lon", "longitude"])?,
            speed: find(&["sog"]),
            course: find(&["cog"]),
            name: find(&["vesselname"]),
            road: find(&["road"]),
        })
    }

    /// `None` for a report without a place: AIS sends 91 and 181 degrees then.
    fn report(&self, line: &StringRecord, feed: &mut Feed) -> Result<Option<Report>, String> {
        let field = |column: usize| line.get(column).unwrap_or_default().trim();
        let optional = |column: Option<usize>| column.map(field).unwrap_or_default();
        let id = field(self.id);
        if id.is_empty() {
            return Err("MMSI must not be empty".to_owned());
        }
        let time = time::parse(field(self.time)).ok_or_else(|| {
            format!("BaseDateTime must be like 2024-01-31T23:59:59, not {:?}", field(self.time))
        })?;
        let lat = degrees("LAT", field(self.lat), 91)?;
        let lon = degrees("LON", field(self.lon), 181)?;
        let speed = tenths("SOG", optional(self.speed), NO_SPEED)?;
        let course = tenths("COG", optional(self.course), NO_COURSE)?;
        if lat.abs() > 90_000_000 || lon.abs() > 180_000_000 {
            return Ok(None);
        }
        let vehicle = feed.vehicle(id, optional(self.name));
        let road = match optional(self.road) {
            "" => None,
            name => Some(feed.road(name).ok_or("there are more than 65,536 roads")?),
        };
        Ok(Some(Report { vehicle, time, at: Place { lat, lon }, speed, course, road }))
    }
}

fn degrees(column: &str, text: &str, most: u32) -> Result<i32, String> {
    let most = f64::from(most);
    match text.parse::<f64>() {
        Ok(degrees) if degrees.abs() <= most => Ok((degrees * 1e6).round() as i32),
        _ => Err(format!("{column} must be degrees from -{most} to {most}, not {text:?}")),
    }
}

/// `None` if there is nothing, or the value that says so. Negative ones occur in files of 2015 to 2017, whose
/// writers took a byte for a signed one.
fn tenths(column: &str, text: &str, nothing: u16) -> Result<Option<u16>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.abs() < 1_000.0 => {
            let tenths = (number * 10.0).round();
            Ok((0.0..f64::from(nothing)).contains(&tenths).then_some(tenths as u16))
        }
        _ => Err(format!("{column} must be a number below 1000, or nothing, not {text:?}")),
    }
}

const HEADER: &str = "MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading,VesselName,IMO,CallSign,VesselType,Status,\
                      Length,Width,Draft,Cargo,TransceiverClass,Road";
/// What AIS sends for "not available".
const NO_SPEED: u16 = 1_023;
const NO_COURSE: u16 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(header: &str, line: &str) -> Result<(Feed, Option<Report>), String> {
        let mut feed = Feed::default();
        let record = |text: &str| text.split(',').collect::<StringRecord>();
        let report = Columns::of(&record(header))?.report(&record(line), &mut feed)?;
        Ok((feed, report))
    }

    #[test]
    fn the_header_says_which_column_is_where() -> Result<(), String> {
        for (header, line) in [
            ("MMSI,BaseDateTime,LAT,LON,SOG", "368000001,1970-01-01T00:00:10,29.2,-116.6,20.4"),
            (
                "SOG,mmsi,longitude,more,latitude,base_date_time",
                "20.4,368000001,-116.6,,29.2,1970-01-01 00:00:10",
            ),
        ] {
            let (feed, report) = report(header, line)?;
            let report = report.ok_or("it has a place")?;
            assert_eq!(feed.id(&report), "368000001");
            assert_eq!((report.time, report.speed, report.course), (10_000, Some(204), None));
            assert_eq!(report.at, Place { lat: 29_200_000, lon: -116_600_000 });
        }
        Ok(())
    }

    #[test]
    fn what_ais_sends_for_nothing_is_nothing() -> Result<(), String> {
        let header = "MMSI,BaseDateTime,LAT,LON,SOG,COG";
        let (_, there) = report(header, "1,1970-01-01T00:00:10,29.2,-116.6,102.3,360.0")?;
        assert_eq!(there.map(|report| (report.speed, report.course)), Some((None, None)));
        let (_, nowhere) = report(header, "1,1970-01-01T00:00:10,91,181,1,1")?;
        assert!(nowhere.is_none());
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said() {
        let header = "MMSI,BaseDateTime,LAT,LON";
        for (line, wrong) in [
            (",1970-01-01T00:00:10,1,1", "MMSI"),
            ("1,1969-12-31T23:59:59,1,1", "BaseDateTime"),
            ("1,1970-01-01T00:00:10,92,1", "LAT"),
            ("1,1970-01-01T00:00:10,1", "LON"),
        ] {
            assert!(report(header, line).expect_err(wrong).starts_with(wrong));
        }
        assert!(report("MMSI,LAT,LON", "1,1,1").expect_err("no time").contains("BaseDateTime"));
    }
}
