//! `self-test`: builds this program again with a library that can have known bugs, puts them in one at a
//! time, and demands that each is found by a mode that looks for its kind. What finds no bug proves nothing.

mod plan;
mod run;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::common::bugs;
use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding, say};
use plan::{PLANS, Plan};
use run::{Ended, run_mode};

/// The hidden subcommand that prints the names of the bugs of a build.
pub(crate) const LIST: &str = "list-bugs";

/// Which builds can have bugs.
const CONFIGURATION: &str = "--cfg ottla_seeded_bugs";

pub(crate) fn list_main(_words: &[String]) -> ExitCode {
    bugs::names().iter().for_each(|name| say(name));
    ExitCode::SUCCESS
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let program = if cfg!(ottla_seeded_bugs) { this_program()? } else { build()? };
    check_names(&program)?;
    let plans = PLANS.iter().filter(|plan| options.bug.as_ref().is_none_or(|bug| plan.bug == bug));
    let plans: Vec<&Plan> = plans.collect();
    run_without_bugs(&program, options.seed, &plans)?;
    let mut missed = Vec::new();
    for plan in &plans {
        let row = find(&program, options.seed, plan);
        say(&row_of(plan, &row));
        if let Err(reason) = row {
            missed.push(format!("{} ({reason})", plan.bug));
        }
    }
    if !missed.is_empty() {
        let what = format!("{} of {} bugs were not found: {}", missed.len(), plans.len(), missed.join("; "));
        return Err(Failure::new(Finding::NothingExercised, what));
    }
    Ok(format!("seeded_bugs={} caught={}", plans.len(), plans.len()))
}

fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::harness("find this program", error))
}

/// Builds the program with bugs to be planted, beside this one.
fn build() -> Result<PathBuf, Failure> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let this = this_program()?;
    let target = this.ancestors().nth(2).map(|target| target.join("seeded-bugs"));
    let target = target.ok_or_else(|| Failure::harness("find the build directory", this.display()))?;
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(&target);
    cargo.env("RUSTFLAGS", format!("{flags} {CONFIGURATION}").trim()).env_remove("CARGO_ENCODED_RUSTFLAGS");
    say(&format!("building with RUSTFLAGS=\"{CONFIGURATION}\" in {}", target.display()));
    let status = cargo.status().map_err(|error| Failure::harness("run cargo", error))?;
    if !status.success() {
        return Err(Failure::harness("build with bugs to be planted", status));
    }
    let program = target.join("release").join("torture");
    if program.is_file() { Ok(program) } else { Err(Failure::harness("find", program.display())) }
}

/// The bugs that the library has are those that are looked for.
fn check_names(program: &Path) -> Result<(), Failure> {
    let output = Command::new(program).arg(LIST).output();
    let output = output.map_err(|error| Failure::harness("run the program that was built", error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<&str> = text.lines().collect();
    let mut planned: Vec<&str> = PLANS.iter().map(|plan| plan.bug).collect();
    names.sort_unstable();
    planned.sort_unstable();
    if names == planned {
        return Ok(());
    }
    Err(Failure::harness("plan the bugs", format!("the library has {names:?}, planned are {planned:?}")))
}

/// Each mode passes as it is run below, as long as there is no bug.
fn run_without_bugs(program: &Path, seed: u64, plans: &[&Plan]) -> Result<(), Failure> {
    let mut done: Vec<(&str, &[&str])> = Vec::new();
    for plan in plans {
        let what = (plan.mode, plan.options);
        if done.contains(&what) {
            continue;
        }
        done.push(what);
        let ended = run_mode(program, plan, seed, None)?;
        let Ended::Passed(line) = &ended.0 else {
            let what = format!("{} fails without a bug: {}", plan.mode, ended.0);
            return Err(Failure::new(Finding::WrongReport, what));
        };
        say(&format!("{:26} {:12} {:>5.1} s  {line}", "no bug", plan.mode, ended.1.as_secs_f64()));
    }
    Ok(())
}

/// What was found of a bug, and how long that took; or why it was not.
type Row = Result<(String, f64), String>;

/// Looks for a bug with some seeds, since kills come when they come.
fn find(program: &Path, seed: u64, plan: &Plan) -> Row {
    let mut reason = String::new();
    let mut seconds = 0.0;
    for attempt in 0..plan.attempts {
        let ended =
            run_mode(program, plan, seed + attempt, Some(plan.bug)).map_err(|failure| failure.detail)?;
        seconds += ended.1.as_secs_f64();
        match &ended.0 {
            Ended::Failed(finding, detail) if plan.findings.contains(finding) => {
                return Ok((format!("{}: {detail}", finding.word()), seconds));
            }
            other => reason = other.to_string(),
        }
    }
    Err(reason)
}

fn row_of(plan: &Plan, row: &Row) -> String {
    const COLUMNS: usize = 110;
    let (seconds, text) = match row {
        Ok((found, seconds)) => (format!("{seconds:>5.1} s"), found.clone()),
        Err(reason) => ("      -".to_owned(), format!("NOT FOUND: {reason}")),
    };
    let text: String = text.chars().take(COLUMNS).collect();
    format!("{:26} {:12} {seconds}  {text}", plan.bug, plan.mode)
}
