//! A group of workers shares a topic as if it were a queue: each order is packed by one of them, while
//! workers join, leave and die. A second group, the audit, hears of every order too: a topic is not used up
//! by reading.
//!
//! Run it: `cargo run --release --example workers`, or with `-- --data-dir DIR` to keep orders and commits in
//! a directory; then run it again, or kill it and run it again, and it packs what is left.
//! It prints who packed how much, and `OK workers …`: `twice` are the orders that the worker which died had
//! packed and not committed, and no others.
//! Read next: `exchange`, where two groups rebuild the same state from one topic.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ottla::{Broker, Consumer, Result, TopicConfig};

const ORDERS: u64 = 20_000;
const PARTITIONS: u32 = 8;

/// Where an order is: partition and offset.
type Place = (u32, u64);
type Member = Consumer<u64, String>;

/// How a worker ends.
#[derive(Clone, Copy)]
enum Ending {
    /// When there is nothing left to do.
    WithTheWork,
    /// After so many orders, properly.
    Leaves { after: usize },
    /// After so many orders, in the middle of its work and without a commit.
    Dies { after: usize },
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let opened = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Broker::in_memory()),
        ["--data-dir", dir] => Broker::open(dir),
        _ => {
            eprintln!("usage: workers [--data-dir DIR]");
            return ExitCode::from(2);
        }
    };
    match opened.and_then(|broker| run(&broker)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("workers: an order was missed, or packed twice without a reason");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends orders and has them packed; whether all went as it should.
fn run(broker: &Broker) -> Result<bool> {
    broker.open_topic("orders", TopicConfig::new().partitions(PARTITIONS))?;
    let left_over = [broker.lag("packing", "orders")?, broker.lag("audit", "orders")?];
    let all_sent = AtomicBool::new(false);

    let (packed, audited) = thread::scope(|scope| -> Result<_> {
        let work = |name, ending| {
            (
                name,
                scope.spawn({
                    let all_sent = &all_sent;
                    move || pack(broker, all_sent, ending)
                }),
            )
        };
        let mut workers = vec![
            work("anna", Ending::WithTheWork),
            work("ben", Ending::Leaves { after: 1_000 }),
            work("cleo", Ending::Dies { after: 500 }),
        ];
        let audit = scope.spawn(|| audit(broker, &all_sent));
        send(broker, &all_sent)?;
        workers.push(work("dora", Ending::WithTheWork)); // joins while the others work
        let packed = workers.into_iter().map(|(name, worker)| Ok((name, worker.join().expect("no panic")?)));
        let packed = packed.collect::<Result<Vec<(&str, Packed)>>>()?;
        Ok((packed, audit.join().expect("no panic")?))
    })?;

    let group = broker.describe_group("packing")?;
    println!("packing has committed {} partitions and is {} behind", group.partitions.len(), group.lag());
    let is_right = report(&packed, left_over[0] + ORDERS, audited) && audited == left_over[1] + ORDERS;
    broker.close()?;
    Ok(is_right && group.lag() == 0)
}

fn send(broker: &Broker, all_sent: &AtomicBool) -> Result<()> {
    let producer = broker.producer::<u64, String>("orders")?;
    for number in 0..ORDERS {
        producer.send(number, "one ticket")?;
    }
    all_sent.store(true, Ordering::Release);
    Ok(())
}

/// What a worker has packed, and how much of that it did not commit.
#[derive(Default)]
struct Packed {
    orders: Vec<Place>,
    uncommitted: usize,
}

/// Works as a member of the group, until its ending.
fn pack(broker: &Broker, all_sent: &AtomicBool, ending: Ending) -> Result<Packed> {
    let mut member: Member = broker.consumer().topic("orders").group("packing").max_records(100).build()?;
    let mut packed = Packed::default();
    // Who has nothing left waits for the others: they might die.
    while !all_sent.load(Ordering::Acquire) || broker.lag("packing", "orders")? > 0 {
        let records = member.poll(Duration::from_millis(10))?;
        for (number, order) in records.iter().enumerate() {
            packed.orders.push((order.partition(), order.offset()));
            if matches!(ending, Ending::Dies { after } if packed.orders.len() == after) {
                packed.uncommitted = number + 1;
                return Ok(packed); // dropping the consumer commits nothing
            }
        }
        thread::sleep(Duration::from_millis(1)); // packing takes its time
        member.commit(&records)?;
        if matches!(ending, Ending::Leaves { after } if packed.orders.len() >= after) {
            member.close()?;
            return Ok(packed);
        }
    }
    Ok(packed)
}

/// Reads everything that is new to the audit, alone in its group; how many orders.
fn audit(broker: &Broker, all_sent: &AtomicBool) -> Result<u64> {
    let builder = broker.consumer::<u64, String>().topic("orders").group("audit");
    let mut consumer = builder.auto_commit(true).build()?;
    let mut count = 0;
    while !all_sent.load(Ordering::Acquire) || consumer.lag() > 0 {
        count += consumer.poll(Duration::from_millis(10))?.len() as u64;
    }
    consumer.close()?;
    Ok(count)
}

/// Prints what happened; whether every order was packed, and twice only what the dead worker had not
/// committed.
fn report(packed: &[(&str, Packed)], expected: u64, audited: u64) -> bool {
    let mut times: BTreeMap<Place, usize> = BTreeMap::new();
    for (name, packed) in packed {
        let Packed { orders, uncommitted } = packed;
        println!("{name:5} packed {:5} orders, of which {uncommitted:2} were not committed", orders.len());
        orders.iter().for_each(|&place| *times.entry(place).or_default() += 1);
    }
    let twice = times.values().map(|times| times - 1).sum::<usize>();
    let uncommitted = packed.iter().map(|(_, packed)| packed.uncommitted).sum::<usize>();
    let missed = expected - times.len() as u64;
    println!(
        "OK workers orders={expected} workers={} missed={missed} twice={twice} audited={audited}",
        packed.len()
    );
    missed == 0 && twice == uncommitted
}
