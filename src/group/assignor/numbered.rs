//! A group with numbers in place of names. Members are numbered in their order, topics by name, partitions
//! by topic and number, so that a topic's partitions are a range.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::{Assignment, GroupSubscription};
use crate::ids::TopicPartition;
use crate::sync::Arc;

/// Those who subscribe to a topic are its audience. Topics share one if the same members subscribe to them:
/// often all do, and there is one audience in all.
#[derive(Debug)]
pub(super) struct Numbered<'a> {
    member_ids: Vec<u64>,
    names: Vec<&'a str>,
    topics: HashMap<&'a str, usize>,
    /// The first partition of each topic; and behind them, the number of all partitions.
    first: Vec<usize>,
    topic_of: Vec<usize>,
    audience_of: Vec<usize>,
    /// Members in their order. Numbered in the order in which topics meet them.
    audiences: Vec<Vec<usize>>,
}

impl<'a> Numbered<'a> {
    /// Leaves out topics without partitions.
    pub(super) fn new(group: &'a GroupSubscription) -> Self {
        let mut numbered = Self {
            member_ids: group.members.iter().map(|member| member.member_id).collect(),
            names: Vec::new(),
            topics: HashMap::new(),
            first: vec![0],
            topic_of: Vec::new(),
            audience_of: Vec::new(),
            audiences: Vec::new(),
        };
        for (name, &partitions) in group.topics.iter().filter(|(_, partitions)| **partitions > 0) {
            let end = numbered.partitions() + partitions as usize;
            numbered.topic_of.resize(end, numbered.names.len());
            numbered.topics.insert(name, numbered.names.len());
            numbered.names.push(name);
            numbered.first.push(end);
        }
        numbered.find_audiences(group);
        numbered
    }

    /// Goes by the distinct subscriptions, which are mostly few: the cost is that of reading each of them
    /// once, and that of the audiences.
    fn find_audiences(&mut self, group: &'a GroupSubscription) {
        let (subscriptions, of_members) = distinct_subscriptions(group);
        let mut subscriptions_to = vec![Vec::new(); self.names.len()];
        for (number, names) in subscriptions.into_iter().enumerate() {
            for topic in names.iter().filter_map(|name| self.topic(name)) {
                subscriptions_to[topic].push(number);
            }
        }
        let mut known = HashMap::new();
        for those in subscriptions_to {
            let audience = *known.entry(those).or_insert_with_key(|those| {
                let mut among_those = vec![false; of_members.len()];
                those.iter().for_each(|&number| among_those[number] = true);
                let belongs = |member: &usize| among_those[of_members[*member]];
                self.audiences.push((0..of_members.len()).filter(belongs).collect());
                self.audiences.len() - 1
            });
            self.audience_of.push(audience);
        }
    }

    pub(super) fn members(&self) -> usize {
        self.member_ids.len()
    }

    pub(super) fn topics(&self) -> Range<usize> {
        0..self.names.len()
    }

    pub(super) fn partitions(&self) -> usize {
        self.topic_of.len()
    }

    pub(super) fn partitions_of(&self, topic: usize) -> Range<usize> {
        self.first[topic]..self.first[topic + 1]
    }

    pub(super) fn topic_of(&self, partition: usize) -> usize {
        self.topic_of[partition]
    }

    /// The number of a topic's audience.
    pub(super) fn audience_of(&self, topic: usize) -> usize {
        self.audience_of[topic]
    }

    pub(super) fn audiences(&self) -> &[Vec<usize>] {
        &self.audiences
    }

    /// Those who subscribe to a topic, in their order.
    pub(super) fn subscribers(&self, topic: usize) -> &[usize] {
        &self.audiences[self.audience_of[topic]]
    }

    /// The number of a partition, if it exists.
    pub(super) fn find(&self, at: &TopicPartition) -> Option<usize> {
        let range = self.partitions_of(self.topic(&at.topic)?);
        ((at.partition as usize) < range.len()).then(|| range.start + at.partition as usize)
    }

    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.get(name).copied()
    }

    /// From the owner of each partition.
    pub(super) fn assignment(&self, owners: &[Option<usize>]) -> Assignment {
        let mut lists = vec![Vec::new(); self.members()];
        for topic in self.topics() {
            for (number, partition) in (0..).zip(self.partitions_of(topic)) {
                if let Some(owner) = owners[partition] {
                    lists[owner].push(TopicPartition::new(self.names[topic], number));
                }
            }
        }
        self.member_ids.iter().copied().zip(lists).collect()
    }
}

/// The sets of names that differ, and which of them each member has.
fn distinct_subscriptions(group: &GroupSubscription) -> (Vec<&BTreeSet<String>>, Vec<usize>) {
    let mut distinct = Vec::new();
    let (mut by_address, mut by_names) = (HashMap::new(), BTreeMap::new());
    let of_members = group.members.iter().map(|member| {
        // Members that share a set need no look at what is in it.
        *by_address.entry(Arc::as_ptr(&member.topics)).or_insert_with(|| {
            *by_names.entry(&*member.topics).or_insert_with(|| {
                distinct.push(&*member.topics);
                distinct.len() - 1
            })
        })
    });
    let of_members = of_members.collect();
    (distinct, of_members)
}
