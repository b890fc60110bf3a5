//! Working with a broker while syncs fail, until the cause is gone: then everything works again, without a
//! restart, after few attempts.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use super::Met;
use super::faults::{COMMITS_DIR, Orders};
use super::ledger::PLACES;
use super::scene::{NEVER, Scene, dirs};
use super::sender::Sender;
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;

/// A fault is mended by then, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many flushes mend it, and tell of what was lost meanwhile.
const MOST_FLUSHES: u32 = 2;

/// Works while something fails, and when the cause is gone; some times. Whether the last fault was mended.
pub(super) fn suffer(
    scene: &Scene<'_>,
    senders: &mut [Sender<'_>],
    random: &mut Random,
    met: &mut Met,
) -> Result<bool, Failure> {
    let rounds = 1 + random.below(3);
    for round in 1..=rounds {
        let mut dirs = dirs();
        if scene.habits.sync_interval != NEVER {
            dirs.push(COMMITS_DIR.to_owned());
        }
        scene.faults.arm(Orders::choose(random, &dirs));
        work(senders, 5 + random.below(25))?;
        scene.check_reads()?;
        met.suspended += scene.broker.health().partitions.len() as u64;
        met.add_failed(scene.faults.failed());
        if round == rounds && random.one_in(2) {
            return Ok(false);
        }
        scene.faults.cure();
        resume(scene, senders, random, met)?;
    }
    Ok(true)
}

pub(super) fn work(senders: &mut [Sender<'_>], steps: u64) -> Result<(), Failure> {
    if let [alone] = senders {
        return alone.work(steps);
    }
    thread::scope(|scope| {
        let working: Vec<_> = senders.iter_mut().map(|sender| scope.spawn(|| sender.work(steps))).collect();
        let outcomes = working.into_iter().map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)));
        outcomes.fold(Ok(()), Result::and)
    })
}

/// The cause of all faults is gone: everything works again, without a restart.
fn resume(
    scene: &Scene<'_>,
    senders: &mut [Sender<'_>],
    random: &mut Random,
    met: &mut Met,
) -> Result<(), Failure> {
    senders.iter_mut().try_for_each(|sender| sender.wait_until(0))?;
    let was_suspended = !scene.broker.health().is_good();
    let syncs_itself = scene.habits.sync_interval != NEVER;
    if syncs_itself && random.one_in(2) {
        wait_until_good(scene)?;
    }
    for topic in 0..2 {
        let mut flushes = 0;
        while !senders[0].flush(topic)? {
            flushes += 1;
            if flushes == MOST_FLUSHES {
                return Err(Failure::new(Finding::NotResumed, format!("{flushes} flushes failed")));
            }
        }
    }
    if syncs_itself {
        wait_until_good(scene)?;
    }
    let health = scene.broker.health();
    if !health.is_good() {
        return Err(Failure::new(Finding::NotResumed, format!("{health:?}")));
    }
    met.resumed += u64::from(was_suspended);
    // From here on, every error is one too many.
    scene.faults.forget();
    (0..PLACES as u32).try_for_each(|place| senders[0].send_to(place).map(drop))?;
    senders[0].commit(&[(0, 1)].into()).map(drop)
}

fn wait_until_good(scene: &Scene<'_>) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let health = scene.broker.health();
        if health.is_good() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::new(Finding::NotResumed, format!("after {PATIENCE:?}: {health:?}")));
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Whether it succeeds.
pub(super) fn close(scene: &Scene<'_>, met: &mut Met) -> Result<bool, Failure> {
    match scene.broker.close() {
        Ok(()) => met.closed += 1,
        Err(error) => {
            scene.judge("close", &error)?;
            met.failed_closes += 1;
            return Ok(false);
        }
    }
    Ok(true)
}
