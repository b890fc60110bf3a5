//! The latest price of each item, from a compacted topic: merchants send prices and take items out of their
//! range, anybody asks the table and gets an answer that is not stale, and a label on the shelf is told what
//! has changed.
//!
//! Run it: `cargo run --release --example prices`, or with `-- --data-dir DIR` to keep the topic in a
//! directory; then run it again, and its table is there again, made of what the log holds.
//! It prints what the label was told, and `OK prices …`: `found` are the prices that were there from the run
//! before, `told` is how many changes the label heard of, of those that were sent, and `wrong` how many
//! prices were not what they should be, in the table or on the label. Read next: `workers`, where a topic is
//! shared as if it were a queue.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ottla::{Broker, Changes, Compaction, Result, Table, TopicConfig};

const MERCHANTS: u32 = 4;
/// Of each merchant.
const ITEMS: u32 = 100;
/// How often each item gets another price.
const ROUNDS: u32 = 200;
const PARTITIONS: u32 = 3;

type Prices = BTreeMap<String, u32>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let opened = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Broker::in_memory()),
        ["--data-dir", dir] => Broker::open(dir),
        _ => {
            eprintln!("usage: prices [--data-dir DIR]");
            return ExitCode::from(2);
        }
    };
    match opened.and_then(|broker| run(&broker)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("prices: a price was stale, missing, or there though its item is not");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("prices: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends prices while others ask for them; whether every answer was right.
fn run(broker: &Broker) -> Result<bool> {
    let config = TopicConfig::new().partitions(PARTITIONS).compaction(Compaction::by_key());
    broker.open_topic("prices", config)?;
    let table: Table<String, u32> = broker.table("prices")?;
    let found = held_by(&table)?;
    let found_are_right = found.is_empty() || found == expected();

    let mut changes = table.changes()?; // before the snapshot that the label begins with: nothing is missed
    let mut label = held_by(&table)?;
    let all_sent = AtomicBool::new(false);
    let (stale, told) = thread::scope(|scope| -> Result<_> {
        let label = scope.spawn(|| follow(&mut changes, &mut label, &all_sent));
        let merchants = (0..MERCHANTS).map(|merchant| {
            let table = table.clone();
            scope.spawn(move || sell(broker, &table, merchant))
        });
        let merchants: Vec<_> = merchants.collect();
        let stale =
            merchants.into_iter().map(|merchant| merchant.join().expect("no panic")).sum::<Result<u32>>();
        all_sent.store(true, Ordering::Release);
        Ok((stale?, label.join().expect("no panic")?))
    })?;

    let rows = held_by(&table)?;
    let sent = MERCHANTS * ITEMS * ROUNDS;
    println!("the label was told of {told} changes of {sent} and shows {} prices", label.len());
    let wrong = stale + different(&rows, &expected()) + different(&label, &expected());
    println!("OK prices sent={sent} rows={} found={} told={told} wrong={wrong}", rows.len(), found.len());
    broker.close()?;
    Ok(found_are_right && wrong == 0)
}

fn name_of(merchant: u32, item: u32) -> String {
    format!("merchant {merchant}, item {item}")
}

/// What an item costs in a round.
fn price_in(item: u32, round: u32) -> u32 {
    100 + 7 * item + round
}

/// Every tenth item is out of the range in the end.
fn is_discontinued(item: u32) -> bool {
    item.is_multiple_of(10)
}

/// The prices when everything is sent.
fn expected() -> Prices {
    let all = (0..MERCHANTS).flat_map(|merchant| (0..ITEMS).map(move |item| (merchant, item)));
    let kept = all.filter(|&(_, item)| !is_discontinued(item));
    kept.map(|(merchant, item)| (name_of(merchant, item), price_in(item, ROUNDS - 1))).collect()
}

/// Sends the prices of one merchant, and asks for each right away; how many of the answers were stale.
fn sell(broker: &Broker, table: &Table<String, u32>, merchant: u32) -> Result<u32> {
    let prices = broker.producer::<String, u32>("prices")?;
    let mut stale = 0;
    for round in 0..ROUNDS {
        for item in 0..ITEMS {
            let (name, is_last) = (name_of(merchant, item), round == ROUNDS - 1);
            if is_last && is_discontinued(item) {
                prices.tombstone(&name).send()?;
                stale += u32::from(table.contains_key(&name)?);
            } else {
                prices.send(&name, price_in(item, round))?;
                let row = table.get(&name)?.expect("it was just sent");
                stale += u32::from(row.value()? != price_in(item, round));
            }
        }
    }
    Ok(stale)
}

/// Keeps the label as the changes say, until everything is sent and told; how many changes there were.
fn follow(changes: &mut Changes<String, u32>, label: &mut Prices, all_sent: &AtomicBool) -> Result<u32> {
    let mut told = 0;
    loop {
        let is_last_look = all_sent.load(Ordering::Acquire);
        while let Some(change) = changes.next(Duration::from_millis(10))? {
            told += 1;
            match change.value()? {
                Some(price) => label.insert(change.key()?.to_owned(), price),
                None => label.remove(change.key()?),
            };
        }
        if is_last_look {
            return Ok(told);
        }
    }
}

fn held_by(table: &Table<String, u32>) -> Result<Prices> {
    table.iter()?.map(|row| Ok((row.key()?.to_owned(), row.value()?))).collect()
}

/// How many items have another price here than there, or one only here or there.
fn different(here: &Prices, there: &Prices) -> u32 {
    let names = here.keys().chain(there.keys().filter(|name| !here.contains_key(*name)));
    names.filter(|name| here.get(*name) != there.get(*name)).count() as u32
}
