//! x
#![deny(unsafe_code)]

mod broker;
mod clock;
mod config;
mod consumer;
mod error;
mod group;
mod ids;
mod log;
mod producer;
mod record;
pub mod storage;
mod sync;
mod topic;

pub use broker::{
    Broker, BrokerBuilder, LoweredCommit, PartitionDescription, RecoveryReport, TopicDescription,
};
pub use clock::{Clock, ManualClock, PreciseClock, SystemClock, Timestamp};
pub use config::{Durability, TopicConfig};
pub use consumer::{Consumer, ConsumerBuilder, OutOfRange, OwnedRecord, Record, Records, RecordsIter, Start};
pub use error::{CodecError, DecodeError, Error, RecordPart, Result};
pub use ids::{RecordMetadata, TopicPartition};
pub use log::TornTail;
pub use producer::{Producer, RecordBuilder};
#[cfg(feature = "json")]
pub use record::codec::Json;
pub use record::codec::{Codec, Raw};
pub use record::headers::{Header, Headers};
