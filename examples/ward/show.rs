//! The ward on a screen: of each bed who lies there, what is measured, the score, and what alarm is on.

use std::fmt::Write;

use common::{Board, Failure};
use ottla::{Broker, Json, Table};

use crate::bed::{Bed, SILENCE_MILLIS};
use crate::news2::Risk;
use crate::{ALARMS, BEDS, time};

pub(crate) struct Screen {
    board: Board,
    broker: Broker,
    beds: Table<String, Json<Bed>>,
    observations: usize,
}

impl Screen {
    pub(crate) fn new(broker: &Broker, observations: usize) -> Result<Self, Failure> {
        Ok(Self { board: Board::new(), broker: broker.clone(), beds: broker.table(BEDS)?, observations })
    }

    pub(crate) fn is_live(&self) -> bool {
        self.board.is_live()
    }

    /// Shows the ward as it is after so many observations, if there is anybody to see it.
    pub(crate) fn show(&mut self, sent: usize) {
        let Self { board, broker, beds, observations } = self;
        board.show(|| {
            // What goes wrong here goes wrong for those too who do the work, and they say so.
            text(broker, beds, sent, *observations).unwrap_or_default()
        });
    }

    /// Leaves the last state there.
    pub(crate) fn last(self, sent: usize) -> Result<(), Failure> {
        if self.board.is_live() {
            let text = text(&self.broker, &self.beds, sent, self.observations)?;
            self.board.last(&text);
        }
        Ok(())
    }
}

fn text(
    broker: &Broker,
    beds: &Table<String, Json<Bed>>,
    sent: usize,
    observations: usize,
) -> Result<String, Failure> {
    let mut rows: Vec<(String, Bed)> = Vec::new();
    for row in beds.iter()? {
        rows.push((row.key()?.to_owned(), row.value()?));
    }
    let now = rows.iter().filter_map(|(_, bed)| bed.time).max().unwrap_or(0);
    // If there are too many for a screen, those who need it most.
    rows.sort_by_key(|(_, bed)| (-i32::from(bed.alarm as u8), -i32::from(bed.score)));
    rows.truncate(ROWS * COLUMNS);
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    let alarms = broker.describe_topic(ALARMS)?.records();
    let mut text = String::new();
    writeln!(
        text,
        "ward at {}   {sent} of {observations} observations, {alarms} alarms so far",
        time::readable(now)
    )?;
    let head = format!("{:<9}{:>4}{:>4}{:>5}{:>6} {:<12}", "", "hr", "rr", "spo2", "score", " state");
    writeln!(text, "{}", [head.as_str(); COLUMNS].join("  "))?;
    let lines = rows.len().div_ceil(COLUMNS);
    for line in 0..lines {
        let beds = (0..COLUMNS).filter_map(|column| rows.get(column * lines + line));
        let cells: Vec<String> = beds.map(|(patient, bed)| cell(patient, bed, now)).collect();
        writeln!(text, "{}", cells.join("  "))?;
    }
    Ok(text)
}

fn cell(patient: &str, bed: &Bed, now: i64) -> String {
    let number = |value: Option<u16>| value.map_or("-".to_owned(), |value| value.to_string());
    let vitals = &bed.vitals;
    let (pulse, respiration) = (number(vitals.pulse), number(vitals.respiration));
    let saturation = number(vitals.saturation);
    let (state, colour) = state(bed, now);
    format!(
        "{patient:<9.9}{pulse:>4}{respiration:>4}{saturation:>5}{:>6} \x1b[{colour}m{state:<12.12}\x1b[0m",
        bed.score
    )
}

/// What is to be said of a bed, and in what colour: the number of a terminal's attribute.
fn state(bed: &Bed, now: i64) -> (String, u8) {
    let is_gone = bed.time.is_none_or(|time| now - time > SILENCE_MILLIS);
    match (bed.alarm, bed.silent().next()) {
        _ if is_gone => (" no monitor".to_owned(), 36),
        (Risk::High, _) => (" EMERGENCY".to_owned(), 41),
        (Risk::Medium, _) => (" urgent".to_owned(), 33),
        (Risk::Low, Some(signal)) => (format!(" {signal}?"), 36),
        (Risk::Low, None) => (" well".to_owned(), 32),
    }
}

const COLUMNS: usize = 2;
const ROWS: usize = 20;
