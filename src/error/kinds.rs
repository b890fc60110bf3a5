//! The crate's `Result`; what is asked of an error, and how one is made of what the system says.

use std::io;
use std::path::Path;

use super::Error;

/// `std::result::Result` with this crate's [`Error`].
///
/// ```
/// fn pay(broker: &ottla::Broker) -> ottla::Result<u64> {
///     Ok(broker.producer::<String, u64>("payments")?.send("alice", 200)?.offset)
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the same call may succeed later without anything else being done: the disk was full, too much
    /// was on its way, or the system refused for the moment. Not so for
    /// [`PartlyAppended`](Error::PartlyAppended): the same call would append some records again.
    ///
    /// ```
    /// use ottla::{Broker, Error, Producer, TopicConfig};
    ///
    /// /// Whether the payment was taken; if not, it is to be offered again later.
    /// fn pay(producer: &Producer<String, u64>, amount: u64) -> ottla::Result<bool> {
    ///     match producer.send("alice", amount) {
    ///         Ok(_) => Ok(true),
    ///         Err(error) if error.is_retriable() => Ok(false), // the disk is full, or busy
    ///         Err(error) => Err(error),
    ///     }
    /// }
    ///
    /// let broker = Broker::in_memory();
    /// broker.open_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// assert!(pay(&producer, 200)?);
    /// broker.delete_topic("payments")?;
    /// assert!(matches!(pay(&producer, 10), Err(Error::TopicDeleted { topic }) if topic == "payments"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::StorageFull { .. } | Self::TopicFull { .. } | Self::Io { .. })
    }

    /// The same error for another who waits for the same append.
    pub(crate) fn duplicate(&self) -> Self {
        let copy = |source: &io::Error| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::StorageFull { operation, path, source } => {
                Self::StorageFull { operation, path: path.clone(), source: copy(source) }
            }
            Self::Io { operation, path, source } => {
                Self::Io { operation, path: path.clone(), source: copy(source) }
            }
            Self::TopicDeleted { topic } => Self::TopicDeleted { topic: topic.clone() },
            Self::PartitionFailed { partition, fault } => {
                Self::PartitionFailed { partition: partition.clone(), fault: fault.clone() }
            }
            Self::PartitionFenced { partition, path, position, first_offset, detail } => {
                Self::PartitionFenced {
                    partition: partition.clone(),
                    path: path.clone(),
                    position: *position,
                    first_offset: *first_offset,
                    detail: detail.clone(),
                }
            }
            Self::ReadOnly { operation } => Self::ReadOnly { operation },
            _ => Self::Closed,
        }
    }

    /// Names the operation and the file that an I/O error belongs to.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_path_buf();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::StorageFull { operation, path, source }
                }
                _ => Self::Io { operation, path, source },
            }
        }
    }
}

/// A group, or none, in a message.
pub(super) fn named_group(group: &str) -> String {
    if group.is_empty() { "a consumer without a group".to_owned() } else { format!("group {group:?}") }
}
