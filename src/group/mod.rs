//! Groups: who reads together under one name, who of them reads what, and how far they have come.

mod assignor;
mod cell;
mod commit;
mod commit_record;
mod committed_offsets;
mod coordinator;
mod deadlines;
mod link;
mod member;
mod membership;
mod slot;

pub use assignor::{
    Assignment, Assignor, GroupSubscription, MemberSubscription, RangeAssignor, RoundRobinAssignor,
    StickyAssignor,
};
pub(crate) use cell::FormerMembership;
pub use commit::CommittedOffset;
pub(crate) use commit::{Commit, Epoch, check_metadata};
#[cfg(fuzzing)]
pub(crate) use commit_record::GroupRecord;
pub(crate) use commit_record::Place;
pub(crate) use committed_offsets::{CommittedOffsets, DEFAULT_RETENTION, StagedCommit};
pub(crate) use coordinator::{
    Coordinator, GroupFacts, Instance, JoinRequest, check_group_name, check_instance_id,
};
pub(crate) use link::{Evicted, Link};
pub(crate) use member::Membership;
pub(crate) use membership::{SubscribedTopic, SubscribedTopics, Taken};
