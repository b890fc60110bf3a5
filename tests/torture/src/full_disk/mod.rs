//! `full-disk`: a file system that is really too small, and files that may not grow. Sends, commits and new
//! topics are refused with the right error, what was acknowledged is read meanwhile, and everything works
//! again without a restart when there is room; then the process is killed, or ends, and everything
//! acknowledged is there.

mod inside;
mod orders;
mod worker;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding, require_all, say};
use crate::common::process::{self, failure_said};
use crate::common::random::Random;
use crate::common::shared::{Shared, Word};
use orders::{Limit, Orders};

/// The hidden subcommand that mounts a small file system, where only it and its worker see it.
pub(crate) const INSIDE: &str = "full-disk-inside";
/// The hidden subcommand that uses a broker there.
pub(crate) const WORKER: &str = "full-disk-worker";

const ROUNDS: u64 = 20;

pub(crate) fn inside_main(words: &[String]) -> ExitCode {
    inside::main(words)
}

pub(crate) fn worker_main(words: &[String]) -> ExitCode {
    worker::main(words)
}

/// What all rounds saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    small_file_systems: u64,
    file_sizes: u64,
    acknowledged: u64,
    full_sends: u64,
    full_commits: u64,
    full_topics: u64,
    full_opens: u64,
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let mut seen = Seen::default();
    let mut can_mount = true;
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let rounds = options.case.map_or(0..options.rounds.unwrap_or(ROUNDS), |case| case..case + 1);
    for number in rounds {
        if end.is_some_and(|end| Instant::now() > end) {
            break;
        }
        // Every third round limits the size of files.
        let limit = if number % 3 == 2 || !can_mount { Limit::FileSize } else { Limit::SmallFileSystem };
        let repeat = |failure: Failure| failure.repeated_by(format!("--case {number}"));
        if !run_round(options, number, limit, &mut seen).map_err(repeat)? {
            say("this process may not mount a file system of its own: only the size of files is limited");
            can_mount = false;
            run_round(options, number, Limit::FileSize, &mut seen).map_err(repeat)?;
        }
    }
    let Seen { small_file_systems, file_sizes, acknowledged, .. } = seen;
    let Seen { full_sends, full_commits, full_topics, full_opens, .. } = seen;
    say(&format!(
        "small_file_systems={small_file_systems} file_sizes={file_sizes} acked={acknowledged} refused: \
        sends={full_sends} commits={full_commits} topics={full_topics} opens={full_opens}"
    ));
    let rounds = small_file_systems + file_sizes;
    require_all(&[("rounds", rounds), ("acked", acknowledged), ("sends", full_sends)])?;
    if rounds >= ROUNDS && can_mount {
        let refused = [("commits", full_commits), ("topics", full_topics), ("opens", full_opens)];
        require_all(&refused)?;
    }
    Ok(format!("rounds={rounds} crashes=0 acked_lost=0 resumed={rounds}"))
}

/// One round. False: there is no file system of our own to be had.
fn run_round(options: &Options, number: u64, limit: Limit, seen: &mut Seen) -> Result<bool, Failure> {
    let place = tempfile::Builder::new().prefix("torture-full-disk-").tempdir();
    let place = place.map_err(|error| Failure::harness("make a directory", error))?;
    let shared = Shared::create().map_err(|error| Failure::harness("share memory", error))?;
    let orders = Orders {
        place: place.path().to_path_buf(),
        words: shared.path().to_path_buf(),
        seed: Random::of_case(options.seed, number).next(),
        limit,
        bug: options.bug.clone(),
    };
    let mut inside = process::start(INSIDE, &orders.words())?;
    let status = inside.wait().map_err(|error| Failure::harness("wait", error))?;
    if limit == Limit::SmallFileSystem && status.code() == Some(i32::from(inside::NO_MOUNTS)) {
        return Ok(false);
    }
    if !status.success() {
        let failure = failure_said(&shared.text(), &format!("the round ended by itself: {status}"));
        return Err(failure);
    }
    match limit {
        Limit::SmallFileSystem => seen.small_file_systems += 1,
        Limit::FileSize => seen.file_sizes += 1,
    }
    let acknowledged = shared.get(Word::Acknowledged);
    if acknowledged == 0 {
        return Err(Failure::new(Finding::NothingExercised, "nothing was acknowledged"));
    }
    seen.acknowledged += acknowledged;
    seen.full_sends += shared.get(Word::FullSends);
    seen.full_commits += shared.get(Word::FullCommits);
    seen.full_topics += shared.get(Word::FullTopics);
    seen.full_opens += shared.get(Word::FullOpens);
    Ok(true)
}
