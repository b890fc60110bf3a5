//! The rows of a table, by key and by where they lie.

use std::collections::{BTreeMap, HashSet};

use super::row::{ByKey, Row};
use crate::sync::Arc;

/// At most one row for each key. Each is in both collections.
#[derive(Debug, Default)]
pub(super) struct Rows {
    by_key: HashSet<ByKey>,
    /// By partition and offset: for what is deleted from the front of a log.
    by_place: BTreeMap<(u32, u64), Arc<Row>>,
}

impl Rows {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Row>> {
        self.by_key.get(key).map(|found| &found.0)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// By partition and offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.by_place.values()
    }

    /// Puts a row in the place of the one with the same key.
    pub(super) fn put(&mut self, row: Arc<Row>) {
        if let Some(ByKey(old)) = self.by_key.replace(ByKey(Arc::clone(&row))) {
            self.by_place.remove(&place_of(&old));
        }
        self.by_place.insert(place_of(&row), row);
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Arc<Row>> {
        let ByKey(row) = self.by_key.take(key)?;
        self.by_place.remove(&place_of(&row));
        Some(row)
    }

    /// The rows of a partition whose offsets lie below `offset`, in order.
    pub(super) fn below(&self, partition: u32, offset: u64) -> Vec<Arc<Row>> {
        self.by_place.range((partition, 0)..(partition, offset)).map(|(_, row)| Arc::clone(row)).collect()
    }
}

fn place_of(row: &Row) -> (u32, u64) {
    (row.partition(), row.offset())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicPartition;

    fn row(partition: u32, offset: u64, key: &str) -> Arc<Row> {
        let place = Arc::new(TopicPartition::new("t", partition));
        Arc::new(Row::new(&place, (offset, 0), key.as_bytes(), Some(b"")))
    }

    fn places(rows: &Rows) -> Vec<(u32, u64)> {
        rows.iter().map(|row| place_of(row)).collect()
    }

    #[test]
    fn a_later_row_takes_the_place_of_the_one_with_the_same_key_in_whatever_partition() {
        let mut rows = Rows::default();
        for (partition, offset, key) in [(0, 0, "a"), (0, 1, "b"), (1, 0, "b"), (0, 2, "a"), (1, 1, "c")] {
            rows.put(row(partition, offset, key));
        }
        assert_eq!(places(&rows), [(0, 2), (1, 0), (1, 1)]);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.get(b"b").map(|row| place_of(row)), Some((1, 0)));
        assert!(rows.remove(b"b").is_some() && rows.remove(b"b").is_none());
        assert_eq!(places(&rows), [(0, 2), (1, 1)]);
    }

    #[test]
    fn what_lies_below_an_offset_is_of_one_partition() {
        let mut rows = Rows::default();
        for (partition, offset, key) in [(0, 5, "a"), (1, 3, "b"), (1, 4, "c"), (1, 5, "d"), (2, 0, "e")] {
            rows.put(row(partition, offset, key));
        }
        let below: Vec<_> = rows.below(1, 5).iter().map(|row| place_of(row)).collect();
        assert_eq!(below, [(1, 3), (1, 4)]);
        assert!(rows.below(1, 0).is_empty());
    }
}
