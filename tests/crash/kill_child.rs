//! The process that is killed: it sends to several topics from two threads, blocking or not, commits what it reads, makes
//! and deletes topics, and writes a line for everything that was acknowledged. Also the records that it
//! sends, which can be made again from their names.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use ottla::{Broker, Consumer, Delivery, Durability, Producer, Raw, Records, Result, TopicConfig};

use crate::power_loss::block_on;
use crate::support::Random;

/// Tells the child its directory; set only by the parent.
pub(crate) const DIR_VARIABLE: &str = "OTTLA_CRASH_CHILD_DIR";
pub(crate) const SEED_VARIABLE: &str = "OTTLA_CRASH_CHILD_SEED";
/// The child's test, by its full name.
pub(crate) const CHILD: &str = "kill_child::sends_until_it_is_killed";

/// Before every line of the child, so that the lines of the test harness can be told from them.
pub(crate) const MARK: &str = "@ ";

/// Topics and their partitions.
pub(crate) const TOPICS: [(&str, u32); 2] = [("orders", 2), ("audit", 1)];
pub(crate) const GROUP: &str = "fraud";
/// How many partitions a topic has that was made on the side and has grown.
pub(crate) const SIDE_PARTITIONS: u32 = 3;
const CALLS_PER_THREAD: u64 = 150;
/// More than the records that one call enqueues.
const SUBCALLS: u64 = 16;

/// The name of a record: which thread of which child sent it, in which call, and which record of that call
/// it is. The records of one call with the same key are a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) sender: u64,
    pub(crate) call: u64,
    pub(crate) key: u64,
    pub(crate) number: u64,
    /// How many records of the call have the key.
    pub(crate) of: u64,
}

impl Name {
    /// The record's value: the name, and bytes that follow from it.
    pub(crate) fn value(self) -> Vec<u8> {
        let Self { sender, call, key, number, of } = self;
        let mut value = format!("{sender}.{call}.{key}.{number}.{of}:").into_bytes();
        let mut random = Random(sender << 40 | call << 16 | key << 12 | number);
        let len = match random.below(40) {
            0 => 9_000,
            1..=4 => random.below(2_000),
            _ => random.below(200),
        };
        let end = value.len() + len as usize;
        random.fill(&mut value, end);
        value
    }

    /// The name of the record with this value, if every byte is right.
    pub(crate) fn of_value(value: &[u8]) -> Option<Self> {
        let end = value.iter().position(|&byte| byte == b':')?;
        let name: Self = std::str::from_utf8(&value[..end]).ok()?.parse().ok()?;
        (name.value() == value).then_some(name)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<u64> = text.split('.').map_while(|number| number.parse().ok()).collect();
        let [sender, call, key, number, of] = numbers[..] else { return Err(()) };
        Ok(Self { sender, call, key, number, of })
    }
}

/// One whole line to the parent.
fn say(line: &str) {
    let line = format!("{MARK}{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent listens");
}

fn say_sent(topic: &str, partition: u32, offset: u64, name: Name) {
    let Name { sender, call, key, number, of } = name;
    say(&format!("sent {topic} {partition} {offset} {sender}.{call}.{key}.{number}.{of}"));
}

/// Not a test of its own: returns at once unless the parent runs it.
#[test]
fn sends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let seed = std::env::var(SEED_VARIABLE).expect("the parent sets both").parse().expect("a number");
    // The harness may have begun a line.
    say("\n");
    let _open_until_the_end = run(Path::new(&dir), seed).expect("the child meets no error");
    say("done");
    thread::sleep(Duration::from_secs(60));
}

fn run(dir: &Path, seed: u64) -> Result<Broker> {
    say("opening");
    // Every other child keeps its commits at the higher level. Of the topics one has it, until it is altered.
    let levels = [Durability::ProcessCrash, Durability::PowerLoss];
    let broker = Broker::builder().data_dir(dir).durability(levels[seed as usize % 2]).open()?;
    for ((topic, partitions), level) in TOPICS.into_iter().zip(levels) {
        let config = TopicConfig::new().partitions(partitions).segment_bytes(4096).durability(level);
        broker.open_topic(topic, config)?;
        say(&format!("created {topic}"));
    }
    thread::scope(|scope| {
        let senders = [0, 1].map(|thread| {
            let broker = &broker;
            scope.spawn(move || send_all(broker, seed * 2 + thread))
        });
        while senders.iter().any(|sender| !sender.is_finished()) {
            read_and_commit(&broker)?;
        }
        senders.into_iter().try_for_each(|sender| sender.join().expect("it does not panic"))
    })?;
    Ok(broker)
}

fn send_all(broker: &Broker, sender: u64) -> Result<()> {
    let mut random = Random(sender);
    let producers = TOPICS.map(|(topic, partitions)| (broker.producer::<Raw, Raw>(topic), topic, partitions));
    let mut made = Vec::new();
    for call in 0..CALLS_PER_THREAD {
        let (producer, topic, partitions) = &producers[random.below(2) as usize];
        let producer = producer.as_ref().expect("the topic was made before");
        match random.below(20) {
            0 => change_topics(broker, &format!("side-{sender}-{call}"), &mut made)?,
            1..=5 => send_batch(producer, topic, sender, call, &mut random)?,
            6..=9 => enqueue_some(producer, (topic, *partitions), sender, call, &mut random)?,
            _ => {
                let partition = random.below(u64::from(*partitions)) as u32;
                let name = Name { sender, call: call * SUBCALLS, key: 0, number: 0, of: 1 };
                let value = name.value();
                let record = producer.record(&value).partition(partition);
                let at = if call % 2 == 0 { record.send()? } else { block_on(record.send_async())? };
                say_sent(topic, at.partition, at.offset, name);
            }
        }
    }
    Ok(())
}

/// A batch with up to three keys, and so with up to as many partitions.
fn send_batch(
    producer: &Producer<Raw, Raw>,
    topic: &str,
    sender: u64,
    call: u64,
    random: &mut Random,
) -> Result<()> {
    let mut batch: Vec<(Vec<u8>, Vec<u8>, Name)> = Vec::new();
    for key in 0..1 + random.below(3) {
        let of = 1 + random.below(8);
        for number in 0..of {
            let name = Name { sender, call: call * SUBCALLS, key, number, of };
            batch.push((vec![b'k', key as u8], name.value(), name));
        }
    }
    let places = producer.send_batch(batch.iter().map(|(key, value, _)| (&key[..], &value[..])))?;
    for (at, (_, _, name)) in places.iter().zip(&batch) {
        say_sent(topic, at.partition, at.offset, *name);
    }
    Ok(())
}

/// Enqueues some records, goes on without some of the deliveries, and waits for the others in all ways. Each
/// is named as a call of its own.
fn enqueue_some(
    producer: &Producer<Raw, Raw>,
    (topic, partitions): (&str, u32),
    sender: u64,
    call: u64,
    random: &mut Random,
) -> Result<()> {
    let mut deliveries: Vec<(Name, Delivery)> = Vec::new();
    for number in 0..1 + random.below(12) {
        let name = Name { sender, call: call * SUBCALLS + number, key: 0, number: 0, of: 1 };
        let partition = random.below(u64::from(partitions)) as u32;
        let delivery = producer.record(&name.value()).partition(partition).enqueue()?;
        match random.below(4) {
            0 => delivery.detach(),
            _ => deliveries.push((name, delivery)),
        }
    }
    for (name, delivery) in deliveries {
        let at = if random.below(2) == 0 { delivery.wait()? } else { block_on(delivery)? };
        say_sent(topic, at.partition, at.offset, name);
    }
    Ok(())
}

/// Makes a topic with one record, gives it partitions, deletes the record, and deletes every other topic that
/// was made before.
fn change_topics(broker: &Broker, name: &str, made: &mut Vec<String>) -> Result<()> {
    say(&format!("creating {name}"));
    broker.create_topic(name, TopicConfig::new())?;
    broker.producer::<Raw, Raw>(name)?.record(name.as_bytes()).send()?;
    say(&format!("created {name}"));
    broker.increase_partitions(name, SIDE_PARTITIONS)?;
    say(&format!("grown {name}"));
    broker.delete_records(name, 0, 1)?;
    say(&format!("trimmed {name}"));
    made.push(name.to_owned());
    if made.len().is_multiple_of(2) {
        let old = made.remove(0);
        say(&format!("deleting {old}"));
        broker.delete_topic(&old)?;
        say(&format!("deleted {old}"));
    }
    Ok(())
}

fn read_and_commit(broker: &Broker) -> Result<()> {
    let mut consumer =
        broker.consumer::<Raw, Raw>().topics(TOPICS.map(|(topic, _)| topic)).group(GROUP).build()?;
    for round in 0..10 {
        let records = consumer.poll(Duration::from_millis(2))?;
        let mut behind: BTreeMap<(&str, u32), u64> = BTreeMap::new();
        for record in &records {
            behind.insert((record.topic(), record.partition()), record.offset() + 1);
        }
        let lines = |verb: &str| {
            behind.iter().for_each(|((topic, partition), offset)| {
                say(&format!("{verb} {topic} {partition} {offset}"));
            });
        };
        lines("committing");
        commit(&consumer, &records, round)?;
        lines("committed");
    }
    Ok(())
}

fn commit(consumer: &Consumer<Raw, Raw>, records: &Records<Raw, Raw>, round: usize) -> Result<()> {
    match round % 3 {
        0 => consumer.commit(records),
        1 => block_on(consumer.commit_async(records)),
        _ => {
            // Nobody waits for the first one; the second one is behind it in the log.
            drop(consumer.commit_async(records));
            block_on(consumer.commit_async(records))
        }
    }
}
