//! How the threads of a round write down what they do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::events::{Event, Group, History, Partition, Reader, Sent, Step, What};

/// Gives out the steps, and keeps what was written.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    steps: AtomicU64,
    places: Mutex<Places>,
    tapes: Mutex<Vec<Tape>>,
    sends: Mutex<Vec<Vec<Sent>>>,
}

#[derive(Debug, Default)]
struct Places {
    names: Vec<String>,
    /// The partitions of each topic.
    numbers: HashMap<String, HashMap<u32, Partition>>,
}

impl Recorder {
    pub(crate) fn step(&self) -> Step {
        self.steps.fetch_add(1, Ordering::SeqCst)
    }

    /// The number of a partition over all topics.
    pub(crate) fn place(&self, topic: &str, partition: u32) -> Partition {
        let mut places = lock(&self.places);
        if let Some(&number) = places.numbers.get(topic).and_then(|numbers| numbers.get(&partition)) {
            return number;
        }
        let number = places.names.len() as Partition;
        places.names.push(format!("{topic}-{partition}"));
        places.numbers.entry(topic.to_owned()).or_default().insert(partition, number);
        number
    }

    /// A tape for a new reader.
    pub(crate) fn tape(self: &Arc<Self>, name: String, group: Option<usize>) -> Tape {
        let tape = Tape { recorder: Arc::clone(self), name, group, events: Arc::default() };
        lock(&self.tapes).push(tape.clone());
        tape
    }

    /// What one producer sent, in its order.
    pub(crate) fn add_sends(&self, sends: Vec<Sent>) {
        lock(&self.sends).push(sends);
    }

    /// All that was written; those who write have ended.
    pub(crate) fn history(&self, groups: Vec<Group>) -> History {
        let tapes = std::mem::take(&mut *lock(&self.tapes));
        let readers = tapes.into_iter().map(|tape| {
            let events = std::mem::take(&mut *lock(&tape.events));
            Reader { name: tape.name, group: tape.group, events }
        });
        History {
            readers: readers.collect(),
            partitions: lock(&self.places).names.clone(),
            groups,
            sends: std::mem::take(&mut *lock(&self.sends)).concat(),
        }
    }
}

/// What one reader writes on. It survives a panic of the reader.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    recorder: Arc<Recorder>,
    name: String,
    group: Option<usize>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Tape {
    /// Before a call whose outcome will be noted.
    pub(crate) fn step(&self) -> Step {
        self.recorder.step()
    }

    /// What came of a call that has just ended.
    pub(crate) fn note(&self, begun: Step, what: What) {
        let event = Event { begun, ended: self.step(), what };
        lock(&self.events).push(event);
    }

    /// What happens at this moment.
    pub(crate) fn note_now(&self, what: What) {
        self.note(self.step(), what);
    }

    pub(crate) fn place(&self, topic: &str, partition: u32) -> Partition {
        self.recorder.place(topic, partition)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
