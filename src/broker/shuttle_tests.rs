//! Whole brokers under Shuttle, which chooses at each step which thread goes on: at random, and by the PCT
//! algorithm, which keeps to an order of the threads and changes it a few times. Run with
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --lib shuttle`; each test can fail, as any test.
//!
//! A chunk holds two plain records here, and a segment few. When nobody can go on, somebody waits for ever:
//! Shuttle calls it a deadlock, and the test fails. Threads that nobody joins must end too.
//!
//! | variable | meaning |
//! |---|---|
//! | `OTTLA_SHUTTLE_ITERATIONS` | schedules of each test and scheduler, instead of [`ITERATIONS`] |
//! | `OTTLA_SHUTTLE_SEED` | the schedules to begin with, instead of those of [`SEED`] |
//! | `OTTLA_SHUTTLE_REPLAY` | a schedule that a failure has printed: only this one is run |

mod bounds;
mod changes;
mod compacting;
mod endings;
mod faults;
mod groups;
mod history;
mod resting;
mod sending;
mod storage;
mod tables;
mod waiting;

use std::fmt::Debug;
use std::str::FromStr;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

use super::Broker;
use crate::config::TopicConfig;
use crate::sync::thread::{self, JoinHandle};

const ITERATIONS: usize = 2_000;
const SEED: u64 = 4;

/// How often PCT changes the order of the threads, less one.
const DEPTHS: [usize; 2] = [2, 4];

/// Runs `test` in many schedules.
fn check(test: fn()) {
    if let Ok(schedule) = std::env::var("OTTLA_SHUTTLE_REPLAY") {
        return run(ReplayScheduler::new_from_encoded(&schedule), test);
    }
    let iterations = setting("OTTLA_SHUTTLE_ITERATIONS", ITERATIONS);
    let seed = setting("OTTLA_SHUTTLE_SEED", SEED);
    run(RandomScheduler::new_from_seed(seed, iterations), test);
    for depth in DEPTHS {
        run(PctScheduler::new_from_seed(seed, depth, iterations / DEPTHS.len()), test);
    }
}

fn run(scheduler: impl Scheduler + 'static, test: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // Of orders weaker than SeqCst, which loom looks at.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(test);
}

fn setting<T: FromStr<Err: Debug>>(variable: &str, default: T) -> T {
    std::env::var(variable).map_or(default, |value| value.parse().expect(variable))
}

/// The settings of a small topic: a segment has a header and two records.
fn small(partitions: u32) -> TopicConfig {
    TopicConfig::new().partitions(partitions).segment_bytes(64 + 2 * FRAME_BYTES)
}

/// Of a record with a number and nothing else.
const FRAME_BYTES: u64 = 48;

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(work)
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("it does not panic")
}
