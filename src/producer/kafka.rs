//! Kafka's producer properties.

use super::{KeyHash, ProducerBuilder, RoundRobin, Sticky};
use crate::config::kafka::Rule::{Only, Refuse, Translate};
use crate::config::kafka::{Row, apply, network, number};
use crate::error::Result;
use crate::record::codec::Codec;

const ROUND_ROBIN: &str = "org.apache.kafka.clients.producer.RoundRobinPartitioner";

const NOT_GATHERED: &str = "a send does not wait for others to gather";
const NO_TRANSACTIONS: &str = "transactions are not supported yet";
const NO_COMPRESSION: &str = "compression is not supported";
const CODECS: &str = "the codecs are the type parameters of the producer";
const NO_QUEUES: &str = "partitions have no queues whose lengths could be compared";
const NOT_REPEATED: &str = "a send is not repeated: it is for the caller to do that after an error";

/// What can be chosen by property.
#[derive(Clone, Copy, Default)]
struct Choice {
    round_robin: bool,
    ignore_keys: bool,
    sticky_bytes: Option<u64>,
}

const TABLE: &[Row<Choice>] = &[
    Row::new("partitioner.class", Translate(partitioner_class)),
    Row::new("partitioner.ignore.keys", Translate(ignore_keys)),
    Row::new("batch.size", Translate(batch_size)),
    Row::new(
        "acks",
        Only(&["all", "-1", "1"], "every send is acknowledged; to go on without that, enqueue and detach"),
    ),
    Row::new("enable.idempotence", Only(&["true", "false"], NOT_REPEATED)),
    Row::new("retries", Only(&["0"], NOT_REPEATED)),
    Row::new("linger.ms", Only(&["0"], NOT_GATHERED)),
    Row::new("compression.type", Only(&["none"], NO_COMPRESSION)),
    Row::new("compression.gzip.level", Refuse(NO_COMPRESSION)),
    Row::new("compression.lz4.level", Refuse(NO_COMPRESSION)),
    Row::new("compression.zstd.level", Refuse(NO_COMPRESSION)),
    Row::new("max.request.size", Refuse("the topic bounds its records: TopicConfig::max_record_bytes")),
    Row::new(
        "buffer.memory",
        Refuse("the bound is 64 MiB a partition, beyond which enqueue answers TopicFull"),
    ),
    Row::new("max.block.ms", Refuse("send waits for the disk and for nothing else, enqueue for nothing")),
    Row::new("delivery.timeout.ms", Refuse("enqueue and use Delivery::wait_timeout")),
    Row::new("max.in.flight.requests.per.connection", Refuse("there are no requests; the order is kept")),
    Row::new("partitioner.adaptive.partitioning.enable", Only(&["false"], NO_QUEUES)),
    Row::new("partitioner.availability.timeout.ms", Only(&["0"], NO_QUEUES)),
    Row::new("transactional.id", Refuse(NO_TRANSACTIONS)),
    Row::new("transaction.timeout.ms", Refuse(NO_TRANSACTIONS)),
    Row::new("transaction.two.phase.commit.enable", Only(&["false"], NO_TRANSACTIONS)),
    Row::new("key.serializer", Refuse(CODECS)),
    Row::new("value.serializer", Refuse(CODECS)),
];

impl<K: Codec, V: Codec> ProducerBuilder<K, V> {
    /// Takes over the properties, for
    /// [`Broker::producer_from_kafka_properties`](crate::Broker::producer_from_kafka_properties).
    pub(crate) fn kafka_properties(
        self,
        properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self> {
        let network = network::rows();
        let rows = || TABLE.iter().chain(&network);
        let Choice { round_robin, ignore_keys, sticky_bytes } = apply(rows, Choice::default(), properties)?;
        Ok(match (round_robin, ignore_keys, sticky_bytes) {
            (true, ..) => self.partitioner(RoundRobin::new()),
            (false, true, None) => self.partitioner(Sticky::new()),
            (false, true, Some(bytes)) => self.partitioner(Sticky::new().sticky_bytes(bytes)),
            (false, false, Some(bytes)) => self.partitioner(KeyHash::new().sticky_bytes(bytes)),
            (false, false, None) => self,
        })
    }
}

fn partitioner_class(choice: Choice, value: &str) -> Result<Choice, String> {
    match value {
        "" => Ok(Choice { round_robin: false, ..choice }),
        ROUND_ROBIN => Ok(Choice { round_robin: true, ..choice }),
        _ => Err(format!("possible is {ROUND_ROBIN}; set one of your own with ProducerBuilder::partitioner")),
    }
}

fn ignore_keys(choice: Choice, value: &str) -> Result<Choice, String> {
    let ignore_keys = value.parse().map_err(|_| "it must be true or false".to_owned())?;
    Ok(Choice { ignore_keys, ..choice })
}

fn batch_size(choice: Choice, value: &str) -> Result<Choice, String> {
    Ok(Choice { sticky_bytes: Some(number(value, &(0..=i32::MAX as u64))?), ..choice })
}
