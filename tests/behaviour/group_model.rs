//! A random script of what members of groups do, checked step by step against lists of values and maps of
//! committed offsets. Who reads what is asked of the members; the model says whether it may be so, and what
//! follows from it. On one thread, so a seed is one story; but topics have
//! random ids, and members visit them in that order.

mod administration;
mod described;
mod member;
mod oracle;

use std::collections::BTreeSet;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Error, GroupState, Start, TopicPartition};

use self::member::{Member, Settings};
use self::oracle::{Absent, GROUPS, LASTING, Oracle, PASSING, Wants};
use crate::support::*;

const MOST_MEMBERS: usize = 9;
const MOST_PARTITIONS: usize = 6;
const INSTANCES: usize = 3;
/// Polls of which each member keeps what they returned.
const MOST_POLLED: usize = 5;

struct Script<'a> {
    rng: &'a mut Rng,
    oracle: Oracle,
    broker: Broker,
    members: Vec<Member>,
    tenures: u64,
    sent: u64,
    /// `None`: never reopened.
    kept: Option<Kept>,
}

impl<'a> Script<'a> {
    fn new(rng: &'a mut Rng, start: Start, kept: Option<Kept>) -> Self {
        let broker = kept.as_ref().map_or_else(Broker::in_memory, Kept::open);
        for (topic, count) in LASTING {
            broker.create_topic(topic, partitions(count as u32)).expect("a free name");
        }
        let (oracle, members) = (Oracle::new(start), Vec::new());
        Self { rng, oracle, broker, members, tenures: 0, sent: 0, kept }
    }

    fn step(&mut self) {
        let choice = self.rng.below(1_000);
        let group = self.rng.below(GROUPS.len());
        match choice {
            0..220 => self.send(),
            220..320 => self.build(group),
            800..812 => self.grow(),
            812..824 => self.create_topic(),
            824..834 => self.delete_topic(),
            834..880 => self.commit_by_hand(group),
            880..910 => self.reset(group),
            910..920 => self.delete_offsets(group),
            920..926 => self.delete_group(group),
            926..940 => self.settle(group),
            940..945 => self.leave_all(group),
            945..955 => self.reopen(),
            955.. => {}
            _ if self.members.is_empty() => {}
            _ => {
                let number = self.rng.below(self.members.len());
                match choice {
                    320..620 => _ = self.poll(number),
                    620..690 => self.commit(number),
                    690..720 => self.commit_through(number),
                    720..735 => self.commit_offsets(number),
                    735..745 => self.commit_of_another(number),
                    _ => self.leave(number),
                }
            }
        }
    }

    // ---- topics ----

    fn any_place(&mut self) -> TopicPartition {
        let places = self.oracle.places();
        places[self.rng.below(places.len())].clone()
    }

    fn send(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            let at = self.any_place();
            self.sent += 1;
            let producer = self.broker.producer::<(), u64>(&at.topic).expect("it exists");
            let sent = producer.record(self.sent).partition(at.partition).send().expect("sends");
            assert_eq!(sent.offset, self.oracle.end(&at));
            let values = self.oracle.topics.get_mut(&at.topic).expect("it exists");
            values[at.partition as usize].push(self.sent);
        }
    }

    fn grow(&mut self) {
        let at = self.any_place();
        let partitions = self.oracle.topics.get_mut(&at.topic).expect("it exists");
        let count = (partitions.len() + 1 + self.rng.below(2)).min(MOST_PARTITIONS);
        self.broker.increase_partitions(&at.topic, count as u32).expect("not less");
        partitions.resize(count, Vec::new());
        self.oracle.groups.iter_mut().for_each(|group| group.changes += 1);
    }

    fn create_topic(&mut self) {
        let name = PASSING[self.rng.below(PASSING.len())];
        // A consumer that is still to be told has partitions of two topics of one name.
        let is_known =
            self.members.iter().flat_map(|member| &member.deleted).any(|deleted| deleted.topic == name);
        if is_known || self.oracle.topics.contains_key(name) {
            return;
        }
        let count = 1 + self.rng.below(3);
        self.broker.create_topic(name, partitions(count as u32)).expect("a free name");
        let wants: Vec<Vec<Wants>> = (0..GROUPS.len()).map(|group| self.wants(group)).collect();
        self.oracle.create(name, count, &wants);
    }

    fn delete_topic(&mut self) {
        let name = PASSING[self.rng.below(PASSING.len())];
        if !self.oracle.topics.contains_key(name) {
            return assert_fails!(self.broker.delete_topic(name), Error::TopicNotFound { .. });
        }
        self.broker.delete_topic(name).expect("it exists");
        self.oracle.delete(name);
        for member in &mut self.members {
            let gone = member.holds.extract_if(.., |at, _| at.topic == name);
            member.deleted.extend(gone.map(|(at, _)| at));
        }
    }

    // ---- members ----

    fn in_group(&self, group: usize) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.is.group == group)
    }

    /// What the members of a group want, of those that are away too.
    fn wants(&self, group: usize) -> Vec<Wants> {
        let absent = self.oracle.groups[group].absent.values().map(|absent| absent.wants);
        self.in_group(group).map(|member| member.is.wants).chain(absent).collect()
    }

    fn has_members(&self, group: usize) -> bool {
        !self.wants(group).is_empty()
    }

    fn settings(&mut self, group: usize) -> Settings {
        let at_end = self.oracle.start == Start::Latest;
        let common = self.oracle.groups[group].assignor;
        let assignor = common.unwrap_or_else(|| self.rng.below(5).saturating_sub(2));
        Settings {
            group,
            // To a member that follows topics, what is new may be wanted: it is begun at the beginning.
            wants: [Wants::T, Wants::All, Wants::All, if at_end { Wants::T } else { Wants::TAndX }]
                [self.rng.below(4)],
            max_records: if self.rng.one_in(2) { 1 + self.rng.below(5) } else { usize::MAX },
            auto_commit: self.rng.one_in(3),
            commits_late: self.rng.one_in(3),
            instance: self.rng.one_in(3).then(|| self.rng.below(INSTANCES)),
            assignor,
            start: self.oracle.start,
        }
    }

    fn build(&mut self, group: usize) {
        let settings = self.settings(group);
        if settings.instance.is_some_and(|id| self.in_group(group).any(|other| other.is.instance == Some(id)))
        {
            return assert_fails!(settings.build(&self.broker), Error::InstanceInUse { .. });
        }
        if self.has_members(group) && self.rng.one_in(20) {
            let other = Settings { assignor: (settings.assignor + 1) % 3, ..settings };
            return assert_fails!(other.build(&self.broker), Error::AssignorMismatch { .. });
        }
        if self.members.len() < MOST_MEMBERS {
            self.join(settings);
        }
    }

    fn join(&mut self, settings: Settings) {
        let consumer = settings.build(&self.broker).expect("it may join");
        let oracle = &mut self.oracle;
        oracle.subscribe(settings.group, settings.wants);
        let group = &mut oracle.groups[settings.group];
        group.assignor = Some(settings.assignor);
        let back = settings.instance.and_then(|number| group.absent.remove(&number));
        let had = back.filter(|back| back.wants == settings.wants).and_then(|back| back.had);
        match had {
            Some((changes, had)) if changes == group.changes => {
                let has: BTreeSet<TopicPartition> = consumer.assignment().into_iter().collect();
                assert_eq!(has, had, "it came back, and nothing else has happened");
            }
            _ => group.changes += 1,
        }
        self.members.push(Member::new(consumer, settings));
        // One that came back may not want what it wanted before.
        self.forget_unwanted(settings.group);
        self.note_assignment(self.members.len() - 1);
    }

    /// What a call of this member has made of its partitions.
    fn note_assignment(&mut self, number: usize) {
        let member = &mut self.members[number];
        let new = member.note_assignment(&mut self.oracle, &mut self.tenures);
        let (group, member) = (member.is.group, &self.members[number]);
        for other in self.in_group(group).filter(|other| !std::ptr::eq(*other, member)) {
            let taken: Vec<_> = new.iter().filter(|at| other.holds.contains_key(*at)).collect();
            assert!(taken.is_empty(), "{taken:?} are read by another member");
        }
    }

    /// Whether the poll brought records, or news.
    fn poll(&mut self, number: usize) -> bool {
        let member = &mut self.members[number];
        member.commit_polled(&mut self.oracle);
        let outcome = member.consumer.poll(NOW);
        if let Err(Error::TopicDeleted { topic }) = &outcome {
            member.is_told(topic);
        }
        self.note_assignment(number);
        match outcome {
            Ok(records) => {
                let (member, is_empty) = (&mut self.members[number], records.is_empty());
                member.take(records, &mut self.oracle);
                if member.polled.len() > MOST_POLLED {
                    member.polled.remove(self.rng.below(MOST_POLLED));
                }
                !is_empty
            }
            Err(Error::TopicDeleted { .. }) => true,
            Err(error) => panic!("{error}"),
        }
    }

    fn leave(&mut self, number: usize) {
        let group = self.members[number].is.group;
        let is_at_rest = self.is_at_rest(group);
        let member = self.members.swap_remove(number);
        let (wants, instance) = (member.is.wants, member.is.instance);
        let had = member.holds.keys().cloned().collect();
        if self.rng.one_in(2) {
            member.close(&mut self.oracle)
        } else {
            drop(member)
        }
        let of_group = &mut self.oracle.groups[group];
        match instance {
            Some(instance) => {
                let had = is_at_rest.then_some((of_group.changes, had));
                of_group.absent.insert(instance, Absent { wants, had });
            }
            None => of_group.changes += 1,
        }
        self.forget_unwanted(group);
        if instance.is_some() && !is_at_rest && self.rng.one_in(4) {
            // Others may wait for what it has.
            self.settle(group);
        }
    }

    fn forget_unwanted(&mut self, group: usize) {
        let wants = self.wants(group);
        self.oracle.groups[group].forget_all_but(&wants);
    }

    /// Everything is read, and by whom it is meant for; and everybody knows what there is.
    fn is_at_rest(&self, group: usize) -> bool {
        let description = self.broker.describe_group(GROUPS[group]).expect("it has members");
        let read: usize = self.in_group(group).map(|member| member.holds.len()).sum();
        let knows = self.in_group(group).all(|member| member.deleted.is_empty());
        description.state == GroupState::Stable && read == self.wanted(group).len() && knows
    }

    fn leave_all(&mut self, group: usize) {
        while let Some(number) = self.members.iter().position(|member| member.is.group == group) {
            self.leave(number);
        }
    }

    /// Those that are away come back.
    fn bring_back(&mut self, group: usize) {
        while let Some((&instance, absent)) = self.oracle.groups[group].absent.first_key_value() {
            let wants = absent.wants;
            let settings = Settings { instance: Some(instance), wants, ..self.settings(group) };
            self.join(settings);
        }
    }

    // ---- commits ----

    fn commit(&mut self, number: usize) {
        let member = &self.members[number];
        if member.polled.is_empty() {
            return;
        }
        // Mostly the latest.
        let latest = member.polled.len() - 1;
        let polled = &member.polled[if self.rng.one_in(3) { self.rng.below(latest + 1) } else { latest }];
        let outcome = match self.rng.below(4) {
            0 => block_on(member.consumer.commit_async(&polled.records)),
            1 => {
                // It counts all the same.
                drop(member.consumer.commit_async(&polled.records));
                let mut tenures = polled.tenures.iter();
                let may = tenures.all(|(at, tenure)| member.may_commit(at, *tenure));
                if may { Ok(()) } else { member.consumer.commit(&polled.records) }
            }
            _ => member.consumer.commit(&polled.records),
        };
        let tenures = polled.tenures.iter().filter(|(at, tenure)| !member.may_commit(at, **tenure));
        let lost: Vec<TopicPartition> = tenures.map(|(at, _)| at.clone()).collect();
        match outcome {
            Ok(()) => {
                assert!(lost.is_empty(), "committed what it has lost: {lost:?}");
                for record in &polled.records {
                    let at = TopicPartition::new(record.topic(), record.partition());
                    self.oracle.groups[member.is.group].committed.insert(at, record.offset() + 1);
                }
            }
            Err(error) => member.check_refusal(&error, &lost),
        }
    }

    fn commit_through(&mut self, number: usize) {
        let member = &self.members[number];
        let Some(polled) = member.polled.iter().rfind(|polled| !polled.records.is_empty()) else { return };
        let chosen = self.rng.below(polled.records.len());
        let record = polled.records.iter().nth(chosen).expect("there are as many");
        let at = TopicPartition::new(record.topic(), record.partition());
        let outcome = match self.rng.below(2) {
            0 => member.consumer.commit_through(&record),
            _ => block_on(member.consumer.commit_through_async(&record)),
        };
        let may = member.may_commit(&at, polled.tenures[&at]);
        match outcome {
            Ok(()) => {
                assert!(may, "committed what it has lost: {at}");
                self.oracle.groups[member.is.group].committed.insert(at, record.offset() + 1);
            }
            Err(error) => {
                assert!(!may, "{error}");
                member.check_refusal(&error, &[at]);
            }
        }
    }

    /// What the member likes, in one partition that it has.
    fn commit_offsets(&mut self, number: usize) {
        let member = &self.members[number];
        if member.holds.is_empty() {
            return;
        }
        let chosen = self.rng.below(member.holds.len());
        let at = member.holds.keys().nth(chosen).expect("there are as many").clone();
        let offset = self.rng.below(self.oracle.end(&at) as usize + 1) as u64;
        member.consumer.commit_offsets([(at.clone(), offset)]).expect("it is its own");
        self.oracle.set(member.is.group, &at, offset);
    }

    fn commit_of_another(&mut self, number: usize) {
        let other = self.rng.below(self.members.len());
        let (member, other) = (&self.members[number], &self.members[other]);
        let Some(polled) = other.polled.last().filter(|polled| !polled.records.is_empty()) else { return };
        if !std::ptr::eq(member, other) {
            let refusal = member.consumer.commit(&polled.records).expect_err("it has not polled these");
            let all: Vec<TopicPartition> = polled.tenures.keys().cloned().collect();
            member.check_refusal(&refusal, &all);
        }
    }

    // ---- rest ----

    /// Everybody comes back and polls: nothing is left to do, and nothing was left out.
    fn settle(&mut self, group: usize) {
        self.bring_back(group);
        let members: Vec<usize> =
            (0..self.members.len()).filter(|&number| self.members[number].is.group == group).collect();
        if members.is_empty() {
            return;
        }
        for _ in 0..4 {
            members.iter().for_each(|&number| _ = self.poll(number));
        }
        self.check_settled(group);
        for &number in &members {
            while self.poll(number) {}
        }
        self.check_seen(group);
    }

    fn check(&mut self) {
        self.members.iter().for_each(|member| member.check(&self.oracle));
        (0..GROUPS.len()).for_each(|group| self.check_described(group));
    }

    fn run(mut self, steps: usize) {
        for step in 0..steps {
            let _pass = Pass(format!("step {step}"));
            self.step();
            self.check();
        }
        for group in 0..GROUPS.len() {
            let settings = Settings { wants: Wants::All, instance: None, ..self.settings(group) };
            self.join(settings);
            self.settle(group);
            self.check();
        }
    }
}

#[test]
fn groups_in_memory_do_what_lists_do() {
    with_seeds(|rng| Script::new(rng, Start::Earliest, None).run(2_000));
}

#[test]
fn groups_that_begin_at_the_end_do_what_lists_do() {
    with_seeds(|rng| Script::new(rng, Start::Latest, None).run(2_000));
}

#[test]
fn groups_on_a_memory_storage_do_what_lists_do_through_many_lives() {
    for start in [Start::Earliest, Start::Latest] {
        let _pass = Pass(format!("beginning at {start:?}"));
        with_seeds(|rng| {
            Script::new(rng, start, Some(Kept::Files(MemoryStorage::default()))).run(700);
        });
    }
}

#[test]
fn groups_on_disk_do_what_lists_do_through_many_lives() {
    with_seeds(|rng| Script::new(rng, Start::Earliest, Some(Kept::Disk(temp_dir()))).run(250));
}
