//! Compaction in processes that are killed with SIGKILL, one after the other in the same directory.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ottla::Broker;
use tempfile::TempDir;

use super::killed::Killed;
use super::tended::{self, Orders, Plan};
use super::{CHILD, Met};
use crate::common::bugs;
use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::{self, failure_said, unexpected};
use crate::common::random::Random;
use crate::common::shared::{Shared, Word};
use crate::power::ledger::within;

const CYCLES_PER_DIR: u64 = 5;
const SIGKILL: i32 = 9;
/// A child is busy by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is aimed at may not come any more.
const AIM_PATIENCE: Duration = Duration::from_millis(300);

pub(super) fn child_main(words: &[String]) -> ExitCode {
    let Some((dir, orders, bug)) = parse(words) else { return ExitCode::from(2) };
    let shared = match Shared::open(&orders.words) {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            eprintln!("{}: {error}", orders.words.display());
            return ExitCode::from(2);
        }
    };
    process::be_child(&shared, || {
        bugs::plant(bug).map_err(|reason| Failure::new(Finding::Harness, reason))?;
        let plan = Plan::new(orders.seed);
        let builder = Broker::builder().data_dir(dir).housekeeping_interval(plan.housekeeping_interval);
        let broker = builder.open().map_err(unexpected("the directory does not open"))?;
        thread::scope(|scope| tended::begin(scope, &broker, &shared, (&plan, orders.life)))
    })
}

fn parse(words: &[String]) -> Option<(&Path, Orders, Option<&str>)> {
    let (dir, rest) = words.split_first()?;
    let (orders, rest) = rest.split_first_chunk::<3>()?;
    Some((Path::new(dir), Orders::parse(orders)?, rest.first().map(String::as_str)))
}

/// Kills so many processes, in one directory after the other.
pub(super) fn run(options: &Options, cycles: u64, met: &mut Met) -> Result<(), Failure> {
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut left = cycles;
    for number in 0.. {
        if left == 0 || end.is_some_and(|end| Instant::now() > end) {
            break;
        }
        let mut random = Random::of_case(options.seed, u64::MAX - number);
        let place = tempfile::Builder::new().prefix("torture-compaction-").tempdir();
        let place = place.map_err(|error| Failure::harness("make a directory", error))?;
        let here = left.min(1 + random.below(CYCLES_PER_DIR));
        left -= here;
        if let Err(failure) = directory(options, &place, here, &mut random, met) {
            let place = place.keep();
            let note = format!(
                "the seed repeats what was chosen and not when the kills came: run it some times; \
                the directory is kept in {}",
                place.display()
            );
            return Err(failure.repeated_by(format!("--cases 0 --cycles {cycles}")).note(note));
        }
    }
    Ok(())
}

fn directory(
    options: &Options,
    place: &TempDir,
    cycles: u64,
    random: &mut Random,
    met: &mut Met,
) -> Result<(), Failure> {
    let mut killed = Killed::new(random.next());
    for cycle in 0..cycles {
        let shared = Shared::create().map_err(|error| Failure::harness("share memory", error))?;
        let orders = killed.orders(&shared);
        let mut words = vec![place.path().to_string_lossy().into_owned()];
        words.extend(orders.words());
        words.extend(options.bug.clone());
        let mut child = process::start(CHILD, &words)?;
        let waited = wait(&mut child, &shared, random);
        // It may have ended by itself, which is said below.
        drop(child.kill());
        let status = child.wait().map_err(|error| Failure::harness("wait for a child", error))?;
        if status.signal() != Some(SIGKILL) {
            return Err(failure_said(&shared.text(), &format!("the child ended by itself: {status}")));
        }
        waited?;
        met.sigkills += 1;
        met.killed_compacting += u64::from(shared.get(Word::Stage) > 0);
        killed.hear(&shared).map_err(|failure| within(failure, &format!("before process {cycle}")))?;
        // The next one finds what this one left, or what a look at it left.
        if cycle + 1 == cycles || random.one_in(2) {
            let looked = look(place.path(), &mut killed, random, met);
            looked.map_err(|failure| within(failure, &format!("process {cycle}")))?;
        }
    }
    Ok(())
}

/// Some time after the start, or in the middle of a compaction, or soon after one.
fn wait(child: &mut Child, shared: &Shared, random: &mut Random) -> Result<(), Failure> {
    let started = Instant::now();
    let opens = random.one_in(5);
    while !opens && shared.get(Word::Acknowledged) == 0 {
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(Finding::Stuck, format!("a child sends nothing in {PATIENCE:?}")));
        }
        if let Some(status) = child.try_wait().map_err(|error| Failure::harness("wait", error))? {
            return Err(Failure::new(Finding::Crash, format!("the child ended by itself: {status}")));
        }
        thread::sleep(Duration::from_micros(100));
    }
    let most = if opens { 10_000 } else { 150_000 };
    thread::sleep(Duration::from_micros(random.up_to_any_size(most)));
    if !opens && random.one_in(2) {
        let aimed = Instant::now();
        while shared.get(Word::Stage) == 0 && aimed.elapsed() < AIM_PATIENCE {
            std::hint::spin_loop();
        }
        let moment = Instant::now() + Duration::from_micros(random.up_to_any_size(4_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
    }
    Ok(())
}

/// Opens the directory and compares it with what was sent; now and then looks through it before.
fn look(dir: &Path, killed: &mut Killed, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
    if random.one_in(4) && dir.join("catalog").exists() {
        let report = Broker::verify(dir).map_err(unexpected("verify"))?;
        if let Some(damaged) = report.partitions.iter().find(|partition| !partition.damage.is_empty()) {
            return Err(Failure::new(Finding::Fenced, format!("verify: {:?}", damaged.damage)));
        }
    }
    let opened = Broker::builder().data_dir(dir).housekeeping_interval(Duration::MAX).open();
    let broker = opened.map_err(unexpected("after a kill the directory does not open"))?;
    crate::common::topics::healthy(&broker)?;
    met.keys += killed.look(dir, &broker, random, |log| met.files.add(log))?;
    Ok(())
}
