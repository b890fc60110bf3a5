//! What is done to groups from outside.

use std::collections::BTreeMap;

use ottla::{Broker, Error, ResetTo, TopicPartition};

use super::Script;
use super::oracle::{GROUPS, Group};
use crate::support::*;

impl Script<'_> {
    /// By a consumer that is no member.
    pub(super) fn commit_by_hand(&mut self, group: usize) {
        let at = self.any_place();
        let offset = self.rng.below(self.oracle.end(&at) as usize + 1) as u64;
        let by_hand = self.broker.consumer::<(), u64>().assign(&at.topic, [at.partition]);
        let by_hand = by_hand.group(GROUPS[group]).build().expect("anybody may");
        let committed = self.oracle.groups[group].committed.get(&at).copied();
        assert_eq!(by_hand.position(&at.topic, at.partition).expect("assigned"), committed.unwrap_or(0));
        let outcome = by_hand.commit_offsets([(at.clone(), offset)]);
        if self.in_group(group).any(|member| member.holds.contains_key(&at)) {
            assert_fails!(outcome, Error::GroupInUse { group: found } if found == GROUPS[group]);
        } else {
            outcome.expect("nobody reads it");
            self.oracle.set(group, &at, offset);
        }
    }

    pub(super) fn reset(&mut self, group: usize) {
        let topic = self.any_place().topic;
        let places: Vec<TopicPartition> =
            self.oracle.places().into_iter().filter(|at| at.topic == topic).collect();
        let shortest = places.iter().map(|at| self.oracle.end(at)).min().unwrap_or_default();
        let offset = self.rng.below(shortest as usize + 1) as u64;
        let choice = self.rng.below(4);
        let new = |at: &TopicPartition| match choice {
            0 => 0,
            1 => self.oracle.end(at),
            _ => offset,
        };
        let offsets: BTreeMap<TopicPartition, u64> = places.iter().map(|at| (at.clone(), new(at))).collect();
        let outcome = match choice {
            0 => self.broker.reset_group(GROUPS[group], &topic, ResetTo::Earliest).map(drop),
            1 => self.broker.reset_group(GROUPS[group], &topic, ResetTo::Latest).map(drop),
            2 => self.broker.reset_group(GROUPS[group], &topic, ResetTo::Offset(offset)).map(drop),
            _ => self.broker.commit_offsets(GROUPS[group], offsets.clone()),
        };
        if self.has_members(group) {
            return assert_fails!(outcome, Error::GroupInUse { .. });
        }
        outcome.expect("nobody is in the group");
        offsets.iter().for_each(|(at, offset)| self.oracle.set(group, at, *offset));
    }

    pub(super) fn delete_offsets(&mut self, group: usize) {
        let places = [self.any_place(), self.any_place()];
        let outcome = self.broker.delete_committed_offsets(GROUPS[group], places.clone());
        if self.has_members(group) {
            return assert_fails!(outcome, Error::GroupInUse { .. });
        }
        outcome.expect("nobody is in the group");
        self.oracle.groups[group].committed.retain(|at, _| !places.contains(at));
    }

    pub(super) fn delete_group(&mut self, group: usize) {
        let outcome = self.broker.delete_group(GROUPS[group]);
        if self.has_members(group) {
            return assert_fails!(outcome, Error::GroupInUse { .. });
        }
        match self.oracle.groups[group].committed.is_empty() {
            true => assert_fails!(outcome, Error::GroupNotFound { .. }),
            false => outcome.expect("nobody is in the group"),
        }
        self.oracle.groups[group].committed.clear();
    }

    /// With a clean close, or by dropping everything in some order.
    pub(super) fn reopen(&mut self) {
        let Some(kept) = &self.kept else { return };
        let is_closed = self.rng.one_in(2);
        if is_closed {
            self.broker.close().expect("closes");
        }
        if let Some(member) = self.members.first_mut().filter(|_| is_closed) {
            assert_fails!(
                member.consumer.poll(NOW),
                Error::Closed | Error::TopicDeleted { .. } | Error::RebalanceListener { .. }
            );
        }
        let broker = std::mem::replace(&mut self.broker, Broker::in_memory());
        if self.rng.one_in(2) {
            drop(broker);
            self.members.clear();
        } else {
            self.members.clear();
            drop(broker);
        }
        self.oracle.groups.iter_mut().for_each(Group::end);
        self.broker = kept.open();
        assert!(self.broker.recovery_report().is_clean());
    }
}
