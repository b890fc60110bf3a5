//! What the run has found, in words.

use crate::averages::Found;
use crate::nab::text_of;
use crate::reading::Feed;
use crate::score::Score;
use crate::series::Series;
use crate::watch::Alarm;

#[derive(Debug, Default)]
pub(crate) struct Report {
    sensors: u64,
    readings: u64,
    averages: Found,
    pub(crate) trimmed: u64,
    /// Those of series without labels too.
    alarms: u64,
    score: Score,
}

impl Report {
    /// A feed is captured, and its averages are as they must be.
    pub(crate) fn captured(&mut self, feed: &Feed, found: Found) {
        let Found { windows, late } = found;
        println!("  averages of {windows} windows as the input has them; {late} readings came late");
        self.sensors += feed.sensors.len() as u64;
        self.readings += feed.len();
        self.averages.windows += windows;
        self.averages.late += late;
    }

    pub(crate) fn detected(&mut self, found: &[(&Series, Vec<Alarm>)]) {
        for (series, alarms) in found {
            self.alarms += alarms.len() as u64;
            println!("\n{}", series.name);
            alarms.iter().for_each(|alarm| println!("  {}", describe(alarm, series)));
        }
        println!("\nrecall: windows in which an alarm begins / labelled windows");
        println!("precision: alarms that begin in a window / alarms\n");
        println!("{:42} labelled found recall alarms inside precision", "series");
        for (series, alarms) in found {
            match &series.windows {
                Some(windows) => {
                    let score = Score::of(alarms, windows);
                    println!("{:42} {score}", series.name);
                    self.score += score;
                }
                None => println!("{:42} no labels; {} alarms", series.name, alarms.len()),
            }
        }
        println!("{:42} {}\n", "all", self.score);
    }

    pub(crate) fn last_line(&self) -> String {
        let Self { sensors, readings, averages: Found { windows, late }, trimmed, alarms, score } = self;
        let Score { labelled, found, .. } = score;
        let (precision, recall) = (score.precision(), score.recall());
        format!(
            "sensors={sensors} readings={readings} late={late} windows={windows} mismatches=0 \
            trimmed={trimmed} alarms={alarms} labelled={labelled} found={found} precision={precision} \
            recall={recall}"
        )
    }
}

fn describe(alarm: &Alarm, series: &Series) -> String {
    let hours = (alarm.ended - alarm.began) as f64 / crate::detect::HOUR_MS as f64;
    let is_labelled =
        |windows: &Vec<_>| windows.iter().any(|window: &crate::nab::Window| window.contains(alarm.began));
    let label = match &series.windows {
        Some(windows) if is_labelled(windows) => "labelled",
        Some(_) => "not labelled",
        None => "",
    };
    let (began, quantity) = (text_of(alarm.began), &alarm.quantity);
    format!("alarm {began} for {hours:5.1} h, {:4} readings, by {quantity:5} {label}", alarm.readings)
}
