//! How a mode ends: what was found, and the command that finds it again.

use std::fmt::Display;
use std::io::Write;

use super::options::Options;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Something acknowledged is not there.
    Lost,
    /// Records are in another order than they were sent.
    Reordered,
    /// A record is there twice.
    Duplicated,
    /// A reader passed over records.
    Skipped,
    /// A reader went back to records that it had read.
    Back,
    /// A record is at another offset than before.
    OffsetChanged,
    /// What compaction had removed is there again.
    CameBack,
    /// A tombstone was removed before everybody had the time to see it.
    TombstoneEarly,
    /// Two things were told that cannot both be so.
    Inconsistent,
    /// A record, a commit or a topic is there that nobody sent.
    Invented,
    /// A record was returned with other bytes than it was sent with.
    WrongBytes,
    /// A batch is there in part.
    BrokenBatch,
    /// A record is missing between two that are there.
    Hole,
    /// A log in which nothing is damaged was reported as damaged, or fenced.
    Fenced,
    /// Damage was not reported, or reported wrongly.
    WrongReport,
    /// Something was acknowledged that had not happened.
    FalseAck,
    /// A file was synced after a sync of it had failed.
    SyncRetried,
    /// The library answered with the wrong error, or with one where none was due.
    WrongError,
    /// Work did not go on when the cause of a fault was gone.
    NotResumed,
    /// Damage in one place took good records of another one.
    NeighbourLost,
    /// Something was changed that had to be left alone.
    Touched,
    /// The library panicked.
    Panic,
    /// The process died by itself.
    Crash,
    /// It did not come to an end.
    Stuck,
    /// A count that has to be more than zero is zero.
    NothingExercised,
    /// The program itself could not do its work: no fault of the library's.
    Harness,
}

impl Finding {
    /// Every finding, for those who read the word back.
    pub(crate) const ALL: [Self; 26] = [
        Self::Lost,
        Self::Reordered,
        Self::Duplicated,
        Self::Skipped,
        Self::Back,
        Self::OffsetChanged,
        Self::CameBack,
        Self::TombstoneEarly,
        Self::Inconsistent,
        Self::Invented,
        Self::WrongBytes,
        Self::BrokenBatch,
        Self::Hole,
        Self::Fenced,
        Self::WrongReport,
        Self::FalseAck,
        Self::SyncRetried,
        Self::WrongError,
        Self::NotResumed,
        Self::NeighbourLost,
        Self::Touched,
        Self::Panic,
        Self::Crash,
        Self::Stuck,
        Self::NothingExercised,
        Self::Harness,
    ];

    /// As it stands in the line that begins with `FAIL`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Reordered => "reordered",
            Self::Duplicated => "duplicated",
            Self::Skipped => "skipped",
            Self::Back => "back",
            Self::OffsetChanged => "offset-changed",
            Self::CameBack => "came-back",
            Self::TombstoneEarly => "tombstone-early",
            Self::Inconsistent => "inconsistent",
            Self::Invented => "invented",
            Self::WrongBytes => "wrong-bytes",
            Self::BrokenBatch => "broken-batch",
            Self::Hole => "hole",
            Self::Fenced => "fenced",
            Self::WrongReport => "wrong-report",
            Self::FalseAck => "false-ack",
            Self::SyncRetried => "sync-retried",
            Self::WrongError => "wrong-error",
            Self::NotResumed => "not-resumed",
            Self::NeighbourLost => "neighbour-lost",
            Self::Touched => "touched",
            Self::Panic => "panic",
            Self::Crash => "crash",
            Self::Stuck => "stuck",
            Self::NothingExercised => "nothing-exercised",
            Self::Harness => "harness",
        }
    }
}

/// Why a mode failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) finding: Finding,
    pub(crate) detail: String,
    /// Options that repeat it, other than the seed and the bug: `--case 17`. Empty: those of this run.
    pub(crate) repeat: String,
    /// What is to be said about repeating it.
    pub(crate) note: String,
}

impl Failure {
    pub(crate) fn new(finding: Finding, detail: impl Into<String>) -> Self {
        Self { finding, detail: detail.into(), repeat: String::new(), note: String::new() }
    }

    /// For what this program itself could not do.
    pub(crate) fn harness(what: &str, error: impl Display) -> Self {
        Self::new(Finding::Harness, format!("{what}: {error}"))
    }

    /// Adds the options that repeat it, unless there are some.
    pub(crate) fn repeated_by(mut self, options: impl Into<String>) -> Self {
        if self.repeat.is_empty() {
            self.repeat = options.into();
        }
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The lines that end the run.
    pub(crate) fn report(&self, mode: &str, options: &Options) -> String {
        let repeat = if self.repeat.is_empty() { options.counts() } else { format!(" {}", self.repeat) };
        let bug = options.bug.as_ref().map_or_else(String::new, |bug| format!(" --bug {bug}"));
        let note = if self.note.is_empty() { String::new() } else { format!("\n({})", self.note) };
        format!(
            "FAIL {mode} {}: {}\nto repeat: torture {mode} --seed {}{repeat}{bug}{note}",
            self.finding.word(),
            self.detail,
            options.seed,
        )
    }
}

/// Fails if a count is zero that must not be.
pub(crate) fn require_all(counts: &[(&str, u64)]) -> Result<(), Failure> {
    let zero: Vec<&str> = counts.iter().filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect();
    if zero.is_empty() {
        return Ok(());
    }
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name}={count}")).collect();
    let detail = format!("{} must not be zero: {}", zero.join(", "), counts.join(" "));
    Err(Failure::new(Finding::NothingExercised, detail))
}

/// Prints a line. One that nobody listens to is no failure of the run.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_findings_differ() {
        for (at, one) in Finding::ALL.iter().enumerate() {
            assert!(Finding::ALL[at + 1..].iter().all(|other| other.word() != one.word()), "{one:?}");
        }
    }

    #[test]
    fn a_count_of_zero_is_a_failure() {
        assert!(require_all(&[("torn", 1), ("in_roll", 2)]).is_ok());
        let failure = require_all(&[("torn", 1), ("in_roll", 0)]).expect_err("one is zero");
        assert_eq!(failure.finding, Finding::NothingExercised);
        assert!(failure.detail.starts_with("in_roll must not"), "{}", failure.detail);
    }
}
