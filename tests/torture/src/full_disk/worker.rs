//! The process that uses a broker while there is no room: it fills what there is, reads and tries everything
//! while it is full, gives the room back, and sees that everything works again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use ottla::{Broker, Consumer, Durability, Error, Raw, TopicConfig};

use super::orders::{Limit, Orders, is_full};
use crate::common::bugs;
use crate::common::ledger::Ledger;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::{self, end_with, unexpected};
use crate::common::random::Random;
use crate::common::sender::Sender;
use crate::common::shared::{PARTITIONS, Shared, Word};
use crate::common::topics::{self, GROUP, TOPICS, partition_of};

const SENDERS: usize = 3;
/// How far the worker has come, in [`Word::Stage`].
pub(crate) const FILLS: u64 = 1;
pub(crate) const IS_FULL: u64 = 2;
pub(crate) const FREED: u64 = 3;
pub(crate) const RESUMED: u64 = 4;

/// Each sender is refused so often before the room is given back.
const REFUSALS: u64 = 12;
/// So many commits are tried, at most, when sends are refused: a small one may find a place for long.
const COMMITS: u64 = 100;
const TOPICS_TO_MAKE: u64 = 8;
/// Each sender has to succeed so often, one call after the other, when the room is back.
const SUCCESSES: u64 = 40;
/// Work has to go on within this time when the room is back.
const PATIENCE: Duration = Duration::from_secs(5);
/// The room is filled by then, or never.
const TIME_TO_FILL: Duration = Duration::from_secs(30);

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
        Worker::new(&orders, &shared).run()
    })
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::harness(what, error)
}

struct Worker<'a> {
    orders: &'a Orders,
    shared: &'a Shared,
    random: Random,
    /// How long it goes on when all is well again.
    last: Duration,
    /// Held by senders for each call, and by those who want them to pause.
    pause: RwLock<()>,
    /// How often each sender was refused, and has succeeded since the room is back.
    refusals: [AtomicU64; SENDERS],
    successes: [AtomicU64; SENDERS],
}

impl<'a> Worker<'a> {
    fn new(orders: &'a Orders, shared: &'a Shared) -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let (refusals, successes) = (zeros(), zeros());
        let mut random = Random::new(orders.seed);
        let last = Duration::from_micros(random.up_to_any_size(30_000));
        Self { orders, shared, random, last, pause: RwLock::new(()), refusals, successes }
    }

    fn run(mut self) -> Result<(), Failure> {
        if self.random.one_in(3) {
            self.open_without_room()?;
        }
        let power_loss = self.random.one_in(2);
        let broker = self.open(power_loss).map_err(unexpected("opening with room"))?;
        let segment_bytes = match self.orders.limit {
            Limit::SmallFileSystem => self.random.range(4 << 10..64 << 10),
            // Files are to reach the limit before the log goes on in another one.
            Limit::FileSize => 16 << 20,
        };
        topics::open_topics(&broker, segment_bytes).map_err(unexpected("opening topics with room"))?;
        let mut commits = Commits::new(&broker)?;
        commits.commit(self.shared).map_err(unexpected("a commit with room"))?;
        let room = self.random.range(40 << 10..1 << 20);
        self.orders.leave_room(room).map_err(io("leave little room"))?;
        self.shared.set(Word::Stage, FILLS);
        let large_bytes = if self.random.one_in(2) { 1 << 20 } else { 0 };
        thread::scope(|scope| {
            for index in 0..SENDERS {
                let (worker, broker, seed) = (&self, &broker, self.orders.seed);
                scope.spawn(move || {
                    let random = Random::of_case(seed, index as u64);
                    end_with(worker.shared, worker.send_all(broker, index, random, large_bytes));
                });
            }
            end_with(self.shared, self.meet_full(&broker, &mut commits));
            end_with(self.shared, self.meet_room(&broker, &mut commits));
        });
        self.leave(&broker)
    }

    fn open(&self, power_loss: bool) -> ottla::Result<Broker> {
        let level = if power_loss { Durability::PowerLoss } else { Durability::ProcessCrash };
        Broker::builder().data_dir(self.orders.data_dir()).durability(level).open()
    }

    /// Opening says that there is no room, or works, and works when there is.
    fn open_without_room(&self) -> Result<(), Failure> {
        self.orders.leave_room(0).map_err(io("leave no room"))?;
        let outcome = self.open(true).and_then(|broker| topics::open_topics(&broker, 4 << 10));
        match outcome {
            Ok(()) => {}
            Err(error) if is_full(self.orders.limit, &error) => self.shared.add(Word::FullOpens, 1),
            Err(error) => return Err(wrong_error("opening without room", &error)),
        }
        self.orders.free().map_err(io("give room back"))?;
        let broker = self.open(true).map_err(unexpected("opening when there is room again"))?;
        for topic in broker.list_topics() {
            // They may have other settings than this round wants.
            broker.delete_topic(&topic).map_err(unexpected("deleting a topic"))?;
        }
        broker.close().map_err(unexpected("closing"))
    }

    /// Sends until the worker is done or killed.
    fn send_all(&self, broker: &Broker, index: usize, random: Random, large: u64) -> Result<(), Failure> {
        let sender = Sender::new(broker, self.shared, (index, index as u64), random, large);
        let mut sender = sender.map_err(unexpected("making a producer"))?;
        loop {
            let turn = self.pause.read().unwrap_or_else(PoisonError::into_inner);
            if self.shared.get(Word::Done) > 0 {
                return sender.wait_until(0).or_else(|error| self.refused(index, &error).map(drop));
            }
            let outcome = sender.step();
            drop(turn);
            match outcome {
                Ok(true) => {
                    self.successes[index].fetch_add(1, Ordering::AcqRel);
                    self.wait_for_others(index);
                }
                Ok(false) => {
                    let done = self.shared.get(Word::Stage) >= RESUMED;
                    let nothing_left = Failure::new(Finding::Harness, "a sender has nothing left to send");
                    return if done { Ok(()) } else { Err(nothing_left) };
                }
                Err(error) => {
                    self.refused(index, &error)?;
                    // Enough of it is left for the time after.
                    let often = self.refusals[index].load(Ordering::Acquire).min(10 * REFUSALS);
                    thread::sleep(Duration::from_micros(100 * often));
                }
            }
        }
    }

    /// One who has seen enough goes on slowly, so that it has something left to send when the others have.
    fn wait_for_others(&self, index: usize) {
        let (seen, enough) = match self.shared.get(Word::Stage) {
            FREED => (&self.successes[index], SUCCESSES),
            _ => (&self.refusals[index], REFUSALS),
        };
        if seen.load(Ordering::Acquire) >= enough {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn refused(&self, index: usize, error: &Error) -> Result<(), Failure> {
        if !is_full(self.orders.limit, error) {
            return Err(wrong_error("a send without room", error));
        }
        self.shared.add(Word::FullSends, 1);
        self.refusals[index].fetch_add(1, Ordering::AcqRel);
        self.successes[index].store(0, Ordering::Release);
        Ok(())
    }

    /// Waits until every sender was refused; meanwhile everything acknowledged can be read, and what else
    /// needs room is refused or works.
    fn meet_full(&self, broker: &Broker, commits: &mut Commits) -> Result<(), Failure> {
        let give_up = Instant::now() + TIME_TO_FILL;
        let (mut made, mut commits_left) = (0, COMMITS);
        let is_refused = || self.refusals.iter().all(|each| each.load(Ordering::Acquire) >= REFUSALS);
        while !is_refused() || (commits_left > 0 && self.shared.get(Word::FullCommits) == 0) {
            if Instant::now() > give_up {
                return Err(Failure::new(Finding::Harness, "the room does not end"));
            }
            self.commit(commits)?;
            if self.shared.get(Word::FullSends) > 0 {
                commits_left -= u64::from(commits_left > 0);
                if made < TOPICS_TO_MAKE {
                    self.make_topic(broker, made)?;
                    made += 1;
                }
            }
            thread::sleep(Duration::from_micros(100));
        }
        self.shared.set(Word::Stage, IS_FULL);
        self.read_all(broker)
    }

    fn commit(&self, commits: &mut Commits) -> Result<(), Failure> {
        let before = commits.committed();
        match commits.commit(self.shared) {
            Ok(()) => Ok(()),
            Err(error) if is_full(self.orders.limit, &error) => {
                self.shared.add(Word::FullCommits, 1);
                let after = commits.committed();
                let what = || format!("a commit was refused, and {before:?} became {after:?}");
                if before == after { Ok(()) } else { Err(Failure::new(Finding::FalseAck, what())) }
            }
            Err(error) => Err(wrong_error("a poll or commit without room", &error)),
        }
    }

    /// A topic is made, or there is no room and it is not there.
    fn make_topic(&self, broker: &Broker, number: u64) -> Result<(), Failure> {
        let name = format!("side-{number}");
        let outcome = broker.create_topic(&name, TopicConfig::new().partitions(2).segment_bytes(4 << 10));
        let is_there = broker.list_topics().contains(&name);
        match outcome {
            Ok(()) if is_there => {
                // So that they do not take the room that ends.
                match broker.delete_topic(&name) {
                    Err(error) if !is_full(self.orders.limit, &error) => {
                        Err(wrong_error("deleting a topic", &error))
                    }
                    _ => Ok(()),
                }
            }
            Err(error) if is_full(self.orders.limit, &error) && !is_there => {
                self.shared.add(Word::FullTopics, 1);
                Ok(())
            }
            Err(error) if !is_full(self.orders.limit, &error) => Err(wrong_error("making a topic", &error)),
            outcome => {
                let what = format!("making {name} answered {outcome:?}; listed: {is_there}");
                Err(Failure::new(Finding::WrongError, what))
            }
        }
    }

    /// Everything that was acknowledged is read as it was sent.
    fn read_all(&self, broker: &Broker) -> Result<(), Failure> {
        let _paused = self.pause.write().unwrap_or_else(PoisonError::into_inner);
        let mut ledger = Ledger::with_refusals();
        ledger.hear(self.shared, 0);
        ledger.check(topics::read(broker)?)
    }

    /// Gives the room back, and waits until everybody has it.
    fn meet_room(&self, broker: &Broker, commits: &mut Commits) -> Result<(), Failure> {
        {
            let _paused = self.pause.write().unwrap_or_else(PoisonError::into_inner);
            self.orders.free().map_err(io("give the room back"))?;
            self.successes.iter().for_each(|successes| successes.store(0, Ordering::Release));
            self.shared.set(Word::Stage, FREED);
        }
        let give_up = Instant::now() + PATIENCE;
        let is_late = || Instant::now() > give_up;
        while let Err(error) = commits.commit(self.shared) {
            if is_late() || !is_full(self.orders.limit, &error) {
                return Err(not_resumed("a commit", &error));
            }
        }
        let config = TopicConfig::new().partitions(2);
        while let Err(error) = broker.create_topic("side", config.clone()) {
            if is_late() || !is_full(self.orders.limit, &error) {
                return Err(not_resumed("making a topic", &error));
            }
        }
        while self.successes.iter().any(|successes| successes.load(Ordering::Acquire) < SUCCESSES) {
            if is_late() {
                let what = format!("sends {PATIENCE:?} after the room is back: {:?}", self.successes);
                return Err(Failure::new(Finding::NotResumed, what));
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.shared.set(Word::Stage, RESUMED);
        // The one who watches kills this process now, or it ends as it likes.
        thread::sleep(self.last);
        self.shared.set(Word::Done, 1);
        Ok(())
    }

    fn leave(&mut self, broker: &Broker) -> Result<(), Failure> {
        if self.random.one_in(2) {
            return Ok(());
        }
        match broker.close() {
            // Nobody had heard of a record whose delivery was detached.
            Err(error) if !is_full(self.orders.limit, &error) => Err(wrong_error("closing", &error)),
            _ => Ok(()),
        }
    }
}

fn wrong_error(what: &str, error: &Error) -> Failure {
    Failure::new(Finding::WrongError, format!("{what}: {error:?}"))
}

fn not_resumed(what: &str, error: &Error) -> Failure {
    Failure::new(Finding::NotResumed, format!("{what} when the room is back: {error:?}"))
}

/// A consumer that commits what it reads.
struct Commits {
    consumer: Consumer<Raw, Raw>,
}

impl Commits {
    fn new(broker: &Broker) -> Result<Self, Failure> {
        let topics = TOPICS.map(|(topic, _, _)| topic);
        // A few at once, so that there is always more to commit.
        let consumer = broker.consumer::<Raw, Raw>().topics(topics).group(GROUP).max_records(10).build();
        Ok(Self { consumer: consumer.map_err(unexpected("making a consumer"))? })
    }

    fn commit(&mut self, shared: &Shared) -> ottla::Result<()> {
        let records = self.consumer.poll(Duration::ZERO)?;
        let mut ends = [0; PARTITIONS];
        for record in &records {
            if let Some(partition) = partition_of(record.topic(), record.partition()) {
                ends[partition] = record.offset() + 1;
                shared.attempted_commit(partition).fetch_max(ends[partition], Ordering::AcqRel);
            }
        }
        self.consumer.commit(&records)?;
        for (partition, end) in ends.into_iter().enumerate() {
            shared.committed(partition).fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }

    fn committed(&self) -> Vec<Option<u64>> {
        (0..PARTITIONS)
            .map(|partition| {
                let (topic, number) = topics::home(partition);
                let committed = self.consumer.committed(topic, number);
                committed.ok().flatten().map(|committed| committed.offset)
            })
            .collect()
    }
}
