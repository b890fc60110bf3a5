//! Kafka's consumer properties.

use std::time::Duration;

use super::{ConsumerBuilder, OutOfRange, Start};
use crate::config::kafka::Rule::{Only, Refuse, Translate};
use crate::config::kafka::{Row, apply, network, number};
use crate::error::Result;
use crate::group::{RangeAssignor, RoundRobinAssignor, StickyAssignor};
use crate::record::codec::Codec;

const CODECS: &str = "the codecs are the type parameters of the consumer";
const NO_HEARTBEATS: &str = "members are in this process and need no heartbeats; leave it out";
const ONE_PROTOCOL: &str = "members give up what must move, one partition at a time, with either";
const IN_POLL: &str = "how long a poll waits is said with each poll";
const NOT_TIMED: &str = "with auto-commit, each poll commits what the one before it returned";

/// What can be set by property.
#[derive(Clone, Default)]
struct Settings {
    group: Option<String>,
    /// Kafka has one setting for a position that is not there yet and for one that is gone.
    reset: Option<(Start, OutOfRange)>,
    auto_commit: bool,
    max_records: Option<usize>,
    max_bytes: Option<usize>,
    min_bytes: Option<usize>,
    instance_id: Option<String>,
    instance_timeout: Option<Duration>,
    max_poll_interval: Option<Duration>,
    assignor: Option<InTheBox>,
}

#[derive(Clone, Copy)]
enum InTheBox {
    Range,
    RoundRobin,
    Sticky,
}

const TABLE: &[Row<Settings>] = &[
    Row::new("group.id", Translate(group)),
    Row::new("auto.offset.reset", Translate(auto_offset_reset)),
    Row::new("enable.auto.commit", Translate(auto_commit)),
    Row::new("max.poll.records", Translate(max_records)),
    Row::new("fetch.max.bytes", Translate(max_bytes)),
    Row::new("fetch.min.bytes", Translate(min_bytes)),
    Row::new("fetch.max.wait.ms", Refuse(IN_POLL)),
    Row::new("default.api.timeout.ms", Refuse(IN_POLL)),
    Row::new("max.partition.fetch.bytes", Refuse("a poll is bounded as a whole: fetch.max.bytes")),
    Row::new("auto.commit.interval.ms", Only(&["0"], NOT_TIMED)),
    Row::new("check.crcs", Only(&["true"], "what is read from files is always checked")),
    Row::new("isolation.level", Only(&["read_uncommitted"], "transactions are not supported yet")),
    Row::new("allow.auto.create.topics", Only(&["false"], "a topic is made by open_topic or create_topic")),
    Row::new("exclude.internal.topics", Only(&["true"], "internal topics cannot be read")),
    Row::new("group.instance.id", Translate(instance_id)),
    Row::new("session.timeout.ms", Translate(instance_timeout)),
    Row::new("max.poll.interval.ms", Translate(max_poll_interval)),
    Row::new("partition.assignment.strategy", Translate(assignment_strategy)),
    Row::new("group.remote.assignor", Translate(remote_assignor)),
    Row::new("group.protocol", Only(&["consumer", "classic"], ONE_PROTOCOL)),
    Row::new("heartbeat.interval.ms", Refuse(NO_HEARTBEATS)),
    Row::new("client.rack", Only(&[""], "everything is in one process")),
    Row::new("share.acknowledgement.mode", Refuse("share groups are not supported")),
    Row::new("share.acquire.mode", Refuse("share groups are not supported")),
    Row::new("key.deserializer", Refuse(CODECS)),
    Row::new("value.deserializer", Refuse(CODECS)),
];

impl<K: Codec, V: Codec> ConsumerBuilder<K, V> {
    /// Takes over the properties, for
    /// [`Broker::consumer_from_kafka_properties`](crate::Broker::consumer_from_kafka_properties).
    pub(crate) fn kafka_properties(
        mut self,
        properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self> {
        let network = network::rows();
        let rows = || TABLE.iter().chain(&network);
        let settings = apply(rows, Settings::default(), properties)?;
        if let Some(group) = settings.group {
            self = self.group(group);
        }
        if let Some((start, out_of_range)) = settings.reset {
            self = self.start(start).on_out_of_range(out_of_range);
        }
        if let Some(records) = settings.max_records {
            self = self.max_records(records);
        }
        if let Some(bytes) = settings.max_bytes {
            self = self.max_bytes(bytes);
        }
        if let Some(bytes) = settings.min_bytes {
            self = self.min_bytes(bytes);
        }
        if let Some(instance_id) = settings.instance_id {
            self = self.instance_id(instance_id);
            // A member that is no instance leaves its group at once when it is gone, which is within any
            // time.
            if let Some(timeout) = settings.instance_timeout {
                self = self.instance_timeout(timeout);
            }
        }
        if let Some(interval) = settings.max_poll_interval {
            self = self.max_poll_interval(interval);
        }
        self = match settings.assignor {
            None => self,
            Some(InTheBox::Range) => self.assignor(RangeAssignor),
            Some(InTheBox::RoundRobin) => self.assignor(RoundRobinAssignor),
            Some(InTheBox::Sticky) => self.assignor(StickyAssignor),
        };
        Ok(self.auto_commit(settings.auto_commit))
    }
}

fn group(mut settings: Settings, value: &str) -> Result<Settings, String> {
    settings.group = (!value.is_empty()).then(|| value.to_owned());
    Ok(settings)
}

fn auto_offset_reset(settings: Settings, value: &str) -> Result<Settings, String> {
    let reset = match value {
        "earliest" => (Start::Earliest, OutOfRange::Earliest),
        "latest" => (Start::Latest, OutOfRange::Latest),
        "none" => (Start::Committed, OutOfRange::Error),
        _ => {
            return Err("possible is earliest, latest or none; for a time, use ConsumerBuilder::start".into());
        }
    };
    Ok(Settings { reset: Some(reset), ..settings })
}

fn auto_commit(settings: Settings, value: &str) -> Result<Settings, String> {
    let auto_commit = value.parse().map_err(|_| "it must be true or false".to_owned())?;
    Ok(Settings { auto_commit, ..settings })
}

fn max_records(settings: Settings, value: &str) -> Result<Settings, String> {
    Ok(Settings { max_records: Some(number(value, &(1..=i32::MAX as usize))?), ..settings })
}

fn max_bytes(settings: Settings, value: &str) -> Result<Settings, String> {
    Ok(Settings { max_bytes: Some(number(value, &(1..=i32::MAX as usize))?), ..settings })
}

/// Kafka's 0 and 1 both ask for no waiting.
fn min_bytes(settings: Settings, value: &str) -> Result<Settings, String> {
    let bytes = number(value, &(0..=i32::MAX as usize))?;
    Ok(Settings { min_bytes: (bytes > 1).then_some(bytes), ..settings })
}

fn instance_id(settings: Settings, value: &str) -> Result<Settings, String> {
    Ok(Settings { instance_id: (!value.is_empty()).then(|| value.to_owned()), ..settings })
}

fn instance_timeout(settings: Settings, value: &str) -> Result<Settings, String> {
    Ok(Settings { instance_timeout: Some(millis(value)?), ..settings })
}

fn max_poll_interval(settings: Settings, value: &str) -> Result<Settings, String> {
    Ok(Settings { max_poll_interval: Some(millis(value)?), ..settings })
}

fn millis(value: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(u64::from(number(value, &(1..=i32::MAX as u32))?)))
}

/// Kafka's class names; of several, the first one that all members have, which is the first here.
fn assignment_strategy(settings: Settings, value: &str) -> Result<Settings, String> {
    let first = value.split(',').next().unwrap_or_default().trim();
    let assignor = match first.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(first) {
        "RangeAssignor" => InTheBox::Range,
        "RoundRobinAssignor" => InTheBox::RoundRobin,
        "StickyAssignor" | "CooperativeStickyAssignor" => InTheBox::Sticky,
        _ => return Err("possible is a class of Kafka's; for your own, use ConsumerBuilder::assignor".into()),
    };
    Ok(Settings { assignor: Some(assignor), ..settings })
}

fn remote_assignor(settings: Settings, value: &str) -> Result<Settings, String> {
    let assignor = match value {
        "uniform" => InTheBox::Sticky,
        "range" => InTheBox::Range,
        _ => return Err("possible is uniform or range; for your own, use ConsumerBuilder::assignor".into()),
    };
    Ok(Settings { assignor: Some(assignor), ..settings })
}
