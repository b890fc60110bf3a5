//! <!-- The front page is the README, whose program is thereby compiled and run. -->
#![doc = include_str!("../README.md")]
//!
//! # Where to begin in this documentation
//!
//! * [`Broker`] owns topics, in memory or in a directory; [`TopicConfig`] describes one.
//! * [`Producer`] sends records: [`send`](Producer::send), [`send_batch`](Producer::send_batch),
//!   [`record`](Producer::record) for headers and the rest.
//! * [`Consumer`] polls them, blocking or [as a future](Consumer::next_records), seeks, and commits for a
//!   group; [`ConsumerBuilder`] says what it reads and how much at once; [`Records`] and [`Record`] are what
//!   it returns.
//! * [`Codec`] turns keys and values into bytes and back.
//! * [`Error`] is all that can go wrong, grouped by what you can do about it; [`Durability`] what a record
//!   survives.
//! * [`Partitioner`] chooses the partition of a record; [`KeyHash`] is the default.
//! * [`Clock`] and [`storage`] are where time and files come from; tests can replace both.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

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
    Broker, BrokerBuilder, LoweredCommit, PartitionDescription, RecoveryReport, ResetTo, TopicDescription,
};
pub use clock::{Clock, ManualClock, PreciseClock, SystemClock, Timestamp};
pub use config::{Durability, TopicConfig};
pub use consumer::{
    CommitFuture, Consumer, ConsumerBuilder, NextRecords, OutOfRange, OwnedRecord, Record, Records,
    RecordsIter, RecordsStream, Start, WakeHandle,
};
pub use error::{CodecError, DecodeError, Error, RecordPart, Result};
pub use group::CommittedOffset;
pub use ids::{RecordMetadata, TopicPartition};
pub use log::TornTail;
pub use producer::{
    Delivery, IntoRecord, KeyHash, Partitioner, PartitionerInput, Producer, ProducerBuilder, RecordBuilder,
    RoundRobin, SendFuture, Sticky,
};
#[cfg(feature = "json")]
pub use record::codec::Json;
#[cfg(feature = "postcard")]
pub use record::codec::Postcard;
#[cfg(feature = "prost")]
pub use record::codec::Prost;
#[cfg(feature = "zerocopy")]
pub use record::codec::Zerocopy;
pub use record::codec::{Codec, Raw, Scratch};
pub use record::headers::{Header, Headers};
