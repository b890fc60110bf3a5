//! What a directory must hold, by what was acknowledged, and what it must not. Looks for it in what was read
//! from the directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use super::name::Name;
use super::outcome::{Failure, Finding};
use super::shared::{Fate, PARTITIONS, SENDERS, Shared};

/// What was read from a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The records of each partition, counted over all topics, from offset 0 on.
    pub(crate) partitions: [Vec<Name>; PARTITIONS],
    /// What the group has committed.
    pub(crate) committed: [Option<u64>; PARTITIONS],
}

impl Contents {
    /// How many records each partition has.
    pub(crate) fn ends(&self) -> [usize; PARTITIONS] {
        std::array::from_fn(|partition| self.partitions[partition].len())
    }
}

/// What was heard of everything that was sent to a directory.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What was there when somebody last looked. It was visible, so it stays.
    seen: Contents,
    /// By the sender's number: what became of each unit that it sent to each partition.
    fates: BTreeMap<u64, [Vec<Fate>; PARTITIONS]>,
    /// The commits that were acknowledged, and the highest that were tried.
    acknowledged_commits: [u64; PARTITIONS],
    attempted_commits: [u64; PARTITIONS],
    /// Whether sends may be refused. If not, no unit can be there without those before it.
    has_refusals: bool,
}

impl Ledger {
    /// For a directory in which sends may be refused.
    pub(crate) fn with_refusals() -> Self {
        Self { has_refusals: true, ..Self::default() }
    }

    /// Takes down what a process said, whose senders have the numbers from `first_sender` on. It must have
    /// ended.
    pub(crate) fn hear(&mut self, shared: &Shared, first_sender: u64) {
        for sender in 0..SENDERS {
            let fates = std::array::from_fn(|partition| {
                let attempted = shared.attempted_units(sender, partition).load(Ordering::Acquire);
                (0..attempted).map(|unit| shared.fate(sender, partition, unit)).collect()
            });
            self.fates.insert(first_sender + sender as u64, fates);
        }
        for partition in 0..PARTITIONS {
            let acknowledged = shared.committed(partition).load(Ordering::Acquire);
            let attempted = shared.attempted_commit(partition).load(Ordering::Acquire);
            self.acknowledged_commits[partition] = self.acknowledged_commits[partition].max(acknowledged);
            self.attempted_commits[partition] = self.attempted_commits[partition].max(attempted);
        }
    }

    /// Looks for what must be there, and for what must not.
    pub(crate) fn check(&mut self, contents: Contents) -> Result<(), Failure> {
        let mut findings = Findings::default();
        let places = self.check_names(&contents, &mut findings);
        for partition in 0..PARTITIONS {
            self.check_seen(&contents, partition, &places, &mut findings);
            self.check_units(&contents, partition, &mut findings);
            self.check_commit(&contents, partition, &mut findings);
        }
        self.check_acknowledged(&contents, &places, &mut findings);
        findings.result()?;
        self.seen = contents;
        Ok(())
    }

    /// Every record is one that was sent, to that partition, and is there once.
    fn check_names(&self, contents: &Contents, findings: &mut Findings) -> Places {
        let mut places = HashMap::new();
        for (partition, names) in contents.partitions.iter().enumerate() {
            for (offset, name) in names.iter().enumerate() {
                let here = Place { partition, offset };
                if let Some(there) = places.insert(*name, here) {
                    findings.add(Finding::Duplicated, || format!("{name} is {there} and {here}"));
                }
                let fates = self.fates.get(&name.sender).and_then(|fates| fates.get(name.partition as usize));
                match fates.and_then(|fates| fates.get(name.unit as usize)) {
                    None => {
                        let what = || format!("nobody sent {name}, which is {here}");
                        findings.add(Finding::Invented, what);
                    }
                    Some(Fate::Refused) => {
                        findings.add(Finding::Invented, || format!("{name} was refused and is {here}"));
                    }
                    Some(_) if name.partition as usize != partition => {
                        findings.add(Finding::Reordered, || format!("{name} is {here}"));
                    }
                    Some(_) => {}
                }
            }
        }
        places
    }

    /// What was there before is still there.
    fn check_seen(&self, contents: &Contents, partition: usize, places: &Places, findings: &mut Findings) {
        let now = &contents.partitions[partition];
        for (offset, name) in self.seen.partitions[partition].iter().enumerate() {
            if now.get(offset) != Some(name) {
                let here = Place { partition, offset };
                findings.missing(places.get(name), || format!("{name} was seen {here} before"));
            }
        }
    }

    /// The records of a unit are there together, the units of a sender in their order.
    fn check_units(&self, contents: &Contents, partition: usize, findings: &mut Findings) {
        let mut next_units: HashMap<u64, u64> = HashMap::new();
        let mut rest = &contents.partitions[partition][..];
        while let [first, ..] = rest {
            let there = rest.iter().take_while(|name| (name.sender, name.unit) == (first.sender, first.unit));
            let numbers: Vec<u32> = there.map(|name| name.number).collect();
            let here = Place { partition, offset: contents.partitions[partition].len() - rest.len() };
            if !numbers.iter().copied().eq(0..first.of) {
                let what = || format!("of the unit of {first}, {here}, there are the records {numbers:?}");
                findings.add(Finding::BrokenBatch, what);
            }
            let next = next_units.entry(first.sender).or_default();
            if first.unit < *next {
                findings
                    .add(Finding::Reordered, || format!("{first}, {here}, comes after unit {}", *next - 1));
            } else if !self.has_refusals && first.unit > *next {
                let what = || format!("{first} is {here}, and unit {next} before it is not there");
                findings.add(Finding::Hole, what);
            }
            *next = first.unit + 1;
            rest = &rest[numbers.len()..];
        }
    }

    /// What was acknowledged is there, at its offset.
    fn check_acknowledged(&self, contents: &Contents, places: &Places, findings: &mut Findings) {
        let units: HashMap<(u64, u32, u64), Place> = places
            .iter()
            .filter(|(name, _)| name.number == 0)
            .map(|(name, place)| ((name.sender, name.partition, name.unit), *place))
            .collect();
        for (&sender, fates) in &self.fates {
            for (partition, fates) in fates.iter().enumerate() {
                for (unit, fate) in fates.iter().enumerate() {
                    let Fate::Acknowledged(offset) = *fate else { continue };
                    let offset = offset as usize;
                    let found = contents.partitions[partition].get(offset);
                    let is_it = found.is_some_and(|name| {
                        (name.sender, name.partition as usize) == (sender, partition)
                            && (name.unit as usize, name.number) == (unit, 0)
                    });
                    if !is_it {
                        let here = Place { partition, offset };
                        let place = units.get(&(sender, partition as u32, unit as u64));
                        let what = || format!("unit {unit} of sender {sender} was acknowledged {here}");
                        findings.missing(place, what);
                    }
                }
            }
        }
    }

    fn check_commit(&mut self, contents: &Contents, partition: usize, findings: &mut Findings) {
        let before = self.seen.committed[partition].unwrap_or(0);
        let acknowledged = self.acknowledged_commits[partition].max(before);
        let attempted = self.attempted_commits[partition].max(before);
        let found = contents.committed[partition].unwrap_or(0);
        let end = contents.partitions[partition].len() as u64;
        if found < acknowledged {
            let what = || format!("the commit of {acknowledged} in partition {partition}; it is {found}");
            findings.add(Finding::Lost, what);
        }
        if found > attempted || found > end {
            let what = || {
                format!(
                    "a commit of {found} in partition {partition}; {attempted} was tried, it ends at {end}"
                )
            };
            findings.add(Finding::Invented, what);
        }
    }

    /// How many records the last look saw.
    pub(crate) fn records_seen(&self) -> u64 {
        self.seen.partitions.iter().map(|names| names.len() as u64).sum()
    }
}

/// Where each record is.
type Places = HashMap<Name, Place>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: usize,
    offset: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at offset {} of partition {}", self.offset, self.partition)
    }
}

/// What was found in one look: each thing, how often, and the first case in words.
#[derive(Debug, Default)]
struct Findings(Vec<(Finding, u64, String)>);

impl Findings {
    fn add(&mut self, finding: Finding, what: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|(known, _, _)| *known == finding) {
            Some((_, count, _)) => *count += 1,
            None => self.0.push((finding, 1, what())),
        }
    }

    /// Something is not where it must be. `place` is where it is, if it is anywhere.
    fn missing(&mut self, place: Option<&Place>, what: impl FnOnce() -> String) {
        match place {
            None => self.add(Finding::Lost, || format!("{} and is not there", what())),
            Some(place) => self.add(Finding::Reordered, || format!("{} and is {place}", what())),
        }
    }

    /// The worst of it; the others often follow from that.
    fn result(self) -> Result<(), Failure> {
        let named = [Finding::Lost, Finding::Duplicated, Finding::Reordered];
        let of = |finding| self.0.iter().find(|(known, _, _)| *known == finding);
        let Some((finding, _, first)) = named.into_iter().find_map(of).or(self.0.first()) else {
            return Ok(());
        };
        let counts = named.map(|named| format!("{}={} ", named.word(), of(named).map_or(0, |found| found.1)));
        let others = self.0.iter().filter(|(other, _, _)| !named.contains(other));
        let others: String = others.map(|(other, count, _)| format!("{}={count} ", other.word())).collect();
        Err(Failure::new(*finding, format!("{}{others}first: {first}", counts.concat())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two senders, each of which sent three units to partition 1; unit 1 of the first has three records.
    fn sound() -> (Ledger, Contents) {
        let mut contents = Contents::default();
        let mut ledger = Ledger::default();
        for sender in [10, 11] {
            let mut fates: [Vec<Fate>; PARTITIONS] = Default::default();
            for unit in 0..3 {
                let offset = contents.partitions[1].len() as u64;
                fates[1].push(Fate::Acknowledged(offset));
                let of = if (sender, unit) == (10, 1) { 3 } else { 1 };
                let names = (0..of).map(|number| Name { sender, partition: 1, unit, number, of, len: 50 });
                contents.partitions[1].extend(names);
            }
            ledger.fates.insert(sender, fates);
        }
        ledger.attempted_commits[1] = 5;
        ledger.acknowledged_commits[1] = 3;
        contents.committed[1] = Some(4);
        (ledger, contents)
    }

    fn finding_after(change: impl FnOnce(&mut Ledger, &mut Contents)) -> Option<Finding> {
        let (mut ledger, mut contents) = sound();
        change(&mut ledger, &mut contents);
        ledger.check(contents).err().map(|failure| failure.finding)
    }

    #[test]
    fn what_is_as_it_was_acknowledged_passes() {
        assert_eq!(finding_after(|_, _| {}), None);
        let more_is_there = |ledger: &mut Ledger, _: &mut Contents| {
            ledger.fates.get_mut(&11).expect("it sent")[1][2] = Fate::Open;
        };
        assert_eq!(finding_after(more_is_there), None);
        let less_is_there = |ledger: &mut Ledger, contents: &mut Contents| {
            contents.partitions[1].pop();
            ledger.fates.get_mut(&11).expect("it sent")[1][2] = Fate::Open;
        };
        assert_eq!(finding_after(less_is_there), None);
    }

    #[test]
    fn a_record_that_was_acknowledged_and_is_not_there_is_lost() {
        let last = |_: &mut Ledger, contents: &mut Contents| contents.partitions[1].truncate(7);
        assert_eq!(finding_after(last), Some(Finding::Lost));
        let all = |_: &mut Ledger, contents: &mut Contents| contents.partitions[1].clear();
        assert_eq!(finding_after(all), Some(Finding::Lost));
    }

    #[test]
    fn a_record_that_was_seen_and_is_not_there_is_lost_even_if_it_was_not_acknowledged() {
        let (mut ledger, contents) = sound();
        ledger.fates.get_mut(&11).expect("it sent")[1][2] = Fate::Open;
        let mut later = contents.clone();
        assert!(ledger.check(contents).is_ok());
        later.partitions[1].pop();
        assert_eq!(ledger.check(later).expect_err("one is gone").finding, Finding::Lost);
    }

    #[test]
    fn records_in_another_order_are_found() {
        let swapped = |_: &mut Ledger, contents: &mut Contents| contents.partitions[1].swap(5, 6);
        assert_eq!(finding_after(swapped), Some(Finding::Reordered));
        let elsewhere = |_: &mut Ledger, contents: &mut Contents| {
            let last = contents.partitions[1].pop();
            contents.partitions[2].extend(last);
        };
        assert_eq!(finding_after(elsewhere), Some(Finding::Reordered));
        let unacknowledged = |ledger: &mut Ledger, contents: &mut Contents| {
            ledger.fates.get_mut(&11).expect("it sent")[1].fill(Fate::Open);
            contents.partitions[1].swap(5, 6);
        };
        assert!(finding_after(unacknowledged).is_some());
    }

    #[test]
    fn a_record_that_is_there_twice_is_found() {
        let twice = |_: &mut Ledger, contents: &mut Contents| {
            let last = contents.partitions[1].last().copied();
            contents.partitions[1].extend(last);
        };
        assert_eq!(finding_after(twice), Some(Finding::Duplicated));
    }

    #[test]
    fn a_batch_that_is_there_in_part_is_found() {
        let part = |ledger: &mut Ledger, contents: &mut Contents| {
            ledger.fates.remove(&11);
            ledger.fates.get_mut(&10).expect("it sent")[1][1..].fill(Fate::Open);
            contents.partitions[1].truncate(3);
            contents.committed[1] = Some(3);
        };
        assert_eq!(finding_after(part), Some(Finding::BrokenBatch));
    }

    #[test]
    fn a_record_that_nobody_sent_is_found_and_one_that_was_refused() {
        let unknown = |ledger: &mut Ledger, _: &mut Contents| drop(ledger.fates.remove(&11));
        assert_eq!(finding_after(unknown), Some(Finding::Invented));
        let refused = |ledger: &mut Ledger, _: &mut Contents| {
            ledger.has_refusals = true;
            ledger.fates.get_mut(&11).expect("it sent")[1][1] = Fate::Refused;
        };
        assert_eq!(finding_after(refused), Some(Finding::Invented));
    }

    #[test]
    fn a_unit_without_the_one_before_it_is_a_hole_unless_sends_are_refused() {
        let hole = |ledger: &mut Ledger, contents: &mut Contents| {
            contents.partitions[1].remove(6);
            ledger.fates.get_mut(&11).expect("it sent")[1][1..].fill(Fate::Open);
        };
        assert_eq!(finding_after(hole), Some(Finding::Hole));
        let allowed = |ledger: &mut Ledger, contents: &mut Contents| {
            hole(ledger, contents);
            ledger.has_refusals = true;
        };
        assert_eq!(finding_after(allowed), None);
    }

    #[test]
    fn commits_lie_between_what_was_acknowledged_and_what_was_tried() {
        for (committed, finding) in [
            (None, Some(Finding::Lost)),
            (Some(2), Some(Finding::Lost)),
            (Some(3), None),
            (Some(5), None),
            (Some(6), Some(Finding::Invented)),
        ] {
            let found = finding_after(|_, contents| contents.committed[1] = committed);
            assert_eq!(found, finding, "{committed:?}");
        }
    }
}
