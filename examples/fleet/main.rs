//! A fleet that is tracked while it drives: every position under its vehicle, and four who live on that. A
//! **tracker** keeps the latest position of each vehicle in a compacted topic, and a **table** over it
//! answers where everybody is; a **watch** raises alerts when a vehicle enters a fence or slows down where
//! others drive; a **replay** reads again what was reported from some moment on.
//!
//! Run it: `cargo run --release --example fleet`. It invents 200 trucks near Minneapolis. In a terminal it
//! shows them on a board, and `-- --speed 600` lets a minute pass in a tenth of a second, so that one sees
//! something. `--road FILE` lets them drive at speeds that were measured on a road (see `road.rs`), and
//! `--input FILE` reads ships instead, in the form in which MarineCadastre publishes them (see `ais.rs`);
//! `--fence NAME=SOUTH,WEST,NORTH,EAST` adds a place to be watched. With `--data-dir DIR` everything stays:
//! kill the program at any moment and start it again, and it sends and reads only what is left.
//!
//! It ends with `OK fleet vehicles=.. positions=.. late=.. repeated=.. latest=.. replayed=.. alerts=..
//! expected=.. congested=..`. All these are compared with what `batch.rs` computes without a topic, and
//! `alerts` with how often the invented trucks were sent into a fence. `late` and `repeated` are reports
//! that were not news. `latest` are the vehicles that the table knows; the topic, compacted, has one record
//! of each, the last one, but for the piece of the log that is still written to. `congested` is how often a
//! vehicle slowed down below a share of the road's free flow (see `road.rs`).
//!
//! Read next: `publish.rs`, `track.rs`, `watch.rs`, `replay.rs` and `latest.rs` are what has to do with
//! Ottla. Then `ward`, where a group survives that its members crash.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod ais;
mod batch;
mod generate;
mod latest;
mod position;
mod publish;
mod replay;
mod road;
mod rules;
mod show;
mod time;
mod track;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use clap::{Parser, value_parser};
use common::{Failure, Pace, expect, joined};
use fastrand::Rng;
use ottla::{Broker, Compaction, Retention, TopicConfig};

use crate::batch::Batch;
use crate::position::Feed;
use crate::road::Road;
use crate::rules::{Fence, News, Rules};
use crate::show::Screen;

const POSITIONS: &str = "positions";
const LATEST: &str = "latest";
const ALERTS: &str = "alerts";
const RULES: &str = "rules";
const PARTITIONS: u32 = 4;
/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;
/// The pieces in which a log is compacted; the last one is left alone.
const PIECE_BYTES: u64 = 256 << 10;

/// Tracks a fleet through topics: the latest position of each vehicle, alerts, and replay from a moment on.
#[derive(Debug, Parser)]
struct Options {
    /// Read positions from this CSV file of MarineCadastre's form, instead of inventing them; repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "vehicles", "positions", "write"])]
    input: Vec<PathBuf>,
    /// Speeds measured on a road, as CSV with timestamp,value in mph; repeatable
    #[arg(long, value_name = "FILE")]
    road: Vec<PathBuf>,
    /// A place to be watched, as NAME=SOUTH,WEST,NORTH,EAST in degrees; repeatable
    #[arg(long, value_name = "FENCE", allow_hyphen_values = true)]
    fence: Vec<Fence>,
    /// Below this share of a road's free flow a vehicle is slow
    #[arg(long, value_name = "PERCENT", default_value_t = 60,
          value_parser = value_parser!(u32).range(1..=100))]
    congested_below: u32,
    /// Replay from this moment on, like 2015-09-01T12:00:00 [default: half way]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Keep the topics in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Invent another fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Invent so many vehicles
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = value_parser!(u32).range(1..=100_000))]
    vehicles: u32,
    /// Invent so many positions of each
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = value_parser!(u32).range(1..=1_000_000))]
    positions: u32,
    /// Write the invented fleet to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Let time pass so many times as fast as it did [default: as fast as possible]
    #[arg(long, value_name = "X", value_parser = Pace::parse_speed)]
    speed: Option<f64>,
}

fn main() -> ExitCode {
    common::finish("fleet", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let (feed, rules, injected) = feed(options)?;
    let batch = Batch::of(&feed, &rules);
    if let Some(injected) = injected {
        expect("entries into fences, of a fleet that was made to enter", batch.entries(), injected)?;
    }
    let broker = open(options)?;
    let sent = publish::already_sent(&broker, &feed)?;
    keep_to(&broker, &rules)?;
    let started = Instant::now();
    stream(&broker, options, &feed, &rules, sent)?;
    println!("sent, tracked and watched in {:.1?}", started.elapsed());
    let seen = check(&broker, options, &feed, &rules, &batch)?;
    broker.close()?;
    Ok(seen)
}

/// What is to be sent, what to look for, and how often a vehicle was sent into a fence, if that is known.
fn feed(options: &Options) -> Result<(Feed, Rules, Option<u64>), Failure> {
    let mut rng = Rng::with_seed(options.seed);
    let mut roads = options.road.iter().map(|file| Road::read(file)).collect::<Result<Vec<_>, _>>()?;
    let mut fences = options.fence.clone();
    let (feed, injected) = if options.input.is_empty() {
        if roads.is_empty() {
            roads = ["I-35", "I-94", "US-10"].map(|name| Road::invented(name, &mut rng)).into();
        }
        let invented = generate::fleet(&mut rng, &roads, options.vehicles, options.positions);
        // Other fences than the zones may be anywhere.
        (invented.feed, options.fence.is_empty().then_some(invented.entries))
    } else {
        let mut feed = Feed::default();
        options.input.iter().try_for_each(|file| ais::read(file, &mut feed))?;
        (feed, None)
    };
    if let Some(file) = &options.write {
        ais::write(file, &feed)?;
    }
    fences.extend(generate::zones(feed.roads.len()));
    let rules = Rules::new(fences, &roads, &feed, options.congested_below);
    Ok((feed, rules, injected))
}

fn open(options: &Options) -> Result<Broker, Failure> {
    let broker = match &options.data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    };
    let topic = || TopicConfig::new().partitions(PARTITIONS).memory_limit(NO_LIMIT);
    broker.open_topic(POSITIONS, topic().retention(Retention::days(30)))?;
    let compaction = Compaction::by_key().min_dirty_percent(0);
    broker.open_topic(LATEST, topic().segment_bytes(PIECE_BYTES).compaction(compaction))?;
    broker.open_topic(ALERTS, topic())?;
    broker.open_topic(RULES, TopicConfig::new().compaction(Compaction::by_key()))?;
    Ok(broker)
}

/// A directory is for one set of rules: what was watched for in an earlier run is watched for in this one.
fn keep_to(broker: &Broker, rules: &Rules) -> Result<(), Failure> {
    let table = broker.table::<String, String>(RULES)?;
    match table.get("fences and roads")? {
        None => {
            broker.producer::<String, String>(RULES)?.send("fences and roads", &rules.text())?;
            Ok(())
        }
        Some(row) if row.value()? == rules.text() => Ok(()),
        Some(_) => Err("the directory was made with other fences or roads; begin a new one".into()),
    }
}

/// Sends what is not sent yet, while it is tracked and watched.
fn stream(
    broker: &Broker,
    options: &Options,
    feed: &Feed,
    rules: &Rules,
    sent: Vec<usize>,
) -> Result<(), Failure> {
    let (all, there) = (feed.reports.len(), sent.iter().sum::<usize>());
    println!("{all} positions of {} vehicles; the log lacks {}", feed.vehicles.len(), all - there);
    if feed.without_place > 0 {
        println!("{} reports do not say where, and are left out", feed.without_place);
    }
    let screen = Screen::new(broker, rules, all)?;
    let all_sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let tracker = scope.spawn(|| track::track(broker, &all_sent));
        let watch = scope.spawn(|| watch::watch(broker, rules, &all_sent));
        let published = publish::publish(broker, feed, sent, Pace::new(options.speed), screen);
        all_sent.store(true, Ordering::Release);
        published.and(joined(tracker)).and(joined(watch))
    })
}

/// Compares everything with the batch; the answer is the last line.
fn check(
    broker: &Broker,
    options: &Options,
    feed: &Feed,
    rules: &Rules,
    batch: &Batch,
) -> Result<String, Failure> {
    expect("positions in the log", broker.describe_topic(POSITIONS)?.records(), feed.reports.len() as u64)?;
    expect("records of latest positions", broker.describe_topic(LATEST)?.records(), batch.in_time_count())?;
    latest::ask_for_all(broker, feed, batch)?;
    let compacted = latest::compact(broker)?;
    let latest = latest::ask_for_all(broker, feed, batch)?;
    println!(
        "latest: {} records were sent, {} are left, one each of {} vehicles and those still written to",
        compacted.sent, compacted.kept, compacted.vehicles
    );
    let replayed = replay::replay(broker, feed, options.since.unwrap_or_else(|| replay::half_way(feed)))?;
    let news = watch::alerts(broker)?;
    expect("alerts, each once", news.len(), batch.news.len())?;
    let news: BTreeSet<_> = news.into_iter().collect();
    if let Some((vehicle, time, news)) = news.symmetric_difference(&batch.news).next() {
        return Err(
            format!("one has and the other has not: {vehicle} at {}: {news:?}", time::text(*time)).into()
        );
    }
    print_counts(&news, rules);
    let alerts = news.iter().filter(|(_, _, news)| matches!(news, News::Entered(_))).count();
    let (vehicles, positions, expected) = (feed.vehicles.len(), feed.reports.len(), batch.entries());
    let Batch { late, repeated, .. } = batch;
    Ok(format!(
        "vehicles={vehicles} positions={positions} late={late} repeated={repeated} latest={latest} \
         replayed={replayed} alerts={alerts} expected={expected} congested={}",
        news.len() - alerts,
    ))
}

fn print_counts(news: &BTreeSet<(String, i64, News)>, rules: &Rules) {
    let mut counts: BTreeMap<&News, u32> = BTreeMap::new();
    news.iter().for_each(|(_, _, news)| *counts.entry(news).or_default() += 1);
    for (news, count) in counts {
        match news {
            News::Entered(fence) => println!("{fence}: {count} entries"),
            News::SlowedDown(road) => println!("{road}: {count} times below {}", rules.limit_text(road)),
        }
    }
}

fn moment(text: &str) -> Result<i64, String> {
    time::parse(text).ok_or_else(|| "a time is like 2015-09-01T12:00:00".to_owned())
}
