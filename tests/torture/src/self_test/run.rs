//! Runs a mode in a process of its own, and reads from its last lines how it ended.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::common::outcome::{Failure, Finding};

/// A mode has come to its end by then.
const PATIENCE: Duration = Duration::from_secs(240);

/// How a mode ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this line.
    Passed(String),
    Failed(Finding, String),
    /// As no mode should end.
    Otherwise(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(line) => write!(f, "{line}"),
            Self::Failed(finding, detail) => write!(f, "FAIL {}: {detail}", finding.word()),
            Self::Otherwise(what) => write!(f, "{what}"),
        }
    }
}

/// Runs the mode of a plan, with or without a bug; says how it ended, and how long it took.
pub(crate) fn run_mode(
    program: &Path,
    plan: &Plan,
    seed: u64,
    bug: Option<&str>,
) -> Result<(Ended, Duration), Failure> {
    let harness = |what| move |error: std::io::Error| Failure::harness(what, error);
    let output = tempfile::NamedTempFile::new().map_err(harness("make a file"))?;
    let file: File = output.reopen().map_err(harness("open a file"))?;
    let mut command = Command::new(program);
    command.arg(plan.mode).args(["--seed", &seed.to_string()]).args(plan.options);
    if let Some(bug) = bug {
        command.args(["--bug", bug]);
    }
    // What a library with a bug says on its way out is no news.
    command.stdout(file).stderr(Stdio::null());
    let started = Instant::now();
    let mut process = command.spawn().map_err(harness("start a mode"))?;
    let code = loop {
        if let Some(status) = process.try_wait().map_err(harness("wait for a mode"))? {
            break status.code();
        }
        if started.elapsed() > PATIENCE {
            process.kill().map_err(harness("end a mode"))?;
            process.wait().map_err(harness("wait for a mode"))?;
            return Ok((Ended::Otherwise(format!("no end after {PATIENCE:?}")), started.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = std::fs::read_to_string(output.path()).map_err(harness("read what a mode said"))?;
    Ok((ended(plan.mode, code, &text), started.elapsed()))
}

/// How a mode ended, by its exit code and what it printed.
fn ended(mode: &str, code: Option<i32>, text: &str) -> Ended {
    let begins = |line: &&str, word: &str| line.starts_with(&format!("{word} {mode} "));
    let last = text.lines().last().unwrap_or_default();
    if code == Some(0) && begins(&last, "OK") {
        return Ended::Passed(last.to_owned());
    }
    let failed = text.lines().find(|line| begins(line, "FAIL"));
    let finding = failed.and_then(|line| {
        let (word, detail) = line.strip_prefix(&format!("FAIL {mode} "))?.split_once(": ")?;
        let finding = Finding::ALL.into_iter().find(|finding| finding.word() == word)?;
        Some(Ended::Failed(finding, detail.to_owned()))
    });
    match finding {
        Some(finding) if code == Some(1) => finding,
        _ => Ended::Otherwise(format!("exit code {code:?}, last line {last:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_mode_ended_is_read_from_its_lines() {
        let passed = "seed 1\nOK kill cycles=3";
        let failed = "seed 1\nFAIL kill lost: lost=1: at 3\nto repeat: torture kill";
        assert_eq!(ended("kill", Some(0), passed), Ended::Passed("OK kill cycles=3".to_owned()));
        let lost = Ended::Failed(Finding::Lost, "lost=1: at 3".to_owned());
        assert_eq!(ended("kill", Some(1), failed), lost);
    }

    #[test]
    fn whatever_else_a_run_says_is_neither() {
        for (code, text) in [
            (Some(0), "seed 1"),
            (Some(0), "OK power cases=3"),
            (Some(1), "OK kill cycles=3"),
            (Some(0), "FAIL kill lost: x"),
            (Some(101), "FAIL kill lost: x"),
            (Some(1), "FAIL kill something: x"),
            (Some(2), ""),
            (None, "seed 1"),
        ] {
            let ended = ended("kill", code, text);
            assert!(matches!(ended, Ended::Otherwise(_)), "{code:?} {text:?}: {ended:?}");
        }
    }
}
