//! `kill`: a process that sends is killed at random moments, through open, roll and recovery as well, and
//! what it had acknowledged is looked for. Several processes one after the other use the same directory.
//!
//! What a process does is chosen by the seed; when it is killed follows from what it does by then, so a seed
//! repeats the choices and not the moments.

mod child;
mod moment;
mod watched;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ottla::{Broker, TornTail};
use tempfile::TempDir;

use crate::common::ledger::{Contents, Ledger};
use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding, require_all, say};
use crate::common::process::{self, failure_said, unexpected};
use crate::common::random::Random;
use crate::common::shared::{PARTITIONS, SENDERS, Shared, Word};
use crate::common::{system, topics};
use crate::compaction::killed::Killed;
use child::Orders;
use moment::{Met, Moment};

/// The hidden subcommand that is the process to be killed.
pub(crate) const CHILD: &str = "kill-child";

const CYCLES: u64 = 500;
/// From so many cycles on, every count has to be more than zero.
const CYCLES_TO_MEET_ALL: u64 = 100;
const ACKNOWLEDGED_PER_CYCLE: u64 = 1_000;
/// So many children use the same directory, at most.
const CYCLES_PER_DIR: u64 = 12;
/// So much is read again after a kill, at most.
const RECORDS_PER_DIR: u64 = 120_000;
/// More than a directory ever takes.
const ROOM_IN_MEMORY: u64 = 2 << 30;
const SIGKILL: i32 = 9;

pub(crate) fn child_main(words: &[String]) -> ExitCode {
    child::main(words)
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let mut run = Run::default();
    let cycles = options.cycles.unwrap_or(CYCLES);
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let is_over = |run: &Run| run.cycles >= cycles || end.is_some_and(|end| Instant::now() > end);
    for number in 0.. {
        let number = options.case.unwrap_or(number);
        let mut directory = Directory::new(options, number)?;
        let outcome = directory.run(&mut run, is_over);
        if let Err(failure) = outcome {
            return Err(directory.keep(failure));
        }
        if is_over(&run) || options.case.is_some() {
            break;
        }
    }
    let Run { cycles, acknowledged, torn, met, .. } = run;
    let (looks, kept, keys) = (run.looks, run.kept, run.keys);
    say(&format!("looks={looks} in_sync={} in_commit={} kept={kept} keys={keys}", met.sync, met.commit));
    if cycles >= CYCLES_TO_MEET_ALL {
        let counts = [("in_open", met.open), ("in_roll", met.roll), ("in_recovery", met.recovery)];
        require_all(&[&counts[..], &[("torn", torn), ("keys", keys)]].concat())?;
        if acknowledged < cycles * ACKNOWLEDGED_PER_CYCLE {
            let what = format!("{acknowledged} records in {cycles} cycles are fewer than a thousand each");
            return Err(Failure::new(Finding::NothingExercised, what));
        }
    }
    let Met { open, roll, recovery, .. } = met;
    let counts =
        format!("acked={acknowledged} in_open={open} in_roll={roll} in_recovery={recovery} torn={torn}");
    Ok(format!("cycles={cycles} {counts} lost=0 reordered=0 duplicated=0"))
}

/// What all children of a run did.
#[derive(Debug, Default)]
struct Run {
    cycles: u64,
    acknowledged: u64,
    /// Torn tails that were reported.
    torn: u64,
    met: Met,
    /// How often a directory was opened and compared with what was acknowledged.
    looks: u64,
    /// How many of the torn tails are kept in a file.
    kept: u64,
    /// How many keys of compacted topics were looked for.
    keys: u64,
}

/// A directory that one child after the other uses.
struct Directory<'a> {
    options: &'a Options,
    number: u64,
    random: Random,
    place: TempDir,
    ledger: Ledger,
    /// Topics that the broker gives records of up: in every other directory.
    tended: Option<Killed>,
    next_sender: u64,
    segment_bytes: u64,
    power_loss: bool,
    /// A child was killed since the directory was looked at.
    needs_recovery: bool,
}

impl<'a> Directory<'a> {
    fn new(options: &'a Options, number: u64) -> Result<Self, Failure> {
        let mut random = Random::of_case(options.seed, number);
        // A process dies alike on any file system; on a fast one it has done more by then.
        let parent = if random.one_in(3) { std::env::temp_dir() } else { fast_dir() };
        let place = tempfile::Builder::new().prefix("torture-kill-").tempdir_in(parent);
        Ok(Self {
            options,
            number,
            place: place.map_err(|error| Failure::harness("make a directory", error))?,
            ledger: Ledger::default(),
            tended: random.one_in(2).then(|| Killed::new(random.next())),
            next_sender: 0,
            segment_bytes: random.range(4 << 10..(64 << 10) + 1),
            power_loss: random.one_in(2),
            needs_recovery: false,
            random,
        })
    }

    fn run(&mut self, run: &mut Run, is_over: impl Fn(&Run) -> bool) -> Result<(), Failure> {
        let cycles = 1 + self.random.below(CYCLES_PER_DIR);
        for cycle in 0..cycles {
            self.kill_one(run)?;
            let is_last = cycle + 1 == cycles || is_over(run);
            // The next child meets what this one left, or what a look at it left.
            if is_last || self.random.one_in(2) {
                self.look(run)?;
            }
            if is_last || self.ledger.records_seen() > RECORDS_PER_DIR {
                break;
            }
        }
        if self.needs_recovery { self.look(run) } else { Ok(()) }
    }

    /// Starts a child, kills it, and takes down what it had acknowledged.
    fn kill_one(&mut self, run: &mut Run) -> Result<(), Failure> {
        let share = || Shared::create().map_err(|error| Failure::harness("share memory", error));
        let (shared, tended) = (share()?, share()?);
        let orders = self.orders(&shared, &tended);
        let moment = Moment::choose(&mut self.random, self.needs_recovery, orders.large_bytes > 0);
        let mut child = process::start(CHILD, &orders.words())?;
        let waited = moment.wait_for(&mut child, &shared, orders.senders);
        // It may have ended by itself, which is said below.
        drop(child.kill());
        let status = child.wait().map_err(|error| Failure::harness("wait for a child", error))?;
        if status.signal() != Some(SIGKILL) {
            let text = [shared.text(), tended.text()].concat();
            return Err(failure_said(&text, &format!("the child ended by itself: {status}")));
        }
        run.cycles += 1;
        run.acknowledged += shared.get(Word::Acknowledged);
        run.met.add(&shared, self.needs_recovery);
        self.ledger.hear(&shared, orders.first_sender);
        self.tended.as_mut().map_or(Ok(()), |killed| killed.hear(&tended))?;
        self.needs_recovery = true;
        // If it stood still, what it had acknowledged may say why.
        waited.or_else(|stuck| self.look(run).and(Err(stuck)))
    }

    fn orders(&mut self, shared: &Shared, tended: &Shared) -> Orders {
        let random = &mut self.random;
        let first_sender = self.next_sender;
        self.next_sender += SENDERS as u64;
        Orders {
            dir: self.place.path().to_path_buf(),
            words: shared.path().to_path_buf(),
            seed: random.next(),
            first_sender,
            senders: random.range(1..SENDERS as u64),
            segment_bytes: self.segment_bytes,
            power_loss: self.power_loss,
            large_bytes: if random.one_in(2) { random.range(1 << 20..8 << 20) } else { 0 },
            // Half of them write as the library asks them to.
            piece_bytes: if random.one_in(2) { random.range(4 << 10..256 << 10) } else { u64::MAX >> 1 },
            tended: self.tended.as_mut().map(|killed| killed.orders(tended)),
            bug: self.options.bug.clone(),
        }
    }

    /// Opens the directory, compares it with what was acknowledged, and leaves it in one way or another.
    fn look(&mut self, run: &mut Run) -> Result<(), Failure> {
        let verified = if self.random.one_in(3) { Some(self.verify()?) } else { None };
        let read = if self.random.one_in(6) { Some(self.read_only()?) } else { None };
        let builder = Broker::builder().data_dir(self.place.path());
        let opened = builder.housekeeping_interval(Duration::MAX).open();
        let broker = opened.map_err(unexpected("after a kill the directory does not open"))?;
        topics::healthy(&broker)?;
        run.looks += 1;
        let contents = topics::read(&broker)?;
        for tail in &broker.recovery_report().torn_tails {
            run.torn += 1;
            run.kept += u64::from(tail.kept_in.is_some());
            check_tail(tail, &contents)?;
        }
        if verified.as_ref().is_some_and(|verified| *verified != contents.ends()) {
            let what = format!("verify said {verified:?}, and there is {:?}", contents.ends());
            return Err(Failure::new(Finding::WrongReport, what));
        }
        if read.is_some_and(|read| read != contents) {
            return Err(Failure::new(Finding::WrongReport, "opened to be read, it held something else"));
        }
        self.ledger.check(contents)?;
        if let Some(killed) = &mut self.tended {
            run.keys += killed.look(self.place.path(), &broker, &mut self.random, |_| {})?;
        }
        self.needs_recovery = false;
        if self.random.one_in(3) {
            broker.close().map_err(unexpected("the broker does not close"))?;
        }
        Ok(())
    }

    /// Looks through the directory without opening it: how many records each partition has.
    fn verify(&self) -> Result<[usize; PARTITIONS], Failure> {
        let report = Broker::verify(self.place.path()).map_err(unexpected("after a kill, verify"))?;
        let mut ends = [0; PARTITIONS];
        for verdict in &report.partitions {
            if !verdict.damage.is_empty() {
                return Err(Failure::new(Finding::Fenced, format!("verify: {:?}", verdict.damage)));
            }
            let place = &verdict.partition;
            let partition = topics::partition_of(&place.topic, place.partition);
            // Of what is compacted, some is gone.
            let is_whole =
                verdict.records == verdict.end_offset - verdict.start_offset || partition.is_none();
            if !is_whole || verdict.synced_offset > verdict.end_offset {
                return Err(Failure::new(Finding::WrongReport, format!("{verdict:?}")));
            }
            if let Some(partition) = partition {
                ends[partition] = verdict.end_offset as usize;
            }
        }
        Ok(ends)
    }

    /// Opens the directory only to read it, and reads all of it.
    fn read_only(&self) -> Result<Contents, Failure> {
        let opened = Broker::builder().data_dir(self.place.path()).read_only(true).open();
        topics::read(&opened.map_err(unexpected("after a kill it does not open to be read"))?)
    }

    /// Keeps the directory for those who want to look into it.
    fn keep(self, failure: Failure) -> Failure {
        let place = self.place.keep();
        let note = format!(
            "the seed repeats what was chosen and not when the kills came: run it some times; \
            the directory is kept in {}",
            place.display()
        );
        failure.repeated_by(format!("--case {} --cycles {CYCLES_PER_DIR}", self.number)).note(note)
    }
}

/// Where files are in memory, if there is such a place with room.
fn fast_dir() -> PathBuf {
    let dir = Path::new("/dev/shm");
    match system::room(dir) {
        Ok(room) if room >= ROOM_IN_MEMORY => dir.to_path_buf(),
        _ => std::env::temp_dir(),
    }
}

/// What was cut off is in the file that the report names, and what the report says of the end is so.
fn check_tail(tail: &TornTail, contents: &Contents) -> Result<(), Failure> {
    let wrong = |what| Err(Failure::new(Finding::WrongReport, format!("{what}: {tail:?}")));
    let kept = tail.kept_in.as_ref().map(|path| std::fs::metadata(path).map_or(0, |found| found.len()));
    if kept.is_some_and(|kept| kept != tail.bytes) {
        return wrong("what was cut off is not kept");
    }
    match topics::partition_of(&tail.partition.topic, tail.partition.partition) {
        Some(partition) if contents.partitions[partition].len() as u64 != tail.end_offset => {
            wrong("the log does not end there")
        }
        _ => Ok(()),
    }
}
