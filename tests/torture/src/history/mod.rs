//! `history`: producers, members of groups and readers by hand use one broker, in memory and on disk, while
//! members are killed, stalled, closed and joined, and topics appear and get more partitions. Everybody
//! writes down what they did and were told; then the history is searched for what must not be in it.
//!
//! The seed repeats what is chosen and not the timing: which call meets which is up to the machine.

mod by_hand;
mod check;
mod crew;
mod events;
mod group;
mod member;
mod producer;
mod recorder;
mod report;
mod round;
mod scene;
mod task;

use std::time::Duration;

use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding, require_all, say};
use crate::common::random::Random;
use check::check;
use events::{History, Outcome, What};
use member::Order;

const SECONDS: u64 = 20;
/// A round is about so long; what it holds in memory grows with it.
const SECONDS_PER_ROUND: u64 = 5;
const MIN_OPERATIONS: u64 = 10_000;
/// Of shorter runs, not every count has to be more than zero.
const SECONDS_TO_MEET_ALL: u64 = 15;

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Met {
    operations: u64,
    rebalances: u64,
    joined: u64,
    killed: u64,
    panicked: u64,
    stalled: u64,
    closed: u64,
    grown: u64,
    appeared: u64,
    disappeared: u64,
    /// Records that reached readers by hand, and members of groups.
    read_by_hand: u64,
    processed: u64,
    /// Of the latter, those that had a reason to be processed again.
    again: u64,
    evicted: u64,
    refused_commits: u64,
}

impl Met {
    fn count(&mut self, order: Order) {
        match order {
            Order::None => {}
            Order::Kill => self.killed += 1,
            Order::Panic => self.panicked += 1,
            Order::Stall => self.stalled += 1,
            Order::StallAndKill => (self.stalled, self.killed) = (self.stalled + 1, self.killed + 1),
            Order::Close => self.closed += 1,
        }
    }

    fn count_history(&mut self, history: &History) {
        self.operations = history.operations();
        let mut in_groups = std::collections::HashSet::new();
        for reader in &history.readers {
            for event in &reader.events {
                match (&event.what, reader.group) {
                    (What::Polled(reads), None) => self.read_by_hand += reads.len() as u64,
                    (What::Polled(reads), Some(group)) => {
                        self.processed += reads.len() as u64;
                        in_groups.extend(reads.iter().map(|read| (group, read.partition, read.offset)));
                    }
                    (What::Evicted, _) => self.evicted += 1,
                    (What::Committed(_, Outcome::Refused), _) => self.refused_commits += 1,
                    _ => {}
                }
            }
        }
        self.again = self.processed - in_groups.len() as u64;
    }

    fn counts(&self) -> [(&'static str, u64); 14] {
        [
            ("rebalances", self.rebalances),
            ("joined", self.joined),
            ("killed", self.killed),
            ("panicked", self.panicked),
            ("stalled", self.stalled),
            ("closed", self.closed),
            ("grown", self.grown),
            ("appeared", self.appeared),
            ("disappeared", self.disappeared),
            ("read_by_hand", self.read_by_hand),
            ("processed", self.processed),
            ("again", self.again),
            ("evicted", self.evicted),
            ("refused_commits", self.refused_commits),
        ]
    }

    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.rebalances += other.rebalances;
        self.joined += other.joined;
        self.killed += other.killed;
        self.panicked += other.panicked;
        self.stalled += other.stalled;
        self.closed += other.closed;
        self.grown += other.grown;
        self.appeared += other.appeared;
        self.disappeared += other.disappeared;
        self.read_by_hand += other.read_by_hand;
        self.processed += other.processed;
        self.again += other.again;
        self.evicted += other.evicted;
        self.refused_commits += other.refused_commits;
    }
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let seconds = options.seconds.unwrap_or(SECONDS);
    // As many in memory as on disk.
    let rounds = (seconds / SECONDS_PER_ROUND).next_multiple_of(2).max(2);
    let duration = Duration::from_secs_f64(seconds as f64 / rounds as f64);
    let mut met = Met::default();
    for number in 0..rounds {
        if options.case.is_none_or(|case| case == number) {
            met.add(&run_round(options.seed, number, duration)?);
        }
    }
    let counts = met.counts();
    say(&counts[1..].iter().map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" "));
    let Met { operations, rebalances, .. } = met;
    if options.case.is_none() {
        if operations < MIN_OPERATIONS || rebalances < seconds {
            let what =
                format!("{operations} operations and {rebalances} rebalances in {seconds} s are too few");
            return Err(Failure::new(Finding::NothingExercised, what));
        }
        if seconds >= SECONDS_TO_MEET_ALL {
            require_all(&counts)?;
        }
    }
    let found = "lost=0 duplicated=0 reordered=0 skipped=0 back=0 inconsistent=0";
    Ok(format!("ops={operations} rebalances={rebalances} {found}"))
}

fn run_round(seed: u64, number: u64, duration: Duration) -> Result<Met, Failure> {
    let on_disk = number % 2 == 1;
    let outcome =
        round::run(Random::of_case(seed, number), on_disk, duration).and_then(|(history, mut met)| {
            met.count_history(&history);
            let anomalies = check(&history);
            match anomalies.first() {
                None => Ok(met),
                Some(first) => Err(report::failure(&history, &anomalies, first)),
            }
        });
    outcome.map_err(|failure| {
        let place = if on_disk { "on disk" } else { "in memory" };
        let detail = format!("round {number}, {place}: {}", failure.detail);
        let failure = Failure { detail, ..failure };
        failure.note("the seed repeats what was chosen and not the timing: run it some times")
    })
}
