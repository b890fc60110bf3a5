//! Which mode has to find which bug, as what, and with what options that takes little time.

use crate::common::outcome::Finding;

/// How a bug is looked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) bug: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) options: &'static [&'static str],
    /// As what it may be found.
    pub(crate) findings: &'static [Finding],
    /// With so many seeds, one after the other.
    pub(crate) attempts: u64,
}

/// What a power loss must not do to what was synced.
const TAKEN: &[Finding] = &[Finding::Lost, Finding::Hole, Finding::Fenced];
const POWER: &[&str] = &["--cases", "4000"];
/// One damage in eleven: some of each sort.
const FLIPS: &[&str] = &["--cases", "12000"];
const KILL: &[&str] = &["--cycles", "60"];

const fn power(bug: &'static str, findings: &'static [Finding]) -> Plan {
    Plan { bug, mode: "power", options: POWER, findings, attempts: 1 }
}

const fn flips(bug: &'static str, findings: &'static [Finding]) -> Plan {
    Plan { bug, mode: "flips", options: FLIPS, findings, attempts: 1 }
}

const fn kill(bug: &'static str, findings: &'static [Finding]) -> Plan {
    Plan { bug, mode: "kill", options: KILL, findings, attempts: 3 }
}

/// What becomes of a partition that two members take for theirs.
const TANGLED: &[Finding] = &[
    Finding::Inconsistent,
    Finding::Duplicated,
    Finding::Lost,
    Finding::Skipped,
    Finding::FalseAck,
    Finding::WrongError,
];

const fn history(bug: &'static str, findings: &'static [Finding]) -> Plan {
    Plan { bug, mode: "history", options: &["--seconds", "6"], findings, attempts: 3 }
}

/// What compaction must not do.
const COMPACTED: &[Finding] = &[Finding::Lost, Finding::WrongBytes, Finding::Fenced, Finding::CameBack];

const fn compaction(bug: &'static str, findings: &'static [Finding]) -> Plan {
    Plan { bug, mode: "compaction", options: &["--cases", "1200", "--cycles", "0"], findings, attempts: 1 }
}

/// The bugs, in the order in which the library lists them.
pub(crate) const PLANS: [Plan; 18] = [
    power("no-sync-before-roll", TAKEN),
    power("no-dir-sync-after-create", TAKEN),
    power("no-dir-sync-after-rename", TAKEN),
    power("mark-captured-after-sync", TAKEN),
    power("mark-before-sync", TAKEN),
    flips("crc-without-length", &[Finding::WrongBytes, Finding::Lost, Finding::WrongReport]),
    flips("crc-without-offset", &[Finding::WrongBytes, Finding::Lost, Finding::WrongReport]),
    flips("length-unchecked", &[Finding::Panic, Finding::WrongBytes, Finding::Crash]),
    flips("index-trusted", &[Finding::WrongBytes, Finding::Lost, Finding::WrongReport]),
    // What is lost at the end may be told by a reader first, who is beyond it.
    kill("tail-not-truncated", &[Finding::Lost, Finding::Fenced, Finding::WrongReport, Finding::WrongError]),
    Plan {
        bug: "failed-sync-retried",
        mode: "sync-failure",
        options: &["--cases", "200"],
        findings: &[Finding::FalseAck, Finding::SyncRetried, Finding::Fenced],
        attempts: 1,
    },
    kill("ack-before-write", &[Finding::Lost, Finding::FalseAck]),
    power("compacted-unsynced", TAKEN),
    compaction("merged-removed-early", COMPACTED),
    compaction("tombstone-removed-at-once", &[Finding::TombstoneEarly]),
    history("taken-before-released", TANGLED),
    history("late-commit-taken", TANGLED),
    history("begun-too-late", &[Finding::Lost, Finding::Skipped, Finding::WrongError]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bug_is_found_by_a_run_that_did_nothing() {
        for plan in &PLANS {
            let nothing = [Finding::NothingExercised, Finding::Harness, Finding::Stuck];
            assert!(plan.findings.iter().all(|finding| !nothing.contains(finding)), "{}", plan.bug);
            assert!(!plan.findings.is_empty() && plan.attempts > 0, "{}", plan.bug);
        }
    }
}
