//! The fleet on a screen: how many vehicles there are and what they do, a map of dots, and who reported
//! last.

use std::fmt::Write;

use common::{Board, Failure};
use ottla::{Broker, Json, Table};

use crate::position::{Place, Position};
use crate::rules::Rules;
use crate::{ALERTS, LATEST, time};

pub(crate) struct Screen<'a> {
    board: Board,
    broker: &'a Broker,
    rules: &'a Rules,
    latest: Table<String, Json<Position>>,
    positions: usize,
}

/// A vehicle, when it reported last, and what.
type Row = (String, i64, Position);

impl<'a> Screen<'a> {
    pub(crate) fn new(broker: &'a Broker, rules: &'a Rules, positions: usize) -> Result<Self, Failure> {
        let latest = broker.table(LATEST)?;
        Ok(Self { board: Board::new(), broker, rules, latest, positions })
    }

    pub(crate) fn is_live(&self) -> bool {
        self.board.is_live()
    }

    /// Shows the fleet as it is after so many positions, if there is anybody to see it.
    pub(crate) fn show(&mut self, sent: usize) {
        let Self { board, broker, rules, latest, positions } = self;
        board.show(|| {
            // What goes wrong here goes wrong for those too who do the work, and they say so.
            text(broker, rules, latest, sent, *positions).unwrap_or_default()
        });
    }

    /// Leaves the last state there.
    pub(crate) fn last(self, sent: usize) -> Result<(), Failure> {
        if self.board.is_live() {
            let text = text(self.broker, self.rules, &self.latest, sent, self.positions)?;
            self.board.last(&text);
        }
        Ok(())
    }
}

fn text(
    broker: &Broker,
    rules: &Rules,
    latest: &Table<String, Json<Position>>,
    sent: usize,
    positions: usize,
) -> Result<String, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    for row in latest.iter()? {
        rows.push((row.key()?.to_owned(), row.timestamp().as_millis(), row.value()?));
    }
    rows.sort_by_key(|(_, at, _)| -*at);
    let moving = rows.iter().filter(|(_, _, position)| position.speed > Some(STOPPED)).count();
    let slow = rows.iter().filter(|(_, _, position)| rules.slow_on(position).is_some()).count();
    let alerts = broker.describe_topic(ALERTS)?.records();
    let now = rows.first().map(|(_, at, _)| time::text(*at)).unwrap_or_default();
    let mut text = format!("fleet at {now:<19}   {sent} of {positions} positions\n");
    writeln!(
        text,
        "{} vehicles: {moving} moving, {slow} of them slow, {} stopped; {alerts} alerts and slowdowns so far",
        rows.len(),
        rows.len() - moving,
    )?;
    text += &map(rules, &rows);
    for (vehicle, at, position) in rows.iter().take(5) {
        let speed =
            position.speed.map_or("   -".to_owned(), |speed| format!("{:4.1}", f64::from(speed) / 10.0));
        let Place { lat, lon } = position.at;
        let (lat, lon) = (f64::from(lat) / 1e6, f64::from(lon) / 1e6);
        let (at, fence) = (time::text(*at), rules.fence_at(position.at).unwrap_or_default());
        writeln!(
            text,
            "{vehicle:>10} {:<20.20} {at} {lat:9.4} {lon:10.4} {speed} kn {fence}",
            position.name
        )?;
    }
    Ok(text)
}

/// Dots where vehicles are, bigger ones where more are.
fn map(rules: &Rules, rows: &[Row]) -> String {
    let lats = || rows.iter().map(|(_, _, position)| position.at.lat);
    let lons = || rows.iter().map(|(_, _, position)| position.at.lon);
    let (Some(south), Some(north)) = (lats().min(), lats().max()) else { return String::new() };
    let (Some(west), Some(east)) = (lons().min(), lons().max()) else { return String::new() };
    let cell = |at: i32, from: i32, to: i32, cells: usize| {
        let (way, all) = (i64::from(at) - i64::from(from), i64::from(to) - i64::from(from));
        (way * (cells as i64 - 1) / all.max(1)) as usize
    };
    let mut cells = [[(0, false); COLUMNS]; LINES];
    for (_, _, position) in rows {
        let line = LINES - 1 - cell(position.at.lat, south, north, LINES);
        let (count, is_fenced) = &mut cells[line][cell(position.at.lon, west, east, COLUMNS)];
        *count += 1;
        *is_fenced |= rules.fence_at(position.at).is_some();
    }
    let dot = |(count, is_fenced): &(u32, bool)| match count {
        _ if *is_fenced => '#',
        0 => ' ',
        1 => '.',
        2..=4 => 'o',
        _ => 'O',
    };
    let edge = format!("+{}+\n", "-".repeat(COLUMNS));
    let lines = cells.iter().map(|line| format!("|{}|\n", line.iter().map(dot).collect::<String>()));
    format!("{edge}{}{edge}", lines.collect::<String>())
}

const COLUMNS: usize = 76;
const LINES: usize = 13;
/// Tenths of a knot; a position that does not move drifts a little all the same.
const STOPPED: u16 = 5;
