//! Who is a member of which group, and the locks around that: members join, change hands of partitions,
//! commit and leave through here. What happens to a group is decided in [`membership`](super::membership).
//!
//! Locks, in the order in which they are taken: the list of groups, a group, the committed offsets. None is
//! held during I/O, nor while an assignor or a listener runs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::assignor::{self, Assignor};
use super::commit_record::Place;
use super::committed_offsets::{Commit, CommittedOffsets, Epoch, StagedCommit};
use super::deadlines::Deadlines;
use super::link::Link;
use super::membership::{Group, MemberId, SubscribedTopics, Taken};
use crate::error::{Error, Result};
use crate::ids::TopicPartition;
use crate::log::WrittenBy;
use crate::sync::signal::Signal;
use crate::sync::{Arc, AtomicBool, AtomicU64, Instant, Mutex, Ordering, Weak};

/// The longest group name, in bytes; as for topics.
const MAX_GROUP_NAME_BYTES: usize = 249;

/// Knows the groups of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    groups: Mutex<Groups>,
    committed: CommittedOffsets,
    next_member: AtomicU64,
    next_epoch: Mutex<Epoch>,
    closed: AtomicBool,
    deadlines: Arc<Deadlines>,
}

#[derive(Debug, Default)]
struct Groups {
    /// The groups that have members.
    active: BTreeMap<String, Arc<Cell>>,
    /// Those that have lost them, for as long as a member that was evicted may come back: so that it begins
    /// where it began, if it has committed nothing.
    left: BTreeMap<String, Weak<Cell>>,
}

impl Groups {
    fn leave(&mut self, cell: &Arc<Cell>) {
        self.active.remove(&cell.name);
        self.left.retain(|_, cell| cell.strong_count() > 0);
        self.left.insert(cell.name.clone(), Arc::downgrade(cell));
    }

    /// A group that is to have its first member.
    fn begin(&mut self, name: &str, assignor: Arc<dyn Assignor>, assignor_name: String) -> Arc<Cell> {
        let left = self.left.remove(name).and_then(|cell| cell.upgrade());
        let cell = left.filter(|cell| cell.assignor_name == assignor_name);
        let cell = cell.unwrap_or_else(|| {
            let (name, state) = (name.to_owned(), Mutex::default());
            Arc::new(Cell { name, assignor, assignor_name, state })
        });
        self.active.insert(name.to_owned(), Arc::clone(&cell));
        cell
    }
}

/// What a consumer that was evicted keeps: while it does, the group remembers where it was.
#[derive(Debug)]
pub(crate) struct FormerMembership {
    cell: Arc<Cell>,
    id: MemberId,
}

impl Drop for FormerMembership {
    fn drop(&mut self) {
        self.cell.state.lock().group.forget_evicted(self.id);
    }
}

/// A group, and what is said to its members.
struct Cell {
    name: String,
    assignor: Arc<dyn Assignor>,
    assignor_name: String,
    state: Mutex<State>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    group: Group,
    /// To the consumers of the members.
    links: BTreeMap<MemberId, Arc<Link>>,
    /// Static members without a consumer, and until when they are waited for.
    absent: BTreeMap<MemberId, Option<Instant>>,
    /// Somebody is making an assignment.
    is_assigning: bool,
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

/// What the deadlines ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NextLook {
    At(Instant),
    /// When something has changed.
    Whenever,
}

impl State {
    fn links_of(&self, members: impl IntoIterator<Item = MemberId>) -> Vec<Arc<Link>> {
        members.into_iter().filter_map(|id| self.links.get(&id).cloned()).collect()
    }

    fn all_links(&self) -> Vec<Arc<Link>> {
        self.links.values().cloned().collect()
    }

    /// Whether a member has polled too late, or has not come back in time.
    fn is_late(&self, id: MemberId, now: Instant) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_evicted())
            || self.absent.get(&id).is_some_and(|due| due.is_some_and(|due| due <= now))
    }

    /// Evicts those who do not poll. Who is late, and when to look again.
    fn look_for_late(&self, now: Instant) -> (Vec<MemberId>, Option<NextLook>) {
        let mut next: Option<NextLook> = None;
        let mut soonest = |look| next = Some(next.map_or(look, |next: NextLook| next.min(look)));
        self.links
            .values()
            .filter_map(|link| link.evict_if_late(now))
            .for_each(|due| soonest(NextLook::At(due)));
        self.absent.values().flatten().for_each(|&due| soonest(NextLook::At(due)));
        let late: Vec<MemberId> =
            self.group.members().map(|(id, _)| id).filter(|&id| self.is_late(id, now)).collect();
        if self.group.members().any(|(_, member)| member.instance_id.is_some()) {
            soonest(NextLook::Whenever);
        }
        (late, next)
    }
}

/// Tells consumers that there is something to do for them. It may run wakers, which are others' code: no lock
/// is held.
fn ring(links: &[Arc<Link>]) {
    links.iter().for_each(|link| link.ring());
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
        if is_limited {
            // If that fails, the member leaves again.
            self.deadlines.watch(self)?;
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
        Ok(Membership { coordinator: Arc::clone(self), cell, id, link, instance, is_kept: false })
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
    fn leave(&self, cell: &Arc<Cell>, id: MemberId, is_to_go: impl FnOnce(&State) -> bool) {
        let others = {
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
            state.all_links()
        };
        ring(&others);
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

/// The place of a member in its group, for its consumer.
#[derive(Debug)]
pub(crate) struct Membership {
    coordinator: Arc<Coordinator>,
    cell: Arc<Cell>,
    id: MemberId,
    link: Arc<Link>,
    instance: Option<Instance>,
    /// Of one that was evicted: a [`FormerMembership`] goes on.
    is_kept: bool,
}

impl Membership {
    pub(crate) fn id(&self) -> MemberId {
        self.id
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// What is kept of a membership that was evicted.
    pub(crate) fn into_former(mut self) -> FormerMembership {
        self.is_kept = true;
        FormerMembership { cell: Arc::clone(&self.cell), id: self.id }
    }

    /// The member subscribes otherwise.
    pub(crate) fn subscribe(&self, topics: SubscribedTopics) {
        let concerned = {
            let mut state = self.cell.state.lock();
            if state.group.subscribe(self.id, topics) { state.all_links() } else { Vec::new() }
        };
        ring(&concerned);
    }

    /// Makes a new assignment, if that is due and nobody else is at it; tells those whom it concerns.
    pub(crate) fn assign(&self) -> Result<()> {
        loop {
            let snapshot = {
                let mut state = self.cell.state.lock();
                if !state.group.is_stale() || state.is_assigning {
                    return Ok(());
                }
                state.is_assigning = true;
                state.group.snapshot()
            };
            let assigning = Assigning(&self.cell);
            let assignment = self.cell.assignor.assign(&snapshot.subscription);
            assignor::check(&snapshot.subscription, &assignment).map_err(|reason| {
                let (group, assignor) = (self.cell.name.clone(), self.cell.assignor_name.clone());
                Error::InvalidAssignment { group, assignor, reason }
            })?;
            let concerned = {
                let mut state = self.cell.state.lock();
                assigning.has_succeeded(&mut state);
                if !state.group.install(&snapshot, &assignment) {
                    continue;
                }
                state.links_of(state.group.concerned().collect::<Vec<_>>())
            };
            ring(&concerned);
            return Ok(());
        }
    }

    /// What this member is to give up.
    pub(crate) fn to_revoke(&self) -> Vec<Place> {
        self.cell.state.lock().group.to_revoke(self.id)
    }

    /// Gives up partitions, after everything that is to be committed of them was.
    pub(crate) fn release(&self, places: &[Place]) {
        let next = {
            let mut state = self.cell.state.lock();
            let next = state.group.release(self.id, places);
            state.links_of(next)
        };
        ring(&next);
    }

    /// Takes what is meant for this member and read by nobody.
    pub(crate) fn take(&self) -> Vec<Taken> {
        let mut state = self.cell.state.lock();
        let mut next_epoch = self.coordinator.next_epoch.lock();
        state.group.take(self.id, &mut next_epoch)
    }

    /// Reading a partition began at `offset`, without a committed offset.
    pub(crate) fn note_begun(&self, place: Place, offset: u64) {
        self.cell.state.lock().group.note_begun(place, offset);
    }

    /// Begins to commit, if this member still reads all of it by the same assignment; else it is said which
    /// partition it does not. The commit counts from now on.
    pub(crate) fn stage(&self, commits: &[Commit], by: WrittenBy) -> Result<Result<StagedCommit>, Place> {
        // Held until the commits have their place: who takes a partition over sees them.
        let state = self.cell.state.lock();
        match commits.iter().find(|commit| !state.group.owns(self.id, commit.place(), commit.epoch)) {
            Some(lost) => Err(lost.place()),
            None => Ok(self.coordinator.committed.stage(&self.cell.name, commits, by)),
        }
    }
}

/// Somebody is making an assignment. If that ends in an error or a panic, others try.
struct Assigning<'a>(&'a Cell);

impl Assigning<'_> {
    fn has_succeeded(self, state: &mut State) {
        state.is_assigning = false;
        std::mem::forget(self);
    }
}

impl Drop for Assigning<'_> {
    fn drop(&mut self) {
        let others = {
            let mut state = self.0.state.lock();
            state.is_assigning = false;
            state.all_links()
        };
        ring(&others);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Some(instance) = self.instance.as_ref().filter(|_| !self.link.is_evicted()) else {
            self.coordinator.leave(&self.cell, self.id, |_| true);
            if self.link.is_evicted() && !self.is_kept {
                self.cell.state.lock().group.forget_evicted(self.id);
            }
            return;
        };
        let next = {
            let mut state = self.cell.state.lock();
            state.links.remove(&self.id);
            state.absent.insert(self.id, Instant::now().checked_add(instance.timeout));
            let next = state.group.go_absent(self.id);
            state.links_of(next)
        };
        ring(&next);
        self.coordinator.deadlines.look_again();
    }
}
