//! A stock exchange's message feed through a topic: every message under its stock's name, so that each stock
//! stays in order, and two groups that rebuild all order books from it, independently and bit for bit alike.
//!
//! Run it with `cargo run --release --example exchange`. It invents a day of NASDAQ ITCH 5.0 messages; a day
//! of real ones can be read with `--input FILE`. With `--data-dir DIR` the log stays: kill the program at any
//! moment and start it again, and it publishes only what the log lacks, and ends with the same line.
//!
//! It prints a table of the stocks and ends with
//! `OK exchange messages=.. stocks=.. groups=2 mismatches=0 digest=..`, where the digest is of all that the
//! groups know. Read next: `publish.rs`, then `group.rs`; `itch.rs` and `book.rs` are the exchange's side and
//! know nothing of Ottla.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod book;
mod digest;
mod feed;
mod generate;
mod group;
mod itch;
mod market;
mod options;
mod publish;
mod report;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;
use std::{env, fs, panic};

use ottla::{Broker, TopicConfig};

use crate::feed::Feed;
use crate::market::Market;
use crate::options::{Options, Source, USAGE};
use crate::publish::Backlog;

/// Anything that ends the program; its text is for the user.
type Failure = Box<dyn Error + Send + Sync>;

/// The codec of the keys: a stock's name, or none.
type Key = Option<String>;

const TOPIC: &str = "exchange";
const PARTITIONS: u32 = 4;
/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;
const GROUPS: [&str; 2] = ["surveillance", "analytics"];

fn main() -> ExitCode {
    if env::args_os().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("exchange: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let options = Options::parse(env::args_os().skip(1))?;
    let bytes = day(&options.source)?;
    let feed = Feed::of_file(&bytes)?;
    let broker = open(options.data_dir.as_deref())?;
    let markets = stream(&broker, &feed)?;
    broker.close()?;
    report::report(&feed, &markets, matches!(options.source, Source::Generator { .. }))
}

fn day(source: &Source) -> Result<Vec<u8>, Failure> {
    match source {
        Source::File(file) => fs::read(file).map_err(|error| about(file, error)),
        Source::Generator { seed, messages, write_to } => {
            let bytes = generate::day(*seed, *messages);
            if let Some(file) = write_to {
                fs::write(file, &bytes).map_err(|error| about(file, error))?;
            }
            Ok(bytes)
        }
    }
}

fn about(file: &Path, error: impl Error) -> Failure {
    format!("{}: {error}", file.display()).into()
}

fn open(data_dir: Option<&Path>) -> Result<Broker, Failure> {
    let broker = match data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    };
    broker.open_topic(TOPIC, TopicConfig::new().partitions(PARTITIONS).memory_limit(NO_LIMIT))?;
    Ok(broker)
}

/// Publishes what the log lacks while the groups read; the answer is what each group knows in the end.
fn stream(broker: &Broker, feed: &Feed<'_>) -> Result<[Market; GROUPS.len()], Failure> {
    let backlog = Backlog::of(broker, feed)?;
    let (lacking, all) = (backlog.messages(), feed.messages());
    println!("{all} messages of {} stocks; the log lacks {lacking}", feed.stocks.len());
    let started = Instant::now();
    let markets = thread::scope(|scope| {
        let groups = GROUPS.map(|group| scope.spawn(move || group::rebuild(broker, group, all)));
        let published = backlog.publish(broker);
        // If that failed, nothing more will come, and closing ends the groups' waiting.
        let ended = if published.is_err() { broker.close() } else { Ok(()) };
        let [first, second] = groups.map(joined);
        published?;
        ended?;
        Ok::<_, Failure>([first?, second?])
    })?;
    println!("published and read by {} groups in {:.1?}\n", GROUPS.len(), started.elapsed());
    Ok(markets)
}

/// A thread's result; its panic goes on here.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}
