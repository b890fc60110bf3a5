//! Sensors of a plant are captured, averaged, watched and forgotten in time: averages over windows of event
//! time from a stream that is out of order, a log that keeps an hour, and a watcher that finds what is
//! anomalous as it comes in, measured against labels.
//!
//! Run it with `cargo run --release --example sensors`: 50 sensors with a reading a second, and six invented
//! series of weeks and months whose anomalies are known. On real data, for instance that of the Numenta
//! Anomaly Benchmark (<https://github.com/numenta/NAB>, folder `data`; CSV with `timestamp,value`), with its
//! labels (`labels/combined_windows.json`):
//!
//! ```sh
//! cargo run --release --example sensors -- --input machine_temperature_system_failure.csv \
//!     --labels combined_windows.json --plot machine.svg
//! ```
//!
//! `--input` may be given several times; each file is a sensor. `--write DIR` keeps the invented series and
//! their labels in the same format. With `--data-dir DIR` the log stays: kill the program at any moment and
//! start it again, and it sends only what the log lacks, and ends with the same line.
//!
//! It prints the alarms of each series, how many were right (`score.rs` says what recall and precision are),
//! and ends with `OK sensors sensors=.. readings=.. late=.. windows=.. mismatches=0 trimmed=.. alarms=..
//! labelled=.. found=.. precision=.. recall=..`. Series without labels count for none of the last four.
//!
//! Read next: `capture.rs`, `averages.rs`, `watch.rs` and `retention.rs`, which are the ones that use Ottla;
//! then `detect.rs`, the method. After that `ward`: alarms that must not be lost.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod averages;
mod capture;
mod detect;
mod expectation;
mod generate;
mod nab;
mod plant;
mod plot;
mod reading;
mod report;
mod retention;
mod score;
mod series;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;
use common::{Failure, joined};
use ottla::{Broker, Clock, ManualClock, SystemClock};

use crate::averages::{Averages, Found, MEMBERS};
use crate::detect::HOUR_MS;
use crate::reading::Feed;
use crate::series::Series;

/// The codec of the keys: a sensor's name.
type Key = String;

const PARTITIONS: u32 = 4;
/// In memory a topic drops its oldest records beyond a limit. Here it is to keep them all.
const UNLIMITED: u64 = 1 << 40;
/// The plant's sensors, a reading a second.
const PLANT: &str = "plant";
const PLANT_WINDOW_MS: i64 = 60_000;
/// The labelled series, a reading every few minutes.
const SERIES: &str = "series";
const SERIES_WINDOW_MS: i64 = HOUR_MS;

/// Captures sensors, averages them in windows, and finds anomalies
#[derive(Parser)]
#[command(name = "sensors")]
struct Options {
    /// A series to read, as CSV with the columns timestamp,value; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "sensors", "records", "write"])]
    input: Vec<PathBuf>,
    /// The windows in which inputs are anomalous, as JSON: {"file": [[start, end], ..], ..}
    #[arg(long, value_name = "FILE", requires = "input")]
    labels: Option<PathBuf>,
    /// Draw signal, windows and alarms into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Keep the generated series and labels in this directory
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Keep the log in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What the generator invents
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sensors of the plant
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sensors: u32,
    /// Readings of each of them
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    records: u32,
}

fn main() -> ExitCode {
    common::finish("sensors", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let (series, plant) = inputs(options)?;
    // Records age by this clock, and the part about retention moves it.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let builder = Broker::builder().clock(clock.clone());
    let broker = match &options.data_dir {
        Some(dir) => builder.data_dir(dir).open()?,
        None => builder.open()?,
    };
    let mut report = report::Report::default();
    if let Some(plant) = &plant {
        report.captured(plant, stream(&broker, PLANT, plant, PLANT_WINDOW_MS, false)?);
    }
    let feed = series::feed(&series);
    watch::open_topic(&broker)?;
    report.captured(&feed, stream(&broker, SERIES, &feed, SERIES_WINDOW_MS, true)?);
    report.trimmed = retention::show(&broker, &clock, plant.as_ref().unwrap_or(&feed))?;

    let mut found = Vec::new();
    for of_sensor in &series {
        found.push((of_sensor, watch::alarms_of(&broker, &of_sensor.name)?));
    }
    broker.close()?;
    report.detected(&found);
    if let Some(file) = &options.plot {
        plot::draw(file, &found)?;
        println!("the picture is in {}", file.display());
    }
    Ok(report.last_line())
}

/// The series, and the plant if all is generated.
fn inputs(options: &Options) -> Result<(Vec<Series>, Option<Feed>), Failure> {
    if !options.input.is_empty() {
        return Ok((series::of_files(&options.input, options.labels.as_deref())?, None));
    }
    let series = generate::all(options.seed);
    if let Some(dir) = &options.write {
        series::write(dir, &series)?;
    }
    Ok((series, Some(plant::feed(options.seed, options.sensors, options.records))))
}

/// Sends what the log lacks, while a group computes averages and, if it is asked for, the watcher watches.
fn stream(
    broker: &Broker,
    topic: &str,
    feed: &Feed,
    window_ms: i64,
    watched: bool,
) -> Result<Found, Failure> {
    capture::open_topic(broker, topic)?;
    let averages = Averages::new(broker, topic, window_ms)?;
    let all_sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut readers: Vec<_> = (0..MEMBERS).map(|_| scope.spawn(|| averages.work(&all_sent))).collect();
        if watched {
            readers.push(scope.spawn(|| watch::watch(broker, topic, feed.len(), &all_sent)));
        }
        let sent = capture::publish(broker, topic, feed);
        // If that failed, there is nothing more to wait for.
        all_sent.store(true, Ordering::Release);
        let read: Vec<_> = readers.into_iter().map(joined).collect();
        let sent = sent?;
        read.into_iter().collect::<Result<(), _>>()?;
        println!(
            "{topic}: {} sensors, {} readings, of which {sent} were new to the log",
            feed.sensors.len(),
            feed.len()
        );
        Ok::<_, Failure>(())
    })?;
    averages.check(feed)
}
