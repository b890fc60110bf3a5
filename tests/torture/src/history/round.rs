//! One round: a broker, those who use it, and what is done to them until all is read that was sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ottla::{Broker, TopicPartition};

use super::crew::{Running, reap};
use super::events::{Group, History};
use super::group::{MAX_MEMBERS, Spec};
use super::member::{self, Order};
use super::producer::Sender;
use super::scene::{Phase, Scene};
use super::{Met, by_hand};
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;

const SENDERS: u32 = 3;
const BY_HAND: usize = 2;
/// Between two things that are done to a round, at most; and for how long members may be away. A quick round
/// meets more rebalances at a time, a calm one more that come to their end.
const TEMPOS: [(u64, u64); 3] = [(90, 200), (90, 200), (16, 50)];
/// For so long producers fill the partitions that come last.
const SENDS_AT_LAST: Duration = Duration::from_millis(100);
/// No thread takes longer to do what it is told, whatever else the machine does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Round {
    scene: Arc<Scene>,
    random: Random,
    specs: Vec<Arc<Spec>>,
    /// Those of each group.
    members: Vec<Vec<Running>>,
    by_hand: Vec<Running>,
    senders: Vec<Running>,
    pause_millis: u64,
    /// So many readers were named.
    named: u64,
    met: Met,
}

/// Runs one round for so long, and returns its history.
pub(crate) fn run(mut random: Random, on_disk: bool, duration: Duration) -> Result<(History, Met), Failure> {
    let scene = Scene::new(on_disk, &mut random)?;
    let (pause_millis, max_poll_interval) = random.pick(&TEMPOS);
    let specs = Spec::all(&mut random, Duration::from_millis(max_poll_interval));
    let specs: Vec<Arc<Spec>> = specs.map(Arc::new).into();
    let members = specs.iter().map(|_| Vec::new()).collect();
    let (by_hand, senders, met) = (Vec::new(), Vec::new(), Met::default());
    let mut round = Round { scene, random, specs, members, by_hand, senders, pause_millis, named: 0, met };
    let outcome = round.start().and_then(|()| round.direct(duration)).and_then(|()| round.drain());
    if let Err(failure) = outcome {
        round.scene.set_phase(Phase::Failed);
        // They write to what is removed after this.
        drop(round.wait_for_all());
        return Err(failure);
    }
    round.end()
}

impl Round {
    fn start(&mut self) -> Result<(), Failure> {
        for number in 0..SENDERS {
            let sender = Sender::new(Arc::clone(&self.scene), number, Random::new(self.random.next()));
            self.senders.push(Running::start(&format!("p{number}"), move |_| sender.run())?);
        }
        for group in 0..self.specs.len() {
            self.join(group)?;
        }
        (0..BY_HAND).try_for_each(|_| self.read_by_hand())
    }

    fn direct(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(self.random.range(2..self.pause_millis)));
            self.reap()?;
            let group = self.random.below(self.specs.len() as u64) as usize;
            self.act(group)?;
        }
        self.grow_at_last()
    }

    /// Nothing but the growth itself tells groups of these partitions: no member comes or goes any more.
    fn grow_at_last(&mut self) -> Result<(), Failure> {
        thread::sleep(self.specs[0].max_poll_interval * 2);
        self.reap()?;
        for group in 0..self.specs.len() {
            if self.members[group].is_empty() {
                self.join(group)?;
            }
        }
        if !self.scene.appear(&mut self.random)? || self.random.one_in(2) {
            self.scene.grow(&mut self.random)?;
        }
        thread::sleep(SENDS_AT_LAST);
        Ok(())
    }

    /// Does something to a group, or to everybody.
    fn act(&mut self, group: usize) -> Result<(), Failure> {
        let members = self.members[group].len();
        match self.random.below(100) {
            0..36 if members < MAX_MEMBERS => self.join(group),
            36..44 => self.order(group, Order::Kill),
            44..52 => self.order(group, Order::Panic),
            52..60 => self.order(group, Order::Stall),
            60..65 => self.order(group, Order::StallAndKill),
            65..80 => self.order(group, Order::Close),
            80..86 => {
                self.met.grown += u64::from(self.scene.grow(&mut self.random)?);
                Ok(())
            }
            86..91 => {
                self.met.appeared += u64::from(self.scene.appear(&mut self.random)?);
                Ok(())
            }
            91..95 => {
                self.met.disappeared += u64::from(self.scene.disappear(&mut self.random)?);
                Ok(())
            }
            95..97 => {
                self.by_hand[self.random.below(BY_HAND as u64) as usize].give(Order::Close);
                Ok(())
            }
            _ if members == 0 => self.join(group),
            _ => Ok(()),
        }
    }

    fn order(&mut self, group: usize, order: Order) -> Result<(), Failure> {
        let members = &self.members[group];
        if members.is_empty() {
            return self.join(group);
        }
        members[self.random.below(members.len() as u64) as usize].give(order);
        self.met.count(order);
        Ok(())
    }

    fn join(&mut self, group: usize) -> Result<(), Failure> {
        let spec = &self.specs[group];
        let is_free = |slot: &usize| self.members[group].iter().all(|running| running.slot != *slot);
        let slot = (0..).find(is_free).unwrap_or_default();
        let name = format!("{}-m{}", spec.name, self.named);
        self.named += 1;
        self.met.joined += 1;
        let (scene, spec, its_name) = (Arc::clone(&self.scene), Arc::clone(spec), name.clone());
        let random = Random::new(self.random.next());
        let running = Running::start(&name, move |orders| {
            member::live(scene, spec, Arc::clone(orders), (its_name, slot), random)
        })?;
        self.members[group].push(running.in_slot(slot));
        Ok(())
    }

    fn read_by_hand(&mut self) -> Result<(), Failure> {
        let name = format!("hand{}", self.named);
        self.named += 1;
        let (scene, its_name, random) =
            (Arc::clone(&self.scene), name.clone(), Random::new(self.random.next()));
        let running = Running::start(&name, move |orders| by_hand::live(&scene, orders, its_name, random))?;
        self.by_hand.push(running);
        Ok(())
    }

    fn reap(&mut self) -> Result<(), Failure> {
        self.specs.iter().for_each(|spec| spec.count_rebalances(&self.scene));
        self.members.iter_mut().try_for_each(reap)?;
        reap(&mut self.senders)?;
        reap(&mut self.by_hand)?;
        while self.by_hand.len() < BY_HAND && self.scene.is_at(Phase::Going) {
            self.read_by_hand()?;
        }
        Ok(())
    }

    /// Nobody sends any more: all readers get to the end, and leave.
    fn drain(&mut self) -> Result<(), Failure> {
        self.scene.set_phase(Phase::Stopping);
        let is_mixed = |(spec, _): &(&Arc<Spec>, _)| spec.is_mixed();
        for (_, members) in self.specs.iter().zip(&self.members).filter(is_mixed) {
            members.iter().for_each(|member: &Running| member.give(Order::Close));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.reap()?;
            if self.senders.is_empty() {
                self.scene.set_phase(Phase::Draining);
            }
            let behind = self.behind()?;
            if self.senders.is_empty() && self.by_hand.is_empty() && behind.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                let who = self.senders.iter().chain(&self.by_hand).chain(self.members.iter().flatten());
                let who: Vec<&str> = who.map(|running| running.name.as_str()).collect();
                let what = format!(
                    "after {PATIENCE:?} without sends; running: {}; {}",
                    who.join(" "),
                    behind.join("; ")
                );
                return Err(Failure::new(Finding::Stuck, what));
            }
            for group in 0..self.specs.len() {
                if self.members[group].is_empty() {
                    self.join(group)?;
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.members.iter().flatten().for_each(|member| member.give(Order::Close));
        self.wait_for_all()
    }

    /// What groups have not committed yet.
    fn behind(&self) -> Result<Vec<String>, Failure> {
        let mut behind = Vec::new();
        for (topic, _) in self.scene.topics() {
            let described = self.scene.broker.describe_topic(&topic).map_err(unexpected("describe_topic"))?;
            for spec in self.specs.iter().filter(|spec| spec.follows(&topic)) {
                let committed = self.scene.broker.committed_offsets(spec.name);
                for partition in &described.partitions {
                    let place = TopicPartition::new(&*topic, partition.partition);
                    let offset = committed.get(&place).map_or(0, |committed| committed.offset);
                    if offset < partition.end_offset {
                        let end = partition.end_offset;
                        behind.push(format!("{} has committed {offset} of {end} in {place}", spec.name));
                    }
                }
            }
        }
        Ok(behind)
    }

    fn wait_for_all(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.reap()?;
            let mut left = self.members.iter().flatten().chain(&self.by_hand).chain(&self.senders).peekable();
            if left.peek().is_none() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let names: Vec<&str> = left.map(|running| running.name.as_str()).collect();
                return Err(Failure::new(Finding::Stuck, format!("{} did not end", names.join(" "))));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What groups have committed is there when the directory is opened again.
    fn look_again(&self) -> Result<(), Failure> {
        let Some(dir) = self.scene.dir() else { return Ok(()) };
        let again = Broker::open(dir).map_err(unexpected("the directory does not open again"))?;
        for spec in &self.specs {
            let (before, after) =
                (self.scene.broker.committed_offsets(spec.name), again.committed_offsets(spec.name));
            if before != after {
                let what = format!("group {} had committed {before:?}, and now it is {after:?}", spec.name);
                return Err(Failure::new(Finding::Lost, what));
            }
        }
        again.close().map_err(unexpected("the broker does not close once more"))
    }

    fn end(mut self) -> Result<(History, Met), Failure> {
        self.met.rebalances += self.specs.iter().map(|spec| spec.rebalances()).sum::<u64>();
        self.scene.broker.close().map_err(unexpected("the broker does not close"))?;
        self.look_again()?;
        let topics: BTreeMap<String, u32> = self.scene.topics().into_iter().collect();
        let groups = self.specs.iter().map(|spec| {
            let followed = topics.iter().filter(|(topic, _)| spec.follows(topic));
            let follows = followed.flat_map(|(topic, &partitions)| {
                (0..partitions).map(|partition| self.scene.recorder.place(topic, partition))
            });
            Group { name: spec.name.to_owned(), follows: follows.collect() }
        });
        Ok((self.scene.recorder.history(groups.collect()), self.met))
    }
}
