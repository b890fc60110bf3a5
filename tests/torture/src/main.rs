//! The torture program: does to a log what a crash, a fault or damage on disk may do, counts what it really
//! did, and looks for what must not come of it. Each mode is one kind of harm.
//!
//! ```text
//! cargo run --release -p torture -- MODE [--seed N] [options of the mode]
//! ```
//!
//! It prints the seed first. At the end stands one line: `OK MODE ..` and exit 0, or `FAIL MODE FINDING: ..`
//! and how to repeat it, and exit 1. A wrong command line exits 2.

mod cases;
mod common;
mod compaction;
mod faults;
mod flips;
mod full_disk;
mod history;
mod kill;
mod power;
mod self_test;
#[allow(dead_code, reason = "the crash tests of the library use the rest")]
mod sim;
mod sync_failure;

use std::process::ExitCode;

use common::options::{Options, Request, USAGE};
use common::outcome::{Failure, say};

/// One kind of harm: runs, and returns the rest of the line that begins with `OK MODE `.
type Mode = fn(&Options) -> Result<String, Failure>;

/// Every mode, in the order of the help text.
const MODES: [(&str, Mode); 9] = [
    ("kill", kill::run),
    ("power", power::run),
    ("faults", faults::run),
    ("flips", flips::run),
    ("full-disk", full_disk::run),
    ("sync-failure", sync_failure::run),
    ("history", history::run),
    ("compaction", compaction::run),
    ("self-test", self_test::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role, rest)) = child_role(&words) {
        return role(rest);
    }
    match Request::parse(&words, &MODES.map(|(name, _)| name)) {
        Ok(Request::Help) => {
            say(USAGE);
            ExitCode::SUCCESS
        }
        Ok(Request::Run { mode, options }) => run(&mode, &options),
        Err(reason) => {
            eprintln!("{reason}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What a process of this program does that another one started: not for the command line of people.
type Role = fn(&[String]) -> ExitCode;

fn child_role(words: &[String]) -> Option<(Role, &[String])> {
    let (first, rest) = words.split_first()?;
    let role: Role = match first.as_str() {
        kill::CHILD => kill::child_main,
        compaction::CHILD => compaction::child_main,
        full_disk::INSIDE => full_disk::inside_main,
        full_disk::WORKER => full_disk::worker_main,
        self_test::LIST => self_test::list_main,
        _ => return None,
    };
    Some((role, rest))
}

fn run(mode: &str, options: &Options) -> ExitCode {
    say(&format!("seed {}", options.seed));
    // The self-test takes a bug as the only one to look for.
    let bug = options.bug.as_deref().filter(|_| mode != "self-test");
    if let Err(reason) = common::bugs::plant(bug) {
        eprintln!("{reason}");
        return ExitCode::from(2);
    }
    let Some((_, run)) = MODES.iter().find(|(name, _)| *name == mode) else { return ExitCode::from(2) };
    match run(options) {
        Ok(counts) => {
            say(&format!("OK {mode} {counts}"));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&failure.report(mode, options));
            ExitCode::FAILURE
        }
    }
}
