//! What can go wrong, grouped by what the caller can do about it.

mod codec;
mod kinds;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use codec::{CodecError, DecodeError, RecordPart};
pub use kinds::Result;

use crate::ids::{RecordMetadata, TopicPartition};

/// Everything a call on Ottla can answer instead of what was asked: four groups, by what a caller can do.
///
/// * **mend the call**: from [`InvalidTopicName`](Error::InvalidTopicName) to [`NoGroup`](Error::NoGroup);
/// * **go on differently**: from [`OffsetOutOfRange`](Error::OffsetOutOfRange) to
///   [`PartlyAppended`](Error::PartlyAppended);
/// * **try again**: [`StorageFull`](Error::StorageFull), [`TopicFull`](Error::TopicFull),
///   [`Io`](Error::Io) (see [`is_retriable`](Error::is_retriable));
/// * **stop**: from [`OutcomeUnknown`](Error::OutcomeUnknown) to
///   [`UnsupportedFormat`](Error::UnsupportedFormat).
///
/// Unless a variant says otherwise, nothing was done. [`is_retriable`](Error::is_retriable) shows how to ask.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The topic name breaks Kafka's rules. Choose another.
    #[error("topic name {name:?} is not valid: {reason}")]
    InvalidTopicName {
        /// As given.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },

    /// A setting is outside its range.
    #[error("setting {setting} is {value}, but must be {allowed}")]
    InvalidConfig {
        /// The setting's name, as the builder's method is called.
        setting: &'static str,
        /// The value as given.
        value: String,
        /// What is allowed.
        allowed: String,
    },

    /// No topic has this name. [`Broker::open_topic`](crate::Broker::open_topic) makes it.
    #[error("topic {topic:?} does not exist; create it with open_topic or create_topic")]
    TopicNotFound {
        /// The name asked for.
        topic: String,
    },

    /// A topic of this name exists already. [`Broker::open_topic`](crate::Broker::open_topic) accepts that.
    #[error("topic {topic:?} exists already; open_topic accepts that")]
    TopicExists {
        /// The existing topic.
        topic: String,
    },

    /// The topic exists, and has one of its settings otherwise than was asked for.
    /// [`Broker::alter_topic`](crate::Broker::alter_topic) changes it, or
    /// [`Broker::increase_partitions`](crate::Broker::increase_partitions).
    #[error("topic {topic:?} exists with {setting} {existing}, not {requested}; alter it or do not name it")]
    TopicConfigMismatch {
        /// The topic.
        topic: String,
        /// The setting, as the method of [`TopicConfig`](crate::TopicConfig) is called.
        setting: &'static str,
        /// What the topic has.
        existing: String,
        /// What was asked for.
        requested: String,
    },

    /// A topic keeps the partitions it has: their records would be lost with them.
    #[error("topic {topic:?} has {existing} partitions and cannot have fewer, such as {requested}")]
    FewerPartitions {
        /// The topic.
        topic: String,
        /// How many partitions it has.
        existing: u32,
        /// How many were asked for.
        requested: u32,
    },

    /// A Kafka property that is not known, has no meaning here, or has a value that cannot be kept.
    #[error("Kafka property {name:?} = {value:?} cannot be used: {reason}")]
    InvalidProperty {
        /// The property's name as given.
        name: String,
        /// The value as given.
        value: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },

    /// The topic has no such partition.
    #[error("topic {topic:?} has no partition {partition}: its partitions are 0 to {}", partitions - 1)]
    InvalidPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
        /// How many partitions the topic has.
        partitions: u32,
    },

    /// The topic is [compacted](crate::Compaction), which goes by keys, and the record has none.
    #[error("topic {topic:?} is compacted by key, and a record has none")]
    KeyRequired {
        /// The topic.
        topic: String,
    },

    /// The record is larger than the topic's `max_record_bytes`.
    #[error("a record of {size} bytes is over max_record_bytes of topic {topic:?}, which is {max}")]
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// Bytes of key, value and headers together.
        size: usize,
        /// The topic's `max_record_bytes`.
        max: usize,
    },

    /// The records of one call for one partition are larger than the topic's `max_batch_bytes`.
    #[error("a batch of {size} bytes is over max_batch_bytes of topic {topic:?}, which is {max}")]
    BatchTooLarge {
        /// The topic.
        topic: String,
        /// Bytes the batch would take in the log.
        size: usize,
        /// The topic's `max_batch_bytes`.
        max: usize,
    },

    /// A header name over 65,535 bytes, or more than 65,535 headers.
    #[error("a record for topic {topic:?} has headers that do not fit: {reason}")]
    InvalidHeaders {
        /// The topic.
        topic: String,
        /// The limit that was passed.
        reason: &'static str,
    },

    /// A timestamp before the Unix epoch.
    #[error("timestamp {millis} is before the Unix epoch; allowed are 0 and more milliseconds")]
    InvalidTimestamp {
        /// The timestamp as given.
        millis: i64,
    },

    /// A codec could not turn a key or value into bytes.
    #[error("the {part} of a record for topic {topic:?} cannot be encoded: {source}")]
    Encode {
        /// The topic.
        topic: String,
        /// Which part of the record.
        part: RecordPart,
        /// What the codec said.
        source: CodecError,
    },

    /// A codec could not read a key or value. The record's bytes stay at hand
    /// ([`Record::value_bytes`](crate::Record::value_bytes)), and polling goes on.
    #[error(transparent)]
    Decode(#[from] DecodeError),

    /// The consumer does not read this partition.
    #[error("{partition} is not assigned to this consumer; assignment() tells what is")]
    NotAssigned {
        /// The partition.
        partition: TopicPartition,
    },

    /// A consumer was built without topics, or with both subscribed and hand-assigned ones.
    #[error(
        "a consumer needs topics (topic, topics, topics_matching) or partitions (assign); it has {found}"
    )]
    InvalidSubscription {
        /// What the builder was given.
        found: &'static str,
    },

    /// The members of a group assign partitions in one way, and this one wants another.
    #[error("group {group:?} assigns by {existing:?}, not by {requested:?}: its members must agree")]
    AssignorMismatch {
        /// The group.
        group: String,
        /// The name of the assignor that its members have.
        existing: String,
        /// The name of the one asked for.
        requested: String,
    },

    /// The assignor of a group made an assignment that cannot be. The members keep what they have, and each
    /// of their polls answers this until the assignor is right or the group changes.
    #[error("the assignor {assignor:?} of group {group:?} is wrong: {reason}")]
    InvalidAssignment {
        /// The group.
        group: String,
        /// The assignor's name.
        assignor: String,
        /// What is wrong.
        reason: String,
    },

    /// The metadata of a commit is too long.
    #[error("metadata of {size} bytes is too long for a commit; {max} are allowed")]
    CommitMetadataTooLarge {
        /// Bytes of the text.
        size: usize,
        /// How many are allowed.
        max: usize,
    },

    /// Committed offsets belong to a group, and this consumer has none. Name one with
    /// [`ConsumerBuilder::group`](crate::ConsumerBuilder::group).
    #[error("this consumer has no group to commit offsets for, or read them of; name one on its builder")]
    NoGroup,

    /// The position is outside what the partition holds: retention or a bound took the records, or a seek
    /// missed. Seek, or choose a policy: [`on_out_of_range`](crate::ConsumerBuilder::on_out_of_range).
    #[error("offset {requested} of {partition} is out of range: the log goes from {earliest} to {latest}")]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position asked for.
        requested: u64,
        /// The first offset the partition holds.
        earliest: u64,
        /// The next offset to be written; a valid position.
        latest: u64,
    },

    /// The records at the position are damaged, or their file is missing: what was read is not what was
    /// written. Nothing was changed. Other records are not affected: seek to `next_offset` to go on without
    /// those that are lost, or open the broker with another [`RecoveryPolicy`](crate::RecoveryPolicy).
    #[error(
        "records of {partition} are damaged from offset {first_offset} on: {} at byte {position}: \
        {detail}; {}",
        path.display(),
        next_offset.map_or_else(
            || "no good record follows".to_owned(),
            |next| format!("seek to offset {next} to go on without them")
        )
    )]
    RecordsDamaged {
        /// The partition.
        partition: TopicPartition,
        /// The file.
        path: PathBuf,
        /// The first damaged byte in it.
        position: u64,
        /// The first offset that cannot be read.
        first_offset: u64,
        /// The next one that can; `None` if no good record follows.
        next_offset: Option<u64>,
        /// What is wrong.
        detail: String,
    },

    /// A [`WakeHandle`](crate::WakeHandle) ended the poll. No record is lost: poll again to go on.
    #[error("the poll was ended by a wake handle")]
    Woken,

    /// [`Start::Committed`](crate::Start::Committed) was asked for, and the group has committed nothing here.
    #[error("{} has no committed offset for {partition} to begin with", kinds::named_group(group))]
    NoCommittedOffset {
        /// The group; empty for a consumer without one.
        group: String,
        /// The partition.
        partition: TopicPartition,
    },

    /// The group has members, whose offsets only they commit. Close or drop its consumers first. A static
    /// member that is gone is one until its `instance_timeout` is over or it is
    /// [removed](crate::Broker::remove_instance).
    #[error("group {group:?} has members, whose offsets only they commit: close its consumers first")]
    GroupInUse {
        /// The group.
        group: String,
    },

    /// No group of this name has members, or has committed something.
    #[error("there is no group {group:?}: it has no members, and has committed nothing")]
    GroupNotFound {
        /// The name.
        group: String,
    },

    /// The group has a member with this instance id whose consumer exists. Drop that one first, or name
    /// another id: each instance has its own.
    #[error("group {group:?} has a consumer with the instance id {instance_id:?} already")]
    InstanceInUse {
        /// The group.
        group: String,
        /// The instance id.
        instance_id: String,
    },

    /// Since the records were polled that are to be committed, the partition was taken from this member.
    /// Whoever reads it began after the last commit, so they come again: leave the commit out, and undo what
    /// must not be done twice.
    #[error("{partition} was taken from this member of group {group:?}, and is its new owner's to commit")]
    CommitFenced {
        /// The group.
        group: String,
        /// The partition.
        partition: TopicPartition,
    },

    /// The progress that the database of a [`Sink`](crate::Sink) holds is of another log: the topic was made
    /// anew. Remove the sink's rows, results and progress, to land this one, or open the former directory.
    #[error("{partition} is not the log of which group {group:?} has landed records; that was another one")]
    OtherLog {
        /// The partition.
        partition: TopicPartition,
        /// The group of the sink's consumer.
        group: String,
    },

    /// The store of a [`Sink`](crate::Sink) refuses progress though what it holds is what was expected. Mend
    /// its [`store_progress`](crate::TransactionalStore::store_progress).
    #[error("the sink's store refuses progress of {partition}, though nobody else has stored any")]
    ProgressRefused {
        /// The partition.
        partition: TopicPartition,
    },

    /// This member did not poll for longer than its
    /// [`max_poll_interval`](crate::ConsumerBuilder::max_poll_interval), and has lost its partitions. What it
    /// polled and did not commit comes again, to other members. Poll again to join anew.
    #[error(
        "group {group:?} evicted this member: no poll for {max_poll_interval:?}; poll again to join anew"
    )]
    MemberEvicted {
        /// The group.
        group: String,
        /// How long it may go without a poll.
        max_poll_interval: Duration,
    },

    /// The rebalance listener of this consumer returned an error. The change that it was told of stands.
    #[error("the rebalance listener failed: {source}")]
    RebalanceListener {
        /// What it returned.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Another broker, in this process or another, owns the directory.
    #[error("directory {} is in use by another broker (owner: {owner})", dir.display())]
    DirectoryInUse {
        /// The data directory.
        dir: PathBuf,
        /// What the owner wrote about itself, such as `pid 4711`.
        owner: String,
    },

    /// A call for several partitions failed after some of them had taken their records. Send only the
    /// missing ones again, if `source` lets you: `appended` has `None` in their place. (They may be there if
    /// `source` is [`OutcomeUnknown`](Error::OutcomeUnknown).)
    #[error(
        "{} of {} records were appended before: {source}",
        appended.iter().flatten().count(),
        appended.len()
    )]
    PartlyAppended {
        /// Where each record of the call is, in its order.
        appended: Vec<Option<RecordMetadata>>,
        /// What stopped the rest.
        source: Box<Error>,
    },

    /// The disk, or the quota, is full. What was acknowledged stays; sending works again, without a
    /// restart, when there is room.
    #[error("storage full: cannot {operation} {}: {source}", path.display())]
    StorageFull {
        /// What was being done.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The partition has no room; nothing was sent or enqueued, and it can be tried again. On disk: more than
    /// 64 MiB of it are enqueued and not yet acknowledged; wait for a delivery (`send` and `send_async` wait
    /// by themselves). In memory: the topic's [`memory_limit`](crate::TopicConfig::memory_limit) is reached,
    /// and it drops nothing ([`WhenFull`](crate::WhenFull)) before [`Retention`](crate::Retention) does.
    #[error("{partition} is full: {pending_bytes} bytes are on their way or held, and {max} may be")]
    TopicFull {
        /// The partition.
        partition: TopicPartition,
        /// Bytes enqueued and not acknowledged; in memory, bytes held.
        pending_bytes: usize,
        /// The bound; in memory, the partition's share of it.
        max: usize,
    },

    /// The operating system refused a file operation.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A sync failed after the record, or the commit, was written, or a write failed that could not be
    /// undone, and writing it to another file failed too: it may or may not be there later. The partition
    /// takes no records until that is settled: see [`PartitionFailed`](Error::PartitionFailed).
    #[error("it is not known whether offset {offset} of {partition} is kept: {fault}")]
    OutcomeUnknown {
        /// The partition.
        partition: TopicPartition,
        /// The offset that the record has if it is kept.
        offset: u64,
        /// What happened.
        fault: String,
    },

    /// The broker was closed. Open another.
    #[error("the broker is closed")]
    Closed,

    /// The topic was deleted while this handle was in use.
    #[error("topic {topic:?} was deleted")]
    TopicDeleted {
        /// The topic.
        topic: String,
    },

    /// A sync failed, or a write that could not be undone, and writing what may be lost of it to a new file
    /// failed too. The partition takes no records for now; reading it works. The broker tries again by
    /// itself, every [`sync_interval`](crate::TopicConfig::sync_interval), as long as it has the records in
    /// memory; opening it again recovers what is on disk.
    #[error("{partition} takes no records until what may be lost has been written again: {fault}")]
    PartitionFailed {
        /// The partition.
        partition: TopicPartition,
        /// The fault.
        fault: String,
    },

    /// When the broker was opened, bytes of the partition were damaged that had been on stable storage. They
    /// were left untouched: the partition takes no records, and serves all that are good. Open the broker
    /// with another [`RecoveryPolicy`](crate::RecoveryPolicy), or put back what was there.
    #[error(
        "{partition} takes no records, because {} is damaged at byte {position}, from offset {first_offset} \
        on: {detail}; to go on, open the broker with RecoveryPolicy::Skip or Truncate", path.display()
    )]
    PartitionFenced {
        /// The partition.
        partition: TopicPartition,
        /// The file.
        path: PathBuf,
        /// The first damaged byte in it.
        position: u64,
        /// The offset of the first record that is lost.
        first_offset: u64,
        /// What is wrong, and how it is known that these bytes were safe.
        detail: String,
    },

    /// The broker was opened [read-only](crate::BrokerBuilder::read_only), and changes nothing.
    #[error("cannot {operation}: the broker was opened read-only")]
    ReadOnly {
        /// What was to be done.
        operation: &'static str,
    },

    /// Bytes on disk are not what was written. They were left untouched.
    #[error("{} is damaged at byte {position}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        detail: String,
    },

    /// A file, or a record of the committed offsets, was written by a later version of this crate. It was
    /// left untouched.
    #[error("{} has format version {found}; this version reads up to {supported}", path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// The version found in it.
        found: u16,
        /// The highest version this crate reads.
        supported: u16,
    },
}
