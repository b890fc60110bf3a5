//! A row of a table: a copy of the latest record of a key, and the typed view of it that users get.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Range;

use crate::clock::Timestamp;
use crate::error::{CodecError, DecodeError, RecordPart};
use crate::ids::TopicPartition;
use crate::record::codec::Codec;
use crate::record::frame::Frame;
use crate::sync::Arc;

/// As values in the log are: some codecs read them where they lie.
const VALUE_ALIGNMENT: usize = 8;

/// The latest record of a key, or that there is none any more. It is a copy: a small row must not keep a
/// piece of the log in memory.
pub(super) struct Row {
    place: Arc<TopicPartition>,
    offset: u64,
    timestamp: i64,
    /// The value, aligned, then the key.
    bytes: Box<[u8]>,
    value_start: u32,
    /// `None`: the key was removed.
    value_len: Option<u32>,
}

impl Row {
    /// What a record with a key says of that key; `None` for one without.
    pub(super) fn of_record(place: &Arc<TopicPartition>, frame: Frame<'_>) -> Option<Self> {
        let key = frame.key()?;
        Some(Self::new(place, (frame.offset(), frame.timestamp()), key, frame.value()))
    }

    /// That the key of this row is gone.
    pub(super) fn removal(&self) -> Self {
        Self::new(&self.place, (self.offset, self.timestamp), self.key(), None)
    }

    pub(super) fn new(
        place: &Arc<TopicPartition>,
        (offset, timestamp): (u64, i64),
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Self {
        let place = Arc::clone(place);
        let Some(value) = value else {
            return Self { place, offset, timestamp, bytes: key.into(), value_start: 0, value_len: None };
        };
        // Allocators align more than they must, so nothing is lost as a rule.
        let mut bytes = vec![0; value.len() + key.len() + VALUE_ALIGNMENT - 1].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(VALUE_ALIGNMENT).min(VALUE_ALIGNMENT - 1);
        let end = start + value.len();
        bytes[start..end].copy_from_slice(value);
        bytes[end..end + key.len()].copy_from_slice(key);
        let (value_start, value_len) = (start as u32, Some(value.len() as u32));
        Self { place, offset, timestamp, bytes, value_start, value_len }
    }

    fn value_range(&self) -> Range<usize> {
        let start = self.value_start as usize;
        start..start + self.value_len.unwrap_or(0) as usize
    }

    pub(super) fn key(&self) -> &[u8] {
        let start = self.value_range().end;
        match self.value_len {
            Some(_) => {
                let padding = VALUE_ALIGNMENT - 1 - self.value_start as usize;
                &self.bytes[start..self.bytes.len() - padding]
            }
            None => &self.bytes,
        }
    }

    /// `None`: the key was removed.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value_len.map(|_| &self.bytes[self.value_range()])
    }

    pub(super) fn partition(&self) -> u32 {
        self.place.partition
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn decode_key<K: Codec>(&self) -> Result<K::View<'_>, DecodeError> {
        K::decode(Some(self.key())).map_err(|source| self.undecodable(RecordPart::Key, source))
    }

    fn decode_value<V: Codec>(&self) -> Result<V::View<'_>, DecodeError> {
        V::decode(self.value()).map_err(|source| self.undecodable(RecordPart::Value, source))
    }

    #[cold]
    fn undecodable(&self, part: RecordPart, source: CodecError) -> DecodeError {
        DecodeError { partition: (*self.place).clone(), offset: self.offset, part, source }
    }
}

impl fmt::Debug for Row {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("topic", &self.place.topic)
            .field("partition", &self.place.partition)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// A row that is looked up by its key.
#[derive(Debug)]
pub(super) struct ByKey(pub(super) Arc<Row>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

/// A row of a [`Table`](crate::Table): a key with its latest value, as they were at the moment of the call
/// that returned it. It owns its bytes; cloning it copies a reference.
///
/// ```
/// use ottla::{Broker, TableRow, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("prices", TopicConfig::new())?;
/// let prices = broker.producer::<String, u32>("prices")?;
/// prices.send_batch([("apple", 100), ("apple", 120)])?;
///
/// let row: TableRow<String, u32> = broker.table("prices")?.get("apple")?.expect("it has a price");
/// assert_eq!((row.key()?, row.value()?), ("apple", 120));
/// assert_eq!((row.key_bytes(), row.value_bytes()), (&b"apple"[..], &120_u32.to_be_bytes()[..]));
/// assert_eq!((row.partition(), row.offset()), (0, 1));
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct TableRow<K, V> {
    row: Arc<Row>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> TableRow<K, V> {
    pub(super) fn new(row: &Arc<Row>) -> Self {
        Self { row: Arc::clone(row), codecs: PhantomData }
    }

    /// The key, decoded.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not what `K` writes.
    pub fn key(&self) -> Result<K::View<'_>, DecodeError> {
        self.row.decode_key::<K>()
    }

    /// The value, decoded. Decoding happens here, each time: a value that cannot be decoded stops nothing
    /// else.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not what `V` writes.
    pub fn value(&self) -> Result<V::View<'_>, DecodeError> {
        self.row.decode_value::<V>()
    }

    /// The bytes of the key.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        self.row.key()
    }

    /// The bytes of the value. They begin 8-byte aligned.
    #[must_use]
    pub fn value_bytes(&self) -> &[u8] {
        self.row.value().unwrap_or_default()
    }

    /// The partition that the record lies in.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.row.partition()
    }

    /// The number of the record in its partition.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.row.offset()
    }

    /// The time that the sender gave, or the time of the send.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.row.timestamp)
    }
}

impl<K, V> Clone for TableRow<K, V> {
    fn clone(&self) -> Self {
        Self { row: Arc::clone(&self.row), codecs: PhantomData }
    }
}

impl<K, V> fmt::Debug for TableRow<K, V> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.row.fmt(f)
    }
}

/// What has become of a key of a [`Table`](crate::Table): it has another value, or is gone. See
/// [`Changes`](crate::Changes).
///
/// ```
/// # use std::time::Duration;
/// use ottla::{Broker, Change, TopicConfig};
///
/// # let broker = Broker::in_memory();
/// # broker.open_topic("prices", TopicConfig::new())?;
/// # let prices = broker.producer::<String, u32>("prices")?;
/// let table = broker.table::<String, u32>("prices")?;
/// let mut changes = table.changes()?;
/// prices.send_batch([("apple", 120), ("pear", 90)])?;
/// prices.tombstone("pear").send()?;
///
/// let apple: Change<String, u32> = changes.next(Duration::ZERO)?.expect("it has a price");
/// assert_eq!((apple.key()?, apple.value()?, apple.is_removal()), ("apple", Some(120), false));
/// let pear = changes.next(Duration::ZERO)?.expect("it has none any more");
/// assert_eq!((pear.key()?, pear.value()?, pear.is_removal()), ("pear", None, true));
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Change<K, V> {
    row: Arc<Row>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Change<K, V> {
    pub(super) fn new(row: Arc<Row>) -> Self {
        Self { row, codecs: PhantomData }
    }

    /// The key, decoded.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not what `K` writes.
    pub fn key(&self) -> Result<K::View<'_>, DecodeError> {
        self.row.decode_key::<K>()
    }

    /// The bytes of the key.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        self.row.key()
    }

    /// The value, decoded; `None` if the key is gone.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not what `V` writes.
    pub fn value(&self) -> Result<Option<V::View<'_>>, DecodeError> {
        if self.is_removal() { Ok(None) } else { self.row.decode_value::<V>().map(Some) }
    }

    /// The row; `None` if the key is gone.
    #[must_use]
    pub fn row(&self) -> Option<TableRow<K, V>> {
        (!self.is_removal()).then(|| TableRow::new(&self.row))
    }

    /// Whether the key is gone.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        self.row.value_len.is_none()
    }
}

impl<K, V> Clone for Change<K, V> {
    fn clone(&self) -> Self {
        Self { row: Arc::clone(&self.row), codecs: PhantomData }
    }
}

impl<K, V> fmt::Debug for Change<K, V> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_removal = self.row.value_len.is_none();
        f.debug_struct("Change").field("row", &self.row).field("is_removal", &is_removal).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_key_and_value_and_the_value_is_aligned() {
        let place = Arc::new(TopicPartition::new("t", 3));
        for (key, value) in [(0, 0), (1, 0), (0, 1), (7, 9), (300, 1_000)] {
            let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
            let row = Row::new(&place, (7, 8), &key, Some(&value));
            assert_eq!((row.key(), row.value()), (&key[..], Some(&value[..])));
            assert!(row.value().is_some_and(|value| value.as_ptr().align_offset(VALUE_ALIGNMENT) == 0));
            let removal = row.removal();
            assert_eq!((removal.key(), removal.value()), (&key[..], None));
            assert_eq!((removal.partition(), removal.offset()), (3, 7));
        }
    }
}
