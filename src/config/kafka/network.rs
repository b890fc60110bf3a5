//! The properties that Kafka's producers and consumers share and that are about a network: none has a meaning
//! in one process.

use super::Row;
use super::Rule::{Only, Refuse};

const NO_NETWORK: &str = "there is no network between a client and its broker";
const NO_METRICS: &str = "it measures nothing that is reported";

/// The rows of a client's table that do not depend on what the client is.
pub(crate) const fn rows<C>() -> [Row<C>; 26] {
    [
        Row::new("bootstrap.servers", Refuse(NO_NETWORK)),
        Row::new("client.dns.lookup", Refuse(NO_NETWORK)),
        Row::new("client.id", Only(&[""], "nobody would be shown it")),
        Row::new("connections.max.idle.ms", Refuse(NO_NETWORK)),
        Row::new("enable.metrics.push", Only(&["false"], NO_METRICS)),
        Row::new("interceptor.classes", Only(&[""], "there are no interceptors")),
        Row::new("metadata.max.age.ms", Refuse("changes of topics are seen at once")),
        Row::new("metadata.max.idle.ms", Refuse("changes of topics are seen at once")),
        Row::new("metadata.recovery.*", Refuse(NO_NETWORK)),
        Row::new("metric.reporters", Refuse(NO_METRICS)),
        Row::new("metrics.num.samples", Refuse(NO_METRICS)),
        Row::new("metrics.recording.level", Refuse(NO_METRICS)),
        Row::new("metrics.sample.window.ms", Refuse(NO_METRICS)),
        Row::new("auto.include.jmx.reporter", Refuse(NO_METRICS)),
        Row::new("receive.buffer.bytes", Refuse(NO_NETWORK)),
        Row::new("send.buffer.bytes", Refuse(NO_NETWORK)),
        Row::new("reconnect.backoff.ms", Refuse(NO_NETWORK)),
        Row::new("reconnect.backoff.max.ms", Refuse(NO_NETWORK)),
        Row::new("retry.backoff.ms", Refuse(NO_NETWORK)),
        Row::new("retry.backoff.max.ms", Refuse(NO_NETWORK)),
        Row::new("request.timeout.ms", Refuse(NO_NETWORK)),
        Row::new("socket.connection.setup.timeout.ms", Refuse(NO_NETWORK)),
        Row::new("socket.connection.setup.timeout.max.ms", Refuse(NO_NETWORK)),
        Row::new("security.*", Refuse(NO_NETWORK)),
        Row::new("ssl.*", Refuse(NO_NETWORK)),
        Row::new("sasl.*", Refuse(NO_NETWORK)),
    ]
}
