//! What a record consists of: as it is sent, and as it is found again.

use std::fmt;

use ottla::{Producer, Raw, Record, RecordBuilder, Timestamp};

/// A record as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp: i64,
}

impl fmt::Debug for Sent {
    /// Short: of the value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_deref().map(String::from_utf8_lossy);
        let (bytes, headers) = (self.value.as_ref().map(Vec::len), self.headers.len());
        write!(f, "key {key:?} bytes {bytes:?} headers {headers} timestamp {}", self.timestamp)
    }
}

impl Sent {
    pub(crate) fn of(record: &Record<'_, Raw, Raw>) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers = record.headers().map(|header| (header.name.to_owned(), owned(header.value)));
        Self {
            key: owned(record.key_bytes()),
            value: owned(record.value_bytes()),
            headers: headers.collect(),
            timestamp: record.timestamp().as_millis(),
        }
    }

    pub(crate) fn build<'a>(
        &'a self,
        producer: &'a Producer<Raw, Raw>,
        partition: u32,
    ) -> RecordBuilder<'a, Raw, Raw> {
        let mut record = match (&self.value, &self.key) {
            (Some(value), Some(key)) => producer.record(value).key(key),
            (Some(value), None) => producer.record(value),
            (None, key) => producer.tombstone(key.as_deref().unwrap_or_default()),
        };
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name, value),
                None => record.null_header(name),
            };
        }
        record.partition(partition).timestamp(Timestamp::from_millis(self.timestamp))
    }
}
