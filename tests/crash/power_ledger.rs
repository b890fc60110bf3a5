//! What brokers said in one directory through power losses and kills, and what must therefore be found there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::{Broker, Durability, Raw, TopicPartition};

use crate::lossy::Lossy;
use crate::power_loss::TOPICS;
use crate::support::{Checked, DIR, Finding, Random, committed, ensure, open, value};

const GROUP: &str = "fraud";

/// Partition and offset.
type Place = (u32, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Process,
    Power,
}

impl Loss {
    /// What is found after the end of a process, or of the power, that has happened to `files`.
    pub(crate) fn of(files: &Lossy, random: &mut Random) -> (Self, Lossy) {
        match random.below(3) {
            0 => (Self::Process, files.after_kill()),
            _ => (Self::Power, files.after_power_loss(random)),
        }
    }
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    power_losses: usize,
    kills: usize,
    torn: usize,
    set_aside: usize,
    safe_records: usize,
    acknowledged_records: usize,
    lost_records: usize,
    commits: usize,
    batches: usize,
    trimmed: usize,
    grown: usize,
}

impl Counts {
    pub(crate) fn are_enough(&self) -> bool {
        let Self { power_losses, kills, torn, set_aside, safe_records, acknowledged_records, .. } = *self;
        let Self { lost_records, commits, batches, trimmed, grown, .. } = *self;
        let ends = [power_losses, kills, torn, set_aside];
        let kept = [safe_records, acknowledged_records, lost_records, commits, batches, trimmed, grown];
        ends.into_iter().chain(kept).all(|count| count > 0)
    }
}

/// What a power loss must not take, and what the end of a process must not.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Whether the broker's own level is `PowerLoss`.
    pub(crate) commits_are_safe: bool,
    pub(crate) topics: [TopicLedger; 2],
    commits: BTreeMap<TopicPartition, Commits>,
    numbers: usize,
}

/// What was committed for one partition, in order.
#[derive(Debug, Default)]
struct Commits {
    tried: Vec<u64>,
    /// The last one that must be there, or a later one.
    safe: Option<usize>,
    acknowledged: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct TopicLedger {
    durability: Durability,
    /// How often the durability may have changed.
    pub(crate) level: usize,
    is_created: bool,
    partitions: u32,
    most_partitions: u32,
    /// Numbers of records that survive a power loss.
    safe: BTreeMap<Place, usize>,
    acknowledged: BTreeMap<Place, usize>,
    /// By partition: detached records, and those that a flush has kept, wherever they are.
    detached: BTreeSet<(u32, usize)>,
    flushed: BTreeSet<(u32, usize)>,
    /// By partition: where it begins at least, and at most.
    starts: BTreeMap<u32, (u64, u64)>,
    /// The first number of each call and how many it took.
    calls: BTreeMap<usize, usize>,
}

impl TopicLedger {
    fn new(durability: Durability) -> Self {
        Self {
            durability,
            level: 0,
            is_created: false,
            partitions: 2,
            most_partitions: 2,
            safe: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            detached: BTreeSet::new(),
            flushed: BTreeSet::new(),
            starts: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    pub(crate) fn created(&mut self) {
        self.is_created = true;
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    pub(crate) fn growing(&mut self, to: u32) {
        self.most_partitions = to;
    }

    pub(crate) fn grown(&mut self, to: u32) {
        self.partitions = to;
    }

    pub(crate) fn altered(&mut self, durability: Durability) {
        self.durability = durability;
        self.level += 1;
    }

    pub(crate) fn trimming(&mut self, partition: u32, before: u64) {
        let most = &mut self.starts.entry(partition).or_default().1;
        *most = before.max(*most);
    }

    pub(crate) fn trimmed(&mut self, partition: u32, before: u64) {
        self.starts.entry(partition).or_default().0 = before;
    }

    pub(crate) fn acknowledge(&mut self, place: Place, number: usize) -> Checked {
        self.acknowledge_since(place, number, self.level)
    }

    /// A record was acknowledged that was sent when the durability had changed `level` times.
    pub(crate) fn acknowledge_since(&mut self, place: Place, number: usize, level: usize) -> Checked {
        let known = self.acknowledged.insert(place, number).is_none_or(|known| known == number);
        ensure(known, || format!("{place:?} was given twice, now to {number}"))?;
        if self.durability == Durability::PowerLoss && self.level == level {
            self.safe.insert(place, number);
        }
        Ok(())
    }

    pub(crate) fn detach(&mut self, partition: u32, number: usize) {
        self.detached.insert((partition, number));
    }

    /// Everything that was sent is safe.
    pub(crate) fn flushed(&mut self) {
        self.safe.extend(&self.acknowledged);
        self.flushed.append(&mut self.detached);
    }

    /// A consumer polled a record.
    pub(crate) fn see(&mut self, place: Place, value: &[u8]) -> Checked {
        let number = number_of(value).ok_or_else(|| Finding(format!("{place:?} is damaged")))?;
        let known = self.acknowledged.get(&place).is_none_or(|known| *known == number);
        ensure(known, || format!("{number} was polled at {place:?}"))?;
        // The other topic may have shown records before it was altered.
        if self.level == 0 && self.durability == Durability::PowerLoss {
            let known = self.safe.insert(place, number).is_none_or(|known| known == number);
            ensure(known, || format!("{number} was polled at {place:?}"))?;
        }
        Ok(())
    }
}

impl Ledger {
    pub(crate) fn new(commits_are_safe: bool) -> Self {
        Self {
            commits_are_safe,
            topics: [Durability::PowerLoss, Durability::ProcessCrash].map(TopicLedger::new),
            commits: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// The first of the numbers of so many new records of one call.
    pub(crate) fn new_number(&mut self, topic: usize, count: usize) -> usize {
        let first = self.numbers;
        self.numbers += count;
        self.topics[topic].calls.insert(first, count);
        first
    }

    /// These offsets are about to be committed.
    pub(crate) fn committing(&mut self, offsets: &BTreeMap<TopicPartition, u64>) {
        for (place, offset) in offsets {
            self.commits.entry(place.clone()).or_default().tried.push(*offset);
        }
    }

    pub(crate) fn committed(&mut self, offsets: &BTreeMap<TopicPartition, u64>) {
        for place in offsets.keys() {
            let commits = self.commits.entry(place.clone()).or_default();
            commits.acknowledged = commits.tried.len().checked_sub(1);
            if self.commits_are_safe {
                commits.safe = commits.acknowledged;
            }
        }
    }

    /// Opens a copy of what a loss left, which damages nothing that was synced. From then on what was found is
    /// what must be there.
    pub(crate) fn check(&mut self, files: &Lossy, loss: Loss, counts: &mut Counts) -> Checked {
        match loss {
            Loss::Power => counts.power_losses += 1,
            Loss::Process => counts.kills += 1,
        }
        let copy = files.after_kill();
        let broker = open(&copy).map_err(|error| Finding(format!("it does not open: {error}")))?;
        let report = broker.recovery_report();
        let is_well = report.damaged.is_empty() && report.damaged_checkpoint.is_none();
        ensure(is_well, || format!("{report:?}"))?;
        counts.torn += report.torn_tails.len();
        counts.set_aside += report.torn_tails.iter().map(|tail| tail.set_aside.len()).sum::<usize>();
        for (topic, name) in self.topics.iter_mut().zip(TOPICS) {
            topic
                .check(&broker, name, loss, counts)
                .map_err(|finding| Finding(format!("{name}: {finding}")))?;
        }
        self.check_commits(&broker, loss, counts)?;
        drop(broker);
        let verified = Broker::verify_in(copy, DIR)?;
        ensure(verified.is_clean(), || format!("what was mended is not well: {verified:?}"))
    }

    fn check_commits(&mut self, broker: &Broker, loss: Loss, counts: &mut Counts) -> Checked {
        let found = committed(broker, GROUP);
        let listed = broker.list_topics();
        for (place, commits) in &mut self.commits {
            let must = if loss == Loss::Power { commits.safe } else { commits.acknowledged };
            let Some(&found) = found.get(place) else {
                ensure(must.is_none(), || format!("what was committed for {place} is gone"))?;
                *commits = Commits::default();
                continue;
            };
            ensure(listed.contains(&place.topic), || format!("{place} is committed and not there"))?;
            let end = broker.describe_topic(&place.topic)?.partitions[place.partition as usize].end_offset;
            let candidates = &commits.tried[must.unwrap_or(0)..];
            let is_known = candidates.iter().any(|&tried| tried.min(end) == found);
            ensure(is_known, || format!("{place}: {found} is committed, not one of {candidates:?}"))?;
            counts.commits += usize::from(must.is_some());
            // What a kill left may still be lost: then one of the others counts.
            if loss == Loss::Power {
                commits.tried.clear();
            }
            commits.tried.push(found);
            commits.acknowledged = commits.tried.len().checked_sub(1);
            commits.safe = if loss == Loss::Power { commits.acknowledged } else { commits.safe };
        }
        Ok(())
    }
}

impl TopicLedger {
    fn check(&mut self, broker: &Broker, name: &str, loss: Loss, counts: &mut Counts) -> Checked {
        if !broker.list_topics().iter().any(|listed| listed == name) {
            return ensure(!self.is_created, || "it is gone".to_owned());
        }
        self.is_created = true;
        let description = broker.describe_topic(name)?;
        let partitions = description.partitions.len() as u32;
        let expected = self.partitions..=self.most_partitions;
        ensure(expected.contains(&partitions), || format!("{partitions} partitions, not {expected:?}"))?;
        counts.grown += usize::from(partitions > 2);
        (self.partitions, self.most_partitions) = (partitions, partitions);
        if description.durability != self.durability {
            self.altered(description.durability);
        }
        let mut found = BTreeMap::new();
        for partition in 0..partitions {
            let start = description.partitions[partition as usize].start_offset;
            let (least, most) = self.starts.insert(partition, (start, start)).unwrap_or_default();
            ensure((least..=most).contains(&start), || {
                format!("{partition} begins with {start}, not {least}")
            })?;
            counts.trimmed += usize::from(start > 0);
            let numbers = read(broker, name, partition, start)?;
            self.check_order(partition, start, &numbers, counts)?;
            found.extend((start..).zip(numbers).map(|(offset, number)| ((partition, offset), number)));
        }
        self.check_kept(found, loss, counts)
    }

    /// Records are in the order of the calls, and those of one call all there or none.
    fn check_order(&self, partition: u32, start: u64, numbers: &[usize], counts: &mut Counts) -> Checked {
        let in_order = numbers.is_sorted_by(|before, after| before < after);
        ensure(in_order, || format!("partition {partition} is in disorder: {numbers:?}"))?;
        let mut rest = numbers;
        while let [first, ..] = rest {
            let call = self.calls.range(..=first).next_back();
            let (&base, &count) = call.ok_or_else(|| Finding(format!("nobody sent {first}")))?;
            ensure(*first < base + count, || format!("{first} is of no call of this topic"))?;
            let is_cut = rest.len() == numbers.len() && start > 0;
            ensure(*first == base || is_cut, || format!("{first} has lost the begin of its batch"))?;
            let whole = (*first..base + count).eq(rest.iter().copied().take(base + count - first));
            ensure(whole, || format!("the batch of {first} is not whole"))?;
            counts.batches += usize::from(count > 1);
            rest = &rest[base + count - first..];
        }
        for number in self.flushed.iter().filter(|(of, _)| *of == partition).map(|(_, number)| *number) {
            let is_deleted = start > 0 && numbers.first().is_none_or(|first| number < *first);
            let is_there = numbers.binary_search(&number).is_ok();
            ensure(is_there || is_deleted, || {
                format!("{number} was flushed and is lost from {partition}, {start}: {numbers:?}")
            })?;
        }
        Ok(())
    }

    fn check_kept(&mut self, found: BTreeMap<Place, usize>, loss: Loss, counts: &mut Counts) -> Checked {
        let starts = self.starts.clone();
        let is_kept =
            |(partition, offset): &Place| starts.get(partition).is_none_or(|start| *offset >= start.0);
        self.safe.retain(|place, _| is_kept(place));
        self.acknowledged.retain(|place, _| is_kept(place));
        let must = if loss == Loss::Power { &self.safe } else { &self.acknowledged };
        for (place, number) in must {
            let there = found.get(place);
            ensure(there == Some(number), || format!("{number} was at {place:?}, which holds {there:?}"))?;
        }
        counts.lost_records += self.acknowledged.keys().filter(|place| !found.contains_key(place)).count();
        match loss {
            Loss::Power => {
                counts.safe_records += self.safe.len();
                self.safe.clone_from(&found);
            }
            Loss::Process => counts.acknowledged_records += self.acknowledged.len(),
        }
        self.acknowledged = found;
        self.detached.clear();
        Ok(())
    }
}

/// The numbers of all records of a partition, which begins with `start`.
fn read(broker: &Broker, topic: &str, partition: u32, start: u64) -> Checked<Vec<usize>> {
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).build()?;
    let mut numbers = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(numbers);
        }
        for record in &records {
            let (offset, expected) = (record.offset(), start + numbers.len() as u64);
            ensure(offset == expected, || format!("partition {partition} has {offset} for {expected}"))?;
            let number = number_of(record.value_bytes().unwrap_or_default());
            numbers.push(number.ok_or_else(|| Finding(format!("{offset} of {partition} is damaged")))?);
        }
    }
}

/// The value of the record with this number.
pub(crate) fn value_of(number: usize) -> Vec<u8> {
    let mut random = Random(number as u64);
    let most = if random.below(8) == 0 { 3_900 } else { 400 };
    value(number, 8 + random.below(most) as usize)
}

/// The number of the record with this value, if every byte is right.
fn number_of(value: &[u8]) -> Option<usize> {
    let number = std::str::from_utf8(value.get(..7)?).ok()?.parse().ok()?;
    (value == value_of(number)).then_some(number)
}
