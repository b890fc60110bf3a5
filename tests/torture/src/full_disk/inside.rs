//! The process that sees the small file system: mounts it, starts the worker, ends it or lets it end, and
//! looks for what was acknowledged.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla::Broker;

use super::WORKER;
use super::orders::{FILE_SYSTEM_BYTES, Limit, Orders, is_full};
use super::worker::RESUMED;
use crate::common::bugs;
use crate::common::ledger::Ledger;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::{self, failure_said, unexpected};
use crate::common::random::Random;
use crate::common::shared::{Shared, Word};
use crate::common::{system, topics};

/// How this process says that it may not mount anything.
pub(crate) const NO_MOUNTS: u8 = 77;
const SIGKILL: i32 = 9;
/// A worker has come to its end by then.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn main(words: &[String]) -> ExitCode {
    let Some(orders) = Orders::parse(words) else { return ExitCode::from(2) };
    if orders.limit == Limit::SmallFileSystem {
        // Before anything else: it needs a process without threads.
        let mounted =
            system::leave_mounts().and_then(|()| system::mount_small(&orders.place, FILE_SYSTEM_BYTES));
        if let Err(error) = mounted {
            eprintln!("no file system of its own: {error}");
            return ExitCode::from(NO_MOUNTS);
        }
    }
    let shared = match Shared::open(&orders.words) {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            eprintln!("{}: {error}", orders.words.display());
            return ExitCode::from(2);
        }
    };
    process::be_child(&shared, || {
        bugs::plant(orders.bug.as_deref()).map_err(|reason| Failure::new(Finding::Harness, reason))?;
        round(&orders, &shared)
    })
}

fn round(orders: &Orders, shared: &Shared) -> Result<(), Failure> {
    let mut random = Random::of_case(orders.seed, u64::MAX);
    let mut worker = process::start(WORKER, &orders.words())?;
    let is_killed = random.one_in(2);
    let status = watch(&mut worker, shared, is_killed.then(|| random.up_to_any_size(20_000)))?;
    let ended_well = status.success() || (is_killed && status.signal() == Some(SIGKILL));
    if !ended_well {
        return Err(failure_said(&shared.text(), &format!("the worker ended by itself: {status}")));
    }
    if shared.get(Word::Stage) != RESUMED {
        return Err(Failure::new(Finding::NotResumed, "the worker ended before it resumed"));
    }
    let mut ledger = Ledger::with_refusals();
    ledger.hear(shared, 0);
    if random.one_in(2) {
        open_without_room(orders, shared, &mut ledger)?;
    }
    let broker = Broker::open(orders.data_dir()).map_err(unexpected("opening after it was full"))?;
    topics::healthy(&broker)?;
    ledger.check(topics::read(&broker)?)
}

/// Waits until the worker ends, or kills it so many microseconds after it has resumed.
fn watch(worker: &mut Child, shared: &Shared, kill_after: Option<u64>) -> Result<ExitStatus, Failure> {
    let give_up = Instant::now() + PATIENCE;
    let mut kill_at = None;
    loop {
        if let Some(status) = worker.try_wait().map_err(|error| Failure::harness("wait", error))? {
            return Ok(status);
        }
        let now = Instant::now();
        if let Some(wait) = kill_after
            && kill_at.is_none()
            && shared.get(Word::Stage) == RESUMED
        {
            kill_at = Some(now + Duration::from_micros(wait));
        }
        if kill_at.is_some_and(|at| now >= at) || now > give_up {
            worker.kill().map_err(|error| Failure::harness("kill", error))?;
            let status = worker.wait().map_err(|error| Failure::harness("wait", error))?;
            if now > give_up {
                let what = format!("the worker came to stage {}", shared.get(Word::Stage));
                return Err(Failure::new(Finding::Stuck, what));
            }
            return Ok(status);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Without room, opening works or says so; what can be read is all there.
fn open_without_room(orders: &Orders, shared: &Shared, ledger: &mut Ledger) -> Result<(), Failure> {
    let io = |error| Failure::harness("fill the file system", error);
    orders.leave_room(0).map_err(io)?;
    let reading = Broker::builder().data_dir(orders.data_dir()).read_only(true).open();
    let reading = reading.map_err(unexpected("opening to read without room"))?;
    ledger.check(topics::read(&reading)?)?;
    drop(reading);
    match Broker::open(orders.data_dir()) {
        Ok(broker) => {
            topics::healthy(&broker)?;
            ledger.check(topics::read(&broker)?)?;
        }
        Err(error) if is_full(orders.limit, &error) => shared.add(Word::FullOpens, 1),
        Err(error) => return Err(unexpected("opening without room")(error)),
    }
    orders.free().map_err(io)
}
