//! What the clones of a table and its watchers share: the rows, and how they are kept up to date by whoever
//! asks.

use std::fmt;

use super::change_log::ChangeLog;
use super::follower::Follower;
use super::rows::Rows;
use crate::error::Result;
use crate::log::Files;
use crate::sync::signal::{Signal, Waiters};
use crate::sync::{Arc, Mutex, RwLock};
use crate::topic::Topic;
use crate::topic::catalog::Catalog;

/// A table, without its types.
pub(super) struct Shared {
    topic: Arc<Topic>,
    /// Those who know of partitions that come.
    catalog_waiters: Arc<Waiters>,
    /// Wakes all watchers.
    signal: Arc<Signal>,
    state: RwLock<State>,
    /// Locked after `state`.
    change_log: Mutex<ChangeLog>,
}

#[derive(Debug, Default)]
struct State {
    /// By partition.
    followers: Vec<Follower>,
    rows: Rows,
}

impl Shared {
    /// A table that has read everything.
    pub(super) fn open(catalog: &Catalog, topic: Arc<Topic>) -> Result<Self> {
        let shared = Self {
            topic,
            catalog_waiters: Arc::clone(catalog.waiters()),
            signal: Arc::default(),
            state: RwLock::default(),
            change_log: Mutex::default(),
        };
        shared.catalog_waiters.register(&shared.signal);
        shared.catch_up(&Files::Here)?;
        Ok(shared)
    }

    pub(super) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    pub(super) fn change_log(&self) -> &Mutex<ChangeLog> {
        &self.change_log
    }

    /// Asks the rows something, once they hold all that was acknowledged before this call.
    #[inline]
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Rows) -> T) -> Result<T> {
        {
            let state = self.state.read();
            if !self.has_news(&state) {
                return Ok(question(&state.rows));
            }
        }
        self.ask_after_news(question)
    }

    /// Under the lock for writing from the look to the answer: a watcher's future that waits for a file takes
    /// in part of a batch.
    #[cold]
    fn ask_after_news<T>(&self, question: impl FnOnce(&Rows) -> T) -> Result<T> {
        let mut state = self.state.write();
        self.catch_up_in(&mut state, &Files::Here)?;
        Ok(question(&state.rows))
    }

    /// Takes in what is new.
    pub(super) fn catch_up(&self, files: &Files) -> Result<()> {
        if !self.has_news(&self.state.read()) {
            return Ok(());
        }
        self.catch_up_in(&mut self.state.write(), files)
    }

    #[inline]
    fn has_news(&self, state: &State) -> bool {
        state.followers.len() != self.topic.partition_count() as usize
            || state.followers.iter().any(Follower::has_news)
    }

    /// All partitions, though one of them cannot be read.
    fn catch_up_in(&self, state: &mut State, files: &Files) -> Result<()> {
        let State { followers, rows } = state;
        for log in self.topic.partitions().skip(followers.len()) {
            log.waiters().register(&self.signal);
            followers.push(Follower::new(log));
        }
        let mut change_log = self.change_log.lock();
        let mut outcome = Ok(());
        for follower in followers.iter_mut().filter(|follower| follower.has_news()) {
            outcome = outcome.and(follower.catch_up(rows, &mut change_log, files));
        }
        outcome
    }

    /// Those who know of news, and how many partitions are among them.
    pub(super) fn waiters(&self) -> (Vec<Arc<Waiters>>, usize) {
        let state = self.state.read();
        let logs = state.followers.iter().map(|follower| Arc::clone(follower.log().waiters()));
        let waiters = logs.chain([Arc::clone(&self.catalog_waiters)]).collect();
        (waiters, state.followers.len())
    }

    /// How many partitions the table follows.
    pub(super) fn partition_count(&self) -> usize {
        self.state.read().followers.len()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for follower in &self.state.read().followers {
            follower.log().waiters().unregister(&self.signal);
        }
        self.catalog_waiters.unregister(&self.signal);
    }
}

impl fmt::Debug for Shared {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("topic", self.topic.name()).finish_non_exhaustive()
    }
}
