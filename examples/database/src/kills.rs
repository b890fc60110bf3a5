//! Kills the program that it is part of, again and again: to show that it may be killed.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio, abort};
use std::thread;
use std::time::{Duration, Instant};

use common::Failure;

/// Tells a child to end itself in the middle of a transaction: `--abort-after N`.
pub const ABORT_AFTER: &str = "--abort-after";

/// A run is killed at the latest after this: before the work is done, at a usual size of it.
const LONGEST: Duration = Duration::from_millis(60);
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// How runs of a program ended that were to be killed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kills {
    /// By SIGKILL, after a random time.
    pub killed: u32,
    /// By themselves, within a transaction, after a random number of records.
    pub aborted: u32,
    /// Were done before.
    pub finished: u32,
}

impl Kills {
    /// How many runs were ended before they were done.
    pub fn total(&self) -> u32 {
        self.killed + self.aborted
    }
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, aborted, finished } = self;
        write!(
            f,
            "killed {killed} times, aborted in a transaction {aborted} times, done before {finished} times"
        )
    }
}

/// Runs this program with `arguments` so many times, and ends it each time: every other one with SIGKILL
/// after a random time, the others by [`DieAfter`], after a random one of the next `records` records. What it
/// prints is not shown, unless it fails.
pub fn torment(kills: u32, seed: u64, arguments: &[OsString], records: u64) -> Result<Kills, Failure> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = Kills::default();
    for number in 0..kills {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = if number.is_multiple_of(2) {
            command.arg(ABORT_AFTER).arg(random.u64(1..=records.max(1)).to_string());
            command.spawn()?.wait_with_output()?
        } else {
            killed_after(command.spawn()?, LONGEST.mul_f64(random.f64()))?
        };
        match output.status.signal() {
            Some(_) if number.is_multiple_of(2) => seen.aborted += 1,
            Some(_) => seen.killed += 1,
            None => {
                check(&output)?;
                seen.finished += 1;
            }
        }
    }
    Ok(seen)
}

/// Waits for a child until it is time to kill it.
fn killed_after(mut child: Child, time: Duration) -> Result<Output, Failure> {
    let until = Instant::now() + time;
    while child.try_wait()?.is_none() && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
    child.kill()?;
    Ok(child.wait_with_output()?)
}

fn check(output: &Output) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("a run that was to be killed failed by itself, {}: {}", output.status, said.trim_end())
        .into())
}

/// Counts down, and ends the process as if it had crashed.
#[derive(Debug)]
pub struct DieAfter {
    left: Option<u64>,
}

impl DieAfter {
    /// After so many steps; never, if `None`.
    pub fn new(steps: Option<u64>) -> Self {
        Self { left: steps }
    }

    /// To be called for each record, after it was stored in a transaction that is still open.
    pub fn step(&mut self) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                abort();
            }
        }
    }
}
