//! The members of one group and their partitions: who reads what, and who is to. Pure: no lock, no time, no
//! callback.
//!
//! A partition has at most one **owner**, who reads it, and one member for whom it is **meant**, by the latest
//! assignment. Where these differ, the owner gives the partition up when it next polls, for then it has
//! finished with what it was given; after that the other one takes it, when it polls. Nobody waits for
//! anybody else, and what does not move is not interrupted.
//!
//! Who joins, leaves or subscribes otherwise makes the assignment **stale**. A new one is made outside, from a
//! [`Snapshot`], because assignors are others' code; and it is installed if nothing has changed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::assignor::{Assignment, GroupSubscription, MemberSubscription};
use super::commit_record::Place;
use super::committed_offsets::Epoch;
use crate::ids::TopicPartition;
use crate::sync::Arc;

/// Tells the members of a group apart; given in the order of joining, and never again.
pub(crate) type MemberId = u64;

/// A topic that a member subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribedTopic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: u32,
}

/// What a member subscribes to, by topic id, and which version of the catalog that was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscribedTopics {
    pub(crate) topics: BTreeMap<u64, SubscribedTopic>,
    pub(crate) catalog_version: u64,
}

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
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
    /// How many of them were there when the first member that subscribes to it was built. In the others, which
    /// came later, nothing may be missed.
    at_first: u32,
    catalog_version: u64,
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

    /// Takes in a member that is new.
    pub(super) fn join(&mut self, id: MemberId, instance_id: Option<Arc<str>>, topics: SubscribedTopics) {
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
        self.set_topics(id, &topics, true);
        self.version += 1;
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
        for (&topic_id, topic) in &topics.topics {
            let known = self.topics.entry(topic_id).or_insert_with(|| GroupTopic {
                name: Arc::clone(&topic.name),
                partitions: 0,
                at_first: if is_built { topic.partitions } else { 0 },
                catalog_version: 0,
            });
            known.partitions = known.partitions.max(topic.partitions);
            known.catalog_version = known.catalog_version.max(topics.catalog_version);
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
        let mut kept = BTreeSet::new();
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

    /// The consumer of a static member is gone: nobody reads its partitions, and they stay meant for it.
    pub(super) fn go_absent(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.present = false;
            for place in std::mem::take(&mut member.owned) {
                self.owners.remove(&place);
            }
        }
    }

    /// A member is gone; whether it was there.
    pub(super) fn leave(&mut self, id: MemberId) -> bool {
        let Some(member) = self.members.remove(&id) else { return false };
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

    pub(super) fn is_stale(&self) -> bool {
        self.version != self.assigned_version
    }

    /// Whether everybody reads what is meant for them, and nobody is away.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_stale() && self.members.values().all(|member| member.owned == member.meant)
    }

    /// What a new assignment is made of.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut ids: BTreeMap<String, u64> = BTreeMap::new();
        for (&id, topic) in &self.topics {
            // Of topics of one name, all but the latest were deleted.
            let other = ids.get(&*topic.name).and_then(|other| self.topics.get(other));
            if other.is_none_or(|other| other.catalog_version < topic.catalog_version) {
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
            if self.owners.contains_key(&place) {
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
