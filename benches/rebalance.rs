//! What it costs when the members of a group change: one leaves and another one joins, and everybody polls
//! until all partitions are read again. The cost grows with members and partitions together, not with their
//! product; the last lines say so.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Consumer, GroupState, Raw, TopicConfig};

/// Members and partitions. The last two differ by ten times.
const SIZES: [(usize, u32); 4] = [(50, 250), (100, 500), (200, 1_000), (20, 100)];

struct Scene {
    broker: Broker,
    members: Vec<Consumer<(), Raw>>,
}

impl Scene {
    fn new(members: usize, partitions: u32) -> Self {
        let broker = Broker::in_memory();
        broker.create_topic("bench", TopicConfig::new().partitions(partitions)).expect("it is new");
        let mut scene = Self { broker, members: Vec::new() };
        for _ in 0..members {
            scene.join();
        }
        scene.settle();
        scene
    }

    fn join(&mut self) {
        let member = self.broker.consumer().topic("bench").group("bench").build();
        self.members.push(member.expect("the topic is there"));
    }

    /// Lets everybody poll until each reads what is meant for it; how often.
    fn settle(&mut self) -> usize {
        for round in 1.. {
            for member in &mut self.members {
                assert!(member.poll(Duration::ZERO).expect("nothing is wrong").is_empty());
            }
            if self.broker.describe_group("bench").expect("it has members").state == GroupState::Stable {
                return round;
            }
        }
        unreachable!("every rebalance ends")
    }

    /// One leaves, another one joins, and all partitions are read again.
    fn replace_one(&mut self) {
        drop(self.members.remove(0));
        self.settle();
        self.join();
        self.settle();
    }

    fn check(&self, partitions: u32) {
        let counts = self.members.iter().map(|member| member.assignment().len());
        let (least, most) = (counts.clone().min(), counts.clone().max());
        assert_eq!(counts.sum::<usize>(), partitions as usize);
        assert!(most <= least.map(|least| least + 1), "{least:?} to {most:?}");
    }
}

fn rebalance(c: &mut Criterion) {
    let mut group = c.benchmark_group("rebalance");
    for (members, partitions) in SIZES {
        let mut scene = Scene::new(members, partitions);
        group.throughput(Throughput::Elements(members as u64 + u64::from(partitions)));
        let id = BenchmarkId::from_parameter(format!("{members} members, {partitions} partitions"));
        group.bench_function(id, |b| b.iter(|| scene.replace_one()));
        scene.check(partitions);
    }
    group.finish();
    growth();
}

/// The same in one run, one size after the other in turn, so that the machine is the same for both.
fn growth() {
    const ROUNDS: usize = 20;
    let sizes = [(20, 100), (200, 1_000)];
    let mut scenes = sizes.map(|(members, partitions)| Scene::new(members, partitions));
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (scene, times) in scenes.iter_mut().zip(&mut times) {
            let started = Instant::now();
            scene.replace_one();
            times.push(started.elapsed());
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    });
    let ratio = medians[1].as_secs_f64() / medians[0].as_secs_f64();
    eprintln!("rebalance: 10 times the members and partitions take {ratio:.1} times as long: {medians:?}");
}

criterion_group!(benches, rebalance);
criterion_main!(benches);
