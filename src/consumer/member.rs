//! A consumer as a member of its group: partitions come and go inside its polls, and a member that did not
//! poll in time is told, and joins anew.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::Consumer;
use super::assigned::Assigned;
use super::beginning::{Beginning, Begun};
use super::rebalance::{BoxError, Rebalance, RebalanceListener};
use super::subscription::Subscription;
use crate::error::{Error, Result};
use crate::group::{
    Assignor, Coordinator, Evicted, FormerMembership, Instance, JoinRequest, Link, Membership, Place,
    SubscribedTopics,
};
use crate::ids::TopicPartition;
use crate::log::Files;
use crate::sync::signal::Signal;
use crate::sync::{Arc, Mutex};
use crate::trace;

/// What a member is, and how it joins.
pub(super) struct Member {
    pub(super) group: String,
    pub(super) assignor: Arc<dyn Assignor>,
    pub(super) instance: Option<Instance>,
    pub(super) max_poll_interval: Option<Duration>,
    /// In a lock only so that consumers can be shared.
    pub(super) listener: Option<Mutex<Box<dyn RebalanceListener>>>,
    /// `None` from an eviction to the next poll.
    membership: Option<Membership>,
    /// From an eviction until it has joined again.
    former: Option<FormerMembership>,
    /// A poll is under way.
    polls: bool,
    /// What is still to be told.
    untold: Option<Error>,
}

impl Member {
    pub(super) fn new(group: String, assignor: Arc<dyn Assignor>) -> Self {
        Self {
            group,
            assignor,
            instance: None,
            max_poll_interval: None,
            listener: None,
            membership: None,
            former: None,
            polls: false,
            untold: None,
        }
    }

    pub(super) fn join(
        &mut self,
        coordinator: &Arc<Coordinator>,
        topics: SubscribedTopics,
        signal: &Arc<Signal>,
    ) -> Result<()> {
        let joined = coordinator.join(JoinRequest {
            group: &self.group,
            former: self.former.as_ref(),
            topics,
            assignor: Arc::clone(&self.assignor),
            signal: Arc::clone(signal),
            instance: self.instance.clone(),
            max_poll_interval: self.max_poll_interval,
        })?;
        (self.membership, self.former, self.polls) = (Some(joined), None, true);
        Ok(())
    }

    pub(super) fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Whether there was news since the last call.
    #[inline]
    pub(super) fn take_news(&self) -> bool {
        self.membership.as_ref().is_some_and(|membership| membership.link().take_news())
    }

    fn evicted(&self) -> Error {
        let (group, max_poll_interval) = (self.group.clone(), self.max_poll_interval.unwrap_or_default());
        Error::MemberEvicted { group, max_poll_interval }
    }

    /// Tells the listener of partitions that are gone.
    fn tell_lost(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        match &self.listener {
            Some(listener) if !partitions.is_empty() => {
                listener.lock().lost(partitions).map_err(listener_failed)
            }
            _ => Ok(()),
        }
    }

    /// Tells the listener of partitions that are gone, while something else is being told.
    pub(super) fn note_lost(&mut self, partitions: &[TopicPartition]) {
        if let Err(failed) = self.tell_lost(partitions) {
            self.untold.get_or_insert(failed);
        }
    }

    /// Tells subscribers of partitions that come or go.
    fn trace(&self, event: fn(&str, u64, &dyn fmt::Display), partitions: &[TopicPartition]) {
        if let Some(membership) = self.membership.as_ref().filter(|_| !partitions.is_empty()) {
            event(&self.group, membership.id(), &trace::List(partitions));
        }
    }

    /// The first error of two; if there is another one, the next poll tells it.
    fn both(&mut self, first: Result<()>, second: Result<()>) -> Result<()> {
        match (first, second) {
            (Err(first), Err(second)) => {
                self.untold.get_or_insert(second);
                Err(first)
            }
            (first, second) => first.and(second),
        }
    }

    /// Tells the listener of partitions that come or go.
    fn tell(
        &mut self,
        partitions: Vec<TopicPartition>,
        subscription: &mut Subscription,
        coordinator: &Coordinator,
        call: impl FnOnce(&mut dyn RebalanceListener, &mut Rebalance<'_>) -> Result<(), BoxError>,
    ) -> Result<()> {
        let (Some(listener), Some(membership)) = (&self.listener, &self.membership) else {
            return Ok(());
        };
        if partitions.is_empty() {
            return Ok(());
        }
        let group = &self.group;
        let mut rebalance = Rebalance { partitions, subscription, coordinator, membership, group };
        call(listener.lock().as_mut(), &mut rebalance).map_err(listener_failed)
    }
}

/// A change of hands that is not finished. Unless it is, by an error or a panic of the user's code, the next
/// look tries again.
struct Unfinished(Option<Arc<Link>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.take().inspect(|link| link.try_again());
    }
}

fn listener_failed(source: BoxError) -> Error {
    Error::RebalanceListener { source }
}

impl<K, V> Consumer<K, V> {
    /// Joins the group of a consumer that is being built, and takes what is free.
    pub(super) fn join(&mut self) -> Result<()> {
        let (Some(following), Some(member)) = (&mut self.following, &mut self.member) else { return Ok(()) };
        member.join(&self.coordinator, following.look(), &self.signal)?;
        let outcome = if member.take_news() { self.rebalance() } else { Ok(()) };
        self.poll_ends();
        outcome
    }

    /// A poll begins, or goes on.
    #[inline]
    pub(super) fn poll_begins(&mut self) -> Result<()> {
        match &self.member {
            Some(member) if !member.polls => self.member_poll_begins(),
            _ => Ok(()),
        }
    }

    /// A poll has ended: what it returned is being worked on.
    #[inline]
    pub(super) fn poll_ends(&mut self) {
        if let Some(member) = &mut self.member
            && std::mem::take(&mut member.polls)
            && let Some(membership) = &member.membership
        {
            membership.link().poll_ends();
        }
    }

    fn member_poll_begins(&mut self) -> Result<()> {
        let Some(member) = &mut self.member else { return Ok(()) };
        if let Some(untold) = member.untold.take() {
            return Err(untold);
        }
        match &member.membership {
            Some(membership) => {
                if membership.link().poll_begins() == Err(Evicted) {
                    return self.lose_membership();
                }
            }
            None => return self.join_again(),
        }
        member.polls = true;
        Ok(())
    }

    /// This member was evicted: it has lost everything.
    #[cold]
    pub(super) fn lose_membership(&mut self) -> Result<()> {
        let lost = self.subscription.remove(|_| true);
        for assigned in &lost {
            assigned.log().waiters().unregister(&self.signal);
        }
        // What was polled and not committed comes again, to others.
        self.committing = None;
        self.polled = self.polled.take().map(|_| Vec::new());
        let Some(member) = &mut self.member else { return Ok(()) };
        let lost: Vec<TopicPartition> = lost.iter().map(Assigned::topic_partition).collect();
        member.trace(trace::lost, &lost);
        member.former = member.membership.take().map(Membership::into_former);
        let evicted = member.evicted();
        match member.tell_lost(&lost) {
            Ok(()) => Err(evicted),
            Err(failed) => {
                member.untold = Some(evicted);
                Err(failed)
            }
        }
    }

    fn join_again(&mut self) -> Result<()> {
        self.coordinator.check_open()?;
        if let (Some(following), Some(member)) = (&mut self.following, &mut self.member) {
            member.join(&self.coordinator, following.look(), &self.signal)?;
        }
        Ok(())
    }

    /// Topics or partitions came or went: the group is told.
    #[cold]
    pub(super) fn subscribe_anew(&mut self) {
        let (Some(following), Some(member)) = (&mut self.following, &self.member) else { return };
        let topics = following.look();
        if let Some(membership) = &member.membership {
            membership.subscribe(topics);
        }
    }

    /// There is news in the group: gives up what is meant for others, and takes what is meant for this
    /// member. What cannot be done is tried again with the next look.
    #[cold]
    pub(super) fn rebalance(&mut self) -> Result<()> {
        let membership = self.member.as_ref().and_then(Member::membership);
        let mut unfinished = Unfinished(membership.map(|membership| Arc::clone(membership.link())));
        self.try_to_rebalance()?;
        unfinished.0 = None;
        Ok(())
    }

    fn try_to_rebalance(&mut self) -> Result<()> {
        let Some(membership) = self.member.as_ref().and_then(Member::membership) else { return Ok(()) };
        membership.assign()?;
        let places = membership.to_revoke();
        let revoked = if places.is_empty() { Ok(()) } else { self.give_up(&places) };
        let taken = self.take_over();
        self.member.as_mut().map_or(Ok(()), |member| member.both(revoked, taken))
    }

    /// Gives partitions up. Those of deleted topics stay to be told of, see [`leave_deleted`].
    ///
    /// [`leave_deleted`]: Self::leave_deleted
    fn give_up(&mut self, places: &[Place]) -> Result<()> {
        let given_up: BTreeSet<Place> = places.iter().copied().collect();
        let is_going = |assigned: &Assigned| given_up.contains(&assigned.place());
        let (going, deleted): (Vec<&Assigned>, Vec<&Assigned>) =
            self.subscription.iter().filter(|assigned| is_going(assigned)).partition(|a| !a.is_deleted());
        let names =
            |partitions: Vec<&Assigned>| partitions.into_iter().map(Assigned::topic_partition).collect();
        let (going, deleted): (Vec<_>, Vec<_>) = (names(going), names(deleted));
        let Some(member) = &mut self.member else { return Ok(()) };
        member.trace(trace::revoked, &going);
        member.trace(trace::lost, &deleted);
        let told = member.tell(going, &mut self.subscription, &self.coordinator, |listener, rebalance| {
            listener.revoked(rebalance)
        });
        let told_lost = member.tell_lost(&deleted);
        let told = member.both(told, told_lost);
        for assigned in self.subscription.remove(|a| is_going(a) && !a.is_deleted()) {
            assigned.log().waiters().unregister(&self.signal);
        }
        self.subscription.iter_mut().filter(|assigned| is_going(assigned)).for_each(Assigned::set_lost);
        if let Some(membership) = &member.membership {
            membership.release(places);
        }
        told
    }

    fn take_over(&mut self) -> Result<()> {
        let Self { member: Some(member), following: Some(following), coordinator, .. } = self else {
            return Ok(());
        };
        let Some(membership) = &member.membership else { return Ok(()) };
        let beginning =
            Beginning { committed: coordinator.committed(), group: Some(&member.group), start: self.start };
        let mut begun = Vec::new();
        let mut outcome = Ok(());
        for taken in membership.take() {
            match following.topic(taken.place.0).map(|topic| beginning.as_member(Arc::clone(topic), &taken)) {
                Some(Ok(Begun { assigned, is_to_be_noted })) => {
                    if is_to_be_noted {
                        membership.note_begun(taken.place, assigned.position());
                    }
                    begun.push(assigned);
                }
                // Deleted: nothing of it was ever ours. The group hears of it with the catalog's next
                // version.
                None | Some(Err(Error::TopicDeleted { .. })) => {}
                Some(Err(error)) => {
                    membership.release(&[taken.place]);
                    outcome = outcome.and(Err(error));
                }
            }
        }
        let names: Vec<TopicPartition> = begun.iter().map(Assigned::topic_partition).collect();
        member.trace(trace::assigned, &names);
        for assigned in begun {
            assigned.log().waiters().register(&self.signal);
            self.subscription.add(assigned);
        }
        let told = member.tell(names, &mut self.subscription, coordinator, |listener, rebalance| {
            listener.assigned(rebalance)
        });
        member.both(outcome, told)
    }

    /// The consumer is being closed. Whether it still is a member, if it was one: then it can commit.
    pub(super) fn closing_begins(&mut self) -> Result<bool> {
        self.subscription.read_files(Files::Here);
        let Some(member) = &mut self.member else { return Ok(true) };
        if let Some(untold) = member.untold.take() {
            return Err(untold);
        }
        match &member.membership {
            None => Ok(false),
            Some(membership) if membership.link().poll_begins() == Err(Evicted) => {
                self.lose_membership().map(|()| false)
            }
            Some(_) => Ok(true),
        }
    }

    /// The consumer is being closed: its listener is told that all partitions go.
    pub(super) fn tell_closing(&mut self) -> Result<()> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let left = self.subscription.iter().filter(|assigned| !assigned.is_lost() && !assigned.is_deleted());
        let left = left.map(Assigned::topic_partition).collect();
        member.tell(left, &mut self.subscription, &self.coordinator, |listener, rebalance| {
            listener.revoked(rebalance)
        })
    }

    /// The id of this member in its group, as in [`Broker::describe_group`](crate::Broker::describe_group);
    /// `None` without a group, with partitions assigned by hand, and after an eviction until the next poll.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// let consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    /// let group = broker.describe_group("ledger")?;
    /// assert_eq!(consumer.member_id(), Some(group.members[0].member_id));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn member_id(&self) -> Option<u64> {
        Some(self.member.as_ref()?.membership()?.id())
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("group", &self.group).finish_non_exhaustive()
    }
}
