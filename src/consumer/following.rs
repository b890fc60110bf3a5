//! The topics that a consumer follows: those that were named and those that a predicate chooses, with the
//! partitions and topics that come later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use super::Consumer;
use super::assigned::Assigned;
use super::beginning::Beginning;
use super::member::Member;
use crate::error::{Error, Result};
use crate::group::{SubscribedTopic, SubscribedTopics};
use crate::sync::Arc;
use crate::sync::signal::Waiters;
use crate::topic::Topic;
use crate::topic::catalog::Catalog;

/// Chooses topics by name.
pub(super) type Predicate = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// What a subscribed consumer wants to read. One with partitions assigned by hand follows nothing.
pub(super) struct Following {
    catalog: Arc<Catalog>,
    /// They stay subscribed when they are deleted.
    named: Vec<Arc<Topic>>,
    predicates: Vec<Predicate>,
    /// The version of the catalog that the assignment is up to.
    seen_version: u64,
    /// The topics that were there then, by id.
    topics: BTreeMap<u64, Arc<Topic>>,
}

/// How many partitions of each topic, by its id, a consumer has.
type Counts = BTreeMap<u64, u32>;

impl Following {
    pub(super) fn new(
        catalog: Arc<Catalog>,
        names: &BTreeSet<String>,
        predicates: Vec<Predicate>,
    ) -> Result<Self> {
        // Read before the topics are: what comes in between is looked at twice rather than not at all.
        let seen_version = catalog.version();
        let named = names.iter().map(|name| catalog.user_topic(name)).collect::<Result<_>>()?;
        Ok(Self { catalog, named, predicates, seen_version, topics: BTreeMap::new() })
    }

    fn wanted(&self) -> Vec<Arc<Topic>> {
        let mut topics = self.named.clone();
        if !self.predicates.is_empty() {
            let chosen = self.catalog.topics().into_iter().filter(|topic| self.is_chosen(topic.name()));
            topics.extend(chosen);
        }
        topics
    }

    /// The partitions that a consumer with `counts` does not have yet.
    pub(super) fn missing(&self, counts: &Counts) -> Vec<(Arc<Topic>, u32)> {
        let topics = self.wanted();
        let numbered = topics.iter().flat_map(|topic| {
            let missing = missing_partitions(counts, topic.id(), topic.partition_count());
            missing.map(|number| (Arc::clone(topic), number))
        });
        numbered.collect()
    }

    /// What a member of a group subscribes to now: all that is there.
    pub(super) fn look(&mut self) -> SubscribedTopics {
        self.seen_version = self.catalog.version();
        let there = self.wanted().into_iter().filter(|topic| !topic.is_deleted());
        self.topics = there.map(|topic| (topic.id(), topic)).collect();
        let topics = self.topics.iter().map(|(&id, topic)| {
            let (name, partitions) = (Arc::clone(topic.name()), topic.partition_count());
            (id, SubscribedTopic { name, partitions, made_at: topic.made_at() })
        });
        SubscribedTopics {
            topics: topics.collect(),
            catalog_version: self.seen_version,
            follows: !self.predicates.is_empty(),
        }
    }

    /// A topic that was there at the last [`look`](Self::look).
    pub(super) fn topic(&self, id: u64) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// Whether a predicate brings this topic in. One that was named is not brought in under its name again.
    fn is_chosen(&self, name: &str) -> bool {
        !self.is_named(name) && self.predicates.iter().any(|predicate| predicate(name))
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.named.iter().any(|topic| &**topic.name() == name)
    }

    fn check_named(&self) -> Result<()> {
        match self.named.iter().find(|topic| topic.is_deleted()) {
            Some(topic) => Err(Error::TopicDeleted { topic: topic.name().to_string() }),
            None => Ok(()),
        }
    }

    /// Those who know of news in the catalog.
    pub(super) fn waiters(&self) -> &Arc<Waiters> {
        self.catalog.waiters()
    }
}

fn missing_partitions(counts: &Counts, topic_id: u64, partitions: u32) -> Range<u32> {
    counts.get(&topic_id).copied().unwrap_or(0)..partitions
}

impl<K, V> Consumer<K, V> {
    /// Takes in the topics and partitions that came since the last look, and as a member of a group gives up
    /// and takes what the group wants; costs two loads if there is nothing new.
    #[inline]
    pub(super) fn follow(&mut self) -> Result<()> {
        let Some(following) = &self.following else { return Ok(()) };
        let has_changed = following.catalog.version() != following.seen_version;
        match &self.member {
            None if has_changed => self.catch_up(),
            None => Ok(()),
            Some(_) => {
                if has_changed {
                    self.subscribe_anew();
                }
                if self.member.as_ref().is_some_and(Member::take_news) { self.rebalance() } else { Ok(()) }
            }
        }
    }

    /// All of what is new, or after an error nothing.
    #[cold]
    fn catch_up(&mut self) -> Result<()> {
        let Some(following) = &mut self.following else { return Ok(()) };
        let version = following.catalog.version();
        let mut counts = Counts::new();
        for assigned in self.subscription.iter() {
            *counts.entry(assigned.topic_id()).or_default() += 1;
        }
        let beginning = Beginning { committed: self.coordinator.committed(), group: None, start: self.start };
        let mut added = Vec::new();
        for (topic, number) in following.missing(&counts) {
            match beginning.later(topic, number) {
                // Deleted again: nothing of it was ever ours.
                Err(Error::TopicDeleted { .. }) => {}
                outcome => added.push(outcome?),
            }
        }
        following.seen_version = version;
        for assigned in added {
            assigned.log().waiters().register(&self.signal);
            self.subscription.add(assigned);
        }
        Ok(())
    }

    /// A topic of the assignment was deleted: it stays if it was named or assigned by hand, and leaves if a
    /// predicate chose it.
    #[cold]
    pub(super) fn leave_deleted(&mut self, topic: &str) {
        if self.following.as_ref().is_none_or(|following| following.is_named(topic)) {
            return;
        }
        let is_gone = |assigned: &Assigned| assigned.topic_name() == topic && assigned.is_deleted();
        let gone = self.subscription.remove(is_gone);
        for assigned in &gone {
            assigned.log().waiters().unregister(&self.signal);
        }
        if let Some(member) = &mut self.member {
            let news = gone.iter().filter(|assigned| !assigned.is_lost());
            member.note_lost(&news.map(Assigned::topic_partition).collect::<Vec<_>>());
        }
    }

    /// A member is told that a topic which it named was deleted, also if others had its partitions.
    #[inline]
    pub(super) fn check_named_topics(&self) -> Result<()> {
        match (&self.member, &self.following) {
            (Some(_), Some(following)) => following.check_named(),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("seen_version", &self.seen_version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TopicConfig;

    fn following(catalog: &Arc<Catalog>, names: &[&str], prefix: &'static str) -> Following {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let predicate: Predicate = Box::new(move |name| name.starts_with(prefix));
        Following::new(Arc::clone(catalog), &names, vec![predicate]).expect("they exist")
    }

    fn shown(missing: Vec<(Arc<Topic>, u32)>) -> Vec<String> {
        missing.into_iter().map(|(topic, number)| format!("{}-{number}", topic.name())).collect()
    }

    #[test]
    fn a_topic_gives_the_partitions_behind_those_that_are_there() {
        let counts = Counts::from([(7, 2)]);
        assert_eq!(missing_partitions(&counts, 7, 4), 2..4);
        assert!(missing_partitions(&counts, 7, 2).is_empty());
        assert_eq!(missing_partitions(&counts, 8, 2), 0..2);
    }

    #[test]
    fn what_is_named_and_chosen_comes_once_and_nothing_else() {
        let catalog = Arc::new(Catalog::in_memory(Arc::default()));
        for name in ["a1", "a2", "b"] {
            catalog.create(name, &TopicConfig::new()).expect("a free name");
        }
        let following = following(&catalog, &["a1"], "a");
        assert_eq!(shown(following.missing(&Counts::new())), ["a1-0", "a2-0"]);
    }

    #[test]
    fn a_named_topic_that_is_made_again_is_another_one() {
        let catalog = Arc::new(Catalog::in_memory(Arc::default()));
        let old = catalog.create("a1", &TopicConfig::new()).expect("a free name");
        let following = following(&catalog, &["a1"], "a");
        catalog.delete("a1").expect("it exists");
        catalog.create("a1", &TopicConfig::new()).expect("a free name");
        assert!(following.missing(&Counts::from([(old.id(), 1)])).is_empty());
        assert_ne!(catalog.version(), following.seen_version);
    }
}
