//! Everything at once, on many threads, for a sanitizer to look at: senders and readers of topics in memory
//! and on disk, records that are kept long after they were dropped from the log, chunks that are used again,
//! segments that follow one another, deletions, topics that come and go, and a close or a drop in the middle
//! of it. Every byte that is read is checked, and what was acknowledged is there when the directory is opened
//! again.
//!
//! ```text
//! cargo run --release -p stress -- --rounds 8 --millis 500 --seed 1
//! OK stress rounds=8 sent=… read=… kept=… files_read=… trims=… topics=… closes=4 drops=4 reopened=…
//! ```
//!
//! It ends by itself, after so many rounds of so many milliseconds, or of [`MOST_RECORDS`] for each sender. The
//! seed decides what the threads do, not how they meet. Fails if a count is zero.
#![expect(clippy::print_stdout, reason = "a program")]

mod counts;
mod keeper;
mod payload;
mod random;
mod readers;
mod round;
mod senders;

use std::process::ExitCode;
use std::sync::Arc;

use counts::Counts;
use random::Random;
use round::Round;

/// What one sender sends in one round at most.
const MOST_RECORDS: u32 = 30_000;

struct Arguments {
    rounds: u32,
    millis: u64,
    seed: u64,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { rounds: 8, millis: 500, seed: 1 };
        while let Some(name) = words.next() {
            let value = words.next().and_then(|value| value.parse::<u64>().ok());
            let value = value.ok_or_else(|| format!("{name} takes a number"))?;
            match name.as_str() {
                "--rounds" => arguments.rounds = u32::try_from(value).map_err(|error| error.to_string())?,
                "--millis" => arguments.millis = value,
                "--seed" => arguments.seed = value,
                _ => return Err(format!("no option {name}; there are --rounds, --millis and --seed")),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let Arguments { rounds, millis, seed } = arguments;
    println!("seed {seed}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let counts = Arc::<Counts>::default();
    let mut random = Random::new(seed);
    for number in 0..rounds {
        let round = Round { number, millis, seed: random.next(), dir: dir.path(), counts: &counts };
        round.run();
    }
    let zero = counts.zero();
    if zero.is_empty() {
        println!("OK stress rounds={rounds} {counts}");
        return ExitCode::SUCCESS;
    }
    println!("never happened: {}", zero.join(", "));
    ExitCode::FAILURE
}
