//! The broker: owns the topics, hands out producers and consumers, and on disk keeps the directory.

mod builder;
mod flusher;
mod group_description;
mod groups;
mod health;
mod housekeeper;
mod recovery_report;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
mod stats;
mod topic_description;
mod topics;
mod verify;

use std::fmt;
use std::path::Path;

pub use builder::BrokerBuilder;
pub use group_description::{GroupDescription, GroupMember, GroupPartition, GroupState};
pub use groups::ResetTo;
pub use health::{Health, PartitionFault};
pub use housekeeper::Housekeeping;
pub use recovery_report::{LoweredCommit, RecoveryReport};
pub use stats::{PartitionStats, RecoveryStats, Stats, SyncStats, TopicStats, Traffic, UpkeepStats};
pub use topic_description::{PartitionDescription, TopicDescription};
pub use verify::{PartitionVerdict, VerifyReport};

use self::housekeeper::{DEFAULT_INTERVAL, Housekeeper};
use crate::clock::Clock;
use crate::consumer::ConsumerBuilder;
use crate::error::{Error, Result};
use crate::group::{Coordinator, DEFAULT_RETENTION};
use crate::log::{FileReads, FlushQueue};
use crate::producer::{Producer, ProducerBuilder};
use crate::record::codec::Codec;
use crate::storage::DataDir;
use crate::sync::thread::JoinHandle;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, has_ended};
use crate::table::Table;
use crate::topic::catalog::Catalog;
use crate::trace;
use stats::Samples;

/// Event streaming inside your process: owns topics, in memory or in a directory.
///
/// Cloning is cheap, and clones are the same broker; it can be shared between threads.
///
/// # In memory and on disk
/// [`Broker::in_memory`] opens no file, and starts no thread unless a topic has a
/// [`Retention`](crate::Retention) or a [`Compaction`](crate::Compaction). [`Broker::open`] keeps topics in a
/// directory, which one broker owns at a time. It starts one thread, which writes what was enqueued and syncs
/// files, and a second one when a future first has to read a file. The interface is the same.
///
/// # Closing
/// Producers and consumers keep the directory in use after the last `Broker` is dropped, and go on working.
/// [`Broker::close`] ends it for all of them. Dropping everything without closing loses nothing that
/// [`Durability`](crate::Durability) promises, and frees the directory; but nobody hears of a record that was
/// enqueued, detached and could not be written.
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
    housekeeper: Arc<Housekeeper>,
    clock: Arc<dyn Clock>,
    recovery_report: RecoveryReport,
    /// What was counted when somebody last looked.
    samples: Mutex<Samples>,
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
        builder::in_memory(builder::system_clock(), DEFAULT_RETENTION, DEFAULT_INTERVAL)
    }

    /// A broker that keeps its topics in the directory `dir`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::DirectoryInUse`] if another broker, in this process or another, has it open;
    /// [`Error::Corrupt`] if its catalog is damaged or missing, and [`Error::UnsupportedFormat`] if it holds
    /// what a later version wrote (nothing is changed then); [`Error::Io`], [`Error::StorageFull`].
    ///
    /// Reads and verifies, before it returns, the records that are not known to have been synced: nothing
    /// after a [`close`](Self::close), and after a crash at most the last segment or two of each partition.
    /// What was found and mended is in [`Broker::recovery_report`]. A partition that is damaged takes no
    /// records, and does not keep the broker from opening: see [`RecoveryPolicy`](crate::RecoveryPolicy).
    ///
    /// ```
    /// use ottla::{Broker, Error, TopicConfig};
    ///
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let dir = dir.path();
    /// let broker = Broker::open(dir)?;
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// assert!(matches!(Broker::open(dir), Err(Error::DirectoryInUse { .. })));
    /// broker.close()?;
    ///
    /// let broker = Broker::open(dir)?; // in the next run of the program
    /// assert_eq!(broker.describe_topic("payments")?.partitions[0].end_offset, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder().data_dir(dir).open()
    }

    /// A broker with settings of your own: see [`BrokerBuilder`].
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::new()
    }

    /// What opening the directory found and mended. Empty in memory.
    ///
    /// ```
    /// # use ottla::Broker;
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// let broker = Broker::open(dir.path())?;
    /// if !broker.recovery_report().is_clean() {
    ///     println!("found at opening: {:?}", broker.recovery_report());
    /// }
    /// # assert!(broker.recovery_report().is_clean());
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.inner.recovery_report
    }

    /// A producer for a topic, with codecs for key and value.
    ///
    /// ```
    /// # use ottla::{Broker, Error, TopicConfig};
    /// let broker = Broker::in_memory();
    /// let missing = broker.producer::<String, u64>("payments");
    /// assert!(matches!(missing, Err(Error::TopicNotFound { .. })));
    ///
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?; // sends pairs of &str and u64
    /// assert_eq!(producer.topic(), "payments");
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::InvalidTopicName`] for `__consumer_offsets`, which is not for
    /// users; [`Error::TopicDeleted`], [`Error::Closed`].
    pub fn producer<K: Codec, V: Codec>(&self, topic: &str) -> Result<Producer<K, V>> {
        self.open_catalog()?;
        self.producer_builder(topic).build()
    }

    /// Begins a producer for a topic, with settings beyond those that [`producer`](Self::producer) has: see
    /// [`ProducerBuilder`].
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

    /// Begins a consumer, with codecs for key and value: see [`ConsumerBuilder`] for what it can be told.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    /// assert_eq!(consumer.poll(Duration::from_millis(100))?.len(), 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn consumer<K: Codec, V: Codec>(&self) -> ConsumerBuilder<K, V> {
        ConsumerBuilder::new(Arc::clone(&self.inner.catalog), Arc::clone(&self.inner.coordinator))
    }

    /// Begins a consumer with the settings of a Kafka consumer; what it reads is said on the builder. Each
    /// property is translated, or accepted with the values that ask for what is so anyway, or refused by its
    /// name; none is ignored. What is not named has the default of this crate, not Kafka's: it begins with
    /// the earliest record and does not commit by itself. Of a name that comes twice, the last one counts.
    ///
    /// Translated: `group.id`, `auto.offset.reset` (earliest, latest, none; it sets both
    /// [`start`](ConsumerBuilder::start) and [`on_out_of_range`](ConsumerBuilder::on_out_of_range), as in
    /// Kafka), `enable.auto.commit`, `max.poll.records`, `fetch.max.bytes`, `fetch.min.bytes`,
    /// `partition.assignment.strategy` and `group.remote.assignor` (the assignors in the box),
    /// `max.poll.interval.ms`, `group.instance.id`, `session.timeout.ms` (for such an instance). Accepted:
    /// `check.crcs` = true, `isolation.level` = read_uncommitted, and what else is so anyway.
    ///
    /// # Errors
    /// [`Error::InvalidProperty`] for a name that is not known, one that has no meaning in one process
    /// (`bootstrap.servers`), and a value that cannot be had.
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// let properties = [("group.id", "ledger"), ("max.poll.records", "500")];
    /// let builder = broker.consumer_from_kafka_properties::<String, u64>(properties)?;
    /// let consumer = builder.topic("payments").build()?;
    ///
    /// let refused = [("heartbeat.interval.ms", "3000")];
    /// let error = broker.consumer_from_kafka_properties::<String, u64>(refused).unwrap_err();
    /// assert!(error.to_string().contains("heartbeat.interval.ms"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn consumer_from_kafka_properties<K: Codec, V: Codec>(
        &self,
        properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<ConsumerBuilder<K, V>> {
        self.consumer().kafka_properties(properties)
    }

    /// The topic as a table: the latest value of each key, in memory. Reads the topic from its first record
    /// to its end before it returns: it blocks for as long as that takes, and holds a copy of each row. From
    /// then on the table follows the topic: see [`Table`].
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// let prices = broker.producer::<String, u32>("prices")?;
    /// prices.send_batch([("apple", 100), ("pear", 90), ("apple", 120)])?;
    /// let table = broker.table::<String, u32>("prices")?;
    /// assert_eq!(table.get("apple")?.expect("it has a price").value()?, 120);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TopicNotFound`]; [`Error::InvalidTopicName`] for `__consumer_offsets`, which is not for
    /// users; [`Error::TopicDeleted`], [`Error::Closed`]; [`Error::RecordsDamaged`], [`Error::Io`] if the
    /// topic cannot be read whole.
    pub fn table<K: Codec, V: Codec>(&self, topic: &str) -> Result<Table<K, V>> {
        Table::open(self.open_catalog()?, topic)
    }

    /// Ends the broker for all its handles: they answer [`Error::Closed`] from now on, and sleeping polls
    /// wake up with it. What was enqueued is written and every [`Delivery`](crate::Delivery) decided,
    /// everything is made to survive a power loss, the background threads are joined and the directory is
    /// free when this returns: it blocks for as long as the disk takes. Closing again does nothing.
    ///
    /// It commits nothing: close consumers with [`auto_commit`](ConsumerBuilder::auto_commit) before. Records
    /// that were polled stay valid.
    ///
    /// ```
    /// use ottla::{Broker, Error, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// let delivery = producer.enqueue("alice", 200)?;
    /// broker.close()?;
    /// assert_eq!(delivery.wait()?.offset, 0);
    /// assert!(matches!(producer.send("bob", 50), Err(Error::Closed)));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first of what went wrong; the broker is closed all the same. [`Error::PartitionFailed`] if the
    /// disk refused a sync, now or earlier, and what may be lost could not be written again;
    /// [`Error::StorageFull`] or [`Error::Io`] if a record whose delivery was detached could not be written.
    /// If it is only the checkpoint that could not be written, as the error says, nothing is lost: the next
    /// open reads more.
    pub fn close(&self) -> Result<()> {
        // One who comes second waits: the directory is to be free when `close` returns.
        let _one_at_a_time = self.inner.closing.lock();
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _span = self.inner.disk.as_ref().map(|disk| trace::closing(disk.data_dir.path()));
        self.inner.coordinator.close();
        self.inner.housekeeper.ask_to_end();
        // What the housekeeper has begun on a log ends with the log.
        let outcome = self.inner.catalog.close();
        self.inner.housekeeper.end();
        // The logs have woken those who read them; consumers without a partition wait for topics.
        self.inner.catalog.waiters().notify_all();
        if let Some(disk) = &self.inner.disk {
            disk.end();
        }
        trace::closed(outcome.as_ref().err().map(|error| error as &dyn fmt::Display));
        outcome
    }

    /// Does now, on this thread, what is otherwise done in the background: deletes the records that topics do
    /// not keep any more ([`Retention`](crate::Retention)), and compacts what is to be compacted
    /// ([`Compaction`](crate::Compaction)). Blocks for as long as the disk takes; senders and readers go on.
    ///
    /// A segment that is written to ends for its age with the next record, or at once if nobody uses it.
    ///
    /// What it returns is what this call did. What the background has done before is not in it; set
    /// [`housekeeping_interval`](BrokerBuilder::housekeeping_interval) to `Duration::MAX` to do all of it
    /// here.
    ///
    /// ```
    /// use ottla::{Broker, Retention, TopicConfig};
    ///
    /// let broker = Broker::in_memory();
    /// let config = TopicConfig::new().retention(Retention::until_read_by(["ledger"]));
    /// broker.open_topic("payments", config)?;
    /// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
    /// assert_eq!(broker.run_housekeeping()?.deleted_records, 0, "nobody has read it");
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first of what could not be done; what does not depend on it was done all the same, and the rest is
    /// tried again. [`Error::Io`], [`Error::StorageFull`], [`Error::PartitionFailed`]; [`Error::Closed`].
    pub fn run_housekeeping(&self) -> Result<Housekeeping> {
        Housekeeping::of(self.inner.housekeeper.run_round(self.open_catalog()?))
    }

    fn open_catalog(&self) -> Result<&Catalog> {
        if self.inner.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(&self.inner.catalog) }
    }
}

impl Disk {
    /// Threads that should run and do not.
    fn ended_threads(&self) -> Vec<&'static str> {
        // Once it is closed, there is no handle.
        let flusher = self.flusher.lock().as_ref().is_some_and(has_ended);
        let reader = self.reads.has_ended();
        [(flusher, flusher::THREAD_NAME), (reader, FileReads::THREAD_NAME)]
            .into_iter()
            .filter_map(|(has_ended, name)| has_ended.then_some(name))
            .collect()
    }

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
