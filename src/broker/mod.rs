//! The broker: owns the topics, hands out producers and consumers, and on disk keeps the directory.

mod builder;
mod flusher;
mod groups;
mod report;
mod topics;

use std::fmt;
use std::path::Path;
use std::thread::JoinHandle;

pub use builder::BrokerBuilder;
pub use groups::ResetTo;
pub use report::{LoweredCommit, PartitionDescription, RecoveryReport, TopicDescription};

use crate::clock::Clock;
use crate::consumer::ConsumerBuilder;
use crate::error::{Error, Result};
use crate::group::Coordinator;
use crate::log::{FileReads, FlushQueue};
use crate::producer::{Producer, ProducerBuilder};
use crate::record::codec::Codec;
use crate::storage::DataDir;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::topic::catalog::Catalog;

/// Event streaming inside your process: owns topics, in memory or in a directory.
///
/// Cloning is cheap, and clones are the same broker; it can be shared between threads.
///
/// # In memory and on disk
/// [`Broker::in_memory`] opens no file and starts no thread. [`Broker::open`] keeps topics in a directory,
/// which one broker owns at a time; it starts one thread, which syncs files in the background. The
/// interface is the same.
///
/// # Closing
/// Producers and consumers keep the directory in use after the last `Broker` is dropped, and go on working.
/// [`Broker::close`] ends it for all of them. Dropping everything without closing loses nothing that
/// [`Durability`](crate::Durability) promises, and frees the directory.
///
/// ```
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
/// broker.producer::<String, String>("payments")?.send("alice", "paid 200 to bob")?;
/// broker.close()?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Arc<Catalog>,
    coordinator: Arc<Coordinator>,
    clock: Arc<dyn Clock>,
    recovery_report: RecoveryReport,
    closed: AtomicBool,
    closing: Mutex<()>,
    /// `None` in memory.
    disk: Option<Disk>,
}

/// What a broker in a directory has to end.
struct Disk {
    data_dir: Arc<DataDir>,
    flush: FlushQueue,
    reads: Arc<FileReads>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

impl Broker {
    /// A broker that keeps everything in memory.
    #[must_use]
    pub fn in_memory() -> Self {
        builder::in_memory(builder::system_clock())
    }

    /// A broker that keeps its topics in the directory `dir`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::DirectoryInUse`] if another broker, in this process or another, has it open;
    /// [`Error::Corrupt`] and [`Error::UnsupportedFormat`] if it holds what this version cannot read
    /// (those files are left as they are); [`Error::Io`], [`Error::StorageFull`].
    ///
    /// What was found and mended is in [`Broker::recovery_report`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder().data_dir(dir).open()
    }

    /// A broker with settings of your own.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::new()
    }

    /// What opening the directory found and mended. Empty in memory.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.inner.recovery_report
    }

    /// A producer for a topic, with codecs for key and value.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::Closed`].
    pub fn producer<K: Codec, V: Codec>(&self, topic: &str) -> Result<Producer<K, V>> {
        self.open_catalog()?;
        self.producer_builder(topic).build()
    }

    /// Begins a producer for a topic, with settings beyond those that [`producer`](Self::producer) has.
    pub fn producer_builder<K: Codec, V: Codec>(&self, topic: &str) -> ProducerBuilder<K, V> {
        let Inner { catalog, clock, .. } = &*self.inner;
        ProducerBuilder::new(Arc::clone(catalog), Arc::clone(clock), topic)
    }

    /// Begins a producer with the settings of a Kafka producer. Each property is translated, or accepted with
    /// the values that ask for what is so anyway, or refused by its name; none is ignored. Of a name that
    /// comes twice, the last one counts.
    ///
    /// Translated: `partitioner.class` (Kafka's `RoundRobinPartitioner`), `partitioner.ignore.keys`,
    /// `batch.size` (how long records without a key stay with a partition). Accepted: `acks` = all, -1 or 1,
    /// `enable.idempotence`, `retries` = 0, `linger.ms` = 0, `compression.type` = none, and what else is
    /// switched off.
    ///
    /// # Errors
    /// [`Error::InvalidProperty`] for a name that is not known, one that has no meaning in one process
    /// (`bootstrap.servers`), and a value that cannot be had.
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// let properties = [("acks", "all"), ("partitioner.ignore.keys", "true")];
    /// let builder = broker.producer_from_kafka_properties::<String, u64>("payments", properties)?;
    /// builder.build()?.send("alice", 200)?;
    ///
    /// let refused = [("bootstrap.servers", "localhost:9092")];
    /// let error = broker.producer_from_kafka_properties::<String, u64>("payments", refused).unwrap_err();
    /// assert!(error.to_string().contains("bootstrap.servers"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn producer_from_kafka_properties<K: Codec, V: Codec>(
        &self,
        topic: &str,
        properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<ProducerBuilder<K, V>> {
        self.producer_builder(topic).kafka_properties(properties)
    }

    /// Begins a consumer, with codecs for key and value.
    pub fn consumer<K: Codec, V: Codec>(&self) -> ConsumerBuilder<K, V> {
        ConsumerBuilder::new(Arc::clone(&self.inner.catalog), Arc::clone(&self.inner.coordinator))
    }

    /// Ends the broker for all its handles: they answer [`Error::Closed`] from now on, and sleeping polls
    /// wake up with it. Everything sent is made to survive a power loss, the background thread is joined and
    /// the directory is free when this returns. Closing again does nothing.
    ///
    /// # Errors
    /// The first of what went wrong: [`Error::PartitionFailed`] if the disk refused a sync, now or earlier.
    /// The broker is closed all the same.
    pub fn close(&self) -> Result<()> {
        // One who comes second waits: the directory is to be free when `close` returns.
        let _one_at_a_time = self.inner.closing.lock();
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.inner.coordinator.close();
        let outcome = self.inner.catalog.close();
        // The logs have woken those who read them; consumers without a partition wait for topics.
        self.inner.catalog.waiters().notify_all();
        if let Some(disk) = &self.inner.disk {
            disk.end();
        }
        outcome
    }

    fn open_catalog(&self) -> Result<&Catalog> {
        if self.inner.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(&self.inner.catalog) }
    }
}

impl Disk {
    fn end(&self) {
        self.flush.stop();
        if let Some(flusher) = self.flusher.lock().take() {
            // If it panicked, it has said so on its way out; there is nothing left for it to do.
            drop(flusher.join());
        }
        self.reads.stop();
        self.data_dir.release();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("data_dir", &self.inner.disk.as_ref().map(|disk| disk.data_dir.path()))
            .field("topics", &self.list_topics())
            .finish_non_exhaustive()
    }
}
