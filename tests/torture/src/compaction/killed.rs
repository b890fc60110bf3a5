//! What is left in a directory by processes that were killed, of the topics of which the broker gives up
//! records.

use std::path::Path;
use std::sync::atomic::Ordering;

use ottla::storage::Disk;
use ottla::{Broker, Clock, SystemClock};

use super::choice::{TOPIC, check_served, found_of, read_files};
use super::model::Model;
use super::tended::{ACKNOWLEDGED, ATTEMPTED, Orders, Plan, RECENT, RECENT_SENDER, SERIALS, STARTS};
use crate::common::log_files::LogFiles;
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::common::sent::Sent;
use crate::common::shared::{Fate, Shared, UNITS};
use crate::power::ledger::within;

/// A directory, and what was sent to it.
#[derive(Debug)]
pub(crate) struct Killed {
    pub(crate) plan: Plan,
    models: Vec<Model>,
    recent: Recent,
    life: u64,
    /// Whether the topics were there.
    is_created: bool,
}

/// What was about to be written when the process was killed is at most so much, in bytes.
const CUT_OFF: u64 = 1_000;

/// The topic of which the last part is kept, by offset.
#[derive(Debug, Default)]
struct Recent {
    records: Vec<(Sent, i64)>,
    acknowledged: usize,
    start: u64,
}

/// What one who sends has said.
struct Said {
    /// Where the log ended when it began.
    start: u64,
    /// When each call was made, in milliseconds; not later.
    times: Vec<i64>,
    /// How many of them were acknowledged.
    acknowledged: usize,
}

impl Killed {
    pub(crate) fn new(seed: u64) -> Self {
        let plan = Plan::new(seed);
        let models = plan.choice.models();
        Self { plan, models, recent: Recent::default(), life: 0, is_created: false }
    }

    /// For the next process.
    pub(crate) fn orders(&mut self, shared: &Shared) -> Orders {
        self.life += 1;
        Orders { words: shared.path().to_path_buf(), seed: self.plan.seed, life: self.life }
    }

    /// Takes down what the last process did, which has ended.
    pub(crate) fn hear(&mut self, shared: &Shared) -> Result<(), Failure> {
        for (sender, model) in self.models.iter_mut().enumerate() {
            let Some(said) = Said::of(shared, sender) else { continue };
            let place = |failure| within(failure, &format!("{TOPIC}-{sender}"));
            model.end_at(said.start).map_err(place)?;
            let mut random = self.plan.random(self.life, sender);
            let mut serial = self.life * SERIALS;
            for (call, at) in said.times.iter().enumerate() {
                model.begin(self.plan.choice.records(&mut random, sender as u32, &mut serial), *at);
                model.meet(u64::MAX, *at);
                if call < said.acknowledged {
                    model.acknowledge(model.end(), false);
                }
            }
        }
        let Some(said) = Said::of(shared, RECENT_SENDER) else { return Ok(()) };
        self.recent.end_at(said.start).map_err(|failure| within(failure, RECENT))?;
        let mut random = self.plan.random(self.life, RECENT_SENDER);
        let mut serial = self.life * SERIALS;
        self.recent.acknowledged = self.recent.records.len() + said.acknowledged;
        let sent = said.times.iter().map(|at| (Plan::recent(&mut random, &mut serial), *at));
        self.recent.records.extend(sent);
        Ok(())
    }

    /// Compares what a broker has opened, which does nothing by itself, with what must be there. How many
    /// keys were looked for.
    pub(crate) fn look(
        &mut self,
        dir: &Path,
        broker: &Broker,
        random: &mut Random,
        mut see: impl FnMut(&LogFiles),
    ) -> Result<u64, Failure> {
        let now = SystemClock.now().as_millis();
        let logs = read_files(&Disk, dir, TOPIC)?;
        let recent = read_files(&Disk, dir, RECENT)?;
        let has_sent = self.models.iter().any(|model| model.end() > 0) || !self.recent.records.is_empty();
        if (self.is_created || has_sent) && (logs.len() < self.models.len() || recent.is_empty()) {
            return Err(Failure::new(Finding::Lost, "a topic is gone"));
        }
        self.is_created |= !recent.is_empty();
        let mut keys = 0;
        for (partition, (log, model)) in (0..).zip(logs.iter().zip(&mut self.models)) {
            let place = format!("{TOPIC}-{partition}");
            let found = model.reopen(&found_of(log), now).map_err(|failure| within(failure, &place));
            keys += found?;
            check_served(broker, TOPIC, partition, log, random)?;
            see(log);
        }
        if let Some(log) = recent.first() {
            self.recent.check(log, &self.plan, now).map_err(|failure| within(failure, RECENT))?;
            check_served(broker, RECENT, 0, log, random)?;
        }
        Ok(keys)
    }
}

impl Said {
    /// `None` if the process did not come so far.
    fn of(shared: &Shared, sender: usize) -> Option<Self> {
        let word = |which: usize| shared.attempted_units(sender, which).load(Ordering::Acquire);
        let at = |call: u64| match shared.fate(sender, (call / UNITS) as usize, call % UNITS) {
            Fate::Acknowledged(at) => at.cast_signed(),
            _ => 0,
        };
        let start = word(STARTS).checked_sub(1)?;
        Some(Self {
            start,
            times: (0..word(ATTEMPTED)).map(at).collect(),
            acknowledged: word(ACKNOWLEDGED) as usize,
        })
    }
}

impl Recent {
    /// An open has found that the log ends there.
    fn end_at(&mut self, offset: u64) -> Result<(), Failure> {
        let end = offset as usize;
        if end < self.acknowledged || end > self.records.len() {
            let what = format!("it ends with {end}; {} were acknowledged", self.acknowledged);
            return Err(Failure::new(Finding::Lost, what));
        }
        self.records.truncate(end);
        self.acknowledged = end;
        Ok(())
    }

    fn check(&mut self, log: &LogFiles, plan: &Plan, now: i64) -> Result<(), Failure> {
        let fail = |finding, what: String| Err(Failure::new(finding, what));
        self.end_at(log.end)?;
        let (end, start) = (log.end as usize, log.start as usize);
        if log.start < self.start || start > end {
            return fail(Finding::CameBack, format!("it begins with {start}, and did with {}", self.start));
        }
        if !log.records.keys().copied().eq(log.start..log.end) {
            return fail(Finding::Hole, format!("of {start} to {end}, there are {}", log.records.len()));
        }
        for (offset, sent) in &log.records {
            if self.records[*offset as usize].0 != *sent {
                return fail(Finding::WrongBytes, format!("at {offset} is {sent:?}"));
            }
        }
        if let Some((_, at)) = start.checked_sub(1).and_then(|last| self.records.get(last)) {
            let is_much = log.bytes + CUT_OFF >= plan.recent_bytes;
            if !is_much && now - at <= plan.recent_age.cast_signed() {
                let what = format!("{start} records are gone, and {} bytes are left; {plan:?}", log.bytes);
                return fail(Finding::Lost, what);
            }
        }
        self.start = log.start;
        Ok(())
    }
}
