//! A hub for the areas of a company: the web shop, production, energy and sales each publish what they have
//! in their own codec (text, bytes, numbers, JSON), and everybody can read all of it, now and later.
//!
//! * A reader follows all topics of the hub by their name, those that are made after it subscribed among
//!   them.
//! * A desk for each area removes what came twice and adds up by the hour; side by side, their figures say
//!   what no area knows alone: how much is sold for a kilowatt-hour.
//! * What nobody can read becomes a dead letter that says where it came from and why. It stops nothing.
//! * The next day a group that has never read anything gets every record, byte for byte: in a directory, from
//!   a broker that was opened anew.
//!
//! Run it: `cargo run --release --example company_hub`, or with `-- --data-dir DIR` to keep the topics; kill
//! it and run it again, and it publishes only what they lack. `--input web=/var/log/apache2/access.log` takes
//! a real file instead of an invented one, `--write DIR` writes the invented ones.
//!
//! It prints the figures by the hour, a SHA-256 for each topic, some dead letters, and `OK company_hub …`,
//! where `identical` topics were the same for all readers and in the areas' files. Read next: `area.rs`,
//! `desks.rs`, `dead_letters.rs`; the formats of the areas are in files of their names.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod area;
mod company;
mod dead_letters;
mod desks;
mod digest;
mod energy;
mod expected;
mod generate;
mod production;
mod readers;
mod report;
mod sales;
mod web;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;
use common::{Failure, expect, finish, joined};
use ottla::{Broker, OwnedRecord, TopicConfig};

use crate::company::{Company, TOPICS};
use crate::dead_letters::DeadLetters;
use crate::desks::{Known, Office};
use crate::digest::Digest;
use crate::readers::{digests, subscribe, subscribe_anew};

/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;

/// A digest for each topic.
type Digests = BTreeMap<String, Digest>;

/// Areas of a company share what they know.
#[derive(Parser)]
struct Options {
    /// Take this file for an area (web, production, energy, sales) instead of an invented one
    #[arg(long, value_name = "AREA=FILE", value_parser = area_and_file)]
    input: Vec<(String, PathBuf)>,
    /// Keep the topics in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Invent another day
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Invent so many records for each area
    #[arg(long, value_name = "N", default_value_t = 3_000)]
    records: usize,
    /// Also write the invented files to this directory
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn area_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (area, file) = text.split_once('=').ok_or("expected an area and a file: web=access.log")?;
    Ok((area.to_owned(), file.into()))
}

fn main() -> ExitCode {
    finish("company_hub", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let files = company::files(&options.input, options.seed, options.records, options.write.as_deref())?;
    let company = Company::of(&files);

    let broker = open(options)?;
    let (live, known) = day(&broker, &company)?;
    check_desks(&company, &known)?;
    report::print(&known)?;

    // The next day: in a directory, another broker.
    let broker = if options.data_dir.is_some() {
        broker.close()?;
        open(options)?
    } else {
        broker
    };
    let [late, again] = late_readers(&broker, company.events())?;
    let identical = compare(&company.digests()?, &[&live, &late, &again])?;
    let letters = check_dead_letters(&broker, &known)?;
    broker.close()?;
    let records: u64 = live.values().map(|digest| digest.records).sum();
    let duplicates: u64 = known.iter().map(|known| known.duplicates).sum();
    Ok(format!(
        "areas={} records={records} readers=3 identical={identical} duplicates={duplicates} \
         dead_letters={letters}",
        TOPICS.len(),
    ))
}

fn open(options: &Options) -> Result<Broker, Failure> {
    Ok(match &options.data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    })
}

/// All areas publish while all desks read, and somebody follows everything: the digests of that one, and what
/// the desks know.
fn day(broker: &Broker, company: &Company) -> Result<(Digests, [Known; 4]), Failure> {
    // One partition, so that a topic is one sequence, as its file was.
    let config = TopicConfig::new().partitions(1).memory_limit(NO_LIMIT);
    let mut follower = subscribe(broker, "follower")?; // before there is a topic
    for topic in TOPICS {
        broker.open_topic(topic, config.clone())?;
    }
    let letters = DeadLetters::open(broker, config)?;
    let is_over = AtomicBool::new(false);
    let office = Office { broker, letters: &letters, is_over: &is_over };
    thread::scope(|scope| {
        let follower = scope.spawn(|| digests(&mut follower, company.events(), &is_over));
        let desks = [desks::web, desks::production, desks::energy, desks::sales];
        let desks = desks.map(|desk| scope.spawn(move || desk(office)));
        let areas = company.publishers(broker).map(|publish| scope.spawn(publish));
        let published = areas.into_iter().try_for_each(joined);
        is_over.store(true, Ordering::Release);
        let [web, production, energy, sales] = desks.map(joined);
        let live = joined(follower);
        published?;
        Ok((live?, [web?, production?, energy?, sales?]))
    })
}

/// A group that has never read anything reads everything, and then everything once more.
fn late_readers(broker: &Broker, records: u64) -> Result<[Digests; 2], Failure> {
    let is_over = AtomicBool::new(true);
    let mut reader = subscribe_anew(broker, "late")?;
    Ok([digests(&mut reader, records, &is_over)?, digests(&mut reader, records, &is_over)?])
}

/// Prints the digests; how many topics are the same in the areas' files and for all readers.
fn compare(files: &Digests, readers: &[&Digests]) -> Result<usize, Failure> {
    let mut identical = 0;
    for (topic, of_file) in files {
        let sha256 = of_file.text();
        let read = readers.iter().map(|digests| digests.get(topic).cloned().unwrap_or_default().text());
        let differ = read.filter(|read| *read != sha256).count();
        expect(&format!("readers of {topic} that got something else than was in its file"), differ, 0)?;
        println!("{topic:15} {:6} records, SHA-256 {sha256}", of_file.records);
        identical += 1;
    }
    println!();
    Ok(identical)
}

fn check_desks(company: &Company, known: &[Known; 4]) -> Result<(), Failure> {
    for ((topic, known), expected) in TOPICS.iter().zip(known).zip(&expected::known(company)) {
        expect(&format!("{topic}: duplicates"), known.duplicates, expected.duplicates)?;
        expect(&format!("{topic}: unreadable records"), known.unreadable, expected.unreadable)?;
        let total = |known: &Known| known.by_hour.values().filter(|figure| **figure > 0).sum::<u64>();
        expect(&format!("{topic}: total"), total(known), total(expected))?;
        let is_same = expected.by_hour.iter().all(|(hour, figure)| known.by_hour.get(hour) == Some(figure));
        expect(&format!("{topic}: each hour is as it must be"), is_same, true)?;
    }
    Ok(())
}

/// Each unreadable record has one letter, which leads back to it.
fn check_dead_letters(broker: &Broker, known: &[Known; 4]) -> Result<usize, Failure> {
    let letters = DeadLetters::all(broker)?;
    let unreadable: u64 = known.iter().map(|known| known.unreadable).sum();
    expect("dead letters", letters.len() as u64, unreadable)?;
    for letter in &letters {
        expect("a dead letter leads to its record", dead_letters::leads_back(broker, letter)?, true)?;
    }
    print_first_of_each(&letters);
    Ok(letters.len())
}

fn print_first_of_each(letters: &[OwnedRecord]) {
    for topic in TOPICS {
        let is_of = |letter: &&OwnedRecord| {
            letter.headers.iter().any(|(_, value)| value.as_deref() == Some(topic.as_bytes()))
        };
        if let Some(letter) = letters.iter().find(is_of) {
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let reason = letter.headers.first().and_then(|(_, reason)| reason.as_deref());
            println!("dead letter {}: {:.80}", text(letter.key.as_deref()), text(reason));
        }
    }
}
