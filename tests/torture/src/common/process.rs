//! Processes that this program starts of itself: how they are started, end with their parent, and say why
//! they failed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;

use ottla::Error;

use super::outcome::{Failure, Finding};
use super::shared::Shared;
use super::system;

/// Starts this program in another role.
pub(crate) fn start(role: &str, words: &[String]) -> Result<Child, Failure> {
    let started = Command::new(this_program()?).arg(role).args(words).spawn();
    started.map_err(|error| Failure::harness("start a process", error))
}

/// This program as it runs, even if its file has been replaced meanwhile.
fn this_program() -> Result<PathBuf, Failure> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_path_buf());
    }
    std::env::current_exe().map_err(|error| Failure::harness("find this program", error))
}

/// What a process that was started does: it ends with its parent, a panic on any thread ends it, and what
/// fails stands in the shared words.
pub(crate) fn be_child(shared: &Arc<Shared>, work: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    if let Err(error) = system::die_with_parent() {
        say_failure(shared, &Failure::harness("end with the parent", error));
        return ExitCode::FAILURE;
    }
    let words = Arc::clone(shared);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        say_failure(&words, &Failure::new(Finding::Panic, panic.to_string()));
        std::process::exit(1);
    }));
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_failure(shared, &failure);
            ExitCode::FAILURE
        }
    }
}

/// Leaves the failure for the one who started this process. The first one counts.
pub(crate) fn say_failure(shared: &Shared, failure: &Failure) {
    shared.set_text(&format!("{}: {}", failure.finding.word(), failure.detail));
}

/// Ends the process at its first failure, whatever its other threads do.
pub(crate) fn end_with(shared: &Shared, outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        say_failure(shared, &failure);
        std::process::exit(1);
    }
}

/// What a process said last is what went wrong, if it said something.
pub(crate) fn failure_said(text: &str, otherwise: &str) -> Failure {
    let named = text.split_once(": ").and_then(|(word, detail)| {
        let finding = Finding::ALL.into_iter().find(|finding| finding.word() == word)?;
        Some(Failure::new(finding, format!("in the child: {detail}")))
    });
    named.unwrap_or_else(|| Failure::new(Finding::Crash, otherwise))
}

/// For what cannot fail with reason, since nothing is wrong with the disk.
pub(crate) fn unexpected(what: &str) -> impl Fn(Error) -> Failure {
    move |error: Error| {
        let finding = match error {
            Error::Corrupt { .. } | Error::PartitionFenced { .. } | Error::RecordsDamaged { .. } => {
                Finding::Fenced
            }
            _ => Finding::WrongError,
        };
        Failure::new(finding, format!("{what}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_says_is_what_is_reported() {
        assert_eq!(failure_said("wrong-bytes: offset 3", "it died").finding, Finding::WrongBytes);
        assert_eq!(failure_said("", "it died").finding, Finding::Crash);
        assert_eq!(failure_said("thread panicked: oh", "it died").finding, Finding::Crash);
    }
}
