//! The members of one group and their partitions: who reads what, and who is to. Pure: no lock, no time, no
//! callback.
//!
//! A partition has at most one **owner**, who reads it, and one member for whom it is **meant**, by the
//! latest assignment. Where these differ, the owner gives the partition up when it next polls, for then it
//! has finished with what it was given; after that the other one takes it, when it polls. Nobody waits for
//! anybody else, and what does not move is not interrupted.
//!
//! Who joins, leaves or subscribes otherwise makes the assignment **stale**. A new one is made outside, from
//! a [`Snapshot`], because assignors are others' code; and it is installed if nothing has changed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::assignor::{Assignment, GroupSubscription, MemberSubscription};
use super::commit::Epoch;
use super::commit_record::Place;
use crate::ids::TopicPartition;
use crate::seeded_bugs::{Bug, is_planted};
use crate::sync::Arc;

/// Tells the members of a group apart; given in the order of joining, and never again.
pub(crate) type MemberId = u64;

/// A topic that a member subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribedTopic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: u32,
    /// The first version of the catalog that has it.
    pub(crate) made_at: u64,
}

/// What a member subscribes to, by topic id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscribedTopics {
    pub(crate) topics: BTreeMap<u64, SubscribedTopic>,
    /// Of which version of the catalog that is true.
    pub(crate) catalog_version: u64,
    /// Whether topics that are made later may come to it.
    pub(crate) follows: bool,
}

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    /// What members subscribed to that were evicted and whose consumers still exist: they may come back, and
    /// then miss nothing that was sent meanwhile.
    evicted: BTreeMap<MemberId, Arc<SubscribedTopics>>,
    topics: BTreeMap<u64, GroupTopic>,
    /// Who reads a partition, and since which assignment of it.
    owners: BTreeMap<Place, (MemberId, Epoch)>,
    /// For whom a partition is meant.
    meant: BTreeMap<Place, MemberId>,
    /// Where reading a partition began, if that was not at a committed offset: so that whoever gets it before
    /// anything was committed begins there too.
    begun: BTreeMap<Place, u64>,
    /// Rises when members or their topics change.
    version: u64,
    /// The version from which the assignment was made.
    assigned_version: u64,
    /// Rises with each new assignment.
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<Arc<str>>,
    /// Whether its consumer exists. A static member stays for a while without.
    pub(super) present: bool,
    /// By name, for the assignor. Those who subscribe to the same topics share it.
    names: Arc<BTreeSet<String>>,
    topics: Arc<SubscribedTopics>,
    owned: BTreeSet<Place>,
    meant: BTreeSet<Place>,
}

/// A topic that somebody in the group subscribes to.
#[derive(Debug)]
struct GroupTopic {
    name: Arc<str>,
    partitions: u32,
    /// How many of them were there when the first member that subscribes to it was built. In the others,
    /// which came later, nothing may be missed.
    at_first: u32,
    /// The first version of the catalog that has it.
    made_at: u64,
}

/// What an assignor is asked, and what for.
#[derive(Debug)]
pub(super) struct Snapshot {
    version: u64,
    pub(super) subscription: GroupSubscription,
    /// Of the topics in it.
    ids: BTreeMap<String, u64>,
}

/// A partition that a member may begin to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) epoch: Epoch,
    /// Where a member before it began without a committed offset.
    pub(crate) begun: Option<u64>,
    /// Whether the partition was there before anybody in the group subscribed to its topic.
    pub(crate) at_first: bool,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.members.iter().map(|(&id, member)| (id, member))
    }

    /// The member of this instance.
    pub(super) fn instance(&self, instance_id: &str) -> Option<(MemberId, &Member)> {
        self.members().find(|(_, member)| member.instance_id.as_deref() == Some(instance_id))
    }

    pub(super) fn owned_by(&self, member: MemberId) -> impl Iterator<Item = TopicPartition> {
        let owned = self.members.get(&member).map(|member| &member.owned);
        owned.into_iter().flatten().filter_map(|&place| self.named(place))
    }

    /// All partitions of the group, with their owners.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (Place, Option<MemberId>)> {
        let all = self.topics.iter().flat_map(|(&id, topic)| (0..topic.partitions).map(move |n| (id, n)));
        all.map(|place| (place, self.owners.get(&place).map(|&(owner, _)| owner)))
    }

    fn named(&self, (topic_id, partition): Place) -> Option<TopicPartition> {
        Some(TopicPartition::new(&*self.topics.get(&topic_id)?.name, partition))
    }

    /// Takes in a member; `former` is who it was before it was evicted.
    pub(super) fn join(
        &mut self,
        id: MemberId,
        former: Option<MemberId>,
        instance_id: Option<Arc<str>>,
        topics: SubscribedTopics,
    ) {
        let topics = Arc::new(topics);
        let member = Member {
            instance_id,
            present: true,
            names: Arc::default(),
            topics: Arc::default(),
            owned: BTreeSet::new(),
            meant: BTreeSet::new(),
        };
        self.members.insert(id, member);
        self.set_topics(id, &topics, former.is_none());
        self.version += 1;
        if let Some(former) = former {
            self.forget_evicted(former);
        }
    }

    /// The consumer of a static member is there again. Its partitions are still meant for it.
    pub(super) fn come_back(&mut self, id: MemberId, topics: SubscribedTopics) {
        if let Some(member) = self.members.get_mut(&id) {
            member.present = true;
        }
        self.subscribe_as(id, topics, true);
    }

    /// A member subscribes otherwise; whether that makes a difference.
    pub(super) fn subscribe(&mut self, id: MemberId, topics: SubscribedTopics) -> bool {
        self.subscribe_as(id, topics, false)
    }

    fn subscribe_as(&mut self, id: MemberId, topics: SubscribedTopics, is_built: bool) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        if member.topics.topics == topics.topics {
            if let Some(member) = self.members.get_mut(&id) {
                member.topics = Arc::new(topics);
            }
            return false;
        }
        let partitions =
            |group: &Self| -> u64 { group.topics.values().map(|topic| u64::from(topic.partitions)).sum() };
        let (before, ids) = (partitions(self), member.topics.topics.keys().copied().collect::<BTreeSet<_>>());
        let same_topics = topics.topics.keys().copied().collect::<BTreeSet<_>>() == ids;
        self.set_topics(id, &Arc::new(topics), is_built);
        // Another member may have seen the same change before.
        let differs = !same_topics || partitions(self) != before;
        self.version += u64::from(differs);
        differs
    }

    fn set_topics(&mut self, id: MemberId, topics: &Arc<SubscribedTopics>, is_built: bool) {
        // Members that follow what is made later, and have not looked since then, were to miss nothing of it.
        let known = self.members.values().map(|member| &member.topics).chain(self.evicted.values());
        let oldest_look = known.filter(|topics| topics.follows).map(|topics| topics.catalog_version).min();
        for (&topic_id, topic) in &topics.topics {
            let is_new = !is_built || oldest_look.is_some_and(|looked_at| topic.made_at > looked_at);
            let known = self.topics.entry(topic_id).or_insert_with(|| GroupTopic {
                name: Arc::clone(&topic.name),
                partitions: 0,
                at_first: if is_new { 0 } else { topic.partitions },
                made_at: topic.made_at,
            });
            known.partitions = known.partitions.max(topic.partitions);
        }
        let same = self.members.values().find(|other| other.topics.topics.keys().eq(topics.topics.keys()));
        let names = same.map_or_else(
            || Arc::new(topics.topics.values().map(|topic| topic.name.to_string()).collect()),
            |same| Arc::clone(&same.names),
        );
        if let Some(member) = self.members.get_mut(&id) {
            (member.topics, member.names) = (Arc::clone(topics), names);
        }
        self.drop_topics();
    }

    /// Forgets the topics that nobody subscribes to any more.
    fn drop_topics(&mut self) {
        let members = &self.members;
        let evicted = self.evicted.values().flat_map(|topics| topics.topics.keys().copied());
        let mut kept: BTreeSet<u64> = evicted.collect();
        let mut seen: Vec<&Arc<BTreeSet<String>>> = Vec::new();
        for member in members.values() {
            if !seen.iter().any(|names| Arc::ptr_eq(names, &member.names)) {
                seen.push(&member.names);
                kept.extend(member.topics.topics.keys().copied());
            }
        }
        self.topics.retain(|id, _| kept.contains(id));
        let topics = &self.topics;
        self.begun.retain(|(topic_id, _), _| topics.contains_key(topic_id));
    }

    /// The consumer of a static member is gone: nobody reads its partitions, and they stay meant for it, but
    /// for those that it was to give up. Returns for whom these are meant.
    pub(super) fn go_absent(&mut self, id: MemberId) -> BTreeSet<MemberId> {
        let Some(member) = self.members.get_mut(&id) else { return BTreeSet::new() };
        member.present = false;
        let owned: Vec<Place> = member.owned.iter().copied().collect();
        self.release(id, &owned)
    }

    /// A member is gone; whether it was there. The consumer of one that was evicted may come back.
    pub(super) fn leave(&mut self, id: MemberId, is_evicted: bool) -> bool {
        let Some(member) = self.members.remove(&id) else { return false };
        if is_evicted {
            self.evicted.insert(id, Arc::clone(&member.topics));
        }
        for place in &member.owned {
            self.owners.remove(place);
        }
        for place in &member.meant {
            self.meant.remove(place);
        }
        self.drop_topics();
        self.version += 1;
        true
    }

    /// The consumer of a member that was evicted is gone, or a member again.
    pub(super) fn forget_evicted(&mut self, id: MemberId) {
        if self.evicted.remove(&id).is_some() {
            self.drop_topics();
        }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.version != self.assigned_version
    }

    /// Whether everybody reads what is meant for them.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_stale() && self.members.values().all(|member| member.owned == member.meant)
    }

    /// What a new assignment is made of.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut ids: BTreeMap<String, u64> = BTreeMap::new();
        for (&id, topic) in &self.topics {
            // Of topics of one name, all but the latest were deleted.
            let other = ids.get(&*topic.name).and_then(|other| self.topics.get(other));
            if other.is_none_or(|other| other.made_at < topic.made_at) {
                ids.insert(topic.name.to_string(), id);
            }
        }
        let topics =
            ids.iter().filter_map(|(name, id)| Some((name.clone(), self.topics.get(id)?.partitions)));
        let is_current: BTreeSet<u64> = ids.values().copied().collect();
        let members: Vec<MemberSubscription> =
            self.members.iter().map(|(&id, member)| self.subscription_of(id, member, &is_current)).collect();
        let subscription = GroupSubscription::new(topics, members);
        Snapshot { version: self.version, subscription, ids }
    }

    fn subscription_of(&self, id: MemberId, member: &Member, current: &BTreeSet<u64>) -> MemberSubscription {
        // What nobody reads yet is as good as this member's.
        let expected = member.meant.iter().filter(|place| !self.owners.contains_key(place));
        let claimed = member.owned.iter().chain(expected).filter(|(topic_id, _)| current.contains(topic_id));
        let mut subscription = MemberSubscription::new(id, [""; 0]);
        subscription.owned = claimed.filter_map(|&place| self.named(place)).collect();
        subscription.instance_id = member.instance_id.as_deref().map(str::to_owned);
        let topics = &member.topics.topics;
        subscription.topics = if topics.keys().all(|topic_id| current.contains(topic_id)) {
            Arc::clone(&member.names)
        } else {
            let topics = topics.iter().filter(|(topic_id, _)| current.contains(topic_id));
            Arc::new(topics.map(|(_, topic)| topic.name.to_string()).collect())
        };
        subscription
    }

    /// Lets an assignment count that was made from `snapshot` and has been checked, unless something has
    /// changed meanwhile; whether it counts.
    pub(super) fn install(&mut self, snapshot: &Snapshot, assignment: &Assignment) -> bool {
        if self.version != snapshot.version {
            return false;
        }
        self.meant.clear();
        for (&id, member) in &mut self.members {
            let assigned = assignment.get(&id).into_iter().flatten();
            let places = assigned.filter_map(|assigned| {
                let topic_id = *snapshot.ids.get(&assigned.topic)?;
                Some((topic_id, assigned.partition))
            });
            member.meant = places.collect();
            self.meant.extend(member.meant.iter().map(|&place| (place, id)));
        }
        self.assigned_version = self.version;
        self.generation += 1;
        true
    }

    /// The members that have something to give up or to take.
    pub(super) fn concerned(&self) -> impl Iterator<Item = MemberId> {
        let concerned = self.members().filter(|(_, member)| {
            let is_free = |place: &&Place| !self.owners.contains_key(place);
            member.owned.difference(&member.meant).next().is_some()
                || member.meant.iter().any(|p| is_free(&p))
        });
        concerned.map(|(id, _)| id)
    }

    /// What a member is to give up.
    pub(super) fn to_revoke(&self, id: MemberId) -> Vec<Place> {
        let Some(member) = self.members.get(&id) else { return Vec::new() };
        member.owned.difference(&member.meant).copied().collect()
    }

    /// A member gives up partitions. Returns for whom they are meant.
    pub(super) fn release(&mut self, id: MemberId, places: &[Place]) -> BTreeSet<MemberId> {
        let Some(member) = self.members.get_mut(&id) else { return BTreeSet::new() };
        let mut next = BTreeSet::new();
        for place in places {
            if member.owned.remove(place) {
                self.owners.remove(place);
                next.extend(self.meant.get(place));
            }
        }
        next
    }

    /// A member takes what is meant for it and read by nobody. `epoch` is the first of as many as needed.
    pub(super) fn take(&mut self, id: MemberId, next_epoch: &mut Epoch) -> Vec<Taken> {
        let Some(member) = self.members.get_mut(&id) else { return Vec::new() };
        let mut taken = Vec::new();
        for &place in &member.meant {
            let (topic_id, partition) = place;
            let Some(topic) = self.topics.get(&topic_id) else { continue };
            let is_mine = member.owned.contains(&place);
            if self.owners.contains_key(&place) && (is_mine || !is_planted(Bug::TakenBeforeReleased)) {
                continue;
            }
            let epoch = *next_epoch;
            *next_epoch += 1;
            self.owners.insert(place, (id, epoch));
            member.owned.insert(place);
            let begun = self.begun.get(&place).copied();
            taken.push(Taken { place, epoch, begun, at_first: partition < topic.at_first });
        }
        taken
    }

    /// A member began to read a partition, without a committed offset, at `offset`.
    pub(super) fn note_begun(&mut self, place: Place, offset: u64) {
        if self.topics.contains_key(&place.0) {
            self.begun.entry(place).or_insert(offset);
        }
    }

    /// Whether a member reads a partition, by that assignment.
    pub(super) fn owns(&self, id: MemberId, place: Place, epoch: Epoch) -> bool {
        self.owners.get(&place) == Some(&(id, epoch))
    }

    /// Whether anybody reads a partition.
    pub(super) fn is_owned(&self, place: Place) -> bool {
        self.owners.contains_key(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::assignor::{Assignor, StickyAssignor};
    use super::*;

    const TOPIC: u64 = 9;

    fn topics(partitions: u32) -> SubscribedTopics {
        let topic = SubscribedTopic { name: Arc::from("t"), partitions, made_at: 0 };
        let (topics, catalog_version) = (BTreeMap::from([(TOPIC, topic)]), u64::from(partitions));
        SubscribedTopics { topics, catalog_version, follows: false }
    }

    fn assign(group: &mut Group) {
        if group.is_stale() {
            let snapshot = group.snapshot();
            let assignment = StickyAssignor.assign(&snapshot.subscription);
            assert!(group.install(&snapshot, &assignment), "nothing has changed meanwhile");
        }
    }

    /// What a member does in a poll; how many partitions it gave up and took.
    fn poll(group: &mut Group, id: MemberId, next_epoch: &mut Epoch) -> (usize, usize) {
        assign(group);
        let revoked = group.to_revoke(id);
        group.release(id, &revoked);
        (revoked.len(), group.take(id, next_epoch).len())
    }

    fn check(group: &Group) {
        for (&place, &(owner, epoch)) in &group.owners {
            assert!(group.members[&owner].owned.contains(&place) && group.owns(owner, place, epoch));
        }
        let owned: usize = group.members.values().map(|member| member.owned.len()).sum();
        assert_eq!(owned, group.owners.len(), "no partition has two owners");
        for (&place, id) in &group.meant {
            assert!(group.members[id].meant.contains(&place));
        }
    }

    #[test]
    fn a_partition_is_taken_only_when_it_was_given_up() {
        let (mut group, mut epoch) = (Group::default(), 1);
        group.join(1, None, None, topics(2));
        assert_eq!(poll(&mut group, 1, &mut epoch), (0, 2));
        group.join(2, None, None, topics(2));
        assert_eq!(poll(&mut group, 2, &mut epoch), (0, 0));
        assert!(!group.is_settled());
        assert_eq!(poll(&mut group, 1, &mut epoch), (1, 0));
        assert_eq!(poll(&mut group, 2, &mut epoch), (0, 1));
        assert!(group.is_settled());
        assert_eq!((group.generation(), epoch), (2, 4));
    }

    #[test]
    fn an_assignment_of_yesterday_is_not_installed() {
        let mut group = Group::default();
        group.join(1, None, None, topics(2));
        let snapshot = group.snapshot();
        let assignment = StickyAssignor.assign(&snapshot.subscription);
        group.join(2, None, None, topics(2));
        assert!(!group.install(&snapshot, &assignment));
        assert_eq!((group.generation(), group.is_stale()), (0, true));
    }

    #[test]
    fn growth_that_two_members_tell_of_is_one_change() {
        let (mut group, mut epoch) = (Group::default(), 1);
        group.join(1, None, None, topics(1));
        group.join(2, None, None, topics(1));
        assign(&mut group);
        assert!(group.subscribe(1, topics(3)));
        assert!(!group.subscribe(2, topics(3)));
        for id in [1, 2] {
            poll(&mut group, id, &mut epoch);
        }
        assert_eq!((group.generation(), group.owners.len()), (2, 3));
    }

    #[test]
    fn what_came_later_is_known_from_what_was_there_at_first() {
        let (mut group, mut epoch) = (Group::default(), 1);
        group.join(1, None, None, topics(1));
        group.subscribe(1, topics(2));
        group.join(2, None, None, topics(3));
        assign(&mut group);
        let mut taken = group.take(1, &mut epoch);
        taken.extend(group.take(2, &mut epoch));
        taken.sort_by_key(|taken| taken.place);
        assert_eq!(taken.iter().map(|taken| taken.at_first).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn where_reading_began_is_told_to_the_next_and_forgotten_with_the_topic() {
        let (mut group, mut epoch) = (Group::default(), 1);
        group.join(1, None, None, topics(1));
        poll(&mut group, 1, &mut epoch);
        group.note_begun((TOPIC, 0), 7);
        group.join(2, None, None, topics(1));
        group.leave(1, false);
        assign(&mut group);
        let taken = group.take(2, &mut epoch);
        assert_eq!((taken[0].begun, taken[0].epoch), (Some(7), 2));
        group.subscribe(2, SubscribedTopics::default());
        assert!(group.begun.is_empty() && group.topics.is_empty());
    }

    #[test]
    fn of_topics_of_one_name_only_the_latest_is_assigned() {
        let (mut group, mut epoch) = (Group::default(), 1);
        group.join(1, None, None, topics(2));
        poll(&mut group, 1, &mut epoch);
        let mut later = topics(2);
        later.topics = BTreeMap::from([(10, SubscribedTopic { made_at: 1, ..later.topics[&TOPIC].clone() })]);
        group.join(2, None, None, later);
        assign(&mut group);
        assert_eq!(group.to_revoke(1), [(TOPIC, 0), (TOPIC, 1)], "they are gone");
        let taken = group.take(2, &mut epoch);
        assert_eq!(taken.iter().map(|taken| taken.place).collect::<Vec<_>>(), [(10, 0), (10, 1)]);
    }

    #[test]
    fn a_static_member_that_is_away_owns_nothing_and_keeps_what_is_meant_for_it() {
        let (mut group, mut epoch) = (Group::default(), 1);
        group.join(1, None, Some(Arc::from("i")), topics(1));
        poll(&mut group, 1, &mut epoch);
        group.go_absent(1);
        check(&group);
        group.join(2, None, None, topics(1));
        assert_eq!(poll(&mut group, 2, &mut epoch), (0, 0));
        group.come_back(1, topics(1));
        assert_eq!(poll(&mut group, 1, &mut epoch), (0, 1));
        assert_eq!(group.generation(), 2, "only the second member made a change");
    }

    /// `SplitMix64`.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % end
        }
    }

    fn change_at_random(group: &mut Group, chance: &mut Chance, next: &mut MemberId, partitions: &mut u32) {
        let ids: Vec<MemberId> = group.members.keys().copied().collect();
        let Some(&id) = ids.get(chance.below(ids.len().max(1) as u64) as usize) else {
            *next += 1;
            return group.join(*next, None, None, topics(*partitions));
        };
        match chance.below(6) {
            0 => {
                *next += 1;
                let instance = (chance.below(2) == 0).then(|| Arc::from(format!("i{next}")));
                group.join(*next, None, instance, topics(*partitions));
            }
            1 => {
                group.leave(id, false);
            }
            2 if group.members[&id].instance_id.is_some() => drop(group.go_absent(id)),
            3 if !group.members[&id].present => group.come_back(id, topics(*partitions)),
            4 if *partitions < 20 => {
                *partitions += 1;
                group.subscribe(id, topics(*partitions));
            }
            _ => {}
        }
    }

    #[test]
    fn whatever_happens_each_partition_has_one_owner_and_in_the_end_each_has_one() {
        for seed in 0..200 {
            let (mut chance, mut group, mut epoch) = (Chance(seed), Group::default(), 1);
            let (mut next, mut partitions) = (0, 4);
            for _ in 0..200 {
                change_at_random(&mut group, &mut chance, &mut next, &mut partitions);
                let present = group.members().filter(|(_, member)| member.present);
                let present: Vec<MemberId> = present.map(|(id, _)| id).collect();
                if let Some(&id) = present.get(chance.below(present.len().max(1) as u64) as usize) {
                    poll(&mut group, id, &mut epoch);
                }
                check(&group);
            }
            let ids: Vec<MemberId> = group.members.keys().copied().collect();
            ids.iter().for_each(|&id| group.come_back(id, topics(partitions)));
            for &id in ids.iter().chain(&ids) {
                poll(&mut group, id, &mut epoch);
            }
            let is_right = group.is_settled() && group.owners.len() == partitions as usize;
            assert!(ids.is_empty() || is_right, "seed {seed}: {group:?}");
        }
    }
}
