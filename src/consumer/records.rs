//! What a poll returns: runs of frames in the log's own memory, and a typed view of each record in them.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::{CodecError, DecodeError, RecordPart};
use crate::group::{Commit, Epoch, Place};
use crate::ids::TopicPartition;
use crate::log::Run;
use crate::record::codec::Codec;
use crate::record::frame::{Frame, Frames};
use crate::record::headers::Headers;
use crate::sync::Arc;

/// Consecutive records of one partition. Holds their memory, but neither log nor topic: records that are kept
/// do not keep a directory in use.
#[derive(Debug)]
pub(super) struct PartitionRun {
    topic: Arc<str>,
    place: Place,
    /// By which assignment it was polled.
    epoch: Epoch,
    /// Where the consumer was: there may be a gap before the first record.
    start: u64,
    run: Run,
}

impl PartitionRun {
    pub(super) fn new(topic: Arc<str>, place: Place, epoch: Epoch, start: u64, run: Run) -> Self {
        Self { topic, place, epoch, start, run }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn partition(&self) -> u32 {
        self.place.1
    }

    pub(super) fn records(&self) -> usize {
        self.run.records()
    }

    /// Bytes of the frames.
    pub(super) fn bytes(&self) -> usize {
        self.run.bytes()
    }

    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    pub(super) fn run_mut(&mut self) -> &mut Run {
        &mut self.run
    }

    /// The commit that says that a group has processed everything before `offset`.
    pub(super) fn commit(&self, offset: u64, metadata: &str) -> Commit {
        let (topic_id, partition) = self.place;
        Commit { topic_id, partition, offset, metadata: metadata.to_owned(), epoch: self.epoch }
    }

    pub(super) fn start_offset(&self) -> u64 {
        self.start
    }

    pub(super) fn end_offset(&self) -> u64 {
        self.run.end_offset()
    }
}

/// The records of one poll. They are read where they lie in the log, and stay valid for as long as this
/// value lives, whatever happens to the consumer, the topic or the broker; it can be sent to other threads.
/// Keeping it keeps their memory.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Records, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
///
/// let records: Records<String, u64> = consumer.poll(Duration::ZERO)?;
/// assert_eq!((records.len(), records.is_empty()), (2, false));
/// let adding = std::thread::spawn(move || -> ottla::Result<u64> {
///     let mut total = 0;
///     for record in &records {
///         total += record.value()?;
///     }
///     Ok(total)
/// });
/// assert_eq!(adding.join().expect("no panic")?, 250);
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Records<K, V> {
    runs: Vec<PartitionRun>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Records<K, V> {
    pub(super) fn new(runs: Vec<PartitionRun>) -> Self {
        Self { runs, codecs: PhantomData }
    }

    pub(super) fn runs(&self) -> &[PartitionRun] {
        &self.runs
    }

    /// How many records there are. Looks at none of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().map(PartitionRun::records).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The records, partition by partition, in the order of their offsets.
    #[must_use]
    pub fn iter(&self) -> RecordsIter<'_, K, V> {
        RecordsIter { runs: self.runs.iter(), current: None, codecs: PhantomData }
    }
}

impl<'a, K: Codec, V: Codec> IntoIterator for &'a Records<K, V> {
    type Item = Record<'a, K, V>;
    type IntoIter = RecordsIter<'a, K, V>;

    fn into_iter(self) -> RecordsIter<'a, K, V> {
        self.iter()
    }
}

impl<K, V> fmt::Debug for Records<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.runs.iter().map(|run| &run.run)).finish()
    }
}

/// Iterates over [`Records`].
///
/// ```
/// # use std::time::Duration;
/// # use ottla::{Broker, TopicConfig};
/// # let broker = Broker::in_memory();
/// # broker.open_topic("payments", TopicConfig::new())?;
/// # broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
/// # let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
/// let records = consumer.poll(Duration::ZERO)?;
/// let offsets: Vec<u64> = records.iter().map(|record| record.offset()).collect();
/// assert_eq!(offsets, [0, 1]);
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct RecordsIter<'a, K, V> {
    runs: std::slice::Iter<'a, PartitionRun>,
    current: Option<(&'a PartitionRun, Frames<'a>)>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<'a, K: Codec, V: Codec> Iterator for RecordsIter<'a, K, V> {
    type Item = Record<'a, K, V>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a, K, V>> {
        loop {
            if let Some((run, frames)) = &mut self.current {
                for frame in frames.by_ref() {
                    if frame.is_record() {
                        return Some(Record { run, frame, codecs: PhantomData });
                    }
                }
            }
            let run = self.runs.next()?;
            self.current = Some((run, run.run.frames()));
        }
    }
}

impl<K, V> fmt::Debug for RecordsIter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsIter").finish_non_exhaustive()
    }
}

/// A record, where it lies in the log. Copying it copies a reference;
/// [`to_owned_record`](Record::to_owned_record) copies the record.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Timestamp, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("readings", TopicConfig::new())?;
/// let sensor = broker.producer::<String, u32>("readings")?;
/// let moment = Timestamp::from_millis(1_593_093_960_000);
/// sensor.record(21).key("cellar").header("unit", "°C").timestamp(moment).send()?;
/// sensor.tombstone("attic").send()?;
///
/// let mut consumer = broker.consumer::<String, u32>().topic("readings").build()?;
/// let records = consumer.poll(Duration::ZERO)?;
/// let mut each = records.iter();
/// let reading = each.next().expect("the first");
/// assert_eq!((reading.topic(), reading.partition(), reading.offset()), ("readings", 0, 0));
/// assert_eq!((reading.key()?, reading.value()?, reading.timestamp()), ("cellar", 21, moment));
/// assert_eq!(reading.headers().get("unit").expect("it has one").value, Some("°C".as_bytes()));
/// assert_eq!(reading.value_bytes(), Some(&21_u32.to_be_bytes()[..]));
///
/// let gone = each.next().expect("the second");
/// assert!(gone.is_tombstone() && gone.value().is_err()); // read it as Option<u32> to get a None
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Record<'a, K, V> {
    run: &'a PartitionRun,
    frame: Frame<'a>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<'a, K: Codec, V: Codec> Record<'a, K, V> {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        &self.run.topic
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.run.partition()
    }

    /// The number of the record in its partition.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> u64 {
        self.frame.offset()
    }

    /// The time that the sender gave, or the time of the send.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.frame.timestamp())
    }

    /// The key, decoded.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not what `K` writes, or are null and `K` is not an `Option`.
    #[inline]
    pub fn key(&self) -> Result<K::View<'a>, DecodeError> {
        K::decode(self.frame.key()).map_err(|source| self.undecodable(RecordPart::Key, source))
    }

    /// The value, decoded. Decoding happens here, each time, and not in the poll: a record that cannot be
    /// decoded stops nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("readings", TopicConfig::new())?;
    /// broker.producer::<String, String>("readings")?.send("cellar", "21 °C")?; // not what is read below
    /// broker.producer::<String, u32>("readings")?.send("cellar", 22)?;
    ///
    /// let mut consumer = broker.consumer::<String, u32>().topic("readings").build()?;
    /// let records = consumer.poll(Duration::ZERO)?;
    /// let mut readings = Vec::new();
    /// for record in &records {
    ///     match record.value() {
    ///         Ok(reading) => readings.push(reading),
    ///         Err(error) => println!("left out: {error}"),
    ///     }
    /// }
    /// assert_eq!(readings, [22]);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`key`](Self::key).
    #[inline]
    pub fn value(&self) -> Result<V::View<'a>, DecodeError> {
        V::decode(self.frame.value()).map_err(|source| self.undecodable(RecordPart::Value, source))
    }

    /// The bytes of the key; `None` is a null.
    #[must_use]
    #[inline]
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.frame.key()
    }

    /// The bytes of the value; `None` is a null. They begin 8-byte aligned.
    #[must_use]
    #[inline]
    pub fn value_bytes(&self) -> Option<&'a [u8]> {
        self.frame.value()
    }

    /// Whether the value is null, which says that the key is gone.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.frame.value().is_none()
    }

    /// The headers, in the order in which they were given.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.frame.headers()
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned_record(self) -> OwnedRecord {
        self.owned_by(Bytes::copy_from_slice)
    }

    /// A copy that shares its bytes with the log: nothing is copied, and the piece of the log around the
    /// record (up to 256 KiB, or one batch) stays in memory for as long as one of the [`Bytes`] lives.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, Raw, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("photos", TopicConfig::new())?;
    /// broker.producer::<(), Raw>("photos")?.send((), &[0xff; 50_000])?;
    /// let mut consumer = broker.consumer::<(), Raw>().topic("photos").build()?;
    /// let photo = {
    ///     let records = consumer.poll(Duration::ZERO)?;
    ///     records.iter().next().expect("one").share()
    /// };
    /// let bytes = photo.value.expect("it is no tombstone"); // for a task that outlives the records
    /// assert_eq!(bytes.len(), 50_000);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn share(self) -> OwnedRecord {
        self.owned_by(|bytes| self.run.run.share(bytes))
    }

    fn owned_by(self, own: impl Fn(&[u8]) -> Bytes) -> OwnedRecord {
        let headers = self.headers();
        OwnedRecord {
            partition: self.topic_partition(),
            offset: self.offset(),
            timestamp: self.timestamp(),
            key: self.key_bytes().map(&own),
            value: self.value_bytes().map(&own),
            headers: headers.map(|header| (header.name.to_owned(), header.value.map(&own))).collect(),
        }
    }

    pub(super) fn run(&self) -> &'a PartitionRun {
        self.run
    }

    fn topic_partition(self) -> TopicPartition {
        TopicPartition::new(self.topic(), self.partition())
    }

    #[cold]
    fn undecodable(&self, part: RecordPart, source: CodecError) -> DecodeError {
        DecodeError { partition: self.topic_partition(), offset: self.offset(), part, source }
    }
}

impl<K, V> Clone for Record<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Record<'_, K, V> {}

impl<K, V> fmt::Debug for Record<'_, K, V> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.run.topic)
            .field("partition", &self.run.partition())
            .field("offset", &self.frame.offset())
            .finish_non_exhaustive()
    }
}

/// A record on its own, with its bytes: from [`Record::to_owned_record`], which copies, or [`Record::share`],
/// which does not.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, OwnedRecord, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, String>("payments")?.send("alice", "200 to bob")?;
/// let mut consumer = broker.consumer::<String, String>().topic("payments").build()?;
///
/// let kept: Vec<OwnedRecord> =
///     consumer.poll(Duration::ZERO)?.iter().map(|record| record.to_owned_record()).collect();
/// assert_eq!(kept[0].value.as_deref(), Some(&b"200 to bob"[..]));
///
/// consumer.seek_to_beginning();
/// let shared = consumer.poll(Duration::ZERO)?.iter().next().expect("one").share();
/// assert_eq!(shared, kept[0]);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedRecord {
    /// Where it lies.
    pub partition: TopicPartition,
    /// Its number in the partition.
    pub offset: u64,
    /// The time that the sender gave, or the time of the send.
    pub timestamp: Timestamp,
    /// The bytes of the key; `None` is a null.
    pub key: Option<Bytes>,
    /// The bytes of the value; `None` is a null.
    pub value: Option<Bytes>,
    /// The headers: names and values, of which `None` is a null.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl fmt::Debug for OwnedRecord {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRecord")
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
