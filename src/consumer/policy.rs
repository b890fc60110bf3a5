//! What a consumer does where there is no position yet, and where there is none any more.

use crate::clock::Timestamp;
#[cfg(doc)]
use crate::error::Error;

/// Where a consumer begins in a partition for which its group has committed nothing.
///
/// A member of a group that takes a partition over from another one, before anything was committed, begins
/// where that one began, so that nothing is left out. A topic that was made while the group has members that
/// follow predicates, and that none of them has polled since, is read from its first record.
///
/// ```
/// use ottla::{Broker, Error, Start, Timestamp, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("readings", TopicConfig::new())?;
/// let sensor = broker.producer::<String, u32>("readings")?;
/// for millis in [1_000, 2_000, 3_000] {
///     sensor.record(21).key("cellar").timestamp(Timestamp::from_millis(millis)).send()?;
/// }
/// for (start, position) in [
///     (Start::Earliest, 0),
///     (Start::Latest, 3),
///     (Start::Timestamp(Timestamp::from_millis(2_000)), 1),
/// ] {
///     let consumer = broker.consumer::<String, u32>().topic("readings").start(start).build()?;
///     assert_eq!(consumer.position("readings", 0)?, position);
/// }
/// let strict = broker.consumer::<String, u32>().topic("readings").group("alarm").start(Start::Committed);
/// assert!(matches!(strict.build(), Err(Error::NoCommittedOffset { .. })));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the first record that is there. The default: nothing is missed.
    #[default]
    Earliest,
    /// With the records sent after the consumer was built.
    Latest,
    /// With the first record whose timestamp is this or later. A member of a group that is given a partition
    /// inside a poll may have to read files for it, also in a future.
    Timestamp(Timestamp),
    /// Nowhere: building the consumer fails with [`Error::NoCommittedOffset`].
    Committed,
}

/// What a poll does when the records at its position are gone, or when a seek went beyond the end.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Error, OutOfRange, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("bob", 50)])?;
/// let builder = || broker.consumer::<String, u64>().topic("payments");
/// let mut strict = builder().build()?;
/// let mut lenient = builder().on_out_of_range(OutOfRange::Earliest).build()?;
///
/// broker.delete_records("payments", 0, 1)?;
/// match strict.poll(Duration::ZERO) {
///     Err(Error::OffsetOutOfRange { requested, earliest, .. }) => assert_eq!((requested, earliest), (0, 1)),
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(lenient.poll(Duration::ZERO)?.iter().next().expect("bob's").offset(), 1);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutOfRange {
    /// Answers [`Error::OffsetOutOfRange`], until the consumer seeks. The default: a gap is never silent.
    #[default]
    Error,
    /// Goes on with the first record that is there.
    Earliest,
    /// Goes on at the end.
    Latest,
}
