//! How a producer is to choose partitions.

use std::fmt;
use std::marker::PhantomData;

use super::Producer;
use super::partitioner::{Chosen, Partitioner};
use crate::clock::Clock;
use crate::error::Result;
use crate::record::codec::Codec;
use crate::sync::Arc;
use crate::topic::catalog::Catalog;

/// A producer in the making: see [`Broker::producer_builder`](crate::Broker::producer_builder).
///
/// ```
/// use ottla::{Broker, RoundRobin, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
/// let payments = broker.producer_builder::<String, u64>("payments");
/// let producer = payments.partitioner(RoundRobin::new()).build()?;
/// let places = producer.send_batch([("alice", 200), ("alice", 10)])?;
/// assert_eq!((places[0].partition, places[1].partition), (0, 1));
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a producer is made by `build`"]
pub struct ProducerBuilder<K, V> {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    topic: String,
    partitioner: Chosen,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> ProducerBuilder<K, V> {
    pub(crate) fn new(catalog: Arc<Catalog>, clock: Arc<dyn Clock>, topic: &str) -> Self {
        let topic = topic.to_owned();
        Self { catalog, clock, topic, partitioner: Chosen::default(), codecs: PhantomData }
    }

    /// Chooses the partitions of records that are not given one. Default: [`KeyHash`](crate::KeyHash). Clones
    /// of the producer share it.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioner = Chosen::Custom(Arc::new(partitioner));
        self
    }

    /// The producer.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`](crate::Error::TopicNotFound),
    /// [`Error::InvalidTopicName`](crate::Error::InvalidTopicName) for `__consumer_offsets`,
    /// [`Error::TopicDeleted`](crate::Error::TopicDeleted), [`Error::Closed`](crate::Error::Closed).
    pub fn build(self) -> Result<Producer<K, V>> {
        let Self { catalog, clock, topic, partitioner, codecs } = self;
        let topic = catalog.user_topic(&topic)?;
        topic.check_open()?;
        Ok(Producer { topic, catalog, clock, partitioner, codecs })
    }
}

impl<K, V> fmt::Debug for ProducerBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("topic", &self.topic)
            .field("partitioner", &self.partitioner)
            .finish_non_exhaustive()
    }
}
