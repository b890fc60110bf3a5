//! A member of a group, as its consumer holds it: what it may do, and that it leaves when it is dropped.

use super::assignor;
use super::cell::{Cell, FormerMembership, State, ring};
use super::commit::Commit;
use super::commit_record::Place;
use super::committed_offsets::StagedCommit;
use super::coordinator::{Coordinator, Instance};
use super::link::Link;
use super::membership::{MemberId, SubscribedTopics, Taken};
use crate::error::{Error, Result};
use crate::log::WrittenBy;
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::{Arc, Instant};

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
    pub(super) fn new(
        coordinator: Arc<Coordinator>,
        cell: Arc<Cell>,
        id: MemberId,
        link: Arc<Link>,
        instance: Option<Instance>,
    ) -> Self {
        Self { coordinator, cell, id, link, instance, is_kept: false }
    }

    /// Leaves, also if it is a static member.
    pub(super) fn leave_for_good(mut self) {
        self.instance = None;
    }

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
            if state.group.subscribe(self.id, topics) { state.leave_news_for_all() } else { Vec::new() }
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
                state.leave_news(state.group.concerned().collect::<Vec<_>>())
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
            state.leave_news(next)
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
            Some(lost) if !is_planted(Bug::LateCommitTaken) => Err(lost.place()),
            _ => Ok(self.coordinator.committed().stage(&self.cell.name, commits, by)),
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
            state.leave_news_for_all()
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
            state.leave_news(next)
        };
        ring(&next);
        self.coordinator.deadlines.look_again();
    }
}
