//! When a child is killed, and what the kill met.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::common::shared::{RECOVERY_MENDS, RECOVERY_READS, Shared, Word};

/// What is to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// So long after its start, whatever it does.
    Any,
    Open,
    RecoveryReads,
    RecoveryMends,
    Roll,
    LargeWrite,
    Sync,
    Commit,
    /// When enough is acknowledged.
    Sending,
}

/// When a child is to be killed: when so many records are acknowledged, it does what is aimed at, and then
/// some time has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) aim: Aim,
    acknowledged: u64,
    wait: Duration,
}

/// A child that has not come so far by then is killed all the same.
const PATIENCE: Duration = Duration::from_secs(20);
/// Whoever waits for slow syncs has acknowledged enough by then.
const SENDING: Duration = Duration::from_millis(150);
/// What is aimed at may not come any more.
const AIM_PATIENCE: Duration = Duration::from_millis(300);

impl Moment {
    /// A moment for a child in a directory whose last user was killed, and not looked at since
    /// (`needs_recovery`), or in another one.
    pub(crate) fn choose(random: &mut Random, needs_recovery: bool, has_large: bool) -> Self {
        let aim = match random.below(100) {
            0..5 => Aim::Any,
            5..18 => Aim::Open,
            18..33 if needs_recovery => Aim::RecoveryReads,
            33..50 if needs_recovery => Aim::RecoveryMends,
            33..50 => Aim::Sync,
            50..60 => Aim::Commit,
            60..82 if has_large => Aim::LargeWrite,
            60..92 => Aim::Roll,
            _ => Aim::Sending,
        };
        Self { aim, acknowledged: random.range(200..5_000), wait: Self::wait(aim, random) }
    }

    fn wait(aim: Aim, random: &mut Random) -> Duration {
        let most = match aim {
            Aim::Any => 60_000,
            Aim::Open | Aim::RecoveryReads | Aim::RecoveryMends => 1_000,
            Aim::Roll | Aim::Sync | Aim::Commit => 200,
            Aim::LargeWrite => 2_000,
            Aim::Sending => 500,
        };
        Duration::from_micros(random.up_to_any_size(most) - 1)
    }

    /// Returns when the child is to be killed, or has done all that it was to do.
    pub(crate) fn wait_for(&self, child: &mut Child, shared: &Shared, senders: u64) -> Result<(), Failure> {
        let give_up = Instant::now() + PATIENCE;
        match self.aim {
            Aim::Any => {}
            Aim::Open => {
                let is_there = || shared.get(Word::Opening) > 0 || shared.get(Word::Acknowledged) > 0;
                watch(child, give_up, is_there)?;
            }
            Aim::RecoveryReads | Aim::RecoveryMends => {
                let least = if self.aim == Aim::RecoveryReads { RECOVERY_READS } else { RECOVERY_MENDS };
                let is_there = || shared.get(Word::Recovering) >= least || shared.get(Word::Acknowledged) > 0;
                watch(child, give_up, is_there)?;
            }
            _ => {
                let is_done = || shared.get(Word::Done) >= senders;
                pause(child, give_up, || shared.get(Word::Acknowledged) > 0)?;
                let enough = Instant::now() + SENDING;
                let is_enough = || shared.get(Word::Acknowledged) >= self.acknowledged;
                pause(child, give_up, || is_enough() || is_done() || Instant::now() > enough)?;
                if let Some(word) = self.word() {
                    let end = Instant::now() + AIM_PATIENCE;
                    watch(child, give_up, || shared.get(word) > 0 || is_done() || Instant::now() > end)?;
                }
            }
        }
        let moment = Instant::now() + self.wait;
        watch(child, give_up, || Instant::now() >= moment)
    }

    fn word(&self) -> Option<Word> {
        match self.aim {
            Aim::Roll => Some(Word::Rolling),
            Aim::LargeWrite => Some(Word::WritingMuch),
            Aim::Sync => Some(Word::Syncing),
            Aim::Commit => Some(Word::Committing),
            _ => None,
        }
    }
}

/// Waits without a pause: what is aimed at may be over in microseconds.
fn watch(child: &mut Child, give_up: Instant, is_met: impl Fn() -> bool) -> Result<(), Failure> {
    let mut looks = 0_u32;
    while !is_met() {
        looks += 1;
        if looks.is_multiple_of(1 << 14) {
            check_lives(child, give_up)?;
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// Waits, and leaves the processor to the child.
fn pause(child: &mut Child, give_up: Instant, is_met: impl Fn() -> bool) -> Result<(), Failure> {
    while !is_met() {
        check_lives(child, give_up)?;
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

fn check_lives(child: &mut Child, give_up: Instant) -> Result<(), Failure> {
    if let Some(status) = child.try_wait().map_err(|error| Failure::harness("wait", error))? {
        return Err(Failure::new(Finding::Crash, format!("the child ended by itself: {status}")));
    }
    if Instant::now() > give_up {
        let what = format!("a child that was to be killed has not come far in {PATIENCE:?}");
        return Err(Failure::new(Finding::Stuck, what));
    }
    Ok(())
}

/// What the kills of a run met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) open: u64,
    pub(crate) roll: u64,
    pub(crate) recovery: u64,
    pub(crate) sync: u64,
    pub(crate) commit: u64,
}

impl Met {
    /// What a child that is dead now was doing. `needed_recovery`: another one had been killed before it,
    /// and nobody had opened the directory since.
    pub(crate) fn add(&mut self, shared: &Shared, needed_recovery: bool) {
        let recovers = needed_recovery && shared.get(Word::Recovering) > 0;
        self.recovery += u64::from(recovers);
        self.open += u64::from(shared.get(Word::Opening) > 0 && !recovers);
        self.roll += u64::from(shared.get(Word::Rolling) > 0);
        self.sync += u64::from(shared.get(Word::Syncing) > 0);
        self.commit += u64::from(shared.get(Word::Committing) > 0);
    }
}
