//! The groups of a broker: who joins which, who is too late, what is told of them. What happens to a group is
//! decided in [`membership`](super::membership), and what a member does is in [`member`](super::member).
//!
//! Locks, in the order in which they are taken: the list of groups, a group, the committed offsets. None is
//! held during I/O, nor while an assignor or a listener runs.

use std::time::Duration;

use super::assignor::Assignor;
use super::cell::{Cell, FormerMembership, Groups, NextLook, State, ring};
use super::commit::{Commit, Epoch};
use super::commit_record::Place;
use super::committed_offsets::{CommittedOffsets, StagedCommit};
use super::deadlines::Deadlines;
use super::link::Link;
use super::member::Membership;
use super::membership::{MemberId, SubscribedTopics};
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::log::WrittenBy;
use crate::sync::signal::Signal;
use crate::sync::{Arc, AtomicBool, AtomicU64, Instant, Mutex, Ordering};
use crate::trace;

/// The longest group name, in bytes; as for topics.
const MAX_GROUP_NAME_BYTES: usize = 249;

/// Knows the groups of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    groups: Mutex<Groups>,
    committed: CommittedOffsets,
    next_member: AtomicU64,
    pub(super) next_epoch: Mutex<Epoch>,
    closed: AtomicBool,
    pub(super) deadlines: Arc<Deadlines>,
}

/// Who wants to join a group.
pub(crate) struct JoinRequest<'a> {
    pub(crate) group: &'a str,
    /// For one that was evicted.
    pub(crate) former: Option<&'a FormerMembership>,
    pub(crate) topics: SubscribedTopics,
    pub(crate) assignor: Arc<dyn Assignor>,
    pub(crate) signal: Arc<Signal>,
    pub(crate) instance: Option<Instance>,
    pub(crate) max_poll_interval: Option<Duration>,
}

/// What makes a member a static one.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) id: Arc<str>,
    /// How long its partitions wait for it when it is gone.
    pub(crate) timeout: Duration,
}

/// What is known of a group that has members.
#[derive(Debug)]
pub(crate) struct GroupFacts {
    pub(crate) generation: u64,
    pub(crate) assignor: String,
    pub(crate) is_settled: bool,
    pub(crate) members: Vec<MemberFacts>,
    /// Its partitions, with their owners.
    pub(crate) partitions: Vec<(Place, Option<MemberId>)>,
}

#[derive(Debug)]
pub(crate) struct MemberFacts {
    pub(crate) id: MemberId,
    pub(crate) instance_id: Option<String>,
    pub(crate) is_present: bool,
    pub(crate) owned: Vec<TopicPartition>,
}

impl Coordinator {
    pub(crate) fn new(committed: CommittedOffsets) -> Self {
        Self {
            groups: Mutex::default(),
            committed,
            next_member: AtomicU64::new(1),
            next_epoch: Mutex::new(1),
            closed: AtomicBool::new(false),
            deadlines: Arc::default(),
        }
    }

    pub(crate) fn committed(&self) -> &CommittedOffsets {
        &self.committed
    }

    /// The broker is closed: for consumers that have no partition to tell them.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.deadlines.end();
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Joins a group; the membership ends when it is dropped, but for that of a static member.
    pub(crate) fn join(self: &Arc<Self>, request: JoinRequest<'_>) -> Result<Membership> {
        let is_limited = request.max_poll_interval.is_some() || request.instance.is_some();
        // Others' code: asked before a lock is taken.
        let assignor_name = request.assignor.name().to_owned();
        let membership = self.enter(request, assignor_name)?;
        if is_limited && let Err(failed) = self.deadlines.watch(self) {
            membership.leave_for_good();
            return Err(failed);
        }
        Ok(membership)
    }

    fn enter(self: &Arc<Self>, request: JoinRequest<'_>, assignor_name: String) -> Result<Membership> {
        let JoinRequest { group, former, topics, assignor, signal, instance, max_poll_interval } = request;
        let mut groups = self.groups.lock();
        let cell = match groups.active.get(group).cloned() {
            Some(cell) if cell.assignor_name != assignor_name => {
                let (group, existing) = (group.to_owned(), cell.assignor_name.clone());
                return Err(Error::AssignorMismatch { group, existing, requested: assignor_name });
            }
            Some(cell) => cell,
            None => {
                self.committed.note_members(group)?;
                groups.begin(group, assignor, assignor_name)
            }
        };
        let mut state = cell.state.lock();
        let instance_id = instance.as_ref().map(|instance| Arc::clone(&instance.id));
        let known = instance_id.as_deref().and_then(|instance_id| state.group.instance(instance_id));
        let id = match known.map(|(id, member)| (id, member.present)) {
            Some((_, true)) => {
                let instance_id = instance_id.as_deref().unwrap_or_default().to_owned();
                return Err(Error::InstanceInUse { group: group.to_owned(), instance_id });
            }
            Some((id, false)) => {
                state.absent.remove(&id);
                state.group.come_back(id, topics);
                id
            }
            None => {
                let id = self.next_member.fetch_add(1, Ordering::Relaxed);
                state.group.join(id, former.map(|former| former.id), instance_id, topics);
                id
            }
        };
        let link = Arc::new(Link::new(signal, max_poll_interval));
        state.links.insert(id, Arc::clone(&link));
        drop(state);
        Ok(Membership::new(Arc::clone(self), cell, id, link, instance))
    }

    /// What is known of a group; `None` if it has no members.
    pub(crate) fn facts(&self, group: &str) -> Option<GroupFacts> {
        let cell = Arc::clone(self.groups.lock().active.get(group)?);
        let state = cell.state.lock();
        let members = state.group.members().map(|(id, member)| MemberFacts {
            id,
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            is_present: member.present,
            owned: state.group.owned_by(id).collect(),
        });
        Some(GroupFacts {
            generation: state.group.generation(),
            assignor: cell.assignor_name.clone(),
            is_settled: state.group.is_settled(),
            members: members.collect(),
            partitions: state.group.partitions().collect(),
        })
    }

    /// The names of the groups that have members.
    pub(crate) fn active_groups(&self) -> Vec<String> {
        self.groups.lock().active.keys().cloned().collect()
    }

    /// Does something with what a group without members has committed.
    pub(crate) fn in_empty_group<T>(
        &self,
        group: &str,
        change: impl FnOnce(&CommittedOffsets) -> Result<T>,
    ) -> Result<T> {
        // Nobody joins meanwhile.
        let mut groups = self.groups.lock();
        if groups.active.contains_key(group) {
            return Err(Error::GroupInUse { group: group.to_owned() });
        }
        let changed = change(&self.committed)?;
        // It begins anew, whoever may come back.
        groups.left.remove(group);
        Ok(changed)
    }

    /// Waits no longer for a static member that is away; whether there is one.
    pub(crate) fn remove_instance(&self, group: &str, instance_id: &str) -> Result<bool> {
        let (cell, id) = {
            let groups = self.groups.lock();
            let Some(cell) = groups.active.get(group) else { return Ok(false) };
            let state = cell.state.lock();
            match state.group.instance(instance_id) {
                None => return Ok(false),
                Some((_, member)) if member.present => {
                    let (group, instance_id) = (group.to_owned(), instance_id.to_owned());
                    return Err(Error::InstanceInUse { group, instance_id });
                }
                Some((id, _)) => (Arc::clone(cell), id),
            }
        };
        self.leave(&cell, id, |state| state.absent.contains_key(&id));
        Ok(true)
    }

    /// Begins to commit for a consumer that is no member. What members read is theirs.
    pub(crate) fn stage_by_hand(
        &self,
        group: &str,
        commits: &[Commit],
        by: WrittenBy,
    ) -> Result<StagedCommit> {
        let groups = self.groups.lock();
        let state = groups.active.get(group).map(|cell| cell.state.lock());
        let is_read =
            |commit: &Commit| state.as_ref().is_some_and(|state| state.group.is_owned(commit.place()));
        if commits.iter().any(is_read) {
            return Err(Error::GroupInUse { group: group.to_owned() });
        }
        self.committed.stage(group, commits, by)
    }

    /// Takes the partitions of those who have not polled or come back in time. When to look again; `None` if
    /// there is nobody to look after.
    pub(super) fn evict_late(&self, now: Instant) -> Option<NextLook> {
        let cells: Vec<Arc<Cell>> = self.groups.lock().active.values().cloned().collect();
        let looks = cells.iter().filter_map(|cell| {
            let (late, next) = cell.state.lock().look_for_late(now);
            for id in late {
                self.leave(cell, id, |state| state.is_late(id, now));
            }
            next
        });
        looks.min()
    }

    /// Takes a member out of its group, if it is to go.
    pub(super) fn leave(&self, cell: &Arc<Cell>, id: MemberId, is_to_go: impl FnOnce(&State) -> bool) {
        let (others, is_evicted) = {
            let mut groups = self.groups.lock();
            let mut state = cell.state.lock();
            let is_evicted = state.links.get(&id).is_some_and(|link| link.is_evicted());
            if !is_to_go(&state) || !state.group.leave(id, is_evicted) {
                return;
            }
            state.links.remove(&id);
            state.absent.remove(&id);
            if state.group.is_empty() {
                groups.leave(cell);
                self.committed.note_empty(&cell.name);
            }
            (state.leave_news_for_all(), is_evicted)
        };
        ring(&others);
        if is_evicted {
            trace::evicted(&cell.name, id);
        }
        // One limit less.
        self.deadlines.look_again();
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.deadlines.look_again();
    }
}

/// Checks a group's name: 1 to 249 bytes of any text.
pub(crate) fn check_group_name(group: &str) -> Result<()> {
    check_name("group", group)
}

/// Checks an instance id: as a group's name.
pub(crate) fn check_instance_id(instance_id: &str) -> Result<()> {
    check_name("instance_id", instance_id)
}

fn check_name(setting: &'static str, name: &str) -> Result<()> {
    if (1..=MAX_GROUP_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::InvalidConfig {
        setting,
        value: format!("a name of {} bytes", name.len()),
        allowed: format!("1 to {MAX_GROUP_NAME_BYTES} bytes long"),
    })
}
