//! What is left in a directory by processes that were killed, of the topics of which the broker gives up
//! records.

use std::path::Path;
use std::sync::atomic::Ordering;

use ottla::storage::Disk;
use ottla::{Broker, Clock, SystemClock};

use super::choice::{check_served, found_of, read_files};
use super::model::Model;
use super::tended::{Orders, Plan, RECENT, RECENT_SENDER, SERIALS};
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

/// The topic of which the last part is kept, by offset.
#[derive(Debug, Default)]
struct Recent {
    records: Vec<(Sent, i64)>,
    acknowledged: usize,
    start: u64,
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

    /// Takes down what the last process did, which has ended. Whether it had sent anything: then somebody has
    /// to look before the next one sends.
    pub(crate) fn hear(&mut self, shared: &Shared) -> bool {
        let calls =
            |sender: usize| [0, 1].map(|which| shared.attempted_units(sender, which).load(Ordering::Acquire));
        let at = |sender: usize, call: u64| match shared.fate(sender, (call / UNITS) as usize, call % UNITS) {
            Fate::Acknowledged(at) => at.cast_signed(),
            _ => 0,
        };
        let mut has_sent = false;
        for (sender, model) in self.models.iter_mut().enumerate() {
            let mut random = self.plan.random(self.life, sender);
            let mut serial = self.life * SERIALS;
            let [attempted, acknowledged] = calls(sender);
            for call in 0..attempted {
                let records = self.plan.choice.records(&mut random, sender as u32, &mut serial);
                model.begin(records, at(sender, call));
                model.meet(u64::MAX, at(sender, call));
                if call < acknowledged {
                    model.acknowledge(model.end(), false);
                }
                has_sent = true;
            }
        }
        let mut random = self.plan.random(self.life, RECENT_SENDER);
        let mut serial = self.life * SERIALS;
        let [attempted, acknowledged] = calls(RECENT_SENDER);
        for call in 0..attempted {
            self.recent.records.push((Plan::recent(&mut random, &mut serial), at(RECENT_SENDER, call)));
            if call < acknowledged {
                self.recent.acknowledged = self.recent.records.len();
            }
        }
        has_sent || attempted > 0
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
        let logs = read_files(&Disk, dir, super::choice::TOPIC)?;
        let recent = read_files(&Disk, dir, RECENT)?;
        let has_sent = self.models.iter().any(|model| model.end() > 0) || !self.recent.records.is_empty();
        if (self.is_created || has_sent) && (logs.len() < self.models.len() || recent.is_empty()) {
            return Err(Failure::new(Finding::Lost, "a topic is gone"));
        }
        self.is_created |= !recent.is_empty();
        let mut keys = 0;
        for (partition, (log, model)) in (0..).zip(logs.iter().zip(&mut self.models)) {
            let place = format!("{}-{partition}", super::choice::TOPIC);
            let found = model.reopen(&found_of(log), now).map_err(|failure| within(failure, &place));
            keys += found?;
            check_served(broker, super::choice::TOPIC, partition, log, random)?;
            see(log);
        }
        if let Some(log) = recent.first() {
            self.recent.check(log, &self.plan, now).map_err(|failure| within(failure, RECENT))?;
            check_served(broker, RECENT, 0, log, random)?;
        }
        Ok(keys)
    }
}

impl Recent {
    fn check(&mut self, log: &LogFiles, plan: &Plan, now: i64) -> Result<(), Failure> {
        let fail = |finding, what: String| Err(Failure::new(finding, what));
        let (end, start) = (log.end as usize, log.start as usize);
        if end < self.acknowledged || end > self.records.len() {
            let what = format!("it ends with {end}; {} were acknowledged", self.acknowledged);
            return fail(Finding::Lost, what);
        }
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
        self.records.truncate(end);
        if let Some((_, at)) = start.checked_sub(1).and_then(|last| self.records.get(last)) {
            let bytes = |(sent, _): &(Sent, i64)| 40 + sent.value.as_ref().map_or(0, Vec::len) as u64;
            let kept: u64 = self.records[start..].iter().map(bytes).sum();
            // Padding counts too.
            let is_much = kept + 8 * (end - start) as u64 >= plan.recent_bytes;
            if !is_much && now - at <= plan.recent_age.cast_signed() {
                let what = format!("{start} records are gone, and {kept} bytes are left; {plan:?}");
                return fail(Finding::Lost, what);
            }
        }
        (self.start, self.acknowledged) = (log.start, end);
        Ok(())
    }
}
