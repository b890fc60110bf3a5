//! The latest offset of each key, in bounded memory: of a key only a hash of 128 bits is kept (SipHash-1-3 of
//! the standard library, twice), under secrets that are drawn in this process. That two keys of a million
//! share one, by chance or by the intent of somebody who does not know them, is as likely as to guess such a
//! number.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// How many keys a pass takes down at most; what follows is left to the next one. A table of so many, 7/8 of
/// a power of two, takes 26 MiB, and half as much again while it grows.
pub(super) const MAX_KEYS: usize = (1 << 20) / 8 * 7;

/// The latest offset of each key, of up to so many keys.
#[derive(Debug)]
pub(super) struct LatestOffsets {
    offsets: HashMap<KeyHash, u64, BuildHasherDefault<Unchanged>>,
    secrets: [RandomState; 2],
    max_keys: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyHash(u64, u64);

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// For what is a hash already.
#[derive(Debug, Default)]
struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl LatestOffsets {
    pub(super) fn new(max_keys: usize) -> Self {
        let secrets = [RandomState::new(), RandomState::new()];
        Self { offsets: HashMap::default(), secrets, max_keys }
    }

    /// Takes note of a record, which comes after those before. `false` if there is no room for its key.
    pub(super) fn note(&mut self, key: &[u8], offset: u64) -> bool {
        let hash = self.hash(key);
        if self.offsets.len() >= self.max_keys && !self.offsets.contains_key(&hash) {
            return false;
        }
        self.offsets.insert(hash, offset);
        true
    }

    /// The latest offset of the key, if it is known.
    pub(super) fn get(&self, key: &[u8]) -> Option<u64> {
        self.offsets.get(&self.hash(key)).copied()
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        let [first, second] = self.secrets.each_ref().map(|secret| secret.hash_one(key));
        KeyHash(first, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_the_latest_of_as_many_keys_as_it_may() {
        let mut latest = LatestOffsets::new(2);
        assert!(latest.note(b"a", 1) && latest.note(b"", 2) && latest.note(b"a", 3));
        assert!(!latest.note(b"b", 4) && latest.note(b"", 5));
        assert_eq!([latest.get(b"a"), latest.get(b""), latest.get(b"b")], [Some(3), Some(5), None]);
    }
}
