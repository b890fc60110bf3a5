//! A history: what producers, readers and groups did and were told, as their threads wrote it down. Nothing
//! in it knows of a broker, so one can be written by hand.

use std::fmt;

/// A moment. What ended at a lower step than something else began at came before it; between others nobody
/// knows.
pub(crate) type Step = u64;

/// A partition of any topic: its place in [`History::partitions`].
pub(crate) type Partition = u32;

/// What a record holds: who sent it, and as its how-manieth. No two sends of a history have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Value(pub(crate) u64);

impl Value {
    pub(crate) fn new(producer: u32, number: u32) -> Self {
        Self(u64::from(producer) << 32 | u64::from(number))
    }

    pub(crate) fn producer(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}#{}", self.producer(), self.0 as u32)
    }
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged, with this offset.
    At(Partition, u64),
    /// It failed, and the record is nowhere.
    Refused,
    /// Nobody knows.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) value: Value,
    pub(crate) fate: Fate,
}

/// A record that a poll returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) partition: Partition,
    pub(crate) offset: u64,
    pub(crate) value: Value,
}

/// What a commit answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It was refused, and counts for nothing.
    Refused,
    Unknown,
}

/// Something that a reader did, or was told.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It has these partitions from now on, beside those that it had.
    Assigned(Vec<Partition>),
    /// It gives these partitions up.
    Revoked(Vec<Partition>),
    /// These partitions were taken from it.
    Lost(Vec<Partition>),
    Polled(Vec<Read>),
    /// Its group goes on from these offsets.
    Committed(Vec<(Partition, u64)>, Outcome),
    /// It was dropped with what it had in hand. It may have been away from polling for so long by then that
    /// it was no longer a member, without knowing it.
    Killed {
        was_away: bool,
    },
    /// It left in peace. As above.
    Closed {
        was_away: bool,
    },
    /// It was told that it is no member any more, since it did not poll.
    Evicted,
    /// It claims to have read everything that its partitions hold.
    Drained,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) begun: Step,
    pub(crate) ended: Step,
    pub(crate) what: What,
}

/// One consumer, from its making to its end; its events are in its own order.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) name: String,
    /// The group that it is a member of; none: its partitions were assigned by hand.
    pub(crate) group: Option<usize>,
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// What it must have read in the end.
    pub(crate) follows: Vec<Partition>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Their names.
    pub(crate) partitions: Vec<String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) readers: Vec<Reader>,
    /// Those of one producer are in the order in which it made them.
    pub(crate) sends: Vec<Sent>,
}

impl History {
    /// A record's place, to be read by people.
    pub(crate) fn place(&self, partition: Partition, offset: u64) -> String {
        let name = self.partitions.get(partition as usize).map_or("?", String::as_str);
        format!("{name} @ {offset}")
    }

    /// So many calls did something: sent, returned records, or committed.
    pub(crate) fn operations(&self) -> u64 {
        let counts = |event: &&Event| matches!(event.what, What::Polled(_) | What::Committed(..));
        let calls = self.readers.iter().flat_map(|reader| &reader.events).filter(counts).count();
        (self.sends.len() + calls) as u64
    }
}
