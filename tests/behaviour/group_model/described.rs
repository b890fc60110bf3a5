//! What the broker tells of groups, and what must be so when they have come to rest.

use std::collections::{BTreeMap, BTreeSet};

use ottla::{Error, GroupDescription, GroupState, TopicPartition};

use super::Script;
use super::oracle::{GROUPS, Group};
use crate::support::*;

/// Instance, whether it is present, and what it has.
type Shown = (Option<String>, bool, Vec<TopicPartition>);

impl Script<'_> {
    /// The broker tells the same as the members and the model.
    pub(super) fn check_described(&mut self, group: usize) {
        assert_eq!(committed(&self.broker, GROUPS[group]), self.oracle.groups[group].committed);
        let is_listed = self.broker.groups().iter().any(|found| found.name == GROUPS[group]);
        let description = match self.broker.describe_group(GROUPS[group]) {
            Ok(description) => description,
            Err(Error::GroupNotFound { .. }) => {
                assert!(!is_listed && self.oracle.groups[group].committed.is_empty());
                return assert!(!self.has_members(group));
            }
            Err(error) => panic!("{error}"),
        };
        assert!(is_listed);
        assert_eq!(self.shown(&description), self.expected(group));
        self.check_partitions(group, &description);
        assert_eq!(description.state == GroupState::Empty, !self.has_members(group));
        let of_group = &mut self.oracle.groups[group];
        assert!(description.generation >= of_group.generation, "it goes back");
        of_group.generation = description.generation;
    }

    fn shown(&self, description: &GroupDescription) -> Vec<Shown> {
        let mut shown: Vec<Shown> = Vec::new();
        for member in &description.members {
            // A deleted topic is the member's until its next poll.
            let there = member.assignment.iter().filter(|at| self.oracle.values(at).is_some());
            shown.push((member.instance_id.clone(), member.is_present, there.cloned().collect()));
        }
        shown.sort();
        shown
    }

    fn expected(&self, group: usize) -> Vec<Shown> {
        let name = |number: usize| format!("i{number}");
        let members = self.in_group(group);
        let members = members
            .map(|member| (member.is.instance.map(name), true, member.holds.keys().cloned().collect()));
        let absent = self.oracle.groups[group].absent.keys().map(|&id| (Some(name(id)), false, Vec::new()));
        let mut expected: Vec<Shown> = members.chain(absent).collect();
        expected.sort();
        expected
    }

    fn check_partitions(&self, group: usize, description: &GroupDescription) {
        let Group { committed, .. } = &self.oracle.groups[group];
        let owned: BTreeMap<&TopicPartition, u64> = description
            .members
            .iter()
            .flat_map(|member| member.assignment.iter().map(|at| (at, member.member_id)))
            .collect();
        for (at, partition) in &description.partitions {
            let (end, committed) = (self.oracle.end(at), committed.get(at).copied());
            assert_eq!((partition.committed, partition.end_offset), (committed, end), "{at}");
            assert_eq!(partition.lag, end - committed.unwrap_or(0), "{at}");
            assert_eq!(partition.member_id, owned.get(at).copied(), "{at}");
        }
        let there = owned.into_keys().filter(|at| self.oracle.values(at).is_some());
        assert!(there.chain(committed.keys()).all(|at| description.partitions.contains_key(at)));
        assert_eq!(
            description.lag(),
            description.partitions.values().map(|partition| partition.lag).sum::<u64>()
        );
    }

    /// Every partition that somebody wants.
    pub(super) fn wanted(&self, group: usize) -> BTreeSet<TopicPartition> {
        let wants = self.wants(group);
        let is_wanted = |at: &TopicPartition| wants.iter().any(|wants| wants.includes(&at.topic));
        self.oracle.places().into_iter().filter(is_wanted).collect()
    }

    /// All have polled: each partition is read, and they are divided evenly.
    pub(super) fn check_settled(&self, group: usize) {
        let description = self.broker.describe_group(GROUPS[group]).expect("it has members");
        assert_eq!(description.state, GroupState::Stable, "{description:?}");
        let members: Vec<_> = self.in_group(group).collect();
        let read: BTreeSet<TopicPartition> =
            members.iter().flat_map(|member| member.holds.keys().cloned()).collect();
        assert_eq!(read, self.wanted(group), "these are read");
        if self.oracle.groups[group].assignor != Some(0) {
            return;
        }
        // Nothing can be passed on, also not from hand to hand, to one that has less by two.
        for giver in 0..members.len() {
            let mut reached = BTreeSet::from([giver]);
            let mut next = vec![giver];
            while let Some(from) = next.pop() {
                for to in 0..members.len() {
                    let can = |at: &TopicPartition| members[to].is.wants.includes(&at.topic);
                    if members[from].holds.keys().any(can) && reached.insert(to) {
                        next.push(to);
                    }
                }
            }
            let counts = reached.iter().map(|&number| members[number].holds.len());
            assert!(counts.min() >= Some(members[giver].holds.len().saturating_sub(1)), "uneven");
        }
    }

    /// All have polled everything: each record was seen by the group.
    pub(super) fn check_seen(&self, group: usize) {
        let seen = &self.oracle.groups[group].seen;
        for at in self.wanted(group) {
            let end = self.oracle.end(&at);
            let all = seen.get(&at).map_or(0, BTreeSet::len) as u64;
            assert_eq!(all, end, "of {at} only these were seen: {:?}", seen.get(&at));
        }
    }
}
