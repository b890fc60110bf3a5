//! One asynchronous program, run by tokio, by smol, and by an executor of twenty lines: Ottla's futures need
//! no runtime of their own.
//!
//! ```sh
//! cargo run --release -p runtimes                          # in memory, on all three
//! cargo run --release -p runtimes -- --runtime tokio
//! cargo run --release -p runtimes -- --data-dir target/runtimes-data
//! ```

#![allow(clippy::print_stdout, reason = "it is a program")]

mod bare;
mod program;

use std::path::PathBuf;

use ottla::Broker;
use program::Summary;

const RUNTIMES: [&str; 3] = ["tokio", "smol", "bare"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse()?;
    let mut summaries = Vec::new();
    for runtime in options.runtimes {
        let broker = match &options.data_dir {
            Some(dir) => Broker::open(dir.join(runtime))?,
            None => Broker::in_memory(),
        };
        let summary = run_on(runtime, broker.clone())?;
        broker.close()?;
        println!(
            "{runtime}: {} orders, {} receipts, total {}",
            summary.orders, summary.receipts, summary.total
        );
        summaries.push((runtime, summary));
    }
    let (first, expected) = &summaries[0];
    for (runtime, summary) in &summaries {
        if summary != expected {
            return Err(format!("{runtime} found {summary:?}, but {first} {expected:?}").into());
        }
    }
    let Summary { orders, receipts, total } = expected;
    println!("OK runtimes runtimes={} orders={orders} receipts={receipts} total={total}", summaries.len());
    Ok(())
}

/// The same program each time; only the executor differs.
fn run_on(runtime: &str, broker: Broker) -> Result<Summary, Box<dyn std::error::Error>> {
    let program = program::run(broker);
    Ok(match runtime {
        "tokio" => {
            let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
            // As a task of its own: the future is `Send` and `'static`.
            tokio.block_on(tokio.spawn(program))??
        }
        "smol" => smol::block_on(smol::spawn(program))?,
        _ => bare::block_on(program)?,
    })
}

struct Options {
    runtimes: Vec<&'static str>,
    data_dir: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self { runtimes: RUNTIMES.to_vec(), data_dir: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--runtime" => {
                    let known = RUNTIMES.into_iter().find(|runtime| **runtime == value);
                    options.runtimes = vec![known.ok_or(format!("no runtime {value}: {RUNTIMES:?}"))?];
                }
                "--data-dir" => options.data_dir = Some(value.into()),
                _ => return Err(format!("no option {name}: --runtime NAME, --data-dir DIR")),
            }
        }
        Ok(options)
    }
}
