//! `power`: the power goes at random calls on a simulated file system, or the process is killed there, and again
//! while the next open mends what was left. What was acknowledged, flushed, shown or closed must be there, and
//! of the rest a front part. A case is one directory through some lives; all of it follows from the seed and the
//! number of the case, but for the moments at which the broker's own thread works.

pub(crate) mod found;
pub(crate) mod ledger;
pub(crate) mod life;
pub(crate) mod log_ledger;
mod tended;
#[cfg(test)]
mod tests;

use ottla::{Broker, Durability};

use crate::cases::{Counts, run_all};
use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding, require_all, say};
use crate::common::process::unexpected;
use crate::common::random::Random;
use crate::sim::chance::Chance;
use crate::sim::disk::SimDisk;
use found::DIR;
use ledger::{Ledger, Loss, within};
use life::{Ended, Habits, Life, open};
use tended::Tended;

const CASES: u64 = 20_000;
/// From so many cases on, every count has to be more than zero.
const CASES_TO_MEET_ALL: u64 = 500;

impl Chance for Random {
    fn below(&mut self, end: u64) -> u64 {
        Random::below(self, end)
    }
}

/// What happened.
#[derive(Debug, Default)]
struct Met {
    /// Records that a power loss must not have taken, and had not.
    synced: u64,
    torn: u64,
    /// The power went, or the process was killed, in an open that had something to mend.
    in_recovery: u64,
    power_losses: u64,
    kills: u64,
    closed: u64,
    verified: u64,
}

impl Counts for Met {
    fn add(&mut self, other: Self) {
        self.synced += other.synced;
        self.torn += other.torn;
        self.in_recovery += other.in_recovery;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.closed += other.closed;
        self.verified += other.verified;
    }
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let seed = options.seed;
    let done = run_all(options, options.cases.unwrap_or(CASES), move |number, met| {
        let mut random = Random::of_case(seed, number);
        Case::new(&mut random).run(&mut random, met)
    })?;
    let Met { synced, torn, in_recovery, power_losses, kills, closed, verified } = done.counts;
    say(&format!("power_losses={power_losses} kills={kills} closed={closed} verified={verified}"));
    if done.cases >= CASES_TO_MEET_ALL {
        let rare =
            [("closed", closed), ("verified", verified), ("power_losses", power_losses), ("kills", kills)];
        require_all(
            &[&[("synced", synced), ("torn", torn), ("in_recovery", in_recovery)][..], &rare].concat(),
        )?;
    }
    let cases = done.cases;
    Ok(format!(
        "cases={cases} synced={synced} torn={torn} in_recovery={in_recovery} synced_lost=0 holes=0 panics=0"
    ))
}

/// One directory.
struct Case {
    disk: SimDisk,
    ledger: Ledger,
    habits: Habits,
    /// Whether the last life was closed and nothing happened since.
    is_closed: bool,
    /// Whether an open was broken off: what it had mended by then may come back later, to be mended again.
    is_half_mended: bool,
    /// Records that must be there after the last power loss, if it was one.
    owed: Option<usize>,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let commit_level = random.pick(&[Durability::ProcessCrash, Durability::PowerLoss]);
        let habits = Habits { commit_level, syncs_itself: random.one_in(8), enqueues: random.one_in(4) };
        let (disk, mut ledger) = (SimDisk::default(), Ledger::new(commit_level));
        ledger.tended = random.one_in(3).then(|| Tended::new(random));
        Self { disk, ledger, habits, is_closed: false, is_half_mended: false, owed: None }
    }

    fn run(mut self, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
        let lives = 2 + random.below(5);
        for life in 0..lives {
            // An open takes some twenty calls, which the first ones fall into.
            let calls = random.pick(&[25, 60, 150, 400]);
            self.disk.cut_power_within(random.below(calls), random.below(1_001));
            self.live(life, random, met).map_err(|failure| within(failure, &format!("life {life}")))?;
        }
        self.last_look(random, met).map_err(|failure| within(failure, "at the end"))
    }

    fn live(&mut self, number: u64, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
        let mut life = match Life::begin(&self.disk, &mut self.ledger, random, self.habits) {
            Ok(life) => life,
            Err(Ended::Failed(failure)) => return Err(failure),
            Err(Ended::Off) => {
                met.in_recovery += u64::from(number > 0);
                self.is_half_mended |= number > 0;
                self.lose(random, met);
                return Ok(());
            }
        };
        self.owed.take().inspect(|owed| met.synced += *owed as u64);
        check_report(&life.broker, self.is_closed && !self.is_half_mended, met)?;
        self.is_closed = false;
        // A short one may end before anything that the life before left is written to.
        let steps = life_steps(life.random());
        match life.work(steps) {
            Err(Ended::Failed(failure)) => return Err(failure),
            Ok(()) if life.random().one_in(6) => match life.close() {
                Ok(()) => {
                    met.closed += 1;
                    self.is_closed = true;
                }
                Err(Ended::Off) => {}
                Err(Ended::Failed(failure)) => return Err(failure),
            },
            Ok(()) | Err(Ended::Off) => life.end()?,
        }
        self.lose(random, met);
        Ok(())
    }

    /// What is left when the power has gone, or the process was killed, or has ended.
    fn lose(&mut self, random: &mut Random, met: &mut Met) {
        self.disk.cut_power();
        let loss = if random.one_in(3) { Loss::Process } else { Loss::Power };
        self.ledger.lose(loss);
        match loss {
            Loss::Process => {
                met.kills += 1;
                self.disk = self.disk.after_kill();
            }
            Loss::Power => {
                met.power_losses += 1;
                self.disk = self.disk.after_power_loss(random);
                self.owed = Some(self.ledger.owed());
            }
        }
    }

    /// Opens it in peace; now and then looks through it before.
    fn last_look(&mut self, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
        let looked = if random.one_in(8) { Some(look_through(&self.disk)?) } else { None };
        let broker = match open(&self.disk, &mut self.ledger, self.habits) {
            Ok(broker) => broker,
            Err(Ended::Off) => return Err(Failure::harness("open", "the power is off")),
            Err(Ended::Failed(failure)) => return Err(failure),
        };
        self.owed.take().inspect(|owed| met.synced += *owed as u64);
        check_report(&broker, self.is_closed && !self.is_half_mended, met)?;
        if let Some(ends) = looked.flatten() {
            met.verified += 1;
            check_ends(&broker, &ends)?;
        }
        if random.one_in(4) {
            // What was mended is mended.
            drop(broker);
            self.disk.cut_power();
            self.disk = self.disk.after_kill();
            match open(&self.disk, &mut self.ledger, self.habits) {
                Ok(again) => check_report(&again, true, met)?,
                Err(Ended::Off) => return Err(Failure::harness("open", "the power is off")),
                Err(Ended::Failed(failure)) => return Err(within(failure, "once more")),
            }
        }
        Ok(())
    }
}

fn life_steps(random: &mut Random) -> u64 {
    let most = random.pick(&[6, 40, 60]);
    random.below(most)
}

fn check_report(broker: &Broker, must_be_clean: bool, met: &mut Met) -> Result<(), Failure> {
    let report = broker.recovery_report();
    met.torn += report.torn_tails.len() as u64;
    if must_be_clean && !report.is_clean() {
        return Err(Failure::new(Finding::WrongReport, format!("nothing was to be mended: {report:?}")));
    }
    Ok(())
}

/// Partitions by name, and where `verify` says that they end.
type Ends = Vec<(ottla::TopicPartition, u64)>;

/// Looks through a directory, which must not change and holds no damage; `None` if there is none yet.
fn look_through(disk: &SimDisk) -> Result<Option<Ends>, Failure> {
    let calls = disk.calls();
    let report = match Broker::verify_in(disk.clone(), DIR) {
        Ok(report) => report,
        // Without a catalog there is nothing to look through.
        Err(ottla::Error::Corrupt { path, .. }) if path.ends_with("catalog") => return Ok(None),
        Err(ottla::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(unexpected("verify")(error)),
    };
    if disk.calls() != calls {
        return Err(Failure::new(Finding::Touched, "verify has changed something"));
    }
    if let Some(damaged) = report.partitions.iter().find(|partition| !partition.damage.is_empty()) {
        return Err(Failure::new(Finding::Fenced, format!("verify: {:?}", damaged.damage)));
    }
    Ok(Some(report.partitions.into_iter().map(|found| (found.partition, found.end_offset)).collect()))
}

/// What `verify` said is what opening found.
fn check_ends(broker: &Broker, ends: &Ends) -> Result<(), Failure> {
    for (place, end) in ends.iter().filter(|(place, _)| !place.topic.starts_with("__")) {
        let described = broker.describe_topic(&place.topic).map_err(unexpected("describe a topic"))?;
        let found = described.partitions[place.partition as usize].end_offset;
        if found != *end {
            let what = format!("verify says that {place} ends with {end}; it ends with {found}");
            return Err(Failure::new(Finding::WrongReport, what));
        }
    }
    Ok(())
}
