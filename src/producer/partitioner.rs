//! Which partition a record goes to: Kafka's murmur2 for keys, and a sticky choice for records without one.

use crate::ids::random_id;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// How much a producer sends to one partition before it moves on, when records have no key; Kafka's
/// default `batch.size`.
const STICKY_BYTES: usize = 16 * 1024;

/// The partition of a key, as Kafka's `BuiltInPartitioner.partitionForKey` chooses it.
#[inline]
pub(super) fn partition_of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Austin Appleby's MurmurHash2, with the seed and constants of Kafka's `Utils.murmur2`.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (number, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * number);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Stays with one partition for [`STICKY_BYTES`], then moves to the next; begins at a random one. Threads
/// that share it may overlap in their counting, which only moves the moment of the change.
#[derive(Debug)]
pub(super) struct Sticky {
    partition: AtomicU32,
    bytes: AtomicUsize,
}

impl Default for Sticky {
    fn default() -> Self {
        Self { partition: AtomicU32::new(random_id() as u32), bytes: AtomicUsize::new(0) }
    }
}

impl Sticky {
    /// The partition for the next record, which has `bytes` bytes.
    #[inline]
    pub(super) fn next(&self, bytes: usize, partitions: u32) -> u32 {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < STICKY_BYTES {
            return self.partition.load(Ordering::Relaxed) % partitions;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        self.partition.fetch_add(1, Ordering::Relaxed).wrapping_add(1) % partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's UtilsTest.
    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn keys_go_where_kafka_puts_them() {
        for (key, partition) in [("", 681), ("a", 524), ("ab", 434), ("abc", 107), ("123456789", 566)] {
            assert_eq!(partition_of_key(key.as_bytes(), 1_000), partition, "{key:?}");
        }
    }

    #[test]
    fn sticky_stays_for_a_while_and_visits_every_partition() {
        let sticky = Sticky::default();
        let visited: Vec<u32> = (0..64 * 4).map(|_| sticky.next(256, 4)).collect();
        let changes = visited.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 3, "{visited:?}");
        assert!((0..4).all(|partition| visited.contains(&partition)));
    }
}
