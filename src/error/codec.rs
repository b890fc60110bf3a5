//! What can go wrong with a key or a value.

use crate::ids::TopicPartition;

/// The part of a record that a [`Codec`](crate::Codec) works on. Shown as `key` or `value`.
///
/// ```
/// use ottla::RecordPart;
/// assert_eq!((RecordPart::Key.to_string(), RecordPart::Value.to_string()), ("key".into(), "value".into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl std::fmt::Display for RecordPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// What a [`Codec`](crate::Codec) says when it cannot encode or decode.
///
/// ```
/// use ottla::CodecError;
/// let error = CodecError::new("a payment needs a positive amount");
/// assert_eq!(error.to_string(), "a payment needs a positive amount");
///
/// let from_std = "12a".parse::<u32>().map_err(CodecError::new);
/// assert!(from_std.is_err());
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(Box<dyn std::error::Error + Send + Sync>);

impl CodecError {
    /// Wraps a message or another error.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }

    /// The answer of a codec without `Option` to a null.
    ///
    /// ```
    /// use ottla::{Codec, CodecError};
    /// assert_eq!(u64::decode(None).unwrap_err().to_string(), CodecError::null().to_string());
    /// ```
    #[must_use]
    pub fn null() -> Self {
        Self::new("it is null, and its codec is not an Option")
    }
}

/// A key or value that its codec cannot read. Polling goes on: skip the record, or use its bytes. `?` makes
/// an [`Error::Decode`](crate::Error::Decode) of it.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, DecodeError, RecordPart, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, String>("payments")?.send("alice", "two hundred")?;
///
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
/// let records = consumer.poll(Duration::ZERO)?;
/// let record = records.iter().next().expect("one");
/// let error: DecodeError = record.value().unwrap_err();
/// assert_eq!((error.offset, error.part), (0, RecordPart::Value));
/// assert_eq!(record.value_bytes(), Some(&b"two hundred"[..]));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the {part} of the record at offset {offset} of {partition} cannot be decoded: {source}")]
#[non_exhaustive]
pub struct DecodeError {
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: u64,
    /// Which part of the record.
    pub part: RecordPart,
    /// What the codec said.
    pub source: CodecError,
}
