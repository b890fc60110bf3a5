//! `kill -9` at a random moment, also while a directory is being opened: whatever was acknowledged is there
//! when it is opened again, in order, once, with its bytes; batches are whole or absent; commits and topics
//! are as they were acknowledged. `OTTLA_CRASH_ROUNDS` runs more rounds, `OTTLA_CRASH_SEED` the same ones
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla::{Broker, Error, TopicPartition};

use crate::kill_child::{CHILD, DIR_VARIABLE, GROUP, MARK, Name, SEED_VARIABLE, SIDE_PARTITIONS, TOPICS};
use crate::support::{Random, contents};

const ROUNDS: u64 = 12;
/// So many children one after the other use the same directory.
const ROUNDS_PER_DIR: u64 = 4;
/// A child acknowledges more than this before it is done.
const ACKS: u64 = 900;
const SIGKILL: i32 = 9;

pub(crate) fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// When a child is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it was started: it may not even have opened the directory.
    After(Duration),
    /// When it has said so many lines.
    Lines(u64),
}

impl Moment {
    fn choose(round: u64, random: &mut Random) -> Self {
        match round % 3 {
            0 => Self::After(Duration::from_micros(random.below(30_000))),
            // Few lines are said while it opens the directory.
            1 => Self::Lines(random.below(12)),
            _ => Self::Lines(random.below(ACKS)),
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed = number_from("OTTLA_CRASH_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    let rounds = number_from("OTTLA_CRASH_ROUNDS").unwrap_or(ROUNDS);
    eprintln!("OTTLA_CRASH_SEED={seed} OTTLA_CRASH_ROUNDS={rounds}");
    let mut random = Random(seed);
    let (mut sent, mut torn) = (0, 0);
    for first in (0..rounds).step_by(ROUNDS_PER_DIR as usize) {
        let dir = tempfile::tempdir().expect("a directory for the children");
        let mut history = History::default();
        for round in first..rounds.min(first + ROUNDS_PER_DIR) {
            let moment = Moment::choose(round, &mut random);
            eprintln!("round {round}: killed at {moment:?}");
            kill_a_child(dir.path(), round, moment, &mut history);
            let broker = Broker::open(dir.path()).expect("the directory opens after a kill");
            history.check(&broker);
            torn += broker.recovery_report().torn_tails.len();
            if random.below(2) == 0 {
                broker.close().expect("it closes");
            }
        }
        sent += history.sent.len();
    }
    eprintln!("{sent} records were acknowledged, none is missing; {torn} torn tails");
    assert!(rounds < ROUNDS || sent > 100, "the children were killed too early: {sent} records");
}

/// Runs a child, kills it, and takes down what it said.
fn kill_a_child(dir: &Path, round: u64, moment: Moment, history: &mut History) {
    let mut child = start_child(dir, round);
    let output = child.stdout.take().expect("it is piped");
    if let Moment::After(wait) = moment {
        std::thread::sleep(wait);
        kill(&mut child);
    }
    let mut lines = BufReader::new(output);
    let mut line = String::new();
    let mut said = 0;
    while lines.read_line(&mut line).expect("the pipe can be read") > 0 {
        let whole = line.strip_suffix('\n').and_then(|line| line.strip_prefix(MARK));
        if let Some(line) = whole {
            said += 1;
            history.hear(line);
            let enough = matches!(moment, Moment::Lines(lines) if said == lines + 1);
            if enough || line == "done" {
                kill(&mut child);
            }
        }
        line.clear();
    }
    let status = child.wait().expect("it has ended");
    assert_eq!(status.signal(), Some(SIGKILL), "round {round}: the child failed by itself: {status}");
}

#[test]
fn a_directory_is_in_use_until_its_process_is_killed() {
    let dir = tempfile::tempdir().expect("a directory for the child");
    let mut child = start_child(dir.path(), 0);
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let opened = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("created"));
    assert!(lines.any(opened), "the child opens the directory");
    let refused = Broker::open(dir.path());
    let owner = format!("pid {}", child.id());
    assert!(matches!(&refused, Err(Error::DirectoryInUse { owner: by, .. }) if *by == owner), "{refused:?}");
    kill(&mut child);
    child.wait().expect("it has ended");
    Broker::open(dir.path()).expect("the lock ended with its process");
}

fn start_child(dir: &Path, seed: u64) -> Child {
    let this = std::env::current_exe().expect("this test has a file");
    let mut command = Command::new(this);
    command.args(["--exact", CHILD, "--nocapture", "--test-threads=1"]);
    command.env(DIR_VARIABLE, dir).env(SEED_VARIABLE, seed.to_string()).stdout(Stdio::piped());
    command.spawn().expect("this test can be run")
}

fn kill(child: &mut Child) {
    child.kill().expect("it runs until it is killed");
}

/// What the children of one directory acknowledged.
#[derive(Debug, Default)]
struct History {
    sent: BTreeMap<(String, u32, u64), Name>,
    /// The last commit that was acknowledged, and the highest that was tried.
    committed: BTreeMap<TopicPartition, (u64, u64)>,
    topics: BTreeMap<String, TopicNews>,
}

/// The last thing that was heard of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TopicNews {
    Creating,
    Created,
    /// It got partitions.
    Grown,
    /// Its record was deleted.
    Trimmed,
    Deleting,
    Deleted,
}

fn parse<T: FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("{word} is no part of a line"))
}

impl History {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let place = |topic: &str, partition: &str| TopicPartition::new(topic, parse(partition));
        match words[..] {
            ["sent", topic, partition, offset, name] => {
                let key = (topic.to_owned(), parse(partition), parse(offset));
                let earlier = self.sent.insert(key, parse(name));
                assert_eq!(earlier, None, "an offset was given twice: {line}");
            }
            ["committing", topic, partition, offset] => {
                let entry = self.committed.entry(place(topic, partition)).or_default();
                entry.1 = entry.1.max(parse(offset));
            }
            ["committed", topic, partition, offset] => {
                self.committed.entry(place(topic, partition)).or_default().0 = parse(offset);
            }
            [verb @ ("creating" | "created" | "grown" | "trimmed" | "deleting" | "deleted"), topic] => {
                let news = match verb {
                    "creating" => TopicNews::Creating,
                    "created" => TopicNews::Created,
                    "grown" => TopicNews::Grown,
                    "trimmed" => TopicNews::Trimmed,
                    "deleting" => TopicNews::Deleting,
                    _ => TopicNews::Deleted,
                };
                self.topics.insert(topic.to_owned(), news);
            }
            ["opening" | "done" | ""] => {}
            _ => panic!("an unknown line: {line}"),
        }
    }

    fn check(&self, broker: &Broker) {
        let report = broker.recovery_report();
        assert!(report.lowered_commits.is_empty(), "{report:?}");
        for tail in &report.torn_tails {
            assert!(tail.kept_in.as_ref().is_none_or(|path| path.exists()), "{tail:?}");
        }
        self.check_topics(broker);
        let listed = broker.list_topics();
        for (topic, partitions) in TOPICS.iter().filter(|(topic, _)| listed.iter().any(|l| l == topic)) {
            let mut names = BTreeSet::new();
            for partition in 0..*partitions {
                names.extend(self.check_partition(broker, topic, partition, &names));
            }
        }
        let committed = broker.committed_offsets(GROUP);
        for (place, &(acknowledged, tried)) in &self.committed {
            let found = committed.get(place).map_or(0, |committed| committed.offset);
            assert!((acknowledged..=tried).contains(&found), "{place}: {acknowledged}, {found}, {tried}");
        }
    }

    fn check_topics(&self, broker: &Broker) {
        let listed: BTreeSet<String> = broker.list_topics().into_iter().collect();
        for (topic, news) in &self.topics {
            let is_there = listed.contains(topic);
            match news {
                TopicNews::Created | TopicNews::Grown | TopicNews::Trimmed => {
                    assert!(is_there, "{topic} was created");
                }
                TopicNews::Deleted => assert!(!is_there, "{topic} was deleted"),
                TopicNews::Creating | TopicNews::Deleting => {}
            }
            if is_there && topic.starts_with("side-") {
                check_side_topic(broker, topic, *news);
            }
        }
        let known = |topic: &String| {
            self.topics.contains_key(topic) || TOPICS.iter().any(|(known, _)| known == topic)
        };
        assert!(listed.iter().all(known), "nobody made some of {listed:?}");
    }

    /// Every record is one that was sent, in the order of its sender, whole and once; every acknowledged
    /// one is there. `elsewhere` are the names of the records of other partitions.
    fn check_partition(
        &self,
        broker: &Broker,
        topic: &str,
        partition: u32,
        elsewhere: &BTreeSet<Name>,
    ) -> BTreeSet<Name> {
        let values = contents(broker, topic, partition).expect("every record can be read");
        let names: Vec<Name> = values
            .iter()
            .map(|value| Name::of_value(value).expect("every byte of a record is as it was sent"))
            .collect();
        let place = (topic.to_owned(), partition);
        for ((_, _, offset), name) in
            self.sent.range((place.0.clone(), partition, 0)..(place.0.clone(), partition + 1, 0))
        {
            assert_eq!(names.get(*offset as usize), Some(name), "acknowledged at {offset} of {place:?}");
        }
        let mut latest: BTreeMap<u64, Name> = BTreeMap::new();
        let mut rest = &names[..];
        while let [first, ..] = rest {
            let batch = (0..first.of).map(|number| Name { number, ..*first });
            let whole = batch.clone().eq(rest.iter().take(first.of as usize).copied());
            assert!(whole, "a batch is not whole: {:?}", &rest[..rest.len().min(first.of as usize)]);
            for name in batch {
                let before = latest.insert(name.sender, name);
                assert!(before.is_none_or(|before| before < name), "{name:?} comes after {before:?}");
                assert!(!elsewhere.contains(&name), "{name:?} is in two partitions");
            }
            rest = &rest[first.of as usize..];
        }
        names.into_iter().collect()
    }
}

/// A topic that was made on the side has what was acknowledged, and at most one step more.
fn check_side_topic(broker: &Broker, topic: &str, news: TopicNews) {
    let found = contents(broker, topic, 0).expect("it can be read");
    let is_whole = found == [topic.as_bytes()];
    let description = broker.describe_topic(topic).expect("it is listed");
    let is_trimmed = found.is_empty() && description.partitions[0].start_offset == 1;
    let partitions = description.partitions.len() as u32;
    let is_right = match news {
        TopicNews::Creating => partitions == 1 && (is_whole || found.is_empty()),
        TopicNews::Created => is_whole && (partitions == 1 || partitions == SIDE_PARTITIONS),
        TopicNews::Grown => (is_whole || is_trimmed) && partitions == SIDE_PARTITIONS,
        TopicNews::Trimmed | TopicNews::Deleting => is_trimmed && partitions == SIDE_PARTITIONS,
        TopicNews::Deleted => false,
    };
    assert!(is_right, "{topic} after {news:?}: {description:?}, {found:?}");
}
