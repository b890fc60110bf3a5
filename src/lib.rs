//! <!-- The front page is the README, whose program is thereby compiled and run. -->
#![doc = include_str!("../README.md")]
//!
//! # Where to begin in this documentation
//!
//! [`Broker`] owns the topics and makes everything else; [`BrokerBuilder`] is for settings of your own.
//!
//! * **Send**: [`Producer::send`], and [`send_batch`](Producer::send_batch) for records that are to be there
//!   together. [`record`](Producer::record) and [`tombstone`](Producer::tombstone) begin a [`RecordBuilder`],
//!   for headers, a timestamp, a partition. All of them say where it went: [`RecordMetadata`].
//! * **Send without waiting**: [`Producer::enqueue`] hands out a [`Delivery`]: wait for it, await it, detach
//!   it.
//! * **Choose partitions**: [`KeyHash`] is the default; [`Sticky`], [`RoundRobin`] or your own
//!   [`Partitioner`] is set with a [`ProducerBuilder`].
//! * **Read**: [`ConsumerBuilder`] says which topics or partitions, from where ([`Start`], [`OutOfRange`])
//!   and how much at once; [`Consumer::poll`] returns [`Records`], and each [`Record`] decodes itself when
//!   asked. [`share`](Record::share) and [`to_owned_record`](Record::to_owned_record) make an [`OwnedRecord`]
//!   of it.
//! * **Go elsewhere**: [`Consumer::seek`] and those beside it, by offset and by time;
//!   [`pause`](Consumer::pause); [`lag`](Consumer::lag). A [`WakeHandle`] ends a poll from another thread.
//! * **Groups and commits**: [`ConsumerBuilder::group`]; [`Consumer::commit`],
//!   [`commit_through`](Consumer::commit_through), [`commit_offsets`](Consumer::commit_offsets),
//!   [`commit_with_metadata`](Consumer::commit_with_metadata), or
//!   [`auto_commit`](ConsumerBuilder::auto_commit); [`CommittedOffset`] is what is read back.
//!   [`Broker::reset_group`] puts a group elsewhere ([`ResetTo`]).
//!   [`Broker::commit_offsets`], [`delete_committed_offsets`](Broker::delete_committed_offsets),
//!   [`delete_group`](Broker::delete_group).
//! * **Several consumers in a group** divide the partitions among them: by [`StickyAssignor`],
//!   [`RangeAssignor`], [`RoundRobinAssignor`] or your own [`Assignor`], which makes an [`Assignment`] of a
//!   [`GroupSubscription`] ([`MemberSubscription`]). A [`RebalanceListener`] is told what comes and goes
//!   ([`Rebalance`], [`BoxError`]); [`max_poll_interval`](ConsumerBuilder::max_poll_interval) and
//!   [`instance_id`](ConsumerBuilder::instance_id) are for members that hang, or are restarted.
//!   [`Broker::groups`] and [`describe_group`](Broker::describe_group) show members, assignment and lag
//!   ([`GroupDescription`], [`GroupState`], [`GroupMember`], [`GroupPartition`]).
//! * **In async code**, on any runtime: [`Producer::send_async`] ([`SendFuture`]), [`Consumer::next_records`]
//!   ([`NextRecords`]), [`Consumer::stream`] ([`RecordsStream`]), [`Consumer::commit_async`]
//!   ([`CommitFuture`]); a [`Delivery`] is a future too.
//! * **The latest value of each key**: [`Broker::table`] ([`Table`], [`TableRow`], [`TableIter`]), and
//!   [`Table::changes`] ([`Changes`], [`Change`], [`NextChange`], [`ChangesStream`]).
//! * **Into a database, exactly once**: [`Sink`], on a [`TransactionalStore`] of yours ([`SinkPartition`],
//!   [`SinkProgress`]).
//! * **Keys and values**: [`Codec`] lists those in the box, and shows how to write one ([`Scratch`]).
//! * **Say what survives what**: [`Durability`], for the broker ([`BrokerBuilder::durability`]) and each
//!   topic ([`TopicConfig::durability`]); [`Producer::flush`]; [`Broker::close`].
//! * **When something is damaged or fails**: [`Broker::recovery_report`] ([`RecoveryReport`], [`Damage`],
//!   [`TornTail`]), [`RecoveryPolicy`], [`Broker::health`] ([`Health`]), [`Broker::verify`]
//!   ([`VerifyReport`]), [`BrokerBuilder::read_only`].
//! * **See what happens**: [`Broker::stats`] ([`Stats`], [`TopicStats`], [`PartitionStats`], [`Traffic`],
//!   [`UpkeepStats`], [`SyncStats`], [`RecoveryStats`]), printed as a table or as OpenMetrics text
//!   ([`Stats::to_openmetrics`]). The feature `metrics` hands the numbers to the crate of that name; the
//!   feature `tracing` tells of what happens now and then, in events of the target `ottla`.
//! * **Manage topics**: [`TopicConfig`]; [`Broker::create_topic`], [`open_topic`](Broker::open_topic),
//!   [`list_topics`](Broker::list_topics), [`describe_topic`](Broker::describe_topic) ([`TopicDescription`]),
//!   [`alter_topic`](Broker::alter_topic), [`increase_partitions`](Broker::increase_partitions),
//!   [`delete_records`](Broker::delete_records), [`delete_topic`](Broker::delete_topic).
//! * **Handle errors**: [`Error`], grouped by what you can do about it, and [`DecodeError`] for a record that
//!   cannot be read.
//! * **Test**: [`Clock`] and [`storage`] are where time and files come from; a [`ManualClock`], a
//!   [`MemoryStorage`](storage::MemoryStorage) or your own can take their places.
//! * **Coming from Kafka**: [`coming_from_kafka`] says what its names are called here, and
//!   [`TopicConfig::from_kafka_properties`], [`Broker::producer_from_kafka_properties`] and
//!   [`Broker::consumer_from_kafka_properties`] take its properties.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod broker;
mod clock;
mod config;
mod consumer;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod ids;
mod log;
mod producer;
mod record;
#[cfg(not(ottla_seeded_bugs))]
#[expect(dead_code, unreachable_pub, reason = "what it names is used in builds that plant bugs")]
mod seeded_bugs;
#[cfg(ottla_seeded_bugs)]
#[doc(hidden)]
pub mod seeded_bugs;
mod sink;
pub mod storage;
mod sync;
mod table;
mod topic;
mod trace;

/// Nothing but this page, which is `docs/kafka.md`.
#[doc = include_str!("../docs/kafka.md")]
pub mod coming_from_kafka {}

pub use broker::{
    Broker, BrokerBuilder, GroupDescription, GroupMember, GroupPartition, GroupState, Health, Housekeeping,
    LoweredCommit, PartitionDescription, PartitionFault, PartitionStats, PartitionVerdict, RecoveryReport,
    RecoveryStats, ResetTo, Stats, SyncStats, TopicDescription, TopicStats, Traffic, UpkeepStats,
    VerifyReport,
};
pub use clock::{Clock, ManualClock, PreciseClock, SystemClock, Timestamp};
pub use config::{Compaction, Durability, RecoveryPolicy, Retention, TopicConfig, WhenFull};
pub use consumer::{
    BoxError, CommitFuture, Consumer, ConsumerBuilder, NextRecords, OutOfRange, OwnedRecord, Rebalance,
    RebalanceListener, Record, Records, RecordsIter, RecordsStream, Start, WakeHandle,
};
pub use error::{CodecError, DecodeError, Error, RecordPart, Result};
pub use group::{
    Assignment, Assignor, CommittedOffset, GroupSubscription, MemberSubscription, RangeAssignor,
    RoundRobinAssignor, StickyAssignor,
};
pub use ids::{RecordMetadata, TopicPartition};
pub use log::{Damage, DamageAction, TornTail};
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
pub use sink::{Sink, SinkPartition, SinkProgress, TransactionalStore};
pub use table::{Change, Changes, ChangesStream, NextChange, Table, TableIter, TableRow};
