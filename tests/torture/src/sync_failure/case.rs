//! One directory on the simulated file system: brokers one after the other, in each of which syncs fail, and
//! which end in one way or another. What is found then must be what was promised.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Met;
use super::faults::Faults;
use super::ledger::{Ledger, Loss};
use super::scene::{Habits, Scene, open, read};
use super::sender::Sender;
use super::trouble::{close, suffer, work};
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::power::found::{DIR, check_well};
use crate::power::ledger::within;
use crate::sim::disk::SimDisk;
use crate::sim::file::AfterFailure;

pub(crate) struct Case {
    disk: SimDisk,
    ledger: Mutex<Ledger>,
    faults: Arc<Faults>,
    habits: Habits,
    senders: u64,
    /// Numbers that senders have had.
    numbers: u64,
}

/// How a broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    PowerLoss,
    Kill,
    Close,
}

/// What a broker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was closed, and everything is safe.
    Closed,
    /// Whatever failed has been mended.
    Mended,
    Doubtful,
}

impl Case {
    pub(crate) fn new(random: &mut Random) -> Self {
        let habits = Habits::choose(random);
        let senders = random.pick(&[1, 1, 2, 4]);
        let (ledger, faults) = (Mutex::default(), Arc::default());
        Self { disk: SimDisk::default(), ledger, faults, habits, senders, numbers: 0 }
    }

    pub(crate) fn run(mut self, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
        for life in 0..1 + random.below(2) {
            let is_over = self.live(true, random, met);
            if is_over.map_err(|failure| within(failure, &format!("life {life}")))? {
                return Ok(());
            }
        }
        self.live(false, random, met).map_err(|failure| within(failure, "the last life")).map(drop)
    }

    /// A broker from its opening to its end, and what is found then. Whether nothing further can be asked of
    /// the directory.
    fn live(&mut self, has_faults: bool, random: &mut Random, met: &mut Met) -> Result<bool, Failure> {
        let then = random.pick(&[AfterFailure::Shown, AfterFailure::Reverted]);
        if has_faults {
            let faults = Arc::clone(&self.faults);
            self.disk.fail(then, random.next(), move |call, path| faults.decide(call, path));
        }
        let ends = [End::PowerLoss, End::PowerLoss, End::Kill, End::Close];
        let end = if has_faults { random.pick(&ends) } else { End::Close };
        let state = self.open_and_end(has_faults, end, random, met)?;
        self.numbers += self.senders;
        self.look(end, state, then, random, met)
    }

    fn open_and_end(
        &self,
        has_faults: bool,
        end: End,
        random: &mut Random,
        met: &mut Met,
    ) -> Result<State, Failure> {
        let scene = Scene {
            broker: open(self.disk.clone(), DIR, &self.habits)?,
            habits: self.habits,
            ledger: &self.ledger,
            faults: &self.faults,
            sim: Some(self.disk.clone()),
            gate: Mutex::default(),
        };
        let numbers = self.numbers..self.numbers + self.senders;
        let new = |number| Sender::new(&scene, number, Random::new(random.next()));
        let mut senders = numbers.map(new).collect::<Result<Vec<_>, _>>()?;
        work(&mut senders, random.below(8))?;
        let is_mended = !has_faults || suffer(&scene, &mut senders, random, met)?;
        let is_closed = end == End::Close && close(&scene, met)?;
        self.disk.cut_power();
        senders.iter_mut().try_for_each(|sender| sender.hear_decided(end == End::Close))?;
        if is_closed {
            scene.ledger().closed();
        }
        self.faults.forget();
        Ok(match (is_closed, is_mended) {
            (true, _) => State::Closed,
            (false, true) => State::Mended,
            (false, false) => State::Doubtful,
        })
    }

    /// Opens what is left, and compares it with what was promised.
    fn look(
        &mut self,
        end: End,
        state: State,
        then: AfterFailure,
        random: &mut Random,
        met: &mut Met,
    ) -> Result<bool, Failure> {
        let heard = self.disk.heard();
        let partitions: BTreeSet<_> = heard.rewritten.iter().map(|path| path.parent()).collect();
        met.rewritten += partitions.len() as u64;
        let is_killed = end == End::Kill || end == End::Close && random.one_in(4);
        self.disk.fail_no_more();
        self.disk = if is_killed { self.disk.after_kill() } else { self.disk.after_power_loss(random) };
        *(if is_killed { &mut met.kills } else { &mut met.power_losses }) += 1;
        // What a failed sync gave up is gone for another process too, if the system shows that it is, and no
        // process can know of it if the system does not.
        let is_doubtful = is_killed && state == State::Doubtful;
        let is_taken = is_doubtful && then == AfterFailure::Reverted;
        let loss = if is_taken || !is_killed && state != State::Closed { Loss::Unsynced } else { Loss::None };
        self.check(loss, is_taken, met)?;
        if let Some(path) = heard.synced_again.first() {
            let what = format!("{} was synced after a sync of it had failed", path.display());
            return Err(Failure::new(Finding::SyncRetried, what));
        }
        // What was mended is mended.
        self.disk.cut_power();
        self.disk = self.disk.after_kill();
        Ok(is_doubtful)
    }

    fn check(&self, loss: Loss, may_be_damaged: bool, met: &mut Met) -> Result<(), Failure> {
        let broker = open(self.disk.clone(), DIR, &self.habits)?;
        match check_well(&broker, &self.disk) {
            Err(failure) if may_be_damaged && failure.finding == Finding::Fenced => {
                met.damaged += 1;
                return Ok(());
            }
            outcome => outcome?,
        }
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let found = read(&broker, &ledger.commits.groups())?;
        met.owed += ledger.check(&found, loss)?;
        Ok(())
    }
}
