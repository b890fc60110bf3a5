//! What really happened.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often each thing was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) read: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) files_read: AtomicU64,
    pub(crate) trims: AtomicU64,
    pub(crate) topics: AtomicU64,
    pub(crate) closes: AtomicU64,
    pub(crate) drops: AtomicU64,
    pub(crate) reopened: AtomicU64,
}

/// Counts another one. Orders nothing: it must not stand in for what the library is to order.
pub(crate) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

impl Counts {
    fn named(&self) -> [(&'static str, u64); 9] {
        [
            ("sent", &self.sent),
            ("read", &self.read),
            ("kept", &self.kept),
            ("files_read", &self.files_read),
            ("trims", &self.trims),
            ("topics", &self.topics),
            ("closes", &self.closes),
            ("drops", &self.drops),
            ("reopened", &self.reopened),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// What never happened.
    pub(crate) fn zero(&self) -> Vec<&'static str> {
        self.named().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.named().map(|(name, count)| format!("{name}={count}"));
        f.write_str(&shown.join(" "))
    }
}
