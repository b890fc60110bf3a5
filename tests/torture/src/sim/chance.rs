//! Where the simulated file system takes its choices from. Whoever uses it has random numbers of its own.

/// Choices that are the same again from the same seed.
pub(crate) trait Chance {
    /// A number below `end`, which must not be 0.
    fn below(&mut self, end: u64) -> u64;

    /// True once in `n` times.
    fn happens_once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What becomes of changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    Kept,
    /// The first ones are kept, and a part of the next one.
    Prefix,
    /// Each for itself.
    Mixed,
}

impl Fate {
    pub(crate) fn choose(chance: &mut impl Chance) -> Self {
        [Self::Lost, Self::Kept, Self::Prefix, Self::Mixed, Self::Mixed][chance.below(5) as usize]
    }
}
