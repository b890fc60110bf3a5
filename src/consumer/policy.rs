//! What a consumer does where there is no position yet, and where there is none any more.

use crate::clock::Timestamp;
#[cfg(doc)]
use crate::error::Error;

/// Where a consumer begins in a partition for which its group has committed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the first record that is there. The default: nothing is missed.
    #[default]
    Earliest,
    /// With the records sent after the consumer was built.
    Latest,
    /// With the first record whose timestamp is this or later.
    Timestamp(Timestamp),
    /// Nowhere: building the consumer fails with [`Error::NoCommittedOffset`].
    Committed,
}

/// What a poll does when the records at its position are gone.
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
