//! The words of event streaming, one function each: a sentence that says what the word means, and what can be
//! seen of it, checked. `docs/terms.md` has the same words at more length.
//!
//! Run it: `cargo run --release --example terms`, or with `-- --data-dir DIR` to keep the topics and to see
//! the folders and files that they are.
//!
//! It prints each term with its evidence, and `OK terms …`. Read next: `quickstart` for the shortest program,
//! `queue_vs_topic` for the difference between the two.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::{Failure, Progress, about, expect, finish};
use ottla::{Broker, Consumer, Error, OwnedRecord, Record, Timestamp, TopicConfig};

/// Keys and values of payments, either of which may be null.
type Payments = Consumer<Option<String>, Option<String>>;

const PAYMENTS: &str = "payments";
const PARTITIONS: u32 = 4;
const CLICKS: &str = "clicks";
/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;
/// A topic that is made while somebody waits for it, and removed again.
const LATER: &str = "terms.later";
const GROUPS: [&str; 5] = ["terms.first", "terms.second", "terms.shared", "terms.newspaper", "terms.radio"];
/// 2020-06-25, 14:06 UTC.
const AFTERNOON: i64 = 1_593_093_960_000;

/// Who paid, and what: `None` is null.
const EVENTS: [(Option<&str>, Option<&str>); 8] = [
    (Some("Alice"), Some("Made a payment of $200 to Bob")),
    (Some("Bob"), Some("Made a payment of $50 to Carol")),
    (Some("Alice"), Some("Made a payment of $10 to Dave")),
    (Some("Carol"), Some("")),
    (Some("Dave"), None),
    (Some(""), Some("Made a payment of $1 to nobody")),
    (None, Some("Somebody made a payment of $5 to Carol")),
    (Some("Alice"), Some("Took back a payment of $10 to Dave")),
];

/// What the words of event streaming mean.
#[derive(Parser)]
struct Options {
    /// Keep the topics in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Send so many records while no consumer exists
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    sends: u64,
}

/// What was said so far, and how much of it was seen.
#[derive(Default)]
struct Terms {
    terms: usize,
    checks: usize,
}

impl Terms {
    fn define(&mut self, term: &str, meaning: &str) {
        self.terms += 1;
        println!("{}{term}: {meaning}", if self.terms > 1 { "\n" } else { "" });
    }

    /// Something that can be seen of the term.
    fn see(&mut self, evidence: &str, is_so: bool) -> Result<(), Failure> {
        self.checks += 1;
        println!("  {} {evidence}", if is_so { "-" } else { "NOT SO:" });
        if is_so { Ok(()) } else { Err(format!("it is not so: {evidence}").into()) }
    }
}

fn main() -> ExitCode {
    finish("terms", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let broker = match &options.data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    };
    clear(&broker)?;
    let mut terms = Terms::default();
    event(&mut terms, &broker)?;
    producer(&mut terms, &broker, options.sends)?;
    topic(&mut terms, &broker)?;
    consumer(&mut terms, &broker)?;
    partition_and_offset(&mut terms, &broker)?;
    group(&mut terms, &broker)?;
    folder_and_file(&mut terms, &broker)?;
    if let Some(dir) = &options.data_dir {
        folder_on_disk(dir)?;
    }
    publish_and_subscribe(&mut terms, &broker)?;
    clear(&broker)?;
    broker.close()?;
    println!();
    Ok(format!("terms={} checks={}", terms.terms, terms.checks))
}

/// What an earlier run may have left halfway: how far groups had come, and the topic that is to come later.
fn clear(broker: &Broker) -> Result<(), Failure> {
    for group in GROUPS {
        match broker.delete_group(group) {
            Err(Error::GroupNotFound { .. }) => {}
            deleted => deleted?,
        }
    }
    match broker.delete_topic(LATER) {
        Err(Error::TopicNotFound { .. }) => Ok(()),
        deleted => Ok(deleted?),
    }
}

fn event(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "event (record)",
        "the fact that something happened: a key, a value, a time and headers. It never changes.",
    );
    broker.open_topic(PAYMENTS, TopicConfig::new().partitions(PARTITIONS))?;
    publish_payments(broker, 1)?; // the first one, unless it is there
    let first = payments(broker)?.into_iter().min_by_key(|record| record.timestamp);
    let first = first.ok_or("the topic is empty")?;
    terms.see("its key is \"Alice\"", first.key.as_deref() == Some(b"Alice"))?;
    let value = EVENTS[0].1.map(str::as_bytes);
    terms.see("its value is \"Made a payment of $200 to Bob\"", first.value.as_deref() == value)?;
    terms.see("its time is 2020-06-25 14:06 UTC", first.timestamp.as_millis() == AFTERNOON)?;

    let headers: Vec<_> = first.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
    let sent: [(&str, Option<&[u8]>); 4] =
        [("trace", Some(b"8f2c")), ("trace", Some(b"9a01")), ("note", Some(b"")), ("voucher", None)];
    terms.see("its headers come in their order, one name twice; null is not empty", headers == sent)?;

    publish_payments(broker, EVENTS.len())?; // others, one of them about the same payment
    let all = payments(broker)?;
    terms.see("it is the same after others came, one that takes it back among them", all.contains(&first))?;
    let values = all.iter().filter(|record| record.value.is_none()).count();
    let empty = all.iter().filter(|record| record.value.as_deref() == Some(b"")).count();
    terms.see("one value is null and another one empty", (values, empty) == (1, 1))?;
    let nulls = all.iter().filter(|record| record.key.is_none()).count();
    let empty = all.iter().filter(|record| record.key.as_deref() == Some(b"")).count();
    terms.see("one key is null and another one empty", (nulls, empty) == (1, 1))
}

/// Sends what the topic lacks of the first `count` payments: an earlier run may have sent them.
fn publish_payments(broker: &Broker, count: usize) -> Result<(), Failure> {
    let there = payments(broker)?;
    let is_known =
        |record: &OwnedRecord| EVENTS.contains(&(text(record.key.as_deref()), text(record.value.as_deref())));
    if there.len() > EVENTS.len() || !there.iter().all(is_known) {
        return Err(
            "the topic payments in the directory is not of this program: take another directory".into()
        );
    }
    let producer = broker.producer::<Option<String>, Option<String>>(PAYMENTS)?;
    for (minute, (payer, payment)) in EVENTS.into_iter().enumerate().take(count).skip(there.len()) {
        let time = Timestamp::from_millis(AFTERNOON + 60_000 * minute as i64);
        let record = producer.record(payment).key(payer).timestamp(time);
        let record = record.header("trace", "8f2c").header("trace", "9a01").header("note", "");
        let record = record.null_header("voucher");
        // Without a key it could go to any partition.
        if payer.is_some() {
            record.send()?
        } else {
            record.partition(2).send()?
        };
    }
    Ok(())
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// All payments, by partition and offset, as somebody reads them who has never been here.
fn payments(broker: &Broker) -> Result<Vec<OwnedRecord>, Failure> {
    read(&mut broker.consumer().topic(PAYMENTS).build()?)
}

/// All that is new to this consumer.
fn read(consumer: &mut Payments) -> Result<Vec<OwnedRecord>, Failure> {
    let mut read = Vec::new();
    while consumer.lag() > 0 {
        let records = consumer.poll(Duration::from_secs(1))?;
        read.extend(records.iter().map(Record::to_owned_record));
    }
    read.sort_by(|a, b| (&a.partition, a.offset).cmp(&(&b.partition, b.offset)));
    Ok(read)
}

fn producer(terms: &mut Terms, broker: &Broker, sends: u64) -> Result<(), Failure> {
    terms.define(
        "producer",
        "publishes events. It knows no consumer and waits for none: not even if there has never been one.",
    );
    broker.open_topic(CLICKS, TopicConfig::new().memory_limit(NO_LIMIT))?;
    let there = broker.describe_topic(CLICKS)?.records();
    let producer = broker.producer::<(), u64>(CLICKS)?;
    let mut progress = Progress::new("clicks", sends.saturating_sub(there));
    let mut is_numbered = true;
    for click in there..sends {
        is_numbered &= producer.send((), click)?.offset == click; // acknowledged: it is in the log, there
        progress.add(1);
    }
    let sent = sends.saturating_sub(there);
    terms.see(&format!("{sent} sends were acknowledged now, {there} in earlier runs"), is_numbered)?;
    let held = broker.describe_topic(CLICKS)?.records();
    terms.see(&format!("the topic holds {held}"), held >= sends)?;
    let stats = broker.stats();
    let clicks = stats.topics.iter().filter(|topic| topic.name == CLICKS);
    let fetched: u64 = clicks.flat_map(|topic| &topic.partitions).map(|each| each.fetched.records).sum();
    terms.see("nobody has read one of them", fetched == 0)
}

fn topic(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "topic",
        "a named place where events are kept, of many producers for many consumers. Reading removes none.",
    );
    let mut first: Payments = broker.consumer().topic(PAYMENTS).group(GROUPS[0]).build()?;
    let begins = first.beginning_offsets();
    let records = first.poll(Duration::ZERO)?;
    first.commit(&records)?;
    terms
        .see("a group has read and committed all of it", first.lag() == 0 && records.len() == EVENTS.len())?;
    terms.see("it begins where it began", first.beginning_offsets() == begins)?;
    let second = read(&mut broker.consumer().topic(PAYMENTS).group(GROUPS[1]).build()?)?;
    terms.see("a group that comes later reads all of it too", second.len() == EVENTS.len())
}

fn consumer(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "consumer",
        "reads events. It asks for them, at its own pace, and knows its position: it may go back.",
    );
    let mut consumer: Payments = broker.consumer().topic(PAYMENTS).build()?;
    let mut other: Payments = broker.consumer().topic(PAYMENTS).build()?;
    let once = read(&mut consumer)?;
    terms
        .see("nothing is new to it when it has read everything", consumer.poll(Duration::ZERO)?.is_empty())?;
    terms.see("another consumer has still everything to read", other.lag() == EVENTS.len() as u64)?;
    consumer.seek_to_beginning();
    terms.see("it goes back to the beginning, and reads the same again", read(&mut consumer)? == once)?;
    consumer.seek_to_timestamp(Timestamp::from_millis(AFTERNOON + 5 * 60_000))?;
    let since = read(&mut consumer)?.len();
    terms.see("it goes to 14:11, and reads what came since", since == EVENTS.len() - 5)?;
    terms.see("the other consumer reads just the same", read(&mut other)? == once)
}

fn partition_and_offset(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "partition, offset",
        "a topic is partitions; each is a sequence, in which an event has a number for ever, its offset.",
    );
    let all = payments(broker)?;
    let mut offsets: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut homes: BTreeMap<&[u8], BTreeSet<u32>> = BTreeMap::new();
    for record in &all {
        offsets.entry(record.partition.partition).or_default().push(record.offset);
        if let Some(key) = &record.key {
            homes.entry(key).or_default().insert(record.partition.partition);
        }
    }
    terms
        .see(&format!("the events lie in {} of {PARTITIONS} partitions", offsets.len()), offsets.len() > 1)?;
    let count_up = |offsets: &Vec<u64>| offsets.iter().copied().eq(0..offsets.len() as u64);
    terms.see("offsets count up from 0, in each of them", offsets.values().all(count_up))?;
    terms.see("all events of one key lie in one partition", homes.values().all(|homes| homes.len() == 1))?;
    let of_alice = all.iter().filter(|record| record.key.as_deref() == Some(b"Alice"));
    let is_in_order = of_alice.map(|record| record.timestamp).is_sorted();
    terms.see("so what Alice did is read in the order in which she did it", is_in_order)
}

fn group(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "group",
        "consumers that share the work: each event goes to one of them. They go on where they committed.",
    );
    let join = || broker.consumer().topic(PAYMENTS).group(GROUPS[2]).build();
    let mut members: [Payments; 2] = [join()?, join()?];
    let mut parts: [Vec<OwnedRecord>; 2] = Default::default();
    for (member, part) in members.iter_mut().zip(&mut parts) {
        let records = member.poll(Duration::ZERO)?;
        part.extend(records.iter().map(Record::to_owned_record));
        member.commit(&records)?;
    }
    let [first, second] = &parts;
    let (a, b) = (first.len(), second.len());
    terms.see(&format!("two members got {a} and {b} events: all of them"), a + b == EVENTS.len())?;
    terms.see("none of them went to both", !first.iter().any(|record| second.contains(record)))?;
    drop(members);
    let mut next: Payments = join()?;
    terms.see("a member that comes after them finds nothing left to do", read(&mut next)?.is_empty())
}

fn folder_and_file(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "folder and file",
        "a topic is like a folder, an event like a file in it: it has a name, and is there to be read again.",
    );
    let all = payments(broker)?;
    for record in &all {
        let path = format!("{}/{}", record.partition, record.offset);
        let time = jiff::Timestamp::from_millisecond(record.timestamp.as_millis())?;
        println!("    {path:14} {time} {:5} bytes", size_of(record));
    }
    terms.see("this listing has all events of the topic", all.len() == EVENTS.len())?;
    let mut found = true;
    for record in &all {
        let path = format!("{}/{}", record.partition, record.offset);
        found &= open(broker, &path)? == *record;
    }
    terms.see("each of them can be read by its path", found)
}

/// How many bytes of an event are its user's.
fn size_of(record: &OwnedRecord) -> usize {
    let names: usize = record.headers.iter().map(|(name, _)| name.len()).sum();
    let values = record.headers.iter().map(|(_, value)| value);
    let parts = values.chain([&record.key, &record.value]).flatten();
    names + parts.map(|part| part.as_ref().len()).sum::<usize>()
}

/// Reads one event by its path, `payments-2/0`: topic, partition and offset.
fn open(broker: &Broker, path: &str) -> Result<OwnedRecord, Failure> {
    let parse = || {
        let (folder, offset) = path.split_once('/')?;
        let (topic, partition) = folder.rsplit_once('-')?;
        Some((topic, partition.parse::<u32>().ok()?, offset.parse::<u64>().ok()?))
    };
    let (topic, partition, offset) = parse().ok_or_else(|| format!("{path:?} is no path of an event"))?;
    let mut consumer: Payments = broker.consumer().assign(topic, [partition]).max_records(1).build()?;
    consumer.seek(topic, partition, offset)?;
    let records = consumer.poll(Duration::ZERO)?;
    let record = records.iter().next().ok_or_else(|| format!("there is no {path}"))?;
    Ok(record.to_owned_record())
}

/// In a directory, the folders are there to be seen: one for each partition. In it are not files for single
/// events, but segments, which hold many; `docs/format.md` describes every byte.
fn folder_on_disk(dir: &Path) -> Result<(), Failure> {
    let mut folders = 0;
    for partition in 0..PARTITIONS {
        let folder = dir.join(format!("{PAYMENTS}-{partition}"));
        let mut segments = 0;
        for file in fs::read_dir(&folder).map_err(|error| about(&folder, error))? {
            let file = file.map_err(|error| about(&folder, error))?;
            let size = file.metadata().map_err(|error| about(&file.path(), error))?.len();
            println!("    {} {size} bytes", file.path().display());
            segments += usize::from(file.path().extension().is_some_and(|extension| extension == "log"));
        }
        folders += u32::from(segments > 0);
    }
    println!("    each partition is a folder on disk, with segments of the log");
    expect("partitions with segments", folders, PARTITIONS)
}

fn publish_and_subscribe(terms: &mut Terms, broker: &Broker) -> Result<(), Failure> {
    terms.define(
        "publish and subscribe",
        "who publishes names a topic, and so does who subscribes; neither has to be there for the other.",
    );
    let subscribe = |group| {
        let builder = broker.consumer::<String, String>().group(group);
        builder.topics_matching(|name| name == LATER).build()
    };
    let mut subscribers = [subscribe(GROUPS[3])?, subscribe(GROUPS[4])?];
    let missing = broker.consumer::<String, String>().topic(LATER).build();
    let is_missing = matches!(missing, Err(Error::TopicNotFound { .. }));
    terms.see("two have subscribed to a topic that does not exist", is_missing)?;

    broker.create_topic(LATER, TopicConfig::new())?;
    broker.producer::<String, String>(LATER)?.send("today", "It is raining")?;
    let mut heard = Vec::new();
    for subscriber in &mut subscribers {
        heard.push(subscriber.poll(Duration::from_secs(10))?);
    }
    let kept = broker.describe_topic(LATER)?.records();
    let both_have_it = heard.iter().all(|records| records.len() == 1);
    terms.see("it was made, one event was published, and both have it", both_have_it && kept == 1)?;
    let next = broker.producer::<String, String>(LATER)?.send("today", "The sun is out")?;
    terms.see("another one was published while both were busy with the first", next.offset == 1)?;
    let mut late = broker.consumer::<String, String>().topic(LATER).build()?;
    let is_there = late.poll(Duration::from_secs(10))?.len() == 2;
    terms.see("one who subscribed after they were published has them too", is_there)
}
