//! Groups: who reads together under one name, who of them reads what, and how far they have come.

mod assignor;
mod commit_record;
mod committed_offsets;
mod coordinator;
mod deadlines;
mod link;
mod membership;

pub use assignor::{
    Assignment, Assignor, GroupSubscription, MemberSubscription, RangeAssignor, RoundRobinAssignor,
    StickyAssignor,
};
#[cfg(fuzzing)]
pub(crate) use commit_record::GroupRecord;
pub(crate) use commit_record::Place;
pub use committed_offsets::CommittedOffset;
pub(crate) use committed_offsets::{
    Commit, CommittedOffsets, DEFAULT_RETENTION, Epoch, StagedCommit, check_metadata,
};
pub(crate) use coordinator::{
    Coordinator, FormerMembership, GroupFacts, Instance, JoinRequest, Membership, check_group_name,
    check_instance_id,
};
pub(crate) use link::{Evicted, Link};
pub(crate) use membership::{SubscribedTopic, SubscribedTopics, Taken};
