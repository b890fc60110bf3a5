//! Groups: who reads together under one name, and how far they have come.

mod committed_offsets;
mod coordinator;

pub use committed_offsets::CommittedOffset;
pub(crate) use committed_offsets::{Commit, CommittedOffsets, StagedCommit, check_metadata};
pub(crate) use coordinator::{Coordinator, Membership, check_group_name};
