//! A group behind its lock, with the ways to its members' consumers; and the list of all groups.

use std::collections::BTreeMap;
use std::fmt;

use super::assignor::Assignor;
use super::link::Link;
use super::membership::{Group, MemberId};
use crate::sync::{Arc, Instant, Mutex, Weak};

#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The groups that have members.
    pub(super) active: BTreeMap<String, Arc<Cell>>,
    /// Those that have lost them, for as long as a member that was evicted may come back: so that it begins
    /// where it began, if it has committed nothing.
    pub(super) left: BTreeMap<String, Weak<Cell>>,
}

impl Groups {
    pub(super) fn leave(&mut self, cell: &Arc<Cell>) {
        self.active.remove(&cell.name);
        self.left.retain(|_, cell| cell.strong_count() > 0);
        self.left.insert(cell.name.clone(), Arc::downgrade(cell));
    }

    /// A group that is to have its first member.
    pub(super) fn begin(
        &mut self,
        name: &str,
        assignor: Arc<dyn Assignor>,
        assignor_name: String,
    ) -> Arc<Cell> {
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
    pub(super) cell: Arc<Cell>,
    pub(super) id: MemberId,
}

impl Drop for FormerMembership {
    fn drop(&mut self) {
        self.cell.state.lock().group.forget_evicted(self.id);
    }
}

/// A group, and what is said to its members.
pub(super) struct Cell {
    pub(super) name: String,
    pub(super) assignor: Arc<dyn Assignor>,
    pub(super) assignor_name: String,
    pub(super) state: Mutex<State>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) group: Group,
    /// To the consumers of the members.
    pub(super) links: BTreeMap<MemberId, Arc<Link>>,
    /// Static members without a consumer, and until when they are waited for.
    pub(super) absent: BTreeMap<MemberId, Option<Instant>>,
    /// Somebody is making an assignment.
    pub(super) is_assigning: bool,
}

/// What the deadlines ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NextLook {
    At(Instant),
    /// When something has changed.
    Whenever,
}

impl State {
    /// Leaves news for members: whoever sees the group as it is now finds them. Those who sleep are to be
    /// [rung](ring) when the lock is let go.
    pub(super) fn leave_news(&self, members: impl IntoIterator<Item = MemberId>) -> Vec<Arc<Link>> {
        let links = members.into_iter().filter_map(|id| self.links.get(&id).cloned());
        links.inspect(|link| link.leave_news()).collect()
    }

    /// Leaves news for all members.
    pub(super) fn leave_news_for_all(&self) -> Vec<Arc<Link>> {
        self.leave_news(self.links.keys().copied())
    }

    /// Whether a member has polled too late, or has not come back in time.
    pub(super) fn is_late(&self, id: MemberId, now: Instant) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_evicted())
            || self.absent.get(&id).is_some_and(|due| due.is_some_and(|due| due <= now))
    }

    /// Evicts those who do not poll. Who is late, and when to look again.
    pub(super) fn look_for_late(&self, now: Instant) -> (Vec<MemberId>, Option<NextLook>) {
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

/// Wakes consumers for which there are news. It may run wakers, which are others' code: no lock is held.
pub(super) fn ring(links: &[Arc<Link>]) {
    links.iter().for_each(|link| link.ring());
}
