//! What a message queue does, and what a topic does: the same tasks for a group of three, which shares them
//! as if the topic were a queue, and for three groups, each of which gets them all. Every figure of the table
//! that it prints was counted in this run, from a topic; the column of the queue says what RabbitMQ documents
//! (<https://www.rabbitmq.com/docs/queues>, <https://www.rabbitmq.com/docs/confirms>).
//!
//! Run it: `cargo run --release --example queue_vs_topic`, or with `-- --data-dir DIR` to keep the topic.
//! `--input FILE` takes the lines of any text file as tasks. Each run begins by forgetting how far its groups
//! had come, so that each shows the same.
//!
//! It prints the table and `OK queue_vs_topic …`: with three members the parts were `disjoint` and together
//! `complete`; three groups had `copies`; `removed` by reading were none; of more members than partitions
//! some are `idle`; and `redelivered` is what a member that died had not committed. Read next: `workers`, a
//! group whose members come and go while there is work; `terms` for the words.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::{Failure, Progress, about, expect, finish};
use ottla::{Broker, Consumer, Error, Records, TopicConfig};

const TOPIC: &str = "tasks";
const PARTITIONS: u32 = 6;
/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;
const MEMBERS: usize = 3;
/// The groups that have a copy each.
const GROUPS: [&str; 3] = ["billing", "audit", "statistics"];
/// More members than partitions.
const CROWD: usize = 8;
/// What the member that dies was given, and what of that it committed.
const GIVEN: usize = 100;
const COMMITTED: usize = 40;

/// Where a task is: partition and offset.
type Place = (u32, u64);
type Member = Consumer<u64, String>;

/// A topic does what a queue does, and what it cannot do.
#[derive(Parser)]
struct Options {
    /// Take the lines of this file as tasks
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "records", "write"])]
    input: Option<PathBuf>,
    /// Keep the topic in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Invent other tasks
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Invent so many tasks
    #[arg(long, value_name = "N", default_value_t = 6_000)]
    records: usize,
    /// Also write the invented tasks to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    finish("queue_vs_topic", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let tasks = tasks(options)?;
    let broker = open(options)?;
    forget_groups(&broker)?;
    publish(&broker, &tasks)?;

    let shared = share(&broker)?;
    let is_disjoint = shared.iter().flatten().count() == all_of(&shared).len();
    let is_complete = all_of(&shared) == everything(&broker)?;
    let copies = copy_for_each_group(&broker, &tasks)?;
    let removed = removed(&broker)?;
    let idle = crowd(&broker)?;
    let redelivered = death(&broker)?;
    let in_order = shared.iter().all(|part| is_in_order(part));

    print_table(&rows(&shared, copies, removed, idle, &redelivered));
    expect("the parts of the members are disjoint", is_disjoint, true)?;
    expect("they are complete together", is_complete, true)?;
    expect("each partition was read in order", in_order, true)?;
    expect("complete copies", copies, GROUPS.len())?;
    expect("records that reading removed", removed, 0)?;
    expect("idle members", idle, CROWD - PARTITIONS as usize)?;
    broker.close()?;
    Ok(format!(
        "records={} members={MEMBERS} disjoint={is_disjoint} complete={is_complete} copies={copies} \
         removed={removed} idle={idle} redelivered={}",
        tasks.len(),
        redelivered.again,
    ))
}

fn tasks(options: &Options) -> Result<Vec<String>, Failure> {
    if let Some(file) = &options.input {
        let text = fs::read_to_string(file).map_err(|error| about(file, error))?;
        let tasks: Vec<String> = text.lines().map(str::to_owned).collect();
        return match tasks.len() {
            0..=GIVEN => Err(about(file, format!("more than {GIVEN} lines were expected"))),
            _ => Ok(tasks),
        };
    }
    if options.records <= GIVEN {
        return Err(format!("--records must be more than {GIVEN}").into());
    }
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let task = |number| format!("resize picture {number:05} to {} pixels", 64 << rng.u32(..5));
    let tasks: Vec<String> = (0..options.records).map(task).collect();
    if let Some(file) = &options.write {
        fs::write(file, tasks.join("\n") + "\n").map_err(|error| about(file, error))?;
    }
    Ok(tasks)
}

fn open(options: &Options) -> Result<Broker, Failure> {
    let broker = match &options.data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    };
    broker.open_topic(TOPIC, TopicConfig::new().partitions(PARTITIONS).memory_limit(NO_LIMIT))?;
    Ok(broker)
}

/// So that each run shows the same: the records of an earlier run stay, how far its groups had come does not.
fn forget_groups(broker: &Broker) -> Result<(), Failure> {
    for group in ["sharing", "crowd", "mortal"].into_iter().chain(GROUPS) {
        match broker.delete_group(group) {
            Err(Error::GroupNotFound { .. }) => {}
            deleted => deleted?,
        }
    }
    Ok(())
}

/// Sends what the log lacks of the tasks; each has its number as its key.
fn publish(broker: &Broker, tasks: &[String]) -> Result<(), Failure> {
    let mut reader = broker.consumer::<u64, String>().topic(TOPIC).build()?;
    let mut there = 0;
    while reader.lag() > 0 {
        for record in &reader.poll(Duration::from_secs(1))? {
            if tasks.get(record.key()? as usize).map(String::as_str) != Some(record.value()?) {
                return Err(format!("the topic {TOPIC} in the directory holds tasks of another run").into());
            }
            there += 1;
        }
    }
    let producer = broker.producer::<u64, String>(TOPIC)?;
    let mut progress = Progress::new("tasks sent", (tasks.len() - there) as u64);
    for (number, task) in tasks.iter().enumerate().skip(there) {
        producer.send(number as u64, task)?;
        progress.add(1);
    }
    Ok(())
}

/// A new member of a group.
fn join(broker: &Broker, group: &str, max_records: usize) -> Result<Member, Failure> {
    Ok(broker.consumer().topic(TOPIC).group(group).max_records(max_records).build()?)
}

/// Three members of one group, which take turns: what each of them was given. The first one has all
/// partitions until it polls; inside polls they change hands.
fn share(broker: &Broker) -> Result<Vec<Vec<Place>>, Failure> {
    let members = (0..MEMBERS).map(|_| join(broker, "sharing", 100));
    let mut members = members.collect::<Result<Vec<_>, _>>()?;
    let mut parts = vec![Vec::new(); MEMBERS];
    while broker.lag("sharing", TOPIC)? > 0 {
        for (member, part) in members.iter_mut().zip(&mut parts) {
            let records = member.poll(Duration::ZERO)?;
            part.extend(places(&records));
            member.commit(&records)?;
        }
    }
    Ok(parts)
}

/// Three groups of one member each; how many of them got every task, once and as it was sent.
fn copy_for_each_group(broker: &Broker, tasks: &[String]) -> Result<usize, Failure> {
    let mut copies = 0;
    for group in GROUPS {
        let mut member = join(broker, group, usize::MAX)?;
        let mut copy = vec![None; tasks.len()];
        let mut count = 0;
        while member.lag() > 0 {
            let records = member.poll(Duration::from_secs(1))?;
            for record in &records {
                copy[record.key()? as usize] = Some(record.value()?.to_owned());
                count += 1;
            }
            member.commit(&records)?;
        }
        let is_whole = count == tasks.len() && copy.iter().flatten().eq(tasks);
        copies += usize::from(is_whole);
    }
    Ok(copies)
}

/// How many records are gone, now that four groups have read and committed all of them.
fn removed(broker: &Broker) -> Result<u64, Failure> {
    Ok(broker.describe_topic(TOPIC)?.partitions.iter().map(|partition| partition.start_offset).sum())
}

/// More members than partitions: how many of them have nothing to do.
fn crowd(broker: &Broker) -> Result<usize, Failure> {
    let mut members = (0..CROWD).map(|_| join(broker, "crowd", 1)).collect::<Result<Vec<_>, _>>()?;
    for member in &mut members {
        member.poll(Duration::ZERO)?; // the first gives up what is meant for the others, which take it
    }
    Ok(members.iter().filter(|member| member.assignment().is_empty()).count())
}

/// What became of the tasks of a member that died.
struct Death {
    given: usize,
    committed: usize,
    /// What the next member was given again.
    again: usize,
}

/// A member is given tasks, commits some, and dies. The next one gets just those again that were not
/// committed, and then the rest.
fn death(broker: &Broker) -> Result<Death, Failure> {
    let mut mortal = join(broker, "mortal", GIVEN)?;
    let given = mortal.poll(Duration::ZERO)?;
    for done in given.iter().take(COMMITTED) {
        mortal.commit_through(&done)?;
    }
    drop(mortal); // a consumer that is dropped commits nothing

    let uncommitted: BTreeSet<Place> = places(&given).skip(COMMITTED).collect();
    let done: BTreeSet<Place> = places(&given).take(COMMITTED).collect();
    let mut heir = join(broker, "mortal", usize::MAX)?;
    let mut inherited = Vec::new();
    while heir.lag() > 0 {
        inherited.extend(places(&heir.poll(Duration::from_secs(1))?));
    }
    let again = inherited.iter().filter(|place| uncommitted.contains(place)).count();
    expect("tasks given again", again, uncommitted.len())?;
    expect("tasks given to the heir", inherited.len(), everything(broker)?.len() - done.len())?;
    expect("committed tasks that came again", inherited.iter().any(|place| done.contains(place)), false)?;
    Ok(Death { given: given.len(), committed: COMMITTED, again })
}

fn places(records: &Records<u64, String>) -> impl Iterator<Item = Place> {
    records.iter().map(|record| (record.partition(), record.offset()))
}

fn all_of(parts: &[Vec<Place>]) -> BTreeSet<Place> {
    parts.iter().flatten().copied().collect()
}

/// The places of all records, as the topic describes itself.
fn everything(broker: &Broker) -> Result<BTreeSet<Place>, Failure> {
    let partitions = broker.describe_topic(TOPIC)?.partitions;
    let places = partitions
        .iter()
        .flat_map(|each| (each.start_offset..each.end_offset).map(|offset| (each.partition, offset)));
    Ok(places.collect())
}

/// Whether the offsets of each partition rise.
fn is_in_order(part: &[Place]) -> bool {
    let mut latest: BTreeMap<u32, u64> = BTreeMap::new();
    part.iter()
        .all(|&(partition, offset)| latest.insert(partition, offset).is_none_or(|before| before < offset))
}

/// A line of the table: what is asked, what a queue does, and what the topic did.
type Row = (&'static str, &'static str, String);

fn print_table(rows: &[Row]) {
    println!("{:27}{:38}topic (Ottla, this run)", "", "queue (RabbitMQ)");
    for (what, queue, topic) in rows {
        println!("{what:27}{queue:38}{topic}");
    }
    println!();
}

fn rows(shared: &[Vec<Place>], copies: usize, removed: u64, idle: usize, death: &Death) -> [Row; 9] {
    let parts: Vec<String> = shared.iter().map(|part| part.len().to_string()).collect();
    let (parts, records) = (parts.join(" + "), shared.iter().map(Vec::len).sum::<usize>());
    let Death { given, committed, again } = death;
    let told = str::to_owned;
    [
        ("three readers share", "each message to one of them", format!("one group: {parts} = {records}")),
        (
            "three readers, all of it",
            "three queues, a copy in each",
            format!("{copies} groups x {records}, one log"),
        ),
        ("what reading removes", "each message, when acknowledged", format!("{removed} of {records}")),
        ("order", "of the queue; redelivery breaks it", format!("of each of {PARTITIONS} partitions")),
        (
            "more readers than parts",
            "all get messages",
            format!("{idle} of {CROWD} idle: {PARTITIONS} partitions"),
        ),
        (
            "a reader dies",
            "what it has not acknowledged returns",
            format!("{again} come again: {given} given, {committed} committed"),
        ),
        ("acknowledging one message", "yes, in any order", told("not there: a commit is a position")),
        ("how often was it delivered", "quorum queues count", told("not there")),
        ("read it again next week", "no", told("yes: any group, from any offset")),
    ]
}
