//! What has changed in a table and is not known to all of its watchers: of each key only the latest state, so
//! that it never takes more than the keys do, however slow a watcher is.

use std::collections::{BTreeMap, HashMap};

use super::row::{ByKey, Row};
use crate::sync::Arc;

/// The latest change of each key that some watcher has not been told of.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    /// The number of the next change.
    next: u64,
    /// By number.
    latest: BTreeMap<u64, Arc<Row>>,
    number_of: HashMap<ByKey, u64>,
    /// The next change that each watcher is to be told of.
    watchers: BTreeMap<u64, u64>,
    next_watcher: u64,
}

impl ChangeLog {
    /// A key has a row, or has lost it.
    pub(super) fn note(&mut self, row: &Arc<Row>) {
        if self.watchers.is_empty() {
            return;
        }
        if let Some(earlier) = self.number_of.remove(row.key()) {
            self.latest.remove(&earlier);
        }
        self.latest.insert(self.next, Arc::clone(row));
        self.number_of.insert(ByKey(Arc::clone(row)), self.next);
        self.next += 1;
    }

    /// Adds a watcher, which is told of what changes from now on.
    pub(super) fn add_watcher(&mut self) -> u64 {
        let watcher = self.next_watcher;
        self.next_watcher += 1;
        self.watchers.insert(watcher, self.next);
        watcher
    }

    pub(super) fn remove_watcher(&mut self, watcher: u64) {
        self.watchers.remove(&watcher);
        self.forget_what_all_know();
    }

    /// The next change for a watcher.
    pub(super) fn take(&mut self, watcher: u64) -> Option<Arc<Row>> {
        let position = self.watchers.get_mut(&watcher)?;
        let (&number, row) = self.latest.range(*position..).next()?;
        let row = Arc::clone(row);
        *position = number + 1;
        self.forget_what_all_know();
        Some(row)
    }

    fn forget_what_all_know(&mut self) {
        let known_below = self.watchers.values().min().copied().unwrap_or(u64::MAX);
        while let Some(first) = self.latest.first_entry()
            && *first.key() < known_below
        {
            self.number_of.remove(first.remove().key());
        }
    }

    #[cfg(test)]
    fn kept(&self) -> usize {
        assert_eq!(self.latest.len(), self.number_of.len());
        self.latest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicPartition;

    fn row(key: &str, offset: u64) -> Arc<Row> {
        let place = Arc::new(TopicPartition::new("t", 0));
        Arc::new(Row::new(&place, (offset, 0), key.as_bytes(), Some(b"")))
    }

    fn all(log: &mut ChangeLog, watcher: u64) -> Vec<(String, u64)> {
        let told = std::iter::from_fn(|| log.take(watcher));
        told.map(|row| (String::from_utf8_lossy(row.key()).into_owned(), row.offset())).collect()
    }

    fn named(changes: &[(&str, u64)]) -> Vec<(String, u64)> {
        changes.iter().map(|&(key, offset)| (key.to_owned(), offset)).collect()
    }

    #[test]
    fn a_slow_watcher_costs_one_change_for_each_key() {
        let mut log = ChangeLog::default();
        let slow = log.add_watcher();
        for offset in 0..10_000 {
            log.note(&row(["a", "b", "c"][offset as usize % 3], offset));
        }
        assert_eq!(log.kept(), 3);
        assert_eq!(all(&mut log, slow), named(&[("b", 9_997), ("c", 9_998), ("a", 9_999)]));
        assert_eq!(log.kept(), 0);
    }

    #[test]
    fn without_a_watcher_nothing_is_kept() {
        let mut log = ChangeLog::default();
        log.note(&row("a", 0));
        assert_eq!(log.kept(), 0);
        let watcher = log.add_watcher();
        log.note(&row("a", 1));
        assert_eq!(log.kept(), 1);
        log.remove_watcher(watcher);
        assert_eq!(log.kept(), 0);
    }

    #[test]
    fn each_watcher_is_told_of_what_came_since_it_was_added_once_and_in_the_order_of_the_last_changes() {
        let mut log = ChangeLog::default();
        let first = log.add_watcher();
        log.note(&row("a", 0));
        log.note(&row("b", 1));
        let second = log.add_watcher();
        assert_eq!(all(&mut log, second), named(&[]));
        assert_eq!(log.take(first).map(|row| row.offset()), Some(0));
        log.note(&row("c", 2));
        log.note(&row("a", 3));
        assert_eq!(all(&mut log, second), named(&[("c", 2), ("a", 3)]));
        assert_eq!(log.kept(), 3, "the first has not heard of them");
        assert_eq!(all(&mut log, first), named(&[("b", 1), ("c", 2), ("a", 3)]));
        assert_eq!(log.kept(), 0);
    }
}
