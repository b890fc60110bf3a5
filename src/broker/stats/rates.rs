//! Rates: what was counted since an earlier look, by the time since then. The earlier looks are kept here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{TopicStats, Traffic};
use crate::group::Place;
use crate::sync::Instant;

/// Over a shorter time an average says little.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// Earlier looks at a broker.
#[derive(Debug)]
pub(in crate::broker) struct Samples {
    opened: Instant,
    /// What rates are measured from: taken [`SHORTEST_WINDOW`] or more before `latest`.
    reference: Sample,
    latest: Sample,
}

/// What was counted up to one moment. What is not in it was zero.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    counts: BTreeMap<Place, [u64; 4]>,
}

/// The times that a snapshot speaks of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) uptime: Duration,
    pub(super) rate_window: Duration,
}

impl Samples {
    /// Of a broker that is being opened.
    pub(in crate::broker) fn new() -> Self {
        let opened = Instant::now();
        let nothing = Sample { at: opened, counts: BTreeMap::new() };
        Self { opened, reference: nothing.clone(), latest: nothing }
    }

    /// Sets the rates of a snapshot that was taken at `now`.
    pub(super) fn rate(&mut self, now: Instant, topics: &mut [(u64, TopicStats)]) -> Window {
        if now.saturating_duration_since(self.latest.at) >= SHORTEST_WINDOW {
            let current = Sample { at: now, counts: counts(topics) };
            self.reference = std::mem::replace(&mut self.latest, current);
        }
        let rate_window = now.saturating_duration_since(self.reference.at);
        for (topic_id, topic) in topics {
            for partition in &mut topic.partitions {
                let place = (*topic_id, partition.partition);
                let [appended, appended_bytes, fetched, fetched_bytes] =
                    self.reference.counts.get(&place).copied().unwrap_or_default();
                rate_one(&mut partition.appended, appended, appended_bytes, rate_window);
                rate_one(&mut partition.fetched, fetched, fetched_bytes, rate_window);
            }
        }
        Window { uptime: now.saturating_duration_since(self.opened), rate_window }
    }
}

fn counts(topics: &[(u64, TopicStats)]) -> BTreeMap<Place, [u64; 4]> {
    let partitions =
        topics.iter().flat_map(|(id, topic)| topic.partitions.iter().map(move |each| (*id, each)));
    let counts = partitions.map(|(id, each)| {
        let (appended, fetched) = (&each.appended, &each.fetched);
        ((id, each.partition), [appended.records, appended.bytes, fetched.records, fetched.bytes])
    });
    counts.collect()
}

fn rate_one(traffic: &mut Traffic, records: u64, bytes: u64, window: Duration) {
    let per_second = |count: u64, before: u64| {
        let seconds = window.as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(before) as f64 / seconds } else { 0.0 }
    };
    traffic.records_per_second = per_second(traffic.records, records);
    traffic.bytes_per_second = per_second(traffic.bytes, bytes);
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::config::TopicConfig;

    /// The rate of appended records after so many were sent, at so many seconds, and its window.
    fn look(samples: &mut Samples, records: u64, millis: u64) -> (f64, u64) {
        let broker = Broker::in_memory();
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut topic = broker.stats().topics.remove(0);
        topic.partitions[0].appended.records = records;
        let mut topics = [(7, topic)];
        let window = samples.rate(samples.opened + Duration::from_millis(millis), &mut topics);
        assert_eq!(window.uptime, Duration::from_millis(millis));
        let rate = topics[0].1.partitions[0].appended.records_per_second;
        (rate, window.rate_window.as_millis() as u64)
    }

    #[test]
    fn a_rate_is_over_the_time_since_a_look_that_is_at_least_a_second_old() {
        let samples = &mut Samples::new();
        assert_eq!(look(samples, 5, 0), (0.0, 0));
        assert_eq!(look(samples, 100, 500), (200.0, 500), "since the broker was opened");
        assert_eq!(look(samples, 400, 2_000), (200.0, 2_000));
        assert_eq!(look(samples, 400, 2_500), (160.0, 2_500), "the look before is too young");
        assert_eq!(look(samples, 700, 3_000), (300.0, 1_000), "since that at 2 s");
        assert_eq!(look(samples, 700, 3_500), (200.0, 1_500));
        assert_eq!(look(samples, 700, 5_000), (0.0, 2_000), "since that at 3 s");
    }
}
