//! `compaction`: a compacted topic is compared with a list of everything that was sent to it, over random
//! keys, tombstones, settings, compactions at random moments, power losses and kills in the middle of them,
//! and reopenings. After each the files are read by a reader of their own, written from `docs/format.md`.
//! Most cases run on a simulated file system, and follow from the seed and their number; some kill a process
//! on a real one.

pub(crate) mod choice;
pub(crate) mod killed;
mod kills;
mod life;
pub(crate) mod model;
pub(crate) mod tended;

use std::process::ExitCode;

use crate::cases::{Counts, run_all};
use crate::common::log_files::LogFiles;
use crate::common::options::Options;
use crate::common::outcome::{Failure, require_all, say};
use crate::common::random::Random;
use crate::power::ledger::within;
use crate::power::life::Ended;
use life::{Life, Machine};

/// The hidden subcommand that is the process to be killed.
pub(crate) const CHILD: &str = "compaction-child";

const CASES: u64 = 4_000;
const CYCLES: u64 = 100;
/// From so many cases on, every count has to be more than zero.
const CASES_TO_MEET_ALL: u64 = 300;
const CYCLES_TO_MEET_ALL: u64 = 50;

/// What happened.
#[derive(Debug, Default)]
struct Met {
    /// Keys whose latest record was looked for when a directory was opened.
    keys: u64,
    /// Records that were removed, and tombstones among them, by compactions on request.
    compacted: u64,
    tombstones: u64,
    /// The power went, or the process was killed, in the middle of a compaction.
    in_compaction: u64,
    /// And while a directory was opened that had been used.
    in_recovery: u64,
    power_losses: u64,
    kills: u64,
    /// Processes that were killed, and those of them in the middle of a compaction on request.
    sigkills: u64,
    killed_compacting: u64,
    /// How often one who read now and then came to the end.
    slept: u64,
    files: Files,
}

/// What was found in files.
#[derive(Debug, Default)]
struct Files {
    compacted: u64,
    gaps: u64,
    horizons: u64,
}

impl Files {
    fn add(&mut self, log: &LogFiles) {
        self.compacted += log.compacted;
        self.gaps += log.gaps;
        self.horizons += log.horizons;
    }
}

impl Counts for Met {
    fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.compacted += other.compacted;
        self.tombstones += other.tombstones;
        self.in_compaction += other.in_compaction;
        self.in_recovery += other.in_recovery;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.sigkills += other.sigkills;
        self.killed_compacting += other.killed_compacting;
        self.slept += other.slept;
        self.files.compacted += other.files.compacted;
        self.files.gaps += other.files.gaps;
        self.files.horizons += other.files.horizons;
    }
}

impl Met {
    fn counts(&self) -> [(&'static str, u64); 10] {
        [
            ("compacted", self.compacted),
            ("tombstones", self.tombstones),
            ("in_compaction", self.in_compaction),
            ("in_recovery", self.in_recovery),
            ("power_losses", self.power_losses),
            ("kills", self.kills),
            ("caught_up", self.slept),
            ("segments", self.files.compacted),
            ("gaps", self.files.gaps),
            ("horizons", self.files.horizons),
        ]
    }
}

pub(crate) fn child_main(words: &[String]) -> ExitCode {
    kills::child_main(words)
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let seed = options.seed;
    let cases = options.cases.unwrap_or(CASES);
    let done = run_all(options, cases, move |number, met| simulate(&mut Random::of_case(seed, number), met))?;
    let mut met: Met = done.counts;
    if options.case.is_none() {
        kills::run(options, options.cycles.unwrap_or(CYCLES), &mut met)?;
    }
    let counts = met.counts();
    let killed = [("sigkills", met.sigkills), ("killed_compacting", met.killed_compacting)];
    let words: Vec<String> =
        counts.iter().chain(&killed).map(|(name, count)| format!("{name}={count}")).collect();
    say(&words.join(" "));
    if done.cases >= CASES_TO_MEET_ALL {
        require_all(&counts)?;
    }
    if met.sigkills >= CYCLES_TO_MEET_ALL {
        require_all(&killed)?;
    }
    let (runs, keys) = (done.cases + met.sigkills, met.keys);
    Ok(format!("runs={runs} keys={keys} wrong=0 tombstones_early=0 offsets_changed=0"))
}

/// One directory through some lives.
fn simulate(random: &mut Random, met: &mut Met) -> Result<(), Failure> {
    let mut machine = Machine::new(random);
    let lives = 2 + random.below(5);
    for number in 0..lives {
        if random.one_in(3) {
            let calls = random.pick(&[8, 40, 300]);
            machine.disk.cut_power_within(random.below(calls), random.below(1_001));
        }
        let ended = live(&mut machine, random, met);
        match ended {
            Ok(()) => {}
            Err(Ended::Off) => met.in_recovery += u64::from(number > 0),
            Err(Ended::Failed(failure)) => return Err(within(failure, &format!("life {number}"))),
        }
        lose(&mut machine, random, met);
    }
    match machine.look(random, met) {
        Ok(_) => Ok(()),
        Err(Ended::Off) => Err(Failure::harness("open", "the power is off")),
        Err(Ended::Failed(failure)) => Err(within(failure, "at the end")),
    }
}

/// From an opening to whatever ends it; an error if it did not get so far.
fn live(machine: &mut Machine, random: &mut Random, met: &mut Met) -> Result<(), Ended> {
    let steps = random.pick(&[10, 60, 150]);
    let (steps, closes) = (random.below(steps), random.one_in(6));
    let mut life = Life::begin(machine, random, met)?;
    let worked = life.work(steps).and_then(|()| if closes { life.close() } else { Ok(()) });
    match worked {
        Err(Ended::Off) => Ok(()),
        outcome => outcome,
    }
}

/// What is left when the power has gone, or the process was killed, or has ended.
fn lose(machine: &mut Machine, random: &mut Random, met: &mut Met) {
    machine.disk.cut_power();
    if random.one_in(3) {
        met.kills += 1;
        machine.disk = machine.disk.after_kill();
    } else {
        met.power_losses += 1;
        machine.models.iter_mut().for_each(model::Model::lose_power);
        machine.disk = machine.disk.after_power_loss(random);
    }
}
