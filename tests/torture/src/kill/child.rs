//! The process that is killed: opens a directory, sends from several threads and commits what it reads,
//! until it is killed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ottla::{Broker, Durability, Raw};

use super::watched::Watched;
use crate::common::bugs;
use crate::common::name::Name;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::{self, end_with, unexpected};
use crate::common::random::Random;
use crate::common::sender::Sender;
use crate::common::shared::{OPENS_DIRECTORY, OPENS_TOPICS, PARTITIONS, SENDERS, Shared, Word};
use crate::common::topics::{self, GROUP, TOPICS, home, open_topics, partition_of};
use crate::compaction::tended;

/// In place of the orders for topics that there are not.
const NONE: &str = "-";

/// What a child is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) dir: PathBuf,
    /// The file with the shared words.
    pub(crate) words: PathBuf,
    /// What the child chooses follows from it.
    pub(crate) seed: u64,
    /// The number of its first sender.
    pub(crate) first_sender: u64,
    pub(crate) senders: u64,
    pub(crate) segment_bytes: u64,
    /// Whether the broker, and so the commits, are at the higher level.
    pub(crate) power_loss: bool,
    /// Bytes of a large batch; 0: there are none.
    pub(crate) large_bytes: u64,
    /// The most that one write to a file takes.
    pub(crate) piece_bytes: u64,
    /// Of topics that the broker gives records of up, if there are some.
    pub(crate) tended: Option<tended::Orders>,
    pub(crate) bug: Option<String>,
}

impl Orders {
    pub(crate) fn words(&self) -> Vec<String> {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut words = vec![text(&self.dir), text(&self.words)];
        let numbers = [
            self.seed,
            self.first_sender,
            self.senders,
            self.segment_bytes,
            u64::from(self.power_loss),
            self.large_bytes,
            self.piece_bytes,
        ];
        words.extend(numbers.map(|number| number.to_string()));
        words.extend(self.tended.as_ref().map_or_else(|| vec![NONE.to_owned()], tended::Orders::words));
        words.extend(self.bug.clone());
        words
    }

    fn parse(words: &[String]) -> Option<Self> {
        let (paths, rest) = words.split_first_chunk::<2>()?;
        let (numbers, rest) = rest.split_first_chunk::<7>()?;
        let mut parsed = [0; 7];
        for (number, word) in parsed.iter_mut().zip(numbers) {
            *number = word.parse().ok()?;
        }
        let (tended, rest) = match rest.split_first()? {
            (none, rest) if none == NONE => (None, rest),
            _ => {
                let (words, rest) = rest.split_first_chunk::<3>()?;
                (Some(tended::Orders::parse(words)?), rest)
            }
        };
        let [seed, first_sender, senders, segment_bytes, power_loss, large_bytes, piece_bytes] = parsed;
        Some(Self {
            dir: PathBuf::from(&paths[0]),
            words: PathBuf::from(&paths[1]),
            seed,
            first_sender,
            senders,
            segment_bytes,
            power_loss: power_loss != 0,
            large_bytes,
            piece_bytes,
            tended,
            bug: rest.first().cloned(),
        })
    }
}

pub(crate) fn main(words: &[String]) -> ExitCode {
    let Some(orders) = Orders::parse(words) else { return ExitCode::from(2) };
    let shared = match Shared::open(&orders.words) {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            eprintln!("{}: {error}", orders.words.display());
            return ExitCode::from(2);
        }
    };
    process::be_child(&shared, || {
        bugs::plant(orders.bug.as_deref()).map_err(|reason| Failure::new(Finding::Harness, reason))?;
        run(&orders, &shared)
    })
}

fn run(orders: &Orders, shared: &Arc<Shared>) -> Result<(), Failure> {
    shared.set(Word::Opening, OPENS_DIRECTORY);
    let storage = Watched::new(Arc::clone(shared), orders.piece_bytes as usize);
    let level = if orders.power_loss { Durability::PowerLoss } else { Durability::ProcessCrash };
    let tended = orders.tended.as_ref().map(Tended::new).transpose()?;
    let interval = tended.as_ref().map_or(Duration::MAX, |tended| tended.plan.housekeeping_interval);
    let builder = Broker::builder().data_dir(&orders.dir).durability(level).storage(storage);
    let builder = builder.housekeeping_interval(interval);
    let broker = builder.open().map_err(unexpected("the directory does not open"))?;
    shared.set(Word::Recovering, 0);
    shared.set(Word::Opening, OPENS_TOPICS);
    topics::healthy(&broker)?;
    open_topics(&broker, orders.segment_bytes).map_err(unexpected("a topic cannot be opened"))?;
    shared.set(Word::Opening, 0);
    thread::scope(|scope| {
        if let Some(Tended { shared: words, plan, life }) = &tended {
            end_with(shared, tended::begin(scope, &broker, words, (plan, *life)));
        }
        for index in 0..(orders.senders as usize).min(SENDERS) {
            let broker = &broker;
            scope.spawn(move || end_with(shared, send_all(broker, shared, orders, index)));
        }
        end_with(shared, read_and_commit(&broker, shared));
    });
    Ok(())
}

/// What belongs to the topics that the broker gives records of up.
struct Tended {
    shared: Shared,
    plan: tended::Plan,
    life: u64,
}

impl Tended {
    fn new(orders: &tended::Orders) -> Result<Self, Failure> {
        let shared = Shared::open(&orders.words).map_err(|error| Failure::harness("share memory", error))?;
        Ok(Self { shared, plan: tended::Plan::new(orders.seed), life: orders.life })
    }
}

fn send_all(broker: &Broker, shared: &Shared, orders: &Orders, index: usize) -> Result<(), Failure> {
    let random = Random::of_case(orders.seed, index as u64);
    let who = (index, orders.first_sender + index as u64);
    let sender = Sender::new(broker, shared, who, random, orders.large_bytes);
    let failed = unexpected("a send");
    let mut sender = sender.map_err(&failed)?;
    while sender.step().map_err(&failed)? {}
    shared.add(Word::Done, 1);
    Ok(())
}

/// Polls as a group, looks at every byte, and commits, until the process is killed.
fn read_and_commit(broker: &Broker, shared: &Shared) -> Result<(), Failure> {
    let failed = unexpected("a poll or a commit");
    let consumer = broker.consumer::<Raw, Raw>().topics(TOPICS.map(|(topic, _, _)| topic)).group(GROUP);
    let mut consumer = consumer.build().map_err(&failed)?;
    loop {
        let records = consumer.poll(Duration::from_millis(5)).map_err(&failed)?;
        for record in &records {
            let place = (record.topic(), record.partition(), record.offset());
            let wrong = |what| Failure::new(Finding::WrongBytes, format!("{place:?}: {what}"));
            let name = Name::of_value(record.value_bytes().unwrap_or_default()).map_err(wrong)?;
            let (topic, number) = home(name.partition as usize);
            if (topic, number) != (record.topic(), record.partition()) {
                return Err(Failure::new(Finding::Reordered, format!("{name} is in {place:?}")));
            }
            if let Some(partition) = partition_of(topic, number) {
                let attempted = shared.attempted_commit(partition);
                attempted.fetch_max(record.offset() + 1, Ordering::AcqRel);
            }
        }
        if !records.is_empty() {
            let _during = shared.during(Word::Committing);
            consumer.commit(&records).map_err(&failed)?;
            for partition in 0..PARTITIONS {
                let attempted = shared.attempted_commit(partition).load(Ordering::Acquire);
                shared.committed(partition).store(attempted, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let mut orders = Orders {
            dir: PathBuf::from("/data"),
            words: PathBuf::from("/words"),
            seed: 1,
            first_sender: 2,
            senders: 3,
            segment_bytes: 4,
            power_loss: true,
            large_bytes: 5,
            piece_bytes: 6,
            tended: None,
            bug: None,
        };
        assert_eq!(Orders::parse(&orders.words()), Some(orders.clone()));
        orders.bug = Some("a-bug".to_owned());
        assert_eq!(Orders::parse(&orders.words()), Some(orders.clone()));
        orders.tended = Some(tended::Orders { words: PathBuf::from("/others"), seed: 7, life: 8 });
        assert_eq!(Orders::parse(&orders.words()), Some(orders));
    }
}
