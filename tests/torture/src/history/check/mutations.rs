//! The history of a real run is clean; changed in one place, it is not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::events::{Event, Fate, History, Outcome, Partition, Reader, Value, What};
use super::super::round;
use super::{Kind, check};
use crate::common::random::Random;

const SEED: u64 = 11;
const TRIES: usize = 5;
const LENGTH: Duration = Duration::from_millis(500);

/// Where an event is: which reader's, and which of its events.
type At = (usize, usize);

/// One in which a record had to be processed again, which is up to the moments of kills.
fn real_history() -> History {
    for seed in SEED..SEED + 30 {
        let run = round::run(Random::new(seed), false, LENGTH);
        let (history, mut met) = run.unwrap_or_else(|failure| panic!("{failure:?}"));
        met.count_history(&history);
        let anomalies = check(&history);
        assert!(anomalies.is_empty(), "{:?}", anomalies.first());
        if met.again > 0 && met.evicted == 0 {
            return history;
        }
    }
    panic!("nobody was killed with something in hand");
}

#[test]
fn a_real_history_that_is_changed_is_found_out() {
    let history = real_history();
    let mut random = Random::new(SEED);
    for _ in 0..TRIES {
        let at = pick(&mut random, &settled_polls(&history));
        expect(&history, "drop a poll", &[Kind::Lost], |changed| {
            changed.readers[at.0].events.remove(at.1);
        });
        expect(&history, "repeat a poll", &[Kind::Back], |changed| {
            let again = changed.readers[at.0].events[at.1].clone();
            changed.readers[at.0].events.insert(at.1, again);
        });
        expect(&history, "change a value", &[Kind::Inconsistent], |changed| {
            read_of(changed, at).value = Value::new(99, 1);
        });
        expect(&history, "let a polled send have failed", &[Kind::Inconsistent], |changed| {
            let value = read_of(changed, at).value;
            let sent = changed.sends.iter_mut().find(|sent| sent.value == value).expect("it was sent");
            sent.fate = Fate::Refused;
        });
        expect(&history, "process again", &[Kind::Duplicated], |changed| process_again(changed, at));
        let (one, other) = pick(&mut random, &neighbours(&history));
        expect(&history, "swap two polls", &[Kind::Skipped, Kind::Back], |changed| {
            let events = &mut changed.readers[one.0].events;
            let what = events[one.1].what.clone();
            events[one.1].what = std::mem::replace(&mut events[other.1].what, what);
        });
        let (one, other) = two_sends(&mut random, &history);
        expect(&history, "swap two sends", &[Kind::Reordered], |changed| exchange(changed, one, other));
        expect(&history, "acknowledge one for another", &[Kind::Inconsistent], |changed| {
            let fate = changed.sends[one].fate;
            changed.sends[one].fate = std::mem::replace(&mut changed.sends[other].fate, fate);
        });
    }
    without_causes(&history);
}

/// What had to be processed again, since a member was killed, was not to be if it was closed.
fn without_causes(history: &History) {
    expect(history, "take the causes away", &[Kind::Duplicated], |changed| {
        for event in changed.readers.iter_mut().flat_map(|reader| &mut reader.events) {
            if matches!(event.what, What::Killed { .. }) {
                event.what = What::Closed { was_away: false };
            }
        }
    });
}

fn expect(history: &History, what: &str, kinds: &[Kind], change: impl FnOnce(&mut History)) {
    let mut changed = history.clone();
    change(&mut changed);
    let anomalies = check(&changed);
    for kind in kinds {
        assert!(anomalies.iter().any(|it| it.kind == *kind), "{what} gave no {kind:?}, but {anomalies:?}");
    }
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    assert!(!of.is_empty(), "there is none to be changed");
    random.pick(of)
}

/// Polls of group members whose records were committed by the very next event.
fn settled_polls(history: &History) -> Vec<At> {
    let mut found = Vec::new();
    for (number, reader) in history.readers.iter().enumerate().filter(|(_, it)| it.group.is_some()) {
        for (at, pair) in reader.events.windows(2).enumerate() {
            let (What::Polled(reads), What::Committed(places, Outcome::Done)) =
                (&pair[0].what, &pair[1].what)
            else {
                continue;
            };
            let mut ends: BTreeMap<Partition, u64> = BTreeMap::new();
            ends.extend(reads.iter().map(|read| (read.partition, read.offset + 1)));
            if ends.iter().all(|(&partition, &end)| places.contains(&(partition, end))) {
                found.push((number, at));
            }
        }
    }
    found
}

/// Polls by hand that follow each other, with a partition in common.
fn neighbours(history: &History) -> Vec<(At, At)> {
    let mut found = Vec::new();
    for (number, reader) in history.readers.iter().enumerate().filter(|(_, it)| it.group.is_none()) {
        for (at, pair) in reader.events.windows(2).enumerate() {
            if let (What::Polled(one), What::Polled(other)) = (&pair[0].what, &pair[1].what)
                && one.iter().any(|read| other.iter().any(|it| it.partition == read.partition))
            {
                found.push(((number, at), (number, at + 1)));
            }
        }
    }
    found
}

/// Two acknowledged sends of one producer to one partition.
fn two_sends(random: &mut Random, history: &History) -> (usize, usize) {
    loop {
        let one = random.below(history.sends.len() as u64) as usize;
        let Fate::At(partition, offset) = history.sends[one].fate else { continue };
        let is_other = |at: &usize| {
            let sent = &history.sends[*at];
            sent.value.producer() == history.sends[one].value.producer()
                && matches!(sent.fate, Fate::At(it, later) if it == partition && later > offset)
        };
        if let Some(other) = (0..history.sends.len()).find(is_other) {
            return (one, other);
        }
    }
}

/// As if the producer had sent one when it sent the other.
fn exchange(history: &mut History, one: usize, other: usize) {
    let values = (history.sends[one].value, history.sends[other].value);
    let fates = (history.sends[one].fate, history.sends[other].fate);
    (history.sends[one].fate, history.sends[other].fate) = (fates.1, fates.0);
    for event in history.readers.iter_mut().flat_map(|reader| &mut reader.events) {
        let What::Polled(reads) = &mut event.what else { continue };
        for read in reads {
            if read.value == values.0 {
                read.value = values.1;
            } else if read.value == values.1 {
                read.value = values.0;
            }
        }
    }
}

/// Another member gets the partition later, and begins too early.
fn process_again(history: &mut History, at: At) {
    let read = *read_of(history, at);
    let group = history.readers[at.0].group;
    let late = Event { begun: 1 << 40, ended: (1 << 40) + 1, what: What::Assigned(vec![read.partition]) };
    let polled = Event { what: What::Polled(vec![read]), begun: (1 << 40) + 2, ended: (1 << 40) + 3 };
    let killed = Event { what: What::Killed { was_away: false }, begun: (1 << 40) + 4, ended: (1 << 40) + 5 };
    history.readers.push(Reader { name: "late".to_owned(), group, events: vec![late, polled, killed] });
}

fn read_of(history: &mut History, at: At) -> &mut super::super::events::Read {
    match &mut history.readers[at.0].events[at.1].what {
        What::Polled(reads) => reads.last_mut().expect("it is not empty"),
        other => panic!("{other:?}"),
    }
}
