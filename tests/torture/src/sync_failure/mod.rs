//! `sync-failure`: syncs fail as they do on Linux: once, and what was to be made safe counts as clean from
//! then on, so that the next sync of the same file succeeds and makes none of it safe. Writing it to a new
//! file may fail too, once or for long. Then the power goes, or the broker is closed, or killed: what was
//! acknowledged as safe must be there. A case is one directory on a simulated file system; some more are on
//! the real one.

mod case;
mod commits;
mod faults;
mod ledger;
mod real_disk;
mod scene;
mod sender;
mod trouble;

use crate::cases::{Counts, run_all};
use crate::common::options::Options;
use crate::common::outcome::{Failure, require_all, say};
use crate::common::random::Random;
use case::Case;
use faults::Failed;

const CASES: u64 = 2_000;
/// One in so many cases is on the real file system.
const ONE_ON_DISK_IN: u64 = 20;
/// From so many cases on, every count has to be more than zero.
const CASES_TO_MEET_ALL: u64 = 300;

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// Partitions that went on in a new file.
    rewritten: u64,
    /// And on the real file system.
    on_disk: u64,
    failed_syncs: u64,
    failed_dir_syncs: u64,
    /// Attempts to write again.
    failed_rewrites: u64,
    /// Partitions that took no records for a time, and took them again.
    suspended: u64,
    resumed: u64,
    /// Records that had to be there at the end, and were.
    owed: u64,
    power_losses: u64,
    kills: u64,
    closed: u64,
    failed_closes: u64,
    /// Partitions that were damaged because a killed process left what a failed sync had given up.
    damaged: u64,
}

impl Met {
    fn add_failed(&mut self, failed: Failed) {
        self.failed_syncs += failed.syncs;
        self.failed_dir_syncs += failed.dir_syncs;
        self.failed_rewrites += failed.rewrites;
    }

    fn counts(&self) -> [(&'static str, u64); 13] {
        [
            ("rewritten", self.rewritten),
            ("on_disk", self.on_disk),
            ("failed_syncs", self.failed_syncs),
            ("failed_dir_syncs", self.failed_dir_syncs),
            ("failed_rewrites", self.failed_rewrites),
            ("suspended", self.suspended),
            ("resumed", self.resumed),
            ("owed", self.owed),
            ("power_losses", self.power_losses),
            ("kills", self.kills),
            ("closed", self.closed),
            ("failed_closes", self.failed_closes),
            ("damaged", self.damaged),
        ]
    }
}

impl Counts for Met {
    fn add(&mut self, other: Self) {
        self.rewritten += other.rewritten;
        self.on_disk += other.on_disk;
        self.failed_syncs += other.failed_syncs;
        self.failed_dir_syncs += other.failed_dir_syncs;
        self.failed_rewrites += other.failed_rewrites;
        self.suspended += other.suspended;
        self.resumed += other.resumed;
        self.owed += other.owed;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.closed += other.closed;
        self.failed_closes += other.failed_closes;
        self.damaged += other.damaged;
    }
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let seed = options.seed;
    let done = run_all(options, options.cases.unwrap_or(CASES), move |number, met: &mut Met| {
        let mut random = Random::of_case(seed, number);
        if number % ONE_ON_DISK_IN == ONE_ON_DISK_IN - 1 {
            return real_disk::run_case(&mut random, met);
        }
        Case::new(&mut random).run(&mut random, met)
    })?;
    let counts = done.counts.counts();
    say(&counts[1..].iter().map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" "));
    if done.cases >= CASES_TO_MEET_ALL {
        // Whether damage is met is up to the moments at which processes are killed.
        require_all(&counts[..counts.len() - 1])?;
    }
    Ok(format!("cases={} rewritten={} false_acks=0", done.cases, done.counts.rewritten + done.counts.on_disk))
}
