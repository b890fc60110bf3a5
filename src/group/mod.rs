//! Groups: who reads together under one name, and how far they have come.

mod assignor;
mod committed_offsets;
mod coordinator;

pub use assignor::{
    Assignment, Assignor, GroupSubscription, MemberSubscription, RangeAssignor, RoundRobinAssignor,
    StickyAssignor,
};
pub use committed_offsets::CommittedOffset;
pub(crate) use committed_offsets::{Commit, CommittedOffsets, StagedCommit, check_metadata};
#[cfg(fuzzing)]
pub(crate) use committed_offsets::{decode as decode_commit, encode as encode_commit};
pub(crate) use coordinator::{Coordinator, Membership, check_group_name};
