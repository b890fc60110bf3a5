//! Groups: who reads together under one name, and how far they have come.

mod committed_offsets;
mod coordinator;

pub(crate) use committed_offsets::{Commit, CommittedOffsets};
pub(crate) use coordinator::{Coordinator, Membership, check_group_name};
