//! Patients in a hospital, watched through topics: no alarm is lost though the monitor crashes, and none
//! counts twice. Bedside monitors report to a topic, each patient under a key. A group of two computes an
//! early warning score (`news2.rs`) and raises alarms (`bed.rs`): a patient deteriorates, it gets worse, a
//! lead has fallen off. One of the two crashes twice, between an alarm and its commit, and comes back under
//! the same instance id within its time, so that the other one keeps what it has. An audit reads all alarms
//! from the beginning and compares them with what `batch.rs` computes from the input.
//!
//! **This is a demonstration of a stream of events. It is not a medical device, and nobody's care may
//! depend on it.**
//!
//! Run it: `cargo run --release --example ward`. It invents two hours of 30 patients, 7 of whom get worse.
//! In a terminal it shows the beds, and `-- --speed 300` lets five minutes pass in a second, so that one
//! sees something. `--input FILE` reads other patients: HL7 v2 messages (`hl7.rs`), or real ones of
//! PhysioNet, one file each (`bidmc.rs`). With `--data-dir DIR` everything stays: kill the program at any
//! moment and start it again, and it goes on with what is left.
//!
//! It ends with `OK ward patients=.. observations=.. episodes=.. alerts=.. missed=0 escalated=.. silent=..
//! duplicates=.. crashes=2 rebalances=0`. `alerts` are the episodes that were seen, `duplicates` are alarms
//! that a crash has sent twice, and that the audit took for one; `rebalances` is how often the partitions
//! of the member that did not crash changed.
//!
//! Read next: `monitor.rs`, then `audit.rs`; `publish.rs` sends what an earlier run has not.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod audit;
mod batch;
mod bed;
mod bidmc;
mod generate;
mod hl7;
mod monitor;
mod news2;
mod publish;
mod show;
mod time;
mod vitals;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, value_parser};
use common::{Failure, Pace, expect, joined};
use fastrand::Rng;
use ottla::{Broker, Compaction, Durability, Error, GroupState, TopicConfig};

use crate::bed::Kind;
use crate::generate::{Generated, MIN_OBSERVATIONS};
use crate::monitor::{Counter, Shift};
use crate::show::Screen;
use crate::vitals::Feed;

const VITALS: &str = "vitals";
const BEDS: &str = "beds";
const ALARMS: &str = "alarms";
const GROUP: &str = "monitor";
const PARTITIONS: u32 = 4;
/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;
/// How often a member of the monitor crashes.
const CRASHES: u64 = 2;

/// Watches patients through topics. A demonstration; not a medical device.
#[derive(Debug, Parser)]
struct Options {
    /// Read HL7 v2 messages, or the numerics of a BIDMC patient, from this file; repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "patients", "observations", "episodes"])]
    input: Vec<PathBuf>,
    /// Keep the topics in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Invent another ward
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Invent so many patients
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = value_parser!(u32).range(1..=10_000))]
    patients: u32,
    /// Invent so many observations of each, one every ten seconds
    #[arg(long, value_name = "N", default_value_t = 720,
          value_parser = value_parser!(u32).range(i64::from(MIN_OBSERVATIONS)..=1_000_000))]
    observations: u32,
    /// So many of the patients get worse
    #[arg(long, value_name = "N", default_value_t = 7)]
    episodes: u32,
    /// Write the ward to this file, as HL7 v2 messages
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Let time pass so many times as fast as it did [default: as fast as possible]
    #[arg(long, value_name = "X", value_parser = Pace::parse_speed)]
    speed: Option<f64>,
}

fn main() -> ExitCode {
    common::finish("ward", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let (feed, injected) = feed(options)?;
    let expected = batch::alarms(&feed);
    let episodes = batch::count(&expected, |kind| kind == Kind::Deteriorates);
    if let Some((injected, silences)) = injected {
        expect("episodes of a ward that was made to have some", episodes, injected)?;
        let found = batch::count(&expected, |kind| matches!(kind, Kind::Silent(_)));
        expect("leads that fell off, of those that were made to", found, silences)?;
    }
    let broker = open(options)?;
    let started = Instant::now();
    let Watched { crashes, rebalances } = watch(&broker, options, &feed)?;
    println!("sent and watched in {:.1?}", started.elapsed());
    let audit = audit::audit(&broker, &feed)?;
    broker.close()?;
    expect("crashes", crashes, CRASHES)?;
    expect("rebalances of who did not crash", rebalances, 0)?;
    let (patients, observations) = (feed.patients(), feed.observations.len());
    let (alerts, missed) = (audit.deteriorations, episodes - audit.deteriorations);
    let (escalated, silent, duplicates) = (audit.escalations, audit.silences, audit.duplicates);
    Ok(format!(
        "patients={patients} observations={observations} episodes={episodes} alerts={alerts} \
         missed={missed} escalated={escalated} silent={silent} duplicates={duplicates} crashes={crashes} \
         rebalances={rebalances}"
    ))
}

/// What is to be sent, and how many episodes and silences it was made to have, if that is known.
fn feed(options: &Options) -> Result<(Feed, Option<(u64, u64)>), Failure> {
    let (feed, injected) = if options.input.is_empty() {
        let mut rng = Rng::with_seed(options.seed);
        let (patients, observations) = (options.patients, options.observations);
        let Generated { feed, episodes, silences } =
            generate::ward(&mut rng, patients, observations, options.episodes);
        (feed, Some((episodes, silences)))
    } else {
        (read(&options.input)?, None)
    };
    if let Some(file) = &options.write {
        hl7::write(file, &feed)?;
    }
    Ok((feed, injected))
}

fn read(files: &[PathBuf]) -> Result<Feed, Failure> {
    let mut feed = Feed::default();
    let mut has_bidmc = false;
    for file in files {
        let text = hl7::text_of(file)?;
        if bidmc::is_meant(&text) {
            has_bidmc = true;
            bidmc::read(file, &text, &mut feed)?;
        } else {
            hl7::read(file, &text, &mut feed)?;
        }
    }
    if has_bidmc {
        // A file a patient: on a ward they all report at the same time.
        feed.observations.sort_by_key(|observation| observation.time);
    }
    Ok(feed)
}

fn open(options: &Options) -> Result<Broker, Failure> {
    let broker = match &options.data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    };
    let topic = || TopicConfig::new().partitions(PARTITIONS).memory_limit(NO_LIMIT);
    broker.open_topic(VITALS, topic())?;
    broker.open_topic(BEDS, topic().segment_bytes(1 << 20).compaction(Compaction::by_key()))?;
    // An alarm is on stable storage before anything else is done about its observation.
    let safe = if options.data_dir.is_some() { Durability::PowerLoss } else { Durability::Memory };
    broker.open_topic(ALARMS, topic().durability(safe))?;
    Ok(broker)
}

struct Watched {
    crashes: u64,
    /// Of the member that did not crash.
    rebalances: u64,
}

/// Sends everything while it is watched.
fn watch(broker: &Broker, options: &Options, feed: &Feed) -> Result<Watched, Failure> {
    let sent = publish::already_sent(broker, feed)?;
    let (all, there) = (feed.observations.len(), sent.values().sum::<usize>());
    println!("{all} observations of {} patients; the log lacks {}", feed.patients(), all - there);
    let screen = Screen::new(broker, all)?;
    let [all_sent, may_crash, all_crashed] = [const { AtomicBool::new(false) }; 3];
    let shift = Shift { broker, all_sent: &all_sent, may_crash: &may_crash, all_crashed: &all_crashed };
    thread::scope(|scope| {
        let (of_east, of_west) = (Counter::default(), Counter::default());
        let member = |name: &'static str, crashes, rebalances: &Counter| {
            let rebalances = rebalances.clone();
            scope.spawn(move || closing(broker, monitor::work(shift, name, crashes, &rebalances)))
        };
        // One after the other, so that each run shares the partitions alike.
        let east = member("east", CRASHES, &of_east);
        let has_begun = settle(broker, 1);
        let west = member("west", 0, &of_west);
        let published = has_begun.and_then(|()| settle(broker, 2)).and_then(|()| {
            let before = of_west.count();
            may_crash.store(true, Ordering::Release);
            publish::publish(broker, feed, sent, Pace::new(options.speed), screen)?;
            Ok(before)
        });
        let published = closing(broker, published);
        all_sent.store(true, Ordering::Release);
        let (before, crashes, _) = first_failure(published, joined(east), joined(west))?;
        Ok(Watched { crashes, rebalances: of_west.count() - before })
    })
}

/// Returns when the group has so many members, and each its partitions.
fn settle(broker: &Broker, members: usize) -> Result<(), Failure> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let has_settled = broker.describe_group(GROUP).is_ok_and(|group| {
            let mut shares = group.members.iter().map(|member| member.assignment.len());
            group.state == GroupState::Stable && shares.len() == members && shares.all(|share| share > 0)
        });
        if has_settled {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(format!("the group did not share its partitions within {PATIENCE:?}").into())
}

/// Closes the broker after a failure, which ends the others' waiting.
fn closing<T>(broker: &Broker, outcome: Result<T, Failure>) -> Result<T, Failure> {
    if let Err(failure) = &outcome
        && let Err(also) = broker.close()
    {
        return Err(format!("{failure}; and closing failed: {also}").into());
    }
    outcome
}

/// All three, or of their failures the one for which the broker was closed.
fn first_failure<A, B, C>(
    one: Result<A, Failure>,
    two: Result<B, Failure>,
    three: Result<C, Failure>,
) -> Result<(A, B, C), Failure> {
    match (one, two, three) {
        (Ok(one), Ok(two), Ok(three)) => Ok((one, two, three)),
        (one, two, three) => {
            let failures = [one.err(), two.err(), three.err()].into_iter().flatten();
            let is_a_consequence =
                |failure: &Failure| matches!(failure.downcast_ref::<Error>(), Some(Error::Closed));
            let (after, first): (Vec<_>, Vec<_>) = failures.partition(is_a_consequence);
            Err(first.into_iter().chain(after).next().expect("one of them has failed"))
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
